"""A month of all sources made into its part: one row per PoP and five minutes.

PoPs are taken a few at a time, so that memory does not grow with the fleet. A counter's polls are
read from a day before the month until a day after it: what was counted across midnight of its
first day belongs to two months.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from selvedge.plan.history import SAMPLES, BadPlan, Finding, History, settle
from selvedge.plan.ingest import months
from selvedge.plan.ingest.arranging import codes_of
from selvedge.plan.ingest.cells import STEP_MS
from selvedge.plan.ingest.columns import Array, Readings, concat, from_table
from selvedge.plan.ingest.counters import Steps, find_steps
from selvedge.plan.ingest.layers import (
    Grid,
    Layer,
    layer_amounts,
    layer_counters,
    layer_gauges,
    layer_intervals,
    spans_of,
)
from selvedge.plan.ingest.reading import BYTES, Kind
from selvedge.plan.ingest.records import Record, Run, readings_folder
from selvedge.plan.ingest.renames import find_renames
from selvedge.plan.ingest.repeats import find_repeats
from selvedge.plan.ingest.telling import Teller

CHUNK_ROWS: Final = 1_000_000
"""Readings in memory at once, about."""
CHUNK_POPS: Final = 112
"""PoPs at once: a month of them are a million intervals."""
AROUND_MS: Final = 86_400_000
ORDER: Final = (Kind.COUNTER, Kind.INTERVAL, Kind.GAUGE, Kind.AMOUNT)
"""Of several kinds that have a measure of one interval, which is taken."""
TOLD_MONTHS_MAX: Final = 24
"""Empty months in a row that are told one by one: more of them are a wrong clock."""
PART: Final = "ingest"
"""The name of what ingest writes of a month; others' parts are others'."""


@dataclass(slots=True)
class _Piece:
    """A run, which is opened as often as it is asked: there may be more than can be open."""

    run: Run
    number: int
    source: str
    series: Array
    """By the number of a series in its source, its number in the merge."""
    path: Path
    metadata: pq.FileMetaData | None = None
    bounds: list[tuple[int, int]] = field(default_factory=list)
    """First and last PoP of each row group."""

    def read(self, low: int, high: int) -> pa.Table:
        """The row groups that hold PoPs from `low` to below `high`. Raises `BadPlan`."""
        try:
            with pq.ParquetFile(self.path, metadata=self.metadata) as file:
                if self.metadata is None:
                    self._look(file.metadata)
                groups = [i for i, (a, b) in enumerate(self.bounds) if b >= low and a < high]
                return file.read_row_groups(groups, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            words = f"delete {self.path.parent}.json, and its source is read again"
            raise BadPlan(f"{self.path} cannot be read ({error}); {words}.") from error

    def _look(self, metadata: pq.FileMetaData) -> None:
        self.metadata = metadata
        for index in range(metadata.num_row_groups):
            known = metadata.row_group(index).column(0).statistics
            self.bounds.append((known.min, known.max))


@dataclass(slots=True)
class MonthMerge:
    """One month of a history. Raises `BadPlan` where a run cannot be read."""

    history: History
    pops: Sequence[str]
    limits_w: Array
    """Of each PoP, watts that it may draw; 0 where unknown."""
    records: Sequence[Record]
    month: int

    @property
    def name(self) -> str:
        """As `2026-01`."""
        return months.name_of(self.month)

    @property
    def bounds_ms(self) -> tuple[int, int]:
        """Its first moment, and the next month's."""
        return months.starts_ms(self.month), months.starts_ms(self.month + 1)

    def write(self) -> int:
        """Its part and its findings. Returns the number of samples."""
        start, end = self.bounds_ms
        names: dict[str, int] = {"": 0}
        pieces = list(self._pieces(names))
        sources = [(piece.source, piece.run.where) for piece in pieces]
        teller = Teller(self.pops, list(names), sources, start, end)
        path = self.history.part_path(self.name, PART)
        draft = path.with_name(f".{path.name}.draft")
        count = 0
        writer = pq.ParquetWriter(
            draft,
            SAMPLES,
            compression="zstd",
            use_dictionary=[name for name in SAMPLES.names if name != "at_s"],
            column_encoding={"at_s": "DELTA_BINARY_PACKED"},
        )
        with writer:
            for low, high in self._chunks(pieces):
                rows = self._merged(pieces, teller, (low, high))
                if len(rows):
                    writer.write_table(rows, row_group_size=1 << 20)
                    count += len(rows)
        self.history.write_findings(f"{PART}-{self.name}", teller.found)
        if count:
            settle(draft, path)
        else:
            draft.unlink()
            path.unlink(missing_ok=True)
        return count

    def _pieces(self, names: dict[str, int]) -> Iterator[_Piece]:
        number = 0
        folder = readings_folder(self.history)
        for record in self.records:
            numbers = [names.setdefault(name, len(names)) for name in record.series]
            series = np.array(numbers, np.uint32)
            for run in record.runs:
                if touches(run, self.month):
                    yield _Piece(run, number, record.name, series, folder / run.file)
                    number += 1

    def _chunks(self, pieces: Sequence[_Piece]) -> Iterator[tuple[int, int]]:
        """Ranges of PoPs, from and until, that have about `CHUNK_ROWS` readings each."""
        weight = np.zeros(len(self.pops) + 1)
        for piece in pieces:
            run = piece.run
            each = run.rows / (run.pop_last - run.pop_first + 1)
            weight[run.pop_first] += each
            weight[run.pop_last + 1] -= each
        rows = np.maximum(np.cumsum(weight)[:-1], 0)
        low, total = 0, 0.0
        for pop, count in enumerate(rows):
            if pop > low and (total + count > CHUNK_ROWS or pop - low >= CHUNK_POPS):
                yield low, pop
                low, total = pop, 0.0
            total += count
        yield low, len(self.pops)

    def _merged(self, pieces: Sequence[_Piece], teller: Teller, chunk: tuple[int, int]) -> pa.Table:
        found: dict[tuple[Kind, int], list[Readings]] = {}
        for piece in pieces:
            if piece.run.pop_last < chunk[0] or piece.run.pop_first >= chunk[1]:
                continue
            rows = _read(piece, chunk, self._window(piece.run))
            if len(rows):
                found.setdefault((piece.run.kind, piece.run.step_s), []).append(rows)
        ready = {
            key: concat(parts) if key[0] is Kind.AMOUNT else _in_order(concat(parts), teller)
            for key, parts in found.items()
        }
        if len(ready) == 1:
            (((kind, step_s), rows),) = ready.items()
            if kind is Kind.INTERVAL and is_plain(rows, step_s):
                return as_samples(rows)
        if not ready:
            return SAMPLES.empty_table()
        pops = np.unique(np.concatenate([rows.pop for rows in ready.values()]))
        start, end = self.bounds_ms
        grid = Grid(pops, start // STEP_MS, (end - start) // STEP_MS)
        order = sorted(ready, key=lambda key: (ORDER.index(key[0]), key[1]))
        return stack(grid, [self._layer(key, ready[key], (grid, teller)) for key in order])

    def _window(self, run: Run) -> tuple[int, int]:
        start, end = self.bounds_ms
        if run.kind is Kind.COUNTER:
            return start - AROUND_MS, end + AROUND_MS
        if run.kind is Kind.INTERVAL:
            return start - run.step_s * 1000, end
        return start, end

    def _layer(self, key: tuple[Kind, int], rows: Readings, into: tuple[Grid, Teller]) -> Layer:
        (kind, step_s), (grid, teller) = key, into
        if kind is Kind.AMOUNT:
            return layer_amounts(rows, grid)
        teller.tell_capacity(rows)
        if kind is Kind.GAUGE:
            return layer_gauges(rows, self.limits_w[grid.pops], grid)
        if kind is Kind.INTERVAL:
            measure = next((name for name in BYTES if name in rows.values), None)
            if measure:
                teller.tell_unaligned(spans_of(rows, measure, step_s * 1000))
            return layer_intervals(rows, step_s, grid)
        return self._counters(rows, grid, teller)

    def _counters(self, rows: Readings, grid: Grid, teller: Teller) -> Layer:
        measure = next((name for name in BYTES if name in rows.values), None)
        renames = find_renames(rows, measure) if measure else []
        for rename in renames:
            teller.tell_rename(rename)
            if rename.goes_on:
                old = (rows.pop == rename.pop) & (rows.series == rename.new)
                rows.series = np.where(old, np.uint32(rename.old), rows.series)
                rows = rows.take(np.lexsort((rows.at_ms, codes_of(rows))))
        counted = [name for name in (*BYTES, "cpu_idle_ms") if name in rows.values]
        steps: dict[str, Steps] = {name: find_steps(rows, name) for name in counted}
        teller.tell_steps(rows, list(steps.values()))
        if measure:
            found = steps[measure]
            teller.tell_unaligned(found.spans(rows, found.is_kept))
        layer = layer_counters(rows, steps, grid)
        for rename in renames:
            if not rename.goes_on:
                layer.mark(rename.pop, rename.from_ms, rename.until_ms)
        return layer


def touches(run: Run, month: int) -> bool:
    """Whether a month is made with a run."""
    if run.month == month:
        return True
    start, end = months.starts_ms(month), months.starts_ms(month + 1)
    if run.kind is Kind.COUNTER:
        return run.at_last_ms >= start - AROUND_MS and run.at_first_ms < end + AROUND_MS
    return run.kind is Kind.INTERVAL and start - run.step_s * 1000 < run.at_last_ms < start


def _read(piece: _Piece, chunk: tuple[int, int], window: tuple[int, int]) -> Readings:
    """Its rows of some PoPs and times."""
    low, high = chunk
    run = piece.run
    rows = from_table(piece.read(low, high))
    if not (low <= run.pop_first and run.pop_last < high):
        first, last = np.searchsorted(rows.pop, [low, high])
        rows = rows.take(slice(int(first), int(last)))
    if run.at_first_ms < window[0] or run.at_last_ms >= window[1]:
        rows = rows.take((rows.at_ms >= window[0]) & (rows.at_ms < window[1]))
    if len(piece.series) > 1:
        rows.series = piece.series[rows.series]
    rows.more["run"] = np.full(len(rows), piece.number, np.uint32)
    return rows


def _in_order(rows: Readings, teller: Teller) -> Readings:
    """Sorted, without repeats."""
    codes = codes_of(rows)
    step = np.diff(codes)
    if not ((step > 0) | ((step == 0) & (np.diff(rows.at_ms) > 0))).all():
        rows = rows.take(np.lexsort((rows.at_ms, codes)))
    repeats = find_repeats(rows)
    if repeats is None:
        return rows
    teller.tell_repeats(rows, repeats)
    return rows.take(repeats.kept)


def is_plain(rows: Readings, step_s: int) -> bool:
    """Whether rows are samples as they are."""
    if step_s * 1000 != STEP_MS or rows.series.any():
        return False
    if any(name not in SAMPLES.names for name in rows.values):
        return False
    # Two files that measure different things of a moment are two rows still.
    again = (np.diff(rows.at_ms) == 0) & (rows.pop[1:] == rows.pop[:-1])
    return not again.any() and not (rows.at_ms % STEP_MS).any()


def as_samples(rows: Readings) -> pa.Table:
    """Plain rows as a history has them; one that has no measure is none."""
    measures = [name for name in rows.values if name != "capacity_bps"]
    if not any(rows.valid[name] is None for name in measures):
        any_there = np.zeros(len(rows), bool)
        for name in measures:
            any_there |= rows.has(name)
        rows = rows if any_there.all() else rows.take(any_there)
    columns = []
    for column in SAMPLES:
        if column.name == "pop":
            columns.append(pa.array(rows.pop))
        elif column.name == "at_s":
            columns.append(pa.array((rows.at_ms // 1000).astype(np.uint32)))
        elif column.name == "flags":
            columns.append(pa.array(rows.flags))
        else:
            columns.append(_measured(column, rows))
    return pa.table(columns, schema=SAMPLES)


def _measured(column: pa.Field, rows: Readings) -> pa.Array:
    values = rows.values.get(column.name)
    if values is None:
        return pa.nulls(len(rows), column.type)
    valid = rows.valid[column.name]
    values = values.astype(column.type.to_pandas_dtype(), copy=False)
    return pa.array(values, mask=None if valid is None else ~valid)


def stack(grid: Grid, layers: Iterable[Layer]) -> pa.Table:
    """Layers laid over each other: the first that has a measure of an interval gives it."""
    values: dict[str, Array] = {}
    present: dict[str, Array] = {}
    flags = np.zeros(grid.size, np.uint8)
    for layer in layers:
        used = np.zeros(grid.size, bool)
        for name, there in layer.present.items():
            if name not in SAMPLES.names:
                continue
            had = present.get(name)
            fresh = there if had is None else there & ~had
            values[name] = np.where(fresh, layer.values[name], values.get(name, 0))
            present[name] = fresh if had is None else had | fresh
            used |= fresh
        flags = np.where(used, flags | layer.flags, flags)
    any_there = np.zeros(grid.size, bool)
    for name, there in present.items():
        if name != "capacity_bps":
            any_there |= there
    index = np.flatnonzero(any_there)
    at_ms = (grid.first + index % grid.count) * STEP_MS
    found = Readings(
        grid.pops[index // grid.count].astype(np.uint16),
        np.zeros(len(index), np.uint32),
        at_ms,
        flags[index],
    )
    found.values = {name: column[index] for name, column in values.items()}
    found.valid = {name: column[index] for name, column in present.items()}
    return as_samples(found)


def empty_months(present: Iterable[int]) -> list[Finding]:
    """Between the first and the last month with samples; many in a row are one finding."""
    had = sorted(present)
    found = []
    for before, after in pairwise(had):
        empty = range(before + 1, after)
        runs = [empty] if len(empty) > TOLD_MONTHS_MAX else [range(m, m + 1) for m in empty]
        for run in runs:
            words = f"no source has one sample of {months.name_of(run[0])}"
            more = f" to {months.name_of(run[-1])}" if len(run) > 1 else ""
            found.append(
                Finding(
                    kind="empty_month",
                    from_s=months.starts_ms(run[0]) // 1000,
                    until_s=months.starts_ms(run[-1] + 1) // 1000,
                    count=len(run),
                    detail=words + more,
                )
            )
    return found
