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

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from selvedge.plan.history import BadPlan, Finding
from selvedge.plan.ingest.reading import CUT_OFF, SourceFile

BLOCK_BYTES: Final = 8 << 20
LINE_BYTES_MAX: Final = 1 << 20
NULLS: Final = ["", "NULL", "null", "NA", "N/A", "-", "None", "\\N"]
"""Cells that say "not measured". NaN does not: it is said."""
_NEGATIVE: Final = r"^\s*-\s*[0-9]"


@dataclass(frozen=True, slots=True)
class Lines:
    """Parsed lines of a file: a table under one header."""

    table: pa.Table
    first_line: int
    places: Sequence[int] | None = None
    """Line of each row, where lines were left out."""
    read_rows: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """How lines are written, and which columns are wanted as what."""

    types: dict[str, pa.DataType]
    """By column; of a column that has none here, the text. Columns not named are not read."""
    needed: tuple[str, ...]
    """Columns without which there is no table."""
    delimiter: str = ","
    decimal: str = "."
    time_format: str = ""
    """Of columns that are timestamps, as strptime has it; empty: ISO 8601."""


def read_lines(source: SourceFile, layout: Layout) -> Iterator[Lines | Finding]:
    """The file's lines, with the columns of the layout that it has.

    Raises `BadPlan` where the first header has not what is needed.
    """
    header: list[str] = []
    line = 1
    for block, count in _blocks(source.open()):
        start = 0
        if not header:
            end = block.find(b"\n")
            header = _cells(block[: end + 1], layout)
            _check_header(source, header, layout)
            start, line, count = end + 1, line + 1, count - 1
        if count:
            body = block[start:]
            try:
                table = _parse(body, header, layout)
                if len(table) != count:
                    raise pa.ArrowInvalid("blank lines, or lines of another width")
                yield Lines(table, line, None, count)
            except (pa.ArrowInvalid, pa.ArrowKeyError):
                for found in _by_line(source, body, line, (header, layout)):
                    if isinstance(found, list):
                        header = found
                    else:
                        yield found
        line += count


def _blocks(file: BufferedReader) -> Iterator[tuple[bytes, int]]:
    """Whole lines, and how many; a last line without an end gets one."""
    rest = b""
    for data in _pieces(file):
        cut = data.rfind(b"\n") + 1
        if cut:
            block, rest = rest + data[:cut], data[cut:]
            yield block, block.count(b"\n")
        else:
            rest += data
            if len(rest) > LINE_BYTES_MAX + BLOCK_BYTES:
                raise EOFError(f"a line of more than {LINE_BYTES_MAX} bytes")
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
    text = line.decode("utf-8", "replace").rstrip("\r\n")
    cells = next(rows_of.reader([text], delimiter=layout.delimiter), [])
    return [cell.strip() for cell in cells]


def _check_header(source: SourceFile, header: list[str], layout: Layout) -> None:
    for name in layout.needed:
        if name not in header:
            words = ", ".join(repr(one) for one in header[:20])
            raise BadPlan(f"{source.name}, line 1: column {name!r} is missing; there are {words}.")
    if len(set(header)) != len(header):
        twice = next(one for one in header if header.count(one) > 1)
        raise BadPlan(f"{source.name}, line 1: column {twice!r} is there twice; name one anew.")


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
            strings_can_be_null=True,
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
    if kept:
        text = _parse(_in_utf8(b"\n".join(kept) + b"\n"), header, layout, as_text=True)
        columns = {}
        good = [True] * len(text)
        for name in text.column_names:
            yield from _negatives(source, text[name], layout.types[name], (name, places))
            columns[name], fits = _converted(text[name], layout.types[name], layout)
            if fits is not None:
                good = [one and other for one, other in zip(good, fits, strict=True)]
        bad += [place for place, fine in zip(places, good, strict=True) if not fine]
        mask = pa.array(good)
        left = [place for place, fine in zip(places, good, strict=True) if fine]
        table = pa.table(columns).filter(mask)
        if len(table):
            yield Lines(table, left[0], left, len(places))
    if bad:
        bad.sort()
        words = f"{len(bad)} lines that do not fit the header or its types; left out"
        where = f"line {bad[0]}" if len(bad) == 1 else f"lines {bad[0]} to {bad[-1]}"
        yield Finding(kind="unreadable", count=len(bad), source=source.finding(where), detail=words)


def _in_utf8(data: bytes) -> bytes:
    return data.decode("utf-8", "replace").encode()


def _negatives(
    source: SourceFile, column: pa.ChunkedArray, kind: pa.DataType, at: tuple[str, list[int]]
) -> Iterator[Finding]:
    """Counters below 0, which their type cannot say."""
    name, places = at
    if pa.types.is_unsigned_integer(kind):
        below = pc.fill_null(pc.match_substring_regex(column, _NEGATIVE), False).to_pylist()
        lines = [place for place, is_below in zip(places, below, strict=True) if is_below]
        if lines:
            words = f"{len(lines)} numbers of {name} below 0; left out"
            where = source.finding(f"line {lines[0]}")
            yield Finding(
                kind="negative", series=name, count=len(lines), source=where, detail=words
            )


def _converted(
    column: pa.ChunkedArray, kind: pa.DataType, layout: Layout
) -> tuple[pa.ChunkedArray, list[bool] | None]:
    """A column of text as its type, and where that could be done; None: everywhere."""
    if pa.types.is_dictionary(kind) or pa.types.is_string(kind):
        return column, None
    if pa.types.is_unsigned_integer(kind):
        below = pc.fill_null(pc.match_substring_regex(column, _NEGATIVE), False)
        column = pc.if_else(below, pa.scalar(None, pa.string()), column)
    try:
        return _cast(column, kind, layout), None
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
    return pa.chunked_array([pa.array(cells, kind)]), fits


def _cast(column: pa.Array | pa.ChunkedArray, kind: pa.DataType, layout: Layout) -> pa.Array:
    column = pc.utf8_trim_whitespace(column)
    if layout.decimal != "." and pa.types.is_floating(kind):
        column = pc.replace_substring(column, layout.decimal, ".")
    if layout.time_format and pa.types.is_timestamp(kind):
        return pc.strptime(column, layout.time_format, "ms")
    return column.cast(kind)
