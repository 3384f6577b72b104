"""Every figure that is argued about, from one set of values: numbers, or arrays of chances."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from selvedge.plan.economics.fleets import Year, year_of
from selvedge.plan.economics.inputs import Inputs
from selvedge.plan.economics.margins import Unit, unit_of
from selvedge.plan.economics.night import night_of
from selvedge.plan.economics.observed import Observed
from selvedge.plan.economics.prices import Priced, lowest
from selvedge.plan.economics.processors import OnProcessors, on_processors
from selvedge.plan.economics.quantities import Real, Values
from selvedge.plan.economics.renewals import renewed
from selvedge.plan.history import BadPlan
from selvedge.plan.published import Market


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A question as it is reckoned: the file, what was looked up for it, and what was seen."""

    inputs: Inputs
    prices: Mapping[str, Priced]
    """By offer."""
    theirs: Mapping[str, Priced]
    """By offer: the lowest of the vendors whom we stand beside."""
    seen: Observed | None = None


class Reckoned(msgspec.Struct, frozen=True, kw_only=True):
    """What comes of a set of values."""

    units: Mapping[str, Unit]
    now: Year
    next: Year
    cpu: OnProcessors


def theirs_of(inputs: Inputs, market: Market) -> dict[str, Priced]:
    """The price that ours is told to be below, for each offer that has one. Raises `BadPlan`."""
    for vendor in inputs.pricing.vendors:
        if vendor not in market.vendors and all(row.vendor != vendor for row in market.rows):
            words = f"{vendor!r} publishes no price here; known are {', '.join(market.vendors)}"
            raise BadPlan(f"pricing.vendors: {words}.")
    found = {one.id: lowest(one.model, inputs.pricing.vendors, market) for one in inputs.offers}
    return {name: one for name, one in found.items() if one is not None}


def reckon(case: Case, values: Values) -> Reckoned:
    """Offers, the fleet of two sizes, and processors in place of its GPUs."""
    inputs = case.inputs
    units = {one.id: unit_of(one, case.prices[one.id], values) for one in inputs.offers}
    unit, fleet = units[inputs.fleet.offer], inputs.fleet
    now = year_of(fleet.sites_now, unit, fleet, values, case.seen)
    later = year_of(fleet.sites_next, unit, fleet, values, case.seen)
    return Reckoned(
        units=units,
        now=now,
        next=later,
        cpu=on_processors(now.asked_mtokens / fleet.sites_now, unit, inputs, values),
    )


def uplift_of(found: Reckoned) -> Real:
    """How much more a site earns with GPUs than on processors, as a share of the latter."""
    return (found.now.profit / found.now.sites - found.cpu.profit) / np.abs(found.cpu.profit)


def step_of(found: Reckoned) -> Real:
    """What the next sites earn in a year, all together, beyond what those there are earn."""
    return found.next.profit - found.now.profit


def margin_below(case: Case, values: Values, name: str, below: float, use: Real) -> Real:
    """Of an offer, sold so far below others, at a mean use."""
    offer = case.inputs.offer(name)
    theirs = case.theirs.get(name, case.prices[name])
    return unit_of(offer, theirs, values, below=below).margin(use)


def with_offer(case: Case, name: str) -> Case:
    """The same question with another offer at the sites."""
    fleet = msgspec.structs.replace(case.inputs.fleet, offer=name)
    return msgspec.structs.replace(case, inputs=msgspec.structs.replace(case.inputs, fleet=fleet))


def figures(case: Case, values: Values) -> dict[str, Real]:
    """The measures that have intervals and tornados, by name."""
    found = reckon(case, values)
    night = night_of(found.now, found.units[case.inputs.fleet.offer], values)
    contracts = renewed(case.inputs, values)
    use = values["demand.use"]
    rows: dict[str, Real] = {
        "profit of the sites there are, USD a year": found.now.profit,
        "profit of all the sites planned, USD a year": found.next.profit,
        "profit of the sites to come, USD a year": step_of(found),
        "use of GPUs at the sites there are": found.now.use,
        "use of GPUs at all the sites planned": found.next.use,
        "profit with GPUs over processors alone": uplift_of(found),
        "night: price that clears it, of list": night.clearing,
        "night: price that earns most, of list": night.best,
        "night: gain, USD a year": night.gain,
        "net revenue retention with inference": contracts.retention_with,
        "net revenue retention without": contracts.retention_without,
    }
    for name, unit in found.units.items():
        rows[f"{name}: break-even use"] = unit.break_even
        rows[f"{name}: margin at the use planned for"] = unit.margin(use)
    return rows
