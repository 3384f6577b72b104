"""What a month will come to, from what its past hours cost.

The method, stated in full. Known are whole hours, at most `HISTORY_DAYS` back and from the first
hour that cost anything. An hour to come costs what hours of the same weekday and time of day cost
on average; where there is none of these, hours of the same time of day; with less than a day known,
all hours. The rest of the current hour counts by its part. The interval is 90 % of a normal
distribution: each whole day known is predicted from the other days like it, and the mean square of
these errors is taken for the variance of a day to come, and (over the number of days) of the mean.
It knows no holidays and no growth; `straight_line` beside it knows no weekdays either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isqrt
from typing import Final

import msgspec

HOUR_US: Final = 3_600_000_000
DAY_US: Final = 24 * HOUR_US
WEEK_US: Final = 7 * DAY_US
HISTORY_DAYS: Final = 14
_Z_MILLI: Final = 1_645
"""Standard deviations on each side that hold 90 %."""

Hours = Mapping[int, int]
"""Beginning of an hour (microseconds UTC) -> micro-dollars; an hour that is not there cost none."""


class SpendForecast(msgspec.Struct, frozen=True):
    """Micro-dollars of a month: what is spent, what it will come to, and 90 % bounds.

    The bounds are None where fewer than two whole days are known.
    """

    spent: int
    expected: int
    low: int | None
    high: int | None
    days_known: int


def forecast_spend(hours: Hours, since_us: int, until_us: int, now_us: int) -> SpendForecast:
    """What the month from ``since_us`` until ``until_us`` will come to, as known at ``now_us``."""
    spent = sum(cost for at, cost in hours.items() if since_us <= at < until_us and at <= now_us)
    known = _known(hours, now_us)
    days = _whole_days(known)
    expected = spent + _to_come(known, max(now_us, since_us), until_us)
    if len(days) < 2:
        return SpendForecast(spent, expected, None, None, len(days))
    half = _half_width(days, max(0, until_us - max(now_us, since_us)))
    low = max(spent, expected - half)
    return SpendForecast(spent, expected, low, expected + half, len(days))


def straight_line(hours: Hours, since_us: int, until_us: int, now_us: int) -> int:
    """The month at the pace of its days so far; what everybody does first."""
    spent = sum(cost for at, cost in hours.items() if since_us <= at < until_us and at <= now_us)
    past = min(now_us, until_us) - since_us
    return spent * (until_us - since_us) // past if past > 0 else spent


def _known(hours: Hours, now_us: int) -> dict[int, int]:
    """Every whole hour from the first that cost anything, those without cost too."""
    end = now_us // HOUR_US * HOUR_US
    first = min((at for at, cost in hours.items() if cost and at < end), default=end)
    begin = max(first, end - HISTORY_DAYS * DAY_US)
    return {at: hours.get(at, 0) for at in range(begin, end, HOUR_US)}


def _to_come(known: Mapping[int, int], now_us: int, until_us: int) -> int:
    by_week, by_day = _means(known, WEEK_US), _means(known, DAY_US)
    mean = sum(known.values()) // len(known) if known else 0
    whole_day = len(known) * HOUR_US >= DAY_US
    total = 0
    for at in range(now_us // HOUR_US * HOUR_US, until_us, HOUR_US):
        cost = by_week.get(at % WEEK_US)
        if cost is None:
            cost = by_day.get(at % DAY_US) if whole_day else None
        left_us = min(at + HOUR_US, until_us) - max(at, now_us)
        total += (mean if cost is None or not whole_day else cost) * left_us // HOUR_US
    return total


def _means(costs: Mapping[int, int], period_us: int) -> dict[int, int]:
    sums: dict[int, list[int]] = {}
    for at, cost in costs.items():
        sums.setdefault(at % period_us, []).append(cost)
    return {at: sum(found) // len(found) for at, found in sums.items()}


def _whole_days(known: Mapping[int, int]) -> dict[int, int]:
    days: dict[int, list[int]] = {}
    for at, cost in known.items():
        days.setdefault(at // DAY_US * DAY_US, []).append(cost)
    return {day: sum(costs) for day, costs in days.items() if len(costs) == 24}


def _half_width(days: Mapping[int, int], left_us: int) -> int:
    """Half the interval: of a sum of days to come, whose mean is not known exactly either."""
    count = len(days)
    square = sum(_error(days, day) ** 2 for day in days) // count
    # variance of the sum: square x left days, and square / count x left days squared
    scaled = square * left_us * DAY_US + square * left_us * left_us // count
    return isqrt(scaled) * _Z_MILLI // (1_000 * DAY_US)


def _error(days: Mapping[int, int], day: int) -> int:
    """How far a day is from the mean of the other days like it."""

    def others(alike: Callable[[int], bool]) -> list[int]:
        return [cost for at, cost in days.items() if at != day and alike(at)]

    like = others(lambda at: at % WEEK_US == day % WEEK_US) or others(lambda at: True)
    return days[day] - sum(like) // len(like)
