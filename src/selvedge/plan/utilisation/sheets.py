"""Samples of some PoPs as wide hours: twelve samples as one row.

A wide hour is a PoP's hour at one capacity: which of its twelve samples are there, and the bytes of
each. It keeps every sample apart, and what needs neighbours (rises), sums over PoPs (groups) or
local time (profiles) is one sweep over it. Hours in which the capacity changed are rare: they are
left out of the matrix, and put among its rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from selvedge.plan.history import STEP_S
from selvedge.plan.utilisation.sweeps import SLOTS, Dense, Rows, Wide, spread
from selvedge.plan.utilisation.zones import HOUR_S

Ints = npt.NDArray[np.int64]
Parts: TypeAlias = list[tuple[Rows, dict[str, npt.NDArray[Any]]]]
"""Rows as they came, and their other columns."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """The wide hours of PoPs from one number on."""

    wide: Wide
    first_pop: int
    doubled: npt.NDArray[np.bool_]
    """Of PoPs and hours: a moment is there more than once. Such PoPs are left out of `wide`."""
    rows: Ints
    """Of each PoP, with those left out."""
    over: Ints
    """Of each PoP: bytes that could not be."""
    sorted: bool
    """Whether rows of an hour are in the order of their capacities: there is one of each hour."""

    def without(self, strange: npt.NDArray[np.bool_]) -> Sheet:
        """It without some of its PoPs."""
        if not strange.any():
            return self
        self.wide.mask[strange[self.wide.pop - self.first_pop]] = 0
        return replace(
            self,
            doubled=self.doubled & ~strange[:, None],
            rows=np.where(strange, 0, self.rows),
            over=np.where(strange, 0, self.over),
        )


def batches(rows: pa.Table) -> Parts:
    """`measured` rows as arrays, without nulls. What has none is taken as it lies in memory."""
    found = []
    for batch in rows.to_batches():
        columns = {
            name: _filled(batch.column(name), nothing=0 if name == "capacity" else -1)
            for name in batch.schema.names
        }
        found.append((Rows(*(columns.pop(name) for name in Rows._fields)), columns))
    return found


def _filled(column: pa.Array, nothing: int) -> npt.NDArray[Any]:
    """Numbers, and one that says that there is none. Engines fill nulls at ten times the cost."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    elif pa.types.is_uint16(column.type):
        column = column.cast(pa.int32())
    found: npt.NDArray[Any]
    found = (column.fill_null(nothing) if column.null_count else column).to_numpy()
    return found


def left_over(sheet: Sheet, parts: Parts, first_s: int) -> Parts:
    """The rows of PoPs that were left out, but those of the hours that are why."""
    doubled = np.zeros(2**16, bool)
    doubled[sheet.first_pop : sheet.first_pop + len(sheet.doubled)] = sheet.doubled.any(axis=1)
    found = []
    for rows, columns in parts:
        some = np.flatnonzero(doubled[rows.pop])
        hour = (rows.at_s[some] - first_s) // HOUR_S
        some = some[~sheet.doubled[rows.pop[some].astype(np.int64) - sheet.first_pop, hour]]
        kept = {name: column[some] for name, column in columns.items()}
        found.append((Rows(*(column[some] for column in rows)), kept))
    return found


def sheet(parts: list[Rows], pops: range, first_s: int, hours: int) -> Sheet:
    """Spread them. PoPs beyond `pops` are passed over."""
    shape = (len(pops), hours)
    dense = Dense(
        capacity=np.zeros(shape, np.int64),
        mask=np.zeros(shape, np.int16),
        bytes=np.full((*shape, SLOTS), -1, np.int64),
        several=np.zeros(shape, np.uint8),
        doubled=np.zeros(shape, np.bool_),
        over=np.zeros(len(pops), np.int64),
        rows=np.zeros(len(pops), np.int64),
    )
    for rows in parts:
        spread(rows, pops.start, first_s, dense)
    doubled = dense.doubled.any(axis=1)
    dense.mask[doubled] = 0
    dense.several[doubled] = 0
    dense.over[doubled] = 0
    wide = Wide(
        pop=np.repeat(np.arange(pops.start, pops.stop, dtype=np.int32), hours),
        hour=np.tile(np.arange(hours, dtype=np.int32), len(pops)),
        mask=dense.mask.reshape(-1),
        capacity=dense.capacity.reshape(-1),
        bytes=dense.bytes.reshape(-1, SLOTS),
    )
    plain = not dense.several.any()
    if not plain:
        wide = _with_several(wide, parts, pops, first_s, dense.several)
    return Sheet(
        wide=wide,
        first_pop=pops.start,
        doubled=dense.doubled,
        rows=dense.rows,
        over=dense.over,
        sorted=plain,
    )


def _with_several(
    wide: Wide, parts: list[Rows], pops: range, first_s: int, several: npt.NDArray[np.uint8]
) -> Wide:
    """The hours of several capacities as a row for each capacity, in place of their one."""
    more = _apart(parts, pops, first_s, several)
    one = np.flatnonzero((wide.mask != 0) & (several.reshape(-1) == 0))
    both = [np.concatenate([old[one], new]) for old, new in zip(wide, more, strict=True)]
    order = np.lexsort((both[2], both[1], both[0]))
    return Wide(*(column[order] for column in both))


def _apart(parts: list[Rows], pops: range, first_s: int, several: npt.NDArray[np.uint8]) -> Wide:
    found: list[list[npt.NDArray[Any]]] = []
    for rows in parts:
        inside = np.flatnonzero(rows.pop < pops.stop)
        hour = (rows.at_s[inside] - first_s) // HOUR_S
        some = inside[several[rows.pop[inside].astype(np.int64) - pops.start, hour] > 0]
        found.append([rows.pop[some], rows.at_s[some], rows.capacity[some], rows.bytes[some]])
    pop, at, capacity, sent = (np.concatenate(column) for column in zip(*found, strict=True))
    hour, slot = (at - first_s) // HOUR_S, at % HOUR_S // STEP_S
    order = np.lexsort((capacity, hour, pop))
    pop, hour, slot, capacity, sent = (one[order] for one in (pop, hour, slot, capacity, sent))
    begins = np.ones(len(pop), bool)
    for one in (pop, hour, capacity):
        begins[1:] &= one[1:] == one[:-1]
    begins[1:] = ~begins[1:]
    number = np.cumsum(begins) - 1
    table = np.full((int(number[-1]) + 1, SLOTS), -1, np.int64)
    table[number, slot] = sent
    mask = np.bincount(number, 1 << slot).astype(np.int16)
    firsts = np.flatnonzero(begins)
    return Wide(
        pop[firsts].astype(np.int32), hour[firsts].astype(np.int32), mask, capacity[firsts], table
    )
