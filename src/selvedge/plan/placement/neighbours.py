"""Costs as the two loops of the solver read them: by client in order of cost, and by site.

A list of a client's sites in order of cost is what makes both fast: the relaxation reads it until
the cost passes the client's multiplier, the swap search until it passes the second nearest site.
Of 4,100 sites with 200 open that is some forty.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]

_ROWS: Final = 128
"""Clients that are sorted at a time: the sort's indices are wide, and are not kept."""


class Lists(NamedTuple):
    """Each client's sites in order of cost; only the first `reach` of a row can be reached."""

    order: Indices
    cost: Floats
    reach: Indices


def sort_neighbours(arcs: Floats) -> Lists:
    """The lists of a matrix of clients by sites, infinite where an arc is forbidden."""
    clients, sites = arcs.shape
    order = np.empty((clients, sites), np.int32)
    cost = np.empty((clients, sites), np.float64)
    for first in range(0, clients, _ROWS):
        block = arcs[first : first + _ROWS]
        found = np.argsort(block, axis=1)
        order[first : first + _ROWS] = found
        cost[first : first + _ROWS] = np.take_along_axis(block, found, axis=1)
    return Lists(order, cost, np.isfinite(cost).sum(axis=1).astype(np.int32))


def without(lists: Lists, closed: Flags) -> Lists:
    """The lists without some sites; numbers of sites stay what they were."""
    clients = lists.order.shape[0]
    keeps = ~closed[lists.order] & np.isfinite(lists.cost)
    count = keeps.sum(axis=1).astype(np.int32)
    width = int(count.max(initial=1))
    order = np.zeros((clients, width), np.int32)
    cost = np.full((clients, width), np.inf)
    for client in range(clients):
        row = keeps[client]
        order[client, : count[client]] = lists.order[client, row]
        cost[client, : count[client]] = lists.cost[client, row]
    return Lists(order, cost, count)
