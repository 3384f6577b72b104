"""One series' outlook: its seasons, its forecasts, and how good they would have been.

A series is an hour's use after the other, NaN where nothing was measured. Everything that forecasts
is `headroom`; here are only arrays around it, and processes to share the work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from selvedge.headroom import (
    WEEK_HOURS,
    Forecaster,
    Plan,
    Prediction,
    backtest,
    strengths,
    trend_per_year,
)
from selvedge.plan.utilisation.zones import DAY_S, HOUR_S, spans_of

WEEK_S: Final = WEEK_HOURS * HOUR_S
FIT_WEEKS: Final = 26
"""A forecast is made by the last half year: what is older, the forecaster has nearly forgotten."""
SEEN_MIN: Final = 14 * 24
"""Measured hours without which there is no forecast."""
GONE_S: Final = 28 * DAY_S
"""A series that ended so long before the others has no forecast."""
BLOCK_DAYS: Final = 28
_DAY_AHEAD: Final = 24
_WEEKS_AHEAD: Final = 13
_MONDAY_S: Final = 3 * DAY_S
"""1970-01-01 was a Thursday: so much after a Monday."""

Reals = npt.NDArray[np.float32]
Longs = npt.NDArray[np.int64]
Row = dict[str, Any]  # a row of a table: text, numbers or None
Rows = dict[str, list[Row]]


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one place. `use` is a NumPy array of hours from `first_s` on."""

    level: str
    name: str
    zone: str
    first_s: int
    use: Any  # an array: msgspec does not look into it
    capacity_bps: float
    """By which a use becomes bits per second, now."""
    is_judged: bool
    """Whether its forecasts are backtested."""
    is_whole: bool = False
    """Whether all of it is learnt, not only the last `FIT_WEEKS`."""


def outlooks(series: Iterable[Series], workers: int, chunk: int = 32) -> Rows:
    """Rows of the tables `forecasts`, `backtests` and `seasonality`, in order of the series."""
    found: Rows = {"forecasts": [], "backtests": [], "seasonality": []}
    for rows in _shared(_chunks(series, chunk), workers):
        for name, some in rows.items():
            found[name] += some
    return found


def _chunks(series: Iterable[Series], size: int) -> Iterator[list[Series]]:
    chunk: list[Series] = []
    for one in series:
        chunk.append(one)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _shared(chunks: Iterator[list[Series]], workers: int) -> Iterator[Rows]:
    """The chunks' rows in order; a few chunks are under way. Arrays go by way of files: what waits
    in a pipe to a process that has died is waited for.

    Where processes cannot be had, or one dies for want of memory, the work is done here.
    """
    if workers <= 1:
        yield from map(outlook_of, chunks)
        return
    waiting: deque[tuple[list[Series], Future[Rows]]] = deque()
    with TemporaryDirectory() as folder, _pool(workers) as pool:
        for number, chunk in enumerate(chunks):
            waiting.append((chunk, _submit(pool, chunk, Path(folder) / f"{number}.npy")))
            if len(waiting) >= 2 * workers:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


def _submit(pool: ProcessPoolExecutor, chunk: list[Series], path: Path) -> Future[Rows]:
    np.save(path, np.concatenate([one.use for one in chunk]))
    named = [msgspec.structs.replace(one, use=len(one.use)) for one in chunk]
    try:
        return pool.submit(_outlook_at, named, path)
    except BrokenProcessPool as error:
        failed: Future[Rows] = Future()
        failed.set_exception(error)
        return failed


def _result(chunk: list[Series], rows: Future[Rows]) -> Rows:
    try:
        return rows.result()
    except BrokenProcessPool:
        return outlook_of(chunk)


def _outlook_at(named: list[Series], path: Path) -> Rows:
    """In a process of its own: the arrays are in the file, one after the other."""
    whole = np.load(path)
    path.unlink()
    chunk, begin = [], 0
    for one in named:
        chunk.append(msgspec.structs.replace(one, use=whole[begin : begin + one.use]))
        begin += one.use
    return outlook_of(chunk)


def outlook_of(chunk: list[Series]) -> Rows:
    """The rows of some series."""
    found: Rows = {"forecasts": [], "backtests": [], "seasonality": []}
    clocks: dict[tuple[str, int, int], Longs] = {}
    for one in chunk:
        key = (one.zone, one.first_s, len(one.use))
        if key not in clocks:
            clocks[key] = local_seconds(one.zone, one.first_s, len(one.use) + _DAY_AHEAD)
        local_s = clocks[key]
        found["seasonality"].append(seasonality_of(one, local_s))
        found["forecasts"] += forecasts_of(one, local_s)
        if one.is_judged:
            found["backtests"] += backtests_of(one, local_s)
    return found


def local_seconds(zone: str, first_s: int, hours: int) -> Longs:
    """The second of the local week at which each hour begins; Monday 00:00 is 0."""
    at_s = first_s + HOUR_S * np.arange(hours, dtype=np.int64)
    begins, offsets = spans_of(zone or "UTC", first_s, first_s + HOUR_S * max(1, hours))
    local = at_s + offsets[np.searchsorted(begins, at_s, side="right") - 1]
    week: Longs = (local + _MONDAY_S) % WEEK_S
    return week


def seasonality_of(series: Series, local_s: Longs) -> Row:
    """Trend and strengths; the trend is a mean of a week around each hour."""
    use = np.asarray(series.use, np.float64)
    rest = use - _mean_around(use, WEEK_HOURS)
    there = np.isfinite(rest)
    slots, values = local_s[: len(use)][there] // HOUR_S, rest[there]
    counts, sums, squares = (
        np.bincount(slots, weights, WEEK_HOURS).tolist()
        for weights in (np.ones(len(values)), values, values * values)
    )
    strength = strengths(counts, sums, squares)
    return {
        "level": series.level,
        "name": series.name,
        "trend_per_year": trend_per_year(_blocks(use, 24 * BLOCK_DAYS), BLOCK_DAYS),
        "daily_strength": strength.daily,
        "weekly_strength": strength.weekly,
    }


def _mean_around(use: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    """The mean of so many hours around each; NaN where less than half of them was measured."""
    there = np.isfinite(use)
    sums = np.concatenate(([0.0], np.cumsum(np.where(there, use, 0.0))))
    counts = np.concatenate(([0], np.cumsum(there)))
    place = np.arange(len(use))
    low, high = np.maximum(0, place - width // 2), np.minimum(len(use), place + width - width // 2)
    count = counts[high] - counts[low]
    enough = 2 * count >= high - low
    return np.where(enough, (sums[high] - sums[low]) / np.maximum(1, count), np.nan)


def _blocks(use: npt.NDArray[np.float64], hours: int) -> list[float | None]:
    """Means of whole blocks; None where less than half of one was measured."""
    blocks = use[: len(use) // hours * hours].reshape(-1, hours)
    there = np.isfinite(blocks)
    counts = there.sum(axis=1)
    means = np.where(there, blocks, 0.0).sum(axis=1) / np.maximum(1, counts)
    return [
        float(mean) if 2 * count >= hours else None
        for mean, count in zip(means, counts, strict=True)
    ]


def forecasts_of(series: Series, local_s: Longs) -> list[Row]:
    """The next hour, the next day by hours, and the next quarter by means of weeks."""
    hours = len(series.use)
    begin = 0 if series.is_whole else max(0, hours - FIT_WEEKS * WEEK_HOURS)
    forecaster = Forecaster(HOUR_S)
    seconds = local_s.tolist()
    at_s = series.first_s + begin * HOUR_S
    for place, use in enumerate(series.use[begin:].tolist(), begin):
        forecaster.update(at_s, seconds[place], use)
        at_s += HOUR_S
    if forecaster.seen < SEEN_MIN or at_s - forecaster.last_s > GONE_S:
        return []
    ahead = [
        (one, forecaster.predict(at_s + one * HOUR_S, seconds[hours + one]))
        for one in range(_DAY_AHEAD)
    ]
    rows = [_row(series, "hour", (at_s, at_s + HOUR_S), ahead[0][1])]
    for one, found in ahead:
        span = (at_s + one * HOUR_S, at_s + (one + 1) * HOUR_S)
        rows.append(_row(series, "day", span, found))
    for week in range(_WEEKS_AHEAD):
        span = (at_s + week * WEEK_S, at_s + (week + 1) * WEEK_S)
        rows.append(_row(series, "quarter", span, forecaster.predict_week(week + 1)))
    return rows


def _row(series: Series, horizon: str, span: tuple[int, int], found: Prediction) -> Row:
    uses = [found.quantile(part) for part in (0.05, 0.50, 0.95)]
    row: Row = {"level": series.level, "name": series.name, "horizon": horizon}
    row |= {"from_s": span[0], "until_s": span[1]}
    row |= dict(zip(("p05_use", "p50_use", "p95_use"), uses, strict=True))
    rates = [use * series.capacity_bps for use in (*uses, found.mean)]
    return row | dict(zip(("p05_bps", "p50_bps", "p95_bps", "mean_bps"), rates, strict=True))


def backtests_of(series: Series, local_s: Longs, plan: Plan | None = None) -> list[Row]:
    """For each horizon the forecaster, the seasonal-naive and the naive forecast."""
    rows: list[Row] = []
    uses = series.use.tolist()
    for score in backtest(uses, local_s[: len(uses)].tolist(), HOUR_S, plan):
        if score.mae is None or score.seasonal_mae is None:
            continue
        errors = {
            "headroom": score.mae,
            "seasonal-naive": score.seasonal_mae,
            "naive": score.naive_mae,
        }
        for model, mae in errors.items():
            row: Row = {"level": series.level, "name": series.name, "horizon": score.horizon}
            row |= {"model": model, "mae": mae, "naive_mae": score.seasonal_mae}
            row["mase"] = mae / score.scale if mae is not None and score.scale else None
            row["coverage_90"] = score.coverage_90 if model == "headroom" else None
            whole = score.seasonal_mae
            row["skill"] = 1.0 - mae / whole if mae is not None and whole > 0.0 else None
            rows.append(row)
    return rows
