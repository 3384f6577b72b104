"""The p-median with limits of room as one programme, for instances small enough to be given whole.

HiGHS's answer is an answer; its bound is not used, for nobody could check it.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from selvedge.plan.placement.exact import Programme
from selvedge.plan.placement.instance import Median
from selvedge.plan.placement.neighbours import Flags

ARCS_MAX: Final = 20_000
"""Of an instance that is asked whole."""


def solve_whole(median: Median, seconds: float) -> Flags | None:
    """The best sites under all rules and within their room; None where none were found."""
    assert median.room is not None
    programme = Programme()
    y = programme.add_columns(np.zeros(median.sites), 1.0, whole=True)
    programme.add_row(y, np.ones(median.sites), -np.inf, float(median.p))
    for at, is_open in ((median.fixed, 1.0), (median.barred, 0.0)):
        own = np.array(at, np.int64)
        ones = np.ones(len(own), np.int64)
        programme.add_rows(ones, own, np.ones(len(own)), (is_open, is_open))
    for row in median.rows:
        programme.add_row(row.sites, row.coefficients, row.least)
    client, site = np.nonzero(np.isfinite(median.by_site.T))
    x = programme.add_columns(median.by_site[site, client], 1.0, whole=False)
    pairs, signs = np.stack([y[site], x], axis=1).ravel(), np.tile([1.0, -1.0], len(x))
    programme.add_rows(np.full(len(x), 2), pairs, signs, (0.0, np.inf))
    sizes = np.bincount(client, minlength=median.clients)
    programme.add_rows(sizes, x, np.ones(len(x)), (1.0, 1.0))
    for j in range(median.sites):
        own = np.flatnonzero(site == j)
        use = np.append(median.uses[client[own]], -median.room[j])
        programme.add_row(np.append(x[own], y[j]), use, -np.inf, 0.0)
    found = programme.solve(seconds, 1e-7)
    return None if found.values is None else found.values[: median.sites] > 0.5
