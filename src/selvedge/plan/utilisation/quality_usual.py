"""What a PoP usually does at an hour: the median of that local hour of the week, as a logarithm.

Local hours follow IANA's time zones with their summer times, so that a clock that is put forward
by law is usual. A median does not mind holidays, outages and the faults that are looked for.
"""

from __future__ import annotations

import itertools
import zoneinfo
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

import numpy as np

from selvedge.headroom import DAY_HOURS
from selvedge.plan.utilisation.quality_grid import Grid
from selvedge.plan.utilisation.quality_rows import Floats, Ints
from selvedge.plan.utilisation.zones import HOUR_S

DAYS_MAX: Final = 26
"""Days of a kind of which the median is taken, evenly over the history: more make it no better."""
WEEKS_MIN: Final = 10
"""Weeks of history below which days are told apart only as weekdays and weekends."""


@dataclass(frozen=True, slots=True)
class LocalTime:
    """What time it is at PoPs, in each hour of a history."""

    begin_s: int
    zones: tuple[str, ...]
    """IANA names by PoP; empty where not known."""
    ahead: Mapping[str, Ints]
    """Of each zone, hours that local time is ahead of UTC in each hour, rounded down."""

    @classmethod
    def of(cls, zones: Sequence[str], begin_s: int, hours: int) -> LocalTime:
        """Of these PoPs, from an hour on."""
        ahead = {zone: _offsets(zone, begin_s, hours) for zone in sorted(set(zones))}
        return cls(begin_s, tuple(zones), ahead)

    def part(self, first: int, after: int) -> LocalTime:
        """The same for some of the PoPs."""
        return replace(self, zones=self.zones[first:after])

    def hours_of(self, zone: str) -> Ints:
        """Local hours since a Monday's first."""
        # The epoch was a Thursday.
        ahead = self.ahead[zone]
        found: Ints = self.begin_s // HOUR_S + 3 * DAY_HOURS + np.arange(len(ahead)) + ahead
        return found

    def by_zone(self) -> Iterator[tuple[str, Ints]]:
        """Each zone and the places of its PoPs."""
        for zone in sorted(set(self.zones)):
            yield zone, np.array([at for at, name in enumerate(self.zones) if name == zone])


def _offsets(zone: str, begin_s: int, hours: int) -> Ints:
    found = np.zeros(hours, np.int64)
    if not zone:
        return found
    rules = zoneinfo.ZoneInfo(zone)
    begin = datetime.fromtimestamp(begin_s, UTC)
    edges = [*range(0, hours, DAY_HOURS), hours]
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


def usual_levels(level: Floats, local: LocalTime) -> Floats:
    """What is usual in each hour of each PoP (rows of `level`, logarithms, nan: not known)."""
    found = np.full(level.shape, np.nan, level.dtype)
    weeks = level.shape[1] / (7 * DAY_HOURS)
    for zone, pops in local.by_zone():
        hours = local.hours_of(zone)
        days = hours // DAY_HOURS
        kinds = days % 7 if weeks >= WEEKS_MIN else (days % 7 >= 5).astype(np.int64)
        usual = _medians(level[pops], hours - days[0] * DAY_HOURS, kinds)
        found[pops] = usual[:, kinds, hours % DAY_HOURS]
    return found


def _medians(level: Floats, hours: Ints, kinds: Ints) -> Floats:
    """By PoP, kind of day and hour of the day."""
    days = int(hours[-1]) // DAY_HOURS + 1
    cells = np.full((len(level), days * DAY_HOURS), np.nan, level.dtype)
    cells[:, hours] = level
    by_day = cells.reshape(len(level), days, DAY_HOURS)
    found = np.full((len(level), int(kinds.max()) + 1, DAY_HOURS), np.nan, level.dtype)
    for kind in np.unique(kinds):
        some = np.unique(hours[kinds == kind] // DAY_HOURS)
        found[:, kind] = _median(by_day[:, some[:: -(-len(some) // DAYS_MAX)]])
    return found


def _median(cells: Floats) -> Floats:
    """Over the second axis, of what is known."""
    cells.sort(axis=1)
    last = np.maximum((~np.isnan(cells)).sum(axis=1, keepdims=True) - 1, 0)
    pair = [np.take_along_axis(cells, at, axis=1)[:, 0] for at in (last // 2, (last + 1) // 2)]
    return (pair[0] + pair[1]) / 2


def levels_of(grid: Grid) -> Floats:
    """Logarithms of the hours' means; nan where nothing was measured or nothing flowed."""
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.log(grid.cells.mean)
    level[~np.isfinite(level)] = np.nan
    return level
