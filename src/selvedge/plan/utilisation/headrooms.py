"""Headroom: what is free of each resource after the surge reserve, for each choice of the reserve.

Beside it stands what argues the choice. `over`: the share of measured intervals in which content
would have wanted more than a constant offer of that headroom leaves it, by the resource that binds.
`exceeded`: the share of steps in which content rose by more than the reserve, which is how often an
offer that follows use (1 - use - reserve) is too much by the next sample; `excess` is by how much,
the mean of those steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from selvedge.plan.history import RESOURCES
from selvedge.plan.utilisation.places import Places
from selvedge.plan.utilisation.surges import ALWAYS, Reserves
from selvedge.plan.utilisation.tables import TABLES
from selvedge.plan.utilisation.tally import Tally, ranked_within

HEADROOMS: Final = (95, 99)
"""A headroom is what was free in so many percent of the intervals, or more."""
RESERVED: Final = ("nic", "cpu")
"""Resources of which the surge reserve is kept: content that rises needs both."""
_LEVELS: Final = ("jurisdiction", "fleet")

Reals = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Row = dict[str, Any]  # a cell is text, a number or None


@dataclass(frozen=True, slots=True)
class Headroom:
    """Of each PoP, by one choice and percentage; nan and None where nothing is known."""

    free: dict[str, Reals]
    """Of each resource."""
    least: Reals
    binding: npt.NDArray[np.object_]
    over: Ints
    """Intervals in which the binding resource had less left than that."""
    seen: Ints
    """Intervals in which it was measured."""


@dataclass(frozen=True, slots=True)
class Headrooms:
    """All of them, by the name of the choice (see `Reserves`) and the percentage."""

    reserves: Reserves
    found: dict[tuple[str, int], Headroom]


def headrooms(tally: Tally) -> Headrooms:
    """What is free of each resource, the least of them, and which that is."""
    reserves = tally.reserves()
    counts = tally.resource_counts()
    used: dict[tuple[str, int], Reals] = {}
    for resource, one in counts.items():
        within = np.cumsum(one, axis=1, dtype=np.int64)
        for percent in HEADROOMS:
            used[resource, percent] = ranked_within(within, percent) / 1000
    found = {
        (name, percent): _least(used, percent, reserve)
        for name, reserve in reserves.share.items()
        for percent in HEADROOMS
    }
    for resource, one in counts.items():
        within = np.cumsum(one, axis=1, dtype=np.int64)
        for headroom in found.values():
            _add_over(headroom, resource, within)
    return Headrooms(reserves, found)


def pop_columns(known: Headrooms) -> dict[str, Any]:  # an array or a list
    """Columns of the table `pops`."""
    reserves = known.reserves
    columns: dict[str, Any] = {
        "surge_reserve": reserves.share[reserves.asked],
        "away_below": reserves.away,
        "returns": reserves.returns,
    }
    always = [str(name) for name in ALWAYS]
    columns |= {f"reserve_{name}": reserves.share[name] for name in always}
    for percent in HEADROOMS:
        asked = known.found[reserves.asked, percent]
        columns |= {f"headroom_{name}_{percent}": free for name, free in asked.free.items()}
        columns[f"headroom_{percent}"] = asked.least
        columns[f"binding_{percent}"] = asked.binding.tolist()
        for name in always:
            columns[f"headroom_{percent}_{name}"] = known.found[name, percent].least
    return columns


def reserve_tables(places: Places, known: Headrooms) -> dict[str, pa.Table]:
    """`reserves` of PoPs, and `reserve_choices` of jurisdictions and the fleet."""
    groups = [group for group in places.groups if group.level in _LEVELS]
    choices = [
        {"level": group.level, "name": group.name, **row}
        for group in groups
        for row in _choice_rows(known, group.pops)
    ]
    rows = [row for pop in places.known for row in _pop_rows(known, pop, places.names[pop])]
    return {
        "reserves": pa.Table.from_pylist(rows, schema=TABLES["reserves"]),
        "reserve_choices": pa.Table.from_pylist(choices, schema=TABLES["reserve_choices"]),
    }


def _least(used: dict[tuple[str, int], Reals], percent: int, reserve: Reals) -> Headroom:
    nothing = np.full(len(reserve), np.nan)
    least, binding = nothing.copy(), np.full(len(reserve), None, object)
    every = {}
    for resource in RESOURCES:
        free = nothing
        if (resource, percent) in used:
            kept = np.nan_to_num(reserve) if resource in RESERVED else 0.0
            free = 1.0 - used[resource, percent]
            free = np.where(np.isnan(free), np.nan, np.maximum(np.round(free - kept, 6), 0.0))
        every[resource] = free
        # Of equals the first in the order of RESOURCES binds.
        less = ~np.isnan(free) & (np.isnan(least) | (free < least))
        binding[less] = resource
        least = np.where(less, free, least)
    # Without traffic there is no saying what content leaves of a site.
    unknown = np.isnan(every["nic"])
    binding[unknown] = None
    zeros = (np.zeros(len(reserve), np.int64) for _ in range(2))
    return Headroom(every, np.where(unknown, np.nan, least), binding, *zeros)


def _add_over(headroom: Headroom, resource: str, within: Ints) -> None:
    """Enter intervals of PoPs that this resource binds. `within` counts uses up to each bin."""
    pops = np.flatnonzero(headroom.binding == resource)
    # A bin is a use rounded up: one that is more than what may be used lies in a later bin.
    last = np.floor((1.0 - headroom.least[pops]) * 1000 + 1e-6).astype(np.int64)
    headroom.seen[pops] = within[pops, -1]
    headroom.over[pops] = within[pops, -1] - within[pops, last]


def _pop_rows(known: Headrooms, pop: int, name: str) -> Iterator[Row]:
    reserves = known.reserves
    for choice in reserves.share:
        row: Row = {
            "pop": name,
            "choice": choice,
            "in_force": choice == reserves.asked,
            "reserve": _number(reserves.share[choice][pop]),
            "steps": int(reserves.steps[pop]),
            "exceeded": _part(reserves.exceeded[choice][[pop]], reserves.steps[[pop]]),
            "excess": _part(reserves.excess[choice][[pop]], reserves.exceeded[choice][[pop]]),
        }
        for percent in HEADROOMS:
            one = known.found[choice, percent]
            row[f"headroom_{percent}"] = _number(one.least[pop])
            row[f"binding_{percent}"] = one.binding[pop]
            row[f"over_{percent}"] = _part(one.over[[pop]], one.seen[[pop]])
        yield row


def _choice_rows(known: Headrooms, members: Sequence[int]) -> Iterator[Row]:
    """What PoPs have, each by itself, and how often it was too much, over all of them."""
    reserves, pops = known.reserves, np.array(members, np.int64)
    for choice in reserves.share:
        kept = reserves.share[choice][pops]
        row: Row = {
            "choice": choice,
            "in_force": choice == reserves.asked,
            "pops": int((~np.isnan(kept)).sum()),
            "exceeded": _part(reserves.exceeded[choice][pops], reserves.steps[pops]),
            "excess": _part(reserves.excess[choice][pops], reserves.exceeded[choice][pops]),
        }
        row |= {f"p{part}_reserve": value for part, value in _spread(kept)}
        for percent in HEADROOMS:
            one = known.found[choice, percent]
            free = one.least[pops]
            row |= {f"p{part}_headroom_{percent}": value for part, value in _spread(free)}
            bound = pops[np.isin(one.binding[pops].astype(str), RESERVED)]
            row[f"none_{percent}"] = int((free == 0.0).sum())
            row[f"over_{percent}"] = _part(one.over[bound], one.seen[bound])
        yield row


def _spread(values: Reals) -> Iterator[tuple[int, float | None]]:
    """The tenth, the middle and the ninetieth of a hundred; of values, no means of two."""
    known = np.sort(values[~np.isnan(values)])
    for part in (10, 50, 90):
        yield part, float(known[(len(known) - 1) * part // 100]) if len(known) else None


def _part(some: npt.NDArray[Any], whole: Ints) -> float | None:
    return float(some.sum() / whole.sum()) if whole.sum() else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
