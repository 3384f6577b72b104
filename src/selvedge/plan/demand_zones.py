"""A zone of a release in the words of a demand file: `world`, groups, countries joined by `+`.

The name of a zone says nothing: `eea` of a release may be three countries, and in a demand file it
is a jurisdiction of the fleet. So it is its countries that are written, and never its name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from selvedge.fabric import COUNTRIES, GROUPS, Release, SelvedgeError
from selvedge.residency import close

WORLD: Final = "world"
_SHOWN: Final = 12


def zone_in_words(countries: Collection[str]) -> str:
    """These countries, none more and none less: the largest groups inside, then what is left.

    Raises `ValueError` where there is none.
    """
    left = set(countries)
    if not left:
        raise ValueError("it has no country")
    if left >= COUNTRIES:
        return WORLD
    parts = []
    for name, members in sorted(GROUPS.items(), key=lambda one: (-len(one[1]), one[0])):
        if members <= set(countries) and members & left:
            parts.append(name)
            left -= members
    return "+".join([*parts, *sorted(left)])


def is_spelled_out(zone: str) -> bool:
    """Whether a zone of a demand file needs no fleet file to be understood."""
    parts = zone.split("+")
    return zone == WORLD or all(one.upper() in GROUPS or one in COUNTRIES for one in parts)


def read_zones(given: Iterable[str]) -> dict[str, str]:
    """``CLASS=ZONE``, each class once. Raises `SelvedgeError`."""
    found: dict[str, str] = {}
    for one in given:
        name, _, zone = (part.strip() for part in one.partition("="))
        if not name or not zone:
            raise SelvedgeError(f"--zone {one!r} is not CLASS=ZONE, as eea=EEA or de-at=DE+AT")
        if name in found:
            raise SelvedgeError(f"--zone {name} is there twice; say it once")
        if "+" in zone and not is_spelled_out(zone):
            words = f"a part of {zone!r} is no country code and none of {', '.join(sorted(GROUPS))}"
            raise SelvedgeError(f"--zone {one}: {words}")
        found[name] = zone
    return found


def map_zones(
    asked: Mapping[str, int],
    given: Mapping[str, str],
    release: Release | None,
    seen: Collection[str] = (),
) -> dict[str, str]:
    """What each zone class is in a demand file; ``asked`` are requests that are demand, by class.

    What is given goes before what the release says; ``seen`` are classes of other receipts. Raises
    `SelvedgeError` that names the class.
    """
    zones = {one.id: one.countries for one in release.zones} if release is not None else {}
    for name in given:
        if asked and name not in {*asked, *seen, *zones}:
            known = close(name, {*asked, *seen, *zones})
            raise SelvedgeError(f"--zone {name}: no receipt and no release has this class{known}")
    found = {}
    for name, requests in sorted(asked.items()):
        if name in given:
            found[name] = given[name]
            continue
        if name not in zones:
            where = "there is no release" if release is None else "the release has no such zone"
            raise SelvedgeError(_unmapped(name, requests, where))
        try:
            found[name] = zone_in_words(zones[name])
        except ValueError as error:
            raise SelvedgeError(_unmapped(name, requests, str(error))) from error
    return found


def _unmapped(name: str, requests: int, why: str) -> str:
    of = "1 request" if requests == 1 else f"{requests:,} requests"
    words = f"zone {name!r} of {of} cannot be mapped: {why}; say what it is by"
    return f"{words} --zone {name}=ZONE (world, EEA, DE+AT), or name the --home of its fabric"
