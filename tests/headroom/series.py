"""Series whose truth is known: seeded, an hour a value."""

from __future__ import annotations

import math
from random import Random

WEEK = 168
WEEK_S = 604_800


def shape(hour: int) -> float:
    """What is usual at an hour of the week: mean about 1, evenings high, other weekends."""
    day, clock = divmod(hour % WEEK, 24)
    wave = 1.0 + 0.6 * math.sin((clock - 14) / 12 * math.pi)
    return wave * (1.15 if day >= 5 and clock > 9 else 1.0)


def content(
    weeks: int, seed: int, noise: float = 0.05, fade: float = 0.8, growth: float = 0.1
) -> list[float]:
    """Use by hour: a level with growth a year, a season, and errors that fade."""
    random = Random(seed)
    error, found = 0.0, []
    for hour in range(weeks * WEEK):
        error = fade * error + random.gauss(0.0, noise * math.sqrt(1.0 - fade * fade))
        level = 0.35 * math.exp(growth * hour / 8766)
        found.append(max(0.0, level * shape(hour) * (1.0 + error)))
    return found


def local(hours: int, step_s: int = 3600) -> list[int]:
    """Local seconds of the week, of a place where week and series began together."""
    return [one * step_s % WEEK_S for one in range(hours)]
