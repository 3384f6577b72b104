"""From masks over rows to findings: one for each run of rows, with its bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np

from selvedge.plan.history import Finding, FindingKind
from selvedge.plan.ingest.columns import Array

APART_MS: Final = 3_600_000
"""Faults of a series that are further apart are two findings."""
RUNS_MAX: Final = 1000
"""Findings of one kind from one call: what is more is counted in the last."""


class Runs(msgspec.Struct, frozen=True):
    """Faulty rows that belong together: bounds in milliseconds, the first row, how many."""

    pop: int
    series: int
    from_ms: int
    until_ms: int
    first: int
    count: int


def runs_of(pop: Array, series: Array, at_ms: Array, mask: Array) -> list[Runs]:
    """Rows must be sorted by PoP, series and time."""
    index = np.flatnonzero(mask)
    if not len(index):
        return []
    p, s, t = pop[index], series[index], at_ms[index]
    cut = np.flatnonzero((p[1:] != p[:-1]) | (s[1:] != s[:-1]) | (np.diff(t) > APART_MS)) + 1
    starts = np.concatenate([[0], cut])
    ends = np.concatenate([cut, [len(index)]])
    return [
        Runs(int(p[a]), int(s[a]), int(t[a]), int(t[b - 1]), int(index[a]), int(b - a))
        for a, b in zip(starts, ends, strict=True)
    ]


def findings_of(
    kind: FindingKind, runs: list[Runs], build: Callable[[Runs], dict[str, str]]
) -> list[Finding]:
    """A finding for each run; `build` gives pop, series, source and detail."""
    found = [
        Finding(
            kind=kind,
            from_s=run.from_ms // 1000,
            until_s=run.until_ms // 1000 + 1,
            count=run.count,
            **build(run),
        )
        for run in runs[:RUNS_MAX]
    ]
    rest = runs[RUNS_MAX:]
    if rest:
        last = found[-1]
        found[-1] = msgspec.structs.replace(
            last,
            count=last.count + sum(run.count for run in rest),
            detail=f"{last.detail}; and {len(rest)} more like it in the same file",
        )
    return found
