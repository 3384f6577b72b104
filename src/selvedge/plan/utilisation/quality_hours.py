"""Rows added up to hours: what the detectors look at first, twelve samples as one cell.

An engine gives the rows of some PoPs and a month, in any order; two small loops make cells of them.
An engine's own grouping did the same at three times the cost, because it cannot know that rows of
one hour stand together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from selvedge.plan.history import STEP_S, Flag
from selvedge.plan.utilisation.zones import HOUR_S

SLOTS: Final = HOUR_S // STEP_S
"""Samples of an hour."""
OVER: Final = 1.02
"""Times its capacity that a link may seem to carry: clocks and frame overhead."""
NEAR_ZERO: Final = 0.1
"""Of its neighbours, below which a single sample was cut short."""

TWICE: Final = 1
"""A moment of the hour is there more than once."""
FLAT: Final = 2
"""All its samples, half of an hour or more, have one value of bytes, which is not 0."""
CUT: Final = 4
"""Its smallest sample is below `NEAR_ZERO` of the mean of the others."""
FULL_UP: Final = 8
"""Its largest bytes, out or in, are above `OVER` times the least capacity."""
MIXED: Final = 16
"""It has more than one capacity."""
KEPT: Final = 32
"""Its rows were kept as they came by, so that they need not be read again."""
ALIKE_MAX: Final = 100
"""Hours of a month with the share of processors of the hour before, up to which rows are kept."""

_NULLABLE: Final = ("out_bytes", "in_bytes", "capacity_bps", "cpu_bp")
_READ: Final = ("pop", "at_s", *_NULLABLE, "flags")
_SUM: Final = np.dtype(
    [
        *((name, np.uint64) for name in ("low", "high", "in_high")),
        *((name, np.uint64) for name in ("capacity_low", "capacity_high")),
        # A sum of 64-bit numbers, exact: halves of 32 bits apart.
        *((name, np.uint64) for name in ("total_low", "total_high")),
        *((name, np.int32) for name in ("n", "known")),
        *((name, np.uint16) for name in ("mask", "cpu_low", "cpu_high")),
        *((name, np.uint8) for name in ("flags", "signs")),
    ],
    align=True,
)
_LOW_HALF: Final = np.uint64(0xFFFFFFFF)
_HALF: Final = np.uint64(32)
_HALF_SIZE: Final = 2.0**32
_FLAGGED: Final = int(Flag.LATE | Flag.RESET)
_BESIDE: Final = FLAT | CUT
_RESET: Final = int(Flag.RESET)
_NEAR_ZERO: Final = np.float32(NEAR_ZERO)
_OVER: Final = np.float32(OVER)


class Cells(NamedTuple):
    """Hours by PoP (rows) and time (columns); of an hour without a row, 0 and nan."""

    n: npt.NDArray[np.int32]
    """Rows."""
    mask: npt.NDArray[np.uint16]
    """Which samples of the hour are there, lowest bit first."""
    known: npt.NDArray[np.int32]
    """Rows with bytes."""
    mean: npt.NDArray[np.float32]
    """Bytes a sample; nan: not one was measured."""
    capacity: npt.NDArray[np.float64]
    """The least of the hour; nan: not one is known."""
    flat_cpu: npt.NDArray[np.uint16]
    """The share of processors in use that all samples of the hour have; 0 if they differ."""
    flags: npt.NDArray[np.uint8]
    """The largest flags of the hour."""
    signs: npt.NDArray[np.uint8]
    """What may be wrong: `TWICE`, `FLAT`, `CUT`, `FULL_UP`, `MIXED`; and `KEPT`."""

    @classmethod
    def empty(cls, pops: int, hours: int) -> Cells:
        """Some without a row."""
        shape = (pops, hours)
        return cls(
            n=np.zeros(shape, np.int32),
            mask=np.zeros(shape, np.uint16),
            known=np.zeros(shape, np.int32),
            mean=np.full(shape, np.nan, np.float32),
            capacity=np.full(shape, np.nan),
            flat_cpu=np.zeros(shape, np.uint16),
            flags=np.zeros(shape, np.uint8),
            signs=np.zeros(shape, np.uint8),
        )

    def of(self, first: int, after: int) -> Cells:
        """Those of some of the PoPs: not a copy."""
        return Cells._make(column[first:after] for column in self)

    def enter(self, other: Cells, begin: int) -> None:
        """Put another's hours here, from a column on."""
        end = begin + other.n.shape[1]
        columns: Iterator[tuple[Any, Any]] = zip(self, other, strict=True)
        for mine, its in columns:
            mine[:, begin:end] = its


class _Batch(NamedTuple):
    """Columns of rows. `..._known` is empty if all are."""

    pop: Any
    at_s: Any
    out: Any
    in_: Any
    capacity: Any
    cpu: Any
    flags: Any
    out_known: Any
    in_known: Any
    capacity_known: Any
    cpu_known: Any


@dataclass(slots=True)
class Hours:
    """The hours of some PoPs from `first` on, and of a span from `begin_s` on."""

    first: int
    begin_s: int
    cells: Cells
    strays: int = 0
    """Rows of other times, left out."""
    kept: list[pa.Table] = field(default_factory=list)
    """Rows of hours with the sign `KEPT`."""

    @classmethod
    def none_yet(cls, first: int, pops: int, begin_s: int, until_s: int) -> Hours:
        """Before the first row."""
        return cls(first, begin_s, Cells.empty(pops, (until_s - begin_s) // HOUR_S))

    def add(self, rows: pa.Table, low: int, high: int) -> None:
        """Add all rows of the PoPs from `low` to before `high`, as `SAMPLES` says."""
        cells = self.cells.of(low - self.first, high - self.first)
        sums = np.zeros(cells.n.shape, _SUM)
        for name in ("low", "capacity_low", "cpu_low"):
            sums[name] = np.iinfo(sums[name].dtype).max
        batches = rows.to_batches()
        for batch in batches:
            self.strays += _add(sums, _columns(batch), low, self.begin_s)
        if _sign(sums):
            marks = [_marks(sums, batch, low, self.begin_s) for batch in batches]
            self.kept.append(rows.filter(pa.chunked_array(marks)).combine_chunks())
        _settle(sums, cells)


def _marks(sums: Any, batch: pa.RecordBatch, first: int, begin_s: int) -> pa.Array:
    """Which rows are to be kept."""
    pop, at_s = (batch.column(name).to_numpy() for name in ("pop", "at_s"))
    found = np.zeros(len(pop), np.bool_)
    _mark(sums, (pop, at_s), (first, begin_s), found)
    return pa.array(found)


def _columns(batch: pa.RecordBatch) -> _Batch:
    values = []
    for name in _READ:
        column = batch.column(name)
        whole = column.fill_null(0) if column.null_count else column
        values.append(whole.to_numpy())
    known = []
    for name in _NULLABLE:
        column = batch.column(name)
        bits = column.is_valid() if column.null_count else pa.array([], pa.bool_())
        known.append(bits.to_numpy(zero_copy_only=False).astype(np.bool_))
    return _Batch(*values, *known)


@njit(cache=True, nogil=True)
def _add(sums: Any, rows: Any, first: int, begin_s: int) -> int:
    """Answers how many rows are of another time."""
    strays = 0
    hours = sums.shape[1]
    for at in range(len(rows.pop)):
        second = np.int64(rows.at_s[at]) - begin_s
        hour = second // HOUR_S
        if hour < 0 or hour >= hours:
            strays += 1
            continue
        cell = sums[np.int64(rows.pop[at]) - first, hour]
        cell.n += 1
        cell.mask |= np.uint16(1 << (second // STEP_S % SLOTS))
        cell.flags = max(cell.flags, rows.flags[at])
        if len(rows.out_known) == 0 or rows.out_known[at]:
            value = rows.out[at]
            cell.known += 1
            cell.total_low += value & _LOW_HALF
            cell.total_high += value >> _HALF
            cell.low = min(cell.low, value)
            cell.high = max(cell.high, value)
        if len(rows.in_known) == 0 or rows.in_known[at]:
            cell.in_high = max(cell.in_high, rows.in_[at])
        if len(rows.capacity_known) == 0 or rows.capacity_known[at]:
            cell.capacity_low = min(cell.capacity_low, rows.capacity[at])
            cell.capacity_high = max(cell.capacity_high, rows.capacity[at])
        if len(rows.cpu_known) == 0 or rows.cpu_known[at]:
            cell.cpu_low = min(cell.cpu_low, rows.cpu[at])
            cell.cpu_high = max(cell.cpu_high, rows.cpu[at])
    return strays


@njit(cache=True, nogil=True)
def _settle(sums: Any, cells: Any) -> None:
    """Enter what has been added up."""
    for pop in range(sums.shape[0]):
        for hour in range(sums.shape[1]):
            one = sums[pop, hour]
            if one.n == 0:
                continue
            here = (pop, hour)
            cells.n[here] = one.n
            cells.mask[here] = one.mask
            cells.known[here] = one.known
            cells.flags[here] = one.flags
            if one.known > 0:
                cells.mean[here] = _total(one) / one.known
            if one.capacity_low <= one.capacity_high:
                cells.capacity[here] = float(one.capacity_low)
            if one.n > 1 and one.cpu_low == one.cpu_high:
                cells.flat_cpu[here] = one.cpu_low
            cells.signs[here] = one.signs


@njit(cache=True, inline="always")
def _total(one: Any) -> float:
    return float(one.total_high) * _HALF_SIZE + float(one.total_low)


@njit(cache=True, nogil=True)
def _sign(sums: Any) -> bool:
    """Set the signs of hours whose rows are all there; answers whether some are to be kept."""
    some = False
    for pop in range(sums.shape[0]):
        line = sums[pop]
        for hour in range(len(line)):
            line[hour].signs = _signs(line[hour])
        alike = _count_alike(line) <= ALIKE_MAX
        last = 0
        for hour in range(len(line)):
            one = line[hour]
            if one.n == 0:
                continue
            odd = one.signs != 0 or one.flags & _FLAGGED or one.flags > _RESET
            if one.capacity_low <= one.capacity_high:
                odd = odd or (last > 0 and line[last - 1].capacity_low != one.capacity_low)
                last = hour + 1
            for beside in range(max(hour - 1, 0), min(hour + 2, len(line))):
                odd = odd or line[beside].signs & _BESIDE
                odd = odd or (alike and beside > 0 and _is_alike(line, beside))
                odd = odd or (alike and beside + 1 < len(line) and _is_alike(line, beside + 1))
            if odd:
                one.signs |= KEPT
                some = True
    return some


@njit(cache=True, inline="always")
def _is_alike(line: Any, hour: int) -> bool:
    """Whether an hour has one share of processors, the same as the hour before it."""
    one, before = line[hour], line[hour - 1]
    if one.n < 2 or before.n < 2 or one.cpu_low != before.cpu_low:
        return False
    both = one.cpu_low == one.cpu_high and before.cpu_low == before.cpu_high
    return bool(both and one.cpu_low > 0)


@njit(cache=True, nogil=True)
def _count_alike(line: Any) -> int:
    found = 0
    for hour in range(1, len(line)):
        found += _is_alike(line, hour)
    return found


@njit(cache=True, nogil=True)
def _mark(sums: Any, rows: Any, begins: Any, found: Any) -> None:
    pops, moments = rows
    for at in range(len(pops)):
        hour = (np.int64(moments[at]) - begins[1]) // HOUR_S
        if 0 <= hour < sums.shape[1]:
            found[at] = sums[np.int64(pops[at]) - begins[0], hour].signs & KEPT


@njit(cache=True, inline="always")
def _signs(one: Any) -> int:
    found = 0
    bits = 0
    for slot in range(SLOTS):
        bits += (one.mask >> slot) & 1
    if bits != one.n:
        found |= TWICE
    if one.known > 1:
        if one.low == one.high and one.low > 0 and one.known >= SLOTS // 2:
            found |= FLAT
        low = float(one.low)
        rest = np.float32((_total(one) - low) / (one.known - 1))
        if np.float32(low) < _NEAR_ZERO * rest:
            found |= CUT
    if one.capacity_low < one.capacity_high:
        found |= MIXED
    if 0 < one.capacity_low <= one.capacity_high:
        high = float(max(one.high, one.in_high))
        if np.float32(high * (8 / STEP_S) / float(one.capacity_low)) > _OVER:
            found |= FULL_UP
    return found
