"""A weighted p-median problem: clients, sites, what serving one from the other costs, how many.

Costs need not obey the triangle, nor be symmetric, nor finite: an infinite cost is an arc that is
forbidden. Clients of weight 0 ask nothing, and need not be reached.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from selvedge.plan.history import BadPlan
from selvedge.plan.placement.neighbours import Flags, Floats

FREE, OPEN, CLOSED = 0, 1, 2
"""What is known of a site."""
States = npt.NDArray[np.int8]
_WHOLE_MAX: Final = float(2**53)
"""Up to here sums of whole numbers are exact in floats, in whatever order."""


@dataclass(frozen=True, slots=True)
class Row:
    """A rule on the sites alone: the sum of `coefficients` over the open `sites` is at least
    `least`. What may be spent at most is written with both sides negative."""

    name: str
    """As a person would say it: `at least 2 sites in DE`."""
    sites: npt.NDArray[np.int32]
    coefficients: Floats
    least: float
    group: str = ""
    """Of many rows that are one rule (a second site for every client): the rule's name."""

    @property
    def rule(self) -> str:
        """The rule that it is, or is a part of."""
        return self.group or self.name

    def sum_over(self, is_open: Flags) -> float:
        """What open sites come to."""
        return math.fsum(self.coefficients[is_open[self.sites]])

    def holds(self, is_open: Flags) -> bool:
        """Whether they keep the rule, but for rounding."""
        slack = 1e-9 * max(1.0, float(np.abs(self.coefficients).sum()))
        return self.sum_over(is_open) >= self.least - slack


class RowTable(NamedTuple):
    """Rows as compiled code reads them, one after the other."""

    start: npt.NDArray[np.int32]
    site: npt.NDArray[np.int32]
    coefficient: Floats
    least: Floats


@dataclass(frozen=True, slots=True)
class Median:
    """Choose at most `p` of the sites so that the sum over clients of the least cost is least.

    `by_site[j, i]` is the weight of client `i` times the cost of serving it from `j`. `fixed` are
    open whatever they cost, and count among the `p`; `barred` may not be opened.
    """

    by_site: Floats
    p: int
    fixed: tuple[int, ...] = ()
    barred: tuple[int, ...] = ()
    rows: tuple[Row, ...] = ()
    uses: Floats = field(default_factory=lambda: np.zeros(0))
    """By client: its weight, which is what it takes of a site's room."""
    room: Floats | None = None
    """By site: weight that it can serve; None where that has no limit. A client may be served in
    parts by several sites."""
    prices: Floats | None = None
    """By site: what opening it adds to the cost; None for nothing."""

    @property
    def sites(self) -> int:
        """How many there are."""
        return int(self.by_site.shape[0])

    @property
    def clients(self) -> int:
        """How many ask."""
        return int(self.by_site.shape[1])

    def cost_of(self, sites: Sequence[int]) -> float:
        """The cost of these sites, exactly rounded; infinite where a client is out of reach.

        Without limits of room: with them it is `transport.cost_with_room`.
        """
        if not len(sites):
            return math.inf
        at = np.asarray(sites, np.int64)
        opening = [] if self.prices is None else self.prices[at].tolist()
        nearest = self.by_site[at].min(axis=0).tolist() if self.clients else []
        return math.fsum([*nearest, *opening])

    def whole_unit(self) -> int:
        """The largest number that divides every cost, 0 where they are not whole numbers.

        The cost of an answer is then a multiple of it, and a bound may be rounded up to one. With
        limits of room parts of costs count, and it is 0.
        """
        if self.room is not None:
            return 0
        unit = 0
        for row in self.by_site if self.prices is None else (*self.by_site, self.prices):
            finite = row[np.isfinite(row)]
            whole = finite.astype(np.int64) if np.all(np.abs(finite) < _WHOLE_MAX) else None
            if whole is None or not np.array_equal(whole, finite):
                return 0
            unit = math.gcd(unit, int(np.gcd.reduce(whole)) if whole.size else 0)
        return unit

    def row_table(self) -> RowTable:
        """The rows, each divided by its largest coefficient: a bound does not mind."""
        scale = [max(float(np.abs(row.coefficients).max(initial=0.0)), 1e-300) for row in self.rows]
        sizes = [len(row.sites) for row in self.rows]
        return RowTable(
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32),
            np.concatenate([np.zeros(0, np.int32), *(row.sites for row in self.rows)]),
            np.concatenate(
                [
                    np.zeros(0),
                    *(row.coefficients / one for row, one in zip(self.rows, scale, strict=True)),
                ]
            ),
            np.array([row.least / one for row, one in zip(self.rows, scale, strict=True)]),
        )

    def barred_flags(self) -> Flags:
        """By site: whether it may not be opened."""
        flags = np.zeros(self.sites, np.bool_)
        flags[list(self.barred)] = True
        return flags

    def known_states(self) -> States:
        """By site: what the instance itself says of it."""
        states = np.full(self.sites, FREE, np.int8)
        states[list(self.fixed)] = OPEN
        states[list(self.barred)] = CLOSED
        return states


def make_median(
    costs: Floats,
    weights: Floats,
    p: int,
    fixed: Sequence[int] | npt.NDArray[np.intp] = (),
    barred: Sequence[int] | npt.NDArray[np.intp] = (),
    *,
    rows: Sequence[Row] = (),
    room: Floats | None = None,
) -> Median:
    """A problem from costs of clients by sites, and where it has a limit the weight that each site
    has room for. Raises `BadPlan` for what cannot be solved."""
    costs, weights = np.asarray(costs, np.float64), np.asarray(weights, np.float64)
    if costs.ndim != 2 or not costs.size or weights.shape != costs.shape[:1]:
        words = f"costs of shape {costs.shape} and weights of shape {weights.shape}"
        raise BadPlan(f"{words} do not go together; give a row for each client.")
    if not np.all(np.isfinite(weights)) or np.any(weights < 0):
        at = int(np.argmin(np.isfinite(weights) & (weights >= 0)))
        raise BadPlan(f"client {at}: weight {weights[at]} is no number from 0; mend it.")
    if np.any(np.isnan(costs)) or np.any(costs < 0):
        at, to = (int(one[0]) for one in np.nonzero(~(costs >= 0)))
        raise BadPlan(f"client {at}, site {to}: cost {costs[at, to]} is no number from 0; mend it.")
    fixed, barred = [int(one) for one in fixed], [int(one) for one in barred]
    if room is not None:
        room = _checked_room(np.asarray(room, np.float64), costs.shape[1])
    if p < 1:
        raise BadPlan(f"p is {p}; at least 1 site must be open.")
    if len(set(fixed)) > p:
        raise BadPlan(f"{len(set(fixed))} sites are fixed and p is {p}; raise p.")
    both = set(fixed) & set(barred)
    if both:
        raise BadPlan(f"site {min(both)} is both fixed and barred; drop one of the two.")
    asks = np.flatnonzero(weights > 0)
    by_site = np.ascontiguousarray((costs[asks] * weights[asks, None]).T)
    uses = weights[asks]
    if not asks.size:
        asks, by_site = np.zeros(1, np.intp), np.zeros((costs.shape[1], 1))  # Nobody asks.
        uses, room = np.zeros(1), None
    found = Median(
        by_site,
        p,
        tuple(sorted(set(fixed))),
        tuple(sorted(set(barred))),
        tuple(rows),
        uses,
        room,
    )
    _check_reach(found, asks)
    return found


def _checked_room(room: Floats, sites: int) -> Floats:
    if room.shape != (sites,):
        raise BadPlan(f"room of shape {room.shape} for {sites} sites; give a number for each.")
    if not np.all(np.isfinite(room)) or np.any(room < 0):
        at = int(np.argmin(np.isfinite(room) & (room >= 0)))
        raise BadPlan(f"site {at}: room {room[at]} is no number from 0; mend it.")
    return room


def _check_reach(median: Median, asks: npt.NDArray[np.intp]) -> None:
    open_to = ~median.barred_flags()
    if not open_to.any():
        raise BadPlan("every site is barred; leave one that may be opened.")
    reached = np.isfinite(median.by_site[open_to]).any(axis=0)
    if not reached.all():
        at = int(asks[np.argmin(reached)])
        words = f"client {at} ({np.count_nonzero(~reached)} in all) reaches no site"
        raise BadPlan(f"{words} that may be opened; allow it an arc, or drop its demand.")
