"""Demand sent to open sites that have only so much room: the cheapest way, and a check of it.

How a transport was found needs no trust: that every client is served in full and no site takes more
than its room is looked at with NumPy alone, and a transport that passes has the cost it says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from selvedge.plan.history import BadPlan
from selvedge.plan.placement.flows import (
    begin_flow,
    client_prices,
    close_slot,
    copy_of_flow,
    make_flow,
    restore,
)
from selvedge.plan.placement.instance import Median
from selvedge.plan.placement.neighbours import Floats

_SLACK: Final = 1e-9
"""Of a client's demand or a site's room: less is rounding."""
_FAR: Final = 1e3
"""What a unit without room costs, in the largest cost of a unit."""


@dataclass(frozen=True, slots=True)
class Transport:
    """Which client is served where: arrays of the same length."""

    client: npt.NDArray[np.intp]
    site: npt.NDArray[np.intp]
    units: Floats
    unserved: float
    """Units that find no room."""
    client_prices: Floats
    """By client: what one more unit would cost;"""
    room_prices: Floats
    """by site: what one more unit of room would save. Together a dual solution."""


def transport(unit_costs: Floats, uses: Floats, room: Floats) -> Transport:
    """The cheapest one, from costs by site and client. Units without room cost a thousand times
    what any other unit costs, so that there are as few of them as can be."""
    far = far_of(unit_costs)
    flow = make_flow(uses, len(room), far)
    begin_flow(flow, np.arange(len(room), dtype=np.int32), unit_costs, room)
    prices = np.full(len(uses), far)
    client_prices(flow, prices)
    slots = np.flatnonzero(flow.site >= 0)
    counts = flow.members[slots]
    units = [np.zeros(0), *(flow.amount[q, : flow.members[q]] for q in slots)]
    client = [np.zeros(0, np.int32), *(flow.member[q, : flow.members[q]] for q in slots)]
    site = np.repeat(flow.site[slots], counts).astype(np.intp)
    by_site = np.zeros(len(room))
    by_site[flow.site[slots]] = flow.price[slots]
    left = float(flow.amount[-1, : flow.members[-1]].sum())
    clients = np.concatenate(client).astype(np.intp)
    return Transport(clients, site, np.concatenate(units), left, prices, by_site)


def most_left(unit_costs: Floats, uses: Floats, room: Floats) -> float:
    """Units that find no room after the loss of the site whose loss leaves most."""
    flow = make_flow(uses, len(room), far_of(unit_costs))
    begin_flow(flow, np.arange(len(room), dtype=np.int32), unit_costs, room)
    kept, most = copy_of_flow(flow), 0.0
    for q in range(len(room)):
        close_slot(flow, q)
        most = max(most, float(flow.amount[-1, : flow.members[-1]].sum()))
        restore(flow, kept)
    return most


def far_of(unit_costs: Floats) -> float:
    """What a unit without room costs."""
    return _FAR * float(np.max(unit_costs, initial=1.0, where=np.isfinite(unit_costs)))


def unit_costs_of(median: Median, sites: npt.NDArray[np.intp]) -> Floats:
    """By these sites and client: what a unit of demand costs."""
    found: Floats = median.by_site[sites] / np.where(median.uses > 0, median.uses, 1.0)
    return found


def transport_of(median: Median, sites: npt.ArrayLike) -> Transport:
    """The cheapest transport to open sites; its numbers of sites are the instance's."""
    at = np.asarray(sites, np.intp)
    room = np.zeros(len(at)) if median.room is None else median.room[at]
    found = transport(unit_costs_of(median, at), median.uses, room)
    prices = np.zeros(median.sites)
    prices[at] = found.room_prices
    units = (found.client, at[found.site], found.units)
    return Transport(*units, found.unserved, found.client_prices, prices)


def cost_with_room(median: Median, sites: npt.ArrayLike) -> float:
    """What open sites cost within their room, checked; infinite where it does not suffice."""
    if median.room is None:
        return median.cost_of(np.asarray(sites, np.intp).tolist())
    found = transport_of(median, sites)
    if found.unserved > _SLACK * float(median.uses.sum()):
        return math.inf
    _check(median, found, np.asarray(sites, np.intp))
    parts = median.by_site[found.site, found.client] * (found.units / median.uses[found.client])
    opening = [] if median.prices is None else median.prices[np.asarray(sites)].tolist()
    return math.fsum([*parts.tolist(), *opening])


def _check(median: Median, found: Transport, sites: npt.NDArray[np.intp]) -> None:
    room = np.zeros(median.sites) if median.room is None else median.room
    served = np.bincount(found.client, found.units, median.clients)
    load = np.bincount(found.site, found.units, median.sites)
    if np.any(found.units < 0) or not np.all(np.isin(found.site, sites)):
        raise BadPlan("the transport serves a negative amount, or from a closed site.")
    if np.any(served < median.uses * (1 - _SLACK)):
        at = int(np.argmin(served - median.uses))
        raise BadPlan(f"client {at} is served {served[at]:g} of {median.uses[at]:g}.")
    if np.any(load > room * (1 + _SLACK)):
        at = int(np.argmax(load - room))
        raise BadPlan(f"site {at} takes {load[at]:g} and has room for {room[at]:g}.")
