"""Draws from distributions, by a generator that is given."""

from __future__ import annotations

from math import log
from random import Random


def exponential(rng: Random, rate: float) -> float:
    """The same draw as `Random.expovariate`, which is not compiled."""
    return -log(1.0 - rng.random()) / rate
