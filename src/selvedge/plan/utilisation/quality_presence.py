"""Which samples are there at all: gaps, months without one, PoPs nobody knows or that were renamed.

A sample of 0 bytes is a sample: an outage that was measured is no gap. Before a PoP's first sample
and after its last nothing is missing: it was not built yet, or is gone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from selvedge.fabric import great_circle_km
from selvedge.headroom import DAY_HOURS, WEEK_HOURS
from selvedge.plan.history import STEP_S, Finding, PopSite
from selvedge.plan.utilisation.quality_grid import Grid, runs
from selvedge.plan.utilisation.zones import DAY_S, HOUR_S, month_span

RENAME_S: Final = 2 * DAY_S
"""How far apart one PoP's end and the other's beginning may be."""
RENAME_STRANGER_S: Final = HOUR_S
"""The same, where the fleet file does not say where one of them is."""
RENAME_LEVEL: Final = 1.5
"""How many times the other's week the one's may be."""
RENAME_KM: Final = 50.0


class Lives(msgspec.Struct, frozen=True, kw_only=True):
    """From when until when a PoP has samples, and how it began and ended."""

    pop: str
    from_s: int
    until_s: int
    samples: int
    first_week: tuple[float, ...]
    """Mean bytes by hour of the day, UTC, over its first week; nan where not measured."""
    last_week: tuple[float, ...]


def lives_of(grid: Grid, names: Sequence[str]) -> list[Lives]:
    """Of the PoPs of a block that have a sample."""
    found = []
    for pop, name in enumerate(names):
        hours = np.flatnonzero(grid.cells.n[pop])
        if not len(hours):
            continue
        first, last = int(hours[0]), int(hours[-1])
        opening, closing = (int(grid.cells.mask[pop, hour]) for hour in (first, last))
        lowest = (opening & -opening).bit_length() - 1
        highest = closing.bit_length()
        found.append(
            Lives(
                pop=name,
                from_s=grid.begin_s + first * HOUR_S + lowest * STEP_S,
                until_s=grid.begin_s + last * HOUR_S + highest * STEP_S,
                samples=int(grid.cells.n[pop].sum(dtype=np.int64)),
                first_week=_days(grid, pop, first, first + WEEK_HOURS),
                last_week=_days(grid, pop, max(last + 1 - WEEK_HOURS, 0), last + 1),
            )
        )
    return found


def _days(grid: Grid, pop: int, first: int, after: int) -> tuple[float, ...]:
    mean = grid.cells.mean[pop, first:after].astype(np.float64)
    hour = (np.arange(first, first + len(mean))) % DAY_HOURS
    known = ~np.isnan(mean)
    count = np.bincount(hour[known], minlength=DAY_HOURS)
    total = np.bincount(hour[known], weights=mean[known], minlength=DAY_HOURS)
    with np.errstate(invalid="ignore"):
        return tuple((total / count).tolist())


def find_gaps(grid: Grid, name: str, pop: int, lost: Iterable[str]) -> Iterator[Finding]:
    """Runs without samples inside a PoP's life; whole months of it as `empty_month`.

    `lost`: months that are empty or unreadable for all; of those nothing is said here.
    """
    present = grid.present(pop)
    there = np.flatnonzero(present)
    if not len(there):
        return
    begin, end = int(there[0]), int(there[-1]) + 1
    silent = set(lost)
    for first, after in runs(~present[begin:end]):
        from_s = grid.begin_s + (begin + first) * STEP_S
        until_s = grid.begin_s + (begin + after) * STEP_S
        yield from _split(name, from_s, until_s, silent)


def _split(name: str, from_s: int, until_s: int, silent: set[str]) -> Iterator[Finding]:
    at = from_s
    for month in _whole_months(from_s, until_s):
        first, after = month_span(month)
        if at < first:
            yield _gap(name, at, first)
        if month not in silent:
            count = (after - first) // STEP_S
            words = f"not one of {count:,} samples of {month}"
            yield Finding(
                kind="empty_month",
                pop=name,
                from_s=first,
                until_s=after,
                count=count,
                detail=words,
            )
        at = after
    if at < until_s:
        yield _gap(name, at, until_s)


def _gap(name: str, from_s: int, until_s: int) -> Finding:
    count = (until_s - from_s) // STEP_S
    words = f"{count:,} samples missing; left missing"
    return Finding(kind="gap", pop=name, from_s=from_s, until_s=until_s, count=count, detail=words)


def _whole_months(from_s: int, until_s: int) -> list[str]:
    first = np.datetime64(from_s, "s").astype("datetime64[M]")
    after = np.datetime64(until_s, "s").astype("datetime64[M]")
    months = [str(month) for month in np.arange(first, after)]
    return [month for month in months if month_span(month)[0] >= from_s]


def find_nulls(grid: Grid, name: str, pop: int) -> Iterator[Finding]:
    """Rows that are there without bytes, of a PoP whose bytes are measured at other times."""
    bare = grid.cells.known[pop] < grid.cells.n[pop]
    if not bare.any() or not grid.cells.known[pop].any():
        return
    for first, after in runs(bare):
        count = int((grid.cells.n[pop, first:after] - grid.cells.known[pop, first:after]).sum())
        yield Finding(
            kind="gap",
            pop=name,
            series="out_bytes",
            from_s=grid.begin_s + first * HOUR_S,
            until_s=grid.begin_s + after * HOUR_S,
            count=count,
            detail=f"{count:,} rows of these hours have no out_bytes; left missing",
        )


def find_unknown(lives: Iterable[Lives], sites: Mapping[str, PopSite]) -> Iterator[Finding]:
    """PoPs with samples that the fleet file does not name."""
    for life in lives:
        if life.pop not in sites:
            yield Finding(
                kind="unknown_pop",
                pop=life.pop,
                from_s=life.from_s,
                until_s=life.until_s,
                count=life.samples,
                detail=f"the fleet file does not name {life.pop!r}; its samples are kept apart",
            )


def find_renamed(
    lives: Sequence[Lives], sites: Mapping[str, PopSite], span: tuple[int, int]
) -> list[Finding]:
    """PoPs that end where another of the same place begins, at its level. `span`: the history's."""
    ended = [life for life in lives if life.until_s < span[1] - DAY_S]
    begun = [life for life in lives if life.from_s > span[0] + DAY_S]
    pairs = []
    for old in ended:
        for new in begun:
            if abs(new.from_s - old.until_s) <= RENAME_S and old.pop != new.pop:
                ratio = _ratio(old.last_week, new.first_week)
                if ratio <= RENAME_LEVEL and _is_one_place(old, new, sites):
                    pairs.append((abs(new.from_s - old.until_s), ratio, old, new))
    pairs.sort(key=lambda pair: (pair[0], pair[1], pair[2].pop, pair[3].pop))
    taken: set[tuple[str, str]] = set()
    found = []
    for _, ratio, old, new in pairs:
        if not taken & {("old", old.pop), ("new", new.pop)}:
            taken |= {("old", old.pop), ("new", new.pop)}
            found.append(_renamed(old, new, ratio))
    return found


def _renamed(old: Lives, new: Lives, ratio: float) -> Finding:
    words = f"{old.pop!r} ends and {new.pop!r} begins, with {ratio:.2f} times its week or less"
    from_s, until_s = sorted((old.until_s, new.from_s))
    return Finding(
        kind="renamed",
        pop=old.pop,
        series=new.pop,
        from_s=from_s,
        until_s=max(until_s, from_s + STEP_S),
        count=1,
        detail=f"{words}; kept as two",
    )


def _ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """How many times the larger level is the smaller, over the hours of the day both have."""
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a > 0 and b > 0]
    if len(pairs) < DAY_HOURS // 2:
        return math.inf
    ratio = sum(a for a, _ in pairs) / sum(b for _, b in pairs)
    return max(ratio, 1 / ratio)


def _is_one_place(old: Lives, new: Lives, sites: Mapping[str, PopSite]) -> bool:
    here, there = sites.get(old.pop), sites.get(new.pop)
    if here is None or there is None:
        return abs(new.from_s - old.until_s) <= RENAME_STRANGER_S
    if here.metro and there.metro:
        return here.metro == there.metro and here.country == there.country
    if here.lat is None or here.lon is None or there.lat is None or there.lon is None:
        return False
    return great_circle_km(here.lat, here.lon, there.lat, there.lon) <= RENAME_KM
