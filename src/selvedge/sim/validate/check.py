"""One row of a check, and the statistics that checks share."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Check(msgspec.Struct, frozen=True):
    """What we get, what the reference says, the bar in words, and whether it is met."""

    name: str
    ours: float
    reference: float
    tolerance: str
    met: bool


def near(name: str, ours: float, reference: float, part: float) -> Check:
    """Met where ours is within a share of the reference."""
    met = abs(ours - reference) <= part * abs(reference)
    return Check(name, ours, reference, f"within {part:.0%}", met)


def within(name: str, ours: float, reference: float, points: float) -> Check:
    """Met where ours is within so much of the reference, in its own unit."""
    met = abs(ours - reference) <= points
    return Check(name, ours, reference, f"within {points:g} points", met)


def below(name: str, ours: float, reference: float, words: str = "not above") -> Check:
    """Met where ours is at most the reference."""
    return Check(name, ours, reference, words, ours <= reference)


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)


def rank(values: Sequence[float], percent: int) -> float:
    """The nearest-rank quantile."""
    return sorted(values)[-(-len(values) * percent // 100) - 1]
