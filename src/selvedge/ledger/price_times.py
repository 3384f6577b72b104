"""Days and spans of days, as prices have them: whole UTC days as ISO dates, half open.

ISO dates of one width compare as the days do, so nothing here is ever a moment.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from typing import Final, Literal, NamedTuple, TypeAlias

Span: TypeAlias = tuple[str, str | None]
"""From a day to before another; None: for ever."""

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def is_day(text: str) -> bool:
    """Whether this is a day of the calendar, written as ``2026-11-01``."""
    if not _DAY.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def holds(span: Span, day: str) -> bool:
    """Whether the day lies in the span."""
    since, until = span
    return since <= day and (until is None or day < until)


def meets(one: Span, other: Span) -> bool:
    """Whether there is a day in both."""
    return (one[1] is None or other[0] < one[1]) and (other[1] is None or one[0] < other[1])


def is_within(inner: Span, outer: Span) -> bool:
    """Whether every day of the first lies in the second."""
    return outer[0] <= inner[0] and (
        outer[1] is None or (inner[1] is not None and inner[1] <= outer[1])
    )


class Clash(NamedTuple):
    """Two spans that follow each other and do not fit."""

    kind: Literal["overlap", "gap"]
    before: Span
    after: Span


def overlap_in(spans: Sequence[Span]) -> Clash | None:
    """The first two spans with a day in common."""
    ordered = sorted(spans, key=_by_beginning)
    for before, after in pairwise(ordered):
        if meets(before, after):
            return Clash("overlap", before, after)
    return None


def clash_in(spans: Sequence[Span]) -> Clash | None:
    """The first two spans that overlap, or that leave days between them out."""
    clash = overlap_in(spans)
    if clash is not None:
        return clash
    ordered = sorted(spans, key=_by_beginning)
    for before, after in pairwise(ordered):
        if before[1] != after[0]:
            return Clash("gap", before, after)
    return None


def is_covered(span: Span, by: Sequence[Span]) -> bool:
    """Whether every day of the span lies in one of the others."""
    day: str | None = span[0]
    for one in sorted(by, key=_by_beginning):
        if day is not None and holds(one, day):
            day = one[1]
        if day is None:
            return True
    return day is not None and span[1] is not None and span[1] <= day


def _by_beginning(span: Span) -> tuple[str, str]:
    return (span[0], span[1] or "~")
