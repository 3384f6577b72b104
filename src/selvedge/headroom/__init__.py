"""Floor 1: what content leaves free, now and next. Sequences in, numbers out; fails closed."""

from selvedge.headroom.forecaster import Forecaster, Prediction, local_second
from selvedge.headroom.reserve import (
    BIN,
    BINS,
    DROPPED_IN,
    RESERVE_FEW,
    RETURN_BELOW,
    WEEK_STEPS,
    Reason,
    Reserve,
    Surges,
    bin_of,
    reserve_of,
    reserve_of_counts,
)
from selvedge.headroom.state import ForecastState
from selvedge.headroom.windows import (
    DAY_HOURS,
    NIGHT_HOURS,
    NIGHT_START,
    WEEK_HOURS,
    Window,
    best_window,
    fold_week,
    is_night,
    window_hours,
    window_use,
)

__all__ = [
    "BIN",
    "BINS",
    "DAY_HOURS",
    "DROPPED_IN",
    "NIGHT_HOURS",
    "NIGHT_START",
    "RESERVE_FEW",
    "RETURN_BELOW",
    "WEEK_HOURS",
    "WEEK_STEPS",
    "ForecastState",
    "Forecaster",
    "Prediction",
    "Reason",
    "Reserve",
    "Surges",
    "Window",
    "best_window",
    "bin_of",
    "fold_week",
    "is_night",
    "local_second",
    "reserve_of",
    "reserve_of_counts",
    "window_hours",
    "window_use",
]
