"""A retrofit as asked, and as a p-median: which sites may get a server, who asks, what counts.

Sites with GPUs are there already: they stay open and cost nothing more. Others are candidates if
the server fits; whatever keeps a site out is counted by its reason. A server stands or falls whole:
each new site gets as many as asked for, or as it has room for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from selvedge.plan.demand_zones import WORLD
from selvedge.plan.history import BadPlan, PopSite
from selvedge.plan.placement.demand import Demand, zone_flags
from selvedge.plan.placement.instance import Median, Row, make_median
from selvedge.plan.placement.neighbours import Flags, Floats
from selvedge.plan.placement.rules import (
    alone,
    budget_row,
    capacity_row,
    loss_rows,
    minimum_row,
    second_site_rows,
)
from selvedge.plan.placement.servers import (
    Asked,
    Server,
    requests_per_s,
    room_of,
    service_ms,
    usd_per_year,
)

Objective = Literal["ttft", "near", "cost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What is asked for."""

    sites: int
    """New ones, at most."""
    objective: Objective = "ttft"
    near_ms: float = 20.0
    """From the user, last mile included."""
    last_mile_ms: float = 5.0
    """Between users and their ingress, on average; the same whatever is opened."""
    servers: int = 1
    """At each new site, where there is room."""
    budget_usd: float | None = None
    site_usd: float = 0.0
    """What a new site costs beside its servers."""
    minimums: tuple[tuple[str, int], ...] = ()
    """Places, as zones are written, with the number of open sites each must have."""
    survive_ms: float | None = None
    """Two sites within this round trip, for the ingresses with `survive_share` of demand."""
    survive_share: float = 0.9
    capacity: bool = False
    """Whether each open site may serve only what it has room for."""
    survive_capacity: bool = False
    """Whether, after the loss of any one site, the others must have room for all demand of the
    world, and of each zone. Implies `capacity`, and is implied by it beside `survive_ms`."""
    assumes_room: bool = False
    years: float = 4.0
    usd_per_kwh: float = 0.12
    asked: Asked = field(default_factory=Asked)


@dataclass(frozen=True, slots=True)
class Question:
    """Sites, demand and round trips brought together. Rows of demand that no candidate may serve
    are left out, and named."""

    sites: Sequence[PopSite]
    demand: Demand
    trips_ms: Floats
    """By row of demand and site; infinite where residency forbids it."""
    server: Server
    wishes: Wishes
    counts: npt.NDArray[np.int64]
    """By site: servers that it would have or, where it exists, has (by its GPUs)."""
    existing: Flags
    barred: Flags
    kept_out: tuple[tuple[str, int], ...]
    unservable: tuple[tuple[str, float], ...]
    """Zones without a candidate, and the requests per second that stay unserved."""
    unprotected: tuple[str, ...] = ()
    """Ingresses that cannot have two sites within `survive_ms`, whatever is opened."""

    @property
    def prices_usd(self) -> Floats:
        """By site: what opening it costs."""
        each = self.counts * self.server.price_usd + self.wishes.site_usd
        each[self.existing] = 0.0
        return np.asarray(each, np.float64)

    @property
    def usd_per_year(self) -> Floats:
        """By site: what its servers cost in a year, existing ones for their power alone."""
        wishes = self.wishes
        power = usd_per_year(self.server, years=np.inf, usd_per_kwh=wishes.usd_per_kwh)
        found: Floats = self.counts * power + self.prices_usd / wishes.years
        return found

    @property
    def capacity(self) -> Floats:
        """By site: requests per second that it is planned to serve, open or not."""
        each = requests_per_s(self.server, self.wishes.asked)
        return self.counts.astype(np.float64) * each

    @property
    def counts_room(self) -> bool:
        """Whether sites serve only what they have room for."""
        return self.wishes.capacity or self.wishes.survive_capacity

    @property
    def outlasts_loss(self) -> bool:
        """Whether there must be room after the loss of any one site."""
        wishes = self.wishes
        return wishes.survive_capacity or (wishes.capacity and wishes.survive_ms is not None)

    @property
    def service_ms(self) -> float:
        """From a request's arrival at an idle engine to its first token."""
        return service_ms(self.server, self.wishes.asked)

    @property
    def zones(self) -> tuple[str, ...]:
        """Of the demand, each once."""
        return tuple(dict.fromkeys(self.demand.zones))


def make_question(
    sites: Sequence[PopSite], demand: Demand, pairs_ms: Floats, server: Server, wishes: Wishes
) -> Question:
    """Bring it together. `pairs_ms` is by site and site. Raises `BadPlan`."""
    if wishes.sites < 0 or wishes.servers < 1:
        raise BadPlan("--sites is at least 0 and --servers at least 1; raise them.")
    existing = np.array([site.gpus > 0 for site in sites])
    room = [room_of(site, server, assumes=wishes.assumes_room) for site in sites]
    counts = np.array([min(wishes.servers, count) for count, _ in room])
    held = [max(1, round(site.gpus / server.gpus)) for site in sites]
    counts = np.where(existing, held, counts)
    out = Counter(
        short
        for (count, short), is_there in zip(room, existing, strict=True)
        if count < 1 and not is_there
    )
    barred = (counts < 1) & ~existing
    if barred.all():
        words = ", ".join(f"{count} short of {name}" for name, count in out.most_common())
        raise BadPlan(
            f"no site has room for a server ({words}); name a smaller one (--server), mend the"
            " fleet file, or pass --assume-room where limits are not known."
        )
    trips = pairs_ms[demand.ingress]
    for zone in dict.fromkeys(demand.zones):
        if zone != WORLD:
            rows = np.array([one == zone for one in demand.zones])
            trips[np.ix_(rows, ~zone_flags(zone, sites))] = np.inf
    served: Flags = np.asarray(np.isfinite(trips[:, ~barred]).any(axis=1))
    lost: dict[str, float] = {}
    for at in np.flatnonzero(~served):
        zone = demand.zones[at]
        lost[zone] = lost.get(zone, 0.0) + float(demand.requests_per_s[at])
    if not served.any():
        raise BadPlan("residency leaves no candidate for any demand; open sites in its zones.")
    demand = _only(demand, served)
    return _with_protection(
        Question(
            sites=sites,
            demand=demand,
            trips_ms=np.ascontiguousarray(trips[served]),
            server=server,
            wishes=wishes,
            counts=counts,
            existing=existing,
            barred=barred,
            kept_out=tuple(out.most_common()),
            unservable=tuple(sorted(lost.items())),
        )
    )


def _only(demand: Demand, rows: Flags) -> Demand:
    kept = np.flatnonzero(rows)
    zones = tuple(demand.zones[at] for at in kept)
    return Demand(demand.ingress[kept], zones, demand.requests_per_s[kept])


def _with_protection(question: Question) -> Question:
    limit = question.wishes.survive_ms
    if limit is None:
        return question
    rows = _busiest_rows(question)
    lone = rows[alone(question.trips_ms[np.ix_(rows, ~question.barred)], limit)]
    names = [question.sites[question.demand.ingress[at]].pop for at in lone]
    return replace(question, unprotected=tuple(dict.fromkeys(names)))


def _busiest_rows(question: Question) -> npt.NDArray[np.intp]:
    """The fewest rows of demand that hold the share that must survive."""
    rates = question.demand.requests_per_s
    order = np.argsort(-rates, kind="stable")
    held = np.cumsum(rates[order])
    count = int(np.searchsorted(held, question.wishes.survive_share * held[-1] * (1 - 1e-12))) + 1
    return np.sort(order[:count])


def rows_of(question: Question) -> tuple[Row, ...]:
    """The rules of a question. Raises `BadPlan` for one that no choice at all can keep."""
    wishes, sites = question.wishes, question.sites
    openable = ~question.barred
    rows = []
    if wishes.budget_usd is not None:
        rows.append(budget_row(question.prices_usd, wishes.budget_usd))
    for place, least in wishes.minimums:
        rows.append(minimum_row(place, zone_flags(place, sites, "--minimum") & openable, least))
    if question.counts_room:
        rows += _room_rows(question, openable)
    if wishes.survive_ms is not None:
        rows += _second_rows(question, openable)
    return tuple(rows)


def _room_rows(question: Question, openable: Flags) -> Iterator[Row]:
    """Room for each zone's demand and that of zones within it, and for the world's."""
    zones = {zone: _allowed(question, zone) & openable for zone in question.zones if zone != WORLD}
    rates = question.demand.requests_per_s
    own = {zone: np.array([one == zone for one in question.demand.zones]) for zone in zones}
    places = [("the world", openable, question.demand.total)]
    for zone, inside in zones.items():
        within = [one for one, other in zones.items() if not np.any(other & ~inside)]
        places.append((zone, inside, float(sum(rates[own[one]].sum() for one in within))))
    for name, inside, asked in places:
        yield capacity_row(name, inside, question.capacity, asked)
        if question.outlasts_loss:
            yield from loss_rows(name, (inside, question.existing), question.capacity, asked)


def _allowed(question: Question, zone: str) -> Flags:
    at = question.demand.zones.index(zone)
    return np.asarray(np.isfinite(question.trips_ms[at]))


def _second_rows(question: Question, openable: Flags) -> list[Row]:
    limit = question.wishes.survive_ms or 0.0
    lone = set(question.unprotected)
    ingress = question.demand.ingress
    kept = [at for at in _busiest_rows(question) if question.sites[ingress[at]].pop not in lone]
    trips = np.where(openable, question.trips_ms[kept], np.inf)
    return list(second_site_rows(trips, limit, lambda at: question.sites[ingress[kept[at]]].pop))


def costs_of(question: Question) -> Floats:
    """By row of demand and site, by the objective: the round trip, or whether it is too long.

    What is the same for all sites (the last mile, the engine) is left out: it would only make a
    gap look smaller.
    """
    trips = question.trips_ms
    if question.wishes.objective == "near":
        limit = question.wishes.near_ms - question.wishes.last_mile_ms
        far = (trips > limit).astype(np.float64)
        return np.where(np.isfinite(trips), far, np.inf)
    return trips


def median_of(
    question: Question, new: int, *, fixed: Sequence[int] = (), barred: Sequence[int] = ()
) -> Median:
    """The p-median of a question with so many new sites, under its rules."""
    there = [int(one) for one in np.flatnonzero(question.existing)]
    opens = sorted({*there, *fixed})
    shut = sorted({*(int(one) for one in np.flatnonzero(question.barred)), *barred} - set(opens))
    if new + len(there) < 1:
        raise BadPlan("--sites is 0 and no site has GPUs yet; ask for at least 1.")
    return make_median(
        costs_of(question),
        question.demand.requests_per_s,
        max(new + len(there), len(opens)),
        opens,
        shut,
        rows=rows_of(question),
        room=question.capacity if question.counts_room else None,
    )
