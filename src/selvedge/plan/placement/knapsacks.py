"""What sites with only so much room are worth in the relaxation: a continuous knapsack each.

A site may serve parts of clients, up to its room. At given multipliers of the clients it takes the
parts that bring most for a unit of room, until it is full; the value of the last one is the price
of its room. With that price a worth is a plain sum again, `sum of min(0, cost - multiplier + price
x use) - price x room`, which is a lower bound of it for any price from 0: so the prices go into
the certificate, and who checks it needs no knapsack.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from selvedge.plan.placement.neighbours import Flags, Floats, Lists


@njit(cache=True, nogil=True)
def _critical(value: Floats, use: Floats, room: float) -> tuple[float, float, float]:
    """Of the parts that fill a room, the least value for a unit; how much of those of that value
    there is room for, as a share; and what all parts bring. Both arrays are put in disorder."""
    low, high = 0, len(value)
    left, brought = room, 0.0
    while True:
        pivot = value[(low + high) // 2]
        i, k, j = low, low, high
        above, same = 0.0, 0.0
        gain = 0.0
        while k < j:
            if value[k] > pivot:
                above += use[k]
                gain += use[k] * value[k]
                value[i], value[k] = value[k], value[i]
                use[i], use[k] = use[k], use[i]
                i += 1
                k += 1
            elif value[k] < pivot:
                j -= 1
                value[j], value[k] = value[k], value[j]
                use[j], use[k] = use[k], use[j]
            else:
                same += use[k]
                k += 1
        if above > left:
            high = i
        elif above + same >= left or j >= high:
            return pivot, min(1.0, (left - above) / same), brought + gain + (left - above) * pivot
        else:
            left -= above + same
            brought += gain + same * pivot
            low = j


@njit(cache=True, nogil=True)
def fill_knapsacks(
    lists: Lists, multipliers: Floats, wanted: Flags, rooms: tuple[Floats, Floats], out: Floats
) -> None:
    """Each wanted site's worth in `out[0]`; the price of its room in `out[1]`, and in `out[2]` the
    share of the parts at that price that is taken. `rooms` are uses by client, room by site."""
    uses, room = rooms
    worth, price, part = out[0], out[1], out[2]
    sites = len(room)
    asked, gain = np.zeros(sites), np.zeros(sites)
    count = np.zeros(sites + 1, np.int64)
    for i in range(len(uses)):
        order, cost = lists.order[i], lists.cost[i]
        for k in range(lists.reach[i]):
            if cost[k] >= multipliers[i]:
                break
            j = order[k]
            asked[j] += uses[i]
            gain[j] += multipliers[i] - cost[k]
            count[j] += 1
    start = np.zeros(sites + 1, np.int64)
    for j in range(sites):
        worth[j], price[j], part[j] = 0.0, 0.0, 1.0
        is_over = wanted[j] and asked[j] > room[j]
        if wanted[j] and not is_over:
            worth[j] = -gain[j]
        start[j + 1] = start[j] + (count[j] if is_over else 0)
    _fill(lists, multipliers, (uses, room), (start, out))


@njit(cache=True, nogil=True)
def _fill(
    lists: Lists,
    multipliers: Floats,
    rooms: tuple[Floats, Floats],
    at: tuple[npt.NDArray[np.int64], Floats],
) -> None:
    """The sites that cannot take all that would pay."""
    uses, room = rooms
    start, out = at
    sites = len(room)
    value, use = np.empty(start[sites]), np.empty(start[sites])
    end = start[:sites].copy()
    for i in range(len(uses)):
        order, cost = lists.order[i], lists.cost[i]
        for k in range(lists.reach[i]):
            if cost[k] >= multipliers[i]:
                break
            j = order[k]
            if start[j + 1] > start[j]:
                value[end[j]] = (multipliers[i] - cost[k]) / uses[i]
                use[end[j]] = uses[i]
                end[j] += 1
    for j in range(sites):
        if start[j + 1] > start[j]:
            own = slice(start[j], start[j + 1])
            found = _critical(value[own], use[own], room[j])
            out[1, j], out[2, j] = found[0], found[1]
            out[0, j] = -found[2]


@njit(cache=True, nogil=True)
def taken(value: float, price: float, part: float) -> float:
    """The share of a client that a chosen site takes, at its value for a unit of room."""
    if value > price:
        return 1.0
    return part if value == price else 0.0


@njit(cache=True, nogil=True)
def worth_of(costs: Floats, prices: Floats, uses: Floats, room: float) -> float:
    """What a site saves at most where a unit of each client costs `prices` elsewhere, and `costs`
    there."""
    count, asked, gain = 0, 0.0, 0.0
    value, use = np.empty(len(uses)), np.empty(len(uses))
    for i in range(len(uses)):
        if costs[i] < prices[i]:
            value[count], use[count] = prices[i] - costs[i], uses[i]
            asked += uses[i]
            gain += uses[i] * value[count]
            count += 1
    if asked <= room:
        return gain
    return _critical(value[:count], use[:count], room)[2]
