"""Two choices under the same clients: what they differ by, and whether so few seeds can tell.

Every seed is a run of each choice with common random numbers: the same people ask the same at the
same moments. So the difference is taken seed by seed and its interval is Student's for the mean of
pairs ("The probable error of a mean", Biometrika 6, 1908; for simulations Law, "Simulation Modeling
and Analysis", on paired-t intervals). It is 95 % each by itself: of twenty such intervals one is
expected to miss. Few seeds make it wide, which is said as what it is: nothing was shown.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from selvedge.sim import Interval, interval


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A rival's figure less ours, seed by seed; for all figures here less is better."""

    figure: str
    seeds: int
    theirs_less_ours: Interval
    verdict: str
    """`ours better`, `ours worse`, `the same`, or that so many seeds show no difference."""


def compare_pairs(figure: str, ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Of a figure of which less is better, one value a seed, in the same order."""
    gaps = [other - one for one, other in zip(ours, theirs, strict=True)]
    found = interval(gaps)
    return Difference(
        figure=figure, seeds=len(gaps), theirs_less_ours=found, verdict=_verdict(found, gaps)
    )


def _verdict(found: Interval, gaps: Sequence[float]) -> str:
    if not any(gaps):
        return "the same"
    if len(gaps) > 1 and found.low > 0:
        return "ours better"
    if len(gaps) > 1 and found.high < 0:
        return "ours worse"
    seeds = "1 seed" if len(gaps) == 1 else f"{len(gaps)} seeds"
    return f"no difference that {seeds} can show"
