"""OR-Library's p-median instances (Beasley, 1985): costs are the shortest paths of a graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numba import njit

from selvedge.plan.history import BadPlan
from selvedge.plan.placement.instance import Median, make_median
from selvedge.plan.placement.neighbours import Floats


@njit(cache=True, nogil=True)
def close_paths(costs: Floats) -> None:
    """All pairs of shortest paths, in place (Floyd, 1962)."""
    n = costs.shape[0]
    for k in range(n):
        for i in range(n):
            first = costs[i, k]
            if first == np.inf:
                continue
            for j in range(n):
                if first + costs[k, j] < costs[i, j]:
                    costs[i, j] = first + costs[k, j]


def read_pmed(path: Path) -> Median:
    """An instance. Edges go both ways; of an edge that is there twice the last line counts.

    Raises `BadPlan` where the file is none.
    """
    try:
        numbers = np.array(path.read_text("ascii").split(), np.int64)
        nodes, edges, p = (int(one) for one in numbers[:3])
        rows = numbers[3 : 3 + 3 * edges].reshape(edges, 3)
    except (OSError, ValueError) as error:
        raise BadPlan(f"{path} is no p-median instance of OR-Library: {error}.") from error
    if np.any(rows[:, :2] < 1) or np.any(rows[:, :2] > nodes):
        raise BadPlan(f"{path}: an edge ends outside nodes 1 to {nodes}; mend it.")
    costs = np.full((nodes, nodes), np.inf)
    for one, other, cost in rows:
        costs[one - 1, other - 1] = costs[other - 1, one - 1] = cost
    np.fill_diagonal(costs, 0.0)
    close_paths(costs)
    return make_median(costs, np.ones(nodes), p)
