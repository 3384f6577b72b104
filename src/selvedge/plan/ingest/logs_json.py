"""Logs with an object a line: only the fields that count are decoded, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa

from selvedge.plan.history import BadPlan, Finding
from selvedge.plan.ingest.logs_adding import Cells, add_up
from selvedge.plan.ingest.logs_cells import Column, as_count
from selvedge.plan.ingest.logs_fields import Chosen, Vendor, choose
from selvedge.plan.ingest.logs_lines import Account, Block, read_blocks, split_lines
from selvedge.plan.ingest.reading import Batch, SourceFile

LOOKED_AT: Final = 1_000
"""Lines whose fields are gathered: vendors leave out what is empty."""
BROKEN: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding a line raises that is no object of a log, or nested without an end."""
_Cell: TypeAlias = int | float | str | None
Finish: TypeAlias = Callable[[dict[str, Column]], dict[str, Column]]
"""Makes the roles of `Cells` of a form's own: scales of samples, directions."""


def read_json(
    source: SourceFile, vendor: Vendor, finish: Finish | None = None
) -> Iterator[Batch | Finding]:
    """Read objects of a log. Raises `BadPlan` where no line is one, or a field is missing."""
    account = Account(source)
    lines: _Lines | None = None
    for block in read_blocks(source):
        if lines is None:
            names = _names(block)
            if not names:
                yield from account.tell(
                    "unreadable", "no JSON object; left out", [block.first_line]
                )
                continue
            lines = _Lines(choose(source, vendor, names))
        cells = lines.cells(block)
        columns = dict(cells.columns)
        for name, factor in lines.chosen.factors.items():
            if factor != 1 and name in columns:
                columns[name] = scaled(columns[name], float(factor))
        if finish is not None:
            columns = finish(columns)
        whole = Cells(columns, cells.lines, cells.bad)
        yield from add_up(whole, account, block.lines)
    if lines is None:
        raise BadPlan(f"{source.name}: no line is a JSON object; one object a line is read.")
    yield from account.rest()


def _names(block: Block) -> list[str]:
    """Fields of the first lines, in order of appearance."""
    decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
    found: dict[str, None] = {}
    for place, (_, line) in enumerate(split_lines(block)):
        if place == LOOKED_AT:
            break
        try:
            found |= dict.fromkeys(decoder.decode(line))
        except BROKEN:
            continue
    return list(found)


class _Lines:
    def __init__(self, chosen: Chosen) -> None:
        self.chosen = chosen
        self._roles = list(chosen.fields)
        names = {f"f{place}": name for place, name in enumerate(chosen.fields.values())}
        fields = [(one, _Cell, None) for one in names]
        # A name may be asked for in two roles: a second one reads the first's.
        self._sources = {role: place for place, role in enumerate(self._roles)}
        first: dict[str, int] = {}
        for place, (role, name) in enumerate(chosen.fields.items()):
            self._sources[role] = first.setdefault(name, place)
        kept = [one for place, one in enumerate(fields) if place in set(first.values())]
        renamed = {one[0]: names[one[0]] for one in kept}
        line = msgspec.defstruct("Line", kept, rename=renamed, gc=False)
        self._decoder = msgspec.json.Decoder(line)

    def cells(self, block: Block) -> Cells:
        rows: list[Any]  # of a type made for this log
        numbers: Sequence[int] | np.ndarray[Any, np.dtype[np.int64]]
        bad: list[int] = []
        try:
            rows = self._decoder.decode_lines(block.data)
            numbers = np.arange(block.first_line, block.first_line + block.lines)
        except BROKEN:
            rows, numbers, bad = self._one_by_one(block)
        if len(rows) != len(numbers):
            numbers = [number for number, _ in split_lines(block)]
        if len(rows) != len(numbers):
            rows, numbers, bad = self._one_by_one(block)
        columns: dict[str, Column] = {}
        for role in self._roles:
            name = f"f{self._sources[role]}"
            columns[role] = as_column([getattr(row, name) for row in rows])
        if self.chosen.pop:
            columns["pop"] = constant(self.chosen.pop, len(rows))
        return Cells(columns, numbers, bad)

    def _one_by_one(self, block: Block) -> tuple[list[Any], list[int], list[int]]:
        rows, numbers, bad = [], [], []
        for number, line in split_lines(block):
            try:
                rows.append(self._decoder.decode(line))
                numbers.append(number)
            except BROKEN:
                bad.append(number)
        return rows, numbers, bad


def as_column(values: list[Any]) -> Column:
    """Cells of one field; as text where they are of several kinds."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if one is None else str(one) for one in values], pa.string())


def constant(word: str, rows: int) -> Column:
    """A column that says the same in every row."""
    zeros = pa.array(np.zeros(rows, np.int32))
    return pa.DictionaryArray.from_arrays(zeros, pa.array([word]))


def scaled(column: Column, factor: float) -> Column:
    """Numbers of another unit as bytes; what is no number stays as it is."""
    number, wrong = as_count(column)
    if wrong.true_count:
        return column
    real = number.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy() * factor
    return pa.array(np.rint(real), mask=np.isnan(real))
