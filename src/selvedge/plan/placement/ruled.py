"""The p-median under rules on its sites: a budget, minimums, second nearest sites.

The relaxation prices the rules beside the clients, and its bound holds as it does without them.
Answers come from programmes of HiGHS that are small because most sites are settled: at first the
sites alone, by their worths; then clients too, over the sites about which the averages are unsure.
A restriction's answer is an answer; only the bound has to look at everything.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from selvedge.plan.history import BadPlan
from selvedge.plan.placement.branching import Node, Tree, copy_of
from selvedge.plan.placement.certificate import Certificate, gap_of
from selvedge.plan.placement.exact import Programme
from selvedge.plan.placement.feasibility import check_rows, choose_sites, opened
from selvedge.plan.placement.instance import FREE, OPEN, Median, Row
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

_UNSURE: Final = (40, 90, 180)
"""Sites that are left to HiGHS, round after round."""
_ARCS: Final = 24
"""Of these, the nearest to a client that may serve it better than a settled one."""
_CORES: Final = 12
"""Nodes of the proof at which HiGHS looks for a better answer."""
_ROWS_MAX: Final = 60
"""With more, HiGHS is not asked for sites by their worths alone."""
_ROOT: Final = ((1200, 0.1, 0.1), (1200, 0.1, 0.05))


def solve_ruled(median: Median, effort: Effort, tell: Tell) -> Answer:
    """The best sites found that keep the rules, with a bound and its certificate.

    Raises `BadPlan` where no choice keeps them, naming what binds.
    """
    check_rows(median)
    short = replace(effort, seconds=0.25 * effort.seconds, gap=max(effort.gap, 1e-5))
    free = solve_free(replace(median, rows=()), short, tell)
    if not broken(median, free.sites):
        return replace(free, certificate=_padded(free.certificate, len(median.rows)))
    return _Ruled(median, effort, tell).run(free)


def broken(median: Median, sites: Sequence[int]) -> list[Row]:
    """The rules that sites do not keep."""
    is_open = np.zeros(median.sites, np.bool_)
    is_open[list(sites)] = True
    return [row for row in median.rows if not row.holds(is_open)]


def _padded(found: Certificate, rows: int) -> Certificate:
    """A proof without rules is one with rules that cost nothing."""
    priced = np.pad(found.multipliers, ((0, 0), (0, rows)))
    return replace(found, multipliers=priced)


class _Ruled:
    """One problem on its way to an answer."""

    def __init__(self, median: Median, effort: Effort, tell: Tell) -> None:
        self._begun, self._begun_cpu = time.perf_counter(), time.process_time()
        self._median, self._effort, self._tell = median, effort, tell
        self._states = median.known_states()
        self._problem = make_problem(median, lists_of(median))
        self._tree = Tree(self._problem, median.whole_unit())
        self._cost, self._best = np.inf, np.zeros(0, np.int64)

    def run(self, free: Answer) -> Answer:
        """All of it, in order, from the answer without rules."""
        at = make_ascent(self._problem)
        at.multipliers[: self._median.clients] = free.certificate.multipliers[-1]
        self._ascend(at, (400, 0.1, 0.1), 1.05 * free.cost)
        self._settle(at)
        for how in _ROOT:
            if self._left() > 0.3 * self._effort.seconds:
                self._ascend(at, how, self._cost)
                self._settle(at)
        node = self._tree.refine(None, self._states, at, self._cost)
        node = self._search(node)
        self._tree.wait(node, self._cost)
        self._prove()
        return self._answer()

    def _answer(self) -> Answer:
        if not np.isfinite(self._cost):
            raise BadPlan(
                "no choice that keeps the rules and reaches every client was found in time; give"
                " more seconds or sites, or loosen a rule."
            )
        return Answer(
            sites=tuple(int(one) for one in self._best),
            cost=self._cost,
            bound=self._tree.bound(self._cost),
            certificate=self._tree.certificate(),
            seconds=time.perf_counter() - self._begun,
            processor_seconds=time.process_time() - self._begun_cpu,
            nodes=len(self._tree.parent),
            greedy_cost=np.inf,
        )

    def _ascend(self, at: Ascent, how: tuple[int, float, float], target: float) -> None:
        target = target if np.isfinite(target) else 2.0 * float(at.multipliers.sum()) + 1.0
        steps = Steps(target, self._tree.enough(target), *how)
        bound = ascend(self._problem, self._states, at, steps)
        self._tell("bound", self._cost, bound)

    def _note(self, is_open: Flags | None) -> None:
        if is_open is None or not all(row.holds(is_open) for row in self._median.rows):
            return
        sites = np.flatnonzero(is_open)
        cost = self._median.cost_of(sites.tolist())
        if cost < self._cost:
            self._cost, self._best = cost, sites

    def _settle(self, at: Ascent) -> None:
        """The best sites by worths and averages alone that keep the rules."""
        mended = mend(self._median, at.shares)
        self._note(mended)
        if len(self._median.rows) > _ROWS_MAX and mended is not None:
            return
        spare = 1e-6 * float(np.abs(at.worth).max(initial=1.0))
        self._note(opened(choose_sites(self._median, at.worth - spare * at.shares)))
        favour = at.shares * float(np.abs(at.worth).max(initial=1.0))
        self._note(opened(choose_sites(self._median, -favour)))

    def _search(self, node: Node) -> Node:
        """Leave more and more sites to HiGHS, while the bound says that there is something."""
        for unsure in _UNSURE:
            if node.bound >= self._tree.enough(self._cost) or self._is_done(node.bound):
                break
            self._note(self._core(node, unsure))
            at = copy_of(node.at)
            self._ascend(at, (600, 0.05, 0.05), self._cost)
            node = self._tree.refine(node, node.states.copy(), at, self._cost)
            self._tell("search", self._cost, node.bound)
        return node

    def _core(self, node: Node, unsure: int) -> Flags | None:
        """The best choice where all sites but some are held as the averages have them."""
        shares = node.at.shares
        free = np.flatnonzero(node.states == FREE)
        is_best = np.zeros(self._median.sites, np.bool_)
        is_best[self._best] = True
        doubt = np.abs(shares[free] - 0.5) - 0.3 * (is_best[free] != (shares[free] > 0.5))
        picked = free[np.argsort(doubt, kind="stable")[:unsure]]
        held = node.states == OPEN
        held[free] = is_best[free] if np.isfinite(self._cost) else shares[free] > 0.5
        held[picked] = False
        left = max(1.0, min(30.0, self._left() / 2))
        return core_sites(self._median, held, picked, left)

    def _prove(self) -> None:
        tree, cores = self._tree, 0
        while tree.waiting and len(tree.parent) < self._effort.nodes and not tree.is_full:
            if self._is_done(tree.bound(self._cost)):
                return
            for child in tree.split(self._cost):
                is_small = np.count_nonzero(child.states == FREE) < _UNSURE[0]
                if is_small and cores < _CORES and self._left() > 0:
                    cores += 1
                    self._note(self._core(child, _UNSURE[0]))

    def _left(self) -> float:
        return self._effort.seconds - (time.perf_counter() - self._begun)

    def _is_done(self, bound: float) -> bool:
        return gap_of(self._cost, bound) <= self._effort.gap or self._left() <= 0


def mend(median: Median, favour: Floats) -> Flags | None:
    """Sites opened one at a time: first those that bring broken rows furthest, then the favoured.

    None where it ends in a broken row, as a budget may leave it.
    """
    table, rows = median.row_table(), median.rows
    row_of = np.repeat(np.arange(len(rows)), np.diff(table.start))
    need = table.least.copy()
    is_open = np.zeros(median.sites, np.bool_)
    barred = median.barred_flags()

    def take(site: int) -> None:
        is_open[site] = True
        own = table.site == site
        np.subtract.at(need, row_of[own], table.coefficient[own])

    for site in median.fixed:
        take(site)
    while is_open.sum() < median.p:
        helps = np.maximum(np.minimum(table.coefficient, need[row_of]), 0.0)
        harms = (table.coefficient < 0) & (need[row_of] - table.coefficient > 1e-9)
        score = np.bincount(table.site, helps, median.sites) + 0.5 * favour
        score[np.bincount(table.site, harms, median.sites) > 0] = -1.0
        score[is_open | barred] = -1.0
        if score.max() <= 0.0:
            break
        take(int(np.argmax(score)))
    return is_open if all(row.holds(is_open) for row in rows) else None


def core_sites(
    median: Median, held: Flags, picked: npt.NDArray[np.intp], seconds: float
) -> Flags | None:
    """The best of the picked sites to open beside those held, by the rows; None for none.

    A client's column says what a picked site saves over the held ones; of those that no held site
    reaches, exactly one must be open.
    """
    base = median.by_site[held].min(axis=0) if held.any() else np.full(median.clients, np.inf)
    costs = median.by_site[picked]
    programme = Programme()
    programme.add_columns(np.zeros(len(picked)), 1.0, whole=True)
    programme.add_row(
        np.arange(len(picked)), np.ones(len(picked)), -np.inf, float(median.p - held.sum())
    )
    number = np.full(median.sites, -1)
    number[picked] = np.arange(len(picked))
    for row in median.rows:
        lives = number[row.sites] >= 0
        already = float(row.coefficients[held[row.sites]].sum())
        programme.add_row(
            number[row.sites[lives]], row.coefficients[lives], row.least - already - 1e-9
        )
    _add_clients(programme, costs, base)
    found = programme.solve(seconds, 1e-7)
    if found.values is None:
        return None
    is_open = held.copy()
    is_open[picked[found.values[: len(picked)] > 0.5]] = True
    return is_open


def _add_clients(programme: Programme, costs: Floats, base: Floats) -> None:
    finite = np.isfinite(base)
    arcs = min(_ARCS, costs.shape[0])
    near = np.argsort(costs, axis=0, kind="stable")[:arcs]
    cost = np.take_along_axis(costs, near, axis=0)
    lives = np.isfinite(cost) & (cost < base)
    column_cost = np.where(finite, cost - np.where(finite, base, 0.0), cost)
    client = np.broadcast_to(np.arange(costs.shape[1]), near.shape)[lives]
    x = programme.add_columns(column_cost[lives], 1.0, whole=False)
    pairs = np.stack([near[lives], x], axis=1).ravel()
    signs = np.tile([1.0, -1.0], len(x))
    programme.add_rows(np.full(len(x), 2), pairs.astype(np.int64), signs, (0.0, np.inf))
    order = np.argsort(client, kind="stable")
    for is_finite, between in ((True, (-np.inf, 1.0)), (False, (1.0, 1.0))):
        own = order[finite[client[order]] == is_finite]
        sizes = np.bincount(client[own], minlength=costs.shape[1])
        asked = sizes[finite == is_finite] if not is_finite else sizes[sizes > 0]
        programme.add_rows(asked, x[own], np.ones(len(own)), between)
