"""Runs in which a PoP's bytes are written in another unit: 8, 1,000 or 1,024 times the usual.

A change of unit is a step: sharp, of just that factor, and the shape of the day goes on above it.
Growth is slow, events have no such factor, and outages do not keep the day's shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from selvedge.plan.history import STEP_S, Finding
from selvedge.plan.utilisation.quality_grid import Bools, Floats, Grid
from selvedge.plan.utilisation.quality_scan import HOUR_S, Ints

FACTORS: Final = (8.0, 1_012.0)
"""Bits for bytes; 1,000 and 1,024, which no traffic can tell apart."""
FACTOR_TOLERANCE: Final = math.log(1.2)
"""How far the run's level may be from the factor."""
SPREAD_TOLERANCE: Final = math.log(1.5)
"""How far nine of ten hours of a run may be from the run's own level."""
HOURS_MIN: Final = 3
"""Whole hours of a run below which it may be an event."""
BESIDE_H: Final = 24
"""Hours before and after a run that it is compared with."""
_STEP_MIN: Final = math.log(FACTORS[0]) - 0.4


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
    before: int
    """Position, among the known hours, after the last one of the old level."""
    after: int
    """Position of the first one of the new."""
    factor: float
    """Above 1 for a step up."""


def find_unit_runs(above: Floats) -> list[UnitRun]:
    """Runs of one PoP. `above`: the hours' logarithms above what is usual, nan: not known."""
    hours = np.flatnonzero(~np.isnan(above))
    known = above[hours]
    steps = _steps(known)
    found: list[UnitRun] = []
    place = 0
    while place < len(steps):
        step = steps[place]
        then = steps[place + 1] if place + 1 < len(steps) else None
        if then is not None and math.isclose(step.factor * then.factor, 1.0):
            if _is_run(known, step, then):
                first, until = int(hours[step.before]), int(hours[then.after - 1]) + 1
                found.append(UnitRun(first, until, step.factor, False))
                place += 1
        elif then is None and not found and (run := _open_run(hours, known, step)) is not None:
            found.append(run)
        place += 1
    return found


def _steps(known: Floats) -> list[_Step]:
    """Where the level steps by one of the factors, within two hours."""
    if len(known) < 4 * HOURS_MIN:
        return []
    wide = np.abs(known[2:] - known[:-2]) > _STEP_MIN
    found = []
    places = np.flatnonzero(wide)
    for some in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
        if not len(some):
            continue
        # Hours from `before` to `after` are of neither level, or of one of them: looked at later.
        before, after = int(some[0]) + 1, int(some[-1]) + 2
        if before < HOURS_MIN or after + HOURS_MIN > len(known):
            continue
        size = np.median(known[after : after + HOURS_MIN])
        size -= np.median(known[before - HOURS_MIN : before])
        for factor in FACTORS:
            if abs(abs(size) - math.log(factor)) <= 2 * FACTOR_TOLERANCE:
                found.append(_Step(before, after, factor if size > 0 else 1 / factor))
    return found


def _is_run(known: Floats, step: _Step, then: _Step) -> bool:
    inside = known[step.after : then.before]
    if len(inside) < HOURS_MIN:
        return False
    beside = (known[max(step.before - BESIDE_H, 0) : step.before], known[then.after :][:BESIDE_H])
    ends = (inside[:BESIDE_H], inside[-BESIDE_H:])
    return _is_even(inside) and all(
        abs(np.median(end) - np.median(side) - math.log(step.factor)) <= FACTOR_TOLERANCE
        for end, side in zip(ends, beside, strict=True)
    )


def _is_even(inside: Floats) -> bool:
    """Whether the day's shape goes on inside: slow drift of a long run is taken out."""
    windows = [inside[at : at + 7 * BESIDE_H] for at in range(0, len(inside), 7 * BESIDE_H)]
    off = np.concatenate([np.abs(window - np.median(window)) for window in windows])
    return bool(np.quantile(off, 0.9) <= SPREAD_TOLERANCE)


def _open_run(hours: Ints, known: Floats, step: _Step) -> UnitRun | None:
    """A step that nothing undid: the shorter side is the run, and a day must be on each."""
    old, new = known[: step.before], known[step.after :]
    if min(len(old), len(new)) < BESIDE_H:
        return None
    size = np.median(new[: 7 * BESIDE_H]) - np.median(old[-7 * BESIDE_H :])
    if abs(size - math.log(step.factor)) > FACTOR_TOLERANCE / 2:
        return None
    if not (_is_even(old[-7 * BESIDE_H :]) and _is_even(new[: 7 * BESIDE_H])):
        return None
    if len(new) <= len(old):
        return UnitRun(int(hours[step.before]), int(hours[-1]) + 1, step.factor, True)
    return UnitRun(int(hours[0]), int(hours[step.after - 1]) + 1, 1 / step.factor, True)


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
        level = np.log(grid.mean[pop, body]) - usual[body]
    inside = float(np.median(level[np.isfinite(level)]))
    middle = inside - math.log(run.factor) / 2
    from_s = _edge(grid, pop, run.first, usual + middle, run.factor > 1)
    until_s = _edge(grid, pop, run.until, usual + middle, run.factor < 1)
    present = grid.n[pop, run.first : run.until].sum(dtype=np.int64)
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
