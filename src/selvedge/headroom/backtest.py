"""How good the forecasts would have been: rolling origins, beside what costs nothing.

The series is played once. At origins along the way the forecaster, which has seen nothing beyond
them, is asked for the next hour, the next day and the next quarter; beside it stand the
seasonal-naive forecast (the same time last week) and the naive one (what was just seen). All are
judged on the same points. What was not measured is no point.

Scores: mean absolute error; MASE (Hyndman and Koehler, "Another look at measures of forecast
accuracy", Int. J. Forecast. 22, 2006), scaled by the seasonal-naive error over the whole series;
skill, the share of the seasonal-naive error that is gone; the share of points in the 90 % interval;
and the pinball loss of the 5th, 50th and 95th percentile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from selvedge.fabric.value import Value
from selvedge.headroom.forecaster import DAY_S, HOUR_S, WEEK_S, Forecaster

Horizon = Literal["hour", "day", "quarter"]
HORIZONS: Final[tuple[Horizon, ...]] = ("hour", "day", "quarter")
QUARTER_S: Final = 13 * WEEK_S
_P05: Final = 2
_P50: Final = 4
_P95: Final = 6
"""Where they stand in a prediction's values."""


class Plan(Value, frozen=True):
    """Where origins lie, in hours. None of the distances shares a factor with a week's hours, so
    that every hour of the day and of the week is an origin, and a target, equally often.
    """

    skip: int = 4 * 168
    """Learnt before the first origin."""
    hour: int = 5
    """From origin to origin, of forecasts for the next hour."""
    day: int = 25
    quarter: int = 509
    quarter_targets: int = 29
    """From target to target, of a forecast for a quarter."""


class Score(Value, frozen=True):
    """One horizon's: means over all points. None where there was no point."""

    horizon: Horizon
    points: int
    mae: float | None
    """Of the forecaster's median."""
    seasonal_mae: float | None
    naive_mae: float | None
    scale: float | None
    """MASE's: the seasonal-naive error over the whole series."""
    coverage_90: float | None
    below: float | None
    """Share of points under the 5th percentile."""
    pinball: float | None

    @property
    def skill(self) -> float | None:
        """Share of the seasonal-naive error that is gone; negative where it is better."""
        return _skill(self.mae, self.seasonal_mae)

    @property
    def naive_skill(self) -> float | None:
        """The same against the naive forecast."""
        return _skill(self.mae, self.naive_mae)

    @property
    def mase(self) -> float | None:
        """The error in units of the seasonal-naive one over the whole series."""
        return None if self.mae is None or not self.scale else self.mae / self.scale


class _Sums:
    """What becomes a `Score`."""

    def __init__(self) -> None:
        self.points: int = 0
        self.own: float = 0.0
        self.seasonal: float = 0.0
        self.naive: float = 0.0
        self.below: int = 0
        self.above: int = 0
        self.pinball: float = 0.0

    def add(self, use: float, values: list[float], seasonal: float, naive: float) -> None:
        low, middle, high = max(0.0, values[_P05]), max(0.0, values[_P50]), max(0.0, values[_P95])
        self.points += 1
        self.own += abs(use - middle)
        self.seasonal += abs(use - seasonal)
        self.naive += abs(use - naive)
        self.below += 1 if use < low else 0
        self.above += 1 if use > high else 0
        loss = 0.05 * (use - low) if use >= low else 0.95 * (low - use)
        loss += 0.95 * (use - high) if use >= high else 0.05 * (high - use)
        self.pinball += (loss + 0.5 * abs(use - middle)) / 3.0

    def score(self, horizon: Horizon, scale: float | None) -> Score:
        n = self.points
        if n == 0:
            return Score(horizon, 0, None, None, None, scale, None, None, None)
        inside = 1.0 - float(self.below + self.above) / n
        below = float(self.below) / n
        own, seasonal, naive = self.own / n, self.seasonal / n, self.naive / n
        return Score(horizon, n, own, seasonal, naive, scale, inside, below, self.pinball / n)


class _Run:
    """One pass over one series."""

    def __init__(
        self, uses: Sequence[float | None], local_s: Sequence[int], step_s: int, plan: Plan
    ) -> None:
        self.uses: list[float] = [-1.0 if use is None or use != use else use for use in uses]
        self.local_s: list[int] = list(local_s)
        self.step_s: int = step_s
        self.per_hour: int = HOUR_S // step_s
        self.week: int = WEEK_S // step_s
        self.plan: Plan = plan
        self.forecaster: Forecaster = Forecaster(step_s)
        self.sums: list[_Sums] = [_Sums() for _ in HORIZONS]
        self.last: float = -1.0

    def play(self) -> None:
        """Learn and be asked, from the first step to the last."""
        first = self.plan.skip * self.per_hour
        every = [self.plan.hour, self.plan.day, self.plan.quarter]
        length = [self.per_hour, DAY_S // self.step_s, QUARTER_S // self.step_s]
        stride = [1, 1, self.plan.quarter_targets * self.per_hour]
        for now in range(len(self.uses)):
            if now >= first and self.last >= 0.0:
                for which in range(3):
                    if (now - first) % (every[which] * self.per_hour) == 0:
                        self._ask(which, now, length[which], stride[which])
            use = self.uses[now]
            if use >= 0.0:
                self.forecaster.update(now * self.step_s, self.local_s[now], use)
                self.last = use

    def _ask(self, which: int, now: int, length: int, stride: int) -> None:
        """Forecast the steps from `now` on, and compare; a quarter must lie in the series whole."""
        if now + length > len(self.uses):
            return
        sums = self.sums[which]
        for ahead in range(0, length, stride):
            at = now + ahead
            use = self.uses[at]
            seasonal = self._last_week(now, at)
            if use >= 0.0 and seasonal >= 0.0:
                ahead_of = self.forecaster.predict(at * self.step_s, self.local_s[at])
                sums.add(use, ahead_of.values, seasonal, self.last)

    def _last_week(self, now: int, at: int) -> float:
        """The newest value of the same time of the week before `now`; -1 where not measured."""
        weeks = (at - now) // self.week + 1
        place = at - weeks * self.week
        return self.uses[place] if place >= 0 else -1.0

    def scale(self) -> float | None:
        """The seasonal-naive error over the whole series."""
        total, count = 0.0, 0
        for at in range(self.week, len(self.uses)):
            use, before = self.uses[at], self.uses[at - self.week]
            if use >= 0.0 and before >= 0.0:
                total += abs(use - before)
                count += 1
        return total / count if count else None


def backtest(
    uses: Sequence[float | None],
    local_s: Sequence[int],
    step_s: int = HOUR_S,
    plan: Plan | None = None,
) -> list[Score]:
    """Scores for the next hour, day and quarter, in this order.

    `uses` holds one value a step, None or NaN where not measured; `local_s` the second of the local
    week at which each step begins.
    """
    if len(uses) != len(local_s):
        raise ValueError(f"{len(uses)} uses and {len(local_s)} local times; want one each")
    run = _Run(uses, local_s, step_s, plan or Plan())
    run.play()
    scale = run.scale()
    return [sums.score(horizon, scale) for horizon, sums in zip(HORIZONS, run.sums, strict=True)]


def _skill(own: float | None, other: float | None) -> float | None:
    return None if own is None or not other else 1.0 - own / other
