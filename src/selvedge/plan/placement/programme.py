"""A choice of sites as a programme: what is installed in which quarter, and what each step buys.

The order is greedy on the sites that were chosen: first what saves most, then what saves most
beside it. Residency comes before distance: demand that nobody may serve yet weighs as much as a
round trip of ten seconds.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from selvedge.plan.history import BadPlan
from selvedge.plan.placement.measures import Measures, measure
from selvedge.plan.placement.neighbours import Flags
from selvedge.plan.placement.question import Question, costs_of

_UNSERVED: Final = 10_000.0
_QUARTER: Final = re.compile(r"(\d{4})-?Q([1-4])")
NEVER: Final = "never"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A quarter: the sites that are installed in it, and how the fleet stands after it."""

    quarter: str
    sites: tuple[str, ...]
    usd: float
    saved_ms: float
    """By how much the mean round trip of served demand falls in this quarter; what is served for
    the first time counts in `unserved_share` alone."""
    measures: Measures | None
    """None where no site is open yet."""


class Actual(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a site: when it was installed, or before when it cannot be."""

    installed: str = ""
    not_before: str = ""


class Tracked(msgspec.Struct, frozen=True, kw_only=True):
    """A quarter of the plan beside what happened until its end."""

    quarter: str
    planned: int
    installed: int
    late: tuple[str, ...]
    """Planned until then, and not there."""
    unplanned: tuple[str, ...]
    planned_ms: float | None
    actual_ms: float | None
    """Mean round trips; None where nothing is open."""


def parse_quarter(text: str) -> int:
    """`2027Q1` as a number that can be counted on. Raises `BadPlan`."""
    found = _QUARTER.fullmatch(text.strip())
    if found is None:
        raise BadPlan(f"{text!r} is no quarter; write it as 2027Q1.")
    return int(found[1]) * 4 + int(found[2]) - 1


def name_quarter(number: int) -> str:
    """The number of a quarter as it is written."""
    return f"{number // 4}Q{number % 4 + 1}"


def make_programme(
    question: Question,
    is_open: Flags,
    *,
    start: str,
    per_quarter: int,
    actual: Mapping[str, Actual] | None = None,
) -> list[Step]:
    """So many sites a quarter, from a quarter on. What is installed comes first, in its quarter;
    what is delayed comes when it can. Raises `BadPlan`."""
    if per_quarter < 1:
        raise BadPlan(f"--per-quarter is {per_quarter}; at least 1 site must be installed in one.")
    number = {site.pop: at for at, site in enumerate(question.sites)}
    done: dict[int, list[int]] = {}
    waits: dict[int, int] = {}
    for pop, what in (actual or {}).items():
        if pop in number and what.installed:
            done.setdefault(parse_quarter(what.installed), []).append(number[pop])
        elif pop in number and what.not_before and what.not_before != NEVER:
            waits[number[pop]] = parse_quarter(what.not_before)
    now = question.existing.copy()
    steps = [_step(question, now, quarter, sites) for quarter, sites in sorted(done.items())]
    left = [int(one) for one in np.flatnonzero(is_open & ~now)]
    quarter = max([parse_quarter(start), *(one + 1 for one in done)])
    while left:
        ready = [site for site in left if waits.get(site, 0) <= quarter]
        sites = _best(question, now, ready, per_quarter)
        if sites:
            steps.append(_step(question, now, quarter, sites))
            left = [site for site in left if site not in sites]
        quarter += 1
    return steps


def _best(question: Question, now: Flags, ready: Sequence[int], count: int) -> list[int]:
    """The sites that save most, one after the other."""
    costs = np.where(np.isfinite(costs_of(question)), costs_of(question), _UNSERVED)
    weights = question.demand.requests_per_s
    near = costs[:, now].min(axis=1) if now.any() else np.full(len(costs), _UNSERVED)
    left = list(ready)
    found: list[int] = []
    while left and len(found) < count:
        saved = weights @ np.maximum(near[:, None] - costs[:, left], 0.0)
        best = left.pop(int(np.argmax(saved)))
        near = np.minimum(near, costs[:, best])
        found.append(best)
    return found


def _step(question: Question, now: Flags, quarter: int, sites: Sequence[int]) -> Step:
    """Install them; `now` is changed."""
    before = measure(question, now).rtt_ms_mean if now.any() else None
    now[list(sites)] = True
    after = measure(question, now) if now.any() else None
    saved = before - after.rtt_ms_mean if before is not None and after is not None else 0.0
    return Step(
        quarter=name_quarter(quarter),
        sites=tuple(question.sites[site].pop for site in sites),
        usd=float(question.prices_usd[list(sites)].sum()),
        saved_ms=saved,
        measures=after,
    )


def read_actual(path: Path, known: Sequence[str]) -> dict[str, Actual]:
    """CSV with pop, installed (a quarter, or empty) and not_before (a quarter, or `never`).

    Raises `BadPlan` with the line.
    """
    names = set(known)
    found: dict[str, Actual] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if "pop" not in (reader.fieldnames or []):
                raise BadPlan(f"{path}: column 'pop' is missing; add it.")
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                if row["pop"] not in names:
                    raise BadPlan(f"{where}: {row['pop']!r} is no PoP of the fleet; mend it.")
                one = Actual(
                    installed=(row.get("installed") or "").strip(),
                    not_before=(row.get("not_before") or "").strip(),
                )
                for text in (one.installed, one.not_before):
                    if text and text != NEVER:
                        _check(where, text)
                found[row["pop"]] = one
    except OSError as error:
        raise BadPlan(f"{path} cannot be read ({error.strerror}).") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadPlan(f"{path} is not CSV in UTF-8: {error}; save it as such.") from error
    return found


def _check(where: str, text: str) -> None:
    try:
        parse_quarter(text)
    except BadPlan as error:
        raise BadPlan(f"{where}: {error}") from error


def track(
    question: Question, planned: Sequence[tuple[str, Sequence[str]]], actual: Mapping[str, Actual]
) -> list[Tracked]:
    """The plan's quarters beside what was installed by their ends."""
    done = {pop: parse_quarter(one.installed) for pop, one in actual.items() if one.installed}
    last = max(done.values(), default=-1)
    due: dict[str, int] = {}
    found = []
    for quarter, sites in planned:
        at = parse_quarter(quarter)
        due |= dict.fromkeys(sites, at)
        if at > last:
            break
        there = {pop for pop, when in done.items() if when <= at}
        found.append(
            Tracked(
                quarter=quarter,
                planned=len(due),
                installed=len(there),
                late=tuple(sorted(set(due) - there)),
                unplanned=tuple(sorted(there - set(due))),
                planned_ms=_mean_ms(question, due),
                actual_ms=_mean_ms(question, there),
            )
        )
    return found


def _mean_ms(question: Question, pops: Mapping[str, int] | set[str]) -> float | None:
    is_open = question.existing.copy()
    is_open |= np.array([site.pop in pops for site in question.sites])
    return measure(question, is_open).rtt_ms_mean if is_open.any() else None
