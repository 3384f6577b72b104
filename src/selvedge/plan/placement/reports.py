"""The answer as it is printed, written as JSON and drawn as a page."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from selvedge.plan.placement.comparison import Choice
from selvedge.plan.placement.fronts import Point
from selvedge.plan.placement.judging import Judged
from selvedge.plan.placement.measures import Measures
from selvedge.plan.placement.neighbours import Flags
from selvedge.plan.placement.programme import Step, Tracked
from selvedge.plan.placement.question import Objective, Question
from selvedge.plan.placement.servers import room_of
from selvedge.plan.placement.staffing import Load

_FAR, _FAR_MS = 2.0, 10.0
"""Times the nearest site's round trip, and ms beyond it, from which routing is said to wander."""
EXISTING, CHOSEN, CANDIDATE = "existing", "chosen", "not chosen"


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A way to choose, beside ours."""

    name: str
    cost: float | None
    """In the objective's unit; None where some demand is not served."""
    cost_ratio: float | None
    """Over ours."""
    broken: tuple[str, ...]
    measures: Measures


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A PoP of the fleet, and what the answer makes of it."""

    pop: str
    metro: str
    country: str
    lat: float
    lon: float
    state: str
    """`existing`, `chosen`, `not chosen`, or what it is short of: `no room: power`."""
    quarter: str
    """In which a chosen one is installed; empty for others."""
    requests_per_s: float
    """That come in here at the peak hour, wherever they are served."""


class Shortage(msgspec.Struct, frozen=True, kw_only=True):
    """Open sites that are asked for more than they are planned to serve."""

    sites: int
    worst: str
    worst_load: float
    servers: int
    """More of them, at these sites, as far as there is room."""
    usd: float
    """What those would cost."""
    servers_without_room: int
    """That are needed besides, and that these sites have no room for."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The answer, with its proof and all that was assumed."""

    sites: tuple[str, ...]
    """New ones, by name."""
    objective: Objective
    unit: str
    cost: float
    bound: float
    gap: float
    proof: str
    seconds: float
    processor_seconds: float
    measures: Measures
    rtt_ms_band: tuple[float, float]
    """The mean round trip if paths are as straight, or as crooked, as they are anywhere."""
    near_ms: float
    """What counts as nearby, last mile included."""
    server: str
    servers: str
    """A number at each new site, or `auto`."""
    loads: tuple[Load, ...]
    """Every open site, the fullest first."""
    shortage: Shortage | None
    """None: every site is planned to serve what it is asked for."""
    comparison: tuple[Compared, ...]
    judged: tuple[Judged, ...]
    programme: tuple[Step, ...]
    tracked: tuple[Tracked, ...]
    front: tuple[Point, ...]
    """By number of sites."""
    front_budget: tuple[Point, ...]
    front_server: tuple[Point, ...]
    candidates: int
    existing: int
    places: tuple[Place, ...]
    assumptions: tuple[str, ...]
    findings: tuple[str, ...]
    """What was left out, a sentence each."""


def compared(one: Choice, ours: float) -> Compared:
    """A choice with its cost over ours."""
    is_served = np.isfinite(one.cost)
    return Compared(
        name=one.name,
        cost=one.cost if is_served else None,
        cost_ratio=one.cost / ours if is_served and ours > 0 else None,
        broken=one.broken,
        measures=one.measures,
    )


def shortage_of(question: Question, loads: Sequence[Load]) -> Shortage | None:
    """What the fullest sites are short of."""
    over = [one for one in loads if one.load > 1 + 1e-9]
    if not over:
        return None
    more = sum(min(one.servers_needed, one.servers_room) - one.servers for one in over)
    beyond = sum(max(0, one.servers_needed - max(one.servers_room, one.servers)) for one in over)
    return Shortage(
        sites=len(over),
        worst=over[0].pop,
        worst_load=over[0].load,
        servers=max(0, more),
        usd=max(0, more) * question.server.price_usd,
        servers_without_room=beyond,
    )


def shortage_words(found: Shortage, *, opens: int, auto: bool) -> str:
    """Loudly: how much, where, and what to do."""
    words = (
        f"Not enough servers: {found.sites} of {opens} sites are asked for more than they are"
        f" planned to serve, the worst, {found.worst}, for {found.worst_load:.1f} times as much."
    )
    if found.servers and not auto:
        words += (
            f" {found.servers:,} more servers at these sites ({found.usd:,.0f} USD) would do:"
            " --servers auto plans and pays for them, --capacity sends demand on to where there"
            " is room, --servers N installs more at every site."
        )
    if found.servers_without_room:
        words += (
            f" They have no room for {found.servers_without_room:,} servers that are needed:"
            " --capacity sends that demand on, more --sites share it, a quicker --server needs"
            " less room; a site that has GPUs keeps what it has."
        )
    return words


def routing_words(served_ms: float, nearest_ms: float) -> str:
    """Where requests travel much farther than they must, the choice of sites cannot show: what to
    do about it. Empty where they do not."""
    if served_ms < max(_FAR * nearest_ms, nearest_ms + _FAR_MS):
        return ""
    return (
        f"in the simulator requests travel {served_ms:.0f} ms to the site that serves them, though"
        f" the nearest open one is {nearest_ms:.0f} ms away: routing holds queues for dearer than"
        " distance, which hides what the choice of sites saves. It is seen with --sim-knob"
        " crowd_us=0 (no price for answers that run already), which fleets do not run with"
    )


def places_of(question: Question, is_open: Flags, steps: Sequence[Step]) -> tuple[Place, ...]:
    """Every PoP that has a place, in the order of the fleet file."""
    quarters = {pop: step.quarter for step in steps for pop in step.sites}
    rates = np.zeros(len(question.sites))
    np.add.at(rates, question.demand.ingress, question.demand.requests_per_s)
    found = []
    for at, site in enumerate(question.sites):
        state = CHOSEN if is_open[at] else CANDIDATE
        if question.existing[at]:
            state = EXISTING
        elif question.barred[at]:
            assumes = question.wishes.assumes_room
            state = f"no room: {room_of(site, question.server, assumes=assumes)[1]}"
        found.append(
            Place(
                pop=site.pop,
                metro=site.metro,
                country=site.country,
                lat=site.lat or 0.0,
                lon=site.lon or 0.0,
                state=state,
                quarter=quarters.get(site.pop, ""),
                requests_per_s=float(rates[at]),
            )
        )
    return tuple(found)
