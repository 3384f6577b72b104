"""Runs in which a PoP's bytes are written in another unit: 8, 1,000 or 1,024 times the usual.

A change of unit is a step: sharp, of just that factor, and the shape of the day goes on above it.
Growth is slow, events have no such factor, and outages do not keep the day's shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from selvedge.headroom import DAY_HOURS, WEEK_HOURS
from selvedge.plan.history import STEP_S, Finding
from selvedge.plan.utilisation.quality_grid import Grid
from selvedge.plan.utilisation.quality_rows import Bools, Floats
from selvedge.plan.utilisation.zones import HOUR_S

FACTORS: Final = {8.0: math.log(1.25), 1_012.0: math.log(1.5)}
"""Bits for bytes; 1,000 and 1,024, which no traffic can tell apart. With each, how far from it the
step at either end may be, as a logarithm: nothing natural is near a thousand, so that is wider."""
SPREAD_TOLERANCE: Final = math.log(1.5)
"""How far nine of ten hours of a run may be from the run's own level."""
HOURS_MIN: Final = 3
"""Whole hours of a run below which it may be an event."""
BESIDE_H: Final = (3, 6, 24)
"""Hours on both sides of an end that are compared: the steadiest of these decides, because an event
may begin or end beside the run."""
_STEP_MIN: Final = math.log(8.0) - 0.4


@dataclass(frozen=True, slots=True)
class UnitRun:
    """Hours of a PoP, of the whole history; `until` is after the last."""

    first: int
    until: int
    factor: float
    is_open: bool
    """Whether it lasts to the history's end, or began with it."""


@dataclass(frozen=True, slots=True)
class _Step:
    """Positions among the known hours; those between are of neither level."""

    before: int
    """After the last hour of the old level."""
    after: int
    """The first of the new one."""
    factor: float
    """Below 1 for a step down."""

    def turned(self, length: int) -> _Step:
        """As it is seen from the end."""
        return _Step(length - self.after, length - self.before, 1 / self.factor)


def find_unit_runs(above: Floats) -> list[UnitRun]:
    """Runs of one PoP. `above`: the hours' logarithms above what is usual, nan: not known."""
    hours = np.flatnonzero(~np.isnan(above))
    known = above[hours]
    found: list[tuple[int, int, float, bool]] = []
    for step in _steps(known):
        if any(first - 2 <= step.after and step.before <= until + 2 for first, until, *_ in found):
            continue
        run = _run_from(known, step)
        if run is None:
            turned = _run_from(known[::-1], step.turned(len(known)))
            if turned is not None:
                first, until, factor, is_open = turned
                run = (len(known) - until, len(known) - first, factor, is_open)
        if run is not None:
            found.append(run)
    return [
        UnitRun(int(hours[first]), int(hours[until - 1]) + 1, factor, is_open)
        for first, until, factor, is_open in sorted(found)
    ]


def _steps(known: Floats) -> list[_Step]:
    """Where the level steps by about one of the factors, within two hours."""
    if len(known) < 4 * HOURS_MIN:
        return []
    places = np.flatnonzero(np.abs(known[2:] - known[:-2]) > _STEP_MIN)
    found = []
    for some in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
        if not len(some):
            continue
        before, after = int(some[0]) + 1, int(some[-1]) + 2
        if before < HOURS_MIN or after + HOURS_MIN > len(known):
            continue
        size = np.median(known[after : after + HOURS_MIN])
        size -= np.median(known[before - HOURS_MIN : before])
        for factor, tolerance in FACTORS.items():
            if abs(abs(size) - math.log(factor)) <= 2 * tolerance:
                found.append(_Step(before, after, factor if size > 0 else 1 / factor))
    return found


def _run_from(known: Floats, step: _Step) -> tuple[int, int, float, bool] | None:
    """The run that begins with this step, until the level returns for hours, or to the end."""
    sign = 1 if step.factor > 1 else -1
    middle = float(np.median(known[max(step.before - HOURS_MIN, 0) : step.before]))
    middle += math.log(step.factor) / 2
    back = sign * (known[step.after :] - middle) < 0
    for more in range(1, HOURS_MIN):
        back[:-more] &= back[more:]
        back[-more:] = False
    if back.any():
        end = step.after + int(np.argmax(back))
        then = _Step(end - 1, min(end + 1, len(known)), 1 / step.factor)
        is_run = _is_run(known, step, then)
        return (step.before, end, step.factor, False) if is_run else None
    is_run = _is_open_run(known, step)
    return (step.before, len(known), step.factor, True) if is_run else None


def _is_run(known: Floats, step: _Step, then: _Step) -> bool:
    inside, old, new = known[step.after : then.before], known[: step.before], known[then.after :]
    if min(len(inside), len(old), len(new)) < HOURS_MIN:
        return False
    return (
        _is_even(inside)
        and _fits(old[::-1], inside, step.factor)
        and _fits(new, inside[::-1], step.factor)
        and _is_odd_one(inside, np.concatenate((old[-DAY_HOURS:], new[:DAY_HOURS])))
    )


def _is_open_run(known: Floats, step: _Step) -> bool:
    old, new = known[: step.before][-WEEK_HOURS:], known[step.after :]
    if min(len(old), len(new)) < DAY_HOURS:
        return False
    size = np.median(new[:WEEK_HOURS]) - np.median(old)
    factor = max(step.factor, 1 / step.factor)
    if abs(abs(size) - math.log(factor)) > FACTORS[_nearest(factor)]:
        return False
    return _is_even(old) and _is_even(new) and _is_odd_one(new, old)


def _fits(outside: Floats, inside: Floats, factor: float) -> bool:
    """Whether the levels differ by the factor; both are given from their common end on."""
    off = [
        abs(float(np.median(inside[:hours]) - np.median(outside[:hours])) - math.log(factor))
        for hours in BESIDE_H
    ]
    return min(off) <= FACTORS[_nearest(max(factor, 1 / factor))]


def _nearest(factor: float) -> float:
    return min(FACTORS, key=lambda one: abs(one - factor))


def _is_odd_one(inside: Floats, outside: Floats) -> bool:
    """Whether it is the inside that is not usual."""
    return bool(abs(np.median(inside)) > abs(np.median(outside)))


def _is_even(inside: Floats) -> bool:
    """Whether the day's shape goes on inside: slow drift of a long run is taken out."""
    windows = [inside[at : at + WEEK_HOURS] for at in range(0, len(inside), WEEK_HOURS)]
    off = np.concatenate([np.abs(window - np.median(window)) for window in windows])
    return bool(np.quantile(off, 0.9) <= SPREAD_TOLERANCE)


def edge_hours(run: UnitRun, hours: int) -> Bools:
    """The hours whose rows say at which sample the run begins and ends."""
    found = np.zeros(hours, np.bool_)
    for edge in (run.first, run.until):
        found[max(edge - 2, 0) : edge + 2] = True
    return found


def unit_finding(grid: Grid, name: str, pop: int, run: UnitRun, usual: Floats) -> Finding:
    """The run with its edges at the sample, of the rows fetched for `edge_hours`."""
    body = slice(run.first + 1, run.until - 1)
    with np.errstate(divide="ignore"):
        level = np.log(grid.cells.mean[pop, body]) - usual[body]
    inside = float(np.median(level[np.isfinite(level)]))
    middle = inside - math.log(run.factor) / 2
    from_s = _edge(grid, pop, run.first, usual + middle, run.factor > 1)
    until_s = _edge(grid, pop, run.until, usual + middle, run.factor < 1)
    present = grid.cells.n[pop, run.first : run.until].sum(dtype=np.int64)
    times = f"{run.factor:,.0f}" if run.factor > 1 else f"1/{1 / run.factor:,.0f}"
    times = times.replace("1,012", "1,000 or 1,024")
    words = " (it was never undone: which side is wrong is a guess)" if run.is_open else ""
    return Finding(
        kind="mixed_units",
        pop=name,
        series="out_bytes",
        from_s=from_s,
        until_s=until_s,
        count=min(int(present), (until_s - from_s) // STEP_S),
        detail=f"about {times} times the usual of these hours{words}; kept as it is",
    )


def _edge(grid: Grid, pop: int, hour: int, middle: Floats, is_up: bool) -> int:
    """The moment, near an hour's begin, that parts samples below the middle from those above."""
    begin = grid.begin_s + hour * HOUR_S
    rows = grid.raw.get(pop)
    if rows is None:
        return begin
    near = slice(*np.searchsorted(rows.at_s, [begin - 2 * HOUR_S, begin + 2 * HOUR_S]))
    at, out = rows.at_s[near], rows.out[near]
    if len(at) < 2:
        return begin
    with np.errstate(divide="ignore", invalid="ignore"):
        high = np.log(out) > middle[(at - grid.begin_s) // HOUR_S]
    right = high if is_up else ~high
    # Samples before the cut that are on its wrong side, and those after it.
    wrong = np.concatenate(([0], np.cumsum(right))) + np.concatenate(
        (np.cumsum((~right)[::-1])[::-1], [0])
    )
    cut = int(np.argmin(wrong))
    return int(at[cut]) if cut < len(at) else int(at[-1]) + STEP_S
