"""Demand sent to open sites that have only so much room: the cheapest transport, kept up to date
while sites open and close.

Successive shortest paths (Ahuja, Magnanti and Orlin, Network Flows, 1993, chapter 9): a unit that
comes to a full site moves one of its clients on; what that costs between two sites is the least
over the clients of the first. So paths run over sites alone, some hundreds, not clients. Prices
of the sites (zero where there is room) are the dual solution; they keep every length from 0 up, and
say what a site that is closed would save at most. What finds no room goes to a dummy, at `far` a
unit.

Compiled by Numba: no Python objects, and the interpreter's lock is let go.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from selvedge.plan.placement.neighbours import Flags, Floats, Indices

_DUST: Final = 1e-13
"""Of a client's demand: less than that is rounding."""


class Flow(NamedTuple):
    """Who is served where. The last slot is the dummy's; costs are for one unit of demand."""

    site: Indices
    """By slot: the open site, -1 where none is."""
    used: Flags
    room: Floats
    load: Floats
    price: Floats
    """By slot: what one more unit of room would save."""
    members: Indices
    """By slot: how many clients it serves, in part or whole;"""
    member: Indices
    amount: Floats
    """which ones, and how much of each."""
    edge: Floats
    """By slot and slot: the least cost of moving a unit from one to the other,"""
    via: Indices
    """and the client that moves."""
    cost: Floats
    """By client and slot."""
    uses: Floats
    """By client: units of demand."""


def make_flow(uses: Floats, slots: int, far: float) -> Flow:
    """One without an open site: all demand is the dummy's. One slot more than asked for is kept,
    so that a site may open before another closes."""
    clients, count = len(uses), slots + 2
    flow = Flow(
        np.full(count, -1, np.int32),
        np.zeros(count, np.bool_),
        np.zeros(count),
        np.zeros(count),
        np.zeros(count),
        np.zeros(count, np.int32),
        np.empty((count, clients), np.int32),
        np.empty((count, clients)),
        np.full((count, count), np.inf),
        np.full((count, count), -1, np.int32),
        np.full((clients, count), np.inf),
        uses,
    )
    flow.used[-1] = True
    flow.room[-1] = np.inf
    flow.cost[:, -1] = far
    flow.members[-1] = clients
    flow.member[-1] = np.arange(clients)
    flow.amount[-1] = uses
    flow.load[-1] = uses.sum()
    return flow


def copy_of_flow(flow: Flow) -> Flow:
    """One that may be written to; costs are shared."""
    return Flow(
        flow.site.copy(),
        flow.used.copy(),
        flow.room.copy(),
        flow.load.copy(),
        flow.price.copy(),
        flow.members.copy(),
        flow.member.copy(),
        flow.amount.copy(),
        flow.edge.copy(),
        flow.via.copy(),
        flow.cost,
        flow.uses,
    )


@njit(cache=True, nogil=True)
def restore(flow: Flow, kept: Flow) -> None:
    """Make a flow what another is, of the same clients and slots, with the same array of costs."""
    flow.site[:] = kept.site
    flow.used[:] = kept.used
    flow.room[:] = kept.room
    flow.load[:] = kept.load
    flow.price[:] = kept.price
    flow.members[:] = kept.members
    flow.edge[:] = kept.edge
    flow.via[:] = kept.via
    for j in range(len(kept.members)):
        for k in range(kept.members[j]):
            flow.member[j, k] = kept.member[j, k]
            flow.amount[j, k] = kept.amount[j, k]


@njit(cache=True, nogil=True)
def _scan(flow: Flow, j: int, first: int) -> None:
    """Look at what moving the members of a slot costs, from the member at `first` on."""
    slots = len(flow.site)
    if first == 0:
        flow.edge[j] = np.inf
    for k in range(first, flow.members[j]):
        i = flow.member[j, k]
        here = flow.cost[i, j]
        for q in range(slots):
            apart = flow.cost[i, q] - here
            if apart < flow.edge[j, q]:
                flow.edge[j, q] = apart
                flow.via[j, q] = i


@njit(cache=True, nogil=True)
def _find(flow: Flow, j: int, i: int) -> int:
    for k in range(flow.members[j]):
        if flow.member[j, k] == i:
            return k
    return -1


@njit(cache=True, nogil=True)
def _take(flow: Flow, j: int, i: int, units: float) -> None:
    """Units of a client leave a slot."""
    k = _find(flow, j, i)
    if flow.amount[j, k] - units > _DUST * flow.uses[i]:
        flow.amount[j, k] -= units
        return
    last = flow.members[j] - 1
    flow.member[j, k] = flow.member[j, last]
    flow.amount[j, k] = flow.amount[j, last]
    flow.members[j] = last
    _scan(flow, j, 0)


@njit(cache=True, nogil=True)
def _give(flow: Flow, j: int, i: int, units: float) -> None:
    """Units of a client come to a slot."""
    k = _find(flow, j, i)
    if k >= 0:
        flow.amount[j, k] += units
        return
    k = flow.members[j]
    flow.member[j, k] = i
    flow.amount[j, k] = units
    flow.members[j] = k + 1
    _scan(flow, j, k)


@njit(cache=True, nogil=True)
def _next(flow: Flow, length: Floats, done: Flags) -> int:
    """The nearest slot that is not done; -1 for none."""
    best, found = np.inf, -1
    for k in range(len(length)):
        if not done[k] and flow.used[k] and length[k] < best:
            best, found = length[k], k
    return found


@njit(cache=True, nogil=True)
def _relax(flow: Flow, j: int, length: Floats, before: Indices) -> None:
    """Lengthen paths by a step from slot `j`."""
    for q in range(len(length)):
        if flow.used[q] and q != j:
            step = max(0.0, flow.edge[j, q] + flow.price[q] - flow.price[j])
            if length[j] + step < length[q]:
                length[q] = length[j] + step
                before[q] = j


@njit(cache=True, nogil=True)
def _bottleneck(flow: Flow, before: Indices, end: int, most: float) -> float:
    """How many units can move along a path."""
    q = end
    while before[q] >= 0:
        j = before[q]
        most = min(most, flow.amount[j, _find(flow, j, flow.via[j, q])])
        q = j
    return most


@njit(cache=True, nogil=True)
def _move(flow: Flow, before: Indices, end: int, units: float) -> int:
    """Move units along a path; the slot at which it begins. Loads within do not change."""
    q = end
    while before[q] >= 0:
        j = before[q]
        i = flow.via[j, q]
        _take(flow, j, i, units)
        _give(flow, q, i, units)
        q = j
    return q


@njit(cache=True, nogil=True)
def _insert(flow: Flow, i: int, units: float) -> None:
    """Serve units of a client; full sites move others on, and their prices rise."""
    slots = len(flow.site)
    length, before = np.empty(slots), np.empty(slots, np.int32)
    done = np.empty(slots, np.bool_)
    while units > _DUST * flow.uses[i]:
        done[:] = False
        before[:] = -1
        for k in range(slots):
            length[k] = flow.cost[i, k] + flow.price[k] if flow.used[k] else np.inf
        end = _next(flow, length, done)
        while flow.room[end] <= flow.load[end]:
            done[end] = True
            _relax(flow, end, length, before)
            end = _next(flow, length, done)
        for k in range(slots):
            if done[k]:
                flow.price[k] += length[end] - length[k]
        spare = flow.room[end] - flow.load[end]
        moved = _bottleneck(flow, before, end, min(units, spare))
        flow.load[end] = flow.room[end] if moved == spare else flow.load[end] + moved
        _give(flow, _move(flow, before, end, moved), i, moved)
        units -= moved


@njit(cache=True, nogil=True)
def open_slot(flow: Flow, q: int, unit_cost: Floats, need: float) -> float:
    """Open the site that an unused slot names; units come to it while that saves, and prices fall.

    What it saves. Where that is sure to be less than `need`, it may be left half done.
    """
    slots, room, saved = len(flow.site), float(flow.room[q]), 0.0
    flow.used[q] = True
    flow.load[q], flow.price[q], flow.members[q] = 0.0, 0.0, 0
    flow.edge[q] = np.inf
    flow.cost[:, q] = unit_cost
    for j in range(slots):
        flow.edge[j, q] = np.inf
        for k in range(flow.members[j] if flow.used[j] and j != q else 0):
            i = flow.member[j, k]
            apart = unit_cost[i] - flow.cost[i, j]
            if apart < flow.edge[j, q]:
                flow.edge[j, q] = apart
                flow.via[j, q] = i
        if flow.used[j]:
            flow.price[q] = max(flow.price[q], flow.price[j] - flow.edge[j, q])
    length, after = np.empty(slots), np.empty(slots, np.int32)
    done = np.empty(slots, np.bool_)
    while flow.price[q] > 0.0 and flow.load[q] < room:
        if saved + flow.price[q] * (room - flow.load[q]) < need:
            return saved
        begun, fall = _search_back(flow, q, (length, after, done))
        for k in range(slots):
            if done[k] and length[k] < fall:
                flow.price[k] = max(0.0, flow.price[k] - (fall - length[k]))
        if begun < 0:
            flow.price[q] = 0.0
            return saved
        saved += float(flow.price[q]) * float(_fill(flow, q, begun, after))
    return saved


@njit(cache=True, nogil=True)
def _search_back(flow: Flow, q: int, at: tuple[Floats, Indices, Flags]) -> tuple[int, float]:
    """The slot that best gives units up for a new one, and what they save less than the new one's
    price; -1 and that price where none saves anything."""
    length, after, done = at
    slots = len(length)
    length[:] = np.inf
    length[q] = 0.0
    done[:] = False
    least, begun = flow.price[q], -1
    v = q
    while v >= 0 and length[v] < least:
        done[v] = True
        if v != q and length[v] + flow.price[v] < least:
            least, begun = length[v] + flow.price[v], v
        for j in range(slots):
            if flow.used[j] and not done[j]:
                step = length[v] + max(0.0, flow.edge[j, v] + flow.price[v] - flow.price[j])
                if step < length[j]:
                    length[j] = step
                    after[j] = v
        v = _next(flow, length, done)
    return begun, least


@njit(cache=True, nogil=True)
def _fill(flow: Flow, q: int, begun: int, after: Indices) -> float:
    """Move what can be moved along a path into a new slot; how much."""
    room = flow.room[q]
    moved = float(room - flow.load[q])
    spare, j = moved, begun
    while j != q:
        moved = min(moved, flow.amount[j, _find(flow, j, flow.via[j, after[j]])])
        j = after[j]
    j = begun
    while j != q:
        i = flow.via[j, after[j]]
        _take(flow, j, i, moved)
        _give(flow, after[j], i, moved)
        j = after[j]
    flow.load[q] = room if moved == spare else flow.load[q] + moved
    is_left = flow.members[begun] > 0
    flow.load[begun] = max(0.0, flow.load[begun] - moved) if is_left else 0.0
    return moved


@njit(cache=True, nogil=True)
def close_slot(flow: Flow, q: int) -> None:
    """Close a slot; its clients go elsewhere."""
    count = flow.members[q]
    member, amount = flow.member[q, :count].copy(), flow.amount[q, :count].copy()
    flow.site[q], flow.used[q], flow.members[q] = -1, False, 0
    flow.room[q], flow.load[q], flow.price[q] = 0.0, 0.0, 0.0
    flow.edge[q] = np.inf
    for k in range(count):
        _insert(flow, member[k], amount[k])


@njit(cache=True, nogil=True)
def cost_of_flow(flow: Flow) -> float:
    """What all units cost, those without room included."""
    total = 0.0
    for j in range(len(flow.site)):
        for k in range(flow.members[j]):
            total += flow.cost[flow.member[j, k], j] * flow.amount[j, k]
    return total


@njit(cache=True, nogil=True)
def client_prices(flow: Flow, found: Floats) -> None:
    """By client: what one more unit of it would cost. With the slots' prices it is a dual
    solution."""
    for j in range(len(flow.site)):
        for k in range(flow.members[j]):
            i = flow.member[j, k]
            found[i] = flow.cost[i, j] + flow.price[j]


def begin_flow(flow: Flow, sites: npt.NDArray[np.int32], unit_costs: Floats, room: Floats) -> None:
    """Open these sites, and only these, and serve all clients there."""
    flow.members[:], flow.load[:], flow.price[:] = 0, 0.0, 0.0
    flow.site[:], flow.used[:-1] = -1, False
    flow.edge[:] = np.inf
    count = len(sites)
    flow.site[:count], flow.used[:count], flow.room[:count] = sites, True, room[sites]
    flow.cost[:, :count] = unit_costs[sites].T
    _insert_all(flow)


@njit(cache=True, nogil=True)
def _insert_all(flow: Flow) -> None:
    for i in range(len(flow.uses)):
        _insert(flow, i, flow.uses[i])
