"""The faults of a stored history: found in its samples, counted, located, never mended.

The samples are read once, an hour of a PoP as one row (`quality_scan`), in blocks of PoPs over the
whole history (`quality_grid`); the detectors look at the blocks. What each takes for a fault, and
why, is in docs/plan-quality.md. The findings that ingest wrote are part of the answer: it saw what
the history no longer shows.
"""

from __future__ import annotations

import itertools
import tempfile
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np

from selvedge.plan.history import (
    MEANINGS,
    Finding,
    FindingKind,
    History,
    PopSite,
)
from selvedge.plan.utilisation.parts import Parts
from selvedge.plan.utilisation.quality_clock import clock_finding, find_clocks, move_usual
from selvedge.plan.utilisation.quality_grid import CELLS_MAX, POPS_MAX, Grid
from selvedge.plan.utilisation.quality_hours import Hours
from selvedge.plan.utilisation.quality_presence import (
    Lives,
    find_gaps,
    find_nulls,
    find_renamed,
    find_unknown,
    lives_of,
)
from selvedge.plan.utilisation.quality_rows import Floats
from selvedge.plan.utilisation.quality_scan import Scan
from selvedge.plan.utilisation.quality_units import (
    UnitRun,
    edge_hours,
    find_unit_runs,
    unit_finding,
)
from selvedge.plan.utilisation.quality_usual import LocalTime, levels_of, usual_levels
from selvedge.plan.utilisation.quality_values import find_values, wanted_hours
from selvedge.plan.utilisation.zones import HOUR_S, month_span

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the steps done and those there are."""
_AHEAD: Final = 6
"""Queries that are asked before their answers are needed."""


class KindCount(msgspec.Struct, frozen=True, kw_only=True):
    """How much of one kind there is."""

    kind: FindingKind
    pops: int
    findings: int
    count: int
    """Samples, rows or readings touched."""


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a history: findings by PoP, time and kind; counts in order of kinds."""

    findings: tuple[Finding, ...]
    counts: tuple[KindCount, ...]


def find_faults(
    history: History,
    sites: Iterable[PopSite],
    progress: Progress | None = None,
    engine: Any = None,  # an Ibis connection; they have no public base type
    *,
    scratch: Path | None = None,
) -> Quality:
    """Look at every sample once, and tell what is wrong; with what ingest found before.

    `engine` is DuckDB in this process unless given. Raises `BadPlan` for a folder that is no
    history; what cannot be read of its parts is a finding, and the rest is looked at: a copy of it
    in a folder of its own below `scratch`, which is gone at the end.
    """
    manifest = history.read_manifest()
    by_name = {site.pop: site for site in sites}
    with tempfile.TemporaryDirectory(dir=scratch, prefix="selvedge-faults-") as folder:
        scan = Scan(Parts(history, history.months(), Path(folder)), engine)
        found = list(_Search(scan, manifest.pops, by_name).run(progress or (lambda done, of: None)))
    found += history.read_findings()
    findings = tuple(sorted(_merged(found), key=_order))
    return Quality(findings=findings, counts=count_findings(findings))


def count_findings(findings: Iterable[Finding]) -> tuple[KindCount, ...]:
    """Totals by kind, in the order of `MEANINGS`; kinds without a finding are left out."""
    by_kind: dict[FindingKind, list[Finding]] = defaultdict(list)
    for one in findings:
        by_kind[one.kind].append(one)
    return tuple(
        KindCount(
            kind=kind,
            pops=len({one.pop for one in by_kind[kind] if one.pop}),
            findings=len(by_kind[kind]),
            count=sum(one.count for one in by_kind[kind]),
        )
        for kind in MEANINGS
        if kind in by_kind
    )


class _Search:
    def __init__(self, scan: Scan, names: Sequence[str], sites: Mapping[str, PopSite]) -> None:
        self._scan = scan
        self._parts = parts = scan.parts
        self._names = names
        self._sites = sites
        self._strays: dict[str, int] = dict.fromkeys(parts.months, 0)
        self._lives: list[Lives] = []

    def run(self, progress: Progress) -> Iterator[Finding]:
        if not (months := self._parts.months):
            return
        span = (month_span(months[0])[0], month_span(months[-1])[1])
        hours = (span[1] - span[0]) // HOUR_S
        width = min(max(CELLS_MAX // hours, 1), POPS_MAX)
        self._local = LocalTime.of([self._zone(name) for name in self._names], span[0], hours)
        firsts = range(0, len(self._names), width)
        steps = len(firsts) * len(months) + 1
        ends = [min(first + width, len(self._names)) for first in firsts]
        blocks = zip(firsts, ends, strict=True)
        tables = self._tables([(month, *block) for block in blocks for month in months])
        done = itertools.count(1)

        def tell() -> None:
            progress(next(done), steps)

        for first, end in zip(firsts, ends, strict=True):
            # Two grids at a time would be too much: this one ends with the call.
            yield from self._block(Grid.empty(first, end - first, span[0], hours), tables, tell)
        yield from self._nameless()
        yield from self._fleet_wide(span)
        progress(steps, steps)

    def _block(
        self, grid: Grid, hours: Iterator[Hours | None], tell: Callable[[], None]
    ) -> Iterator[Finding]:
        for month in self._parts.months:
            if (found := next(hours)) is not None:
                grid.fill(found)
                self._strays[month] += found.strays
            tell()
        self._lives += lives_of(grid, self._names[grid.first : grid.first + len(grid.cells.n)])
        yield from self._look(grid, grid.span)

    def _tables(self, asked: Sequence[tuple[str, int, int]]) -> Iterator[Hours | None]:
        """The hours asked for, in order; the next ones are added up while the last are used."""
        with ThreadPoolExecutor(1) as ahead:
            waiting = deque(ahead.submit(self._scan.hours, *one) for one in asked[:_AHEAD])
            for one in asked[_AHEAD:]:
                yield waiting.popleft().result()
                waiting.append(ahead.submit(self._scan.hours, *one))
            while waiting:
                yield waiting.popleft().result()

    def _look(self, grid: Grid, span: tuple[int, int]) -> Iterator[Finding]:
        names = self._names[grid.first : grid.first + len(grid.cells.n)]
        local = self._local.part(grid.first, grid.first + len(names))
        level = levels_of(grid)
        usual = usual_levels(level, local)
        clocks = find_clocks(level, usual, local)
        for pop, clock_runs in clocks.items():
            usual[pop] = move_usual(usual[pop], clock_runs)
        level -= usual
        units = {pop: some for pop in range(len(names)) if (some := find_unit_runs(level[pop]))}
        wanted = wanted_hours(grid)
        for pop, unit_runs in units.items():
            for run in unit_runs:
                wanted[pop] |= edge_hours(run, grid.hours)
        grid.fetch(self._scan, wanted)
        lost = self._lost_months(span)
        for pop, name in enumerate(names):
            yield from _of_pop(grid, (pop, name), units.get(pop, []), usual[pop], lost)
            for one in clocks.get(pop, []):
                yield clock_finding(name, grid.begin_s, one)

    def _zone(self, name: str) -> str:
        site = self._sites.get(name)
        return site.timezone if site is not None else ""

    def _lost_months(self, span: tuple[int, int]) -> list[str]:
        """Months of which a part, or everything, is not there for the fleet as a whole."""
        damaged = {one.from_s for one in self._parts.findings}
        found = [month for month in self._parts.months if month_span(month)[0] in damaged]
        return found + self._empty_months(span)

    def _empty_months(self, span: tuple[int, int]) -> list[str]:
        first, after = (np.datetime64(end, "s").astype("datetime64[M]") for end in span)
        damaged = {one.from_s for one in self._parts.findings}
        months = [str(one) for one in np.arange(first, after)]
        bare = [month for month in months if not self._parts.stored.get(month)]
        return [month for month in bare if month_span(month)[0] not in damaged]

    def _nameless(self) -> Iterator[Finding]:
        """Rows of numbers beyond the manifest's PoPs."""
        beyond = [month for month, most in self._parts.pops_max.items() if most >= len(self._names)]
        for month in beyond:
            begin, after = month_span(month)
            for number, count in self._scan.beyond(month, len(self._names)):
                yield Finding(
                    kind="unknown_pop",
                    pop=f"number {number}",
                    from_s=begin,
                    until_s=after,
                    count=count,
                    source=f"samples/month={month}",
                    detail=f"the manifest names {len(self._names)} PoPs; left out",
                )

    def _fleet_wide(self, span: tuple[int, int]) -> Iterator[Finding]:
        yield from self._parts.findings
        yield from find_unknown(self._lives, self._sites)
        yield from find_renamed(self._lives, self._sites, span)
        for month in self._empty_months(span):
            begin, after = month_span(month)
            words = "no PoP has a sample of it"
            yield Finding(kind="empty_month", from_s=begin, until_s=after, count=0, detail=words)
        for month, count in self._strays.items():
            if count:
                where = f"samples/month={month}"
                words = f"{count:,} rows of other months in it; left out"
                yield Finding(kind="unreadable", count=count, source=where, detail=words)


def _of_pop(
    grid: Grid,
    which: tuple[int, str],
    units: Sequence[UnitRun],
    usual: Floats,
    lost: Sequence[str],
) -> Iterator[Finding]:
    pop, name = which
    if not grid.is_whole(pop):
        yield from find_gaps(grid, name, pop, lost)
    yield from find_nulls(grid, name, pop)
    found = [unit_finding(grid, name, pop, run, usual) for run in units]
    found += find_values(grid, name, pop)
    wrong = [one for one in found if one.kind == "mixed_units"]
    for one in found:
        # Of a number in another unit, it says nothing more.
        if not (one.kind == "over_capacity" and any(_covers(unit, one) for unit in wrong)):
            yield one


def _covers(wider: Finding, other: Finding) -> bool:
    return wider.from_s <= other.from_s and other.until_s <= wider.until_s


def _merged(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Without those that another of the same PoP and kind covers: ingest may have seen them."""
    groups: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for one in findings:
        groups[one.kind, one.pop].append(one)
    for (kind, _), some in groups.items():
        if kind in ("unreadable", "unknown_time_zone"):
            yield from dict.fromkeys(some)
            continue
        some.sort(key=lambda one: (one.from_s, -one.until_s, not one.source, _order(one)))
        kept: list[Finding] = []
        for one in some:
            if not (kept and one.until_s and _covers(kept[-1], one)):
                kept.append(one)
        yield from kept


def _order(one: Finding) -> tuple[str, int, int, str, str, str, str]:
    return (one.pop, one.from_s, one.until_s, one.kind, one.series, one.source, one.detail)
