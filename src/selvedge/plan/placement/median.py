"""The weighted p-median, with a proof: bound, search, fix, split.

The relaxation comes first: it is quick, its averages nearly say which sites to open, and with a
good answer its worths say of most sites that they are in no better one. What is left is searched
for a better answer (iterated swaps, starts drawn at random, path relinking between the best) and
split until the proof is whole, the gap is small enough, or the time is up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from selvedge.plan.history import BadPlan
from selvedge.plan.placement.branching import TOLERANCE, Tree, copy_of, likely_sites
from selvedge.plan.placement.certificate import Certificate, gap_of
from selvedge.plan.placement.instance import CLOSED, Median
from selvedge.plan.placement.neighbours import Indices, Lists, without
from selvedge.plan.placement.relaxation import (
    Ascent,
    Steps,
    ascend,
    lists_of,
    make_ascent,
    make_problem,
)
from selvedge.plan.placement.swaps import (
    Search,
    begin,
    choose_greedily,
    descend,
    iterate,
    make_search_of,
    rebuild,
    relink,
)

_ROOT: Final = ((1500, 0.1, 0.1), (1000, 0.1, 0.05), (1000, 0.05, 0.02))
"""Iterations, scale and mix of the ascents at the root, one after the other."""
_ELITES: Final = 6
_SAMPLE: Final = 30
_STALE: Final = 4
"""Starts in vain after which the proof may begin"""
_CLOSE: Final = 5e-4
"""if the gap is smaller than that."""


@dataclass(frozen=True, slots=True)
class Effort:
    """When to stop: at a gap, or at a time."""

    seconds: float = 60.0
    gap: float = 0.0
    """As a part of the bound; 0 asks for a proof that nothing is better."""
    seed: int = 1
    starts: int = 12
    """Searches from scratch before the proof begins."""
    nodes: int = 100_000


@dataclass(frozen=True, slots=True)
class Answer:
    """Sites to open, what they cost, and what no choice can beat."""

    sites: tuple[int, ...]
    cost: float
    bound: float
    certificate: Certificate
    seconds: float
    processor_seconds: float
    nodes: int
    greedy_cost: float

    @property
    def gap(self) -> float:
        """By what part of the bound the cost may at most exceed the best there is."""
        return gap_of(self.cost, self.bound)

    @property
    def is_proved(self) -> bool:
        """Whether nothing is better, but for rounding."""
        return self.gap <= 2 * TOLERANCE


Tell = Callable[[str, float, float], None]
"""Hears the phase, the cost and the bound as they come."""


def solve_free(median: Median, effort: Effort, tell: Tell) -> Answer:
    """The best sites found where no rule holds but the number of them; see `solving.solve`."""
    return _Solver(median, effort, tell).run()


def say_nothing(phase: str, cost: float, bound: float) -> None:
    """Nobody listens."""


class _Solver:
    """One problem on its way to an answer."""

    def __init__(self, median: Median, effort: Effort, tell: Tell) -> None:
        self._begun, self._begun_cpu = time.perf_counter(), time.process_time()
        self._median, self._effort, self._tell = median, effort, tell
        barred = median.barred_flags()
        self._p = min(median.p, int(median.sites - barred.sum()))
        self._states = median.known_states()
        self._lists: Lists = lists_of(median)
        widest = np.take_along_axis(
            self._lists.cost, np.maximum(self._lists.reach[:, None] - 1, 0), axis=1
        )
        far = float(widest.sum()) + 1.0 if median.clients else 1.0
        self._far = far
        self._search: Search = make_search_of(
            median.clients, median.sites, self._p, far, effort.seed
        )
        self._search.may_close[list(median.fixed)] = False
        self._search.may_open[barred] = False
        self._cost = np.inf
        self._best: Indices = np.zeros(0, np.int32)
        self._elites: list[tuple[float, Indices]] = []
        self._problem = make_problem(replace(median, p=self._p), self._lists)
        self._tree = Tree(self._problem, median.whole_unit())

    def run(self) -> Answer:
        """All of it, in order."""
        greedy = self._start()
        at = self._bound_root()
        node = self._tree.refine(None, self._states, at, self._cost)
        if node.bound < self._tree.enough(self._cost) and not self._is_done(node.bound):
            self._improve(node.bound)
            self._shrink()
            at = copy_of(node.at)
            self._ascend(at, (1000, 0.05, 0.05))
            node = self._tree.refine(node, self._states, at, self._cost)
        self._tree.wait(node, self._cost)
        self._prove()
        return self._answer(greedy)

    def _answer(self, greedy: float) -> Answer:
        sites = tuple(sorted(int(one) for one in self._best))
        cost = self._median.cost_of(sites)
        if not cost < self._far:
            self._complain()
        return Answer(
            sites=sites,
            cost=cost,
            bound=self._tree.bound(cost),
            certificate=self._tree.certificate(),
            seconds=time.perf_counter() - self._begun,
            processor_seconds=time.process_time() - self._begun_cpu,
            nodes=len(self._tree.parent),
            greedy_cost=greedy,
        )

    def _complain(self) -> None:
        near = np.isfinite(self._median.by_site[self._best]).any(axis=0)
        words = f"{self._p} sites were not found to reach every client ({int((~near).sum())} are"
        raise BadPlan(f"{words} out of reach of the best ones); raise p or allow more arcs.")

    def _start(self) -> float:
        fixed = np.array(self._median.fixed, np.int32)
        choose_greedily(self._search, self._median.by_site, fixed, 0)
        greedy = rebuild(self._search, self._lists)
        self._note(greedy)
        self._note(descend(self._search, self._lists, self._median.by_site, greedy))
        return greedy

    def _note(self, cost: float) -> None:
        """Keep what is open in the search, if it is good."""
        sites = np.sort(self._search.sites)
        if all(not np.array_equal(sites, one) for _, one in self._elites):
            self._elites.append((cost, sites))
            self._elites.sort(key=lambda one: one[0])
            del self._elites[_ELITES:]
        if cost < self._cost * (1 - 1e-12):
            self._cost, self._best = self._median.cost_of(sites.tolist()), sites
            self._cost = min(self._cost, cost) if not np.isfinite(self._cost) else self._cost

    def _ascend(self, at: Ascent, how: tuple[int, float, float]) -> float:
        steps = Steps(self._cost, self._tree.enough(self._cost), *how)
        return float(ascend(self._problem, self._states, at, steps))

    def _round(self, at: Ascent, rounds: int) -> None:
        """Search from where the averages point."""
        sites = likely_sites(at, self._states, self._p)
        begin(self._search, self._lists, sites)
        self._note(iterate(self._search, self._lists, self._median.by_site, rounds))

    def _bound_root(self) -> Ascent:
        at = make_ascent(self._problem)
        for how in _ROOT:
            bound = self._ascend(at, how)
            self._round(at, 5)
            self._tell("bound", self._cost, bound)
            if bound >= self._tree.enough(self._cost) or self._is_done(bound):
                break
        return at

    def _improve(self, bound: float) -> None:
        """Starts from scratch, each made better, then paths between the best of them."""
        search, by_site = self._search, self._median.by_site
        fixed = np.array(self._median.fixed, np.int32)
        before, since = self._cost, 0
        for _ in range(self._effort.starts):
            since = since + 1 if self._cost >= before else 0
            before = self._cost
            if since > _STALE and gap_of(self._cost, bound) < _CLOSE:
                return
            choose_greedily(search, by_site, fixed, _SAMPLE)
            self._note(iterate(search, self._lists, by_site, 5))
            for _, goal in list(self._elites[:2]):
                relink(search, self._lists, by_site, goal)
                self._note(iterate(search, self._lists, by_site, 5))
            self._tell("search", self._cost, bound)
            if self._is_done(bound) or self._left() < 0.5 * self._effort.seconds:
                return

    def _shrink(self) -> None:
        """Take the sites that are closed for good out of the lists."""
        closed = self._states == CLOSED
        if np.count_nonzero(~closed) < 0.7 * self._lists.order.shape[1]:
            self._lists = without(self._lists, closed)
            self._problem = self._problem._replace(lists=self._lists)
            self._tree.problem = self._problem
            self._search.may_open[closed] = False

    def _prove(self) -> None:
        """Split the node with the least bound until nothing is left of it."""
        tree, since = self._tree, 0
        while tree.waiting and len(tree.parent) < self._effort.nodes and not tree.is_full:
            bound = tree.bound(self._cost)
            if self._left() <= 0 or self._is_done(bound):
                return
            since += 1
            best = self._cost
            for child in tree.split(self._cost):
                if since % 4 == 1 or np.count_nonzero(child.states == 0) < 8:
                    sites = likely_sites(child.at, child.states, self._p)
                    cost = begin(self._search, self._lists, sites)
                    self._note(descend(self._search, self._lists, self._median.by_site, cost))
            if self._cost < best or since % 20 == 0:
                self._tell("proof", self._cost, tree.bound(self._cost))

    def _left(self) -> float:
        return self._effort.seconds - (time.perf_counter() - self._begun)

    def _is_done(self, bound: float) -> bool:
        return gap_of(self._cost, bound) <= self._effort.gap or self._left() <= 0
