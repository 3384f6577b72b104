"""One file read: its readings in runs on disk, its faults as findings, its unknown PoPs apart.

A run is what fits in memory: sorted, without repeats, cut by month. Nothing of a file counts before
its record is written, which is the last thing that happens; what a killed run left is removed.
"""

from __future__ import annotations

import os
import shutil
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from selvedge.plan.history import Finding, FindingKind, History, settle
from selvedge.plan.ingest import months
from selvedge.plan.ingest.arranging import Fronts, arrange
from selvedge.plan.ingest.cells import STEP_MS, Spans, share_out
from selvedge.plan.ingest.checking import Names, check_batch
from selvedge.plan.ingest.columns import Array, Readings, concat
from selvedge.plan.ingest.faults import Runs, findings_of, runs_of
from selvedge.plan.ingest.reading import CUT_OFF, MEASURES, Batch, Form, Kind, SourceFile
from selvedge.plan.ingest.records import Record, Run, readings_folder
from selvedge.plan.ingest.repeats import find_repeats

_NOTHING: Final = "there is not one reading in it"
RUN_ROWS: Final = 1_500_000
"""Readings in memory at once: with sorting and writing, below half a GiB."""
ROW_GROUP: Final = 65_536
FINDINGS_MAX: Final = 100_000
"""Of one file; what is more is counted in one last finding."""
Key = tuple[Kind, int, str]
"""What rows of a run have in common: kind, length of intervals, measures.

Sources give one metric after another: within each, time goes on, and from one to the next it goes
back. So each set of measures has fronts of its own.
"""


@dataclass(slots=True)
class _Gathered:
    """Readings of one key that are not yet written."""

    parts: list[Readings] = field(default_factory=list)
    places: list[Callable[[int], str]] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    rows: int = 0

    def where(self, row: int) -> str:
        """Where in the file a row was."""
        part = bisect_right(self.starts, row) - 1
        return self.places[part](row - self.starts[part])

    @property
    def span(self) -> str:
        """Where in the file they all were."""
        first, last = self.where(0), self.where(self.rows - 1)
        return first if first == last else f"{first} to {last}"


@dataclass(slots=True)
class Staging:
    """Reads one file into a history's readings."""

    history: History
    source: SourceFile
    key: tuple[str, str]
    """Its SHA-256, and the form and mapping by which it is read."""
    slug: str
    """What its files are called."""
    names: Names
    run_rows: int = RUN_ROWS
    findings: list[Finding] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    rows: int = 0
    _fronts: dict[Key, Fronts] = field(default_factory=dict)
    _gathered: dict[Key, _Gathered] = field(default_factory=dict)
    _unknown: pq.ParquetWriter | None = None
    _lost: int = 0
    _lost_pops: dict[str, int] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where its runs are."""
        return readings_folder(self.history) / self.slug

    def read(self, form: Form, *, order: int) -> Record:
        """All of it. Returns the record, which is not written yet. Raises `BadPlan`, `OSError`."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        try:
            for found in _read_on(form.read(self.source), self.source, self._tell):
                if isinstance(found, Finding):
                    self._tell(found)
                else:
                    self._take(found)
            for key in list(self._gathered):
                self._flush(key)
        finally:
            if self._unknown is not None:
                self._unknown.close()
        self._settle_unknown()
        if not self.rows and not self.findings:
            self._tell(Finding(kind="unreadable", source=self.source.name, detail=_NOTHING))
        if self.findings:  # one may have a hundred thousand files, and most are sound
            self.history.write_findings(self.slug, self._all_findings())
        else:
            (self.history.folder / "findings" / f"{self.slug}.parquet").unlink(missing_ok=True)
        return Record(
            order=order,
            slug=self.slug,
            name=self.source.name,
            sha256=self.key[0],
            settings=self.key[1],
            form=form.name,
            rows=self.rows,
            readings=sum(run.rows for run in self.runs),
            series=tuple(self.names.series),
            unknown=tuple(self.names.unknown),
            runs=tuple(self.runs),
            useless=self._useless(),
        )

    def _useless(self) -> str:
        """Why nothing of the file could be kept, by its first findings."""
        if self.runs or self.names.unknown:
            return ""
        bad = [one for one in self.findings if one.detail != _NOTHING]
        said = [f"{one.source.removeprefix(self.source.name)}: {one.detail}" for one in bad[:3]]
        return "; ".join(one.lstrip(" ,:") for one in said)

    def _tell(self, finding: Finding) -> None:
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)
        self._lost += len(self.findings) >= FINDINGS_MAX

    def _all_findings(self) -> list[Finding]:
        if self._lost:
            words = f"{self._lost} more findings of this file, not listed"
            last = Finding(
                kind="unreadable", count=self._lost, source=self.source.name, detail=words
            )
            return [*self.findings, last]
        return self.findings

    def _take(self, batch: Batch) -> None:
        self.rows += len(batch.rows) if batch.read_rows is None else batch.read_rows
        checked = check_batch(batch, self.source, self.names, self._tell)
        if checked.unknown is not None:
            self._keep_apart(batch, checked.unknown)
        if not len(checked.readings):
            return
        step_s = batch.step_s if batch.kind is Kind.INTERVAL else 0
        key = (batch.kind, step_s, ",".join(checked.readings.values))
        gathered = self._gathered.setdefault(key, _Gathered())
        place = checked.place

        def where(row: int) -> str:
            return batch.where(row if place is None else int(place[row]))

        if batch.kind is Kind.COUNTER and batch.first_line:
            rows = np.arange(len(batch.rows)) if place is None else place
            known = batch.lines
            lines = rows + batch.first_line if known is None else np.asarray(known)[rows]
            checked.readings.more["line"] = lines.astype(np.int64)
        gathered.parts.append(checked.readings)
        gathered.places.append(where)
        gathered.starts.append(gathered.rows)
        gathered.rows += len(checked.readings)
        if gathered.rows >= self.run_rows:
            self._flush(key)

    def _flush(self, key: Key) -> None:
        """Write what was gathered, and forget it."""
        gathered = self._gathered.pop(key)
        rows = concat(gathered.parts)
        gathered.parts.clear()
        is_amount = key[0] is Kind.AMOUNT
        rows = _summed(rows) if is_amount else self._arranged(rows, gathered, key)
        month = months.months_of(rows.at_ms) if len(rows) else np.zeros(0, np.int64)
        for number in np.unique(month):
            every = (month == number).all()
            self._write(rows if every else rows.take(month == number), key, int(number), gathered)

    def _arranged(self, rows: Readings, gathered: _Gathered, key: Key) -> Readings:
        fronts = self._fronts.setdefault(key, Fronts())
        found = arrange(rows, fronts, is_counter=key[0] is Kind.COUNTER)
        say = _Saying(self, gathered)
        if len(found.shifted):
            every = np.ones(len(found.shifted), bool)
            words = "the clock went back while the counter went on; left out until it caught up"
            say.of("clock_shift", found.shifted, found.shifted_order, every, words)
        repeats = find_repeats(found.rows)
        # What is there already is no late row, when it comes again.
        late = found.late if repeats is None else found.late & repeats.kept
        say.of("late", found.rows, found.order, late, "came after later ones; kept")
        if repeats is None:
            return found.rows
        same = repeats.same & ~repeats.differs
        say.of("duplicate", found.rows, found.order, same, "twice in this file; one kept")
        differs = repeats.differs & ~repeats.by_factor
        words = "two that differ in this file; the first kept"
        say.of("conflict", found.rows, found.order, differs, words)
        words = "two that differ by a factor of units; the first kept"
        say.of("mixed_units", found.rows, found.order, repeats.by_factor, words)
        return found.rows.take(repeats.kept)

    def _write(self, rows: Readings, key: Key, month: int, gathered: _Gathered) -> None:
        kind, step_s, _ = key
        file = f"{months.name_of(month)}-{len(self.runs):05d}.parquet"
        write_run(self.folder / file, rows.to_table())
        self.runs.append(
            Run(
                file=f"{self.slug}/{file}",
                kind=kind,
                month=month,
                rows=len(rows),
                pop_first=int(rows.pop.min()),
                pop_last=int(rows.pop.max()),
                at_first_ms=int(rows.at_ms.min()),
                at_last_ms=int(rows.at_ms.max()),
                step_s=step_s,
                where=gathered.span,
            )
        )

    def _keep_apart(self, batch: Batch, rows: pa.Table) -> None:
        """Write rows of unknown PoPs where they can be found again."""
        folder = self.history.folder / "unknown"
        folder.mkdir(exist_ok=True)
        said = rows["pop"].cast(pa.string()).to_numpy(zero_copy_only=False)
        for name, count in zip(*np.unique(said, return_counts=True), strict=True):
            self._lost_pops[str(name)] = self._lost_pops.get(str(name), 0) + int(count)
        table = rows.append_column("kind", pa.array([str(batch.kind)] * len(rows)))
        if self._unknown is None:
            draft = folder / f".{self.slug}.parquet.draft"
            self._unknown = pq.ParquetWriter(draft, UNKNOWN, compression="zstd")
        self._unknown.write_table(_as_unknown(table))

    def _settle_unknown(self) -> None:
        folder = self.history.folder / "unknown"
        if self._unknown is None:
            (folder / f"{self.slug}.parquet").unlink(missing_ok=True)
            return
        settle(folder / f".{self.slug}.parquet.draft", folder / f"{self.slug}.parquet")
        for said, count in sorted(self._lost_pops.items()):
            name = self.names.named(said)
            words = f"the fleet file has no {name!r}; kept in unknown/{self.slug}.parquet"
            self._tell(
                Finding(
                    kind="unknown_pop",
                    pop=name,
                    count=count,
                    source=self.source.name,
                    detail=words,
                )
            )


@dataclass(slots=True)
class _Saying:
    """Findings over rows that were put in order, with where they were in the file."""

    staging: Staging
    gathered: _Gathered

    def of(self, kind: FindingKind, rows: Readings, order: Array, mask: Array, words: str) -> None:
        """A finding for each run of rows in the mask."""
        pops, series = list(self.staging.names.pops), list(self.staging.names.series)

        def build(run: Runs) -> dict[str, str]:
            where = self.gathered.where(int(order[run.first]))
            return {
                "pop": pops[run.pop],
                "series": series[run.series],
                "source": self.staging.source.finding(where),
                "detail": f"{run.count} {'reading' if run.count == 1 else 'readings'} {words}",
            }

        for found in findings_of(kind, runs_of(rows.pop, rows.series, rows.at_ms, mask), build):
            self.staging._tell(found)


UNKNOWN: Final = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("kind", "pop", "series")),
        *(pa.field(name, pa.int64()) for name in ("at_ms", "until_ms")),
        *(pa.field(name, pa.float64()) for name in MEASURES),
    ]
)
"""What is kept of a PoP that the fleet has not."""


def _as_unknown(table: pa.Table) -> pa.Table:
    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(len(table), field.type)
        for field in UNKNOWN
    ]
    return pa.table(columns, schema=UNKNOWN)


def _read_on(
    batches: Iterator[Batch | Finding], source: SourceFile, tell: Callable[[Finding], None]
) -> Iterator[Batch | Finding]:
    """What a reader gives, until the file gives out; that is a finding."""
    try:
        yield from batches
    except CUT_OFF as error:
        if isinstance(error, OSError) and error.filename:
            raise
        words = " ".join(str(error).split())[:300]
        detail = f"cut off or damaged: {words}; what came before is kept"
        tell(Finding(kind="unreadable", source=source.name, detail=detail))


def _summed(rows: Readings) -> Readings:
    """Amounts of a PoP added up by five minutes: theirs come in no order, and none repeats."""
    order = np.argsort(rows.pop, kind="stable")
    rows = rows.take(order)
    until = rows.more.get("until_ms")
    end = rows.at_ms + 1 if until is None else np.maximum(until, rows.at_ms + 1)
    parts: dict[str, tuple[Array, Array]] = {}
    keys, flags = [], []
    for name in rows.values:
        has = rows.has(name)
        spans = Spans(
            rows.pop[has], rows.series[has], rows.at_ms[has], end[has],
            rows.values[name][has], rows.flags[has],
        )  # fmt: skip
        cells = share_out(spans)
        key = (cells.pop.astype(np.int64) << 40) | cells.cell
        parts[name] = (key, cells.amount)
        keys.append(key)
        flags.append(cells.flags)
    if not keys:
        return rows.take(slice(0, 0))
    every, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    found = Readings(
        (every >> 40).astype(np.uint16),
        np.zeros(len(every), np.uint32),
        (every & ((1 << 40) - 1)) * STEP_MS,
        np.zeros(len(every), np.uint8),
    )
    np.bitwise_or.at(found.flags, inverse, np.concatenate(flags))
    for name, (key, amount) in parts.items():
        at = np.searchsorted(every, key)
        found.values[name] = np.zeros(len(every), amount.dtype)
        np.add.at(found.values[name], at, amount)
        valid = np.zeros(len(every), bool)
        valid[at] = True
        found.valid[name] = None if valid.all() else valid
    return found


def write_run(path: Path, table: pa.Table) -> None:
    """Written under its own name: nothing of it counts before its record. Raises `OSError`."""
    packed = dict.fromkeys(("at_ms", "uptime_ms", "line"), "DELTA_BINARY_PACKED")
    repeating = ["pop", "series", "flags", "width", "capacity_bps"]
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=1,
        row_group_size=ROW_GROUP,
        use_dictionary=[name for name in repeating if name in table.column_names],
        column_encoding={n: e for n, e in packed.items() if n in table.column_names},
    )
    with path.open("rb") as file:
        os.fsync(file.fileno())
