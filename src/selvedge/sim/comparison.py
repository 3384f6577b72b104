"""Policies side by side: means over seeds with intervals, and the headline in four ratios.

All policies get the same arrivals for the same seed, so ratios are taken seed by seed; the headline
is the median of them, since one seed that overloads a zone would outweigh all others in a mean, and
the ratio of the means stands beside it. Intervals of ratios are percentile bootstraps over seeds
(Efron), seeded. Means have Student's interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from random import Random
from statistics import fmean, median
from typing import Final

import msgspec

from selvedge.sim.summary import Summary

_T_975: Final = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16)
"""Student's t for 95 %, by degrees of freedom from 1."""
_T_MANY: Final = 2.0
_RESAMPLES: Final = 2000
METRICS: Final = (
    "ttft_ms_p50",
    "ttft_ms_p95",
    "ttft_ms_p99",
    "ttft_ms_mean",
    "goodput",
    "shed",
    "failed",
    "prefix_reuse",
    "abroad",
    "control_bytes_per_s",
    "gpu_hours",
)


class Interval(msgspec.Struct, frozen=True):
    """A mean, or a ratio's median, with its 95 % interval."""

    mean: float
    low: float
    high: float


class Line(msgspec.Struct, frozen=True):
    """One policy over all seeds of a cell."""

    policy: str
    seeds: int
    out_of_zone: int
    metrics: Mapping[str, Interval]


class Headline(msgspec.Struct, frozen=True):
    """Ours against the best of the published ones, and against the oracle, by p95 of TTFT.

    Ratios are medians over the seeds; ``_of_means`` is what the means say.
    """

    ours: str
    best_published: str
    p95_ttft_ratio_best_published: Interval
    p95_ttft_ratio_oracle: Interval
    oracle_gap_closed: float
    """Of the gap between the best published one and the oracle, the share that ours closes, by
    each one's median p95 over the seeds."""
    p95_ttft_ratio_of_means: float
    goodput_ours: float
    goodput_best_published: float
    out_of_zone: int


def interval(values: Sequence[float]) -> Interval:
    """The mean, with Student's interval where there is more than one value."""
    mean = sum(values) / len(values)
    free = len(values) - 1
    if free < 1:
        return Interval(mean, mean, mean)
    spread = sqrt(sum((value - mean) ** 2 for value in values) / free / len(values))
    half = spread * (_T_975[free - 1] if free <= len(_T_975) else _T_MANY)
    return Interval(mean, mean - half, mean + half)


def lines(runs: Sequence[Summary]) -> list[Line]:
    """One line per policy, in the order in which they first come."""
    by_policy: dict[str, list[Summary]] = {}
    for one in runs:
        by_policy.setdefault(one.policy, []).append(one)
    return [
        Line(
            policy=policy,
            seeds=len(found),
            out_of_zone=sum(one.out_of_zone for one in found),
            metrics={
                name: interval([float(getattr(one, name)) for one in found]) for name in METRICS
            },
        )
        for policy, found in by_policy.items()
    ]


def ratio(
    runs: Sequence[Summary],
    ours: str,
    other: str,
    of: Callable[[Sequence[tuple[float, float]]], float],
) -> Interval:
    """Ours over another's p95 of TTFT, by ``of`` of the pairs; the interval by bootstrap."""
    mine = {one.seed: one.ttft_ms_p95 for one in runs if one.policy == ours}
    theirs = {one.seed: one.ttft_ms_p95 for one in runs if one.policy == other}
    pairs = [(mine[seed], theirs[seed]) for seed in sorted(mine) if seed in theirs]
    if not pairs:
        return Interval(0.0, 0.0, 0.0)
    rng = Random("bootstrap")
    drawn = sorted(of(rng.choices(pairs, k=len(pairs))) for _ in range(_RESAMPLES))
    low, high = drawn[_RESAMPLES // 40], drawn[-_RESAMPLES // 40 - 1]
    return Interval(of(pairs), low, high)


def of_medians(pairs: Sequence[tuple[float, float]]) -> float:
    """The median of the ratios."""
    return median(one / other if other else 1.0 for one, other in pairs)


def of_means(pairs: Sequence[tuple[float, float]]) -> float:
    """The ratio of the means."""
    theirs = sum(pair[1] for pair in pairs)
    return sum(pair[0] for pair in pairs) / theirs if theirs else 1.0


def headline(runs: Sequence[Summary], ours: str, published: Sequence[str]) -> Headline | None:
    """None where a policy that it takes was not run.

    The best published one is the one with the least median p95; a request that was refused counts
    there as one that took the whole deadline, so that shedding does not win.
    """
    names = {one.policy for one in runs}
    p95 = {name: median(one.ttft_ms_p95 for one in runs if one.policy == name) for name in names}
    good = {name: fmean(one.goodput for one in runs if one.policy == name) for name in names}
    rivals = [name for name in published if name in p95]
    if not rivals or ours not in p95 or "oracle" not in p95:
        return None
    best = min(rivals, key=lambda name: (p95[name], name))
    gap = p95[best] - p95["oracle"]
    return Headline(
        ours=ours,
        best_published=best,
        p95_ttft_ratio_best_published=ratio(runs, ours, best, of_medians),
        p95_ttft_ratio_oracle=ratio(runs, ours, "oracle", of_medians),
        oracle_gap_closed=(p95[best] - p95[ours]) / gap if gap > 0 else 1.0,
        p95_ttft_ratio_of_means=ratio(runs, ours, best, of_means).mean,
        goodput_ours=good[ours],
        goodput_best_published=good[best],
        out_of_zone=sum(one.out_of_zone for one in runs),
    )
