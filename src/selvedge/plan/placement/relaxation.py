"""The lower bound: what no set of sites can beat, whatever the search found.

Each client must be served; a multiplier prices that, and without the rule every site can be judged
alone: a site is worth the sum over clients of `min(0, cost - multiplier)`, and the best `p` sites
are those worth most (Cornuejols, Fisher and Nemhauser, Management Science 23, 1977). For any
multipliers whatever the sum of them and of those `p` worths is a lower bound, so that how they were
found needs no trust. They are found by the volume algorithm (Barahona and Anbil, Mathematical
Programming 87, 2000), whose averages of the choices are close to a solution of the linear
programme: they start the search and choose where to branch. Rules on the sites alone (a budget,
minimums) are priced in the same way; a site may then be worth less than nothing, and stays closed.
Sites with only so much room are judged by a continuous knapsack (`knapsacks`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from selvedge.plan.placement.instance import CLOSED, FREE, OPEN, Median, RowTable, States
from selvedge.plan.placement.knapsacks import fill_knapsacks, taken
from selvedge.plan.placement.neighbours import (
    Flags,
    Floats,
    Lists,
    sort_neighbours,
    without,
)


class Problem(NamedTuple):
    """What the relaxation reads. `p` is one number."""

    lists: Lists
    rows: RowTable
    p: npt.NDArray[np.int64]
    prices: Floats
    """By site: what opening it costs."""
    uses: Floats
    """By client, of a site's room; empty where rooms have no limit."""
    room: Floats
    """By site; or empty."""


class Ascent(NamedTuple):
    """Multipliers on their way up, and what is known at the best of them."""

    multipliers: Floats
    """By client, then by row."""
    worth: Floats
    chosen: Flags
    shares: Floats
    """By site: how much of it the average choice opens."""
    rooms: Floats
    """Of each site's knapsack: worth, price of room, share of the last parts (3 by sites)."""


class Steps(NamedTuple):
    """How far and how long to go."""

    target: float
    """A cost that a set of sites has."""
    enough: float
    """A bound at which to stop."""
    iterations: int
    scale: float
    mix: float


def lists_of(median: Median) -> Lists:
    """Each client's sites in order of cost, without those that may not be opened."""
    lists, barred = sort_neighbours(median.by_site.T), median.barred_flags()
    return without(lists, barred) if barred.any() else lists


def make_problem(median: Median, lists: Lists) -> Problem:
    """A problem whose lists are these, which may have lost sites."""
    none = np.zeros(0)
    room, uses = median.room, median.uses
    return Problem(
        lists,
        median.row_table(),
        np.array([median.p]),
        np.zeros(median.sites) if median.prices is None else median.prices,
        none if room is None else uses,
        none if room is None else room,
    )


def make_ascent(problem: Problem) -> Ascent:
    """One that begins with the cost of each client's nearest site, and nothing for rows."""
    lists, sites = problem.lists, len(problem.prices)
    start = np.where(lists.reach > 0, lists.cost[:, 0], 0.0)
    return Ascent(
        np.concatenate([start, np.zeros(len(problem.rows.least))]),
        np.zeros(sites),
        np.zeros(sites, np.bool_),
        np.zeros(sites),
        np.zeros((3, len(problem.room))),
    )


def proof_of(problem: Problem, at: Ascent) -> Floats:
    """The multipliers as a certificate keeps them: by client, by row, by room of a site.

    Rooms of closed sites too have theirs: a checker may not know yet that they are closed.
    """
    if not len(problem.room):
        return at.multipliers.copy()
    found, every = np.zeros_like(at.rooms), np.ones(len(problem.room), np.bool_)
    rooms = (problem.uses, problem.room)
    fill_knapsacks(problem.lists, at.multipliers, every, rooms, found)
    return np.concatenate([at.multipliers, found[1]])


@njit(cache=True, nogil=True)
def _ranked(values: Floats, count: int, rank: int) -> float:
    """The value of that rank among the first `count`, which are put in disorder (Hoare, 1961).

    NumPy's own takes Numba five seconds to compile.
    """
    low, high = 0, count - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if rank <= j:
            high = j
        elif rank >= i:
            low = i
        else:
            break
    return float(values[rank])


@njit(cache=True, nogil=True)
def choose(worth: Floats, states: States, p: int, chosen: Flags) -> float:
    """The sites that are open in the relaxation, and the sum of their worths."""
    total = 0.0
    free = np.empty(len(worth))
    count, left = 0, p
    for j in range(len(worth)):
        chosen[j] = states[j] == OPEN
        if states[j] == OPEN:
            total += worth[j]
            left -= 1
        elif states[j] == FREE:
            free[count] = worth[j]
            count += 1
    if left <= 0:
        return total
    limit, room = np.inf, left
    if left < count:
        limit = _ranked(free.copy(), count, left - 1)
        for k in range(count):
            if free[k] < limit:
                room -= 1
    for j in range(len(worth)):
        if states[j] != FREE or worth[j] > limit or worth[j] >= 0.0:
            continue
        if worth[j] == limit:
            if room <= 0:
                continue
            room -= 1
        chosen[j] = True
        total += worth[j]
    return total


@njit(cache=True, nogil=True)
def evaluate(problem: Problem, multipliers: Floats, states: States, at: Ascent) -> float:
    """The bound of multipliers; `at.worth` and `at.chosen` are filled."""
    lists, rows, worth = problem.lists, problem.rows, at.worth
    worth[:] = problem.prices
    total = 0.0
    clients = len(lists.reach)
    for r in range(len(rows.least)):
        price = multipliers[clients + r]
        if price == 0.0:
            continue
        total += price * rows.least[r]
        for k in range(rows.start[r], rows.start[r + 1]):
            worth[rows.site[k]] -= price * rows.coefficient[k]
    if len(problem.room) > 0:
        wanted = states != CLOSED
        fill_knapsacks(lists, multipliers, wanted, (problem.uses, problem.room), at.rooms)
        for j in range(len(worth)):
            worth[j] += at.rooms[0, j]
        for i in range(clients):
            total += multipliers[i]
        return total + choose(worth, states, problem.p[0], at.chosen)
    for i in range(clients):
        price = multipliers[i]
        total += price
        order, cost = lists.order[i], lists.cost[i]
        for k in range(lists.reach[i]):
            c = cost[k]
            if c >= price:
                break
            worth[order[k]] += c - price
    return total + choose(worth, states, problem.p[0], at.chosen)


@njit(cache=True, nogil=True)
def _slack(problem: Problem, multipliers: Floats, at: Ascent, slack: Floats) -> None:
    """By client: one, less how many of the chosen sites would serve it; by row: what it lacks."""
    lists, rows, chosen = problem.lists, problem.rows, at.chosen
    has_room = len(problem.room) > 0
    clients = len(lists.reach)
    for r in range(len(rows.least)):
        lacks = rows.least[r]
        for k in range(rows.start[r], rows.start[r + 1]):
            if chosen[rows.site[k]]:
                lacks -= rows.coefficient[k]
        slack[clients + r] = max(lacks, 0.0) if multipliers[clients + r] == 0.0 else lacks
    for i in range(clients):
        price = multipliers[i]
        order, cost = lists.order[i], lists.cost[i]
        left = 1.0
        for k in range(lists.reach[i]):
            if cost[k] >= price:
                break
            j = order[k]
            if chosen[j] and has_room:
                value = (price - cost[k]) / problem.uses[i]
                left -= taken(value, at.rooms[1, j], at.rooms[2, j])
            elif chosen[j]:
                left -= 1.0
        slack[i] = left


@njit(cache=True, nogil=True)
def _dot(a: Floats, b: Floats) -> float:
    """Of two vectors; Numba's own needs SciPy."""
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@njit(cache=True, nogil=True)
def _mixing(slack: Floats, mean: Floats, most: float) -> float:
    """The share of the newest choice that brings the mean of slacks closest to 0."""
    above, below = 0.0, 0.0
    for i in range(len(slack)):
        apart = slack[i] - mean[i]
        above -= mean[i] * apart
        below += apart * apart
    share = above / below if below > 0.0 else most
    return min(max(share, most / 10.0), most)


@njit(cache=True, nogil=True)
def ascend(problem: Problem, states: States, best: Ascent, steps: Steps) -> float:
    """Better multipliers than those of `best`, in place; their bound.

    `best.shares` is the average of the choices on the way.
    """
    length = len(best.multipliers)
    at = Ascent(
        best.multipliers.copy(),
        best.worth.copy(),
        best.chosen.copy(),
        best.shares.copy(),
        best.rooms.copy(),
    )
    bound = evaluate(problem, best.multipliers, states, best)
    slack, mean = np.empty(length), np.empty(length)
    _slack(problem, best.multipliers, best, mean)
    best.shares[:] = 0.0
    best.shares[best.chosen] = 1.0
    scale, mix, reds, since, before = steps.scale, steps.mix, 0, 0, bound
    for _ in range(steps.iterations):
        square = _dot(mean, mean)
        if bound >= steps.enough or square < 1e-12:
            break
        step = scale * max(steps.target - bound, 1e-7 * abs(steps.target)) / square
        for i in range(length):
            at.multipliers[i] = max(0.0, best.multipliers[i] + step * mean[i])
        found = evaluate(problem, at.multipliers, states, at)
        _slack(problem, at.multipliers, at, slack)
        share = _mixing(slack, mean, mix)
        along = _dot(slack, mean)
        for i in range(length):
            mean[i] += share * (slack[i] - mean[i])
        for j in range(len(at.worth)):
            best.shares[j] += share * ((1.0 if at.chosen[j] else 0.0) - best.shares[j])
        if found > bound:
            bound, reds = found, 0
            best.multipliers[:] = at.multipliers
            best.worth[:] = at.worth
            best.chosen[:] = at.chosen
            best.rooms[:] = at.rooms
            scale = min(2.0, scale * 1.1) if along >= 0.0 else scale
        else:
            reds += 1
            if reds >= 20:
                scale, reds = max(scale * 0.66, 1e-4), 0
        since += 1
        if since == 100:
            if bound - before < 0.01 * (steps.target - before):
                mix = max(mix / 2.0, 1e-5)
            since, before = 0, bound
    return bound
