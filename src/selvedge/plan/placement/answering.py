"""`selvedge plan retrofit` from its files to its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from selvedge.fabric import WanModel
from selvedge.plan.history import BadPlan, PopSite, read_sites
from selvedge.plan.placement.comparison import Choice, choice, rules_of_thumb
from selvedge.plan.placement.demand import Demand, demand_by_population, read_demand
from selvedge.plan.placement.judging import Judged, Trial, judge
from selvedge.plan.placement.measures import Measures
from selvedge.plan.placement.median import Effort, Tell
from selvedge.plan.placement.neighbours import Flags, Floats
from selvedge.plan.placement.programme import (
    NEVER,
    Actual,
    Step,
    Tracked,
    make_programme,
    read_actual,
    track,
)
from selvedge.plan.placement.question import Objective, Question, Wishes, make_question
from selvedge.plan.placement.retrofit import Retrofit, retrofit
from selvedge.plan.placement.round_trips import (
    INFLATION_BAND,
    broken_triangles,
    distances_km,
    model_ms,
    override,
)
from selvedge.plan.placement.servers import Asked, find_server, read_servers

Say = Callable[[str], None]


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
    servers: int = 1
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
    per_quarter: int = 20
    start: str = "2027Q1"
    actual: Path | None = None
    planned: Path | None = None
    sim: bool = True
    seconds: float = 60.0
    gap: float = 0.0001
    certificate: Path | None = None
    as_json: bool = False


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One of the Pareto front: so many new sites, and what they come to."""

    new_sites: int
    cost: float
    bound: float
    gap: float
    measures: Measures
    is_dominated: bool
    """Whether another point is no worse in mean, share nearby and money, and better in one."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A way to choose, beside ours."""

    name: str
    cost: float | None
    """In the objective's unit; None where some demand is not served."""
    cost_ratio: float | None
    """Over ours."""
    broken: tuple[str, ...]
    measures: Measures


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
    comparison: tuple[Compared, ...]
    judged: tuple[Judged, ...]
    programme: tuple[Step, ...]
    tracked: tuple[Tracked, ...]
    front: tuple[Point, ...]
    candidates: int
    existing: int
    findings: tuple[str, ...]
    """What was left out or assumed, a sentence each."""


class _Planned(msgspec.Struct):
    """Of an earlier report, what is held against the actual."""

    programme: tuple[Step, ...]


def answer(order: Order, say: Say) -> Report:
    """Read, solve, compare, judge. Raises `BadPlan`."""
    findings: list[str] = []
    sites = _read_fleet(order, findings)
    actual = read_actual(order.actual, [site.pop for site in sites]) if order.actual else {}
    question = _question(order, sites, findings)
    say("search")
    question, found, programme = _solve(order, question, actual, _tells(say))
    if order.certificate is not None:
        _keep(found, order.certificate)
    compared = [choice("ours", question, found.is_open)]
    compared += rules_of_thumb(question, order.sites)
    judged: list[Judged] = []
    if order.sim:
        pairs = [(one.name, one.is_open) for one in compared]
        judged = judge(question, pairs, Trial(), lambda words: say(f"simulating {words}"))
    is_new = found.is_open & ~question.existing
    findings += _of_question(question)
    return Report(
        sites=tuple(sites[at].pop for at in np.flatnonzero(is_new)),
        objective=order.objective,
        unit=found.unit,
        cost=found.cost,
        bound=found.bound,
        gap=found.gap,
        proof=found.proof,
        seconds=round(found.seconds, 3),
        processor_seconds=round(found.processor_seconds, 3),
        measures=found.measures,
        rtt_ms_band=_band(order, question, found.is_open),
        comparison=tuple(_compared(one, found.cost) for one in compared),
        judged=tuple(judged),
        programme=tuple(programme),
        tracked=_track(order, question, actual),
        front=_front(order, question, say),
        candidates=int((~question.barred & ~question.existing).sum()),
        existing=int(question.existing.sum()),
        findings=tuple(findings),
    )


def _read_fleet(order: Order, findings: list[str]) -> list[PopSite]:
    sites, faults = read_sites(order.fleet)
    placed = [site for site in sites if site.lat is not None]
    if len(placed) < len(sites):
        findings.append(
            f"{len(sites) - len(placed)} PoPs have no place (lat, lon) and are left out"
        )
    if not placed:
        raise BadPlan(f"{order.fleet}: no PoP has lat and lon; fill them in.")
    findings += [f"{fault.pop}: {fault.detail}" for fault in faults[:5]]
    return placed


def _question(order: Order, sites: Sequence[PopSite], findings: list[str]) -> Question:
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
        servers=order.servers,
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


def _solve(
    order: Order, question: Question, actual: Mapping[str, Actual], tell: Tell
) -> tuple[Question, Retrofit, list[Step]]:
    """The answer, and its programme; with an actual state, what is installed stays."""
    number = {site.pop: at for at, site in enumerate(question.sites)}
    fixed = [number[pop] for pop, one in actual.items() if one.installed]
    barred = [number[pop] for pop, one in actual.items() if one.not_before == NEVER]
    effort = Effort(seconds=order.seconds, gap=order.gap)
    found = retrofit(question, effort, tell, fixed=fixed, barred=barred)
    steps = make_programme(
        question,
        found.is_open,
        start=order.start,
        per_quarter=order.per_quarter,
        actual=actual,
    )
    return question, found, steps


def _track(order: Order, question: Question, actual: Mapping[str, Actual]) -> tuple[Tracked, ...]:
    if order.planned is None:
        return ()
    if not actual:
        raise BadPlan("--plan without --actual: say what was installed, and when.")
    try:
        planned = msgspec.json.decode(order.planned.read_bytes(), type=_Planned)
    except (OSError, msgspec.MsgspecError) as error:
        raise BadPlan(
            f"{order.planned} is no report of `plan retrofit --json`: {error}."
        ) from error
    return tuple(track(question, [(one.quarter, one.sites) for one in planned.programme], actual))


def _front(order: Order, question: Question, say: Say) -> tuple[Point, ...]:
    if order.front is None:
        return ()
    parts = order.front.split(",")
    if not all(part.strip().isdigit() for part in parts):
        raise BadPlan(f"--front {order.front!r}: give numbers of new sites, as 40,80,160.")
    found = []
    for new in sorted({int(part) for part in parts}):
        say(f"front: {new} new sites")
        effort = Effort(seconds=max(5.0, order.seconds / len(parts)), gap=order.gap)
        found.append(retrofit(question, effort, _tells(say), new=new))
    return tuple(_point(one, found) for one in found)


def _point(one: Retrofit, all_points: Sequence[Retrofit]) -> Point:
    def key(point: Retrofit) -> tuple[float, float, float]:
        found = point.measures
        return found.rtt_ms_mean, -found.near_share, found.usd_per_year

    mine = key(one)
    beaten = any(
        key(other) != mine and all(a <= b for a, b in zip(key(other), mine, strict=True))
        for other in all_points
    )
    return Point(
        new_sites=one.measures.new_sites,
        cost=one.cost,
        bound=one.bound,
        gap=one.gap,
        measures=one.measures,
        is_dominated=beaten,
    )


def _band(order: Order, question: Question, is_open: Flags) -> tuple[float, float]:
    """The mean round trip of the same choice at both ends of the inflation's band.

    Every row goes where it goes now; measured pairs are scaled as the others are.
    """
    trips = question.trips_ms[:, is_open]
    first = np.argmin(trips, axis=1)
    km = distances_km(question.sites)[question.demand.ingress][:, is_open]
    rows = np.arange(len(first))
    weights = question.demand.requests_per_s
    path: Floats = km[rows, first] * 2 / WanModel().fibre_km_per_ms
    now = float(np.average(trips[rows, first], weights=weights)) + order.last_mile_ms
    straight = float(np.average(path, weights=weights))
    low, high = (now + (one - order.path_inflation) * straight for one in INFLATION_BAND)
    return max(0.0, low), high


def _compared(one: Choice, ours: float) -> Compared:
    is_served = np.isfinite(one.cost)
    return Compared(
        name=one.name,
        cost=one.cost if is_served else None,
        cost_ratio=one.cost / ours if is_served and ours > 0 else None,
        broken=one.broken,
        measures=one.measures,
    )


def _of_question(question: Question) -> list[str]:
    found = [f"{count} PoPs cannot take a server: {why}" for why, count in question.kept_out]
    found += [
        f"{rate:,.2f} requests/s of zone {zone} stay unserved: no candidate lies in it"
        for zone, rate in question.unservable
    ]
    if question.unprotected:
        names = ", ".join(question.unprotected[:5])
        found.append(
            f"{len(question.unprotected)} ingresses cannot have a second site within"
            f" {question.wishes.survive_ms:g} ms, whatever is opened: {names}"
        )
    return found


def _keep(found: Retrofit, path: Path) -> None:
    try:
        found.certificate.save(path, np.flatnonzero(found.is_open).astype(np.int32))
    except OSError as error:
        raise BadPlan(f"{path} cannot be written ({error.strerror}); name another.") from error


def _tells(say: Say) -> Tell:
    def tell(phase: str, cost: float, bound: float) -> None:
        gap = (cost - bound) / bound if bound > 0 else np.inf
        say(f"{phase}: gap {max(gap, 0.0):.3%}")

    return tell
