"""Samples that cannot be what they say: twice there, above capacity, frozen, cut short, late.

The grid names the hours in which something may be; the rows of those hours decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

import numpy as np

from selvedge.plan.history import STEP_S, WHOLE_BP, Finding, FindingKind, Flag
from selvedge.plan.utilisation.quality_grid import Grid, runs
from selvedge.plan.utilisation.quality_hours import (
    CUT,
    FLAT,
    FULL_UP,
    MIXED,
    NEAR_ZERO,
    OVER,
    TWICE,
)
from selvedge.plan.utilisation.quality_rows import Bools, Floats, Ints, Rows
from selvedge.plan.utilisation.zones import HOUR_S

FROZEN_SAMPLES: Final = 24
"""Equal samples in a row, two hours of them, that no traffic produces."""
FROZEN_SAMPLES_CPU: Final = 48
"""The same for processors, whose share has fewer values."""
COARSE: Final = 0.01
"""Runs of hours with one share of processors, to all hours, above which a source is coarse."""
FULL_LINK: Final = 0.9
"""Of its capacity, from which a resource may be full, and show the same in every sample."""
FROZEN_SAMPLES_FULL: Final = 288
"""Equal samples in a row of a full one: a whole day."""
NEIGHBOURS: Final = 2.0
"""Times one neighbour the other may be, for both to be normal."""
JOIN_S: Final = HOUR_S
"""Marked samples no farther apart are one run."""
_FACTORS: Final = (1_000.0, 1_024.0)
_BITS: Final = 8.0
_Step: TypeAlias = tuple[int, float, float]  # moment, capacity before, capacity after


def wanted_hours(grid: Grid) -> Bools:
    """Hours whose rows are needed to say what is in them."""
    flagged = (grid.cells.flags & (Flag.LATE | Flag.RESET)) != 0
    # `flags` is the largest of the hour: another bit may hide one of these.
    flagged |= grid.cells.flags > Flag.RESET
    flat_cpu = grid.cells.flat_cpu > 0
    begins = flat_cpu[:, 0] + (flat_cpu[:, 1:] & ~flat_cpu[:, :-1]).sum(axis=1)
    flat_cpu &= (begins <= COARSE * (grid.cells.n > 0).sum(axis=1))[:, None]
    signs = grid.cells.signs
    beside = _around(((signs & (FLAT | CUT)) > 0) | _lasting(flat_cpu, grid))
    found: Bools = flagged | beside | ((signs & (TWICE | FULL_UP)) > 0) | _capacity_hours(grid)
    return found


def _lasting(flat: Bools, grid: Grid) -> Bools:
    """Of hours with one share of processors, those beside another with the same."""
    share = grid.cells.flat_cpu
    alike = np.zeros(flat.shape, np.bool_)
    alike[:, 1:] = flat[:, 1:] & flat[:, :-1] & (share[:, 1:] == share[:, :-1])
    alike[:, :-1] |= alike[:, 1:]
    return alike


def _around(hours: Bools) -> Bools:
    found = hours.copy()
    found[:, 1:] |= hours[:, :-1]
    found[:, :-1] |= hours[:, 1:]
    return found


def _capacity_hours(grid: Grid) -> Bools:
    """Hours in which the capacity is not what it was in the last hour that has one."""
    found = np.zeros(grid.cells.n.shape, np.bool_)
    capacity = grid.cells.capacity
    least = np.fmin.reduce(capacity, axis=1)
    most = np.fmax.reduce(capacity, axis=1)
    mixed = (grid.cells.signs & MIXED).any(axis=1)
    for pop in np.flatnonzero((least < most) | mixed):
        found[pop, _changed_hours(grid, int(pop))] = True
    return found


def _changed_hours(grid: Grid, pop: int) -> Ints:
    hours = np.flatnonzero(~np.isnan(grid.cells.capacity[pop]))
    least = grid.cells.capacity[pop, hours]
    changed = (grid.cells.signs[pop, hours] & MIXED) > 0
    changed[1:] |= (least[1:] != least[:-1]) | changed[:-1]
    found: Ints = hours[changed]
    return found


def find_values(grid: Grid, name: str, pop: int) -> Iterator[Finding]:
    """All of this module's faults of one PoP, after the grid has fetched its wanted hours."""
    if (rows := grid.raw.get(pop)) is None:
        return
    yield from _doubles(name, rows)
    yield from _late(name, rows)
    yield from _resets(name, rows)
    yield from _over(name, rows)
    yield from _frozen(name, rows)
    yield from _capacities(grid, name, pop, rows)


def _spans(at_s: Ints, join_s: int = JOIN_S) -> Iterator[tuple[int, int, int]]:
    """First moment, end and number of each run of marked samples."""
    if not len(at_s):
        return
    cuts = np.flatnonzero(np.diff(at_s) > join_s) + 1
    for some in np.split(at_s, cuts):
        yield int(some[0]), int(some[-1]) + STEP_S, len(some)


def _findings(kind: FindingKind, name: str, at_s: Ints, detail: str) -> Iterator[Finding]:
    for from_s, until_s, count in _spans(at_s):
        yield Finding(
            kind=kind, pop=name, from_s=from_s, until_s=until_s, count=count, detail=detail
        )


def _doubles(name: str, rows: Rows) -> Iterator[Finding]:
    again = np.zeros(len(rows.at_s), np.bool_)
    again[1:] = rows.at_s[1:] == rows.at_s[:-1]
    words = "rows of a moment that has an equal one; all but one are dropped"
    yield from _findings("duplicate", name, rows.at_s[again & rows.same], words)
    words = "rows of a moment that has another, unequal one; all but one are dropped"
    yield from _findings("conflict", name, rows.at_s[again & ~rows.same], words)


def _late(name: str, rows: Rows) -> Iterator[Finding]:
    late = (rows.flags & Flag.LATE) != 0
    words = "samples that came after later ones; counted where they belong"
    yield from _findings("late", name, rows.at_s[late], words)


def _resets(name: str, rows: Rows) -> Iterator[Finding]:
    flagged = (rows.flags & Flag.RESET) != 0
    short = np.zeros(len(rows.at_s), np.bool_)
    if len(rows.at_s) > 2:
        before, here, after = rows.out[:-2], rows.out[1:-1], rows.out[2:]
        step = np.diff(rows.at_s) == STEP_S
        with np.errstate(invalid="ignore"):
            low = here < NEAR_ZERO * np.minimum(before, after)
            like = np.maximum(before, after) <= NEIGHBOURS * np.minimum(before, after)
        short[1:-1] = low & like & step[:-1] & step[1:]
    words = "a counter began anew inside; of the bytes, a lower bound"
    yield from _findings("reset", name, rows.at_s[flagged], words)
    words = f"one sample below {NEAR_ZERO:.0%} of both its neighbours; kept as it is"
    yield from _findings("reset", name, rows.at_s[short & ~flagged], words)


def _over(name: str, rows: Rows) -> Iterator[Finding]:
    with np.errstate(invalid="ignore", divide="ignore"):
        use = np.fmax(rows.out, rows.in_) * 8 / STEP_S / rows.capacity
    over = use > OVER
    for from_s, until_s, count in _spans(rows.at_s[over]):
        inside = over & (rows.at_s >= from_s) & (rows.at_s < until_s)
        words = f"up to {use[inside].max():.3g} times the capacity; kept as it is"
        yield Finding(
            kind="over_capacity",
            pop=name,
            from_s=from_s,
            until_s=until_s,
            count=count,
            detail=words,
        )


def _frozen(name: str, rows: Rows) -> Iterator[Finding]:
    with np.errstate(invalid="ignore", divide="ignore"):
        full = rows.out * 8 / STEP_S >= FULL_LINK * rows.capacity
    stuck = list(_stuck(name, rows, "out_bytes", rows.exact, full))
    yield from stuck
    for one in _stuck(name, rows, "cpu_bp", rows.cpu, rows.cpu >= FULL_LINK * WHOLE_BP):
        if not any(bytes_.from_s < one.until_s and one.from_s < bytes_.until_s for bytes_ in stuck):
            yield one


def _stuck(name: str, rows: Rows, series: str, values: Ints, full: Bools) -> Iterator[Finding]:
    whole = (rows.flags & Flag.SPREAD) == 0
    same = np.zeros(len(rows.at_s), np.bool_)
    near = np.diff(rows.at_s)
    same[1:] = (values[1:] == values[:-1]) & (near > 0) & (near <= 3 * STEP_S)
    same[1:] &= (values[1:] != 0) & whole[1:] & whole[:-1]
    least = FROZEN_SAMPLES if series == "out_bytes" else FROZEN_SAMPLES_CPU
    for first, after in runs(same):
        count = after - first + 1
        if count >= (FROZEN_SAMPLES_FULL if full[first] else least):
            yield Finding(
                kind="frozen",
                pop=name,
                series=series,
                from_s=int(rows.at_s[first - 1]),
                until_s=int(rows.at_s[after - 1]) + STEP_S,
                count=count,
                detail=f"{values[first]:,} in each of {count:,} samples; kept as it is",
            )


def _capacities(grid: Grid, name: str, pop: int, rows: Rows) -> Iterator[Finding]:
    steps = iter(_paired(_capacity_steps(grid, pop, rows)))
    for (at, before, after), back in steps:
        ratio = max(before, after) / max(min(before, after), 1.0)
        if back is not None and ratio in (_BITS, *_FACTORS):
            next(steps)
            yield _wrong_unit(name, at, back, before, after)
        elif ratio in _FACTORS:
            yield _wrong_unit(name, at, grid.begin_s + grid.hours * HOUR_S, before, after)
        else:
            yield Finding(
                kind="capacity_change",
                pop=name,
                series="capacity_bps",
                from_s=at,
                until_s=at + STEP_S,
                detail=f"from {before:,.0f} to {after:,.0f} bit/s; each sample by its own",
            )


def _paired(steps: list[_Step]) -> Iterator[tuple[_Step, int | None]]:
    """Each change, and when the next one undid it, if it did."""
    for place, step in enumerate(steps):
        then = steps[place + 1] if place + 1 < len(steps) else None
        yield step, then[0] if then is not None and then[2] == step[1] else None


def _capacity_steps(grid: Grid, pop: int, rows: Rows) -> list[_Step]:
    """Each change of the capacity."""
    steps = []
    hours = _changed_hours(grid, pop)
    known = np.flatnonzero(~np.isnan(grid.cells.capacity[pop]))
    last_hour, last = -1, np.nan
    for hour in hours:
        before = known[known < hour]
        if len(before) and int(before[-1]) != last_hour:
            last = float(grid.cells.capacity[pop, before[-1]])
        begin = grid.begin_s + int(hour) * HOUR_S
        inside = slice(*np.searchsorted(rows.at_s, [begin, begin + HOUR_S]))
        for at, value in _first_of_each(rows.at_s[inside], rows.capacity[inside]):
            if value != last and not np.isnan(last):
                steps.append((at, last, value))
            last = value
        last_hour = int(hour)
    return steps


def _first_of_each(at_s: Ints, values: Floats) -> Iterator[tuple[int, float]]:
    seen = -1
    for at, value in zip(at_s.tolist(), values.tolist(), strict=True):
        if at != seen and not np.isnan(value):
            yield at, value
            seen = at


def _wrong_unit(name: str, at: int, end: int, before: float, after: float) -> Finding:
    words = f"{after:,.0f} where {before:,.0f} bit/s were before and after; kept as it is"
    return Finding(
        kind="mixed_units",
        pop=name,
        series="capacity_bps",
        from_s=at,
        until_s=end,
        count=(end - at) // STEP_S,
        detail=words,
    )
