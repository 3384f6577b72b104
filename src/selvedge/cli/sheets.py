"""Tables of words from the annexes of `plan`, on a terminal.

A row is never cut. Into a file or a pipe it is one line. On a terminal that is too narrow for it,
headings are folded first; then its columns are printed in parts, each under the row's name; what is
too wide by itself is folded between words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from textwrap import fill
from typing import Final, Protocol

from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table

from selvedge.cli.tables import console
from selvedge.cli.terminal import printable

_GAP: Final = 2
_PROSE: Final = 40
"""A column wider than this is prose: it may be folded, to ``_PROSE_LEAST`` characters at least."""
_PROSE_LEAST: Final = 26


class Shown(Protocol):
    """A table of words with a title above and notes below."""

    @property
    def title(self) -> str:
        """Above it."""

    @property
    def columns(self) -> Sequence[str]:
        """Headings; those that begin with ``>`` are aligned to the right."""

    @property
    def rows(self) -> Sequence[Sequence[str]]:
        """A cell for each heading."""

    @property
    def notes(self) -> Sequence[str]:
        """Below it."""


def print_sheets(sheets: Iterable[Shown]) -> None:
    """Print them, an empty line between each two."""
    for number, sheet in enumerate(sheets):
        title = f"\n{sheet.title}" if number else sheet.title
        print_sheet(title, sheet.columns, sheet.rows, sheet.notes)


def print_sheet(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]
) -> None:
    """Print one. Columns whose name begins with ``>`` are aligned to the right."""
    out = console()
    room = _room(out)
    out.print(escape(printable(title)))
    cells = [[printable(cell) for cell in row] for row in rows]
    if cells and room is None:
        out.print(_table(columns, cells, None))
    elif cells:
        folded = _folded(columns, cells, room or 0)
        for picked in _parts(folded, cells, room or 0):
            part = [[row[at] for at in picked] for row in cells]
            out.print(_table([folded[at] for at in picked], part, room))
    for note in notes:
        out.print(escape(wrapped(printable(note), out)))


def _room(out: Console) -> int | None:
    """Characters of a line on the terminal; None: it is none, and lines run on."""
    return Console().width if out.is_terminal else None


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], room: int | None) -> Table:
    table = Table(box=None, pad_edge=False)
    widths = _widths(columns, rows)
    if room is not None and sum(widths) + _GAP * (len(columns) - 1) > room:
        table.width = room
    for name, wide in zip(columns, widths, strict=True):
        side: JustifyMethod = "right" if name.startswith(">") else "left"
        label, fixed = name.removeprefix(">"), wide <= _PROSE
        table.add_column(label, justify=side, vertical="top", overflow="fold", no_wrap=fixed)
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [
        max(
            *(len(line) for line in name.removeprefix(">").split("\n")),
            *(len(row[at]) for row in rows),
        )
        for at, name in enumerate(columns)
    ]


def _folded(columns: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> list[str]:
    """Headings on several lines, where one would make the table too wide."""
    if sum(_widths(columns, rows)) + _GAP * (len(columns) - 1) <= room:
        return list(columns)
    found = []
    for at, name in enumerate(columns):
        plain = name.removeprefix(">")
        wide = max(max(map(len, plain.split()), default=1), *(len(row[at]) for row in rows))
        found.append(name[: len(name) - len(plain)] + fill(plain, max(wide, 1)))
    return found


def _parts(
    columns: Sequence[str], rows: Sequence[Sequence[str]], room: int
) -> Iterator[tuple[int, ...]]:
    """Places of columns that stand beside each other; the first of them is in every part."""
    widths = [wide if wide <= _PROSE else _PROSE_LEAST for wide in _widths(columns, rows)]
    part, used = [0], widths[0]
    for at in range(1, len(columns)):
        if used + _GAP + widths[at] > room and len(part) > 1:
            yield tuple(part)
            part, used = [0], widths[0]
        part.append(at)
        used += _GAP + widths[at]
    yield tuple(part)


def wrapped(note: str, out: Console) -> str:
    """A line, on a terminal folded between words; what follows is set in as the note is."""
    room = _room(out)
    if room is None or len(note) <= room:
        return note
    inner = note.lstrip(" ")
    start = len(note) - len(inner) + (2 if inner.startswith("- ") else 0)
    return fill(note, room, subsequent_indent=" " * start, break_long_words=False)
