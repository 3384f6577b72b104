"""The p-median whose sites have only so much room, under rules on them.

The relaxation judges each site by a continuous knapsack, so that its bound counts every site's
room. Answers come from exchanges of sites with an exact transport. A client may be served in parts
by several sites: no bound here is one for a client that must be served whole, which is worse.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

import numpy as np

from selvedge.plan.history import BadPlan
from selvedge.plan.placement.branching import Node, Tree, copy_of, likely_sites
from selvedge.plan.placement.certificate import Certificate, gap_of
from selvedge.plan.placement.exchanges import Exchange
from selvedge.plan.placement.feasibility import choose_sites, opened
from selvedge.plan.placement.instance import CLOSED, OPEN, Median
from selvedge.plan.placement.median import Answer, Effort, Tell, solve_free
from selvedge.plan.placement.neighbours import Flags, Floats
from selvedge.plan.placement.relaxation import (
    Ascent,
    Steps,
    ascend,
    lists_of,
    make_ascent,
    make_problem,
)
from selvedge.plan.placement.ruled import mend, solve_ruled
from selvedge.plan.placement.transport import cost_with_room, transport_of
from selvedge.plan.placement.whole import ARCS_MAX, solve_whole

_ROOT: Final = ((3, (150, 0.1, 0.1)), (3, (100, 0.1, 0.03)))
"""Ascents at the root: how many, and iterations, scale and mix of each."""
_AIM: Final = 1.05
"""Over the bound: no farther do steps aim, where the cost is."""
_LAST: Final = (300, 0.05, 0.02)
_WIDE: Final = 0.01
"""A gap that splitting will not close: the time goes to the search."""
_VAIN: Final = 300
"""Shakes that lead nowhere, after which the search ends."""


class Capacitated:
    """One problem on its way to an answer."""

    def __init__(self, median: Median, effort: Effort, tell: Tell) -> None:
        self._begun, self._begun_cpu = time.perf_counter(), time.process_time()
        self._median, self._effort, self._tell = median, effort, tell
        self._states = median.known_states()
        self._problem = make_problem(median, lists_of(median))
        self._tree = Tree(self._problem, 0, median)
        self._search = Exchange(median, effort.seed)
        self._cost, self._best = np.inf, np.zeros(0, np.intp)

    def run(self, begun: Answer) -> Answer:
        """All of it, in order, from an answer without room."""
        at = make_ascent(self._problem)
        known = begun.certificate.multipliers[-1]
        at.multipliers[: len(known)] = known
        for rounds, how in _ROOT:
            bound = begun.bound
            for _ in range(rounds):
                bound = self._ascend(at, how, min(self._cost, _AIM * bound))
            self._begin(at.shares)
            self._tell("bound", self._cost, bound)
            if self._left() < 0.4 * self._effort.seconds:
                break
        node = self._tree.refine(None, self._states, at, self._cost)
        node = self._improve(node)
        self._tree.wait(node, self._cost)
        self._prove()
        return self._answer(begun)

    def _answer(self, begun: Answer) -> Answer:
        cost = cost_with_room(self._median, self._best)
        if not np.isfinite(cost):
            left = transport_of(self._median, self._best).unserved
            raise BadPlan(
                f"no choice of {self._median.p} sites was found that has room for all demand: of"
                f" {self._median.uses.sum():,.1f} requests/s {left:,.1f} find none within their"
                " zones; allow more servers a site, more sites, or more seconds."
            )
        return Answer(
            sites=tuple(int(one) for one in self._best),
            cost=cost,
            bound=min(cost, self._tree.bound(cost)),
            certificate=self._tree.certificate(),
            seconds=time.perf_counter() - self._begun + begun.seconds,
            processor_seconds=time.process_time() - self._begun_cpu + begun.processor_seconds,
            nodes=len(self._tree.parent),
            greedy_cost=np.inf,
        )

    def _ascend(self, at: Ascent, how: tuple[int, float, float], aim: float) -> float:
        steps = Steps(aim, self._tree.enough(self._cost), *how)
        return float(ascend(self._problem, self._states, at, steps))

    def _begin(self, favour: Floats) -> None:
        """Search from the sites that are in favour and keep the rules."""
        sites = self._likely(self._search.gather(favour, self._states))
        if sites is None:
            return
        self._search.begin(np.flatnonzero(sites))
        until = time.perf_counter() + min(0.2 * self._effort.seconds, max(0.0, self._left()))
        self._search.descend(lambda: until - time.perf_counter())
        self._note()

    def _likely(self, favour: Floats) -> Flags | None:
        score = np.where(self._states == CLOSED, -1.0, favour)
        score[self._states == OPEN] = 2.0
        best = np.argsort(-score, kind="stable")[: self._median.p]
        is_open = np.zeros(self._median.sites, np.bool_)
        is_open[best[score[best] > -1.0]] = True
        if all(row.holds(is_open) for row in self._median.rows):
            return is_open
        mended = mend(self._median, favour)
        if mended is not None:
            return mended
        return opened(choose_sites(self._median, -favour))

    def _note(self) -> None:
        if self._search.cost < self._cost * (1 - 1e-12):
            self._cost = self._search.cost
            self._best = self._search.sites.astype(np.intp)

    def _improve(self, node: Node) -> Node:
        """Exchanges from shaken answers, while the bound says that there is something."""
        is_wide = gap_of(self._cost, node.bound) > _WIDE
        half = self._begun + (0.9 if is_wide else 0.6) * self._effort.seconds
        vain = 0
        self._search.begin(self._best)
        self._search.descend(lambda: half - time.perf_counter())
        self._note()
        while not self._is_done(node.bound) and time.perf_counter() < half and vain < _VAIN:
            before = self._cost
            self._search.wander(2 + vain % 3, lambda: half - time.perf_counter())
            self._note()
            vain = vain + 1 if self._cost >= before else 0
            self._tell("search", self._cost, node.bound)
        self._ask_whole(node.bound)
        at = copy_of(node.at)
        self._ascend(at, _LAST, min(self._cost, _AIM * node.bound))
        return self._tree.refine(node, node.states.copy(), at, self._cost)

    def _ask_whole(self, bound: float) -> None:
        """Let HiGHS look for a better answer, where the instance is small."""
        median = self._median
        if self._is_done(bound) or median.sites * median.clients > ARCS_MAX:
            return
        found = solve_whole(median, max(1.0, 0.5 * self._left()))
        if found is not None and all(row.holds(found) for row in median.rows):
            self._search.begin(np.flatnonzero(found))
            self._note()

    def _prove(self) -> None:
        """Split the node with the least bound, and search where its averages point."""
        tree, since = self._tree, 0
        while tree.waiting and len(tree.parent) < self._effort.nodes and not tree.is_full:
            if self._is_done(tree.bound(self._cost)):
                return
            since += 1
            for child in tree.split(self._cost):
                if since % 4 == 1:
                    self._try(child)
            self._tell("proof", self._cost, tree.bound(self._cost))

    def _try(self, child: Node) -> None:
        sites = likely_sites(child.at, child.states, self._median.p)
        favour = np.zeros(self._median.sites)
        favour[sites] = 1.0
        self._begin(favour)

    def _left(self) -> float:
        return self._effort.seconds - (time.perf_counter() - self._begun)

    def _is_done(self, bound: float) -> bool:
        return gap_of(self._cost, bound) <= self._effort.gap or self._left() <= 0


def solve_capacitated(median: Median, effort: Effort, tell: Tell) -> Answer:
    """The best sites found within their room and under the rules, with a bound and certificate.

    Raises `BadPlan` where none was found, or none can be.
    """
    search = solve_ruled if median.rows else solve_free
    loose, start = replace(median, room=None), time.perf_counter()
    short = replace(effort, seconds=0.2 * effort.seconds, gap=max(effort.gap, 1e-3))
    begun = search(loose, short, tell)
    if _fits(median, begun) and begun.gap > effort.gap:
        begun = search(loose, effort, tell)
    if _fits(median, begun):
        return replace(begun, certificate=_padded(begun.certificate, median.sites))
    left = max(0.3 * effort.seconds, effort.seconds - (time.perf_counter() - start))
    return Capacitated(median, replace(effort, seconds=left), tell).run(begun)


def _fits(median: Median, answer: Answer) -> bool:
    """Whether the sites have room as it is: a bound without room is then one with it."""
    return cost_with_room(median, answer.sites) <= answer.cost * (1 + 1e-12)


def _padded(found: Certificate, sites: int) -> Certificate:
    """A proof without room is one with room that costs nothing."""
    return replace(found, multipliers=np.pad(found.multipliers, ((0, 0), (0, sites))))
