"""One moment of one series, told twice: equal, differing, or by a factor that units have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from selvedge.plan.ingest.columns import Array, Readings

FACTORS: Final = (8.0, 1000.0, 1024.0, 1e6, 2.0**20, 1 / 8, 1e-3, 1 / 1024, 1e-6, 2.0**-20)
"""By which numbers of one thing differ, if they are in different units."""
NEAR: Final = 0.002


@dataclass(slots=True)
class Repeats:
    """What was found, over the rows before anything was dropped."""

    kept: Array
    """Mask of the rows that stay; a row that adds measures stays with those alone."""
    same: Array
    differs: Array
    by_factor: Array
    """Of those that differ, the ones by a factor of units."""


def find_repeats(rows: Readings) -> Repeats | None:
    """Rows are sorted by PoP, series and time, first come first. None where nothing repeats.

    Of a repeated measure, the first stays: later rows lose it in place, in `rows.valid`.
    """
    again = np.zeros(len(rows), bool)
    again[1:] = (
        (rows.at_ms[1:] == rows.at_ms[:-1])
        & (rows.pop[1:] == rows.pop[:-1])
        & (rows.series[1:] == rows.series[:-1])
    )
    index = np.flatnonzero(again)
    if not len(index):
        return None
    found = Repeats(np.ones(len(rows), bool), *(np.zeros(len(rows), bool) for _ in range(3)))
    adds = np.zeros(len(index), bool)
    for name, values in rows.values.items():
        valid = rows.has(name).copy()
        # The first of the moment that has the measure: rows of a moment lie one after another.
        leader = np.where(~again | (valid & ~_seen(again, valid)), np.arange(len(rows)), -1)
        first = np.maximum.accumulate(leader)[index]
        both = valid[index] & valid[first] & (first != index)
        adds |= valid[index] & ~both
        _compare(values, index[both], first[both], found)
        valid[index[both]] = False
        rows.valid[name] = valid
    found.kept[index[~adds]] = False
    return found


def _seen(again: Array, valid: Array) -> Array:
    """Whether an earlier row of the same moment has the measure already."""
    moment = np.cumsum(~again)
    before = np.cumsum(valid) - valid
    start = before[np.flatnonzero(~again)][moment - 1]
    seen: Array = before > start
    return seen


def _compare(values: Array, index: Array, first: Array, found: Repeats) -> None:
    differs = values[index] != values[first]
    found.same[index[~differs]] = True
    found.differs[index[differs]] = True
    low = values[first][differs].astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(low > 0, values[index][differs] / low, 0.0)
    near = np.zeros(len(ratio), bool)
    for factor in FACTORS:
        near |= np.abs(ratio / factor - 1) < NEAR
    found.by_factor[index[differs][near]] = True
