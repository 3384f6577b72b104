"""What an operator would do without a solver: three rules of thumb, beside ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from selvedge.plan.placement.instance import Median, make_median
from selvedge.plan.placement.measures import Measures, mean_cost, measure
from selvedge.plan.placement.neighbours import Flags, Floats
from selvedge.plan.placement.question import Question, costs_of, rows_of
from selvedge.plan.placement.swaps import choose_greedily, make_search_of


@dataclass(frozen=True, slots=True)
class Choice:
    """A way to choose, and what it comes to."""

    name: str
    is_open: Flags
    measures: Measures
    cost: float
    """Mean over demand in the objective's unit; infinite where some is not served."""
    broken: tuple[str, ...]
    """The rules that it does not keep."""


def rules_of_thumb(question: Question, new: int) -> Iterator[Choice]:
    """The busiest, the most populous, and one at a time whatever helps most."""
    sites = question.sites
    rates = np.zeros(len(sites))
    np.add.at(rates, question.demand.ingress, question.demand.requests_per_s)
    people = np.array([float(site.population or 0) for site in sites])
    yield choice("busiest", question, _largest(question, rates, new))
    yield choice("most populous", question, _largest(question, people, new))
    yield choice("greedy", question, greedy(question, new))


def choice(name: str, question: Question, is_open: Flags) -> Choice:
    """A choice with its figures."""
    broken = dict.fromkeys(row.rule for row in rows_of(question) if not row.holds(is_open))
    cost = mean_cost(question, np.flatnonzero(is_open))
    return Choice(name, is_open, measure(question, is_open), cost, tuple(broken))


def _largest(question: Question, score: Floats, new: int) -> Flags:
    score = np.where(question.barred | question.existing, -1.0, score)
    best = np.argsort(-score, kind="stable")[:new]
    is_open = question.existing.copy()
    is_open[best[score[best] >= 0]] = True
    return is_open


def greedy(question: Question, new: int) -> Flags:
    """One site at a time, each time the one that saves most."""
    there = np.flatnonzero(question.existing)
    shut = np.flatnonzero(question.barred)
    median = make_median(
        costs_of(question), question.demand.requests_per_s, max(1, len(there) + new), there, shut
    )
    is_open = np.zeros(median.sites, np.bool_)
    is_open[choose_greedy(median)] = True
    return is_open


def choose_greedy(median: Median) -> list[int]:
    """The sites of a p-median chosen one at a time, each time the one that saves most."""
    barred = median.barred_flags()
    count = min(median.p, int((~barred).sum()))
    far = 10.0 * float(np.where(np.isfinite(median.by_site), median.by_site, 0.0).max()) + 1.0
    search = make_search_of(median.clients, median.sites, count, far, 1)
    search.may_open[barred] = False
    choose_greedily(search, median.by_site, np.array(median.fixed, np.int32), 0)
    return [int(site) for site in search.sites]
