"""Plain CSV and Parquet, by a mapping file; without one, columns named as a history's are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from selvedge.plan.history import SAMPLES, BadPlan, Finding
from selvedge.plan.ingest.clocks import Clock
from selvedge.plan.ingest.delimited import Layout, Lines, read_lines
from selvedge.plan.ingest.mapping import Mapping, Measured, PopColumn, TimeColumn
from selvedge.plan.ingest.reading import BATCH_ROWS, Batch, Form, Kind, SourceFile
from selvedge.plan.ingest.units import UNITS, factor_of

_OWN_UNITS: Final = {
    "out_bytes": "byte",
    "in_bytes": "byte",
    "capacity_bps": "bit/s",
    **dict.fromkeys(("cpu_bp", "memory_bp", "gpu_bp", "power_bp"), "bp"),
}
PLAIN: Final = Mapping(
    pop=PopColumn(column="pop"),
    time=TimeColumn(column="at_s", format="epoch_s"),
    columns={
        name: Measured(column=name, unit=unit)
        for name, unit in _OWN_UNITS.items()
        if name in SAMPLES.names
    },
)
"""What is taken where there is no mapping file."""
_WORDS: Final = pa.dictionary(pa.int32(), pa.string())


@dataclass(frozen=True, slots=True)
class Table:
    """Turns columns of a source into a batch's."""

    mapping: Mapping
    clock: Clock
    source: SourceFile

    def batch(self, table: pa.Table, place: Batch) -> Iterator[Batch | Finding]:
        """A batch of some rows; `place` is one that says where they are."""
        mapping = self.mapping
        at, found = self.clock.at_ms(table[mapping.time.column])
        step_ms = mapping.step_s * 1000 if mapping.kind is Kind.INTERVAL else 0
        if mapping.time.marks == "end":
            at = pc.subtract(at, step_ms)
        columns: dict[str, pa.Array] = {"pop": self._pops(table), "at_ms": at}
        if mapping.series and mapping.series in table.column_names:
            columns["series"] = _as_words(table[mapping.series])
        if mapping.kind is Kind.COUNTER:
            columns["width"] = pa.array([mapping.width], pa.uint8()).take(_zeros(len(table)))
            columns |= self._uptime(table)
        for measure, measured in mapping.columns.items():
            if measured.column in table.column_names:
                columns[measure] = self._scaled(measure, measured, table[measured.column])
        rows = pa.table(columns)
        batch = replace(place, kind=mapping.kind, rows=rows, step_s=mapping.step_s)
        for one in found:
            where = self.source.finding(batch.where())
            yield msgspec.structs.replace(one, source=where)
        yield batch

    def _pops(self, table: pa.Table) -> pa.ChunkedArray | pa.Array:
        if self.mapping.pop.value:
            one = pa.array([self.mapping.pop.value])
            return pa.DictionaryArray.from_arrays(_zeros(len(table)), one)
        return _as_words(table[self.mapping.pop.column])

    def _uptime(self, table: pa.Table) -> dict[str, pa.Array]:
        uptime = self.mapping.uptime
        if uptime is None or uptime.column not in table.column_names:
            return {}
        factor = 1000.0 if uptime.unit == "s" else 1.0
        column = pc.multiply(table[uptime.column].cast(pa.float64()), factor)
        return {"uptime_ms": pc.round(column).cast(pa.int64(), safe=False)}

    def _scaled(self, measure: str, measured: Measured, column: pa.ChunkedArray) -> pa.Array:
        factor = factor_of(measure, UNITS[measured.unit], self.mapping.kind, self.mapping.step_s)
        kind = column.type
        if pa.types.is_decimal(kind) or not (
            pa.types.is_integer(kind) or pa.types.is_floating(kind)
        ):
            column = _as_numbers(self.source, measured.column, column)
        if factor == 1:
            return column
        if factor.denominator == 1 and pa.types.is_integer(column.type):
            try:
                return pc.multiply_checked(column.cast(pa.uint64()), int(factor))
            except pa.ArrowInvalid:
                pass  # below 0 or beyond 64 bits: as fractions, which are checked further on
        return pc.multiply(column.cast(pa.float64(), safe=False), float(factor))


def _as_numbers(source: SourceFile, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        if pa.types.is_boolean(column.type):
            raise pa.ArrowInvalid
        return column.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        words = f"column {name!r} is of type {column.type}, not numbers"
        raise BadPlan(f"{source.name}: {words}; name another in the mapping file.") from error


def _zeros(count: int) -> pa.Array:
    return pa.nulls(count, pa.int32()).fill_null(0)


def _as_words(column: pa.ChunkedArray) -> pa.ChunkedArray:
    is_words = pa.types.is_dictionary(column.type) or pa.types.is_string(column.type)
    return column if is_words else column.cast(pa.string())


def table_of(source: SourceFile) -> Table:
    """By the source's mapping. Raises `BadPlan` for one that lacks what a table needs."""
    mapping = source.mapping or PLAIN
    if not mapping.time.column:
        raise BadPlan("The mapping file has no time.column; name the column with the time.")
    if not (mapping.pop.column or mapping.pop.value):
        words = "name the column, or give pop.value for a file of one PoP"
        raise BadPlan(f"The mapping file has no pop.column; {words}.")
    if not mapping.columns:
        raise BadPlan("The mapping file has no columns; name what out_bytes and others are.")
    clock = Clock(mapping.time)
    clock.check(source.name)
    return Table(mapping, clock, source)


def read_csv(source: SourceFile) -> Iterator[Batch | Finding]:
    """A file of delimited lines with a header."""
    table = table_of(source)
    is_known = False
    for found in read_lines(source, _layout(table)):
        if isinstance(found, Lines):
            if not is_known:
                _check_measures(table, found.header)
                is_known = True
            place = Batch(
                table.mapping.kind,
                found.table,
                first_line=found.first_line,
                lines=found.places,
                read_rows=found.read_rows,
            )
            yield from table.batch(found.table, place)
        else:
            yield found


def _layout(table: Table) -> Layout:
    mapping = table.mapping
    is_counter = mapping.kind is Kind.COUNTER
    numbers = pa.uint64() if is_counter and mapping.width else pa.float64()
    types: dict[str, pa.DataType] = {mapping.time.column: table.clock.type}
    types |= {one.column: numbers for one in mapping.columns.values()}
    types |= {name: _WORDS for name in (mapping.pop.column, mapping.series) if name}
    if mapping.uptime:
        types[mapping.uptime.column] = pa.float64()
    needed = [mapping.time.column, mapping.pop.column]
    if source_is_mapped(table):
        needed += [one.column for one in mapping.columns.values()]
    return Layout(
        types,
        tuple(dict.fromkeys(name for name in needed if name)),
        mapping.delimiter,
        mapping.decimal,
        table.clock.pattern,
        _named(mapping),
    )


def _named(mapping: Mapping) -> tuple[str, ...]:
    uptime = mapping.uptime.column if mapping.uptime else ""
    return tuple(name for name in (mapping.series, uptime) if name)


def source_is_mapped(table: Table) -> bool:
    """Whether a user named the columns: then each must be there."""
    return table.mapping is not PLAIN


def read_parquet(source: SourceFile) -> Iterator[Batch | Finding]:
    """A Parquet file; a row group that cannot be read is a finding, and the next is tried."""
    table = table_of(source)
    mapping = table.mapping
    with pq.ParquetFile(source.path) as file:
        schema, metadata = file.schema_arrow, file.metadata
    columns = _columns_of(table, schema)
    words = [
        name
        for name in (mapping.pop.column, mapping.series)
        if name in columns and pa.types.is_string(schema.field(name).type)
    ]
    with pq.ParquetFile(
        source.path,
        metadata=metadata,
        read_dictionary=words,
        pre_buffer=False,
        page_checksum_verification=True,
    ) as file:
        size = source.path.stat().st_size
        for group in range(file.num_row_groups):
            try:
                for rows in file.iter_batches(BATCH_ROWS, [group], columns, use_threads=False):
                    part = pa.Table.from_batches([rows])
                    place = Batch(mapping.kind, part, place=f"row group {group}")
                    yield from table.batch(part, place)
            except (OSError, pa.ArrowException) as error:
                told = " ".join(str(error).split())[:200]
                yield Finding(
                    kind="unreadable",
                    count=metadata.row_group(group).num_rows,
                    source=source.finding(f"row group {group}"),
                    detail=f"its rows cannot be read: {told}; left out",
                )
            source.done_bytes = size * (group + 1) // file.num_row_groups


def _columns_of(table: Table, schema: pa.Schema) -> list[str]:
    """Those to be read. Raises `BadPlan` where one is missing, twice, or of no use."""
    mapping, name_of = table.mapping, table.source.name
    there = schema.names
    words = [name for name in (mapping.pop.column, mapping.series) if name]
    wanted = [mapping.time.column, *words, *(one.column for one in mapping.columns.values())]
    wanted += [mapping.uptime.column] if mapping.uptime else []
    needed = wanted if source_is_mapped(table) else [mapping.time.column, *words]
    for name in needed:
        if name not in there:
            shown = ", ".join(repr(one) for one in there[:20])
            raise BadPlan(f"{name_of}: column {name!r} is missing; there are {shown or 'none'}.")
    columns = [name for name in dict.fromkeys(wanted) if name in there]
    for name in columns:
        if there.count(name) > 1:
            raise BadPlan(f"{name_of}: column {name!r} is there twice; name one anew.")
    for name in words:
        kind = schema.field(name).type
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        if pa.types.is_nested(plain) or pa.types.is_binary(plain) or pa.types.is_temporal(plain):
            remedy = "name another in the mapping file, or export it as text"
            raise BadPlan(f"{name_of}: column {name!r} is of type {kind}, not names; {remedy}.")
    _check_measures(table, there)
    return columns


def _check_measures(table: Table, there: Sequence[str]) -> None:
    """Raises `BadPlan` where not one column says how much."""
    known = [one.column for one in table.mapping.columns.values()]
    if not any(name in there for name in known):
        shown = ", ".join(repr(one[:60]) for one in there[:20])
        words = f"no column says how much ({', '.join(known)}); there are {shown or 'none'}"
        raise BadPlan(f"{table.source.name}: {words}: name them in a mapping file.")


CSV: Final = Form("csv", "Delimited text with a header; columns by --mapping.", read_csv)
PARQUET: Final = Form("parquet", "Parquet; columns by --mapping.", read_parquet)
