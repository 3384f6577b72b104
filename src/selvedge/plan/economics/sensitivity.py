"""How sure a figure is: chances drawn for all inputs at once, and each input's own swing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from selvedge.plan.economics.inputs import limits_of
from selvedge.plan.economics.measures import Case, figures
from selvedge.plan.economics.quantities import Quantity, Real, Values, draw_all, middle

CHUNK: Final = 1000
Progress = Callable[[int, int], None]
"""Told how many of how many draws are done."""


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A figure at the middle of all inputs, and over draws."""

    name: str
    middle: float
    p05: float
    p50: float
    p95: float
    above_zero: float
    """Share of draws."""


class Swing(msgspec.Struct, frozen=True, kw_only=True):
    """What a figure comes to at the two ends of one input, all others in the middle."""

    input: str
    low: float
    high: float
    at_low: float
    at_high: float

    @property
    def width(self) -> float:
        """How far apart they are."""
        return abs(self.at_high - self.at_low)


def chances(
    case: Case,
    quantities: Mapping[str, Quantity],
    *,
    seed: int,
    draws: int,
    told: Progress | None = None,
) -> tuple[dict[str, npt.NDArray[np.float64]], dict[str, npt.NDArray[np.float64]]]:
    """Draws of the inputs, none beyond its limits, and the figures of each."""
    drawn = {
        name: np.clip(column, *limits_of(name))
        for name, column in draw_all(quantities, seed, draws).items()
    }
    parts: list[dict[str, Real]] = []
    for start in range(0, draws, CHUNK):
        values = {name: column[start : start + CHUNK] for name, column in drawn.items()}
        parts.append(figures(case, values))
        if told is not None:
            told(min(start + CHUNK, draws), draws)
    joined = {}
    for name in parts[0]:
        columns = [np.asarray(part[name], np.float64).reshape(-1) for part in parts]
        joined[name] = np.concatenate(columns)
    return drawn, joined


def intervals(
    case: Case, quantities: Mapping[str, Quantity], drawn: Mapping[str, npt.NDArray[np.float64]]
) -> list[Interval]:
    """Of every figure, from the draws of it."""
    centre = figures(case, middle(quantities))
    found = []
    for name, column in drawn.items():
        p05, p50, p95 = (float(one) for one in np.quantile(column, [0.05, 0.5, 0.95]))
        found.append(
            Interval(
                name=name,
                middle=float(centre[name]),
                p05=p05,
                p50=p50,
                p95=p95,
                above_zero=float((column > 0).mean()),
            )
        )
    return found


def swings(quantities: Mapping[str, Quantity], measure: Callable[[Values], float]) -> list[Swing]:
    """Each input that has a range and moves the figure, the widest first."""
    centre = middle(quantities)
    found = []
    for name, one in quantities.items():
        if one.is_sure or one.low is None or one.high is None:
            continue
        at_low, at_high = (measure({**centre, name: end}) for end in (one.low, one.high))
        if at_low != at_high:
            swing = Swing(input=name, low=one.low, high=one.high, at_low=at_low, at_high=at_high)
            found.append(swing)
    return sorted(found, key=lambda swing: -swing.width)


def turning_point(
    measure: Callable[[Values], float], centre: Values, name: str, least: float, most: float
) -> float | None:
    """The value of one input at which a figure passes zero; None: nowhere between the limits.

    Looked for on both sides of the middle, in growing steps, then by bisection: the nearest one.
    """
    here = float(centre[name])
    sign = measure(centre) > 0
    for other in _outwards(here, least, most):
        if (measure({**centre, name: other}) > 0) != sign:
            return _bisect(lambda one: (measure({**centre, name: one}) > 0) == sign, here, other)
    return None


def _outwards(here: float, least: float, most: float) -> list[float]:
    """Values farther and farther from one, above and below in turn, within limits."""
    found: list[float] = []
    base = abs(here) or 0.01
    for step in range(1, 120):
        grown = base * (1.15**step - 1)
        found += [
            one for one in (here + grown, here - grown, here / 1.15**step) if least <= one <= most
        ]
    return [*found, most, least]


def _bisect(same: Callable[[float], bool], near: float, far: float) -> float:
    for _ in range(80):
        between = (near + far) / 2
        near, far = (between, far) if same(between) else (near, between)
    return far
