"""A block of PoPs over the whole history, an hour a cell: what the detectors look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from selvedge.plan.history import STEP_S
from selvedge.plan.utilisation.quality_scan import (
    FULL,
    HOUR_S,
    SLOTS,
    Ints,
    Parts,
    month_span,
    split_keys,
)

CELLS_MAX: Final = 8_000_000
"""Cells of one block: about 60 bytes each while it is looked at."""
POPS_MAX: Final = 1_024
"""PoPs of one block, so that a month of them is soon added up."""

_FILLED: Final = (
    *("n", "mask", "mean", "rest", "low", "flat", "flat_cpu", "known", "peak"),
    *("capacity_low", "capacity_high", "flags"),
)

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
    n: npt.NDArray[np.int32]
    """Rows."""
    mask: npt.NDArray[np.int32]
    """Which samples of the hour are there, lowest bit first."""
    mean: npt.NDArray[np.float32]
    """Bytes a sample; nan: not one was measured."""
    rest: npt.NDArray[np.float32]
    """Bytes a sample without the smallest of the hour; nan: fewer than two were measured."""
    low: npt.NDArray[np.float32]
    """The smallest sample of the hour."""
    flat: npt.NDArray[np.uint64]
    """The value that all samples of the hour have, if it is more than 0; else 0."""
    flat_cpu: npt.NDArray[np.uint16]
    """The share of processors in use that all samples of the hour have; 0 if they differ."""
    known: npt.NDArray[np.int32]
    """Samples with bytes."""
    peak: npt.NDArray[np.float32]
    """The largest bytes, out or in, as bits per second over the least capacity."""
    capacity_low: Floats
    capacity_high: Floats
    flags: npt.NDArray[np.uint8]
    """The largest flags of the hour."""
    raw: dict[int, Rows] = field(default_factory=dict)
    """Rows of PoPs that were asked for, by their place in the block."""

    @classmethod
    def empty(cls, first: int, pops: int, begin_s: int, hours: int) -> Grid:
        """One without a sample."""
        shape = (pops, hours)
        nan = [np.full(shape, np.nan, np.float32) for _ in range(4)]
        return cls(
            first=first,
            begin_s=begin_s,
            n=np.zeros(shape, np.int32),
            mask=np.zeros(shape, np.int32),
            mean=nan[0],
            rest=nan[1],
            low=nan[2],
            flat=np.zeros(shape, np.uint64),
            flat_cpu=np.zeros(shape, np.uint16),
            known=np.zeros(shape, np.int32),
            peak=nan[3],
            capacity_low=np.full(shape, np.nan),
            capacity_high=np.full(shape, np.nan),
            flags=np.zeros(shape, np.uint8),
        )

    @property
    def hours(self) -> int:
        """Of the whole history."""
        return int(self.n.shape[1])

    def fill(self, month: str, table: pa.Table) -> int:
        """Enter a month's hours; answers how many rows are of another month and left out."""
        begin, after = month_span(month)
        key = table["key"].to_numpy()
        n = table["n"].to_numpy()
        pops, at = split_keys(key)
        inside = (at >= begin) & (at < after)
        strays = int(n[~inside].sum())
        if strays:
            table = table.filter(pa.array(inside))
            pops, at, n = pops[inside], at[inside], n[inside]
        where = (pops - self.first) * self.hours + (at - self.begin_s) // HOUR_S
        for name in _FILLED:
            np.put(getattr(self, name), where, table[name].to_numpy())
        return strays

    @property
    def doubled(self) -> Bools:
        """Hours in which some moment is there more than once."""
        found: Bools = np.bitwise_count(self.mask) != self.n
        return found

    def fetch(self, parts: Parts, wanted: Bools) -> None:
        """Read the rows of these hours into `raw`, and mend `mask` where moments are double."""
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
        self._mend_masks()

    def _mend_masks(self) -> None:
        doubled = self.doubled
        for pop in np.flatnonzero(doubled.any(axis=1)).tolist():
            at = self.raw[pop].at_s if pop in self.raw else np.zeros(0, np.int64)
            hours = np.flatnonzero(doubled[pop])
            self.mask[pop, hours] = 0
            hour = (at - self.begin_s) // HOUR_S
            inside = doubled[pop, hour]
            bits = (1 << (at[inside] // STEP_S % SLOTS)).astype(np.int32)
            np.bitwise_or.at(self.mask[pop], hour[inside], bits)

    def present(self, pop: int) -> Bools:
        """Of each five minutes of the history, whether a sample is there."""
        bits = (self.mask[pop][:, None] >> np.arange(SLOTS)) & 1
        found: Bools = bits.astype(np.bool_).reshape(-1)
        return found

    def is_whole(self, pop: int) -> bool:
        """Whether not one sample is missing over the whole history."""
        return bool((self.mask[pop] == FULL).all())


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
