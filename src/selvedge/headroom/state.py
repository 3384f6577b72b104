"""What a forecaster remembers, as a value that can be stored: some ten kilobytes as JSON.

Not compiled: what is decoded keeps its types here.
"""

from __future__ import annotations

import msgspec


class OriginState(msgspec.Struct, frozen=True, kw_only=True):
    """A forecast that was made and is being judged."""

    made_s: int
    level: float
    growth: float
    slow: float
    fast: float
    slow_first: float
    total: float
    count: int


class TrackerState(msgspec.Struct, frozen=True, kw_only=True):
    """Quantiles of scores, their mean, and how many there were."""

    values: list[float]
    bias: float
    scored: int


class LevelState(msgspec.Struct, frozen=True, kw_only=True):
    """Weeks: growth, and how wrong levels were 1 to 13 weeks ahead."""

    weeks: int
    means: list[float]
    year: tuple[float, float]
    ahead: list[float]
    growth: float
    trust: tuple[float, float]
    levels: list[float]
    growths: list[float]
    scales: list[float]
    counts: list[int]
    tracker: TrackerState


class ForecastState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything; `Forecaster.restore` goes on from it as if nothing had happened."""

    version: int
    step_s: int
    seen: int
    first_s: int
    last_s: int
    level: float
    slow: float
    fast: float
    slow_fit: tuple[float, float]
    fast_fit: tuple[float, float]
    fades: tuple[float, float]
    daily: list[float]
    daily_seen: list[float]
    weekly: list[float]
    weekly_seen: list[float]
    scales: list[float]
    scales_seen: list[float]
    rounds: int
    rounds_scale: float
    shift_side: int
    week_s: int
    week_use: float
    week_season: float
    week_count: int
    day_origin: OriginState
    week_origin: OriginState
    trackers: tuple[TrackerState, TrackerState, TrackerState]
    levels: LevelState
