"""How many servers a site needs for the demand that is sent to it, and engines shared out by load.

A median sends everybody to the nearest site and asks for no room. What that comes to is reckoned
here: the servers that each open site would need at the planned utilisation, beside those it has and
those it has room for.
"""

from __future__ import annotations

import heapq
from dataclasses import replace
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from selvedge.plan.placement.measures import send
from selvedge.plan.placement.neighbours import Flags, Floats
from selvedge.plan.placement.question import Question, costs_of
from selvedge.plan.placement.servers import requests_per_s, room_of

Counts = npt.NDArray[np.int64]
_ROOM_MAX: Final = 10_000


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """An open site and what it is asked for, at the peak hour."""

    pop: str
    is_new: bool
    requests_per_s: float
    servers: int
    """That it has, or gets."""
    servers_needed: int
    """At the planned utilisation; 1 at least."""
    servers_room: int
    """That it has room for; of an existing site, what it has."""
    load: float
    """Demand over what it is planned to serve; above 1 it overflows."""


def loads(question: Question, is_open: Flags) -> list[Load]:
    """The open sites, the fullest first."""
    rates = rates_at(question, is_open)
    needed, room = _needed(question, rates), room_at(question)
    share = rates / np.maximum(question.capacity, 1e-12)
    order = sorted(np.flatnonzero(is_open).tolist(), key=lambda at: (-share[at], at))
    return [
        Load(
            pop=question.sites[at].pop,
            is_new=not question.existing[at],
            requests_per_s=float(rates[at]),
            servers=int(question.counts[at]),
            servers_needed=int(needed[at]),
            servers_room=int(room[at]),
            load=float(share[at]),
        )
        for at in order
    ]


def rates_at(question: Question, is_open: Flags) -> Floats:
    """By site: requests per second sent to it. With `--capacity` as the transport sends them,
    without it to the nearest."""
    sites = np.flatnonzero(is_open)
    found = np.zeros(len(question.sites))
    if question.counts_room:
        sent = send(question, sites)
        np.add.at(found, sites[sent.site], sent.units)
        return found
    costs = costs_of(question)[:, sites]
    if question.wishes.objective == "near":
        costs = question.trips_ms[:, sites]
    served = np.isfinite(costs).any(axis=1)
    nearest = sites[np.argmin(costs[served], axis=1)]
    np.add.at(found, nearest, question.demand.requests_per_s[served])
    return found


def room_at(question: Question) -> Counts:
    """By site: servers it has room for; an existing one keeps what it has."""
    assumes = question.wishes.assumes_room
    room = [room_of(site, question.server, assumes=assumes)[0] for site in question.sites]
    found: Counts = np.where(question.existing, question.counts, np.minimum(room, _ROOM_MAX))
    return found


def staffed(question: Question, is_open: Flags) -> Question:
    """The same question, each new site of a choice with the servers its demand needs, as far as
    there is room. Demand that overflows stays where it is, and shows in its load."""
    needed = _needed(question, rates_at(question, is_open))
    new = is_open & ~question.existing
    counts = np.where(new, np.minimum(needed, room_at(question)), question.counts)
    return replace(question, counts=np.asarray(counts, np.int64))


def _needed(question: Question, rates: Floats) -> Counts:
    each = requests_per_s(question.server, question.wishes.asked)
    found: Counts = np.maximum(1, np.ceil(rates / each - 1e-9)).astype(np.int64)
    return found


def share_out(load: Floats, engines: int) -> Counts:
    """Engines among sites: one each, and each further one to the site with the most load per engine
    it has, so that the fullest is as little full as can be (Jefferson's method of divisors)."""
    counts: Counts = np.ones(len(load), np.int64)
    heap = [(-float(one), at) for at, one in enumerate(load)]
    heapq.heapify(heap)
    for _ in range(max(0, engines - len(load))):
        _, at = heapq.heappop(heap)
        counts[at] += 1
        heapq.heappush(heap, (-float(load[at]) / int(counts[at]), at))
    return counts
