"""Who a history's PoPs are: their sites, groups and zones, by number.

A PoP's number is its position in the manifest. Groups are numbered too: every country, every
jurisdiction, the fleet, and the metros of more than one PoP (a metro of one PoP is that PoP).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from selvedge.plan.history import PopSite
from selvedge.plan.utilisation.tables import FLEET, Level

NO_ZONE: Final = -1
_UPPER: Final[tuple[Level, ...]] = ("metro", "country", "jurisdiction", "fleet")

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Group:
    """Some PoPs, by their numbers. `law` is set where all of them are under one."""

    level: Level
    name: str
    pops: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Places:
    """The PoPs of a manifest, joined with the fleet file."""

    names: tuple[str, ...]
    sites: tuple[PopSite | None, ...]
    """None for a PoP that the fleet file does not name: kept apart."""
    zones: tuple[str, ...]
    groups: tuple[Group, ...]
    """Those whose sums are computed; in order of `LEVELS`, then of names."""

    @property
    def known(self) -> list[int]:
        """Numbers of the PoPs that have a site."""
        return [number for number, site in enumerate(self.sites) if site is not None]

    def capacities(self) -> pa.Table:
        """What the fleet file knows of them: `pop` and `nic_bps`."""
        sites = enumerate(self.sites)
        rows = [(pop, site.nic_bps) for pop, site in sites if site and site.nic_bps]
        pops = pa.array([pop for pop, _ in rows], pa.uint16())
        return pa.table({"pop": pops, "nic_bps": pa.array([bps for _, bps in rows], pa.int64())})

    def laws(self) -> npt.NDArray[np.int32]:
        """Of each PoP its jurisdiction, numbered in the order of `groups`; -1 without a site."""
        found = np.full(len(self.names), -1, np.int32)
        laws = [group for group in self.groups if group.level == "jurisdiction"]
        for number, group in enumerate(laws):
            found[list(group.pops)] = number
        return found

    def zone_numbers(self) -> npt.NDArray[np.int32]:
        """Of each PoP the position of its zone in `zones`, or `NO_ZONE`."""
        place = {zone: number for number, zone in enumerate(self.zones)}
        found = [place[site.timezone] if site and site.timezone else NO_ZONE for site in self.sites]
        return np.array(found, np.int32)

    def cells(self) -> npt.NDArray[np.int32]:
        """Of each PoP the set of its groups, numbered: what has to be summed only once."""
        sets: dict[int, list[int]] = defaultdict(list)
        for number, group in enumerate(self.groups):
            for pop in group.pops:
                sets[pop].append(number)
        numbers: dict[tuple[int, ...], int] = {}
        found = [
            numbers.setdefault(tuple(sets[pop]), len(numbers)) for pop in range(len(self.names))
        ]
        return np.array(found, np.int32)


def place(names: Sequence[str], sites: Sequence[PopSite]) -> Places:
    """Join a manifest's PoPs with the fleet's sites."""
    by_name = {site.pop: site for site in sites}
    found = tuple(by_name.get(name) for name in names)
    zones = sorted({site.timezone for site in found if site and site.timezone})
    return Places(tuple(names), found, tuple(zones), tuple(_groups(found)))


def metro_names(sites: Sequence[PopSite | None]) -> list[str]:
    """The metro of each PoP: with its country where two countries have one of that name."""
    countries = defaultdict(set)
    for site in sites:
        if site is not None:
            countries[site.metro].add(site.country)
    return [
        ""
        if site is None or not site.metro
        else (site.metro if len(countries[site.metro]) == 1 else f"{site.metro}, {site.country}")
        for site in sites
    ]


def _groups(sites: Sequence[PopSite | None]) -> list[Group]:
    metros = metro_names(sites)
    sizes = Counter(metros)
    members: dict[tuple[int, str], list[int]] = defaultdict(list)
    for number, site in enumerate(sites):
        if site is None:
            continue
        if metros[number] and sizes[metros[number]] > 1:
            members[0, metros[number]].append(number)
        for order, name in enumerate((site.country, site.law, FLEET), start=1):
            members[order, name].append(number)
    return [
        Group(_UPPER[order], name, tuple(members[order, name])) for order, name in sorted(members)
    ]
