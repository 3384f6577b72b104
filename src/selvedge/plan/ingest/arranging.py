"""Readings of one file put in order of PoP, series and time, and what that shows of it.

Late rows are those before the front of their series, which is the latest moment seen until then. A
file that runs backwards altogether is not late. A device whose uptime, or else its counter, went on
while its time went back is no late row either: the clock jumped, and the hour is told twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from selvedge.plan.history import Flag
from selvedge.plan.ingest.columns import Array, Readings
from selvedge.plan.ingest.measures import BYTES

SHIFTED_MAX = 86_400_000
"""A clock that went back by more, in milliseconds, is taken for late rows."""
SHIFTED_RUN = 3
"""So many readings in a row that went on while time went back are a clock that jumped."""


@dataclass(slots=True)
class Fronts:
    """Of each series, the latest moment seen so far, and the uptime or counter then."""

    codes: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    at_ms: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    value: Array = field(default_factory=lambda: np.zeros(0, np.uint64))

    def of(self, codes: Array) -> tuple[Array, Array]:
        """For sorted, distinct series; one that is new has a front before all time."""
        at = np.full(len(codes), np.iinfo(np.int64).min // 4)
        value = np.zeros(len(codes), np.uint64)
        if len(self.codes):
            place = np.minimum(np.searchsorted(self.codes, codes), len(self.codes) - 1)
            known = self.codes[place] == codes
            at[known], value[known] = self.at_ms[place][known], self.value[place][known]
        return at, value

    def move(self, codes: Array, at_ms: Array, value: Array) -> None:
        """Replace those of some series."""
        other = ~np.isin(self.codes, codes, assume_unique=True)
        every = np.concatenate([self.codes[other], codes])
        order = np.argsort(every)
        self.codes = every[order]
        self.at_ms = np.concatenate([self.at_ms[other], at_ms])[order]
        self.value = np.concatenate([self.value[other], value])[order]


@dataclass(slots=True)
class Arranged:
    """Rows in order, with the position that each had; late ones are flagged."""

    rows: Readings
    order: Array
    late: Array
    """Over `rows`."""
    shifted: Readings
    """Left out, in order of PoP and series, then of arrival."""
    shifted_order: Array


def codes_of(rows: Readings) -> Array:
    """PoP and series as one number, PoP first."""
    return (rows.pop.astype(np.int64) << 32) | rows.series


def arrange(rows: Readings, fronts: Fronts, *, is_counter: bool) -> Arranged:
    """Sort rows that are in order of arrival. Moves the fronts."""
    codes = codes_of(rows)
    nothing = rows.take(slice(0, 0))
    if _is_sorted(codes, rows.at_ms) and _is_ahead(codes, rows.at_ms, fronts):
        _move(fronts, codes, rows, is_counter=is_counter)
        whole = np.arange(len(rows))
        return Arranged(rows, whole, np.zeros(len(rows), bool), nothing, whole[:0])
    order = _by_series(rows, codes)
    rows, codes = rows.take(order), codes[order]
    late, shifted = _behind(rows, codes, fronts, is_counter=is_counter)
    left_out, left_order = rows.take(shifted), order[shifted]
    if shifted.any():
        kept = ~shifted
        rows, codes, order, late = rows.take(kept), codes[kept], order[kept], late[kept]
    _move(fronts, codes, rows, is_counter=is_counter)
    rows.flags = np.where(late, rows.flags | Flag.LATE, rows.flags).astype(np.uint8)
    if not _is_sorted(codes, rows.at_ms):
        again = np.lexsort((rows.at_ms, codes))
        rows, order, late = rows.take(again), order[again], late[again]
    return Arranged(rows, order, late, left_out, left_order)


def _is_sorted(codes: Array, at_ms: Array) -> bool:
    step = np.diff(codes)
    if (step < 0).any():
        return False
    return bool(((step > 0) | (np.diff(at_ms) >= 0)).all())


def _is_ahead(codes: Array, at_ms: Array, fronts: Fronts) -> bool:
    first, _ = _groups(codes)
    return bool((at_ms[first] >= fronts.of(codes[first])[0]).all())


def _by_series(rows: Readings, codes: Array) -> Array:
    # 16 bits are sorted by radix, ten times as fast; and files mostly have one series a PoP.
    keys = codes if rows.series.any() else rows.pop
    return np.argsort(keys, kind="stable")


def _going_on(rows: Readings) -> tuple[Array, Array] | None:
    """What only grows while a device runs, and where it is known."""
    up = rows.more.get("uptime_ms")
    if up is not None and (up >= 0).any():
        return np.maximum(up, 0).astype(np.uint64), up >= 0
    name = next((name for name in BYTES if name in rows.values), None)
    return None if name is None else (rows.values[name], rows.has(name))


def _groups(codes: Array) -> tuple[Array, Array]:
    """First row of each series, and the number of each row's series; `codes` is sorted."""
    first = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]])[: len(codes)])
    number = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(codes))))
    return first, number


def _behind(
    rows: Readings, codes: Array, fronts: Fronts, *, is_counter: bool
) -> tuple[Array, Array]:
    """Which rows come after later ones, and which of them show that the clock went back."""
    none = np.zeros(len(rows), bool)
    if not len(rows):
        return none, none
    first, number = _groups(codes)
    front_at, front_value = fronts.of(codes[first])
    low = int(rows.at_ms.min())
    span = int(rows.at_ms.max()) - low + 1
    ahead = np.maximum.accumulate(number * span + (rows.at_ms - low)) - number * span + low
    before = np.empty(len(rows), np.int64)
    before[1:] = ahead[:-1]
    before[first] = front_at
    before = np.maximum(before, front_at[number])
    late = rows.at_ms < before
    backwards = np.bincount(number, late) * 2 > np.bincount(number)
    late &= ~backwards[number]
    grows = _going_on(rows)
    if not is_counter or grows is None or not late.any():
        return late, none
    leads = np.maximum.accumulate(np.where(rows.at_ms >= before, np.arange(len(rows)), -1))
    here = leads >= first[number]
    value = np.where(here, grows[0][leads], front_value[number])
    on = late & grows[1] & (grows[0] > value)
    if "uptime_ms" in rows.more:
        on &= grows[0] - value < SHIFTED_MAX
    shifted = _in_runs(on, number)
    return late & ~shifted, shifted


def _in_runs(mask: Array, number: Array) -> Array:
    """Those of a mask that stand in runs of at least `SHIFTED_RUN` in one series."""
    same = np.concatenate([[False], (mask[1:] == mask[:-1]) & (number[1:] == number[:-1])])
    run = np.cumsum(~same)
    long: Array = np.bincount(run)[run] >= SHIFTED_RUN
    return mask & long


def _move(fronts: Fronts, codes: Array, rows: Readings, *, is_counter: bool) -> None:
    if not len(rows):
        return
    first, number = _groups(codes)
    at, value = fronts.of(codes[first])
    newest = np.maximum.reduceat(rows.at_ms, first)
    grows = _going_on(rows)
    if is_counter and grows is not None:
        leads = np.where(rows.at_ms == newest[number], np.arange(len(rows)), -1)
        last = grows[0][np.maximum.reduceat(leads, first)]
        value = np.where(newest >= at, last, value)
    fronts.move(codes[first], np.maximum(newest, at), value)
