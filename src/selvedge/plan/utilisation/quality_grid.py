"""A block of PoPs over the whole history, an hour a cell: what the detectors look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from selvedge.plan.utilisation.quality_hours import HOUR_S, SLOTS, Cells, Hours
from selvedge.plan.utilisation.quality_scan import Ints, Parts, month_span

CELLS_MAX: Final = 8_000_000
"""Cells of one block: about 26 bytes each, and as many again while it is looked at."""
FULL: Final = (1 << SLOTS) - 1
"""The mask of an hour with all of its samples."""
POPS_MAX: Final = 1_024
"""PoPs of one block, so that a month of them is soon added up."""

Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rows:
    """Raw rows of one PoP, sorted by moment. Values are nan where null."""

    at_s: Ints
    out: Floats
    in_: Floats
    capacity: Floats
    flags: Ints
    exact: Ints
    """`out` as an integer, 0 where null."""
    cpu: Ints
    """Share of processors in use, 0 where null."""
    same: Bools
    """Whether the row equals the one before it in every column but the flags."""


@dataclass(slots=True)
class Grid:
    """Cells of PoPs `first` and on, from the hour that begins at `begin_s`."""

    first: int
    begin_s: int
    cells: Cells
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

    def fill(self, found: Hours) -> None:
        """Enter a month's hours."""
        found.settle(self.cells, (found.begin_s - self.begin_s) // HOUR_S)

    def fetch(self, parts: Parts, wanted: Bools) -> None:
        """Read the rows of these hours into `raw`."""
        found: dict[int, list[pa.Table]] = {}
        for month in parts.months:
            begin, after = month_span(month)
            hours = slice((begin - self.begin_s) // HOUR_S, (after - self.begin_s) // HOUR_S)
            pops, at = np.nonzero(wanted[:, hours])
            if not len(pops):
                continue
            keys = ((pops + self.first) << 32) + begin + at * HOUR_S
            if (table := parts.rows(month, keys)) is None:
                continue
            numbers = table["pop"].to_numpy().astype(np.int64)
            for number in np.unique(numbers):
                low, high = np.searchsorted(numbers, [number, number + 1])
                one = table.slice(low, high - low)
                found.setdefault(int(number) - self.first, []).append(one)
        self.raw = {pop: _rows(pa.concat_tables(tables)) for pop, tables in found.items()}

    def present(self, pop: int) -> Bools:
        """Of each five minutes of the history, whether a sample is there."""
        bits = (self.cells.mask[pop][:, None] >> np.arange(SLOTS)) & 1
        found: Bools = bits.astype(np.bool_).reshape(-1)
        return found

    def is_whole(self, pop: int) -> bool:
        """Whether not one sample is missing over the whole history."""
        return bool((self.cells.mask[pop] == FULL).all())


def runs(marked: Bools) -> list[tuple[int, int]]:
    """First and after-last positions of each unbroken run of marks."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], marked, [False])).astype(np.int8)))
    return [(int(first), int(after)) for first, after in edges.reshape(-1, 2)]


def _reals(table: pa.Table, name: str) -> Floats:
    found: Floats = table[name].cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy()
    return found


def _rows(table: pa.Table) -> Rows:
    same = np.zeros(table.num_rows, np.bool_)
    if table.num_rows > 1:
        same[1:] = True
        for name in (one for one in table.column_names if one != "flags"):
            column = table[name]
            values = column.cast(pa.uint64()).fill_null(0).to_numpy()
            nulls = column.is_null().to_numpy()
            same[1:] &= (values[1:] == values[:-1]) & (nulls[1:] == nulls[:-1])
    return Rows(
        at_s=table["at_s"].to_numpy().astype(np.int64),
        out=_reals(table, "out_bytes"),
        in_=_reals(table, "in_bytes"),
        capacity=_reals(table, "capacity_bps"),
        flags=table["flags"].to_numpy().astype(np.int64),
        exact=table["out_bytes"].fill_null(0).to_numpy().astype(np.uint64).view(np.int64),
        cpu=table["cpu_bp"].fill_null(0).to_numpy().astype(np.int64),
        same=same,
    )
