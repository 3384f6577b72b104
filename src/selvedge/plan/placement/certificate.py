"""The proof that comes with an answer, and a checker that trusts nothing of how it was found.

A certificate is a tree. Its root is every choice of sites; a node either splits on a site (open in
one child, closed in the other) or refines (one child, the same choices); each node has multipliers.
The checker walks down with what is known of each site and at each node does two things, both with
NumPy from the instance alone:

1. The bound: the sum of the multipliers, plus the worths of open sites, plus the least worths of
   free ones until `p` are open. Weak duality makes it a lower bound for *any* multipliers. Where
   sites have only so much room, each site's room has a multiplier from 0 too: a client's use of it
   costs that much, and the site gives all of its room back (`knapsacks`).
2. Fixing: a free site whose opening (or closing) would lift that bound past the answer's cost
   belongs to no better choice (or to every better one). What is left out so may be better by
   2 x 10^-9 of the cost, and then lowers the bound of the whole to its own.

A node's bound is no less than its parent's. The bound of the whole is the least over the leaves,
and never more than the answer's cost.

Rounding. A bound is a sum of at most `n (m + 1) + m` terms, each exact but for one subtraction
that is off by at most `u = 2^-53` of its result. Summed in any order, k numbers are off by at most
`k u / (1 - k u)` times the sum of their magnitudes (Higham, Accuracy and Stability of Numerical
Algorithms, 2002, 4.2), and a worth is a sum of n, the bound a sum of n + m. The checker takes
`4 (n + m + r + 2) u` of the sum of all magnitudes (r rows, each scaled by one rounding) away from
every bound, which is more than both; for 4,100 by 4,100 that is some 10^-11 of the cost. With room
a term is `(cost - multiplier) + price x use`, off by at most `3 u` of its first bracket where it
counts, and that bracket is no more than the multiplier: `4 u` of all multipliers for every site
more. A cost is summed by `math.fsum`, which rounds once; with room it is that of a transport, in
which a client may lack, and a site exceed, 10^-9 of its own.
Where all costs are multiples of a whole number the bound is then raised to the next multiple.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from selvedge.plan.history import BadPlan
from selvedge.plan.placement.instance import CLOSED, FREE, OPEN, Median, States
from selvedge.plan.placement.neighbours import Flags, Floats, Indices
from selvedge.plan.placement.transport import cost_with_room

_UNIT = 2.0**-53
_ROWS = 256
_SAME = 2e-9
"""Of the cost: a search may leave out what is closer; the bound then is no more than that."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A tree of nodes, parents before children; node 0 is the root."""

    parent: Indices
    site: Indices
    """The site that the parent splits on; -1 where it does not."""
    value: npt.NDArray[np.int8]
    """Whether that site is open (1) or closed (0) here."""
    multipliers: Floats
    """Nodes by clients, then rows, then (where sites have only so much room) sites."""

    def save(self, path: Path, sites: Indices) -> None:
        """Keep it, with the answer that it is about. Raises `OSError`."""
        with path.open("wb") as file:
            np.savez_compressed(
                file,
                parent=self.parent,
                site=self.site,
                value=self.value,
                multipliers=self.multipliers,
                sites=sites,
            )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checker found."""

    cost: float
    bound: float
    nodes: int
    leaves: int

    @property
    def gap(self) -> float:
        """By what part of the bound the cost may at most exceed the best there is."""
        return gap_of(self.cost, self.bound)


def gap_of(cost: float, bound: float) -> float:
    """The gap of a cost over a bound, as a part of the bound; infinite where there is none."""
    if cost <= bound:
        return 0.0
    return (cost - bound) / bound if bound > 0 else math.inf


def load_certificate(path: Path) -> tuple[Certificate, Indices]:
    """A certificate and its answer's sites. Raises `BadPlan`."""
    try:
        with np.load(path, allow_pickle=False) as found:
            names = ("parent", "site", "value", "multipliers")
            return Certificate(*(found[name] for name in names)), found["sites"]
    except (OSError, KeyError, ValueError) as error:
        raise BadPlan(f"{path} is no certificate of a placement: {error}.") from error


def verify(median: Median, sites: npt.ArrayLike, certificate: Certificate) -> Verdict:
    """Recompute the cost of an answer and the bound of its certificate.

    Raises `BadPlan` where the answer breaks a rule of the instance or the tree is none. A proof in
    which no room has a price, of sites that have room for all that are nearest, is read as one
    without room.
    """
    answer = _check_answer(median, np.asarray(sites, np.int64))
    cost = cost_with_room(median, answer)
    if cost == math.inf:
        raise BadPlan("the answer's sites have no room for all demand, or do not reach it.")
    children = _check_tree(median, certificate)
    if median.room is not None and cost <= median.cost_of(answer):
        width = median.clients + len(median.rows)
        if not certificate.multipliers[:, width:].any():
            loose = replace(certificate, multipliers=certificate.multipliers[:, :width])
            return verify(replace(median, room=None), answer, loose)
    check = _Check(median, cost, median.whole_unit())
    bound, leaves = cost, 0
    stack = [(0, median.known_states(), -math.inf)]
    while stack:
        node, states, above = stack.pop()
        found = max(above, check.bound(states, certificate.multipliers[node]))
        if children[node] and found < cost:
            for child in children[node]:
                inner = states.copy()
                if certificate.site[child] >= 0:
                    known = OPEN if certificate.value[child] else CLOSED
                    if states[certificate.site[child]] not in (FREE, known):
                        leaves += 1  # Fixed the other way: nothing better is in there.
                        continue
                    inner[certificate.site[child]] = known
                stack.append((child, inner, found))
        else:
            leaves += 1
            bound = min(bound, found)
    bound = min(bound, check.least) if not check.unit else bound
    return Verdict(cost, bound, len(certificate.parent), leaves)


class _Check:
    """Bounds and fixing at one node after the other."""

    def __init__(self, median: Median, cost: float, unit: int) -> None:
        self._median, self._cost, self.unit = median, cost, unit
        self._table = median.row_table()
        self.least = math.inf
        """The least bound of choices that were left out as no better but for rounding."""

    def bound(self, states: States, multipliers: Floats) -> float:
        """The bound of all choices that agree with the states; fixes states in place."""
        if not np.all(np.isfinite(multipliers)):
            raise BadPlan("a multiplier of the certificate is not finite.")
        if np.any(multipliers[self._median.clients :] < 0):
            raise BadPlan("a row's or a room's multiplier is below 0: it proves nothing.")
        lives = np.flatnonzero(states != CLOSED)
        median, clients = self._median, self._median.clients
        table, last = self._table, clients + len(median.rows)
        worth, size = self._worths(lives, multipliers[:clients], multipliers[last:])
        prices = multipliers[clients:last]
        priced = np.repeat(prices, np.diff(table.start)) * table.coefficient
        rowed = np.bincount(table.site, priced, median.sites)[lives]
        size += float(np.abs(prices * table.least).sum() + np.abs(priced).sum())
        worth = worth - rowed
        error = 4 * (clients + median.sites + len(prices) + 2) * _UNIT * size
        if median.room is not None:
            error += 4 * len(lives) * _UNIT * float(np.abs(multipliers[:clients]).sum())
        is_open = states[lives] == OPEN
        left = self._median.p - int(is_open.sum())
        if left < 0:
            return math.inf
        free = np.sort(worth[~is_open])
        taken = np.minimum(free[:left], 0.0)
        found = math.fsum(multipliers[:clients]) + math.fsum(prices * table.least)
        found += math.fsum(worth[is_open]) + math.fsum(taken) - error
        self._fix(states, lives, worth, (found, left, free))
        return self.rounded(found)

    def _worths(
        self, lives: npt.NDArray[np.int64], prices: Floats, rooms: Floats
    ) -> tuple[Floats, float]:
        """What sites are worth but for rows, and the sum of all magnitudes."""
        median = self._median
        size = float(np.abs(prices).sum())
        if median.room is None:
            worth = _worths(median.by_site, lives, prices)
            size -= float(worth.sum())
        else:
            worth = _worths(median.by_site, lives, prices, (median.uses, rooms))
            back = median.room[lives] * rooms[lives]
            size += float(back.sum() - worth.sum())
            worth = worth - back
        if median.prices is not None:
            worth = worth + median.prices[lives]
            size += float(np.abs(median.prices[lives]).sum())
        return worth, size

    def _fix(
        self,
        states: States,
        lives: npt.NDArray[np.int64],
        worth: Floats,
        at: tuple[float, int, Floats],
    ) -> None:
        found, left, free = at
        is_free = states[lives] == FREE
        last = min(free[left - 1], 0.0) if 0 < left <= len(free) else 0.0
        following = min(free[left], 0.0) if left < len(free) else 0.0
        closing, opening = found + (worth - last), found + (following - worth)
        closes, opens = is_free & self._past(closing), is_free & self._past(opening)
        for excluded in (closing[closes], opening[opens & ~closes]):
            self.least = min(self.least, float(excluded.min(initial=math.inf)))
        if left == 0:
            closes, opens = is_free, np.zeros_like(is_free)
        states[lives[closes]] = CLOSED
        states[lives[opens & ~closes]] = OPEN

    def _past(self, bounds: Floats) -> Flags:
        """Whether nothing under such a bound can be better than the answer, but for rounding."""
        if self.unit:
            return bounds > self._cost - self.unit
        return bounds >= self._cost - _SAME * abs(self._cost)

    def rounded(self, bound: float) -> float:
        """The bound, raised to a cost that an answer can have."""
        return math.ceil(bound / self.unit) * self.unit if self.unit else bound


def _worths(
    by_site: Floats,
    lives: npt.NDArray[np.int64],
    multipliers: Floats,
    rooms: tuple[Floats, Floats] | None = None,
) -> Floats:
    worth = np.empty(len(lives))
    for first in range(0, len(lives), _ROWS):
        own = lives[first : first + _ROWS]
        block = by_site[own] - multipliers
        if rooms is not None:
            block += rooms[1][own, None] * rooms[0]
        worth[first : first + _ROWS] = np.minimum(block, 0.0).sum(axis=1)
    return worth


def _check_answer(median: Median, sites: npt.NDArray[np.int64]) -> list[int]:
    answer = [int(one) for one in sites]
    if not answer or min(answer) < 0 or max(answer) >= median.sites:
        raise BadPlan(f"the answer names sites outside 0 to {median.sites - 1}.")
    if len(set(answer)) != len(answer) or len(answer) > median.p:
        raise BadPlan(f"the answer opens a site twice, or more than {median.p}.")
    if not set(median.fixed) <= set(answer) or set(median.barred) & set(answer):
        raise BadPlan("the answer closes a fixed site or opens a barred one.")
    is_open = np.zeros(median.sites, np.bool_)
    is_open[answer] = True
    for row in median.rows:
        if not row.holds(is_open):
            raise BadPlan(f"the answer breaks a rule: {row.name}.")
    return answer


def _check_tree(median: Median, found: Certificate) -> list[list[int]]:
    nodes = len(found.parent)
    width = median.clients + len(median.rows) + (0 if median.room is None else median.sites)
    if found.multipliers.shape != (nodes, width) or nodes == 0:
        raise BadPlan("the certificate is of another instance: its multipliers do not fit.")
    children: list[list[int]] = [[] for _ in range(nodes)]
    for node in range(1, nodes):
        parent = int(found.parent[node])
        if not 0 <= parent < node or not -1 <= found.site[node] < median.sites:
            raise BadPlan(f"node {node} of the certificate has no parent before it.")
        children[parent].append(node)
    for node, below in enumerate(children):
        split = sorted((int(found.site[one]), int(found.value[one])) for one in below)
        if split and not (len(split) == 1 and split[0][0] < 0):
            site = split[0][0]
            if site < 0 or split != [(site, 0), (site, 1)]:
                raise BadPlan(f"node {node} of the certificate does not cover its choices.")
    return children
