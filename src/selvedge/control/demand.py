"""Demand as the receipts of this machine show it, read as `selvedge usage` reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from selvedge.adapters import hours_of_parts, tallies_of_parts
from selvedge.control.accounts import TRIES, Snapshot
from selvedge.control.home import Home
from selvedge.control.invoicing import Receipts
from selvedge.fabric import Release, SelvedgeError, StoreFailed
from selvedge.ledger import DemandAsked, DemandFold, Tallied, join_tallies
from selvedge.plan import FoundWindow, find_window

Tell = Callable[[str], None]
_STEP: Final = 5_000
"""Receipts between two words on how far it is."""


class DemandSeen(NamedTuple):
    """Over which window, and what was asked in it."""

    window: FoundWindow
    tallies: Tallied


def ask_with(asked: DemandAsked, release: Release | None) -> DemandAsked:
    """The same with what a release says of providers, models and classes."""
    if release is None:
        return asked
    ours = {
        model.model for pop in release.pops for engine in pop.engines for model in engine.serves
    }
    theirs = {
        model.model
        for one in release.providers
        for engine in one.engines
        for model in engine.serves
    }
    return asked._replace(
        providers=frozenset(one.id for one in release.providers),
        provider_models=frozenset(theirs - ours),
        narrowed=frozenset(_narrowed(release)),
    )


def _narrowed(release: Release) -> Iterable[str]:
    for tenant in release.tenants:
        yield from (f"{tenant.id}/{one.id}" for one in tenant.classes if one.policy is not None)
    yield from (f"{key.tenant}:{key.id}" for key in release.keys if key.zones)


def observe_demand(
    home: Home, collected: Iterable[Path], asked: DemandAsked, tell: Tell
) -> DemandSeen:
    """Journals of a home, or collectors' directories. Again, where a part was dropped meanwhile.

    Raises `SelvedgeError` where nothing can be read, or no whole hour lies in what there is.
    """
    named = list({one.resolve(): one for one in collected}.values())
    for _ in range(TRIES):
        receipts = Receipts.at(home, named)
        _check_zones(receipts.snapshots)
        try:
            return _observe(receipts, asked, tell)
        except StoreFailed:
            if all(part.exists() for one in receipts.snapshots for part in one.parts):
                raise
    raise StoreFailed("partitions change faster than they can be read; try again")


def _observe(receipts: Receipts, asked: DemandAsked, tell: Tell) -> DemandSeen:
    fold = DemandFold(asked)
    for number, row in enumerate(receipts.rows_outside_parts()):
        if number % _STEP == 0:
            tell(f"journals and logs: {number:,} receipts")
        fold.take(row)
    hours = fold.hours
    for one in receipts.snapshots:
        tell(f"partitions of {one.directory.name}: hours")
        hours = hours.plus(hours_of_parts(one.parts, asked))
    found = find_window(hours, asked)
    tallies = [fold.tallies(found.window)]
    for one in receipts.snapshots:
        tell(f"partitions of {one.directory.name}: requests")
        tallies.append(tallies_of_parts(one.parts, asked, found.window))
    return DemandSeen(found, join_tallies(tallies))


def _check_zones(snapshots: Iterable[Snapshot]) -> None:
    """One zone has one collector: in a copy of its directory every receipt would count twice."""
    places: dict[str, Path] = {}
    for snapshot in snapshots:
        zones = {part.parent.parent.name.removeprefix("zone=") for part in snapshot.parts}
        for zone in zones | ({snapshot.zone} if snapshot.segments else set()):
            other = places.setdefault(zone, snapshot.directory)
            if other != snapshot.directory:
                words = f"{other} and {snapshot.directory} both hold receipts of zone {zone!r}"
                raise SelvedgeError(f"{words}, which would count twice; name one of them")
