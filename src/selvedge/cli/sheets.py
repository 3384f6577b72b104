"""Tables of words from the annexes of `plan`, on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import JustifyMethod
from rich.markup import escape
from rich.table import Table

from selvedge.cli.tables import console
from selvedge.cli.terminal import printable


def print_sheet(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]
) -> None:
    """Print one. Columns whose name begins with ``>`` are aligned to the right."""
    out = console()
    out.print(escape(printable(title)))
    if rows:
        table = Table(box=None, pad_edge=False)
        for name in columns:
            side: JustifyMethod = "right" if name.startswith(">") else "left"
            table.add_column(name.removeprefix(">"), justify=side)
        for row in rows:
            table.add_row(*(escape(printable(cell)) for cell in row))
        out.print(table)
    for note in notes:
        out.print(escape(printable(note)))
