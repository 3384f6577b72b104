"""Local time from IANA's zones, as tables: never a conversion a row.

A zone's offset changes twice a year at most. So a zone is a few spans of one offset, and the local
hour of the week of a UTC hour, or of its quarters where a zone is half an hour off, is looked up.
"""

from __future__ import annotations

import zoneinfo
from datetime import UTC, date, datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from selvedge.headroom import WEEK_HOURS

HOUR_S: Final = 3_600
QUARTER_S: Final = 900
DAY_S: Final = 86_400
_THURSDAY: Final = 72
"""1970-01-01 00:00 is the 72nd hour of a week that begins on Monday."""

Ints = npt.NDArray[np.int64]


def offset_at(zone: zoneinfo.ZoneInfo, at_s: int) -> int:
    """Seconds that local time is ahead of UTC then."""
    offset = datetime.fromtimestamp(at_s, UTC).astimezone(zone).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


def spans_of(name: str, from_s: int, until_s: int) -> tuple[Ints, Ints]:
    """Begins of the spans of one offset that cover the time, and their offsets, in seconds."""
    zone = zoneinfo.ZoneInfo(name)
    begins, offsets = [from_s], [offset_at(zone, from_s)]
    for day in range(from_s + DAY_S, until_s + DAY_S, DAY_S):
        if (offset := offset_at(zone, day)) != offsets[-1]:
            low, high = day - DAY_S, day
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if offset_at(zone, middle) == offset else (middle, high)
            begins.append(high)
            offsets.append(offset)
    return np.array(begins, np.int64), np.array(offsets, np.int64)


def hours_of_week(name: str, at_s: Ints) -> npt.NDArray[np.int16]:
    """The local hour of the week of each moment, which must be sorted: Monday 00:00 is 0."""
    if not len(at_s):
        return np.zeros(0, np.int16)
    begins, offsets = spans_of(name, int(at_s[0]), int(at_s[-1]) + 1)
    local = at_s + offsets[np.searchsorted(begins, at_s, side="right") - 1]
    return ((local // HOUR_S + _THURSDAY) % WEEK_HOURS).astype(np.int16)


def month_span(month: str, zone: str = "UTC") -> tuple[int, int]:
    """Begin and end of a month by the calendar of a zone; seconds UTC."""
    first = date.fromisoformat(f"{month}-01")
    after = (first + timedelta(days=31)).replace(day=1)
    where = zoneinfo.ZoneInfo(zone)
    begin, end = (
        int(datetime(day.year, day.month, 1, tzinfo=where).timestamp()) for day in (first, after)
    )
    return begin, end
