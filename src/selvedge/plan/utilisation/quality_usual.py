"""What a PoP usually does at an hour: the median of that local hour of the week, as a logarithm.

Local hours follow IANA's time zones with their summer times, so that a clock that is put forward
by law is usual. A median does not mind holidays, outages and the faults that are looked for.
"""

from __future__ import annotations

import itertools
import zoneinfo
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

import numpy as np

from selvedge.plan.utilisation.quality_grid import Floats, Grid
from selvedge.plan.utilisation.quality_scan import HOUR_S, Ints

WEEK_H: Final = 168
DAY_H: Final = 24
PERIODS_MAX: Final = 26
"""Weeks of which the median is taken, evenly over the history: more make it no better."""
WEEKS_MIN: Final = 4
"""Weeks of history below which hours of the day are compared, not of the week."""


def offsets_of(zones: Sequence[str], begin_s: int, hours: int) -> dict[str, Ints]:
    """Of each zone, hours that local time is ahead of UTC in each hour, rounded down."""
    return {zone: _offsets(zone, begin_s, hours) for zone in sorted(set(zones))}


def _offsets(zone: str, begin_s: int, hours: int) -> Ints:
    found = np.zeros(hours, np.int64)
    if not zone:
        return found
    rules = zoneinfo.ZoneInfo(zone)
    begin = datetime.fromtimestamp(begin_s, UTC)
    edges = [*range(0, hours, DAY_H), hours]
    ahead = [_ahead(rules, begin + timedelta(hours=hour)) for hour in edges]
    for place, (first, after) in enumerate(itertools.pairwise(edges)):
        if ahead[place] == ahead[place + 1]:
            found[first:after] = ahead[place]
        else:
            for hour in range(first, after):
                found[hour] = _ahead(rules, begin + timedelta(hours=hour))
    return found


def _ahead(rules: tzinfo, at: datetime) -> int:
    offset = at.astimezone(rules).utcoffset()
    return int((offset or timedelta()).total_seconds() // HOUR_S)


def usual_levels(level: Floats, begin_s: int, zones: Sequence[str]) -> Floats:
    """What is usual in each hour of each PoP (rows of `level`, logarithms, nan: not known)."""
    hours = level.shape[1]
    period = WEEK_H if hours >= WEEKS_MIN * WEEK_H else DAY_H
    found = np.full(level.shape, np.nan, level.dtype)
    offsets = offsets_of(zones, begin_s, hours)
    # The epoch was a Thursday: three days on, hour 0 of a week is a Monday's.
    utc = begin_s // HOUR_S + 3 * DAY_H + np.arange(hours)
    for zone, ahead in offsets.items():
        pops = np.array([place for place, name in enumerate(zones) if name == zone])
        local = utc + ahead
        local -= local[0] // period * period
        found[pops] = _medians(level[pops], local, period)[:, local % period]
    return found


def _medians(level: Floats, local: Ints, period: int) -> Floats:
    periods = int(local[-1]) // period + 1
    stride = -(-periods // PERIODS_MAX)
    taken = local // period % stride == 0
    shape = (len(level), -(-periods // stride), period)
    cells = np.full(shape, np.nan, level.dtype)
    cells[:, local[taken] // period // stride, local[taken] % period] = level[:, taken]
    cells.sort(axis=1)
    known = (~np.isnan(cells)).sum(axis=1, keepdims=True)
    low, high = np.maximum(known - 1, 0) // 2, known // 2
    high = np.minimum(high, np.maximum(known - 1, 0))
    pair = [np.take_along_axis(cells, place, axis=1)[:, 0] for place in (low, high)]
    return (pair[0] + pair[1]) / 2


def levels_of(grid: Grid) -> Floats:
    """Logarithms of the hours' means; nan where nothing was measured or nothing flowed."""
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.log(grid.mean)
    level[~np.isfinite(level)] = np.nan
    return level
