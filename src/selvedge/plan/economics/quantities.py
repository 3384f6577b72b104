"""Inputs that are not known exactly: a value, its range, whose figure it is and of when.

Formulas take plain numbers by their dotted names, or arrays of draws: the same text reckons the
middle, one end of a range, and ten thousand chances at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

Real: TypeAlias = float | npt.NDArray[np.float64]
Values: TypeAlias = Mapping[str, Real]
Spread = Literal["triangle", "log", "even"]
_Z_95: Final = 1.6448536269514722


class Quantity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number with its doubt."""

    value: float
    low: float | None = None
    high: float | None = None
    spread: Spread = "triangle"
    """``triangle``: between low and high, most likely at value; ``even``: alike between them;
    ``log``: median at value, 5 and 95 in 100 at low and high."""
    source: str = ""
    as_of: str = ""

    @property
    def is_sure(self) -> bool:
        """Whether it has no range."""
        return self.low is None or self.high is None or self.low == self.high


Number: TypeAlias = Quantity | float
"""As written: a plain number, or one with its range and source."""


def quantity(written: Number) -> Quantity:
    """A plain number as one without doubt."""
    return written if isinstance(written, Quantity) else Quantity(float(written))


def fault_of(one: Quantity, least: float, most: float) -> str | None:
    """What is wrong with it, in words; None: nothing."""
    for name, number in (("value", one.value), ("low", one.low), ("high", one.high)):
        if number is not None and not least <= number <= most:
            return f"{name} {number:g} is not from {least:g} to {most:g}; correct it"
    if (one.low is None) != (one.high is None):
        return "low and high go together; give both or neither"
    if one.low is not None and one.high is not None and not one.low <= one.value <= one.high:
        return f"{one.value:g} is not between low {one.low:g} and high {one.high:g}; correct one"
    if one.spread == "log" and one.low is not None and one.low <= 0:
        return "spread 'log' needs a low above 0; raise it, or use 'triangle'"
    return None


def draw(one: Quantity, generator: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    """So many chances of it."""
    if one.is_sure or one.low is None or one.high is None:
        return np.full(count, one.value)
    if one.spread == "even":
        return generator.uniform(one.low, one.high, count)
    if one.spread == "log":
        normal = generator.standard_normal(count)
        below, above = float(np.log(one.value / one.low)), float(np.log(one.high / one.value))
        found: npt.NDArray[np.float64] = np.exp(np.where(normal < 0, below, above) * normal / _Z_95)
        return one.value * found
    return generator.triangular(one.low, one.value, one.high, count)


def draw_all(
    quantities: Mapping[str, Quantity], seed: int, count: int
) -> dict[str, npt.NDArray[np.float64]]:
    """Chances of all, each from a stream of its own: adding one does not change the others."""
    found = {}
    for name, one in quantities.items():
        stream = np.random.default_rng([seed, *name.encode()])
        found[name] = draw(one, stream, count)
    return found


def middle(quantities: Mapping[str, Quantity]) -> dict[str, float]:
    """The value of each."""
    return {name: one.value for name, one in quantities.items()}
