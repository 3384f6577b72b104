"""A choice of sites judged by the simulator: queues, batches and routing, which a median ignores.

The fleet of the question is built as a world of `sim`, with the same number of engines for every
choice, spread over its sites in proportion to the demand that is nearest to each. The same clients
ask with the same seed. What is compared is the time to first token, and the fewest GPUs with which
the objective is kept.

Not as asked: tenants of a zone ask everywhere in it in proportion to all demand of each ingress,
and demand is scaled to what the engines are planned to serve at `load`.
"""

from __future__ import annotations

import importlib.resources
import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec
import numpy as np

from selvedge.plan.placement.demand import WORLD, zone_flags
from selvedge.plan.placement.neighbours import Flags
from selvedge.plan.placement.question import Question, costs_of
from selvedge.plan.placement.servers import requests_per_s
from selvedge.sim import (
    HARDWARE,
    Atlas,
    Course,
    Description,
    Site,
    Summary,
    build,
    check,
    read_cities,
    run,
)

_DAY: Final = datetime(2026, 7, 1)
_MANY: Final = 10_000
"""People of an ingress with the least demand that counts."""
_STEPS: Final = (1.0, 1.2, 1.5, 1.8, 2.4)
_ZONES_MAX: Final = 8


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """How it is judged."""

    engines_per_site: float = 1.5
    load: float = 0.7
    """Of what these engines are planned to serve."""
    slo_ms: float = 1000.0
    warmup_s: float = 8.0
    measured_s: float = 16.0
    seed: int = 1


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What the simulator says of a choice."""

    name: str
    engines: int
    requests: int
    ttft_ms_p50: float
    ttft_ms_p95: float
    ttft_ms_mean: float
    goodput: float
    """Share with its first token within the objective and a whole answer."""
    gpus_needed: int
    """The fewest GPUs of those tried with which 95 of 100 requests kept it; 0: none did."""


def judge(
    question: Question,
    choices: Sequence[tuple[str, Flags]],
    trial: Trial,
    tell: Callable[[str], None],
) -> list[Judged]:
    """Every choice with the same engines and the same clients."""
    sites = max(int(is_open.sum()) for _, is_open in choices)
    rate = trial.load * trial.engines_per_site * sites * _rate_of_engine(question)
    found: dict[bytes, Judged] = {}
    for name, is_open in choices:
        key = is_open.tobytes()
        if key not in found:
            found[key] = _judge(question, (name, is_open), trial, (sites, rate, tell))
    return [
        msgspec.structs.replace(found[is_open.tobytes()], name=name) for name, is_open in choices
    ]


def _rate_of_engine(question: Question) -> float:
    wishes, server = question.wishes, question.server
    return requests_per_s(server, wishes.asked) / server.engines / wishes.asked.utilisation


def _judge(
    question: Question,
    choice: tuple[str, Flags],
    trial: Trial,
    at: tuple[int, float, Callable[[str], None]],
) -> Judged:
    name, is_open = choice
    sites, rate, tell = at
    known: dict[int, Summary] = {}

    def played(engines: int) -> Summary:
        if engines not in known:
            tell(f"{name}, {engines} engines")
            description = _description(question, is_open, engines, (trial, rate))
            atlas = Atlas(build(description, []))
            known[engines] = run(Course(atlas, [], description.policy, trial.seed)).summary
        return known[engines]

    found = played(round(trial.engines_per_site * sites))
    steps = [round(step * sites) for step in _STEPS]
    low, high = 0, len(steps)
    while low < high:
        middle = (low + high) // 2
        if played(steps[middle]).goodput >= 0.95:
            high = middle
        else:
            low = middle + 1
    each = question.server.gpus / question.server.engines
    return Judged(
        name=name,
        engines=found.gpus,
        requests=found.arrived,
        ttft_ms_p50=found.ttft_ms_p50,
        ttft_ms_p95=found.ttft_ms_p95,
        ttft_ms_mean=found.ttft_ms_mean,
        goodput=found.goodput,
        gpus_needed=round(steps[low] * each) if low < len(steps) else 0,
    )


def _description(
    question: Question, is_open: Flags, engines: int, how: tuple[Trial, float]
) -> Description:
    trial, rate = how
    asked, server = question.wishes.asked, question.server
    prompts = {
        "system_tokens": max(1, asked.prompt_tokens // 2),
        "turn_tokens": max(1, asked.prompt_tokens // 4),
        "output_tokens": asked.output_tokens,
        "output_tokens_max": 4 * asked.output_tokens,
        "turns": 3.0,
    }
    zones, tenants = _tenants(question, prompts)
    places = _places(question, _spread(question, is_open, engines))
    whole = {
        "scenario": "retrofit",
        "about": "a choice of sites, judged",
        "fleet": {"sites": places, "jitter_ms": 1.0},
        "hardware": {"model": HARDWARE[server.preset].model, "preset": server.preset},
        "zones": zones,
        "tenants": tenants,
        "traffic": {"knee_requests_per_s": rate, "load": 1.0, "deadline_s": 120.0},
        "window": {"warmup_s": trial.warmup_s, "measured_s": trial.measured_s},
        "slo": {"ttft_ms": trial.slo_ms, "goodput": 0.95},
    }
    found = msgspec.convert(whole, Description)
    check(found)
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


def _spread(question: Question, is_open: Flags, engines: int) -> dict[int, int]:
    """Engines by site: one each, the rest by the demand that is nearest, by largest remainder."""
    sites = np.flatnonzero(is_open)
    costs = costs_of(question)[:, sites]
    served = np.isfinite(costs).any(axis=1)
    load = np.bincount(
        np.argmin(costs[served], axis=1),
        question.demand.requests_per_s[served],
        minlength=len(sites),
    )
    exact = load / load.sum() * max(0, engines - len(sites))
    counts = 1 + exact.astype(int)
    rest = np.argsort(counts - 1 - exact, kind="stable")[: max(0, engines - int(counts.sum()))]
    counts[rest] += 1
    return {int(site): int(count) for site, count in zip(sites, counts, strict=True)}


def _places(question: Question, engines: Mapping[int, int]) -> dict[str, Site]:
    rates = np.zeros(len(question.sites))
    np.add.at(rates, question.demand.ingress, question.demand.requests_per_s)
    scale = _MANY / max(float(rates[rates > 0].min()), float(rates.max()) / 1e5)
    region_of = _regions()
    found = {}
    for number, site in enumerate(question.sites):
        people = max(1, round(float(rates[number]) * scale))
        if people == 1 and number not in engines:
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
