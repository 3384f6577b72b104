"""Demand sent to open sites that have only so much room: a transport problem, by HiGHS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from selvedge.plan.history import BadPlan
from selvedge.plan.placement.exact import Programme
from selvedge.plan.placement.neighbours import Flags, Floats
from selvedge.plan.placement.question import Question, costs_of

_NEAR: Final = (12, 40)
"""Sites that a row of demand may be sent to; more where these are not enough."""
_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Flow:
    """How much is served, at what cost, and by whom."""

    cost: float
    load: Floats
    """By site, in requests per second."""


def assign(question: Question, is_open: Flags) -> Flow:
    """The cheapest way to serve all demand within capacity; a row of demand may be shared out.

    Raises `BadPlan` where the open sites have not room for all.
    """
    sites = np.flatnonzero(is_open)
    for near in (*_NEAR, len(sites)):
        flow = _assign(question, sites.tolist(), min(near, len(sites)))
        if flow is not None:
            return flow
    raise BadPlan(
        "the open sites have no room for all demand within its zones; allow more servers a site"
        " (--servers) or more sites."
    )


def _assign(question: Question, sites: list[int], near: int) -> Flow | None:
    costs = costs_of(question)[:, sites]
    weights = question.demand.requests_per_s
    order = np.argpartition(costs, near - 1, axis=1)[:, :near]
    cost = np.take_along_axis(costs, order, axis=1)
    row, column = np.nonzero(np.isfinite(cost))
    to = order[row, column]
    programme = Programme()
    shares = programme.add_columns(cost[row, column] * weights[row], 1.0, whole=False)
    sizes = np.bincount(row, minlength=len(weights))
    programme.add_rows(sizes, shares, np.ones(len(shares)), (1.0, 1.0))
    for site, room in enumerate(question.capacity[sites]):
        own = np.flatnonzero(to == site)
        programme.add_row(shares[own], weights[row[own]], -np.inf, float(room))
    solved = programme.solve(_SECONDS)
    if solved.values is None:
        return None
    load = np.zeros(len(question.sites))
    np.add.at(load, np.array(sites)[to], solved.values * weights[row])
    return Flow(solved.cost, load)
