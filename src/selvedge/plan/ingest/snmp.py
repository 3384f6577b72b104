"""Interface counters as pollers write them: a line per poll and interface.

Columns by their names in IF-MIB (RFC 2863), in any order and case: `ifHCOutOctets` and
`ifHCInOctets`, or `ifOutOctets` and `ifInOctets` of 32 bits; `ifHighSpeed` in Mbit/s or `ifSpeed`
in bit/s; `sysUpTime` in hundredths of a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from selvedge.plan.history import BadPlan, Finding
from selvedge.plan.ingest.clocks import AT_MS_MAX, Clock
from selvedge.plan.ingest.delimited import (
    LINE_BYTES_MAX,
    Layout,
    Lines,
    other_delimiter,
    read_lines,
)
from selvedge.plan.ingest.mapping import Mapping, TimeColumn
from selvedge.plan.ingest.reading import BYTES, Batch, Form, Kind, SourceFile

TIMES: Final = ("time", "timestamp", "datetime", "at_s", "at")
POPS: Final = ("pop", "site", "device", "host", "hostname", "sysname")
INTERFACES: Final = ("interface", "ifname", "ifdescr", "ifindex", "port")
_WIDE: Final = ("ifhcoutoctets", "ifhcinoctets")
_NARROW: Final = ("ifoutoctets", "ifinoctets")
_SPEED_MAX: Final = 4_294_967_295
"""What `ifSpeed` says of everything faster (RFC 2863, ifSpeed)."""
_WORDS: Final = pa.dictionary(pa.int32(), pa.string())


@dataclass(frozen=True, slots=True)
class _Columns:
    """The names of the columns in this file; empty where there is none."""

    time: str
    pop: str
    interface: str
    out: str
    into: str
    width: int
    narrow: tuple[str, str]
    """Counters of 32 bits, out and in, where there are those of 64 bits as well."""
    high_speed: str
    speed: str
    uptime: str
    clock: Clock
    pop_value: str = ""
    told: set[str] = field(default_factory=set)
    is_wide: set[tuple[str, str]] = field(default_factory=set)
    """PoPs and interfaces whose counters of 64 bits were seen."""


def read_snmp(source: SourceFile) -> Iterator[Batch | Finding]:
    """Polls. Raises `BadPlan` where a column is missing, or the times have no zone."""
    columns = _find_columns(source)
    types: dict[str, pa.DataType] = {
        columns.time: columns.clock.type,
        columns.pop: _WORDS,
        columns.interface: _WORDS,
        columns.out: pa.uint64(),
        columns.into: pa.uint64(),
        columns.narrow[0]: pa.uint64(),
        columns.narrow[1]: pa.uint64(),
        columns.high_speed: pa.float64(),
        columns.speed: pa.float64(),
        columns.uptime: pa.int64(),
    }
    types.pop("", None)
    needed = [columns.time, columns.pop, columns.out or columns.into]
    mapping = source.mapping or Mapping()
    layout = Layout(
        types,
        tuple(name for name in needed if name),
        mapping.delimiter,
        mapping.decimal,
        columns.clock.pattern,
        tuple(name for name in (mapping.series,) if name),
    )
    for found in read_lines(source, layout):
        if isinstance(found, Lines):
            yield from _batch(source, columns, found)
        else:
            yield found


def _find_columns(source: SourceFile) -> _Columns:
    mapping = source.mapping or Mapping()
    line, first, second = _first_lines(source)
    header = _cells(first, mapping)
    if not header:
        raise BadPlan(f"{source.name} is empty; it needs a header and a line for each poll.")
    where = f"{source.name}, line {line}"
    low = {name.lower(): name for name in header}
    twice = next((name for name in header if low[name.lower()] != name), "")
    if twice:
        words = f"{twice!r} and {low[twice.lower()]!r} differ by case alone"
        raise BadPlan(f"{where}: {words}; name one anew.")

    def one_of(names: Sequence[str]) -> str:
        return next((low[name] for name in names if name in low), "")

    time = mapping.time.column or one_of(TIMES)
    pop = mapping.pop.column or ("" if mapping.pop.value else one_of(POPS))
    pairs = [(_WIDE, 64), (_NARROW, 32)]
    found = [pair for pair in pairs if one_of(pair[0]) or one_of(pair[0][1:])]
    names, width = found[0] if found else (_WIDE, 64)
    wanted = {"a time": time, "a PoP": pop or mapping.pop.value, "octets": one_of(names)}
    for what, name in wanted.items():
        if not name:
            shown = ", ".join(header[:20])
            words = "docs/plan-ingest.md has the names, a mapping file may give others"
            words += other_delimiter(header)
            raise BadPlan(f"{where}: no column with {what} in: {shown}; {words}.")
    cells = dict(zip(header, _cells(second, mapping), strict=False))
    return _Columns(
        time=time,
        pop=pop,
        interface=mapping.series or one_of(INTERFACES),
        out=one_of(names[:1]),
        into=one_of(names[1:]),
        width=width,
        narrow=(one_of(_NARROW[:1]), one_of(_NARROW[1:])) if len(found) > 1 else ("", ""),
        high_speed=one_of(("ifhighspeed",)),
        speed=one_of(("ifspeed",)),
        uptime=one_of(("sysuptime",)),
        clock=_clock(source, mapping, cells.get(time, "")),
        pop_value=mapping.pop.value,
    )


def _first_lines(source: SourceFile) -> tuple[int, bytes, bytes]:
    """The number of the header's line, it, and the next; blank ones before it do not count."""
    with source.open() as file:
        line, first = 1, file.readline(LINE_BYTES_MAX)
        while first and not first.strip():
            line, first = line + 1, file.readline(LINE_BYTES_MAX)
        second = file.readline(LINE_BYTES_MAX)
    source.done_bytes = 0
    return line, first, second


def _cells(line: bytes, mapping: Mapping) -> list[str]:
    text = line.decode("utf-8", "replace").strip()
    return [cell.strip().strip('"') for cell in text.split(mapping.delimiter)] if text else []


def _clock(source: SourceFile, mapping: Mapping, first: str) -> Clock:
    """A time that is a number is in seconds; one with a zone says it; else the mapping must."""
    told = mapping.time
    is_plain = told == TimeColumn(column=told.column)
    if is_plain and first.replace(".", "", 1).isdigit():
        if float(first) * 1000 >= AT_MS_MAX:
            words = "give time.format in a mapping file: epoch_ms, epoch_us, epoch_ns"
            raise BadPlan(f"{source.name}, line 2: {first} is no second before 2106; {words}.")
        return Clock(msgspec.structs.replace(told, format="epoch_s"))
    clock = Clock(told)
    clock.check(source.name)
    if first:
        clock.check_text(f"{source.name}, line 2", first)
    return clock


def _batch(source: SourceFile, columns: _Columns, lines: Lines) -> Iterator[Batch | Finding]:
    table = lines.table
    at, found = columns.clock.at_ms(table[columns.time])
    rows: dict[str, pa.Array] = {"at_ms": at}
    zeros = pa.nulls(len(table), pa.int32()).fill_null(0)
    if columns.pop:
        rows["pop"] = table[columns.pop]
    else:
        rows["pop"] = pa.DictionaryArray.from_arrays(zeros, pa.array([columns.pop_value]))
    rows["width"] = pa.array([columns.width], pa.uint8()).take(zeros)
    for name, own in (
        ("series", columns.interface),
        ("out_bytes", columns.out),
        ("in_bytes", columns.into),
    ):
        if own in table.column_names:
            rows[name] = table[own]
    if columns.uptime in table.column_names:
        rows["uptime_ms"] = pc.multiply(table[columns.uptime], 10)
    capacity = _capacity(columns, table)
    if capacity is not None:
        rows["capacity_bps"] = capacity
    said = [*found, *_saturated(columns, table)]
    if any(columns.narrow) and _is_missing(rows).true_count:
        rows, told = _with_narrow(columns, table, rows)
        said += told
    for one in said:
        where = source.finding(f"line {lines.first_line}")
        yield msgspec.structs.replace(one, source=where)
    yield Batch(
        Kind.COUNTER,
        pa.table(rows),
        first_line=lines.first_line,
        lines=lines.places,
        read_rows=lines.read_rows,
    )


def _is_missing(rows: dict[str, pa.Array]) -> pa.Array:
    """Where no counter of 64 bits is."""
    found = [pc.is_null(rows[name]) for name in BYTES if name in rows]
    missing = found[0] if len(found) == 1 else pc.and_(*found)
    return missing.combine_chunks() if isinstance(missing, pa.ChunkedArray) else missing


def _with_narrow(
    columns: _Columns, table: pa.Table, rows: dict[str, pa.Array]
) -> tuple[dict[str, pa.Array], list[Finding]]:
    """Old devices' counters of 32 bits, in a file in which others have those of 64.

    Never both of one interface: what is between a counter and another one is no amount.
    """
    missing = _is_missing(rows).to_numpy(zero_copy_only=False)
    pops = rows["pop"].cast(pa.string()).to_pylist()
    names = rows["series"].cast(pa.string()).to_pylist() if "series" in rows else [""] * len(pops)
    whose = list(zip(pops, names, strict=True))
    columns.is_wide.update(one for one, none in zip(whose, missing, strict=True) if not none)
    narrow = {m: table[own] for m, own in zip(BYTES, columns.narrow, strict=True) if own}
    is_there = np.logical_or.reduce([pc.is_valid(one).to_numpy() for one in narrow.values()])
    is_old = np.array([one not in columns.is_wide for one in whose]) & missing & is_there
    if not is_old.any():
        return rows, []
    mask = pa.array(is_old)
    found = dict(rows)
    for measure, column in narrow.items():
        empty = pa.nulls(len(table), pa.uint64())
        found[measure] = pc.if_else(mask, column, rows.get(measure, empty))
    found["width"] = pc.if_else(mask, pa.scalar(32, pa.uint8()), rows["width"])
    words = [f"{name} (32 bits)" if old else name for name, old in zip(names, is_old, strict=True)]
    found["series"] = pa.array(words).dictionary_encode()
    if "narrow" in columns.told:
        return found, []
    columns.told.add("narrow")
    pop, name = whose[int(np.argmax(is_old))]
    told = "interfaces have no counters of 64 bits; those of 32 bits are taken, as of"
    detail = f"{len({one for one, old in zip(whose, is_old, strict=True) if old})} {told} {name!r}"
    one = Finding(kind="wrap", pop=pop, series=name, count=int(is_old.sum()), detail=detail)
    return found, [one]


def _capacity(columns: _Columns, table: pa.Table) -> pa.Array | None:
    """In bit/s. 0 is what an interface says that does not know."""
    found = None
    if columns.speed in table.column_names:
        speed = table[columns.speed]
        known = pc.and_(pc.greater(speed, 0), pc.less(speed, _SPEED_MAX))
        found = pc.if_else(known, speed, None)
    if columns.high_speed in table.column_names:
        speed = pc.multiply(table[columns.high_speed], 1e6)
        high = pc.if_else(pc.greater(speed, 0), speed, None)
        found = high if found is None else pc.coalesce(high, found)
    return found


def _saturated(columns: _Columns, table: pa.Table) -> list[Finding]:
    if columns.speed not in table.column_names or columns.high_speed in table.column_names:
        return []
    count = pc.sum(pc.equal(table[columns.speed], _SPEED_MAX)).as_py() or 0
    if not count or "speed" in columns.told:
        return []
    columns.told.add("speed")
    words = "ifSpeed stands at its largest value: the capacity is unknown; poll ifHighSpeed"
    return [Finding(kind="unreadable", series=columns.speed, count=count, detail=words)]


SNMP: Final = Form("snmp", "CSV of polled interface counters (IF-MIB names).", read_snmp)
