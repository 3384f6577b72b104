"""A table of words, for people: columns, rows and notes, however it is shown."""

from __future__ import annotations

import msgspec


class Sheet(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of text. Columns whose name begins with ``>`` are aligned to the right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
