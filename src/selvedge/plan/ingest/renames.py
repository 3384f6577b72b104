"""An interface that ends where another of its PoP begins and goes on with its load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from selvedge.plan.ingest.arranging import codes_of
from selvedge.plan.ingest.columns import Array, Readings
from selvedge.plan.ingest.reading import BYTES

APART_MS: Final = 3_600_000
"""The new name may begin so much after the old one's end."""
DAY_MS: Final = 86_400_000
ALIKE: Final = 2.5
"""Loads that differ by less are one interface's, at other hours of its day."""


@dataclass(frozen=True, slots=True)
class Rename:
    """`old` was last seen at `from_ms`, `new` first at `until_ms`."""

    pop: int
    old: int
    new: int
    from_ms: int
    until_ms: int
    goes_on: bool
    """The new name's counter goes on where the old one's was."""


@dataclass(slots=True)
class _Lives:
    """Of each series: its first and last reading."""

    pop: Array
    series: Array
    first: Array
    last: Array


def find_renames(rows: Readings, measure: str) -> list[Rename]:
    """Among counters, sorted. Of several that could be one, none is taken."""
    index = np.flatnonzero(rows.has(measure))
    if not len(index):
        return []
    codes = codes_of(rows)[index]
    first = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    last = np.append(first[1:], len(codes)) - 1
    lives = _Lives(rows.pop[index[first]], rows.series[index[first]], index[first], index[last])
    found = []
    begins, ends = rows.at_ms[lives.first], rows.at_ms[lives.last]
    cut = np.flatnonzero(np.concatenate([[True], np.diff(lives.pop.astype(int)) != 0]))
    for low, high in zip(cut, np.append(cut[1:], len(lives.pop)), strict=True):
        if high - low < 2:
            continue
        every = np.arange(low, high)
        late = every[begins[every] > begins[low:high].min() + APART_MS]
        gone = every[ends[every] < ends[low:high].max() - APART_MS]
        found += _matched(rows, measure, lives, gone, late)
    return found


def _matched(rows: Readings, measure: str, lives: _Lives, gone: Array, late: Array) -> list[Rename]:
    begins, ends = rows.at_ms[lives.first], rows.at_ms[lives.last]
    pairs = [
        (old, new)
        for old in gone
        for new in late
        if 0 < begins[new] - ends[old] <= APART_MS and _alike(rows, measure, lives, (old, new))
    ]
    single = [
        (old, new)
        for old, new in pairs
        if sum(one == old for one, _ in pairs) == sum(two == new for _, two in pairs) == 1
    ]
    return [
        Rename(
            pop=int(lives.pop[old]),
            old=int(lives.series[old]),
            new=int(lives.series[new]),
            from_ms=int(ends[old]),
            until_ms=int(begins[new]),
            goes_on=_goes_on(rows, lives.last[old], lives.first[new]),
        )
        for old, new in single
    ]


def _alike(rows: Readings, measure: str, lives: _Lives, pair: tuple[int, int]) -> bool:
    """Same capacity, and much the same rate in the day before and the day after."""
    old, new = pair
    capacity = rows.values.get("capacity_bps")
    if capacity is not None and capacity[lives.last[old]] != capacity[lives.first[new]]:
        return False
    before = _rate(rows, measure, lives.first[old], lives.last[old], -DAY_MS)
    after = _rate(rows, measure, lives.first[new], lives.last[new], DAY_MS)
    return min(before, after) > 0 and max(before, after) < ALIKE * min(before, after)


def _rate(rows: Readings, measure: str, first: int, last: int, day_ms: int) -> float:
    """Bytes a millisecond in the first day of a series, or, for less than 0, in its last."""
    at, values = rows.at_ms[first : last + 1], rows.values[measure][first : last + 1]
    near = at <= at[0] + day_ms if day_ms > 0 else at >= at[-1] + day_ms
    at, values = at[near], values[near]
    rise = values[1:] > values[:-1]
    if not rise.any():
        return 0.0
    counted = (values[1:][rise] - values[:-1][rise]).astype(float).sum()
    return float(counted / np.diff(at)[rise].sum())


def _goes_on(rows: Readings, last: int, first: int) -> bool:
    return all(
        rows.values[name][first] >= rows.values[name][last]
        for name in BYTES
        if name in rows.values and rows.has(name)[first] and rows.has(name)[last]
    )
