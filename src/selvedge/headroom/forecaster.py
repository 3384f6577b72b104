"""What content will use: one forecaster, for a PoP's admission and for the operator's report.

A use (any number that is not negative) is taken for

    level x (season + slow deviation + fast deviation)

- *level*: mean of some weeks, with a damped trend (`levels`).
- *season*: a profile of 24 local hours plus one of 168 hours of the week, learnt side by side:
  double seasonal exponential smoothing (Taylor, "Short-term electricity demand forecasting using
  double seasonal exponential smoothing", J. Oper. Res. Soc. 54, 2003), with gains of 1/n while
  little was seen. Steps shorter than an hour are interpolated between the hours' middles.
- *slow* and *fast deviation*: what lasts about a day and what lasts hours; they fade by factors
  that are learnt, which is Taylor's adjustment for autocorrelated errors on two scales.
- What is far out moves the state only as far as four times the usual error (Gelper, Fried and
  Croux, "Robust forecasting with exponential and Holt-Winters smoothing", J. Forecast. 29, 2010).

Intervals are conformal (`quantiles`): scores of the step ahead, of the day ahead and of the week
ahead are tracked, each by forecasts that really were made, and wider ones follow from how levels
strayed. An update takes constant time; the state is some hundreds of numbers.

What is missing stays missing: an absent step is never filled, deviations fade over it. Local time
comes from the caller, so that a clock's change is only another local hour. A holiday is a Sunday
(`local_second`).

A PoP's admission, each minute:

>>> content = Forecaster(step_s=60)
>>> for minute in range(3 * 1440):
...     _ = content.update(minute * 60, minute * 60, 0.5 if minute // 60 % 24 > 7 else 0.2)
>>> ahead = content.predict(3 * 86_400 + 7200, 3 * 86_400 + 7200)
>>> round(ahead.mean, 1), ahead.quantile(0.95) < 0.5
(0.2, True)
"""

from __future__ import annotations

import math
from typing import Final

from selvedge.headroom.levels import Levels
from selvedge.headroom.origins import Origin
from selvedge.headroom.quantiles import Tracker, interpolate
from selvedge.headroom.state import ForecastState

VERSION: Final = 1
HOUR_S: Final = 3600
DAY_S: Final = 86_400
WEEK_S: Final = 604_800
STEP_S_MAX: Final = HOUR_S
_SUNDAY: Final = 6

_DAILY_GAIN: Final = 0.03
_WEEKLY_GAIN: Final = 0.08
_WEEKLY_PRIOR: Final = 1.0
"""Weeks that "like any other day" counts for."""
_LEVEL_DAYS: Final = 12.0
"""Memory of the level."""
_SLOW_HOURS: Final = 24.0
"""Memory of the slow deviation."""
_SLOW_KNOWN: Final = 0.25
"""Of an hour's deviation, so much of the slow one is not the season's: the rest may be."""
_SCALE_GAIN: Final = 0.03
_SCALE_FIRST: Final = 0.2
_SCALE_MIN: Final = 1e-4
_FAR: Final = 4.0
"""Errors count for so many times the usual one at most."""
_SEASON_MIN: Final = 0.2
"""Deviations are relative to the season, but not to less than this part of the level."""
_LEVEL_MIN: Final = 1e-6
_DEVIATION_MAX: Final = 10.0
_SHIFT_MIN: Final = 0.2
"""A day's mean that is off by less is never taken for the first of another level."""
_ROUNDS_SCALE: Final = 0.1
_WEEK_SEEN: Final = 0.25
"""Of a week, this part must have been measured for its mean to count."""
_SLOW_FIT: Final = 0.004
_SLOW_KEPT: Final = 0.97
_FAST_FIT: Final = 0.03
_FAST_KEPT: Final = 0.998
"""Sums of squares of a regression at first, with half of a deviation that stays, and what is kept
of the sums each time.
"""
_DAY_ROUND_S: Final = 25 * HOUR_S
_WEEK_ROUND_S: Final = 173 * HOUR_S
"""How long a judged forecast lives: not a day, so that none is always made at the same hour."""
_NEAR_S: Final = 6 * HOUR_S
_FAR_S: Final = 3 * DAY_S
"""Errors before this, of a day's forecast and of a week's, are still those of the step ahead."""
_DAY_NEWS: Final = 10.0
_WEEK_NEWS: Final = 100.0
"""Hours of a day's forecast, and of a week's, that are as good as one independent score."""
_FADE_MAX: Final = 0.98
_FADE_MIN: Final = 0.01


def local_second(weekday: int, second: int, is_holiday: bool = False) -> int:
    """Second of the local week (Monday is weekday 0); on a holiday, that of a Sunday."""
    return (_SUNDAY if is_holiday else weekday) * DAY_S + second


class Prediction:
    """A use to come, as a distribution."""

    __slots__ = ("mean", "values")

    def __init__(self, mean: float, values: list[float]) -> None:
        self.mean: float = mean
        self.values: list[float] = values
        """Its quantiles at `GRID`, in order."""

    def quantile(self, part: float) -> float:
        """What it stays below with a probability of `part`; not below 0."""
        return max(0.0, interpolate(self.values, part))


class Forecaster:
    """One series. `step_s` divides an hour; observations are means over a step.

    Raises `ValueError` for a step that does not.
    """

    def __init__(self, step_s: int = HOUR_S) -> None:
        if not 0 < step_s <= STEP_S_MAX or HOUR_S % step_s:
            raise ValueError(f"step_s is {step_s}; it must divide an hour, as 60, 300 or 3600 do")
        self.step_s: int = step_s
        self.seen: int = 0
        self.first_s: int = 0
        self.last_s: int = 0
        self.levels: Levels = Levels()
        self._hours: float = float(step_s) / HOUR_S
        self._level: float = 0.0
        self._slow: float = 0.0
        self._fast: float = 0.0
        self._slow_xy: float = 0.5 * _SLOW_FIT
        self._slow_xx: float = _SLOW_FIT
        self._fast_xy: float = 0.5 * _FAST_FIT
        self._fast_xx: float = _FAST_FIT
        self._slow_fade: float = 0.0
        self._fast_fade: float = 0.0
        self._set_fades()
        self._daily: list[float] = [1.0] * 24
        self._daily_seen: list[float] = [0.0] * 24
        self._weekly: list[float] = [0.0] * 168
        self._weekly_seen: list[float] = [0.0] * 168
        self._scales: list[float] = [_SCALE_FIRST] * 24
        self._scales_seen: list[float] = [0.0] * 24
        self._rounds: int = 0
        self._rounds_scale: float = _ROUNDS_SCALE
        """The usual size of a day's mean deviation from its forecast."""
        self._shift_side: int = 0
        self._week_s: int = 0
        self._week_use: float = 0.0
        self._week_season: float = 0.0
        self._week_count: int = 0
        self._day_origin: Origin = Origin()
        self._week_origin: Origin = Origin()
        self._next: Tracker = Tracker()
        self._near: Tracker = Tracker(self._hours / _DAY_NEWS)
        self._far: Tracker = Tracker(self._hours / _WEEK_NEWS)

    def update(self, at_s: int, local_s: int, use: float | None) -> bool:
        """Learn the step that began at `at_s` (UTC), at second `local_s` of the local week.

        False, and nothing learnt, where it was not measured (None or NaN), is below 0 or infinite,
        or is not after the last one.
        """
        if use is None or not 0.0 <= use < math.inf or (self.seen > 0 and at_s <= self.last_s):
            return False
        if self.seen == 0:
            self._begin(at_s, use)
        else:
            self._pass_time(at_s)
        place = self._place(local_s)
        low = int(place)
        hour = low % 24
        if self._daily_seen[hour] == 0.0:
            self._daily[hour] = use / self._level
        season = self._season(place)
        floor = max(season, _SEASON_MIN)
        slow = self._slow * self._slow_fade
        fast = self._fast * self._fast_fade
        self._score(at_s, use, season, slow + fast, hour)
        deviation = use / self._level - season
        bound = _FAR * max(self._scales[hour], _SCALE_MIN)
        surprise = max(-bound, min(bound, deviation / floor - _SLOW_KNOWN * slow)) * floor
        weight = place - low
        self._learn_season(low, 1.0 - weight, surprise)
        if weight > 0.0:
            self._learn_season(low + 1 if low < 167 else 0, weight, surprise)
        self._learn_level(at_s, deviation / floor, bound)
        self._week_use += use
        self._week_season += season
        self._week_count += 1
        self.seen += 1
        self.last_s = at_s
        if at_s >= self._day_origin.made_s + _DAY_ROUND_S:
            self._learn_slow_fade()
            if at_s < self.first_s + WEEK_S:
                self._normalise()
            self._start(self._day_origin, at_s)
            if at_s >= self._week_origin.made_s + _WEEK_ROUND_S:
                self._start(self._week_origin, at_s)
        return True

    def predict(self, at_s: int, local_s: int) -> Prediction:
        """The use in the step that begins at `at_s`, after the last that was learnt.

        Raises `ValueError` where nothing was learnt yet, or it is not after that.
        """
        if self.seen == 0 or at_s <= self.last_s:
            raise ValueError("a prediction is for a step after the last one that was learnt")
        days = float(at_s - self.last_s) / DAY_S
        steps = float(at_s - self.last_s) / self.step_s
        place = self._place(local_s)
        season = self._season(place)
        level = self._level
        if days > 0.5:
            level *= self.levels.grown(days / 7.0)
        held: float = self._fast_fade**steps
        slow: float = self._slow * self._slow_fade**steps
        floor = max(season, _SEASON_MIN)
        spread = level * floor * max(self._scales[int(place) % 24], _SCALE_MIN)
        if days <= 1.0:
            still = held / self._fast_fade
            weight, first, last = 1.0 - still * still, self._next, self._near
        else:
            weight, first, last = min(1.0, (days - 1.0) / 6.0), self._near, self._far
        bias = first.bias + weight * (last.bias - first.bias)
        mean = level * (season + floor * (slow + self._fast * held)) + bias * spread
        strayed = level * season * self.levels.strayed(days / 7.0 - 1.0) if days > 7.0 else 0.0
        firsts, lasts, wide = first.values, last.values, self.levels.tracker.values
        base = mean - bias * spread
        values: list[float] = []
        for one in range(9):
            near = _between(firsts[one], lasts[one], weight) * spread
            values.append(base + (_together(near, wide[one] * strayed) if strayed else near))
        values.sort()
        return Prediction(max(0.0, mean), values)

    def predict_week(self, weeks: int) -> Prediction:
        """The mean use of the week that ends so many weeks from the last step, from 1 on.

        A mean of many steps is surer than each of them: it strays only as levels do. Raises
        `ValueError` where nothing was learnt yet.
        """
        if self.seen == 0 or weeks < 1:
            raise ValueError("want a week from 1 on, after something was learnt")
        mean = self._level * self.levels.grown(float(weeks))
        size = mean * self.levels.strayed(float(weeks))
        return Prediction(mean, sorted([mean + one * size for one in self.levels.tracker.values]))

    def _begin(self, at_s: int, use: float) -> None:
        self.first_s = at_s
        self._week_s = at_s
        self._level = max(_LEVEL_MIN, use)
        self._start(self._day_origin, at_s)
        self._start(self._week_origin, at_s)

    def _pass_time(self, at_s: int) -> None:
        """From the last step to this one: growth; over a gap, deviations fade."""
        steps = (at_s - self.last_s) // self.step_s
        if steps > 1:
            self._slow *= self._slow_fade ** float(steps - 1)
            self._fast *= self._fast_fade ** float(steps - 1)
        slow: float = self._slow_fade ** float(steps) if steps != 1 else self._slow_fade
        fast: float = self._fast_fade ** float(steps) if steps != 1 else self._fast_fade
        for origin in (self._day_origin, self._week_origin):
            origin.slow *= slow
            origin.fast *= fast
        weeks = float(steps) * self._hours / 168.0
        self._level *= 1.0 + max(-0.5, min(0.5, self.levels.trusted_growth() * weeks))
        while at_s >= self._week_s + WEEK_S:
            self._close_week()

    def _place(self, local_s: int) -> float:
        """Where in the week's hours the middle of a step lies; whole numbers are their middles."""
        place = (local_s + 0.5 * self.step_s) / HOUR_S - 0.5
        if place < 0.0:
            return place + 168.0
        return place if place < 168.0 else place - 168.0

    def _season(self, place: float) -> float:
        low = int(place)
        weight = place - low
        season = self._daily[low % 24] + self._weekly[low]
        if weight > 0.0:
            high = low + 1 if low < 167 else 0
            season += weight * (self._daily[high % 24] + self._weekly[high] - season)
        return max(0.0, season)

    def _score(self, at_s: int, use: float, season: float, carried: float, hour: int) -> None:
        """Judge the forecasts that were made for this step, and learn how far off they are."""
        age_s = at_s - self.first_s
        if age_s < DAY_S:
            return
        floor = max(season, _SEASON_MIN)
        unit = floor * max(self._scales[hour], _SCALE_MIN)
        self._next.add((use / self._level - season - floor * carried) / unit)
        origin = self._day_origin
        error = use / self._level_of(origin, at_s) - season
        origin.total += max(-_DEVIATION_MAX, min(_DEVIATION_MAX, error / floor))
        origin.count += 1
        if at_s >= origin.made_s + _NEAR_S:
            error -= floor * (origin.slow + origin.fast)
            self._near.add(error / unit)
            self._learn_scale(hour, abs(error) / floor)
        origin = self._week_origin
        if at_s >= origin.made_s + _FAR_S and age_s >= WEEK_S:
            error = use / self._level_of(origin, at_s) - season
            self._far.add((error - floor * (origin.slow + origin.fast)) / unit)

    def _level_of(self, origin: Origin, at_s: int) -> float:
        weeks = float(at_s - origin.made_s) / WEEK_S
        return max(_LEVEL_MIN, origin.level * (1.0 + origin.growth * weeks))

    def _learn_scale(self, hour: int, error: float) -> None:
        seen = self._scales_seen[hour]
        gain: float = max(_SCALE_GAIN * self._hours, self._hours / (seen + self._hours + 1.0))
        scale = self._scales[hour]
        self._scales[hour] = scale + gain * (min(error, 6.0 * max(scale, _SCALE_MIN)) - scale)
        self._scales_seen[hour] = seen + self._hours

    def _learn_season(self, slot: int, weight: float, surprise: float) -> None:
        part = weight * self._hours
        hour = slot % 24
        seen = self._daily_seen[hour]
        gain: float = max(_DAILY_GAIN * part, part / (seen + part))
        if seen > 0.0:
            self._daily[hour] += gain * surprise
        self._daily_seen[hour] = seen + part
        if seen >= 1.0:
            seen = self._weekly_seen[slot]
            gain = max(_WEEKLY_GAIN * part, part / (seen + part + _WEEKLY_PRIOR))
            self._weekly[slot] += gain * surprise
            self._weekly_seen[slot] = seen + part

    def _learn_level(self, at_s: int, deviation: float, bound: float) -> None:
        """The level, and what is left: a slow deviation and a fast one."""
        age_s = at_s - self.first_s
        bounded = max(-bound, min(bound, deviation))
        if age_s >= DAY_S:
            days = max(1.0, min(_LEVEL_DAYS, float(age_s) / DAY_S))
            self._level = max(_LEVEL_MIN, self._level * (1.0 + bounded * self._hours / 24.0 / days))
        deviation = max(-_DEVIATION_MAX, min(_DEVIATION_MAX, deviation))
        self._slow += self._hours / _SLOW_HOURS * (deviation - self._slow)
        fast = deviation - self._slow
        before = max(-bound, min(bound, self._fast))
        self._fast_xy = _FAST_KEPT * self._fast_xy + before * max(-bound, min(bound, fast))
        self._fast_xx = _FAST_KEPT * self._fast_xx + before * before
        self._fast = fast

    def _learn_slow_fade(self) -> None:
        """How much of a day's slow deviation is there in the next day's mean."""
        origin = self._day_origin
        if origin.count > 0:
            first = max(-1.0, min(1.0, origin.slow_first))
            came = max(-1.0, min(1.0, origin.total / origin.count))
            self._notice_shift(came, origin.total / origin.count)
            self._slow_xy = _SLOW_KEPT * self._slow_xy + first * came
            self._slow_xx = _SLOW_KEPT * self._slow_xx + first * first
        self._set_fades()

    def _notice_shift(self, came: float, whole: float) -> None:
        """Two days in a row far off on one side: another capacity, or other users. The level is
        what it is now, and the past is read as if it had always been.
        """
        bound = max(_SHIFT_MIN, _FAR * self._rounds_scale)
        side = 1 if came > bound else -1 if came < -bound else 0
        if side != 0 and side == self._shift_side:
            factor = max(0.01, 1.0 + whole)
            self._rescale(factor)
            self._slow, self._fast = 0.0, 0.0
            side = 0
        else:
            gain: float = max(0.05, 1.0 / (self._rounds + 2.0))
            self._rounds_scale += gain * (min(abs(came), bound) - self._rounds_scale)
            self._rounds += 1
        self._shift_side = side

    def _set_fades(self) -> None:
        share = max(_FADE_MIN, min(_FADE_MAX, self._slow_xy / max(1e-9, self._slow_xx)))
        # The share is of a mean over a day; half a day after the start it is about that.
        self._slow_fade = share ** (2.0 * self._hours / 24.0)
        self._fast_fade = max(_FADE_MIN, min(_FADE_MAX, self._fast_xy / max(1e-9, self._fast_xx)))

    def _start(self, origin: Origin, at_s: int) -> None:
        origin.made_s = at_s
        origin.level = self._level
        origin.growth = self.levels.trusted_growth()
        origin.slow = self._slow
        origin.fast = self._fast
        origin.slow_first = self._slow
        origin.total = 0.0
        origin.count = 0

    def _close_week(self) -> None:
        """A week is over: its level is judged and learnt, and the profile's mean is 1 again."""
        mean: float | None = None
        if self._week_season > 0.0 and self._week_count * self._hours >= _WEEK_SEEN * 168.0:
            mean = self._week_use / self._week_season
        self.levels.close(mean, self._level)
        self._normalise()
        self._week_s += WEEK_S
        self._week_use, self._week_season, self._week_count = 0.0, 0.0, 0

    def _normalise(self) -> None:
        """The profile's mean becomes 1, and whatever is a level takes it over."""
        total = (sum(self._weekly) / 7.0 + sum(self._daily)) / 24.0
        if total <= 0.0:
            return
        self._daily = [one / total for one in self._daily]
        self._weekly = [one / total for one in self._weekly]
        self._week_season /= total
        self._rescale(total)

    def _rescale(self, factor: float) -> None:
        """Levels are so many times what they were, now and in all that is remembered."""
        self._level = max(_LEVEL_MIN, self._level * factor)
        self._day_origin.level *= factor
        self._week_origin.level *= factor
        self.levels.rescale(factor)

    def state(self) -> ForecastState:
        """What is remembered."""
        return ForecastState(
            version=VERSION,
            step_s=self.step_s,
            seen=self.seen,
            first_s=self.first_s,
            last_s=self.last_s,
            level=self._level,
            slow=self._slow,
            fast=self._fast,
            slow_fit=(self._slow_xy, self._slow_xx),
            fast_fit=(self._fast_xy, self._fast_xx),
            fades=(self._slow_fade, self._fast_fade),
            daily=list(self._daily),
            daily_seen=list(self._daily_seen),
            weekly=list(self._weekly),
            weekly_seen=list(self._weekly_seen),
            scales=list(self._scales),
            scales_seen=list(self._scales_seen),
            rounds=self._rounds,
            rounds_scale=self._rounds_scale,
            shift_side=self._shift_side,
            week_s=self._week_s,
            week_use=self._week_use,
            week_season=self._week_season,
            week_count=self._week_count,
            day_origin=self._day_origin.state(),
            week_origin=self._week_origin.state(),
            trackers=(self._next.state(), self._near.state(), self._far.state()),
            levels=self.levels.state(),
        )

    @classmethod
    def restore(cls, state: ForecastState) -> Forecaster:
        """Go on from a state. Raises `ValueError` for one of another version or another shape."""
        sizes = (len(state.daily), len(state.weekly), len(state.scales), len(state.daily_seen))
        if state.version != VERSION or sizes != (24, 168, 24, 24):
            raise ValueError(f"a forecaster's state of version {state.version}; want {VERSION}")
        made = cls(state.step_s)
        made.seen, made.first_s, made.last_s = state.seen, state.first_s, state.last_s
        made._level, made._slow, made._fast = state.level, state.slow, state.fast
        made._slow_xy, made._slow_xx = state.slow_fit
        made._fast_xy, made._fast_xx = state.fast_fit
        made._daily, made._daily_seen = list(state.daily), list(state.daily_seen)
        made._weekly, made._weekly_seen = list(state.weekly), list(state.weekly_seen)
        made._scales, made._scales_seen = list(state.scales), list(state.scales_seen)
        made._rounds, made._rounds_scale = state.rounds, state.rounds_scale
        made._shift_side = state.shift_side
        made._week_s, made._week_count = state.week_s, state.week_count
        made._week_use, made._week_season = state.week_use, state.week_season
        made._day_origin.load(state.day_origin)
        made._week_origin.load(state.week_origin)
        made._next.load(state.trackers[0])
        made._near.load(state.trackers[1])
        made._far.load(state.trackers[2])
        made.levels = Levels.restore(state.levels)
        # Fades are learnt once a day: they are remembered, not computed anew.
        made._slow_fade, made._fast_fade = state.fades
        return made


def _between(first: float, last: float, weight: float) -> float:
    """From one error to another of the same part: on the line between their variances."""
    if first * last > 0.0:
        size = math.sqrt(first * first + weight * (last * last - first * first))
        return size if last > 0.0 else -size
    return first + weight * (last - first)


def _together(near: float, far: float) -> float:
    """Two independent errors of the same part: as the sum of two variances."""
    if (near >= 0.0) == (far >= 0.0):
        size = math.sqrt(near * near + far * far)
        return size if near >= 0.0 else -size
    return near + far
