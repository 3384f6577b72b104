"""Runs of days in which a PoP's day is moved by whole hours against its own usual day.

For each day, the shape of its 24 hours (logarithms, level taken out) is compared with the usual
shape of those local hours as they are, and moved by up to twelve hours. A clock is wrong if days in
a row fit better moved, all by as much, and no other day of the week explains them: a holiday looks
like a Sunday, not like a Tuesday three hours late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from selvedge.headroom import DAY_HOURS
from selvedge.plan.history import STEP_S, Finding
from selvedge.plan.utilisation.quality_grid import runs
from selvedge.plan.utilisation.quality_rows import Bools, Floats, Ints
from selvedge.plan.utilisation.quality_usual import LocalTime, usual_levels
from selvedge.plan.utilisation.zones import HOUR_S

MOVED_H: Final = tuple(hours for hours in range(-12, 13) if hours)
HOURS_MIN: Final = 20
"""Known hours below which a day says nothing."""
DAYS_MIN: Final = 14
"""Days of history below which nothing is usual."""
SHAPE_MIN: Final = 0.005
"""Variance of a usual day, in squared logarithms, below which it has no shape to move."""
EXPLAINED_MIN: Final = 0.6
"""Of a day's misfit, what moving must take away."""
OTHER_DAY: Final = 0.6
"""Of the best other weekday's misfit, what may be left."""
RUN_DAYS: Final = 2
RUN_DAYS_ONE_HOUR: Final = 3
"""Days of a run; more for one hour, which is the least that can be told from habit."""
JOINED: Final = 0.7
"""Of a day's misfit, what may be left for it to lie inside a run."""
AMBIGUOUS: Final = 0.1
"""Share of the history that is moved, from which the fleet is asked which side is right."""
UNLIKE: Final = 3.0
"""Times the fleet's middling misfit, against the shape, from which it is asked as well."""
DAYS_OF_EACH: Final = 4
"""Days that stand right, and that stand wrong, for it to answer."""
FLEET_MIN: Final = 8
"""PoPs that make a fleet whose day can be asked."""
PIECE: Final = 32
"""PoPs that are looked at together."""
_OUTAGE: Final = -2.0
_NOISE_FLOOR: Final = 2e-4


@dataclass(frozen=True, slots=True)
class ClockRun:
    """Hours of a PoP, of the whole history, and by how much they are late."""

    first: int
    until: int
    late_h: int


def find_clock_runs(
    level: Floats, usual: Floats, zoned: Bools, noise: Floats
) -> dict[int, list[ClockRun]]:
    """Runs by PoP (a row of each table). `level`: hours' logarithms; `noise`: see `noise_of`.

    The first hour is a day's first, UTC. `zoned`: whether a PoP's time zone is known; if not, one
    hour is not told, for it may be summer time.
    """
    found: dict[int, list[ClockRun]] = {}
    if level.shape[1] // DAY_HOURS < DAYS_MIN:
        return found
    for some in _pieces(level):
        runs_of = _runs_of_some(level[some], usual[some], zoned[some], noise[some])
        found |= {some.start + pop: its for pop, its in runs_of.items()}
    return found


def _pieces(table: Floats) -> list[slice]:
    """Rows that are looked at together: what is computed of them stays in the cache."""
    return [slice(at, min(at + PIECE, len(table))) for at in range(0, len(table), PIECE)]


def _runs_of_some(
    level: Floats, usual: Floats, zoned: Bools, noise: Floats
) -> dict[int, list[ClockRun]]:
    above = level - usual
    plain = np.where(above < _OUTAGE, np.nan, above)
    misfit = _misfit(_by_day(plain))
    shape = _by_day(usual).var(axis=2)
    with np.errstate(invalid="ignore"):
        odd = (misfit > np.maximum(3 * noise[:, None], 0.02 * shape)) & (shape > SHAPE_MIN)
    found = {}
    for pop in np.flatnonzero((odd[:, 1:] & odd[:, :-1]).any(axis=1)).tolist():
        late = _late_hours(plain[pop], usual[pop], np.flatnonzero(odd[pop]), float(noise[pop]))
        if some := _runs(plain[pop], usual[pop], late, bool(zoned[pop])):
            found[pop] = some
    return found


def noise_of(level: Floats, usual: Floats) -> Floats:
    """Each PoP's misfit on a middling day."""
    found = [_median(_misfit(_by_day(level[some] - usual[some]))) for some in _pieces(level)]
    return np.maximum(np.concatenate(found), _NOISE_FLOOR)


def _by_day(values: Floats) -> Floats:
    days = values.shape[-1] // DAY_HOURS
    return values[..., : days * DAY_HOURS].reshape(*values.shape[:-1], days, DAY_HOURS)


def move_usual(usual: Floats, some: Sequence[ClockRun]) -> Floats:
    """What is usual in the hours of one PoP, with these runs moved."""
    found = usual.copy()
    for run in some:
        hours = np.arange(run.first, run.until)
        found[hours] = _at(usual, hours - run.late_h)
    return found


def _misfit(off: Floats) -> Floats:
    """Variance over the last axis of what is known; nan where too little is."""
    known = ~np.isnan(off)
    count = known.sum(axis=-1)
    filled = np.where(known, off, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(axis=-1) / count
        found: Floats = np.square(filled).sum(axis=-1) / count - np.square(mean)
    found[count < HOURS_MIN] = np.nan
    return found


def _median(values: Floats) -> Floats:
    ordered = np.sort(values, axis=1)
    known = (~np.isnan(values)).sum(axis=1)
    middle = np.maximum(known - 1, 0) // 2
    found = np.take_along_axis(ordered, middle[:, None], axis=1)[:, 0]
    middle_of: Floats = np.where(known > 0, found, np.inf)
    return middle_of


def _late_hours(plain: Floats, usual: Floats, days: Ints, noise: float) -> dict[int, int]:
    """Of the days that moving explains, by how many hours they are late."""
    hours = days[:, None] * DAY_HOURS + np.arange(DAY_HOURS)
    level = plain[hours] + usual[hours]
    moves = (0, *MOVED_H, *(DAY_HOURS * other for other in range(1, 7)))
    left = _misfit(level - _at(usual, hours - np.array(moves)[:, None, None]))
    left = np.where(np.isnan(left), np.inf, left)
    moved, others = left[1 : 1 + len(MOVED_H)], left[1 + len(MOVED_H) :].min(axis=0)
    best = moved.argmin(axis=0)
    least = moved.min(axis=0)
    shape = usual[hours].var(axis=1)
    fits = (least <= (1 - EXPLAINED_MIN) * left[0]) & (least <= OTHER_DAY * others)
    fits &= least <= np.maximum(4 * noise, 0.05 * shape)
    return {int(days[at]): MOVED_H[best[at]] for at in np.flatnonzero(fits)}


def _at(usual: Floats, hours: Ints) -> Floats:
    """The usual level of hours; those outside the history, of the week inside."""
    week = 7 * DAY_HOURS
    hours = np.where(hours < 0, hours + week, hours)
    hours = np.where(hours >= len(usual), hours - week, hours)
    return usual[np.clip(hours, 0, len(usual) - 1)]


def _runs(plain: Floats, usual: Floats, late: dict[int, int], is_zoned: bool) -> list[ClockRun]:
    """Runs that hold enough days that moving explains, joined by days it makes no worse."""
    level = plain + usual
    still = _misfit(_by_day(plain))
    found: list[ClockRun] = []
    for move in sorted(set(late.values())):
        if abs(move) == 1 and not is_zoned:
            continue
        moved = _misfit(_by_day(level - _at(usual, np.arange(len(usual)) - move)))
        sure = np.zeros(len(still), np.bool_)
        sure[[day for day, hours in late.items() if hours == move]] = True
        with np.errstate(invalid="ignore"):
            like = sure | np.isnan(still) | (moved < JOINED * still)
        # One day between two runs may be anything: an event, a holiday.
        like[1:-1] |= like[:-2] & like[2:]
        least = RUN_DAYS_ONE_HOUR if abs(move) == 1 else RUN_DAYS
        for first, after in runs(like):
            days = np.flatnonzero(sure[first:after]) + first
            if len(days) >= least and days[-1] + 1 - days[0] <= 2 * len(days):
                run = ClockRun(int(days[0]) * DAY_HOURS, (int(days[-1]) + 1) * DAY_HOURS, move)
                found.append(_sharpen(plain, usual, run))
    # Where two overlap, the longer is right.
    found.sort(key=lambda run: (run.first - run.until, run.first))
    kept: list[ClockRun] = []
    for run in found:
        if all(run.until <= other.first or other.until <= run.first for other in kept):
            kept.append(run)
    return sorted(kept, key=lambda run: run.first)


def _sharpen(plain: Floats, usual: Floats, run: ClockRun) -> ClockRun:
    """The run with its edges at the hour: where each hour's own misfit begins to prefer it."""
    begin, end = max(run.first - DAY_HOURS, 0), min(run.until + DAY_HOURS, len(plain))
    hours = np.arange(begin, end)
    level = plain[hours] + usual[hours]
    moved = level - _at(usual, hours - run.late_h)
    inside = slice(run.first - begin, run.until - begin)
    centre = np.nanmedian(moved[inside])
    gain = np.square(plain[hours] - centre) - np.square(moved - centre)
    gain = np.where(np.isnan(gain), 0.0, gain)
    # The best begin is where the gain from there on to the run's middle is greatest; so the end.
    middle = (run.first + run.until) // 2 - begin
    rising = np.cumsum(gain[:middle][::-1])[::-1]
    falling = np.cumsum(gain[middle:])
    first = begin + int(np.argmax(rising))
    until = begin + middle + int(np.argmax(falling)) + 1
    return ClockRun(first, until, run.late_h)


def clock_finding(name: str, begin_s: int, run: ClockRun) -> Finding:
    """The run in words."""
    from_s, until_s = begin_s + run.first * HOUR_S, begin_s + run.until * HOUR_S
    way = "late" if run.late_h > 0 else "early"
    unit = "hour" if abs(run.late_h) == 1 else "hours"
    return Finding(
        kind="clock_shift",
        pop=name,
        from_s=from_s,
        until_s=until_s,
        count=(until_s - from_s) // STEP_S,
        detail=f"its day comes {abs(run.late_h)} {unit} {way} against its own usual; not moved",
    )


def find_clocks(level: Floats, usual: Floats, local: LocalTime) -> dict[int, list[ClockRun]]:
    """Runs by PoP. Where much of a PoP's history is moved, its row of `usual` is put right.

    A PoP that was moved for half of its days has no usual day, or the wrong one. Which of its days
    are right, the fleet says: people everywhere sleep at night.
    """
    zoned: Bools = np.array([bool(zone) for zone in local.zones])
    noise = noise_of(level, usual)
    found = find_clock_runs(level, usual, zoned, noise)
    if zoned.sum() < FLEET_MIN:
        return found
    sun = _sun(usual, local)
    for pop in _doubtful(usual, noise, found).tolist():
        if zoned[pop] and (rightly := _right_days(level[pop], local, pop, sun)) is not None:
            plain = np.where(np.repeat(rightly, DAY_HOURS), level[pop], np.nan)[None]
            better = usual_levels(plain, local.part(pop, pop + 1))
            again = find_clock_runs(level[[pop]], better, zoned[[pop]], noise_of(plain, better))
            usual[pop] = np.where(np.isnan(better[0]), usual[pop], better[0])
            found[pop] = again.get(0, [])
    return {pop: some for pop, some in found.items() if some}


def _doubtful(usual: Floats, noise: Floats, found: Mapping[int, Sequence[ClockRun]]) -> Ints:
    """PoPs with long runs, or with days that are far less alike than those of other PoPs."""
    swing = np.concatenate([_by_day(usual[some]).var(axis=2) for some in _pieces(usual)])
    known = ~np.isnan(swing).all(axis=1) & ~np.isnan(noise)
    marked = np.zeros(len(noise), bool)
    if known.any():
        with np.errstate(invalid="ignore", divide="ignore"):
            unlike = noise[known] / np.nanmedian(swing[known], axis=1)
        marked[known] = unlike > UNLIKE * np.nanmedian(unlike)
    for pop, some in found.items():
        moved = sum(run.until - run.first for run in some)
        marked[pop] |= moved >= AMBIGUOUS * usual.shape[1]
    return np.flatnonzero(marked)


def _sun(usual: Floats, local: LocalTime) -> Floats:
    """The fleet's usual day by local hour, level taken out, of the history's first week."""
    days = np.full((len(usual), DAY_HOURS), np.nan)
    for zone, pops in local.by_zone():
        hour = local.hours_of(zone)[: 7 * DAY_HOURS] % DAY_HOURS
        week = usual[pops, : 7 * DAY_HOURS]
        for one in range(DAY_HOURS):
            days[pops, one] = week[:, hour == one].mean(axis=1)
    found: Floats = np.nanmedian(days - days.mean(axis=1, keepdims=True), axis=0)
    return found


def _right_days(level: Floats, local: LocalTime, pop: int, sun: Floats) -> Bools | None:
    """Days that stand nearer to the sun, if others stand hours away from them; else nothing."""
    hour = local.hours_of(local.zones[pop])
    moves = np.arange(-11, 13)
    left = _misfit(_by_day(level - sun[(hour - moves[:, None]) % DAY_HOURS]))
    known = ~np.isnan(left).any(axis=0)
    late = moves[np.where(known, left.min(axis=0) == left, False).argmax(axis=0)]
    counts = [int((known & (_apart(late, move) <= 1)).sum()) for move in moves.tolist()]
    one = int(np.argmax(counts))
    rest = [count * (_apart(moves, int(moves[one])) >= 3)[at] for at, count in enumerate(counts)]
    other = int(np.argmax(rest))
    if rest[other] < DAYS_OF_EACH or counts[one] < DAYS_OF_EACH:
        return None
    right = min(int(moves[one]), int(moves[other]), key=abs)
    found: Bools = known & (_apart(late, right) <= 1)
    return found


def _apart(one: Ints, other: Ints | int) -> Ints:
    """Hours between two on the clock's face."""
    found: Ints = np.abs((one - other + 12) % DAY_HOURS - 12)
    return found
