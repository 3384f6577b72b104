"""A batch made into readings: PoPs by number, numbers that can be, and findings for the rest."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from selvedge.plan.history import SHARES, Finding, FindingKind
from selvedge.plan.ingest.clocks import AT_MS_MAX
from selvedge.plan.ingest.columns import Array, Readings, column_of, type_of
from selvedge.plan.ingest.mapping import PopColumn
from selvedge.plan.ingest.reading import BYTES, EXTRAS, MEASURES, Batch, Kind, SourceFile

BP_MAX: Final = 65_535
NAMELESS: Final = -2
"""The number of what has no name."""
AT_MS_MIN: Final = 946_684_800_000
"""2000: what is before was written by a clock that was never set, or is in another unit."""
_COUNTS: Final = (*BYTES, "capacity_bps", "cpu_idle_ms")


@dataclass(slots=True)
class Names:
    """The PoPs of the fleet, the words of the mapping, and the series of one source."""

    pops: Mapping[str, int]
    words: PopColumn
    series: dict[str, int] = field(default_factory=lambda: {"": 0})
    unknown: dict[str, None] = field(default_factory=dict)
    _found: dict[str, int] = field(default_factory=dict)

    def number_of(self, said: str) -> int:
        """Of a PoP as the source names it; -1 where the fleet has it not, or `NAMELESS`."""
        number = self._found.get(said)
        if number is None:
            if not said.strip():
                return NAMELESS
            number = self._found[said] = self.pops.get(self.named(said), -1)
            if number < 0:
                self.unknown[self.named(said)] = None
        return number

    def named(self, said: str) -> str:
        """As the fleet file names it, by the mapping."""
        name = said.strip()
        if self.words.pattern:
            match = re.search(self.words.pattern, name)
            name = (match.group(1) if match else name) or name
        known = self.words.names.get(name)
        return known or self._by_network(name) or name

    def _by_network(self, name: str) -> str:
        """Of an address, what the narrowest network that holds it is called."""
        if not self.words.networks:
            return ""
        try:
            address = ip_address(name)
        except ValueError:
            return ""
        held = [one for one in self.words.networks if address in one]
        return self.words.networks[max(held, key=lambda one: one.prefixlen)] if held else ""


@dataclass(slots=True)
class Checked:
    """What became of a batch."""

    readings: Readings
    place: Array | None
    """Rows of the batch that they are; None: all, in order."""
    unknown: pa.Table | None
    """Rows of PoPs that the fleet has not."""


def check_batch(
    batch: Batch, source: SourceFile, names: Names, tell: Callable[[Finding], None]
) -> Checked:
    """Number, check and convert the rows of a batch."""
    table = _known_columns(batch.rows)
    table, place = _with_times(batch, table, source, tell)
    pops = _numbers(table["pop"], names.number_of)
    if (pops == NAMELESS).any():
        table, place = _named(batch, (table, place, pops), source, tell)
        pops = pops[pops != NAMELESS]
    unknown = None
    if len(pops) and pops.min() < 0:
        lost = pops < 0
        unknown = table.filter(pa.array(lost))
        table = table.filter(pa.array(~lost))
        kept = np.flatnonzero(~lost)
        place = kept if place is None else place[kept]
        pops = pops[~lost]
    found = Readings(
        pops.astype(np.uint16),
        _series(table, names),
        _plain(table["at_ms"], np.int64),
        _flags(table),
    )
    for name in ("until_ms", "uptime_ms", "width"):
        if name in table.column_names:
            column = pc.fill_null(table[name], 0 if name == "width" else -1)
            found.more[name] = _plain(column, np.uint8 if name == "width" else np.int64)
    where = _Where(batch, place, source, names, found, tell)
    for name in MEASURES:
        if name in table.column_names and table[name].null_count < len(table):
            _take(name, table[name], where)
    return Checked(found, place, unknown)


@dataclass(slots=True)
class _Where:
    """What is needed to say where a number is wrong."""

    batch: Batch
    place: Array | None
    source: SourceFile
    names: Names
    found: Readings
    tell: Callable[[Finding], None]

    def say(self, kind: FindingKind, name: str, wrong: Array, words: str) -> None:
        """Tell of wrong values of a measure, PoP by PoP."""
        index = np.flatnonzero(wrong)
        pops, first = np.unique(self.found.pop[index], return_index=True)
        names = list(self.names.pops)
        for pop, at in zip(pops, first, strict=True):
            mine = index[self.found.pop[index] == pop]
            row = int(index[at])
            times = self.found.at_ms[mine]
            row = row if self.place is None else int(self.place[row])
            self.tell(
                Finding(
                    kind=kind,
                    pop=names[pop],
                    series=name,
                    from_s=int(times.min()) // 1000,
                    until_s=int(times.max()) // 1000 + 1,
                    count=len(mine),
                    source=self.source.finding(self.batch.where(row)),
                    detail=words,
                )
            )


def _known_columns(rows: pa.Table) -> pa.Table:
    kept = [name for name in rows.column_names if name in EXTRAS or name in MEASURES]
    return rows if len(kept) == len(rows.column_names) else rows.select(kept)


def _with_times(
    batch: Batch, table: pa.Table, source: SourceFile, tell: Callable[[Finding], None]
) -> tuple[pa.Table, Array | None]:
    """The rows whose moment a history can hold."""
    at = table["at_ms"]
    low, high = (pc.min_max(at)[key].as_py() for key in ("min", "max"))
    fits = low is None or (low >= AT_MS_MIN and high < AT_MS_MAX)
    if not at.null_count and fits:
        return table, None
    good = pc.and_(pc.greater_equal(at, AT_MS_MIN), pc.less(at, AT_MS_MAX))
    mask = pc.fill_null(good, False).to_numpy()
    bad = np.flatnonzero(~mask)
    words = "no time between 2000 and 2106; left out: is its unit, or time.format, another?"
    tell(_left_out(batch, source, bad, words))
    return table.filter(pa.array(mask)), np.flatnonzero(mask)


def _named(
    batch: Batch,
    rows: tuple[pa.Table, Array | None, Array],
    source: SourceFile,
    tell: Callable[[Finding], None],
) -> tuple[pa.Table, Array]:
    """The rows that have a PoP."""
    table, place, pops = rows
    place = np.arange(len(pops)) if place is None else place
    lost = pops == NAMELESS
    tell(_left_out(batch, source, place[lost], "no PoP; left out"))
    return table.filter(pa.array(~lost)), place[~lost]


def _left_out(batch: Batch, source: SourceFile, bad: Array, words: str) -> Finding:
    return Finding(
        kind="unreadable",
        count=len(bad),
        source=source.finding(batch.where(int(bad[0]))),
        detail=f"{len(bad)} {'row has' if len(bad) == 1 else 'rows have'} {words}",
    )


def _numbers(column: pa.ChunkedArray, number: Callable[[str], int]) -> Array:
    """A dictionary's words are looked up once, not once a row."""
    parts = []
    for chunk in column.chunks:
        coded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
        said = coded.dictionary.to_pylist()
        words = np.array([number("" if word is None else str(word)) for word in said], np.int64)
        indices = coded.indices
        if coded.null_count:
            indices = indices.cast(pa.int64()).fill_null(len(words))
            words = np.append(words, number(""))
        indices = indices.to_numpy(zero_copy_only=False)
        parts.append(words[indices] if len(words) else np.zeros(0, np.int64))
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _series(table: pa.Table, names: Names) -> Array:
    if "series" not in table.column_names:
        return np.zeros(len(table), np.uint32)
    column = pc.fill_null(table["series"].cast(pa.string()), "")
    known = names.series
    return _numbers(column, lambda said: known.setdefault(said, len(known))).astype(np.uint32)


def _flags(table: pa.Table) -> Array:
    if "flags" not in table.column_names:
        return np.zeros(len(table), np.uint8)
    return _plain(pc.fill_null(table["flags"], 0), np.uint8)


def _plain(column: pa.ChunkedArray, kind: type) -> Array:
    plain: Array = column.to_numpy().astype(kind, copy=False)
    return plain


def _take(name: str, column: pa.ChunkedArray, where: _Where) -> None:
    """Put a measure into the readings, without what cannot be."""
    if pa.types.is_decimal(column.type):
        column = _without_negative(name, column, where)
    values, valid = column_of(column)
    if values.dtype.kind == "f":
        bad = ~np.isfinite(values)
        if bad.any():
            if valid is not None:
                bad &= valid
            where.say("unreadable", name, bad, "not a number (NaN or infinite); left out")
            valid = np.isfinite(values) & (True if valid is None else valid)
            values = np.where(valid, values, 0.0)
    if values.dtype.kind in "fi" and len(values) and values.min() < 0:
        negative = values < 0
        if valid is not None:
            negative &= valid
        if negative.any():
            low = values[negative].min()
            where.say("negative", name, negative, f"below 0, down to {low:g}; left out")
        valid = ~negative if valid is None else valid & ~negative
        values = np.where(valid, values, 0)
    if name in SHARES and len(values) and values.max() > BP_MAX:
        much = values > BP_MAX
        words = f"a share of up to {values.max() / 100:g} %: it is in another unit; left out"
        where.say("mixed_units", name, much, words)
        valid = ~much if valid is None else valid & ~much
        values = np.where(valid, values, 0)
    if values.dtype.kind == "f" and len(values) and values.max() >= 2.0**64:
        much = values >= 2.0**64
        where.say("unreadable", name, much, "beyond 64 bits; left out")
        valid = ~much if valid is None else valid & ~much
        values = np.where(valid, values, 0)
    is_gauge = where.batch.kind is Kind.GAUGE
    target = type_of(name, is_gauge=is_gauge).to_pandas_dtype()
    if values.dtype.kind == "f" and target is np.uint64:
        values = np.rint(values)
    where.found.values[name] = values.astype(target, copy=False)
    where.found.valid[name] = valid


def _without_negative(name: str, column: pa.ChunkedArray, where: _Where) -> pa.ChunkedArray:
    """Of counters of 64 bits among which are numbers below 0."""
    below = pc.fill_null(pc.less(column, 0), False)
    words = f"below 0, down to {pc.min(column).as_py()}; left out"
    where.say("negative", name, below.to_numpy(), words)
    return pc.if_else(below, None, column).cast(pa.uint64())
