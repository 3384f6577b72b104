"""The cheapest sites that keep the rules, with a proof: nobody asks how far they are.

Sites come from HiGHS; the bound does not. It prices the rules (`relaxation`), at first by the
duals of the linear programme, then node after node where that leaves a gap. A checker needs only
the prices.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from selvedge.plan.history import BadPlan
from selvedge.plan.placement.branching import Tree
from selvedge.plan.placement.certificate import gap_of
from selvedge.plan.placement.feasibility import check_rows, choose_sites, opened, row_prices
from selvedge.plan.placement.instance import CLOSED, OPEN, Median
from selvedge.plan.placement.median import Answer, Effort
from selvedge.plan.placement.neighbours import Floats, sort_neighbours
from selvedge.plan.placement.relaxation import make_ascent, make_problem


def of_prices(median: Median, prices: Floats) -> Median:
    """The sites and rules of an instance, with what sites cost in place of what clients cost."""
    return replace(
        median, by_site=np.zeros((median.sites, 1)), uses=np.zeros(1), room=None, prices=prices
    )


def solve_cheapest(median: Median, effort: Effort) -> Answer:
    """The cheapest sites of an instance `of_prices`. Raises `BadPlan`: which rules bind."""
    begun, begun_cpu = time.perf_counter(), time.process_time()
    assert median.prices is not None
    check_rows(median)
    is_open = opened(choose_sites(median, median.prices))
    if is_open is None:
        raise BadPlan("no choice of sites was found in time; loosen a rule.")
    sites = np.flatnonzero(is_open)
    cost = median.cost_of(sites.tolist())
    tree = _prove(median, cost, (effort, begun))
    return Answer(
        sites=tuple(int(one) for one in sites),
        cost=cost,
        bound=tree.bound(cost),
        certificate=tree.certificate(),
        seconds=time.perf_counter() - begun,
        processor_seconds=time.process_time() - begun_cpu,
        nodes=len(tree.parent),
        greedy_cost=np.inf,
    )


def _prove(median: Median, cost: float, limits: tuple[Effort, float]) -> Tree:
    assert median.prices is not None
    effort, begun = limits
    problem = make_problem(median, sort_neighbours(median.by_site.T))
    tree, at = Tree(problem, median.whole_unit()), make_ascent(problem)
    at.multipliers[median.clients :] = row_prices(median, median.prices)
    states = np.zeros(median.sites, np.int8)
    states[list(median.fixed)] = OPEN
    states[list(median.barred)] = CLOSED
    tree.wait(tree.refine(None, states, at, cost), cost)
    while tree.waiting and len(tree.parent) < effort.nodes and not tree.is_full:
        is_late = time.perf_counter() - begun > effort.seconds
        if is_late or gap_of(cost, tree.bound(cost)) <= effort.gap:
            break
        tree.split(cost)
    return tree
