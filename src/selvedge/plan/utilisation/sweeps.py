"""The loops over samples, compiled: what a month's hours add up to, each in one sweep.

They let go of the interpreter's lock, so that the engine reads the next PoPs meanwhile. All take
arrays by the numbers of PoPs in the manifest, and add to what is in them.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit

from selvedge.headroom import AWAY_PART, BIN, BINS
from selvedge.plan.history import STEP_S, WHOLE_BP
from selvedge.plan.utilisation.totals import LOW, WORD

SLOTS: Final = 12
"""Samples of an hour."""
BYTES_A_BPS: Final = STEP_S / 8
"""Bytes of a sample that are one bit per second."""
BINS_MAX: Final = 2000
"""The largest use in thousandths that is told from larger ones."""
_QUARTER: Final = 3

Array = Any  # Numba takes arrays by their types, which mypy cannot follow


class Rows(NamedTuple):
    """Samples as the engine gives them: what is not known is 0 of capacities, else below 0."""

    pop: Array
    at_s: Array
    capacity: Array
    bytes: Array
    over: Array


class Dense(NamedTuple):
    """Some PoPs' hours, PoPs by hours; `bytes` by slots too. -1 is nothing there."""

    capacity: Array
    mask: Array
    """Which samples of an hour are there, as bits."""
    bytes: Array
    several: Array
    """Whether an hour has samples of several capacities: its capacity and bytes are of no use."""
    doubled: Array
    """Whether an hour has a moment twice."""
    over: Array
    rows: Array


class Wide(NamedTuple):
    """A row for each hour of one capacity, sorted by PoP, hour and mask; mask 0: no row at all."""

    pop: Array
    hour: Array
    """Since the month began."""
    mask: Array
    capacity: Array
    """0 where it is not known."""
    bytes: Array
    """By slots; -1 where none were measured."""


class Sums(NamedTuple):
    """Of each PoP, over a month; see `Tally` for what they mean."""

    samples: Array
    bytes: Array
    """By PoPs and two words; so is `judged`. See `totals`."""
    judged: Array
    carried: Array
    peak_bytes: Array
    peak_use: Array


class Hours(NamedTuple):
    """Of each PoP and hour of a month."""

    use: Array
    seen: Array


class Profile(NamedTuple):
    """By local hour of the week. `local` gives it by zones and UTC quarters of the month."""

    zone: Array
    local: Array
    n: Array
    bytes: Array
    carried: Array


class Edge(NamedTuple):
    """The last sample of each PoP's last hour, for the rise from there: nan if it is missing."""

    hour: Array
    """Since 1970."""
    capacity: Array
    use: Array
    began: Array
    """Where the leap began that ended at that sample; nan where none did."""


class Leaps(NamedTuple):
    """The largest leaps of each PoP, by rise, ascending: places by PoPs. See `headroom.Surges`."""

    number: Array
    rise: Array
    began: Array
    ended: Array


class Rises(NamedTuple):
    """Of each PoP its steps by rise in bins of `headroom.BIN`, falls in the first, but for leaps:
    whether one was a return is judged when the PoP's usual use is known."""

    edge: Edge
    counts: Array
    leaps: Leaps


class Gpus(NamedTuple):
    """Of each PoP how many count, and its row of `free`, which is -1 where nobody knows."""

    number: Array
    law: Array
    free: Array


@njit(cache=True, nogil=True)
def spread(rows: Rows, first_pop: int, first_s: int, dense: Dense) -> None:
    """Enter samples into their hours."""
    for row in range(len(rows.pop)):
        pop = np.int64(rows.pop[row]) - first_pop
        if pop >= len(dense.rows):
            continue
        at = (np.int64(rows.at_s[row]) - first_s) // STEP_S
        hour = at // SLOTS
        slot = at - hour * SLOTS
        dense.rows[pop] += 1
        dense.over[pop] += rows.over[row]
        capacity, mask, bit = rows.capacity[row], dense.mask[pop, hour], 1 << slot
        if mask & bit:
            dense.doubled[pop, hour] = True
        if mask == 0:
            dense.capacity[pop, hour] = capacity
        elif dense.capacity[pop, hour] != capacity:
            dense.several[pop, hour] = 1
        dense.mask[pop, hour] = mask | bit
        dense.bytes[pop, hour, slot] = rows.bytes[row]


@njit(cache=True, nogil=True)
def add_hours(wide: Wide, sums: Sums, hours: Hours, counts: Array) -> None:
    """Sums of PoPs and of their hours. `counts` becomes the measured samples of each row."""
    last_pop, last_hour, seen, total, could = -1, -1, 0, 0, 0
    for row in range(len(wide.pop)):
        if wide.mask[row] == 0:
            continue
        pop, hour, capacity = wide.pop[row], wide.hour[row], wide.capacity[row]
        n, sent, peak = 0, 0, 0
        for slot in range(SLOTS):
            one = wide.bytes[row, slot]
            if one >= 0:
                n += 1
                sent += one
                peak = max(peak, one)
        counts[row] = n
        sums.samples[pop] += n
        sums.bytes[pop, 0] += sent >> WORD
        sums.bytes[pop, 1] += sent & LOW
        sums.peak_bytes[pop] = max(sums.peak_bytes[pop], peak)
        if n == 0 or capacity == 0:
            continue
        sums.judged[pop, 0] += sent >> WORD
        sums.judged[pop, 1] += sent & LOW
        sums.carried[pop] += capacity * n
        use = peak / BYTES_A_BPS / capacity
        if not sums.peak_use[pop] >= use:
            sums.peak_use[pop] = use
        # An hour in which the capacity changed is several rows.
        if pop != last_pop or hour != last_hour:
            last_pop, last_hour, seen, total, could = pop, hour, 0, 0, 0
        seen, total, could = seen + n, total + sent, could + capacity * n
        hours.use[pop, hour] = total / BYTES_A_BPS / could
        hours.seen[pop, hour] = seen


@njit(cache=True, nogil=True)
def add_profile(wide: Wide, profile: Profile) -> None:
    """Sums by local hour of the week: by quarters, since a zone may be half an hour off."""
    for row in range(len(wide.pop)):
        pop, capacity = wide.pop[row], wide.capacity[row]
        zone = profile.zone[pop]
        if wide.mask[row] == 0 or capacity == 0 or zone < 0:
            continue
        for quarter in range(SLOTS // _QUARTER):
            n, sent = 0, 0
            for slot in range(quarter * _QUARTER, (quarter + 1) * _QUARTER):
                one = wide.bytes[row, slot]
                if one >= 0:
                    n += 1
                    sent += one
            local = profile.local[zone, wide.hour[row] * (SLOTS // _QUARTER) + quarter]
            profile.n[pop, local] += n
            profile.bytes[pop, local] += sent
            profile.carried[pop, local] += capacity * n


@njit(cache=True, nogil=True)
def add_uses(wide: Wide, pair: Array, uses: Array) -> None:
    """Samples by use in thousandths, rounded up. `pair` is the row of `uses` of each row."""
    for row in range(len(wide.pop)):
        capacity = wide.capacity[row]
        if wide.mask[row] == 0 or capacity == 0:
            continue
        for slot in range(SLOTS):
            one = wide.bytes[row, slot]
            if one >= 0:
                use = np.float64(one * 80) / np.float64(capacity * 3)
                uses[pair[row], min(int(np.ceil(use)), BINS_MAX)] += 1


@njit(cache=True, nogil=True)
def add_slots(wide: Wide, cell: Array, sent: Array, could: Array) -> None:
    """Sums by cell and moment: bytes, and the capacity of who was measured."""
    for row in range(len(wide.pop)):
        capacity = wide.capacity[row]
        if wide.mask[row] == 0 or capacity == 0:
            continue
        place, first = cell[wide.pop[row]], wide.hour[row] * SLOTS
        for slot in range(SLOTS):
            one = wide.bytes[row, slot]
            if one >= 0:
                sent[place, first + slot] += one
                could[place, first + slot] += capacity


@njit(cache=True, nogil=True)
def add_rises(wide: Wide, first_hour: int, rises: Rises) -> None:
    """Rises from one sample to the next, as shares of capacity.

    None where a sample is missing or the capacity changed.
    """
    edge = rises.edge
    for row in range(len(wide.pop)):
        capacity = wide.capacity[row]
        if wide.mask[row] == 0 or capacity == 0:
            continue
        pop, hour = wide.pop[row], first_hour + wide.hour[row]
        scale, before, began = np.float64(capacity) * BYTES_A_BPS, np.nan, np.nan
        if edge.hour[pop] == hour - 1 and edge.capacity[pop] == capacity:
            before, began = edge.use[pop], edge.began[pop]
        for slot in range(SLOTS):
            one = wide.bytes[row, slot]
            use = one / scale if one >= 0 else np.nan
            # A comparison with nan is false: what is missing is no step.
            if use <= AWAY_PART * before and (np.isnan(began) or use <= before):
                rises.counts[pop, _bin_of(use - before)] += 1
                began = np.nan
            elif use > before:
                leaps = use > AWAY_PART * before
                _keep_leap(rises, pop, use - before, (before if leaps else began, use))
                began = before if leaps else np.nan
            else:
                began = np.nan
            before = use
        edge.hour[pop], edge.capacity[pop] = hour, capacity
        edge.use[pop], edge.began[pop] = before, began


@njit(cache=True, nogil=True)
def _bin_of(rise: float) -> int:
    return min(BINS - 1, int(max(rise, 0.0) * (1 / BIN) + 1e-9))


@njit(cache=True, nogil=True)
def _keep_leap(rises: Rises, pop: int, rise: float, ends: tuple[float, float]) -> None:
    """Keep it in order; of more than there is room for the smallest is a rise like any other."""
    leaps, most = rises.leaps, rises.leaps.rise.shape[0]
    place = leaps.number[pop]
    if place == most:
        if rise <= leaps.rise[0, pop]:
            rises.counts[pop, _bin_of(rise)] += 1
            return
        rises.counts[pop, _bin_of(leaps.rise[0, pop])] += 1
        place = 0
        while place + 1 < most and leaps.rise[place + 1, pop] < rise:
            _copy_leap(leaps, pop, place + 1, place)
            place += 1
    else:
        leaps.number[pop] += 1
        while place > 0 and leaps.rise[place - 1, pop] > rise:
            _copy_leap(leaps, pop, place - 1, place)
            place -= 1
    leaps.rise[place, pop], leaps.began[place, pop] = rise, ends[0]
    leaps.ended[place, pop] = ends[1]


@njit(cache=True, nogil=True)
def _copy_leap(leaps: Leaps, pop: int, source: int, target: int) -> None:
    leaps.rise[target, pop] = leaps.rise[source, pop]
    leaps.began[target, pop] = leaps.began[source, pop]
    leaps.ended[target, pop] = leaps.ended[source, pop]


@njit(cache=True, nogil=True)
def add_shares(pop: Array, share: Array, counts_of: Array, counts: Array) -> None:
    """Samples of each PoP that counts by use in thousandths, of hundredths of a percent."""
    for row in range(len(pop)):
        one = share[row]
        if one >= 0 and counts_of[pop[row]]:
            counts[pop[row], min((one + 9) // 10, BINS_MAX)] += 1


@njit(cache=True, nogil=True)
def add_free(rows: Rows, busy: Array, first_s: int, gpus: Gpus) -> None:
    """What is free of GPUs, in hundredths of a percent of one."""
    free = gpus.free
    for row in range(len(rows.pop)):
        pop = rows.pop[row]
        if busy[row] >= 0 and gpus.number[pop] > 0:
            place, at = gpus.law[pop], (np.int64(rows.at_s[row]) - first_s) // STEP_S
            total = max(free[place, at], 0)
            free[place, at] = total + gpus.number[pop] * (WHOLE_BP - min(busy[row], WHOLE_BP))
