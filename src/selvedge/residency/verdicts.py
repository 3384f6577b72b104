"""What a release says of one class of data at one site on one day, fence by fence; and what two
releases say otherwise.

For people who ask, not for the hot path: it goes by countries and rows as they are written, and a
test holds it to what the compiled rules decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, NamedTuple, get_args

from selvedge.fabric import UNKNOWN_COUNTRY, DataClass, Place, PoP, Release
from selvedge.residency.rows import Row, rows_of

Asked = Literal["entry", "enter", "process", "cache", "log", "receipts", "keys"]
ASKED: Final[tuple[Asked, ...]] = get_args(Asked)
"""The acts of a policy, and ``entry``: what a PoP reads when a request comes in, which is enter,
receipts, keys and log together.
"""
AT_THE_DOOR: Final = frozenset(ASKED) - {"process", "cache"}
"""What the PoP does where a request comes in; with ``transit-allowed`` that may lie outside."""


class Fence(NamedTuple):
    """One of the things that must all allow it."""

    name: str
    allowed: bool
    why: str


class Verdict(NamedTuple):
    """The answer, and every fence's own."""

    allowed: bool
    fences: tuple[Fence, ...]


class Changed(NamedTuple):
    """What two releases say otherwise of one class and act, at the sites of one country."""

    tenant: str
    data_class: str
    act: Asked
    country: str
    now: bool
    """Whether the second release allows it."""
    pops: tuple[str, ...]


class Verdicts:
    """The answers of one release."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self.sites: Mapping[str, Place] = {one.id: one for one in release.sites}
        self.classes: Mapping[tuple[str, str], DataClass] = {
            (tenant.id, one.id): one for tenant in release.tenants for one in tenant.classes
        }
        self._bits = {one.id: bit for bit, one in enumerate(release.sites)}
        self._zones = {zone.id: frozenset(zone.countries) for zone in release.zones}
        self._rows = rows_of(release.policy) if release.policy is not None else {}

    def decide(self, named: tuple[str, str], site: str, act: Asked, at_us: int) -> Verdict:
        """May data of this tenant and class be treated so at this site then?"""
        kind, pop = self.classes.get(named), self.sites.get(site)
        if kind is None:
            return _denied("class", f"there is no class {'/'.join(named)}: default is deny")
        if pop is None:
            return _denied("site", f"there is no PoP {site!r}: default is deny")
        fences = [self._zone(kind, pop, act)]
        if kind.policy is not None:
            fences.append(self._policy(kind.policy, pop, act, at_us))
        return Verdict(all(one.allowed for one in fences), tuple(fences))

    def _zone(self, kind: DataClass, pop: Place, act: Asked) -> Fence:
        if act in AT_THE_DOOR and not isinstance(pop, PoP):
            return Fence("site", False, f"{pop.id} is a provider: nothing of ours is there")
        countries = self._zones[kind.zone]
        inside = pop.country in countries
        where = f"{pop.country} is {'in' if inside else 'outside'} zone {kind.zone!r}"
        if inside or act not in AT_THE_DOOR or kind.ingress != "transit-allowed":
            return Fence("zone", inside, where)
        if pop.country == UNKNOWN_COUNTRY:
            return Fence("zone", False, f"{where}: nobody knows where it is")
        return Fence("zone", True, f"{where}; the class is transit-allowed")

    def _policy(self, rule: str, pop: Place, act: Asked, at_us: int) -> Fence:
        row = self.row(rule, at_us)
        if row is None:
            words = "has no row for this day: it is before the release, or 400 days after it"
            return Fence("policy", False, f"rule {rule!r} {words}")
        allowed = bool(_bits_of(row, act) >> self._bits[pop.id] & 1)
        words = f"rule {rule!r} {'permits' if allowed else 'does not permit'} {act} at {pop.id}"
        return Fence("policy", allowed, words)

    def row(self, rule: str, at_us: int) -> Row | None:
        """What a rule of the policy says then; None where it says nothing."""
        rows = self._rows.get(rule, ())
        return next((one for one in rows if one.from_us <= at_us < one.until_us), None)

    def allowed(self, named: tuple[str, str], act: Asked, at_us: int) -> frozenset[str]:
        """All sites at which a class may be treated so; none where there is no such class."""
        kind = self.classes.get(named)
        if kind is None:
            return frozenset()
        found = {one.id for one in self.release.sites if self._zone(kind, one, act).allowed}
        if kind.policy is not None:
            row = self.row(kind.policy, at_us)
            bits = _bits_of(row, act) if row is not None else 0
            found = {pop for pop in found if bits >> self._bits[pop] & 1}
        return frozenset(found)


def _bits_of(row: Row, act: Asked) -> int:
    return row.entry if act == "entry" else int(getattr(row, act))


def _denied(name: str, why: str) -> Verdict:
    return Verdict(False, (Fence(name, False, why),))


def differences(
    before: Verdicts, after: Verdicts, at_us: int, acts: Iterable[Asked] = ASKED
) -> Iterator[Changed]:
    """What the second release says otherwise, then; by class, act and country.

    A site that only one of them has is compared with its being nowhere.
    """
    sets: dict[tuple[object, ...], list[Changed]] = {}
    for named in sorted(before.classes.keys() | after.classes.keys()):
        alike = (_alike(before, named), _alike(after, named))
        if alike not in sets:
            sets[alike] = [
                one for act in acts for one in _changed(before, after, (named, act), at_us)
            ]
        for one in sets[alike]:
            yield one._replace(tenant=named[0], data_class=named[1])


def _alike(verdicts: Verdicts, named: tuple[str, str]) -> tuple[object, ...] | None:
    """Classes of which a release says the same everywhere."""
    kind = verdicts.classes.get(named)
    return (kind.zone, kind.ingress, kind.policy) if kind is not None else None


def _changed(
    before: Verdicts, after: Verdicts, asked: tuple[tuple[str, str], Asked], at_us: int
) -> Iterator[Changed]:
    named, act = asked
    was, now = before.allowed(named, act, at_us), after.allowed(named, act, at_us)
    for allowed, pops in ((False, was - now), (True, now - was)):
        by_country: dict[str, list[str]] = {}
        for pop in sorted(pops):
            found = after.sites.get(pop) or before.sites[pop]
            by_country.setdefault(found.country, []).append(pop)
        for country, there in sorted(by_country.items()):
            yield Changed(*named, act, country, allowed, tuple(there))


def check_act(written: str) -> Asked:
    """One of the acts. Raises `ValueError` that names them."""
    for one in ASKED:
        if one == written:
            return one
    raise ValueError(f"{written!r} is no act; it is one of {', '.join(ASKED)}")
