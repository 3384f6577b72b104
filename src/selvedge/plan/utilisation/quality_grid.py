"""A block of PoPs over the whole history, an hour a cell: what the detectors look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa

from selvedge.plan.utilisation.quality_hours import KEPT, SLOTS, Cells, Hours
from selvedge.plan.utilisation.quality_rows import Bools, Ints, Rows, rows_by_pop
from selvedge.plan.utilisation.quality_scan import Scan, keys_of
from selvedge.plan.utilisation.zones import HOUR_S, month_span

CELLS_MAX: Final = 8_000_000
"""Cells of one block: about 26 bytes each, and as many again while it is looked at."""
FULL: Final = (1 << SLOTS) - 1
"""The mask of an hour with all of its samples."""
POPS_MAX: Final = 1_024
"""PoPs of one block, so that a month of them is soon added up."""


@dataclass(slots=True)
class Grid:
    """Cells of PoPs `first` and on, from the hour that begins at `begin_s`."""

    first: int
    begin_s: int
    cells: Cells
    kept: list[pa.Table] = field(default_factory=list)
    """Rows that came with the hours."""
    raw: dict[int, Rows] = field(default_factory=dict)
    """Rows of PoPs that were asked for, by their place in the block."""

    @classmethod
    def empty(cls, first: int, pops: int, begin_s: int, hours: int) -> Grid:
        """One without a sample."""
        return cls(first, begin_s, Cells.empty(pops, hours))

    @property
    def hours(self) -> int:
        """Of the whole history."""
        return int(self.cells.n.shape[1])

    @property
    def span(self) -> tuple[int, int]:
        """Begin and end of the history, in seconds UTC."""
        return self.begin_s, self.begin_s + self.hours * HOUR_S

    def fill(self, found: Hours) -> None:
        """Enter a month's hours."""
        self.cells.enter(found.cells, (found.begin_s - self.begin_s) // HOUR_S)
        self.kept += found.kept

    def fetch(self, scan: Scan, wanted: Bools) -> None:
        """Bring the rows of these hours into `raw`: those kept, and the others read again."""
        left = wanted & ((self.cells.signs & KEPT) == 0) & (self.cells.n > 0)
        tables = self.kept
        for month in scan.parts.months:
            begin, after = month_span(month)
            hours = slice((begin - self.begin_s) // HOUR_S, (after - self.begin_s) // HOUR_S)
            pops, at = np.nonzero(left[:, hours])
            if len(pops):
                table = scan.rows(month, keys_of(pops + self.first, begin + at * HOUR_S))
                tables += [table] if table is not None else []
        self.kept = []
        self.raw = {pop - self.first: rows for pop, rows in rows_by_pop(tables, self._in(wanted))}

    def _in(self, wanted: Bools) -> Callable[[Ints, Ints], Bools]:
        """Whether rows, by PoP and moment, are of these hours."""
        return lambda pops, at_s: wanted[pops - self.first, (at_s - self.begin_s) // HOUR_S]

    def present(self, pop: int) -> Bools:
        """Of each five minutes of the history, whether a sample is there."""
        bits = (self.cells.mask[pop][:, None] >> np.arange(SLOTS, dtype=np.uint16)) & 1
        found: Bools = bits.astype(np.bool_).reshape(-1)
        return found

    def is_whole(self, pop: int) -> bool:
        """Whether not one sample is missing over the whole history."""
        return bool((self.cells.mask[pop] == FULL).all())


def runs(marked: Bools) -> list[tuple[int, int]]:
    """First and after-last positions of each unbroken run of marks."""
    padded = np.concatenate(([False], marked, [False]))
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    return [(int(first), int(after)) for first, after in edges.reshape(-1, 2)]
