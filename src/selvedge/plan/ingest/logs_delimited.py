"""Logs with columns: W3C with its `#Fields`, structured text, and CSV with a header."""

from __future__ import annotations

import csv as rows_of
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from pyarrow import csv

from selvedge.plan.history import BadPlan, Finding
from selvedge.plan.ingest.logs_adding import Cells, add_up
from selvedge.plan.ingest.logs_cells import Column
from selvedge.plan.ingest.logs_fields import Chosen, Vendor, choose
from selvedge.plan.ingest.logs_json import Finish, constant, scaled
from selvedge.plan.ingest.logs_lines import Account, Block, read_blocks
from selvedge.plan.ingest.reading import Batch, SourceFile

_COMMENT: Final = re.compile(rb"(?m)^#.*\n")
_FIELDS: Final = b"#Fields:"
_NUMBERS: Final = ("out_bytes", "in_bytes")


@dataclass(frozen=True, slots=True)
class Style:
    """How lines are written."""

    delimiter: str = "\t"
    is_quoted: bool = False
    has_header: bool = False
    """The first line names the columns; else `#Fields` does, or `names`."""
    names: tuple[str, ...] = ()


def read_delimited(
    source: SourceFile, vendor: Vendor, style: Style, finish: Finish | None = None
) -> Iterator[Batch | Finding]:
    """Read lines of columns. Raises `BadPlan` where their names are not known."""
    account = Account(source)
    columns: _Columns | None = None
    if style.names:
        columns = _Columns(choose(source, vendor, style.names), style.names, style)
    for block in read_blocks(source):
        for piece in _pieces(block):
            if piece.data.startswith(b"#"):
                if piece.data.startswith(_FIELDS):
                    names = tuple(piece.data[len(_FIELDS) :].decode("utf-8", "replace").split())
                    columns = _Columns(choose(source, vendor, names), names, style)
                continue
            if columns is None and style.has_header:
                names, piece = _header(piece, style)
                columns = _Columns(choose(source, vendor, names), names, style)
            if columns is None:
                raise BadPlan(
                    f"{source.name}, line {piece.first_line}: no #Fields line before it names the "
                    "columns; keep the log's first lines, or give `fields` in the mapping file."
                )
            if piece.lines:
                yield from add_up(columns.cells(piece, finish), account, piece.lines)
    yield from account.rest()


def _pieces(block: Block) -> Iterator[Block]:
    """The block cut at lines that begin with #."""
    at, line = 0, block.first_line
    comments = _COMMENT.finditer(block.data) if b"#" in block.data else ()
    for comment in comments:
        if before := block.data[at : comment.start()]:
            piece = Block(before, line, before.count(b"\n"))
            line += piece.lines
            yield piece
        yield Block(comment.group(), line, 1)
        line += 1
        at = comment.end()
    if rest := block.data[at:]:
        yield Block(rest, line, rest.count(b"\n"))


def _header(piece: Block, style: Style) -> tuple[tuple[str, ...], Block]:
    line, _, rest = piece.data.partition(b"\n")
    text = line.decode("utf-8", "replace").rstrip("\r")
    names = next(rows_of.reader([text], delimiter=style.delimiter), [])
    left = Block(rest, piece.first_line + 1, piece.lines - 1)
    return tuple(name.strip() for name in names), left


class _Columns:
    def __init__(self, chosen: Chosen, names: Sequence[str], style: Style) -> None:
        self._chosen = chosen
        # Columns that nobody asks for may have one name.
        self._names = [f"{place} {name}" for place, name in enumerate(names)]
        places = {name: f"{place} {name}" for place, name in reversed(list(enumerate(names)))}
        self._fields = {role: places[name] for role, name in chosen.fields.items()}
        self._style = style

    def cells(self, piece: Block, finish: Finish | None) -> Cells:
        kinds = {role: pa.int64() for role in _NUMBERS}
        kinds |= dict.fromkeys(("pop", "date"), pa.dictionary(pa.int32(), pa.string()))
        numbers: Sequence[int] = range(piece.first_line, piece.first_line + piece.lines)
        bad: list[int] = []
        try:
            table = self._parse(piece.data, kinds)
        except pa.ArrowInvalid:
            data, numbers, bad = self._whole_lines(piece)
            table = self._parse(data, {})
        if len(table) != len(numbers):  # blank lines
            data, numbers, bad = self._whole_lines(piece)
            table = self._parse(data, {})
        columns: dict[str, Column] = {role: table[name] for role, name in self._fields.items()}
        if self._chosen.pop:
            columns["pop"] = constant(self._chosen.pop, len(table))
        for name, factor in self._chosen.factors.items():
            if factor != 1 and name in columns:
                columns[name] = scaled(columns[name], float(factor))
        if finish is not None:
            columns = finish(columns)
        return Cells(columns, np.asarray(numbers, np.int64), bad)

    def _parse(self, data: bytes, kinds: dict[str, pa.DataType]) -> pa.Table:
        wanted = sorted(set(self._fields.values()))
        types = dict.fromkeys(wanted, pa.string())
        types |= {self._fields[role]: kind for role, kind in kinds.items() if role in self._fields}
        if not data:
            return pa.table({name: pa.array([], kind) for name, kind in types.items()})
        return csv.read_csv(
            pa.BufferReader(data),
            csv.ReadOptions(use_threads=False, column_names=self._names, block_size=len(data) + 1),
            csv.ParseOptions(
                delimiter=self._style.delimiter,
                quote_char='"' if self._style.is_quoted else False,
                ignore_empty_lines=True,
            ),
            csv.ConvertOptions(
                include_columns=wanted,
                column_types=types,
                null_values=["", "-"],
                strings_can_be_null=True,
            ),
        )

    def _whole_lines(self, piece: Block) -> tuple[bytes, list[int], list[int]]:
        """The lines that have as many columns as there are names, as valid text."""
        kept, numbers, bad = [], [], []
        for number, line in enumerate(piece.data.split(b"\n")[:-1], piece.first_line):
            if not line.strip():
                continue
            text = line.decode("utf-8", "replace").rstrip("\r")
            if self._count(text) == len(self._names):
                kept.append(text)
                numbers.append(number)
            else:
                bad.append(number)
        data = "".join(f"{line}\n" for line in kept)
        return data.encode(), numbers, bad

    def _count(self, text: str) -> int:
        if not self._style.is_quoted:
            return text.count(self._style.delimiter) + 1
        return len(next(rows_of.reader([text], delimiter=self._style.delimiter), []))
