"""What a choice of sites comes to, beside the objective that chose it."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from selvedge.plan.placement.neighbours import Flags, Floats
from selvedge.plan.placement.question import Question, costs_of
from selvedge.plan.placement.transport import Transport, most_left, transport

_YEAR_S = 365 * 86_400.0


class Measures(msgspec.Struct, frozen=True, kw_only=True):
    """Times are weighted by requests. Every row of demand goes to its nearest allowed site; where
    capacity counts, to the sites of the cheapest transport, in parts if need be.

    Demand that no open site may serve, or has room for, counts in `unserved_share` and nowhere
    else. After a loss demand goes to the nearest site that is left, whatever room that has.
    """

    sites: int
    new_sites: int
    ttft_ms_mean: float
    """Round trip from the user, last mile included, and an idle engine's time for the prompt."""
    rtt_ms_mean: float
    rtt_ms_p95: float
    unserved_share: float
    near_share: float
    """Of demand, the share within the near limit."""
    usd: float
    """What the new sites cost."""
    usd_per_year: float
    usd_per_mtoken: float
    """Of a year's cost, by million tokens written at the mean demand (half the peak)."""
    busiest_load: float
    """Demand at the busiest site over what it is planned to serve; above 1 it overflows."""
    capacity_share: float
    """All demand over all planned capacity."""
    backup_ms_mean: float
    """Round trip to the second nearest allowed site; a client without one is left out."""
    backup_none_share: float
    """Of demand, the share that has no second allowed site."""
    worst_loss: str
    """The site whose loss lengthens the mean the most."""
    worst_loss_ms: float
    """By how much, over demand that still has a site."""
    worst_loss_overload: float
    """After the loss of any one site, the largest load of another; above 1 it overflows."""
    worst_loss_unserved: float = 0.0
    """Share of demand that has no room after the worst loss, however it is moved between the sites
    that may serve it; 0 where the loss of a site need not be survived with room."""


def measure(question: Question, is_open: Flags) -> Measures:
    """All of it, for a choice with one site at least."""
    sites = np.flatnonzero(is_open)
    rows, first, weights = _parts(question, sites)
    trips = question.trips_ms[rows][:, sites] + question.wishes.last_mile_ms
    total = question.demand.total
    second, near, backup = _nearest(trips, first)
    load = np.bincount(first, weights, len(sites))
    room = question.capacity[sites]
    new = is_open & ~question.existing
    yearly = float(question.usd_per_year[is_open].sum())
    tokens = weights.sum() / 2 * _YEAR_S * question.wishes.asked.output_tokens / 1e6
    has_backup = np.isfinite(backup)
    loss = _losses((first, second), (near, backup), weights, (np.asarray(load, np.float64), room))
    worst = int(np.argmax(loss[0]))
    return Measures(
        sites=len(sites),
        new_sites=int(new.sum()),
        ttft_ms_mean=_mean(near, weights) + question.service_ms,
        rtt_ms_mean=_mean(near, weights),
        rtt_ms_p95=_quantile(near, weights, 0.95),
        unserved_share=1.0 - float(weights.sum()) / total,
        near_share=float(weights[near <= question.wishes.near_ms].sum()) / total,
        usd=float(question.prices_usd[new].sum()),
        usd_per_year=yearly,
        usd_per_mtoken=float(yearly / tokens) if tokens > 0 else 0.0,
        busiest_load=float((load / room).max()),
        capacity_share=float(weights.sum() / room.sum()),
        backup_ms_mean=_mean(backup[has_backup], weights[has_backup]),
        backup_none_share=float(weights[~has_backup].sum()) / total,
        worst_loss=question.sites[sites[worst]].pop,
        worst_loss_ms=float(loss[0][worst]),
        worst_loss_overload=float(loss[1].max()),
        worst_loss_unserved=_worst_loss(question, sites) if question.outlasts_loss else 0.0,
    )


def send(question: Question, sites: npt.NDArray[np.intp]) -> Transport:
    """The cheapest transport of all demand to open sites within their room; its numbers of sites
    are places among these."""
    costs = costs_of(question)[:, sites].T
    return transport(costs, question.demand.requests_per_s, question.capacity[sites])


def mean_cost(question: Question, sites: npt.NDArray[np.intp]) -> float:
    """The mean cost of open sites, in the objective's unit: to the nearest or, where capacity
    counts, by the cheapest transport. Infinite where some demand is not served."""
    costs, rates = costs_of(question)[:, sites], question.demand.requests_per_s
    if not question.counts_room:
        nearest = costs.min(axis=1)
        return float(np.average(nearest, weights=rates)) if np.isfinite(nearest).all() else np.inf
    found, total = send(question, sites), question.demand.total
    if found.unserved > 1e-9 * total:
        return np.inf
    return float(costs[found.client, found.site] @ found.units) / total


def _worst_loss(question: Question, sites: npt.NDArray[np.intp]) -> float:
    costs = np.ascontiguousarray(costs_of(question)[:, sites].T)
    room = question.capacity[sites]
    left = most_left(costs, question.demand.requests_per_s, room)
    return left / question.demand.total


def _parts(
    question: Question, sites: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Floats]:
    """Rows of demand, or parts of them, with the place of the site that serves them."""
    weights = question.demand.requests_per_s
    if question.counts_room:
        found = send(question, sites)
        return found.client, found.site, found.units
    trips = question.trips_ms[:, sites]
    served = np.flatnonzero(np.isfinite(trips).any(axis=1))
    return served, np.argmin(trips[served], axis=1), weights[served]


def _nearest(
    trips: Floats, first: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.intp], Floats, Floats]:
    """The nearest site beside the one that serves; the times of both."""
    rows = np.arange(len(trips))
    near = np.asarray(trips[rows, first])
    rest = trips.copy()
    rest[rows, first] = np.inf
    second = np.argmin(rest, axis=1)
    return second, near, np.asarray(rest[rows, second])


def _losses(
    nearest: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]],
    times: tuple[Floats, Floats],
    weights: Floats,
    loads: tuple[Floats, Floats],
) -> tuple[Floats, Floats]:
    """By site that is lost: milliseconds that the mean grows by, and the largest load elsewhere."""
    (first, second), (near, backup), (load, room) = nearest, times, loads
    moves = np.isfinite(backup)
    longer = np.where(moves, weights * (np.where(moves, backup, 0.0) - near), 0.0)
    grows = np.bincount(first, longer, len(load)) / weights.sum()
    overload = np.zeros(len(load))
    for site in range(len(load)):
        own = (first == site) & moves
        more = load + np.bincount(second[own], weights[own], len(load))
        share = more / room
        share[site] = 0.0
        overload[site] = share.max()
    return grows, overload


def _mean(values: Floats, weights: Floats) -> float:
    return float(np.average(values, weights=weights)) if weights.sum() > 0 else 0.0


def _quantile(values: Floats, weights: Floats, share: float) -> float:
    order = np.argsort(values, kind="stable")
    held = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(held, share * held[-1])]])
