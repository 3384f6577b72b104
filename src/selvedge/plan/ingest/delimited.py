"""Delimited text, block by block: Arrow parses, and what it cannot parse is found by line.

A block of whole lines is parsed with the types it should have. Where that fails, its cells are
read as text and tried one by one: bad lines are counted and named, and a line that is a header
begins a new table, also in mid-file. Cells do not hold line ends.
"""

from __future__ import annotations

import csv as rows_of
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from selvedge.plan.history import BadPlan, Finding
from selvedge.plan.ingest.columns import Array
from selvedge.plan.ingest.reading import CUT_OFF, SourceFile

BLOCK_BYTES: Final = 8 << 20
LINE_BYTES_MAX: Final = 1 << 20
"""A line that is longer is left out."""
TOO_LONG: Final = b"\0"
"""What is read instead: no row of two columns."""
NULLS: Final = ["", "NULL", "null", "NA", "N/A", "-", "None", "\\N"]
"""Cells that say "not measured". NaN does not: it is said."""
SIGNED: Final = pa.decimal128(20, 0)
"""What holds counters of 64 bits and numbers below 0."""
_NEGATIVE: Final = r"^\s*-\s*[0-9]"


@dataclass(frozen=True, slots=True)
class Lines:
    """Parsed lines of a file: a table under one header."""

    table: pa.Table
    first_line: int
    places: Sequence[int] | None = None
    """Line of each row, where lines were left out."""
    read_rows: int = 0
    header: Sequence[str] = ()
    """All columns, also those that were not wanted."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How lines are written, and which columns are wanted as what."""

    types: dict[str, pa.DataType]
    """By column; of a column that has none here, the text. Columns not named are not read."""
    needed: tuple[str, ...]
    """Columns without which there is no table, and cells without which there is no row."""
    delimiter: str = ","
    decimal: str = "."
    time_format: str = ""
    """Of columns that are timestamps, as strptime has it; empty: ISO 8601."""
    named: tuple[str, ...] = ()
    """Columns that a mapping file names: they must be there, their cells may be empty."""


def read_lines(source: SourceFile, layout: Layout) -> Iterator[Lines | Finding]:
    """The file's lines, with the columns of the layout that it has.

    Raises `BadPlan` where the first header has not what is needed.
    """
    header: list[str] = []
    line = 1
    for body, count in _blocks(source.open()):
        if not header:
            blank, head, body = _head_of(body)
            line, count = line + blank, count - blank
            if not head:
                continue
            header = _header(source, line, head, layout)
            line, count = line + 1, count - 1
        if count:
            try:
                table = _parse(body, header, layout)
                if len(table) != count:
                    raise pa.ArrowInvalid("blank lines, or lines of another width")
                yield Lines(table, line, None, count, header)
            except (pa.ArrowInvalid, pa.ArrowKeyError):
                for found in _by_line(source, body, line, (header, layout)):
                    if isinstance(found, list):
                        header = found
                    else:
                        yield found
        line += count
    if not header:
        words = "it is empty; it needs a header and a line for each row"
        yield Finding(kind="unreadable", source=source.name, detail=words)


def _head_of(block: bytes) -> tuple[int, bytes, bytes]:
    """How many blank lines it begins with, the line behind them, and the rest."""
    blank = 0
    while block:
        line, _, block = block.partition(b"\n")
        if line.strip():
            return blank, line, block
        blank += 1
    return blank, b"", b""


def _blocks(file: BufferedReader) -> Iterator[tuple[bytes, int]]:
    """Whole lines, and how many; a last line without an end gets one.

    Of one that is too long, `TOO_LONG` is given.
    """
    rest = b""
    for data in _pieces(file):
        if rest == TOO_LONG:
            data = data[max(data.find(b"\n"), 0) :] if b"\n" in data else b""
        cut = data.rfind(b"\n") + 1
        if cut:
            block, rest = rest + data[:cut], data[cut:]
            yield block, block.count(b"\n")
        else:
            rest += data
        if len(rest) > LINE_BYTES_MAX:
            rest = TOO_LONG
    if rest.strip():
        yield rest + b"\n", 1


def _pieces(file: BufferedReader) -> Iterator[bytes]:
    """The file in pieces of about a block; one that is cut off gives all before the cut."""
    held: list[bytes] = []
    size = 0
    with file:
        while True:
            try:
                data = file.read1(BLOCK_BYTES - size)
            except CUT_OFF:
                yield b"".join(held)
                raise
            held.append(data)
            size += len(data)
            if size == BLOCK_BYTES or not data:
                yield b"".join(held)
                held, size = [], 0
            if not data:
                return


def _cells(line: bytes, layout: Layout) -> list[str]:
    """The cells of a line; none where it cannot be taken apart."""
    text = line.decode("utf-8", "replace").rstrip("\r\n")
    try:
        cells = next(rows_of.reader([text], delimiter=layout.delimiter), [])
    except rows_of.Error:  # too long, or a stray line end
        return []
    return [cell.strip() for cell in cells]


def _header(source: SourceFile, line: int, head: bytes, layout: Layout) -> list[str]:
    """The names of the columns. Raises `BadPlan`."""
    where = f"{source.name}, line {line}"
    header = _cells(head, layout)
    if b"\r" in head.rstrip(b"\r"):
        raise BadPlan(f"{where}: its lines end in CR alone; save it with LF or CRLF.")
    if not header:
        raise BadPlan(f"{where}: no header can be read; its cells may have 131072 characters.")
    for name in (*layout.needed, *layout.named):
        if name not in header:
            words = ", ".join(repr(one[:60]) for one in header[:20])
            words += other_delimiter(header)
            raise BadPlan(f"{where}: column {name!r} is missing; there are {words}.")
    if len(set(header)) != len(header):
        twice = next(one for one in header if header.count(one) > 1)
        raise BadPlan(f"{where}: column {twice!r} is there twice; name one anew.")
    return header


def other_delimiter(header: Sequence[str]) -> str:
    """A remedy, where a header is one cell that looks like several."""
    if len(header) != 1:
        return ""
    found = max(",;\t|", key=header[0].count)
    return f"; give delimiter: {found!r} in a mapping file" if found in header[0] else ""


def _parse(block: bytes, header: list[str], layout: Layout, *, as_text: bool = False) -> pa.Table:
    wanted = [name for name in header if name in layout.types]
    types = {name: pa.string() if as_text else layout.types[name] for name in wanted}
    return csv.read_csv(
        pa.BufferReader(block),
        csv.ReadOptions(use_threads=False, column_names=header, block_size=len(block) + 1),
        csv.ParseOptions(
            delimiter=layout.delimiter,
            ignore_empty_lines=True,
            invalid_row_handler=(lambda row: "skip") if as_text else None,
        ),
        csv.ConvertOptions(
            include_columns=wanted,
            column_types=types,
            null_values=NULLS,
            strings_can_be_null=False,  # a PoP may be called NA
            decimal_point=layout.decimal,
            timestamp_parsers=[layout.time_format or csv.ISO8601],
        ),
    )


def _by_line(
    source: SourceFile, block: bytes, line: int, under: tuple[list[str], Layout]
) -> Iterator[Lines | Finding | list[str]]:
    """A block that did not parse: cut at headers, bad lines named. Yields new headers as lists."""
    header, layout = under
    kept: list[bytes] = []
    places: list[int] = []
    bad: list[int] = []
    for number, raw in enumerate(block.split(b"\n")[:-1], line):
        if not raw.strip():
            continue
        cells = _cells(raw, layout)
        if all(name in cells for name in layout.needed) and len(set(cells)) == len(cells):
            yield from _table_of(source, kept, (places, bad), (header, layout))
            kept, places, bad = [], [], []
            if cells != header:
                words = f"another header from here on: {', '.join(cells)[:200]}"
                where = source.finding(f"line {number}")
                yield Finding(kind="unreadable", count=0, source=where, detail=words)
            header = cells
            yield header
        elif len(cells) != len(header):
            bad.append(number)
        else:
            kept.append(raw)
            places.append(number)
    yield from _table_of(source, kept, (places, bad), (header, layout))


def _table_of(
    source: SourceFile,
    kept: list[bytes],
    numbers: tuple[list[int], list[int]],
    under: tuple[list[str], Layout],
) -> Iterator[Lines | Finding]:
    places, bad = numbers
    header, layout = under
    first = f"not the header's {len(header)} cells" if bad else ""
    if kept:
        data, foreign = _in_utf8(kept)
        if foreign:
            words = "not in UTF-8; read as Latin-1: save the file in UTF-8"
            yield _of_lines(source, [places[row] for row in foreign], words)
        text = _parse(data, header, layout, as_text=True)
        columns = {}
        good = np.ones(len(text), bool)
        for name in text.column_names:
            columns[name], wrong, words = _converted(name, text[name], layout)
            if not wrong.any():
                continue
            if name in layout.needed:
                first = first if bad or not good.all() else words
                good &= ~wrong
            else:
                told = [place for place, fault in zip(places, wrong, strict=True) if fault]
                yield _of_lines(source, told, f"{words}; that cell is left out")
        bad += [place for place, fine in zip(places, good, strict=True) if not fine]
        left = [place for place, fine in zip(places, good, strict=True) if fine]
        table = pa.table(columns).filter(pa.array(good))
        if len(table):
            yield Lines(table, left[0], left, len(places), header)
    if bad:
        yield _of_lines(source, sorted(bad), f"{first}; left out")


def _of_lines(source: SourceFile, lines: Sequence[int], words: str) -> Finding:
    count = len(lines)
    where = f"line {lines[0]}" if count == 1 else f"lines {lines[0]} to {lines[-1]}"
    return Finding(
        kind="unreadable",
        count=count,
        source=source.finding(where),
        detail=f"{count} {'line' if count == 1 else 'lines'}: {words}",
    )


def _in_utf8(lines: Sequence[bytes]) -> tuple[bytes, list[int]]:
    """The lines together, and which were not in UTF-8: their letters stay apart as Latin-1."""
    found, foreign = [], []
    for row, line in enumerate(lines):
        try:
            line.decode()
            found.append(line)
        except UnicodeDecodeError:
            found.append(line.decode("latin-1").encode())
            foreign.append(row)
    return b"\n".join(found) + b"\n", foreign


def _converted(
    name: str, column: pa.ChunkedArray, layout: Layout
) -> tuple[pa.ChunkedArray, Array, str]:
    """A column of text as its type, where that could not be done, and what stands there."""
    kind = layout.types[name]
    if pa.types.is_dictionary(kind) or pa.types.is_string(kind):
        return column, np.zeros(len(column), bool), ""
    column = pc.utf8_trim_whitespace(column)
    column = pc.if_else(pc.is_in(column, pa.array(NULLS)), pa.scalar(None, pa.string()), column)
    if pa.types.is_integer(kind):
        column = pc.replace_substring_regex(column, r"^([+-]?\d+)\.0*$", r"\1")  # as pandas writes
    if pa.types.is_unsigned_integer(kind):
        below = pc.match_substring_regex(column, _NEGATIVE)
        if pc.any(below).as_py():
            kind = SIGNED  # what checks it says whose it is
    try:
        return _cast(column, kind, layout), np.zeros(len(column), bool), ""
    except pa.ArrowInvalid:
        pass
    cells, fits = [], []
    for text in column.to_pylist():
        try:
            cells.append(_cast(pa.array([text], pa.string()), kind, layout)[0].as_py())
            fits.append(True)
        except pa.ArrowInvalid:
            cells.append(None)
            fits.append(False)
    wrong = ~np.array(fits)
    shown = column[int(np.argmax(wrong))].as_py()
    words = f"column {name!r} has {shown[:60]!r}, which is no {_what(kind, layout)}"
    return pa.chunked_array([pa.array(cells, kind)]), wrong, words


def _what(kind: pa.DataType, layout: Layout) -> str:
    if pa.types.is_timestamp(kind):
        return f"time as {layout.time_format!r}" if layout.time_format else (
            "time of ISO 8601, of the same kind as in the first line"
        )  # fmt: skip
    if pa.types.is_floating(kind):
        return f"number with {layout.decimal!r} for fractions"
    return "whole number from 0 to 18446744073709551615"


def _cast(column: pa.Array | pa.ChunkedArray, kind: pa.DataType, layout: Layout) -> pa.Array:
    if layout.decimal != "." and pa.types.is_floating(kind):
        column = pc.replace_substring(column, layout.decimal, ".")
    if layout.time_format and pa.types.is_timestamp(kind):
        return pc.strptime(column, layout.time_format, "ms")
    return column.cast(kind)
