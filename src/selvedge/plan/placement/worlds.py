"""A choice of sites as a world of the simulator: the same people, its engines, one tenant a zone.

Engines are as many for every choice and stand where its load is (`staffing.share_out`). What is not
as asked: tenants of a zone ask everywhere in it in proportion to all demand of each ingress, and
demand is scaled to what the engines are planned to serve. A request stands alone, as the planned
rate has it: half of a prompt is shared by many, nothing else is found in an engine's memory.
"""

from __future__ import annotations

import importlib.resources
import zoneinfo
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec
import numpy as np

from selvedge.plan.demand_zones import WORLD
from selvedge.plan.placement.demand import zone_flags
from selvedge.plan.placement.neighbours import Flags
from selvedge.plan.placement.question import Question
from selvedge.plan.placement.servers import requests_per_s, residence_s
from selvedge.plan.placement.staffing import rates_at, share_out
from selvedge.sim import HARDWARE, Description, Site, check, check_policies, read_cities

_DAY: Final = datetime(2026, 7, 1)
_POLICY: Final = "predictive"
_MANY: Final = 10_000
"""People of an ingress with the least demand that counts."""
_ZONES_MAX: Final = 8
_REQUESTS: Final = 2_000
"""That are measured in a run, where its window allows."""
_MEASURED_S: Final = (1.5, 30.0)
_BURST_CV: Final = 0.2
"""Of a region's demand, drawn every 20 s. Scenarios have 0.5; many people vary less."""
_SETTLED: Final = 1.1
"""Times as long as a request stays: by then engines are as full as they get."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """How choices are judged."""

    engines_per_site: float = 1.5
    load: float = 0.6
    """Of the most that these engines can serve: as full as servers are planned to be."""
    slo_ms: float = 1000.0
    goodput: float = 0.95
    """Share of requests that must keep the objective for GPUs to be enough."""
    warmup_s: float | None = None
    """None: until engines are as full as they get."""
    measured_s: float | None = None
    """None: some 2,000 requests, 1.5 to 30 s."""
    seeds: int | None = None
    """Runs of each choice; None: as many as take some two minutes on two cores, 3 to 10."""
    workers: int = 1
    knobs: Mapping[str, float] = {}
    """Of routing, in place of its own."""


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same for every choice: demand, window, and where there are people or engines."""

    rate: float
    """Requests per second."""
    engines: int
    warmup_s: float
    measured_s: float
    places: frozenset[int]
    """Sites that are in no choice and have next to no demand are left out of the world."""


def set_stage(question: Question, choices: list[Flags], trial: Trial) -> Stage:
    """By the choice with the most sites."""
    sites = max(int(is_open.sum()) for is_open in choices)
    engines = max(sites, round(trial.engines_per_site * sites))
    rate = trial.load * engines * _rate_of_engine(question)
    low, high = _MEASURED_S
    window = min(high, max(low, _REQUESTS / rate))
    settled = 2.0 + _SETTLED * residence_s(question.server, question.wishes.asked)
    any_open = np.logical_or.reduce(choices)
    return Stage(
        rate=rate,
        engines=engines,
        warmup_s=settled if trial.warmup_s is None else trial.warmup_s,
        measured_s=window if trial.measured_s is None else trial.measured_s,
        places=frozenset(int(one) for one in np.flatnonzero(any_open)),
    )


def _rate_of_engine(question: Question) -> float:
    wishes, server = question.wishes, question.server
    return requests_per_s(server, wishes.asked) / server.engines / wishes.asked.utilisation


def describe(
    question: Question, is_open: Flags, engines: int, stage: Stage, trial: Trial
) -> Description:
    """The world of a choice with so many engines; one for each site at least."""
    asked, server = question.wishes.asked, question.server
    shared = asked.prompt_tokens // 2
    prompts = {
        "system_tokens": max(1, shared),
        "turn_tokens": max(1, asked.prompt_tokens - shared),
        "output_tokens": asked.output_tokens,
        "output_tokens_max": 4 * asked.output_tokens,
        "turns": 1.0,
    }
    zones, tenants = _tenants(question, prompts)
    sites = np.flatnonzero(is_open)
    counts = share_out(rates_at(question, is_open)[sites], engines)
    at = {int(site): int(count) for site, count in zip(sites, counts, strict=True)}
    whole = {
        "scenario": "retrofit",
        "about": "a choice of sites, judged",
        "fleet": {"sites": _places(question, at, stage.places), "jitter_ms": 1.0},
        "hardware": {"model": HARDWARE[server.preset].model, "preset": server.preset},
        "zones": zones,
        "tenants": tenants,
        "traffic": {
            "knee_requests_per_s": stage.rate,
            "load": 1.0,
            "burst_cv": _BURST_CV,
            "deadline_s": 120.0,
        },
        "window": {"warmup_s": stage.warmup_s, "measured_s": stage.measured_s},
        "slo": {"ttft_ms": trial.slo_ms, "goodput": trial.goodput},
        "knobs": {_POLICY: dict(trial.knobs)},
    }
    found = msgspec.convert(whole, Description)
    check(found)
    check_policies(found)
    return found


def _tenants(
    question: Question, prompts: Mapping[str, float]
) -> tuple[dict[str, object], dict[str, object]]:
    rates: dict[str, float] = {}
    for zone, rate in zip(question.demand.zones, question.demand.requests_per_s, strict=True):
        rates[zone] = rates.get(zone, 0.0) + float(rate)
    kept = sorted(rates, key=lambda zone: -rates[zone])[:_ZONES_MAX]
    zones: dict[str, object] = {}
    tenants: dict[str, object] = {}
    for number, zone in enumerate(kept):
        inside = zone_flags(zone, question.sites)
        pairs = zip(question.sites, inside, strict=True)
        countries = tuple(sorted({site.country for site, is_in in pairs if is_in}))
        zones[f"zone{number}"] = {"countries": countries}
        tenants[f"tenant{number}"] = {
            "zone": f"zone{number}",
            "share": rates[zone],
            "ingress": "transit-allowed" if zone == WORLD else "in-zone",
            "prompts": prompts,
        }
    return zones, tenants


def _places(
    question: Question, engines: Mapping[int, int], kept: frozenset[int]
) -> dict[str, Site]:
    rates = np.zeros(len(question.sites))
    np.add.at(rates, question.demand.ingress, question.demand.requests_per_s)
    scale = _MANY / max(float(rates[rates > 0].min()), float(rates.max()) / 1e5)
    region_of = _regions()
    found = {}
    for number, site in enumerate(question.sites):
        people = max(1, round(float(rates[number]) * scale))
        if people == 1 and number not in kept:
            continue
        found[site.pop] = Site(
            city=site.metro or site.pop,
            country=site.country,
            latitude=site.lat or 0.0,
            longitude=site.lon or 0.0,
            region=region_of.get(site.country, "europe"),
            population=min(people, 10**9),
            utc_minutes=_minutes(site.timezone),
            engines=min(engines.get(number, 0), 1000),
        )
    return found


def _regions() -> dict[str, str]:
    table = importlib.resources.files("selvedge.sim") / "scenarios" / "cities.csv"
    return {site.country: site.region for _, site in read_cities(table.read_text("utf-8"))}


def _minutes(timezone: str) -> int:
    if not timezone:
        return 0
    offset = _DAY.replace(tzinfo=zoneinfo.ZoneInfo(timezone)).utcoffset()
    return int(offset.total_seconds() // 60) if offset is not None else 0
