"""Requests by hour, ingress, zone and kind: a fold over receipts, in any order.

Two looks are needed, for a mean over a window wants the window first: in which hours anything was
received at all, of anybody; then how much of each kind, by hour of the day, inside the window.
Rows that can be read once alone (journals) are folded by hour, and the looks are of the fold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from selvedge.ledger.demand_kinds import DemandAsked
from selvedge.ledger.spend_forecast import HOUR_US
from selvedge.ledger.usage_rows import UsageRow

CLOCK_SLACK_US: Final = 300_000_000
"""A receipt of so much later than now is of a clock that is right enough."""


class HourWindow(NamedTuple):
    """Whole UTC hours, counted from 1970: from the first on, up to and without the second."""

    begin: int
    end: int

    def times(self, hour: int) -> int:
        """How often this hour of the day (0 to 23) lies in it."""
        return (self.end + 23 - hour) // 24 - (self.begin + 23 - hour) // 24

    @property
    def days(self) -> float:
        """How long it is."""
        return (self.end - self.begin) / 24


class DemandPlace(NamedTuple):
    """What is counted apart."""

    pop: str
    zone: str
    kind: str
    is_narrowed: bool


class DemandTally(NamedTuple):
    """Requests of one place: in all, and by UTC hour of the day; when the first and the last.

    ``completed`` of them were answered whole, with these tokens.
    """

    hours: tuple[int, ...]
    first: int
    last: int
    completed: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0

    @property
    def requests(self) -> int:
        """All of them."""
        return sum(self.hours)

    def plus(self, other: DemandTally) -> DemandTally:
        """Both together."""
        return DemandTally(
            tuple(map(sum, zip(self.hours, other.hours, strict=True))),
            min(self.first, other.first),
            max(self.last, other.last),
            *map(sum, zip(self[3:], other[3:], strict=True)),
        )


class Hours(NamedTuple):
    """The first look: receipts by hour, of anybody; and by PoP those of a time yet to come."""

    seen: Counter[int]
    future: Counter[str]

    def plus(self, other: Hours) -> Hours:
        """Both together."""
        return Hours(self.seen + other.seen, self.future + other.future)


Tallied = dict[DemandPlace, DemandTally]


def hours_asked(asked: DemandAsked) -> tuple[int, int]:
    """The microseconds in which whole hours lie that were asked for: from, below."""
    since = -(-max(asked.since_us or 0, 0) // HOUR_US) * HOUR_US
    until = asked.now_us + CLOCK_SLACK_US
    if asked.until_us is not None:
        until = min(until, asked.until_us // HOUR_US * HOUR_US)
    return since, until


class DemandFold:
    """A fold over rows that are read once."""

    def __init__(self, asked: DemandAsked) -> None:
        self._asked = asked
        self._since, self._until = hours_asked(asked)
        self._future_from = asked.now_us + CLOCK_SLACK_US
        self.hours = Hours(Counter(), Counter())
        self._counts: dict[tuple[DemandPlace, int], list[int]] = {}

    def take(self, row: UsageRow) -> None:
        """One receipt."""
        at = row.received_us
        if row.conflict or at < self._since:
            return
        if at >= self._until:
            if at >= self._future_from:
                self.hours.future[row.pop] += 1
            return
        hour = at // HOUR_US
        self.hours.seen[hour] += 1
        asked = self._asked
        place = DemandPlace(row.pop, row.zone, asked.kind(row), asked.is_narrowed(row))
        counts = self._counts.get((place, hour))
        if counts is None:
            counts = self._counts[place, hour] = [0, 0, 0, 0]
        counts[0] += 1
        if row.settled_by == "complete":
            counts[1] += 1
            counts[2] += row.input_uncached + row.cache_read + row.cache_write
            counts[3] += row.output + row.reasoning

    def tallies(self, window: HourWindow) -> Tallied:
        """The second look: what lies in the window."""
        by_place: dict[DemandPlace, list[list[int]]] = {}
        for (place, hour), counts in self._counts.items():
            if window.begin <= hour < window.end:
                by_place.setdefault(place, []).append([hour, *counts])
        return {place: _tally(rows) for place, rows in by_place.items()}


def _tally(rows: Iterable[list[int]]) -> DemandTally:
    hours, sums, found = [0] * 24, [0, 0, 0], list[int]()
    for hour, count, *more in rows:
        hours[hour % 24] += count
        sums = list(map(sum, zip(sums, more, strict=True)))
        found.append(hour)
    return DemandTally(tuple(hours), min(found), max(found), *sums)


def join_tallies(parts: Iterable[Mapping[DemandPlace, DemandTally]]) -> Tallied:
    """Those of several sources together."""
    found: Tallied = {}
    for part in parts:
        for place, tally in part.items():
            known = found.get(place)
            found[place] = tally if known is None else known.plus(tally)
    return found
