"""What an operator demands of a choice of sites, as rows: money, minimums, room for a loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from selvedge.plan.history import BadPlan
from selvedge.plan.placement.instance import Row
from selvedge.plan.placement.neighbours import Flags, Floats


def budget_row(prices_usd: Floats, budget_usd: float) -> Row:
    """What the opened sites cost together, at most."""
    at = np.flatnonzero(prices_usd > 0).astype(np.int32)
    return Row(
        f"a budget of {budget_usd:,.0f} USD",
        at,
        -prices_usd[at],
        -_spendable(prices_usd[at], budget_usd),
    )


def _spendable(prices_usd: Floats, budget_usd: float) -> float:
    """What of a budget can be spent at all: where prices are multiples of a sum, so is what is
    spent. The bound is then as tight as a limit on the number of sites."""
    cents = np.round(prices_usd * 100)
    unit = int(np.gcd.reduce(cents.astype(np.int64))) if cents.size else 0
    if unit < 1 or not np.allclose(cents, prices_usd * 100, rtol=0, atol=1e-6):
        return float(budget_usd)
    return math.floor(budget_usd * 100 / unit + 1e-9) * unit / 100


def minimum_row(name: str, inside: Flags, least: int) -> Row:
    """So many sites in a place. Raises `BadPlan` where it has not as many candidates."""
    at = np.flatnonzero(inside).astype(np.int32)
    if len(at) < least:
        raise BadPlan(
            f"at least {least} sites in {name}: it has {len(at)} that may be opened; lower the"
            " minimum, or make room at a site there."
        )
    return Row(f"at least {least} sites in {name}", at, np.ones(len(at)), float(least))


def capacity_row(name: str, inside: Flags, capacity: Floats, asked: float) -> Row:
    """Enough room in a place for what must be served there. Raises `BadPlan` where there is not."""
    at = np.flatnonzero(inside & (capacity > 0)).astype(np.int32)
    most = float(capacity[at].sum())
    if most < asked:
        raise BadPlan(
            f"capacity in {name}: all candidates together serve {most:,.1f} requests/s of"
            f" {asked:,.1f}; allow more servers a site, or a quicker GPU."
        )
    rule = f"capacity of {asked:,.1f} requests/s in {name}"
    return Row(rule, at, capacity[at].astype(np.float64), float(asked))


def second_site_rows(
    round_trips_ms: Floats, limit_ms: float, name: Callable[[int], str]
) -> Iterator[Row]:
    """For every client two sites within a limit: one may be lost.

    A client whose near sites include all those of another needs no row: the other's implies it.
    Clients that have not two candidates near them must be left out before (`alone`).
    """
    near = round_trips_ms <= limit_ms
    _, first = np.unique(np.packbits(near, axis=1), axis=0, return_index=True)
    near, first = near[np.sort(first)], np.sort(first)
    kept = np.flatnonzero(~_implied(near))
    group = f"a second site within {limit_ms:g} ms"
    for client in kept:
        at = np.flatnonzero(near[client]).astype(np.int32)
        yield Row(f"{group} of {name(int(first[client]))}", at, np.ones(len(at)), 2.0, group)


def _implied(near: Flags) -> Flags:
    """By client: whether another one's near sites are all among its own."""
    matrix = near.astype(np.float32)
    sizes = matrix.sum(axis=1)
    found = np.zeros(len(matrix), np.bool_)
    for row in range(len(matrix)):
        shared = matrix @ matrix[row]
        inside = (shared == sizes) & (sizes < sizes[row])
        found[row] = bool(inside.any())
    return found


def alone(round_trips_ms: Floats, limit_ms: float) -> npt.NDArray[np.intp]:
    """Clients that have not two candidates within a limit, whatever is opened."""
    return np.flatnonzero((round_trips_ms <= limit_ms).sum(axis=1) < 2)
