"""What an operator demands of a choice of sites, as rows: money, minimums, room for a loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from selvedge.plan.history import BadPlan
from selvedge.plan.placement.instance import Row
from selvedge.plan.placement.neighbours import Flags, Floats

_ROWS_MAX: Final = 200
"""For one place and the loss of any one of its sites."""


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
    return Row(rule, at, capacity[at].astype(np.float64), _needed(capacity[at], asked))


def loss_rows(
    name: str, inside: tuple[Flags, Flags], capacity: Floats, asked: float
) -> Iterator[Row]:
    """Enough room in a place after the loss of any one site there. `inside` are its sites, and
    those that are open in any case. Raises `BadPlan` where no choice has it.

    The largest site that is open anyway (or the smallest candidate) is spare in one row; each
    larger candidate has a row of its own, in which it counts for no more than that. Where more than
    `_ROWS_MAX` candidates are larger, the next larger size is spare in any case, which is stricter.
    """
    at = np.flatnonzero(inside[0] & (capacity > 0)).astype(np.int32)
    room = capacity[at].astype(np.float64)
    most = float(room.sum() - room.max(initial=0.0))
    rule = f"capacity of {asked:,.1f} requests/s in {name} after the loss of any one site"
    if most < asked:
        raise BadPlan(
            f"{rule}: all candidates but the largest serve {most:,.1f}; allow more servers a site,"
            " a quicker GPU, or ask for no room after a loss (--capacity without --survive-ms)."
        )
    there = inside[1][at]
    spare = float(room[there].max()) if there.any() else float(room.min())
    sizes = np.unique(room[room > spare])
    while np.count_nonzero(room > spare) > _ROWS_MAX:
        spare, sizes = float(sizes[0]), sizes[1:]
    least = _needed(room, asked + spare)
    yield Row(rule, at, room, least, rule)
    for number in np.flatnonzero(room > spare):
        own = room.copy()
        own[number] = spare
        yield Row(rule, at, own, least, rule)


def _needed(capacity: Floats, asked: float) -> float:
    """What must be open: where sites come in multiples of a server, so does what they serve."""
    unit = 0.0
    for one in np.unique(capacity):
        a, b = float(one), unit
        while b > 1e-6 * one:
            a, b = b, a % b
        unit = a
    if unit <= 0 or not np.allclose(capacity / unit, np.round(capacity / unit), atol=1e-6):
        return float(asked)
    return max(float(asked), math.ceil(asked / unit - 1e-9) * unit * (1 - 1e-12))


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
