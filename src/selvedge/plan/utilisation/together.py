"""What is free at one moment: following the night, by the hours of the day, within a border.

Free, of a PoP and hour, is its capacity less the hour's mean traffic and less its surge reserve,
and never below nothing: what one PoP lacks is not taken from another. Hours in which less than
`MEASURED` of a group's capacity was measured say nothing of it; in the others, what was not
measured offers nothing. Sums are of one jurisdiction, since capacity may not be used across
borders; that of the fleet is there to see how the night travels, and is no capacity that anybody
could be promised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from selvedge.plan.utilisation.places import Places
from selvedge.plan.utilisation.surges import ALWAYS
from selvedge.plan.utilisation.tables import TABLES
from selvedge.plan.utilisation.tally import Tally
from selvedge.plan.utilisation.zones import HOUR_S

MEASURED: Final = 0.9
_DAY_HOURS: Final = 24
_LEVELS: Final = ("jurisdiction", "fleet")

Reals = npt.NDArray[np.float64]
Row = dict[str, Any]  # a cell is text, a number or None


@dataclass(frozen=True, slots=True)
class _Free:
    """Of a group, by hour."""

    free: dict[str, Reals]
    """By the name of the reserve."""
    carried: Reals
    """What its PoPs could carry."""
    counts: npt.NDArray[np.bool_]
    """Whether enough of it was measured."""
    own: float
    """The sum of what its PoPs have free each on its own, after the reserve in force."""

    def lowest(self, name: str) -> float | None:
        """What there was at one moment in 95 of 100 hours."""
        return lowest_but(self.free[name][self.counts])


def free_tables(
    places: Places, tally: Tally, gpus_free: dict[tuple[int, int], float]
) -> dict[str, pa.Table]:
    """`utc_hours` and `together`. `gpus_free` is by the group's number and the hour of the day."""
    reserves = tally.reserves()
    kept = {name: np.nan_to_num(share) for name, share in reserves.share.items()}
    days: list[Row] = []
    sums: list[Row] = []
    for number, group in enumerate(places.groups):
        if group.level not in _LEVELS:
            continue
        names = {"level": group.level, "name": group.name}
        found = _free_of(tally, group.pops, kept, reserves.asked)
        free = found.free[reserves.asked]
        hours = (tally.first_hour_s // HOUR_S + np.arange(len(free))) % _DAY_HOURS
        for hour in np.unique(hours).tolist():
            some = found.counts & (hours == hour)
            row = {
                "hour_utc": hour,
                "free_bps_95": lowest_but(free[some]),
                "free_share_95": lowest_but(free[some] / found.carried[some]),
                "gpus_free_95": gpus_free.get((number, hour)),
            }
            days.append(names | row)
        once = found.lowest(reserves.asked)
        row = {
            "own_sum_bps_95": found.own,
            "simultaneous_bps_95": once,
            "share": once / found.own if found.own and once is not None else None,
        }
        for choice in ALWAYS:
            row[f"simultaneous_bps_95_{choice}"] = found.lowest(str(choice))
        sums.append(names | row)
    return {
        "utc_hours": pa.Table.from_pylist(days, schema=TABLES["utc_hours"]),
        "together": pa.Table.from_pylist(sums, schema=TABLES["together"]),
    }


def lowest_but(values: Reals) -> float | None:
    """What there was in at least 95 of 100 hours: the lowest but the floor(n / 20) lower ones."""
    if not len(values):
        return None
    return float(np.partition(values, len(values) // 20)[len(values) // 20])


def _free_of(tally: Tally, pops: tuple[int, ...], kept: dict[str, Reals], asked: str) -> _Free:
    hours = tally.use.shape[1]
    carried, measured, own = np.zeros(hours), np.zeros(hours), 0.0
    free = {name: np.zeros(hours) for name in kept}
    for pop in pops:
        capacity = tally.capacity_by_hour(pop)
        there = ~np.isnan(tally.use[pop])
        for name, reserves in kept.items():
            left = np.maximum(capacity * (1.0 - reserves[pop] - tally.use[pop]), 0.0)
            free[name] += np.nan_to_num(left)
            if name == asked:
                own += lowest_but(left[there]) or 0.0
        carried += capacity
        measured += capacity * there
    counts = (measured > 0) & (measured >= MEASURED * carried)
    return _Free(free=free, carried=carried, counts=counts, own=own)
