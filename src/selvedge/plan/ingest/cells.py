"""Amounts that ran from one moment to another, shared out over intervals of five minutes.

By time, evenly, in whole units; what is shared out adds up to what there was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from selvedge.plan.history import STEP_S, Flag
from selvedge.plan.ingest.columns import Array

STEP_MS: Final = STEP_S * 1000
FLOAT_MAX: Final = 2.0**64 - 2048
"""The largest fraction that is an integer of 64 bits."""
LONG_MS: Final = STEP_MS * 3 // 2
"""A reading over more says too little of which interval its amount belongs to: it is flagged.

Polls every five minutes are not, whenever in the minutes they come: hardly any poller is in step
with the clock, and a flag on every row would say nothing.
"""


@dataclass(slots=True)
class Spans:
    """Amounts, each over [start_ms, end_ms)."""

    pop: Array
    series: Array
    start_ms: Array
    end_ms: Array
    amount: Array
    flags: Array


@dataclass(slots=True)
class Cells:
    """Amounts of one series in one interval: `cell` is its number since 1970."""

    pop: Array
    series: Array
    cell: Array
    amount: Array
    covered_ms: Array
    flags: Array


@dataclass(slots=True)
class Crossings:
    """Of spans, which lie across an edge of five minutes, and how much is placed by time alone.

    What is counted from 10:58 to 11:03 is of two intervals, and nothing says how much of which.
    """

    crosses: Array
    """Mask of them, without the long ones, whose samples are flagged."""
    moved: Array
    """Of each, the amount outside of the interval that has most of it."""


def find_crossings(spans: Spans) -> Crossings:
    """Look at spans before they are shared out."""
    start, end = spans.start_ms, spans.end_ms
    last = (end - 1) // STEP_MS
    crosses = (start // STEP_MS != last) & (end - start <= LONG_MS)
    first_edge, last_edge = (start // STEP_MS + 1) * STEP_MS, last * STEP_MS
    most = np.maximum(np.maximum(first_edge - start, end - last_edge), last_edge - first_edge)
    share = np.where(crosses, 1 - most / np.maximum(end - start, 1), 0.0)
    return Crossings(crosses, spans.amount * share)


def share_out(spans: Spans) -> Cells:
    """Sorted by PoP, series and time in, sorted by PoP, series and interval out."""
    first = spans.start_ms // STEP_MS
    count = (spans.end_ms - 1) // STEP_MS - first + 1
    long = spans.end_ms - spans.start_ms > LONG_MS
    flags = spans.flags | np.where(long, np.uint8(Flag.SPREAD), np.uint8(0))
    row = np.repeat(np.arange(len(first)), count)
    cell = first[row] + np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    start, length = spans.start_ms[row], (spans.end_ms - spans.start_ms)[row]
    low = np.maximum(start, cell * STEP_MS)
    high = np.minimum(spans.end_ms[row], (cell + 1) * STEP_MS)
    amount = spans.amount[row]
    alone = count[row] == 1
    whole = amount.astype(float)
    part = np.rint(whole * ((high - start) / length)) - np.rint(whole * ((low - start) / length))
    amount = np.where(alone, amount, np.minimum(part, FLOAT_MAX).astype(amount.dtype))
    return _joined(Cells(spans.pop[row], spans.series[row], cell, amount, high - low, flags[row]))


def _joined(cells: Cells) -> Cells:
    """One row for each series and interval."""
    if not len(cells.cell):
        return cells
    new = np.ones(len(cells.cell), bool)
    new[1:] = (
        (np.diff(cells.cell) != 0)
        | (np.diff(cells.series.astype(np.int64)) != 0)
        | (np.diff(cells.pop.astype(np.int64)) != 0)
    )
    if new.all():
        return cells
    first = np.flatnonzero(new)
    return Cells(
        cells.pop[first],
        cells.series[first],
        cells.cell[first],
        np.add.reduceat(cells.amount, first),
        np.add.reduceat(cells.covered_ms, first),
        np.bitwise_or.reduceat(cells.flags, first),
    )
