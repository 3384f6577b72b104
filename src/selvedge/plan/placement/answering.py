"""`selvedge plan retrofit` from its files to its report."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from selvedge.fabric import WanModel
from selvedge.plan.history import BadPlan
from selvedge.plan.placement.comparison import Choice, choice, rules_of_thumb
from selvedge.plan.placement.fronts import (
    Limit,
    Point,
    read_budgets,
    read_counts,
    read_servers_asked,
    trace,
)
from selvedge.plan.placement.judging import Judged, judge
from selvedge.plan.placement.median import Effort, Tell
from selvedge.plan.placement.neighbours import Flags, Floats
from selvedge.plan.placement.orders import Order, read_fleet, read_knobs, read_question
from selvedge.plan.placement.programme import (
    NEVER,
    Actual,
    Step,
    Tracked,
    make_programme,
    read_actual,
    track,
)
from selvedge.plan.placement.question import Question
from selvedge.plan.placement.reports import (
    Report,
    compared,
    places_of,
    routing_words,
    shortage_of,
    shortage_words,
)
from selvedge.plan.placement.retrofit import Retrofit, retrofit, retrofit_staffed
from selvedge.plan.placement.round_trips import INFLATION_BAND, distances_km
from selvedge.plan.placement.servers import read_servers
from selvedge.plan.placement.staffing import loads, staffed
from selvedge.plan.placement.worlds import Trial

Say = Callable[[str], None]
Fronts = tuple[tuple[Point, ...], tuple[Point, ...], tuple[Point, ...]]
"""Over numbers of sites, over budgets, over servers."""


class _Planned(msgspec.Struct):
    """Of an earlier report, what is held against the actual."""

    programme: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class _Desk:
    """What every search of an answer has in common."""

    order: Order
    question: Question
    actual: Mapping[str, Actual]
    say: Say

    def solve(self, question: Question, *, new: int | None = None, parts: int = 1) -> Retrofit:
        """One search, one of so many that share the time. What is installed stays."""
        order = self.order
        number = {site.pop: at for at, site in enumerate(question.sites)}
        fixed = [number[pop] for pop, one in self.actual.items() if one.installed]
        barred = [number[pop] for pop, one in self.actual.items() if one.not_before == NEVER]
        seconds = order.seconds if parts == 1 else max(5.0, order.seconds / parts)
        search = retrofit_staffed if order.servers == "auto" else retrofit
        effort = Effort(seconds=seconds, gap=order.gap)
        return search(question, effort, _tells(self.say), new=new, fixed=fixed, barred=barred)

    def asked(self, limit: Limit) -> Question:
        """The question at a limit. What a server is decides which sites have room: all is read
        anew, and what that says was said already."""
        if limit.server is not None:
            order = msgspec.structs.replace(self.order, server=limit.server)
            return read_question(order, self.question.sites, [])
        if limit.budget_usd is not None:
            wishes = replace(self.question.wishes, budget_usd=limit.budget_usd)
            return replace(self.question, wishes=wishes)
        return self.question

    def choices(self, found: Retrofit) -> list[Choice]:
        """Ours and the rules of thumb, all with servers by the same rule; those that come to the
        same sites are one, of both names."""
        names: dict[bytes, tuple[str, Flags]] = {}
        for one in rules_of_thumb(self.question, self.order.sites):
            key = one.is_open.tobytes()
            name = f"{names[key][0]} = {one.name}" if key in names else one.name
            names[key] = name, one.is_open
        flags = [("ours", found.is_open), *names.values()]
        return [choice(name, self._staffed(is_open), is_open) for name, is_open in flags]

    def _staffed(self, is_open: Flags) -> Question:
        return staffed(self.question, is_open) if self.order.servers == "auto" else self.question


def answer(order: Order, say: Say) -> Report:
    """Read, solve, compare, judge. Raises `BadPlan`."""
    _check(order)
    limits = _limits(order)
    findings: list[str] = []
    sites = read_fleet(order, findings)
    actual = read_actual(order.actual, [site.pop for site in sites]) if order.actual else {}
    desk = _Desk(order, read_question(order, sites, findings), actual, say)
    say("search")
    found = desk.solve(desk.question)
    if order.certificate is not None:
        _keep(found, order.certificate)
    steps = make_programme(
        found.question, found.is_open, start=order.start, per_quarter=order.per_quarter,
        actual=actual,
    )  # fmt: skip
    choices = desk.choices(found)
    fronts = _fronts(desk, limits, findings)
    return _report(desk, found, steps, (choices, fronts, findings))


def _check(order: Order) -> None:
    """What can be refused before anything is read."""
    if order.planned is not None and order.actual is None:
        raise BadPlan("--plan without --actual: say what was installed, and when.")
    if order.sim_seeds is not None and not 1 <= order.sim_seeds <= 100:
        raise BadPlan(f"--sim-seeds is {order.sim_seeds}; give 1 to 100.")
    read_knobs(order.sim_knob)
    if not 0 < order.sim_slo_ms <= 1e6:
        raise BadPlan(f"--sim-slo-ms is {order.sim_slo_ms:g}; give 1 to 1,000,000 ms.")


def _limits(order: Order) -> tuple[list[Limit], ...]:
    """What the fronts are traced over. Raises `BadPlan`, naming what is wrong."""
    sites, money, servers = list[Limit](), list[Limit](), list[Limit]()
    if order.front is not None:
        for new in read_counts("--front", order.front):
            sites.append(Limit(words=f"{new:,} new sites", new=new))
    if order.front_budget is not None:
        for usd in read_budgets("--front-budget", order.front_budget):
            money.append(Limit(words=f"a budget of {usd:,.0f} USD", budget_usd=usd))
    if order.front_server is not None:
        known = read_servers(order.server_table)
        for name in read_servers_asked("--front-server", order.front_server, known):
            servers.append(Limit(words=f"the server {name}", server=name))
    return sites, money, servers


def _report(
    desk: _Desk,
    found: Retrofit,
    steps: Sequence[Step],
    rest: tuple[Sequence[Choice], Fronts, list[str]],
) -> Report:
    order, question = desk.order, found.question
    choices, fronts, findings = rest
    filled = loads(question, found.is_open)
    shortage = shortage_of(question, filled)
    if shortage is not None:
        auto = order.servers == "auto"
        findings.insert(0, shortage_words(shortage, opens=len(filled), auto=auto))
    judged = _judge(desk, choices)
    findings += _of_question(question) + _of_routing(judged, found)
    is_new = found.is_open & ~question.existing
    return Report(
        sites=tuple(question.sites[at].pop for at in np.flatnonzero(is_new).tolist()),
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
        near_ms=order.near_ms,
        server=order.server,
        servers=str(order.servers),
        loads=tuple(filled),
        shortage=shortage,
        comparison=tuple(compared(one, found.cost) for one in choices),
        judged=tuple(judged),
        programme=tuple(steps),
        tracked=_track(order, question, desk.actual),
        front=fronts[0],
        front_budget=fronts[1],
        front_server=fronts[2],
        candidates=int((~question.barred & ~question.existing).sum()),
        existing=int(question.existing.sum()),
        places=places_of(question, found.is_open, steps),
        assumptions=assumptions_of(order, question),
        findings=tuple(findings),
    )


def _judge(desk: _Desk, choices: Sequence[Choice]) -> list[Judged]:
    order = desk.order
    if not order.sim:
        return []
    trial = Trial(
        seeds=order.sim_seeds,
        slo_ms=order.sim_slo_ms,
        knobs=read_knobs(order.sim_knob),
        workers=os.cpu_count() or 1,
    )
    pairs = [(one.name, one.is_open) for one in choices]
    return judge(desk.question, pairs, trial, lambda words: desk.say(f"simulating {words}"))


def _of_routing(judged: Sequence[Judged], found: Retrofit) -> list[str]:
    nearest_ms = found.measures.rtt_ms_mean - found.question.wishes.last_mile_ms
    words = routing_words(judged[0].rtt_ms.mean, nearest_ms) if judged else ""
    return [words] if words else []


def _fronts(desk: _Desk, limits: Sequence[Sequence[Limit]], findings: list[str]) -> Fronts:
    def front(asked: Sequence[Limit]) -> tuple[Point, ...]:
        def solve(limit: Limit) -> Retrofit:
            desk.say(f"front: {limit.words}")
            return desk.solve(desk.asked(limit), new=limit.new, parts=len(asked))

        return trace(asked, solve, findings)

    by_sites, by_money, by_server = (front(some) for some in limits)
    return by_sites, by_money, by_server


def _track(order: Order, question: Question, actual: Mapping[str, Actual]) -> tuple[Tracked, ...]:
    if order.planned is None:
        return ()
    if not actual:
        raise BadPlan(f"{order.actual} has no row: say what was installed, and when.")
    try:
        planned = msgspec.json.decode(order.planned.read_bytes(), type=_Planned)
    except (OSError, msgspec.MsgspecError) as error:
        raise BadPlan(
            f"{order.planned} is no report of `plan retrofit --json`: {error}."
        ) from error
    return tuple(track(question, [(one.quarter, one.sites) for one in planned.programme], actual))


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


def _of_question(question: Question) -> list[str]:
    found = _of_budget(question)
    found += [f"{count} PoPs cannot take a server: {why}" for why, count in question.kept_out]
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


def _of_budget(question: Question) -> list[str]:
    budget, candidates = question.wishes.budget_usd, ~question.barred & ~question.existing
    least = float(question.prices_usd[candidates].min(initial=math.inf))
    if budget is None or math.isinf(least) or least <= budget:
        return []
    return [f"a budget of {budget:,.0f} USD buys no site: the cheapest costs {least:,.0f}"]


def _keep(found: Retrofit, path: Path) -> None:
    try:
        found.certificate.save(path, np.flatnonzero(found.is_open).astype(np.int32))
    except OSError as error:
        raise BadPlan(f"{path} cannot be written ({error.strerror}); name another.") from error


def assumptions_of(order: Order, question: Question) -> tuple[str, ...]:
    """What the answer takes for given, a sentence each."""
    asked, server = question.wishes.asked, question.server
    if order.demand is not None:
        who = f"Demand: observed requests of {order.demand.name}, at the peak hour"
    else:
        who = (
            f"Demand: people of each PoP x {order.adoption:g} who ask x {order.requests_per_day:g}"
            " requests a day, twice the mean at the peak hour; nothing of it was observed"
        )
    trips = (
        f"Round trips: great circles x {order.path_inflation:g} at the speed of light in fibre"
        f" + {WanModel().fixed_ms:g} ms, and {order.last_mile_ms:g} ms of last mile"
    )
    if order.rtt is not None:
        trips += "; measured pairs override"
    each = float(question.capacity.sum() / max(1, question.counts.sum()))
    found = [
        f"{who}: {question.demand.total:,.1f} requests/s in all.",
        f"{trips}.",
        f"A request: {asked.prompt_tokens:,} tokens of prompt, {asked.output_tokens:,} of answer.",
        f"A server {order.server}: {server.gpus} {server.gpu}, {server.price_usd:,.0f} USD,"
        f" {server.power_kw:g} kW, planned for {each:.2f} requests/s, which is"
        f" {asked.utilisation:.0%} of the most it can do ({server.source}).",
        f"Money: price over {question.wishes.years:g} years, power at"
        f" {question.wishes.usd_per_kwh:g} USD a kWh, {order.site_usd:,.0f} USD for a site.",
    ]
    if order.resident:
        found.append(f"Residency: {', '.join(order.resident)} of a zone's demand stays in it.")
    if order.assume_room:
        found.append("Limits that the fleet file does not give are taken for met.")
    return tuple(found)


def _tells(say: Say) -> Tell:
    def tell(phase: str, cost: float, bound: float) -> None:
        gap = (cost - bound) / bound if bound > 0 else np.inf
        say(f"{phase}: gap {max(gap, 0.0):.3%}")

    return tell
