"""Whether rules on the sites can be kept at all, and which of them bind where they cannot.

Only sites are in question here, so that the programmes are small and HiGHS answers at once. Where
no choice keeps all rules, each is dropped alone: one without which the others can be kept binds,
and how far it would have to give way is said in its own words.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from selvedge.plan.history import BadPlan
from selvedge.plan.placement.exact import Programme, Solved
from selvedge.plan.placement.instance import Median, Row
from selvedge.plan.placement.neighbours import Flags, Floats

_SECONDS: Final = 8.0


@dataclass(frozen=True, slots=True)
class Conflict:
    """A rule without which the others could be kept."""

    rule: str
    remedy: str


def choose_sites(
    median: Median, worth: Floats, *, without: str = "", p: int | None = None
) -> Solved:
    """The cheapest sites by their own worths alone that keep every rule but one, and are at most
    `p` (default: the instance's)."""
    programme, sites = _programme(median, worth)
    limit = median.p if p is None else p
    programme.add_row(sites, np.ones(median.sites), -np.inf, float(limit))
    for row in median.rows:
        if row.rule != without:
            programme.add_row(row.sites, row.coefficients, row.least)
    return programme.solve(_SECONDS, 1e-5)


def row_prices(median: Median, worth: Floats) -> Floats:
    """By rule: what one more unit of it costs in the linear programme over the sites; zeros where
    that was not solved. Any numbers from 0 prove a bound, these the best one without branching."""
    programme, sites = _programme(median, worth, whole=False)
    programme.add_row(sites, np.ones(median.sites), -np.inf, float(median.p))
    for row in median.rows:
        programme.add_row(row.sites, row.coefficients, row.least)
    duals = programme.solve(_SECONDS).duals
    count = len(median.rows)
    if duals is None or not count:
        return np.zeros(count)
    scale = [float(np.abs(row.coefficients).max(initial=0.0)) for row in median.rows]
    found: Floats = np.maximum(duals[-count:], 0.0) * np.array(scale)
    return found


def _programme(
    median: Median, worth: Floats, *, whole: bool = True
) -> tuple[Programme, npt.NDArray[np.int64]]:
    programme = Programme()
    sites = programme.add_columns(worth, 1.0, whole=whole)
    if median.fixed:
        count = len(median.fixed)
        at = np.array(median.fixed, np.int64)
        programme.add_rows(np.ones(count, np.int64), at, np.ones(count), (1.0, 1.0))
    if median.barred:
        count = len(median.barred)
        at = np.array(median.barred, np.int64)
        programme.add_rows(np.ones(count, np.int64), at, np.ones(count), (0.0, 0.0))
    return programme, sites


def opened(solved: Solved) -> Flags | None:
    """By site: whether it is open; None where nothing was found."""
    return None if solved.values is None else solved.values > 0.5


def check_rows(median: Median) -> None:
    """Raises `BadPlan` where no choice keeps every rule, naming those that bind, with remedies."""
    if choose_sites(median, np.zeros(median.sites)).status != "infeasible":
        return
    found = conflicts(median)
    words = "; ".join(f"{one.rule} ({one.remedy})" for one in found)
    if not found:
        rules = ", ".join(dict.fromkeys(row.rule for row in median.rows))
        words = f"more than one of: at most {median.p} sites, {rules}"
    raise BadPlan(f"no choice of sites keeps every rule; what binds: {words}.")


def conflicts(median: Median) -> list[Conflict]:
    """The rules without which the others can be kept, and how far each would have to give way."""
    found = []
    rules: dict[str, list[Row]] = {}
    for row in median.rows:
        rules.setdefault(row.rule, []).append(row)
    for rule, rows in rules.items():
        if choose_sites(median, np.zeros(median.sites), without=rule).status == "infeasible":
            continue
        remedy = f"one of {len(rows)} parts has to give way"
        if len(rows) == 1:
            remedy = _remedy(rows[0], _most(median, rows[0]))
        found.append(Conflict(rule, remedy))
    some = choose_sites(median, np.ones(median.sites), p=median.sites)
    if some.status == "optimal":
        count = math.ceil(some.cost - 1e-6)
        found.append(Conflict(f"at most {median.p} sites", f"the other rules need {count}"))
    return found


def _most(median: Median, row: Row) -> float:
    """The most that a row's sum can come to while the others are kept."""
    worth = np.zeros(median.sites)
    np.add.at(worth, row.sites, -row.coefficients)
    return -choose_sites(median, worth, without=row.rule).cost


def _remedy(row: Row, reached: float) -> str:
    if row.least < 0:
        return f"it would have to be {-reached:,.0f}"
    return f"the others leave room for {reached:,.0f} of {row.least:,.0f}"
