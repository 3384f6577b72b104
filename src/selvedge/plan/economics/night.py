"""The price that clears the night, and the price that earns most.

Demand answers a price by a constant elasticity e: at x times the list price, x ** -e times as much
is asked for. What is won at night is in part taken from our own day, at the list price. Below the
cost of power nothing is sold, and above the list price neither; room is what GPUs have left.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from selvedge.plan.economics.fleets import Year
from selvedge.plan.economics.margins import MILLION, SECONDS, Unit
from selvedge.plan.economics.quantities import Real, Values

_STEPS: Final = 400
_LEAST: Final = 1e-6
"""Of the list price: power may cost nothing, and demand stays a number."""


class Night(msgspec.Struct, frozen=True, kw_only=True):
    """Prices are shares of the list price; dollars are of a year."""

    clearing: Real
    """At which all that is free would be asked for; 1: it is full at the list price."""
    floor: Real
    """At which power alone is paid."""
    best: Real
    """At which most is earned, day and night together."""
    gain: Real
    """Earned more than at the list price, each year."""
    clears: Real
    """1 where the clearing price is above the floor."""
    use_at_list: Real
    use_at_best: Real


def night_of(year: Year, unit: Unit, values: Values) -> Night:
    """By a grid of prices between the floor and the list price."""
    hours, most = values["night.hours"], values["demand.use_max"]
    elastic, taken = values["night.elasticity"], values["night.shifted_share"]
    full = year.sold_mtokens / year.use * hours / 24
    room = full * most
    at_list = np.minimum(year.asked_mtokens * hours / 24 * values["night.demand_of_mean"], room)
    price = unit.earned / (unit.speed.total * SECONDS / MILLION)
    cost = unit.moving_per_mtoken
    floor = np.minimum(cost / price, 1.0)
    clearing = np.minimum((at_list / room) ** (1 / np.maximum(elastic, 1e-9)), 1.0)
    best, most_gain, use = np.ones_like(price * at_list), at_list * 0.0, at_list / full
    for step in range(_STEPS + 1):
        share = floor + (1 - floor) * step / _STEPS
        sold = np.minimum(at_list * np.maximum(share, _LEAST) ** -elastic, room)
        won = sold - at_list
        gain = sold * (share * price - cost) - at_list * (price - cost)
        gain = gain - taken * won * (price - cost)
        better = gain > most_gain + 1e-9
        best = np.where(better, share, best)
        most_gain = np.where(better, gain, most_gain)
        use = np.where(better, sold / full, use)
    return Night(
        clearing=clearing,
        floor=floor,
        best=best,
        gain=most_gain,
        clears=np.where(clearing >= floor, 1.0, 0.0),
        use_at_list=at_list / full,
        use_at_best=use,
    )
