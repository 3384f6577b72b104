"""The whole answer to an economics question, as values: what JSON, tables and pages are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from selvedge.ledger import PriceBook
from selvedge.plan.comparison import Compared
from selvedge.plan.economics.fleets import Year, units_at
from selvedge.plan.economics.inputs import Inputs, quantities_of
from selvedge.plan.economics.margins import MILLION, Unit, unit_of
from selvedge.plan.economics.measures import (
    Case,
    Reckoned,
    figures,
    reckon,
    step_of,
    theirs_of,
)
from selvedge.plan.economics.night import night_of
from selvedge.plan.economics.observed import Observed
from selvedge.plan.economics.prices import MICRO, gaps, price_of
from selvedge.plan.economics.promises import PromiseCost, promise_cost
from selvedge.plan.economics.quantities import Quantity, Values, middle
from selvedge.plan.economics.renewals import Renewed, renewed
from selvedge.plan.economics.sensitivity import (
    Interval,
    Progress,
    Swing,
    chances,
    intervals,
    swings,
)
from selvedge.plan.economics.verdicts import Judge, Verdict
from selvedge.plan.history import BadPlan
from selvedge.plan.published import Market

_DAYS: Final = 365.0


class OfferRow(msgspec.Struct, frozen=True, kw_only=True):
    """One offer, where a country has no price of power of its own. Dollars, by the year."""

    offer: str
    model: str
    gpu: str
    gpus: int
    units_per_site: float
    grade: str
    tokens_per_s: float
    input_micro_dollars: int
    output_micro_dollars: int
    price_basis: str
    capital: float
    fixed: float
    earned_at_full_use: float
    break_even_use: float
    use: float
    margin: float
    profit: float
    cost_per_mtoken: float
    break_even_tokens_per_day: float
    """That all sites planned have to be asked for, for the last of them not to lose."""


class PlaceRow(msgspec.Struct, frozen=True, kw_only=True):
    """An offer at a PoP, or in a country."""

    offer: str
    place: str
    country: str
    usd_per_kwh: float
    use: float
    revenue: float
    cost: float
    margin: float | None
    """None: it sells nothing."""
    break_even_use: float
    headroom_95: float | None = None


class YearRow(msgspec.Struct, frozen=True, kw_only=True):
    """The fleet with so many sites."""

    sites: int
    use: float
    sold_mtokens: float
    revenue: float
    cost: float
    profit: float
    margin: float


class Economics(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    title: str
    as_of: str
    seed: int
    draws: int
    inputs: dict[str, Quantity]
    fleet_offer: str
    offers: tuple[OfferRow, ...]
    places: tuple[PlaceRow, ...]
    years: tuple[YearRow, ...]
    processors: dict[str, float]
    gaps: tuple[Compared, ...]
    night: dict[str, float]
    promise: PromiseCost
    renewals: dict[str, Any]  # Any: numbers, and numbers by year
    intervals: tuple[Interval, ...]
    tornado: tuple[Swing, ...]
    tornado_of: str
    tornado_middle: float
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A question: the file, and what is put beside it."""

    inputs: Inputs
    market: Market
    book: PriceBook | None = None
    seen: Observed | None = None
    seed: int = 1
    draws: int = 10_000
    tornado_of: str | None = None
    """Of the figures that have intervals, by name; None: what the sites to come earn."""


def answer(asked: Asked, told: Progress | None = None) -> Economics:
    """Reckon everything. Raises `BadPlan` where an offer has no price."""
    inputs, seen = asked.inputs, asked.seen
    case = Case(
        inputs=inputs,
        prices={one.id: price_of(one, inputs, asked.book, asked.market) for one in inputs.offers},
        theirs=theirs_of(inputs, asked.market),
        seen=seen,
    )
    quantities = quantities_of(inputs)
    centre = middle(quantities)
    found = reckon(case, centre)
    name, measure = _measure(case, centre, asked.tornado_of)
    drawn, columns = chances(case, quantities, seed=asked.seed, draws=asked.draws, told=told)
    sla = next(iter(asked.book.slas), None) if asked.book is not None else None
    sold = {row.offer: row for row in _offers(case, found, centre)}
    prices = {
        name: (row.input_micro_dollars, row.output_micro_dollars) for name, row in sold.items()
    }
    return Economics(
        title=inputs.title,
        as_of=inputs.as_of,
        seed=asked.seed,
        draws=asked.draws,
        inputs=quantities,
        fleet_offer=inputs.fleet.offer,
        offers=tuple(sold.values()),
        places=tuple(_places(case, centre)),
        years=tuple(_year(one) for one in (found.now, found.next)),
        processors=_plain(found.cpu),
        gaps=gaps(inputs, prices, asked.market),
        night=_plain(night_of(found.now, found.units[inputs.fleet.offer], centre)),
        promise=promise_cost(inputs, centre, asked.seed, sla),
        renewals=_renewals(renewed(inputs, centre)),
        intervals=tuple(intervals(case, quantities, columns)),
        tornado=tuple(swings(quantities, measure)),
        tornado_of=name,
        tornado_middle=measure(centre),
        verdicts=tuple(Judge(case, quantities, drawn).verdicts()),
        notes=_notes(asked),
    )


def _measure(
    case: Case, centre: Values, asked: str | None
) -> tuple[str, Callable[[Values], float]]:
    """The figure of the tornado, with its name. Raises `BadPlan` where there is none of it."""
    if asked is None:
        fleet = case.inputs.fleet
        name = f"profit of sites {fleet.sites_now + 1} to {fleet.sites_next}, USD a year"
        return name, lambda values: _number(step_of(reckon(case, values)))
    known = figures(case, centre)
    if asked not in known:
        raise BadPlan(f"--tornado: {asked!r} is no figure; they are: {'; '.join(known)}.")
    return asked, lambda values: _number(figures(case, values)[asked])


def _notes(asked: Asked) -> tuple[str, ...]:
    notes = [asked.market.caution]
    if asked.seen is None:
        notes.append("no report was given: demand by rank and night use are the file's assumptions")
    else:
        notes += asked.seen.notes
        known, planned = len(asked.seen.pops), asked.inputs.fleet.sites_next
        if known < planned:
            notes.append(f"the report has {known:,} PoPs, fewer than the {planned:,} sites planned")
    if asked.book is None:
        notes.append("no price book was given: prices are by the file, or its rule beside others")
    grades = {one.hardware for one in asked.inputs.offers if one.hardware is not None}
    if grades:
        notes.append("speeds by 'hardware' are the simulator's, of the grade that is shown")
    return tuple(notes)


def _offers(case: Case, found: Reckoned, centre: Values) -> list[OfferRow]:
    use = _number(centre["demand.use"])
    rows = []
    for offer in case.inputs.offers:
        unit, priced = found.units[offer.id], case.prices[offer.id]
        sold_in, sold_out = priced.usd(centre)
        rows.append(
            OfferRow(
                offer=offer.id,
                model=offer.model,
                gpu=offer.gpu,
                gpus=offer.gpus,
                units_per_site=_number(units_at(offer.id, centre)),
                grade=unit.speed.grade,
                tokens_per_s=_number(unit.speed.total),
                input_micro_dollars=round(_number(sold_in) * MICRO),
                output_micro_dollars=round(_number(sold_out) * MICRO),
                price_basis=priced.basis,
                capital=_number(unit.capital),
                fixed=_number(unit.fixed),
                earned_at_full_use=_number(unit.earned),
                break_even_use=_number(unit.break_even),
                use=use,
                margin=_number(unit.margin(use)),
                profit=_number(unit.profit(use)),
                cost_per_mtoken=_number(unit.cost_per_mtoken(use)),
                break_even_tokens_per_day=_asked_for(case, offer.id, unit, centre),
            )
        )
    return rows


def _asked_for(case: Case, name: str, unit: Unit, centre: Values) -> float:
    """Of all sites planned at the use that breaks even."""
    units = case.inputs.fleet.sites_next * _number(units_at(name, centre))
    return units * _number(unit.break_even * unit.speed.total) * 86_400


def _places(case: Case, centre: Values) -> list[PlaceRow]:
    """Every offer at every candidate of the report; without one, in every country of the file."""
    if case.seen is not None:
        return [row for offer in case.inputs.offers for row in _at_pops(case, centre, offer.id)]
    rows = []
    use = _number(centre["demand.use"])
    for offer in case.inputs.offers:
        for country, kwh in case.inputs.power.by_country.items():
            unit = unit_of(offer, case.prices[offer.id], centre, kwh=kwh)
            rows.append(_place(offer.id, country, country, kwh, (unit, use)))
    return rows


def _place(offer: str, place: str, country: str, kwh: float, used: tuple[Unit, float]) -> PlaceRow:
    unit, use = used
    revenue = _number(unit.earned) * use
    cost = _number(unit.fixed) + _number(unit.moving) * use
    return PlaceRow(
        offer=offer,
        place=place,
        country=country,
        usd_per_kwh=kwh,
        use=use,
        revenue=revenue,
        cost=cost,
        margin=1 - cost / revenue if revenue else None,
        break_even_use=_number(unit.break_even),
    )


def _at_pops(case: Case, centre: Values, name: str) -> list[PlaceRow]:
    """A candidate sells what must be served where it enters, and its part of all else."""
    assert case.seen is not None
    seen, fleet = case.seen, case.inputs.fleet
    offer = case.inputs.offer(name)
    local, most = _number(centre["demand.local_share"]), _number(centre["demand.use_max"])
    mtokens = _number(centre["demand.tokens_per_day"]) * _DAYS / MILLION
    units = _number(units_at(name, centre))
    rows = []
    for at, pop in enumerate(seen.pops[: fleet.candidates]):
        country = seen.countries[at]
        kwh = case.inputs.power.by_country.get(country, _number(centre["power.usd_per_kwh"]))
        unit = unit_of(offer, case.prices[name], centre, kwh=kwh)
        asked = mtokens * ((1 - local) / fleet.sites_next + local * float(seen.weights[at]))
        full = units * _number(unit.speed.total) * _DAYS * 86_400 / MILLION
        row = _place(name, pop, country, kwh, (unit, min(asked / full, most)))
        free = float(seen.headroom_95[at])
        row = msgspec.structs.replace(
            row,
            revenue=row.revenue * units,
            cost=row.cost * units,
            headroom_95=None if np.isnan(free) else free,
        )
        rows.append(row)
    return rows


def _year(one: Year) -> YearRow:
    return YearRow(
        sites=one.sites,
        use=_number(one.use),
        sold_mtokens=_number(one.sold_mtokens),
        revenue=_number(one.revenue),
        cost=_number(one.cost),
        profit=_number(one.profit),
        margin=_number(one.margin),
    )


def _renewals(one: Renewed) -> dict[str, Any]:
    return {
        "content_usd": [_number(each) for each in one.content],
        "inference_usd": [_number(each) for each in one.inference],
        "gross_profit_usd": [_number(each) for each in one.gross_profit],
        "retention_without": _number(one.retention_without),
        "retention_with": _number(one.retention_with),
        "attach_needed": _number(one.attach_needed),
    }


def _plain(one: msgspec.Struct) -> dict[str, float]:
    return {name: _number(getattr(one, name)) for name in one.__struct_fields__}


def _number(real: float | npt.NDArray[np.float64]) -> float:
    return float(np.asarray(real))
