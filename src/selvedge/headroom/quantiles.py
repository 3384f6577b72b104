"""Quantiles of scores that come one by one, in constant memory, and right in the long run.

Each tracked quantile goes up by a step when it was exceeded too often and down when too seldom:
online gradient descent on the pinball loss. Whatever the sequence (seasons, jumps, a model that is
wrong), the share of scores below the tracker of p tends to p: adaptive conformal inference (Gibbs
and Candès, NeurIPS 2021) in its form as a quantile tracker (Angelopoulos, Candès and Tibshirani,
"Conformal PID Control for Time Series Prediction", NeurIPS 2023), with steps that shrink while
little was seen (Angelopoulos, Barber and Bates, "Online conformal prediction with decaying step
sizes", ICML 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from selvedge.headroom.state import TrackerState

GRID: Final[tuple[float, ...]] = (0.005, 0.025, 0.05, 0.25, 0.5, 0.75, 0.95, 0.975, 0.995)
"""The quantiles that are tracked; others lie between them, or on a tail beyond."""
NORMAL: Final[tuple[float, ...]] = (-3.23, -2.457, -2.062, -0.845, 0.0, 0.845, 2.062, 2.457, 3.23)
"""Where they begin: of a normal distribution whose mean absolute value is 1."""
_STEP_MIN: Final = 0.03
_STEP_MAX: Final = 0.3
_DECAY: Final = 0.6
_FEW: Final = 50.0
_SCORE_MAX: Final = 20.0
_BIAS_GAIN: Final = 0.005
_BIAS_PRIOR: Final = 20.0
_BIAS_SCORE_MAX: Final = 8.0


class Tracker:
    """The quantiles of `GRID`, of scores of size about 1.

    `pace` is how much news a score is: errors of one forecast for many steps resemble each other,
    and quantiles that followed each of them would chase the day instead of learning from days.
    """

    def __init__(self, pace: float = 1.0) -> None:
        self.pace: float = pace
        self.values: list[float] = list(NORMAL)
        self.bias: float = 0.0
        """Their mean."""
        self.scored: int = 0

    def add(self, score: float) -> None:
        """One more score."""
        self.scored += 1
        gain: float = self.pace * max(_BIAS_GAIN, 1.0 / (self.pace * self.scored + _BIAS_PRIOR))
        self.bias += gain * (max(-_BIAS_SCORE_MAX, min(_BIAS_SCORE_MAX, score)) - self.bias)
        step = _STEP_MIN * self.pace
        news = self.pace * self.scored
        if news < _FEW:
            step = self.pace * max(_STEP_MIN, _STEP_MAX * _power(max(1.0, news), -_DECAY))
        bounded = max(-_SCORE_MAX, min(_SCORE_MAX, score))
        values = self.values
        for place in range(9):
            value = values[place]
            if bounded < value:
                values[place] = value - step * (1.0 - GRID[place])
            else:
                values[place] = value + step * GRID[place]

    def quantile(self, part: float) -> float:
        """The quantile of any part between 0 and 1, never falling as the part grows."""
        return interpolate(sorted(self.values), part)

    def state(self) -> TrackerState:
        """What is remembered."""
        return TrackerState(values=list(self.values), bias=self.bias, scored=self.scored)

    def load(self, state: TrackerState) -> None:
        """Go on from it."""
        self.values = list(state.values)
        self.bias = state.bias
        self.scored = state.scored


def interpolate(values: Sequence[float], part: float) -> float:
    """The quantile by those of `GRID`, in order: straight between them, exponential tails beyond.

    Sorting them first is the rearrangement of Chernozhukov, Fernández-Val and Galichon (2010): it
    makes quantiles monotone and none of them worse.
    """
    if part <= GRID[0]:
        return values[0] - _tail(values[1] - values[0], GRID[0], GRID[1], part)
    if part >= GRID[8]:
        return values[8] + _tail(values[8] - values[7], 1.0 - GRID[8], 1.0 - GRID[7], 1.0 - part)
    place = 1
    while part > GRID[place]:
        place += 1
    weight = (part - GRID[place - 1]) / (GRID[place] - GRID[place - 1])
    return values[place - 1] + weight * (values[place] - values[place - 1])


def _tail(width: float, outer: float, inner: float, part: float) -> float:
    """How far beyond the outermost: as far for each halving of the part as between the last two."""
    beyond, halvings = max(part, 1e-6), 0.0
    while beyond < outer:
        share = min(1.0, outer / beyond - 1.0)
        halvings += share
        beyond *= 2.0
    between = 0.0
    while outer < inner:
        between += min(1.0, inner / outer - 1.0)
        outer *= 2.0
    return width * halvings / between


def _power(base: float, exponent: float) -> float:
    result: float = base**exponent
    return result
