"""The proof: nodes of choices, bounded and split until none can hide a better answer.

The node with the least bound goes first, so that the bound of the whole rises at every step and the
search may be stopped at any time with a proved gap. Every node keeps its multipliers: the tree is
the certificate, and `certificate.verify` reads it without any of this code.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from selvedge.plan.placement.certificate import Certificate
from selvedge.plan.placement.instance import CLOSED, FREE, OPEN, Median, States
from selvedge.plan.placement.neighbours import Floats, Indices, Lists
from selvedge.plan.placement.relaxation import (
    Ascent,
    Problem,
    Steps,
    ascend,
    evaluate,
    proof_of,
)
from selvedge.plan.placement.transport import transport_of

TOLERANCE: Final = 1e-9
"""Of the cost: what is closer than that is the same cost."""
_ITERATIONS: Final = 150
_LACK: Final = 1e-7
"""Of a row's largest coefficient: less is rounding."""
_BYTES_MAX: Final = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Node:
    """Choices that agree with its states; none is cheaper than its bound, or than the answer."""

    number: int
    states: States
    bound: float
    at: Ascent


@dataclass(slots=True)
class Tree:
    """All nodes so far, and those that are still open, by bound."""

    problem: Problem
    unit: int
    """What every cost is a multiple of; 0 for none."""
    median: Median | None = None
    """The instance, where its sites have only so much room."""
    parent: list[int] = field(default_factory=list)
    site: list[int] = field(default_factory=list)
    value: list[int] = field(default_factory=list)
    multipliers: list[Floats] = field(default_factory=list)
    waiting: list[tuple[float, int, Node]] = field(default_factory=list)
    shut: float = np.inf
    """The least bound among nodes that were not searched any further."""

    @property
    def p(self) -> int:
        """How many sites may be open."""
        return int(self.problem.p[0])

    def bound(self, cost: float) -> float:
        """What no choice beats."""
        least = self.waiting[0][0] if self.waiting else np.inf
        return min(cost, least, self.shut)

    def enough(self, cost: float) -> float:
        """A bound at which a node holds nothing better than the cost."""
        margin = TOLERANCE * max(1.0, abs(cost))
        return cost - self.unit + margin if self.unit else cost - margin

    def certificate(self) -> Certificate:
        """The tree as it is."""
        return Certificate(
            np.array(self.parent, np.int32),
            np.array(self.site, np.int32),
            np.array(self.value, np.int8),
            np.array(self.multipliers),
        )

    @property
    def is_full(self) -> bool:
        """Whether its multipliers take all the memory that they may."""
        return sum(one.nbytes for one in self.multipliers[:1]) * len(self.parent) > _BYTES_MAX

    def refine(self, node: Node | None, states: States, at: Ascent, cost: float) -> Node:
        """Add a node with the same choices as another, or the root; states are fixed further."""
        return self._add(node, (-1, 0), states, (at, cost))

    def _add(
        self, parent: Node | None, split: tuple[int, int], states: States, at: tuple[Ascent, float]
    ) -> Node:
        found, cost = at
        own = float(evaluate(self.problem, found.multipliers, states, found))
        bound = own if parent is None else max(own, parent.bound)
        number = len(self.parent)
        self.parent.append(-1 if parent is None else parent.number)
        self.site.append(split[0])
        self.value.append(split[1])
        self.multipliers.append(proof_of(self.problem, found))
        fix(states, found.worth, (own, self.p, self.enough(cost)))
        return Node(number, states, bound, found)

    def wait(self, node: Node, cost: float) -> None:
        """Keep a node for later, unless it holds nothing better than the cost."""
        if node.bound < self.enough(cost):
            heapq.heappush(self.waiting, (node.bound, node.number, node))
        else:
            self._shut(node, cost)

    def _shut(self, node: Node, cost: float) -> None:
        """Leave a node: where costs are whole, nothing under its bound is worth another look."""
        if not self.unit or node.bound < self.enough(cost):
            self.shut = min(self.shut, node.bound)

    def split(self, cost: float) -> list[Node]:
        """Split the node with the least bound; its children, which wait."""
        _, _, node = heapq.heappop(self.waiting)
        site = branch_site(node)
        if node.bound >= self.enough(cost):
            self._shut(node, cost)
            return []
        if site < 0:
            return self._end(node, cost)
        found = []
        for value in (0, 1):
            states = node.states.copy()
            states[site] = OPEN if value else CLOSED
            at = copy_of(node.at)
            steps = Steps(_aim(cost, node), self.enough(cost), _ITERATIONS, 0.1, 0.1)
            settle(states, self.p)
            self._price_out(states, at)
            ascend(self.problem, states, at, steps)
            child = self._add(node, (site, value), states, (at, cost))
            self.wait(child, cost)
            found.append(child)
        return found

    def _price_out(self, states: States, at: Ascent) -> None:
        if self.median is None:
            price_out(self.problem.lists, states, self.p, at)
        elif np.count_nonzero(states != CLOSED) <= self.p:
            lives = np.flatnonzero(states != CLOSED)
            found = transport_of(self.median, lives)
            at.multipliers[: self.median.clients] = found.client_prices * self.median.uses

    def _price_rows(self, states: States, at: Ascent, cost: float) -> None:
        """Rows are free where the sites that are left keep them; one that they break costs more
        than any answer."""
        rows, clients = self.problem.rows, len(self.problem.lists.reach)
        at.multipliers[clients:] = 0.0
        for number, least in enumerate(rows.least):
            own = slice(rows.start[number], rows.start[number + 1])
            is_open = states[rows.site[own]] == OPEN
            lacks = least - float(rows.coefficient[own][is_open].sum())
            if lacks > _LACK:
                at.multipliers[clients + number] = 4 * cost / lacks

    def _end(self, node: Node, cost: float) -> list[Node]:
        """Give a node without a choice the multipliers that say what it costs."""
        at = copy_of(node.at)
        self._price_out(node.states, at)
        self._price_rows(node.states, at, _aim(cost, node))
        child = self.refine(node, node.states, at, cost)
        self._shut(child, cost)
        return [child]


def _aim(cost: float, node: Node) -> float:
    """A cost for steps to aim at, where no answer is known yet too."""
    return cost if np.isfinite(cost) else 2.0 * abs(node.bound) + 1.0


def copy_of(at: Ascent) -> Ascent:
    """One that may be written to."""
    return Ascent(
        at.multipliers.copy(),
        at.worth.copy(),
        at.chosen.copy(),
        at.shares.copy(),
        at.rooms.copy(),
    )


def branch_site(node: Node) -> int:
    """The free site about which the averages are least sure; -1 where no site is free."""
    free = np.flatnonzero(node.states == FREE)
    if not free.size:
        return -1
    doubt = np.abs(node.at.shares[free] - 0.5)
    return int(free[np.argmin(doubt)])


def settle(states: States, p: int) -> None:
    """Close the free sites where as many are open as may be."""
    if np.count_nonzero(states == OPEN) >= p:
        states[states == FREE] = CLOSED


def price_out(lists: Lists, states: States, p: int, at: Ascent) -> None:
    """Where nothing is left to choose, the multipliers that say what it costs."""
    if np.count_nonzero(states != CLOSED) > p:
        return
    lives = (states[lists.order] != CLOSED) & np.isfinite(lists.cost)
    nearest = np.where(lives, lists.cost, np.inf).min(axis=1)
    reached = np.isfinite(nearest)
    at.multipliers[: len(nearest)][reached] = nearest[reached]


def fix(states: States, worth: Floats, at: tuple[float, int, float]) -> None:
    """Open or close, in place, what every choice better than `enough` has open or closed."""
    bound, p, enough = at
    is_free = states == FREE
    left = p - int(np.count_nonzero(states == OPEN))
    free = np.sort(worth[is_free])
    if left <= 0:
        states[is_free] = CLOSED
        return
    last = min(free[left - 1], 0.0) if left <= len(free) else 0.0
    following = min(free[left], 0.0) if left < len(free) else 0.0
    states[is_free & (bound + (worth - last) > enough)] = CLOSED
    states[(states == FREE) & (bound + (following - worth) > enough)] = OPEN
    settle(states, p)


def likely_sites(at: Ascent, states: States, p: int) -> Indices:
    """The sites that the averages favour: where a search may begin."""
    score = np.where(states == CLOSED, -1.0, at.shares) + np.where(states == OPEN, 2.0, 0.0)
    score = score - 1e-6 * at.worth / max(1.0, float(-at.worth.min(initial=0.0)))
    return np.argsort(-score, kind="stable")[:p].astype(np.int32)
