"""What an operator would do without a solver: three rules of thumb, beside ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from selvedge.plan.placement.measures import Measures, measure
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
    costs = costs_of(question)[:, is_open].min(axis=1)
    weights = question.demand.requests_per_s
    broken = dict.fromkeys(row.rule for row in rows_of(question) if not row.holds(is_open))
    cost = float(np.average(costs, weights=weights)) if np.isfinite(costs).all() else np.inf
    return Choice(name, is_open, measure(question, is_open), cost, tuple(broken))


def _largest(question: Question, score: Floats, new: int) -> Flags:
    score = np.where(question.barred | question.existing, -1.0, score)
    best = np.argsort(-score, kind="stable")[:new]
    is_open = question.existing.copy()
    is_open[best[score[best] >= 0]] = True
    return is_open


def greedy(question: Question, new: int) -> Flags:
    """One site at a time, each time the one that saves most."""
    costs = costs_of(question)
    weights = question.demand.requests_per_s
    by_site = np.ascontiguousarray((costs * weights[:, None]).T)
    there = np.flatnonzero(question.existing).astype(np.int32)
    count = min(len(there) + new, int((~question.barred).sum()))
    finite = np.where(np.isfinite(by_site), by_site, 0.0)
    search = make_search_of(len(weights), len(by_site), count, float(finite.max()) * 10 + 1, 1)
    search.may_open[question.barred] = False
    choose_greedily(search, by_site, there, 0)
    is_open = np.zeros(len(by_site), np.bool_)
    is_open[search.sites] = True
    return is_open
