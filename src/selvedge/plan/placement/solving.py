"""One door to all searches: with limits of room, with rules on the sites, and without."""

from __future__ import annotations

from dataclasses import replace

from selvedge.plan.placement.capacitated import solve_capacitated
from selvedge.plan.placement.certificate import verify
from selvedge.plan.placement.instance import Median
from selvedge.plan.placement.median import Answer, Effort, Tell, say_nothing, solve_free
from selvedge.plan.placement.ruled import solve_ruled


def solve(median: Median, effort: Effort | None = None, tell: Tell | None = None) -> Answer:
    """The best sites found, with the bound and its certificate.

    Raises `BadPlan` where so few sites cannot reach every client, or no choice keeps the rules:
    which of them bind, and how far they would have to give way.
    """
    how = (effort or Effort(), tell or say_nothing)
    if median.room is None and not median.rows:
        return solve_free(median, *how)
    search = solve_ruled if median.room is None else solve_capacitated
    answer = search(median, *how)
    bound = verify(median, answer.sites, answer.certificate).bound  # The checker's word alone.
    return replace(answer, bound=bound)
