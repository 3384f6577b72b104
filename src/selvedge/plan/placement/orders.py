"""What is asked on the command line, and the files that it names, as a question."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from selvedge.fabric import WanModel
from selvedge.plan.history import BadPlan, PopSite, read_sites
from selvedge.plan.placement.demand import Demand, demand_by_population, read_demand
from selvedge.plan.placement.question import Objective, Question, Wishes, make_question
from selvedge.plan.placement.round_trips import broken_triangles, model_ms, override
from selvedge.plan.placement.servers import Asked, find_server, read_servers
from selvedge.routing import PredictiveKnobs

_ANY_ROOM = 10_000
"""Servers a site, where its room alone is the limit."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The options of the command, by their names."""

    fleet: Path
    sites: int
    demand: Path | None = None
    adoption: float = 0.001
    requests_per_day: float = 10.0
    resident: tuple[str, ...] = ()
    rtt: Path | None = None
    path_inflation: float = 1.6
    last_mile_ms: float = 5.0
    prompt_tokens: int = 1000
    output_tokens: int = 250
    server: str = "l4-1u"
    servers: int | Literal["auto"] = 1
    server_table: Path | None = None
    assume_room: bool = False
    budget_usd: float | None = None
    site_usd: float = 0.0
    minimum: tuple[str, ...] = ()
    survive_ms: float | None = None
    survive_share: float = 0.9
    capacity: bool = False
    survive_capacity: bool = False
    objective: Objective = "ttft"
    near_ms: float = 20.0
    front: str | None = None
    front_budget: str | None = None
    front_server: str | None = None
    per_quarter: int = 20
    start: str = "2027Q1"
    actual: Path | None = None
    planned: Path | None = None
    sim: bool = True
    sim_seeds: int | None = None
    sim_slo_ms: float = 1000.0
    sim_knob: tuple[str, ...] = ()
    seconds: float = 60.0
    gap: float = 0.0001
    certificate: Path | None = None
    html: Path | None = None
    as_json: bool = False


def read_fleet(order: Order, findings: list[str]) -> list[PopSite]:
    """The PoPs that have a place. Raises `BadPlan`."""
    sites, faults = read_sites(order.fleet)
    placed = [site for site in sites if site.lat is not None]
    if len(placed) < len(sites):
        findings.append(
            f"{len(sites) - len(placed)} PoPs have no place (lat, lon) and are left out"
        )
    if not placed:
        raise BadPlan(f"{order.fleet}: no PoP has lat and lon; fill them in.")
    if faults:
        words = f"{faults[0].pop}: {faults[0].detail}"
        findings.append(f"{len(faults)} rows of the fleet file have a fault; the first, {words}")
    return placed


def read_question(order: Order, sites: Sequence[PopSite], findings: list[str]) -> Question:
    """Demand, round trips, servers and rules. Raises `BadPlan`."""
    _check_auto(order)
    if not 1 <= order.path_inflation < np.inf:
        raise BadPlan("--path-inflation is at least 1: no path is shorter than straight.")
    demand = _demand(order, sites, findings)
    trips = model_ms(sites, WanModel(path_inflation=order.path_inflation))
    if order.rtt is not None:
        measured = override(trips, sites, order.rtt)
        broken = broken_triangles(trips)
        findings.append(
            f"{measured.pairs} measured pairs (median {measured.ratio_median:.2f} of the model;"
            f" {measured.unknown} name no PoP of the fleet); {broken:.2%} of triples break the"
            " triangle's rule: costs are no metric, which changes nothing in the proof"
        )
    wishes = Wishes(
        sites=order.sites,
        objective=order.objective,
        near_ms=order.near_ms,
        last_mile_ms=order.last_mile_ms,
        servers=_servers(order),
        budget_usd=order.budget_usd,
        site_usd=order.site_usd,
        minimums=tuple(_pair("--minimum", one) for one in order.minimum),
        survive_ms=order.survive_ms,
        survive_share=order.survive_share,
        capacity=order.capacity,
        survive_capacity=order.survive_capacity,
        assumes_room=order.assume_room,
        asked=Asked(prompt_tokens=order.prompt_tokens, output_tokens=order.output_tokens),
    )
    server = find_server(order.server, read_servers(order.server_table))
    return make_question(sites, demand, trips, server, wishes)


def _servers(order: Order) -> int:
    """At each new site while it is chosen; `auto` gives it what it needs afterwards."""
    if order.servers != "auto":
        return order.servers
    return _ANY_ROOM if order.capacity else 1


def _check_auto(order: Order) -> None:
    """`auto` knows the price of a site only once the sites are chosen."""
    if order.servers != "auto":
        return
    against = {
        "--objective cost": order.objective == "cost",
        "--capacity with --budget-usd": order.capacity and order.budget_usd is not None,
        "--capacity with --front-budget": order.capacity and order.front_budget is not None,
        "--survive-capacity": order.survive_capacity,
        "--capacity with --survive-ms": order.capacity and order.survive_ms is not None,
    }
    for words, is_asked in against.items():
        if is_asked:
            raise BadPlan(
                f"--servers auto cannot be had with {words}: what a site needs is known only when"
                " the sites are. Give a number of servers (--servers 4)."
            )


def read_knobs(texts: Sequence[str]) -> dict[str, float]:
    """`crowd_us=0` as a knob of the routing policy. Raises `BadPlan`, naming those there are."""
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        known = PredictiveKnobs.__struct_fields__
        if name not in known:
            raise BadPlan(
                f"--sim-knob {text!r}: routing has no {name!r}; it has {', '.join(known)}."
            )
        try:
            found[name] = float(value)
        except ValueError:
            raise BadPlan(f"--sim-knob {text!r}: give a number, as crowd_us=0.") from None
    return found


def _demand(order: Order, sites: Sequence[PopSite], findings: list[str]) -> Demand:
    if order.demand is not None:
        demand, unknown = read_demand(order.demand, sites)
        if unknown > 0:
            findings.append(f"{unknown:,.1f} requests/s enter at PoPs that the fleet does not name")
        return demand
    resident = []
    for one in order.resident:
        zone, _, share = one.partition("=")
        resident.append((zone, _share("--resident", one, share)))
    none = sum(1 for site in sites if not site.population)
    if none:
        findings.append(f"{none} PoPs have no population: nobody asks there")
    return demand_by_population(
        sites,
        adoption=order.adoption,
        requests_per_day=order.requests_per_day,
        resident=resident,
    )


def _share(option: str, text: str, share: str) -> float:
    try:
        found = float(share)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise BadPlan(f"{option} {text!r}: give a share from 0 to 1, as DE=0.3.")
    return found


def _pair(option: str, text: str) -> tuple[str, int]:
    place, _, count = text.partition("=")
    if not count.isdigit():
        raise BadPlan(f"{option} {text!r}: give a number of sites, as DE=2.")
    return place, int(count)
