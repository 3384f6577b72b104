"""Readings of one kind made into five-minute rows of PoPs: a grid of PoPs by intervals."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from selvedge.plan.history import SHARES, WHOLE_BP, Flag
from selvedge.plan.ingest.arranging import codes_of
from selvedge.plan.ingest.cells import STEP_MS, Cells, Spans, share_out
from selvedge.plan.ingest.columns import Array, Readings
from selvedge.plan.ingest.counters import Steps
from selvedge.plan.ingest.measures import BYTES

WHOLE_SHARE = 0.9
"""An interval of which less was seen is partial."""
LEAST_SHARE = 0.5
"""An interval of which less was seen has no sample: what follows may complete it."""


@dataclass(slots=True)
class Grid:
    """Where rows lie: PoPs in order, and so many intervals from `first` on."""

    pops: Array
    first: int
    count: int

    @property
    def size(self) -> int:
        """Cells of it."""
        return len(self.pops) * self.count

    def place(self, pop: Array, cell: Array) -> tuple[Array, Array]:
        """Position of each, and a mask of those that lie in it."""
        inside = (cell >= self.first) & (cell < self.first + self.count)
        row = np.searchsorted(self.pops, pop[inside]).astype(np.int64)
        return row * self.count + (cell[inside] - self.first), inside


@dataclass(slots=True)
class Layer:
    """What one kind of readings says of every cell."""

    grid: Grid
    values: dict[str, Array] = field(default_factory=dict)
    present: dict[str, Array] = field(default_factory=dict)
    flags: Array = field(default_factory=lambda: np.zeros(0, np.uint8))

    def __post_init__(self) -> None:
        self.flags = np.zeros(self.grid.size, np.uint8)

    def add(self, measure: str, place: Array, amount: Array) -> None:
        """Add amounts up."""
        if measure not in self.values:
            kind = np.float64 if amount.dtype.kind == "f" else np.uint64
            self.values[measure] = np.zeros(self.grid.size, kind)
            self.present[measure] = np.zeros(self.grid.size, bool)
        np.add.at(self.values[measure], place, amount)
        self.present[measure][place] = True

    def mark(self, pop: int, start_ms: int, end_ms: int) -> None:
        """Flag a PoP's intervals in a time as partial."""
        cells = np.arange((start_ms + STEP_MS // 2) // STEP_MS, (end_ms - 1) // STEP_MS + 1)
        place, _ = self.grid.place(np.full(len(cells), pop), cells)
        self.flags[place] |= np.uint8(Flag.PARTIAL)

    def mean(self, measure: str, place: Array, share: Array) -> None:
        """The mean of several series' shares."""
        count = np.bincount(place, minlength=self.grid.size)
        total = np.bincount(place, share, minlength=self.grid.size)
        self.put(measure, np.rint(total / np.maximum(count, 1)), count > 0)

    def put(self, measure: str, values: Array, present: Array) -> None:
        """Set a measure of every cell."""
        self.values[measure] = np.where(present, values, 0).astype(np.uint64)
        self.present[measure] = present


def layer_counters(rows: Readings, steps: dict[str, Steps], grid: Grid) -> Layer:
    """Of counters: bytes, processors' idle time, capacity."""
    layer = Layer(grid)
    for measure, found in steps.items():
        keep = found.is_kept
        if measure == "cpu_idle_ms":
            keep = keep & ~found.is_reset
        cells = share_out(found.spans(rows, keep))
        place, cells = _enough(cells, layer)
        if measure == "cpu_idle_ms":
            idle = np.minimum(cells.amount / cells.covered_ms, 1)
            layer.mean("cpu_bp", place, (1 - idle) * WHOLE_BP)
        else:
            layer.add(measure, place, cells.amount)
            _flag_missing(layer, rows.take(rows.has(measure)), place)
    _step_capacity(layer, rows, end_ms=0)
    return layer


def layer_intervals(rows: Readings, step_s: int, grid: Grid) -> Layer:
    """Of whole intervals, of any length."""
    layer = Layer(grid)
    step_ms = step_s * 1000
    for measure in rows.values:
        if measure not in (*BYTES, *SHARES):
            continue
        has = rows.has(measure)
        spans = spans_of(rows, measure, step_ms)
        if measure in SHARES:
            spans.amount = spans.amount * np.uint64(step_ms)
        place, cells = _enough(share_out(spans), layer)
        if measure in BYTES:
            layer.add(measure, place, cells.amount)
            if rows.series.any():
                _flag_missing(layer, rows.take(has), place, step_ms)
        else:
            layer.mean(measure, place, cells.amount / cells.covered_ms)
    _step_capacity(layer, rows, end_ms=step_ms)
    return layer


def spans_of(rows: Readings, measure: str, step_ms: int) -> Spans:
    """Whole intervals that have a measure."""
    has = rows.has(measure)
    at = rows.at_ms[has]
    return Spans(
        rows.pop[has],
        rows.series[has],
        at,
        at + step_ms,
        rows.values[measure][has],
        rows.flags[has],
    )


def layer_amounts(rows: Readings, grid: Grid) -> Layer:
    """Of amounts, which staging has added up by five minutes."""
    layer = Layer(grid)
    place, inside = grid.place(rows.pop, rows.at_ms // STEP_MS)
    np.bitwise_or.at(layer.flags, place, rows.flags[inside])
    for measure in rows.values:
        if measure in BYTES:
            has = rows.has(measure)[inside]
            layer.add(measure, place[has], rows.values[measure][inside][has])
    return layer


def layer_gauges(rows: Readings, limits_w: Array, grid: Grid) -> Layer:
    """Of levels: means of an interval. `limits_w` is what each PoP of the grid may draw."""
    layer = Layer(grid)
    means = {name: _means(rows, name, layer) for name in rows.values}
    for name, (place, _, mean) in means.items():
        if name in SHARES:
            layer.mean(name, place, mean)
        elif name in BYTES:
            layer.add(name, place, np.rint(mean * (STEP_MS / 1000)).astype(np.uint64))
        elif name == "capacity_bps":
            layer.add(name, place, np.rint(mean).astype(np.uint64))
    if "memory_free_bytes" in means and "memory_total_bytes" in means:
        _put_memory(layer, means["memory_free_bytes"], means["memory_total_bytes"])
    _put_power(layer, means, limits_w)
    return layer


Means = tuple[Array, Array, Array]
"""Place in the grid, series, mean."""


def _means(rows: Readings, measure: str, layer: Layer) -> Means:
    has = rows.has(measure)
    cell = rows.at_ms[has] // STEP_MS
    place, inside = layer.grid.place(rows.pop[has], cell)
    np.bitwise_or.at(layer.flags, place, rows.flags[has][inside])
    series = rows.series[has][inside].astype(np.int64)
    values = rows.values[measure][has][inside].astype(float)
    new = np.ones(len(place), bool)
    new[1:] = (np.diff(place) != 0) | (np.diff(series) != 0)
    first = np.flatnonzero(new)
    if not len(first):
        return place, series, values
    counts = np.diff(np.append(first, len(place)))
    return place[first], series[first], np.add.reduceat(values, first) / counts


def _put_memory(layer: Layer, free: Means, total: Means) -> None:
    """Of hosts that told both, in the interval."""
    keys = [place * (1 << 20) + series for place, series, _ in (free, total)]
    _, mine, others = np.intersect1d(keys[0], keys[1], assume_unique=True, return_indices=True)
    place = free[0][mine]
    size = layer.grid.size
    left = np.bincount(place, free[2][mine], minlength=size)
    whole = np.bincount(place, total[2][others], minlength=size)
    used = np.clip(1 - left / np.maximum(whole, 1), 0, 1)
    layer.put("memory_bp", np.rint(used * WHOLE_BP), whole > 0)


def _put_power(layer: Layer, means: dict[str, Means], limits_w: Array) -> None:
    """Of what the site may draw; where only GPUs are measured, theirs is a lower bound."""
    limit = np.repeat(limits_w, layer.grid.count)
    total = np.zeros(layer.grid.size)
    present = np.zeros(layer.grid.size, bool)
    for name in ("power_w", "gpu_power_w"):
        if name in means:
            place, _, mean = means[name]
            drawn = np.bincount(place, mean, minlength=layer.grid.size)
            there = np.bincount(place, minlength=layer.grid.size) > 0
            total = np.where(there & ~present, drawn, total)
            present |= there
    if present.any():
        known = present & (limit > 0)
        share = np.rint(total / np.maximum(limit, 1) * WHOLE_BP)
        layer.put("power_bp", np.minimum(share, 65_535), known)


def _enough(cells: Cells, layer: Layer) -> tuple[Array, Cells]:
    """Cells in the grid of which enough was seen; flags them."""
    seen = cells.covered_ms / STEP_MS
    enough = (seen >= LEAST_SHARE) | ((cells.flags & Flag.RESET) > 0)
    place, inside = layer.grid.place(cells.pop, np.where(enough, cells.cell, -1))
    partial = np.where(seen[inside] < WHOLE_SHARE, Flag.PARTIAL, 0).astype(np.uint8)
    kept = Cells(
        cells.pop[inside],
        cells.series[inside],
        cells.cell[inside],
        cells.amount[inside],
        np.minimum(cells.covered_ms[inside], STEP_MS),
        cells.flags[inside] | partial,
    )
    np.bitwise_or.at(layer.flags, place, kept.flags)
    return place, kept


def _lives(rows: Readings) -> tuple[Array, Array]:
    """First and last row of each series."""
    codes = codes_of(rows)
    first = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]])[: len(codes)])
    return first, np.append(first[1:], len(codes)) - 1


def _flag_missing(layer: Layer, rows: Readings, place: Array, step_ms: int = 0) -> None:
    """Intervals in which a series of the PoP is silent that is there before and after."""
    if not len(rows):
        return
    first, last = _lives(rows)
    begins = (rows.at_ms[first] + STEP_MS // 2) // STEP_MS
    ends = (rows.at_ms[last] + step_ms - STEP_MS // 2) // STEP_MS
    expected = _running(layer.grid, rows.pop[first], (begins, np.ones(len(first), np.int64)))
    expected -= _running(layer.grid, rows.pop[first], (ends + 1, np.ones(len(first), np.int64)))
    got = np.bincount(place, minlength=layer.grid.size)
    missing = (got > 0) & (got < expected)
    layer.flags[missing] |= np.uint8(Flag.PARTIAL)


def _running(grid: Grid, pop: Array, events: tuple[Array, Array]) -> Array:
    """Sums of what began by each interval; what began before the grid counts from its start."""
    cell, change = events
    wide = Grid(grid.pops, grid.first, grid.count + 1)
    at = np.clip(cell, grid.first, grid.first + grid.count)
    place, _ = wide.place(pop, at)
    total = np.zeros(wide.size, np.int64)
    np.add.at(total, place, change)
    summed = np.cumsum(total.reshape(len(grid.pops), grid.count + 1), axis=1)
    running: Array = summed[:, : grid.count].reshape(-1)
    return running


def _step_capacity(layer: Layer, rows: Readings, *, end_ms: int) -> None:
    """Capacity in force: of each series, what it last said, from its first to its last reading."""
    if "capacity_bps" not in rows.values:
        return
    rows = rows.take(rows.has("capacity_bps"))
    if not len(rows):
        return
    value = rows.values["capacity_bps"].astype(np.int64)
    first, last = _lives(rows)
    change = np.diff(value, prepend=0)
    change[first] = value[first]
    moved = np.flatnonzero(change)
    begins = rows.at_ms // STEP_MS
    total = _running(layer.grid, rows.pop[moved], (begins[moved], change[moved]))
    ends = (rows.at_ms[last] + end_ms - 1) // STEP_MS + 1
    total += _running(layer.grid, rows.pop[last], (ends, -value[last]))
    layer.put("capacity_bps", total, total > 0)
