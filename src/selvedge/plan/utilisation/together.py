"""What is free at one moment: following the night, by the hours of the day, within a border.

Free, of a PoP and hour, is its capacity less the hour's mean traffic and less its surge reserve,
and never below nothing: what one PoP lacks is not taken from another. Hours that were not measured
offer nothing. Sums are of one jurisdiction, since capacity may not be used across borders; that of
the fleet is there to see how the night travels, and is no capacity that anybody could be promised.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from selvedge.plan.utilisation.places import Places
from selvedge.plan.utilisation.tables import TABLES
from selvedge.plan.utilisation.tally import Tally
from selvedge.plan.utilisation.zones import HOUR_S

_DAY_HOURS: Final = 24
_LEVELS: Final = ("jurisdiction", "fleet")

Reals = npt.NDArray[np.float64]
Row = dict[str, Any]  # a cell is text, a number or None


def free_tables(
    places: Places, tally: Tally, gpus_free: dict[tuple[int, int], float]
) -> dict[str, pa.Table]:
    """`utc_hours` and `together`. `gpus_free` is by the group's number and the hour of the day."""
    reserves = np.nan_to_num(tally.reserves())
    days: list[Row] = []
    sums: list[Row] = []
    for number, group in enumerate(places.groups):
        if group.level not in _LEVELS:
            continue
        free, carried, own = _free_of(tally, group.pops, reserves)
        names = {"level": group.level, "name": group.name}
        hours = (tally.first_hour_s // HOUR_S + np.arange(len(free))) % _DAY_HOURS
        for hour in np.unique(hours).tolist():
            some = hours == hour
            share = np.divide(
                free[some], carried[some], where=carried[some] > 0, out=free[some] * 0
            )
            days.append(
                names
                | {
                    "hour_utc": hour,
                    "free_bps_95": lowest_but(free[some]),
                    "free_share_95": lowest_but(share),
                    "gpus_free_95": gpus_free.get((number, hour)),
                }
            )
        together = lowest_but(free)
        sums.append(
            names
            | {
                "own_sum_bps_95": own,
                "simultaneous_bps_95": together,
                "share": together / own if own else None,
            }
        )
    return {
        "utc_hours": pa.Table.from_pylist(days, schema=TABLES["utc_hours"]),
        "together": pa.Table.from_pylist(sums, schema=TABLES["together"]),
    }


def lowest_but(values: Reals) -> float:
    """What there was in at least 95 of 100 hours: the lowest but the floor(n / 20) lower ones."""
    return float(np.partition(values, len(values) // 20)[len(values) // 20])


def _free_of(tally: Tally, pops: tuple[int, ...], reserves: Reals) -> tuple[Reals, Reals, float]:
    """Of a group by hour what is free and what its PoPs could carry; and the sum of their own."""
    hours = tally.hourly().use.shape[1]
    free, carried, own = np.zeros(hours), np.zeros(hours), 0.0
    for pop in pops:
        capacity = tally.capacity_by_hour(pop)
        use = tally.hourly().use[pop]
        left = np.maximum(capacity * (1.0 - reserves[pop] - use), 0.0)
        there = ~np.isnan(left)
        if there.any():
            own += lowest_but(left[there])
        free += np.nan_to_num(left)
        carried += np.nan_to_num(capacity)
    return free, carried, own
