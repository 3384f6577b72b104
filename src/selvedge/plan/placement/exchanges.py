"""The search under limits of room: close a site, open another, the cheapest transport each time.

The transport is exact and kept up to date (`flows`). Its prices say beforehand what an exchange can
save at most: with the clients of the closed site at the prices of their next best ones, what a
closed site would bring (its knapsack) less what the open one brings is an upper bound, by weak
duality. Exchanges that cannot save anything are not tried.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from numba import njit

from selvedge.plan.placement.flows import (
    Flow,
    begin_flow,
    client_prices,
    close_slot,
    copy_of_flow,
    cost_of_flow,
    make_flow,
    open_slot,
    restore,
)
from selvedge.plan.placement.instance import CLOSED, OPEN, Median, States
from selvedge.plan.placement.knapsacks import worth_of
from selvedge.plan.placement.neighbours import Flags, Floats
from selvedge.plan.placement.transport import far_of, unit_costs_of

Left = Callable[[], float]
"""How many seconds are left."""

_TRIED = 2
"""Sites that are opened, the most promising first, for each that is closed."""
_LOOKED = 60
"""Sites whose worth is reckoned, by what they could save at most;"""
_CHOICE = 8
"""of these so many are drawn from when the answer is shaken."""
_NEAR = 300
"""Sites around a shaken one that may be opened,"""
_AROUND = 16
"""and open ones that may be closed."""
_SHARE = 1e-6
"""Less of a site is none."""
_LEAST = 1e-9
"""Of the cost: a smaller gain is rounding."""


@njit(cache=True, nogil=True)
def loss_and_gains(flow: Flow, costs: Floats, r: int, gains: Floats) -> float:
    """What closing a slot costs at least; `gains`, by site, is raised by what opening it could
    save beside, at most."""
    loss = float(flow.price[r]) * float(flow.room[r])
    slots = len(flow.site)
    for k in range(flow.members[r]):
        i, units = flow.member[r, k], flow.amount[r, k]
        here = flow.cost[i, r] + flow.price[r]
        after = np.inf
        for q in range(slots):
            if flow.used[q] and q != r:
                after = min(after, flow.cost[i, q] + flow.price[q])
        loss += units * (after - here)
        for s in range(len(gains)):
            saved = after - max(here, costs[i, s])
            if saved > 0.0:
                gains[s] += flow.uses[i] * saved
    return loss


@njit(cache=True, nogil=True)
def _worths_of(
    sites: npt.NDArray[np.intp], by_site: Floats, prices: Floats, flow: Flow, room: Floats
) -> Floats:
    """What each of these sites would save at most if it opened."""
    found = np.empty(len(sites))
    for k in range(len(sites)):
        found[k] = worth_of(by_site[sites[k]], prices, flow.uses, room[sites[k]])
    return found


class Exchange:
    """A choice of sites with its transport, on its way to a better one."""

    def __init__(self, median: Median, seed: int) -> None:
        assert median.room is not None
        self._median, self._room = median, median.room
        self._by_site = unit_costs_of(median, np.arange(median.sites))
        self._costs = np.ascontiguousarray(self._by_site.T)
        self._prices = np.zeros(median.clients)
        self._random = np.random.default_rng(seed)
        self._rules = Rules(median)
        self._may_open = ~median.barred_flags()
        self._may_close = np.ones(median.sites, np.bool_)
        self._may_close[list(median.fixed)] = False
        p = min(median.p, int(self._may_open.sum()))
        self._p = p
        self.flow = make_flow(median.uses, p, far_of(self._costs))
        self._kept, self._half = copy_of_flow(self.flow), copy_of_flow(self.flow)
        self._worth = np.zeros(median.sites)
        self.cost = np.inf

    @property
    def sites(self) -> npt.NDArray[np.intp]:
        """Those that are open."""
        return np.sort(self.flow.site[self.flow.site >= 0]).astype(np.intp)

    def gather(self, shares: Floats, states: States) -> Floats:
        """Shares of sites as whole ones: the largest first, each takes what it lacks from the
        sites nearest to it. So as many open in a region as the shares there come to."""
        left, found = np.where(states == CLOSED, 0.0, shares), np.zeros(len(shares))
        left[states == OPEN] = 2.0
        nearest = np.argmin(self._costs, axis=0)
        for _ in range(self._p):
            site = int(np.argmax(left))
            if left[site] <= _SHARE:
                break
            found[site] = left[site]
            near = np.argsort(self._costs[nearest, site], kind="stable")
            near = near[(near != site) & (left[near] <= 1.0)]
            held = np.minimum(left[site], 1.0) + np.cumsum(left[near])
            taken = near[: int(np.searchsorted(held, 1.0))]
            left[taken], left[site] = 0.0, 0.0
        return np.where(found > 0, 1.0 + found, shares)

    def begin(self, sites: npt.NDArray[np.intp]) -> float:
        """Open these, and only these; the cost."""
        begin_flow(self.flow, sites.astype(np.int32), self._by_site, self._room)
        self._keep()
        return self.cost

    def _keep(self) -> None:
        restore(self._kept, self.flow)
        self.cost = float(cost_of_flow(self.flow))

    def _look(self, near: npt.NDArray[np.intp]) -> None:
        """Reckon what sites would save at most; others than these are left out."""
        self._worth[:] = -np.inf
        self._worth[near] = self._worths(near, self._may_open[near])
        self._worth[self.sites] = -np.inf

    def _worths(self, sites: npt.NDArray[np.intp], wanted: Flags) -> Floats:
        """What each of these sites would save at most if it opened now."""
        client_prices(self.flow, self._prices)
        found = _worths_of(sites, self._by_site, self._prices, self.flow, self._room)
        return np.where(wanted, found, -np.inf)

    def _open(self, site: int, need: float = -np.inf) -> float:
        """Open a site, in a slot whose costs the flow that is kept does not need; what it saves."""
        flow = self.flow
        q = int(np.argmin(flow.used.astype(np.int8) * 2 + self._kept.used))
        flow.site[q], flow.room[q] = site, self._room[site]
        return float(open_slot(flow, q, self._by_site[site], need))

    def _fill(self) -> None:
        """Open more while there may be more, and it helps."""
        while len(self.sites) < self._p:
            self._look(np.arange(self._median.sites))
            worth = np.where(self._rules.keeps(self.sites, -1), self._worth, -np.inf)
            site = int(np.argmax(worth))
            if worth[site] <= _LEAST * self.cost:
                return
            self._open(site)
            self._keep()

    def descend(self, left: Left) -> None:
        """Exchange while it helps and there is time."""
        self._fill()
        every = np.arange(self._median.sites)
        while left() > 0:
            self._look(every)
            if not self._pass(self._slots(), left):
                return

    def _slots(self) -> list[int]:
        """Those whose site may close."""
        open_slots = np.flatnonzero(self.flow.site >= 0)
        return [int(q) for q in open_slots if self._may_close[self.flow.site[q]]]

    def _pass(self, slots: list[int], left: Left) -> int:
        """Try to close each slot, the most promising first; how many exchanges helped."""
        promise = [(self._promise(slot)[0], slot, int(self.flow.site[slot])) for slot in slots]
        promise.sort(reverse=True)
        gained = 0
        for gain, slot, site in promise:
            if left() <= 0:
                break
            if self.flow.site[slot] == site and gain > 0:
                gained += self._exchange(slot)
        return gained

    def _promise(self, slot: int) -> tuple[float, Floats]:
        """What closing a slot saves at most, and by site what opening it would."""
        gains = self._worth.copy()
        loss = loss_and_gains(self.flow, self._costs, slot, gains)
        return float(gains.max()) - loss - _LEAST * self.cost, gains

    def _exchange(self, slot: int) -> bool:
        """Close a slot and open the best site instead, if that helps."""
        closed = int(self.flow.site[slot])
        promise, gains = self._promise(slot)
        gains[self.sites] = -np.inf
        if promise <= 0:
            return False
        gains[~self._rules.keeps(self.sites, closed)] = -np.inf
        count = min(_LOOKED, len(gains) - 1)
        near = np.argpartition(-gains, count)[: count + 1]
        close_slot(self.flow, slot)
        least = float(cost_of_flow(self.flow)) - self.cost * (1 - _LEAST)
        worth = self._worths(near, np.isfinite(gains[near]))
        restore(self._half, self.flow)
        for k in np.argsort(-worth, kind="stable")[:_TRIED]:
            if worth[k] <= least:
                break
            if self._open(int(near[k]), least) > least:
                self._keep()
                return True
            restore(self.flow, self._half)
        restore(self.flow, self._kept)
        return False

    def wander(self, strength: int, left: Left) -> None:
        """Exchange some sites for others near them, whatever that costs, and search around them;
        go back if that ends in a higher cost."""
        before, sites, slots = self.cost, self.sites, self._slots()
        if not slots:
            return
        first = int(self._random.choice(slots))
        members = self.flow.member[first, : self.flow.members[first]]
        apart = self._costs[members].mean(axis=0) if len(members) else np.zeros(len(self._worth))
        near = np.argsort(apart, kind="stable")[:_NEAR]
        around = self._shake(first, near, strength)
        while left() > 0:
            self._look(near)
            allowed = set(self._slots())
            if not self._pass([q for q in around if q in allowed], left):
                break
        if self.cost >= before:
            self.begin(sites)

    def _shake(self, first: int, near: npt.NDArray[np.intp], strength: int) -> list[int]:
        """Exchange neighbours of a slot; the slots around."""
        slots = set(self._slots())
        around = [q for q in np.argsort(self.flow.edge[first]) if q in slots][:_AROUND]
        around = list(dict.fromkeys([first, *(int(q) for q in around)]))
        self._look(near)
        for slot in self._random.permutation(around)[:strength]:
            gains = self._worth.copy()
            loss_and_gains(self.flow, self._costs, int(slot), gains)
            gains[~self._rules.keeps(self.sites, int(self.flow.site[slot]))] = -np.inf
            gains[self.sites] = -np.inf
            best = np.argsort(-gains, kind="stable")[:_CHOICE]
            best = best[np.isfinite(gains[best])]
            if len(best):
                close_slot(self.flow, int(slot))
                site = int(self._random.choice(best))
                self._open(site)
                around.append(int(np.argmax(self.flow.site == site)))
        self._keep()
        return list(dict.fromkeys(around))


class Rules:
    """Rules on sites, as a matrix."""

    def __init__(self, median: Median) -> None:
        self._sums = np.zeros((len(median.rows), median.sites))
        for number, row in enumerate(median.rows):
            np.add.at(self._sums[number], row.sites, row.coefficients)
        slack = 1e-9 * np.maximum(1.0, np.abs(self._sums).sum(axis=1))
        self._least = np.array([row.least for row in median.rows]) - slack

    def keeps(self, sites: npt.NDArray[np.intp], closed: int) -> Flags:
        """By site: whether rules are kept when it opens and another (-1 for none) closes."""
        lacks = self._least - self._sums[:, sites].sum(axis=1)
        if closed >= 0:
            lacks += self._sums[:, closed]
        found: Flags = np.all(self._sums >= lacks[:, None], axis=0)
        return found
