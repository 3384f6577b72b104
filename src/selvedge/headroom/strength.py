"""How much of a series is trend, day and week: slopes and strengths.

Strengths are those of Wang, Smith and Hyndman ("Characteristic-based clustering for time series
data", Data Min. Knowl. Discov. 13, 2006): with a series taken apart into trend T, season S and
remainder R, F = max(0, 1 - Var(R) / Var(S + R)). 0 is none, 1 is nothing else. S is the mean of
each hour (classical decomposition), T what the caller took off; R is what is left in an hour of
the week, so that sums per hour of the week are all that is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from selvedge.fabric.value import Value
from selvedge.headroom.windows import DAY_HOURS, WEEK_HOURS

YEAR_DAYS: Final = 365.25
_BLOCKS_MIN: Final = 3


class Strengths(Value, frozen=True):
    """Between 0 and 1; None where too little was measured."""

    daily: float | None
    """Of the 24 hours' means."""
    weekly: float | None
    """Of what the 168 hours' means have beyond those."""


def strengths(
    counts: Sequence[float], sums: Sequence[float], squares: Sequence[float]
) -> Strengths:
    """By the 168 hours of the week: how many values, their sum, and the sum of their squares.

    The values have no trend any more. Hours without a value do not count.
    """
    if not len(counts) == len(sums) == len(squares) == WEEK_HOURS:
        raise ValueError(f"a week has {WEEK_HOURS} hours")
    day_counts = [0.0] * DAY_HOURS
    day_sums = [0.0] * DAY_HOURS
    remainder = 0.0
    for slot in range(WEEK_HOURS):
        count = counts[slot]
        if count > 0.0:
            day_counts[slot % DAY_HOURS] += count
            day_sums[slot % DAY_HOURS] += sums[slot]
            remainder += max(0.0, squares[slot] - sums[slot] * sums[slot] / count)
    total = sum(day_counts)
    if total < 2 * WEEK_HOURS or min(day_counts) == 0.0:
        return Strengths(None, None)
    mean = sum(day_sums) / total
    daily, weekly = 0.0, 0.0
    for hour in range(DAY_HOURS):
        day_mean = day_sums[hour] / day_counts[hour]
        daily += day_counts[hour] * (day_mean - mean) ** 2
        for slot in range(hour, WEEK_HOURS, DAY_HOURS):
            if counts[slot] > 0.0:
                weekly += counts[slot] * (sums[slot] / counts[slot] - day_mean) ** 2
    return Strengths(_strength(daily, remainder), _strength(weekly, remainder))


def trend_per_year(levels: Sequence[float | None], days: float) -> float | None:
    """Growth a year as a share, by means of blocks of so many days; None where too few were seen.

    The median of all slopes (Theil 1950, Sen 1968), of logarithms: no single block decides, and
    growth by a tenth each month is a straight line. Blocks of 0 or less are left out.
    """
    points = [
        (place, math.log(level))
        for place, level in enumerate(levels)
        if level is not None and level > 0.0
    ]
    if len(points) < _BLOCKS_MIN:
        return None
    slopes = sorted(
        (later - earlier) / (end - start)
        for place, (start, earlier) in enumerate(points)
        for end, later in points[place + 1 :]
    )
    middle = len(slopes) // 2
    slope = slopes[middle] if len(slopes) % 2 else 0.5 * (slopes[middle - 1] + slopes[middle])
    return math.exp(max(-50.0, min(50.0, slope * YEAR_DAYS / days))) - 1.0


def _strength(season: float, remainder: float) -> float:
    whole = season + remainder
    return max(0.0, 1.0 - remainder / whole) if whole > 1e-12 else 0.0
