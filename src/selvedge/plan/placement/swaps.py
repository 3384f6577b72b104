"""The search for a good set of sites: swaps of one for another until none helps.

Resende and Werneck, "A fast swap-based local search procedure for location problems" (Annals of
Operations Research 150, 2007), after Whitaker (1983): the profit of opening `j` and closing the
site of slot `r` is `gain[j] - loss[r] + extra[j, r]`, and a swap changes only the terms of clients
whose nearest or second nearest site it touches. `extra` is sparse in truth and kept dense; its row
sums bound what a row can hold, so that most rows are passed over.

Compiled by Numba: no Python objects, and the interpreter's lock is let go.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from selvedge.plan.placement.neighbours import Flags, Floats, Indices, Lists

_TINY = 1e-11
"""Of the whole cost: what sums that are added to and taken from may have drifted."""
_DRIFT = 1e-13
"""Of the cost of a client out of reach: the same, for what such clients leave in the sums."""


class Search(NamedTuple):
    """A set of open sites, and what every swap of it would bring. Slot `p` stands for nobody."""

    sites: Indices
    """By slot: the open site."""
    slot: Indices
    """By site: its slot, -1 where closed."""
    first: Indices
    """By client: slot of the nearest open site."""
    cost1: Floats
    cost2: Floats
    """By client: cost of the nearest and of the second nearest."""
    gain: Floats
    loss: Floats
    extra: Floats
    row: Floats
    """By site: the sum of its row of `extra`."""
    far: Floats
    """One number: the cost of a client that reaches no open site."""
    may_open: Flags
    may_close: Flags
    random: npt.NDArray[np.uint64]


def make_search(lists: Lists, p: int, far: float, seed: int) -> Search:
    """An empty one; `begin` fills it."""
    clients, _ = lists.order.shape
    sites = int(lists.order.max(initial=0)) + 1 if lists.order.size else 0
    return make_search_of(clients, sites, p, far, seed)


def make_search_of(clients: int, sites: int, p: int, far: float, seed: int) -> Search:
    """An empty one for so many clients and sites."""
    return Search(
        sites=np.zeros(p, np.int32),
        slot=np.full(sites, -1, np.int32),
        first=np.zeros(clients, np.int32),
        cost1=np.zeros(clients),
        cost2=np.zeros(clients),
        gain=np.zeros(sites),
        loss=np.zeros(p + 1),
        extra=np.zeros((sites, p + 1)),
        row=np.zeros(sites),
        far=np.array([far]),
        may_open=np.ones(sites, np.bool_),
        may_close=np.ones(sites, np.bool_),
        random=np.array([seed * 2 + 1], np.uint64),
    )


@njit(cache=True, nogil=True)
def draw(state: npt.NDArray[np.uint64], below: int) -> int:
    """A number from 0 up to `below`, by xorshift64* (Vigna 2016)."""
    x = state[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    state[0] = x
    high = (x * np.uint64(2685821657736338717)) >> np.uint64(33)
    return int(np.int64(high) % np.int64(below))


@njit(cache=True, nogil=True)
def _find(search: Search, lists: Lists, i: int) -> None:
    """Look the client's nearest two up anew."""
    order, cost, slot = lists.order[i], lists.cost[i], search.slot
    search.first[i] = len(search.sites)
    search.cost1[i] = search.far[0]
    search.cost2[i] = search.far[0]
    found = 0
    for k in range(lists.reach[i]):
        place = slot[order[k]]
        if place < 0:
            continue
        if found == 0:
            search.first[i] = place
            search.cost1[i] = cost[k]
            found = 1
        else:
            search.cost2[i] = cost[k]
            return


@njit(cache=True, nogil=True)
def _count(search: Search, lists: Lists, i: int, sign: float) -> None:
    """Add the client's terms, or take them away."""
    order, cost = lists.order[i], lists.cost[i]
    near, second, r = search.cost1[i], search.cost2[i], search.first[i]
    search.loss[r] += sign * (second - near)
    for k in range(lists.reach[i]):
        c = cost[k]
        if c >= second:
            return
        j = order[k]
        if c < near:
            search.gain[j] += sign * (near - c)
            more = sign * (second - near)
        else:
            more = sign * (second - c)
        search.extra[j, r] += more
        search.row[j] += more


@njit(cache=True, nogil=True)
def rebuild(search: Search, lists: Lists) -> float:
    """Everything from the open sites alone; the cost."""
    search.gain[:] = 0.0
    search.loss[:] = 0.0
    search.extra[:] = 0.0
    search.row[:] = 0.0
    total = 0.0
    for i in range(len(search.first)):
        _find(search, lists, i)
        _count(search, lists, i, 1.0)
        total += search.cost1[i]
    return total


@njit(cache=True, nogil=True)
def begin(search: Search, lists: Lists, sites: Indices) -> float:
    """Open these, and only these; the cost."""
    search.slot[:] = -1
    for r in range(len(sites)):
        search.sites[r] = sites[r]
        search.slot[sites[r]] = r
    return rebuild(search, lists)


@njit(cache=True, nogil=True)
def best_swap(search: Search) -> tuple[int, int, float]:
    """The site to open, the slot to close, the profit; -1 where nothing may move."""
    p = len(search.sites)
    loss = np.empty(p)
    least = np.inf
    for r in range(p):
        loss[r] = search.loss[r] if search.may_close[search.sites[r]] else np.inf
        least = min(least, loss[r])
    best, best_j, best_r = -np.inf, -1, -1
    for j in range(len(search.gain)):
        if search.slot[j] >= 0 or not search.may_open[j]:
            continue
        gain = search.gain[j]
        if gain + search.row[j] - least <= best:
            continue
        extra = search.extra[j]
        for r in range(p):
            profit = gain - loss[r] + extra[r]
            if profit > best:
                best, best_j, best_r = profit, j, r
    return best_j, best_r, best


@njit(cache=True, nogil=True)
def swap(search: Search, lists: Lists, by_site: Floats, j: int, r: int) -> float:
    """Open site `j` in slot `r`; the cost before less the cost after."""
    out = search.sites[r]
    search.sites[r] = j
    search.slot[j] = r
    search.slot[out] = -1
    opened, closed = by_site[j], by_site[out]
    profit = 0.0
    for i in range(len(search.first)):
        if opened[i] < search.cost2[i] or closed[i] <= search.cost2[i]:
            profit += search.cost1[i]
            _count(search, lists, i, -1.0)
            _find(search, lists, i)
            _count(search, lists, i, 1.0)
            profit -= search.cost1[i]
    return profit


@njit(cache=True, nogil=True)
def descend(search: Search, lists: Lists, by_site: Floats, cost: float) -> float:
    """Swap while it helps; the cost."""
    fresh = False
    while True:
        j, r, profit = best_swap(search)
        if j >= 0 and profit > _TINY * cost + _DRIFT * search.far[0]:
            fresh = False
            cost -= swap(search, lists, by_site, j, r)
        elif fresh:
            return cost
        else:
            cost = rebuild(search, lists)
            fresh = True


@njit(cache=True, nogil=True)
def shake(search: Search, lists: Lists, by_site: Floats, swaps: int) -> float:
    """Some swaps near a client drawn at random, whatever they cost; the profit."""
    p, clients = len(search.sites), len(search.first)
    reach = 3 * len(search.slot) // p + 5
    profit = 0.0
    made, tried = 0, 0
    at = draw(search.random, clients)
    while made < swaps and tried < 20 * swaps:
        tried += 1
        near = lists.order[at, draw(search.random, max(1, min(reach, lists.reach[at])))]
        if tried % 3 == 0:
            at = draw(search.random, clients)
        r = search.first[at]
        if r == p or not search.may_close[search.sites[r]]:
            r = draw(search.random, p)
        if search.slot[near] >= 0 or not search.may_open[near]:
            continue
        if not search.may_close[search.sites[r]]:
            continue
        profit += swap(search, lists, by_site, near, r)
        made += 1
    return profit


@njit(cache=True, nogil=True)
def iterate(search: Search, lists: Lists, by_site: Floats, rounds: int) -> float:
    """Iterated descent from the sites that are open, which become the best ones found; its cost."""
    best = descend(search, lists, by_site, rebuild(search, lists))
    kept = search.sites.copy()
    p = len(kept)
    for _ in range(rounds):
        strength = 2 + draw(search.random, max(2, min(p, 12)))
        cost = best - shake(search, lists, by_site, strength)
        cost = descend(search, lists, by_site, cost)
        if cost <= best:
            best = cost
            kept[:] = search.sites
        else:
            begin(search, lists, kept)
    return begin(search, lists, kept)


@njit(cache=True, nogil=True)
def relink(search: Search, lists: Lists, by_site: Floats, goal: Indices) -> float:
    """Walk from the open sites to others, best step first, and descend from the best place
    between (Glover; Resende and Werneck 2004). The cost of what is open afterwards."""
    opens, closes = search.may_open.copy(), search.may_close.copy()
    search.may_open[:] = False
    search.may_close[search.sites] = opens[search.sites] | closes[search.sites]
    for j in goal:
        search.may_open[j] = opens[j]
        search.may_close[j] = False
    cost = rebuild(search, lists)
    best, kept = np.inf, search.sites.copy()
    while True:
        j, r, _ = best_swap(search)
        if j < 0:
            break
        cost -= swap(search, lists, by_site, j, r)
        if cost < best:
            best = cost
            kept[:] = search.sites
    search.may_open[:] = opens
    search.may_close[:] = closes
    cost = begin(search, lists, kept)
    return descend(search, lists, by_site, cost)


@njit(cache=True, nogil=True)
def choose_greedily(search: Search, by_site: Floats, fixed: Indices, sample: int) -> None:
    """Open the fixed sites, then one at a time the one that saves most; with `sample` above 0 the
    best of so many drawn at random. Only `sites` and `slot` are right afterwards."""
    p, sites, clients = len(search.sites), by_site.shape[0], by_site.shape[1]
    search.slot[:] = -1
    near = np.full(clients, search.far[0])
    stale = np.full(sites, np.inf)
    for r in range(p):
        best, best_j = -1.0, -1
        if r < len(fixed):
            best_j = fixed[r]
        else:
            for k in range(sample if sample > 0 else sites):
                j = draw(search.random, sites) if sample > 0 else k
                if search.slot[j] >= 0 or not search.may_open[j] or stale[j] <= best:
                    continue
                saved = 0.0
                for i in range(clients):
                    if by_site[j, i] < near[i]:
                        saved += near[i] - by_site[j, i]
                stale[j] = saved
                if saved > best:
                    best, best_j = saved, j
        while best_j < 0:
            k = draw(search.random, sites)
            best_j = k if search.slot[k] < 0 and search.may_open[k] else -1
        search.sites[r] = best_j
        search.slot[best_j] = r
        for i in range(clients):
            near[i] = min(near[i], by_site[best_j, i])
