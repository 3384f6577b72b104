"""Windows of hours: the night, and the best hours that a place has of its own.

A profile is a sequence of means by local hour: 24 of a day, or 168 of a week that begins on Monday
at 00:00. It is a circle: a window may run over its end. An hour that was never measured is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from selvedge.fabric.value import Value

NIGHT_START: Final = 23
NIGHT_HOURS: Final = 5
"""The night window, 23:00 to 04:00 local time."""
DAY_HOURS: Final = 24
WEEK_HOURS: Final = 168


class Window(Value, frozen=True):
    """Hours in a row: from the local hour `start` (of the day or of the week, as the profile)."""

    start: int
    hours: int
    use: float
    """Mean of the profile in it."""


def window_hours(start: int, hours: int, around: int = DAY_HOURS) -> list[int]:
    """The hours of a window in order, round the circle: `window_hours(23, 5)` is 23, 0, 1, 2, 3."""
    if not 0 < hours <= around or not 0 <= start < around:
        raise ValueError(f"a window of {hours} hours from {start} is none of {around} hours")
    return [(start + one) % around for one in range(hours)]


def is_night(hour: int, start: int = NIGHT_START, hours: int = NIGHT_HOURS) -> bool:
    """Whether a local hour, of the day or of the week, lies in the night window."""
    return (hour - start) % DAY_HOURS < hours


def window_use(profile: Sequence[float | None], start: int, hours: int) -> float | None:
    """The mean use in a window; None where an hour of it was never measured."""
    total = 0.0
    for hour in window_hours(start, hours, len(profile)):
        use = profile[hour]
        if use is None:
            return None
        total += use
    return total / hours


def best_window(profile: Sequence[float | None], hours: int = NIGHT_HOURS) -> Window | None:
    """The idlest window: of equals the earliest; None where none was measured whole."""
    best: Window | None = None
    for start in range(len(profile)):
        use = window_use(profile, start, hours)
        if use is not None and (best is None or use < best.use):
            best = Window(start, hours, use)
    return best


def fold_week(
    profile: Sequence[float | None], counts: Sequence[int] | None = None
) -> list[float | None]:
    """A week's profile as a day's: each hour the mean of its seven, weighted by `counts`."""
    if len(profile) != WEEK_HOURS:
        raise ValueError(f"a week's profile has {WEEK_HOURS} hours, this has {len(profile)}")
    folded: list[float | None] = []
    for hour in range(DAY_HOURS):
        total, weight = 0.0, 0
        for slot in range(hour, WEEK_HOURS, DAY_HOURS):
            use = profile[slot]
            count = 1 if counts is None else counts[slot]
            if use is not None and count > 0:
                total += use * count
                weight += count
        folded.append(total / weight if weight else None)
    return folded
