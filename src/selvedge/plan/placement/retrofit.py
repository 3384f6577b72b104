"""A question answered: sites, what they come to, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from selvedge.plan.history import BadPlan
from selvedge.plan.placement.certificate import Certificate, gap_of
from selvedge.plan.placement.cheapest import of_prices, solve_cheapest
from selvedge.plan.placement.instance import Median, Row
from selvedge.plan.placement.measures import Measures, measure, send
from selvedge.plan.placement.median import Answer, Effort, Tell
from selvedge.plan.placement.neighbours import Flags
from selvedge.plan.placement.question import Question, median_of
from selvedge.plan.placement.solving import solve
from selvedge.plan.placement.staffing import staffed

_SEARCHES: Final = 6
"""At most, for the number of sites that a budget pays for with all their servers."""
Proof = Literal["certificate", "certificate with capacity"]


@dataclass(frozen=True, slots=True)
class Retrofit:
    """The sites, and the proof. Cost and bound are means over demand, in the objective's unit."""

    question: Question
    is_open: Flags
    cost: float
    bound: float
    proof: Proof
    """What the bound counts; a certificate, which anybody can check, proves either. With capacity
    it counts the room of every single site, and the cost is that of a transport within it."""
    measures: Measures
    certificate: Certificate
    median: Median
    """What the certificate is about: for the least cost the price of new sites alone, in cents."""
    seconds: float
    processor_seconds: float

    @property
    def gap(self) -> float:
        """By what part of the bound the cost may at most exceed the best there is."""
        return gap_of(self.cost, self.bound)

    @property
    def unit(self) -> str:
        """Of cost and bound."""
        words = {"ttft": "ms", "near": "share beyond the limit", "cost": "USD a year"}
        return words[self.question.wishes.objective]


def retrofit(
    question: Question,
    effort: Effort,
    tell: Tell,
    *,
    new: int | None = None,
    fixed: Sequence[int] = (),
    barred: Sequence[int] = (),
) -> Retrofit:
    """The best sites found, with the proof. Raises `BadPlan`: which rules bind, with remedies."""
    count = question.wishes.sites if new is None else new
    median = median_of(question, count, fixed=fixed, barred=barred)
    if question.wishes.objective == "cost":
        return _cheapest(question, _reaching(question, median), effort)
    answer = solve(median, effort, tell)
    return of_answer(question, median, answer)


def retrofit_staffed(
    question: Question,
    effort: Effort,
    tell: Tell,
    *,
    new: int | None = None,
    fixed: Sequence[int] = (),
    barred: Sequence[int] = (),
) -> Retrofit:
    """The same, and each new site gets the servers its demand needs, as far as there is room.

    With a budget that this would exceed: the most sites for which it does not, as far as some
    searches find them. The bound stays that of one server a site, which costs no more than any
    answer of this kind. Raises `BadPlan`.
    """
    found = _with_staff(retrofit(question, effort, tell, new=new, fixed=fixed, barred=barred))
    budget = question.wishes.budget_usd
    if budget is None or found.measures.usd <= budget:
        return found
    free = replace(question, wishes=replace(question.wishes, budget_usd=None))
    part = replace(effort, seconds=max(1.0, effort.seconds / _SEARCHES))
    best: Retrofit | None = None
    low, high = (0, 0.0), (found.measures.new_sites, found.measures.usd)
    for _ in range(_SEARCHES):
        if high[0] - low[0] <= 1:
            break
        count = _between(low, high, budget)
        one = _with_staff(retrofit(free, part, tell, new=count, fixed=fixed, barred=barred))
        if one.measures.usd <= budget:
            best, low = one, (count, one.measures.usd)
        else:
            high = count, one.measures.usd
    if best is None:
        raise BadPlan(
            f"a budget of {budget:,.0f} USD with --servers auto: the servers that even"
            f" {high[0]} new sites need cost {high[1]:,.0f}; raise the budget, or give a number of"
            " servers."
        )
    return replace(best, bound=found.bound, certificate=found.certificate, median=found.median)


def _between(low: tuple[int, float], high: tuple[int, float], budget: float) -> int:
    """A number of sites between two whose money is known, where a line meets the budget."""
    share = (budget - low[1]) / max(1e-9, high[1] - low[1])
    guess = low[0] + int(share * (high[0] - low[0]))
    return min(high[0] - 1, max(low[0] + 1, guess))


def _with_staff(found: Retrofit) -> Retrofit:
    question = staffed(found.question, found.is_open)
    return replace(found, question=question, measures=measure(question, found.is_open))


def of_answer(question: Question, median: Median, answer: Answer) -> Retrofit:
    """An answer of the solver as one to the question: capacities included, as means."""
    is_open = np.zeros(median.sites, np.bool_)
    is_open[list(answer.sites)] = True
    total = question.demand.total
    measures = measure(question, is_open)
    return Retrofit(
        question=question,
        is_open=is_open,
        cost=answer.cost / total,
        bound=answer.bound / total,
        proof="certificate" if median.room is None else "certificate with capacity",
        measures=measures,
        certificate=answer.certificate,
        median=median,
        seconds=answer.seconds,
        processor_seconds=answer.processor_seconds,
    )


def _cheapest(question: Question, median: Median, effort: Effort) -> Retrofit:
    """The sites that keep the rules and cost least in a year: nobody asks how far they are.

    Existing ones cost the same in every choice: the certificate is about the new ones, to the cent.
    """
    if not question.counts_room and question.wishes.survive_ms is None:
        raise BadPlan(
            "--objective cost opens nothing without --capacity, --survive-ms or the like: say what"
            " the sites must serve."
        )
    is_new = ~question.existing
    cents = np.where(is_new, np.round(100 * question.usd_per_year), 0.0)
    there = float(question.usd_per_year[question.existing].sum())
    priced = of_prices(median, cents)
    answer = solve_cheapest(priced, effort)
    is_open = np.zeros(median.sites, np.bool_)
    is_open[list(answer.sites)] = True
    _check_room(question, is_open)
    return Retrofit(
        question=question,
        is_open=is_open,
        cost=answer.cost / 100 + there,
        bound=answer.bound / 100 + there,
        proof="certificate",
        measures=measure(question, is_open),
        certificate=answer.certificate,
        median=priced,
        seconds=answer.seconds,
        processor_seconds=answer.processor_seconds,
    )


def _check_room(question: Question, is_open: Flags) -> None:
    """Rows ask for room in each zone and in those within it; zones that only overlap may need more
    together. Raises `BadPlan` where they do."""
    if not question.counts_room:
        return
    left = send(question, np.flatnonzero(is_open)).unserved
    if left > 1e-9 * question.demand.total:
        raise BadPlan(
            f"the cheapest sites leave {left:,.1f} requests/s without room where zones overlap"
            " (none lies within the other); ask for --minimum sites in what they share, or for"
            " --objective ttft."
        )


def _reaching(question: Question, median: Median) -> Median:
    """With a row for every zone: one site at least that may serve it."""
    rows = []
    for zone in question.zones:
        at = question.demand.zones.index(zone)
        sites = np.flatnonzero(np.isfinite(question.trips_ms[at]) & ~question.barred)
        row = Row(f"a site for {zone}", sites.astype(np.int32), np.ones(len(sites)), 1.0)
        rows.append(row)
    return replace(median, rows=(*median.rows, *rows))
