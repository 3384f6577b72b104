"""What a group of GPUs earns and costs in a year, and the use at which it breaks even."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from selvedge.plan.economics.inputs import Offer
from selvedge.plan.economics.prices import Priced
from selvedge.plan.economics.quantities import Real, Values
from selvedge.plan.economics.speeds import Speed, speed_of
from selvedge.plan.fit import find_gpu

HOURS: Final = 8760.0
SECONDS: Final = HOURS * 3600
MILLION: Final = 1e6
_LEAST: Final = 1e-9


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """One group of GPUs with its model, by the year, in dollars. Power depends on use."""

    speed: Speed
    capital: Real
    """Paid at the start."""
    fixed: Real
    """Each year, used or not: capital, upkeep, room, power of waiting."""
    moving: Real
    """More of power each year at full use."""
    earned: Real
    """Revenue each year at full use."""
    kw: Real

    def profit(self, use: Real) -> Real:
        """Of a year, at a mean use."""
        return (self.earned - self.moving) * use - self.fixed

    def margin(self, use: Real) -> Real:
        """Profit as a share of revenue."""
        return 1 - (self.fixed / use + self.moving) / self.earned

    @property
    def break_even(self) -> Real:
        """The mean use at which it earns what it costs; above 1: never."""
        found: Real = self.fixed / np.maximum(self.earned - self.moving, _LEAST)
        return found

    def cost_per_mtoken(self, use: Real) -> Real:
        """Dollars per million tokens, of prompts and answers alike."""
        return (self.fixed / use + self.moving) / (self.speed.total * SECONDS / MILLION)

    @property
    def moving_per_mtoken(self) -> Real:
        """What one million tokens more cost: power."""
        return self.moving / (self.speed.total * SECONDS / MILLION)


def annuity(rate: Real, years: Real, residual: Real) -> Real:
    """Of a dollar, each year: interest and repayment, less what is left of it at the end."""
    worth = (1 + rate) ** -years
    return (1 - residual * worth) * rate / (1 - worth)


def unit_of(
    offer: Offer,
    priced: Priced,
    values: Values,
    *,
    below: Real | None = None,
    kwh: Real | None = None,
) -> Unit:
    """The group of an offer. ``below``: of the rule's price; ``kwh``: a country's dollars."""
    _, gpu = find_gpu(offer.gpu)
    speed = speed_of(offer, values)
    price = values.get(f"offers.{offer.id}.gpu_price_usd", float(gpu.price_usd))
    capital = offer.gpus * price * (1 + values["capital.server_share"])
    rate = values["capital.cost_of_capital"]
    years, left = values["capital.depreciation_years"], values["capital.residual_share"]
    paid = capital * (annuity(rate, years, left) + values["capital.upkeep_share"])
    host, watts = values["power.host_watts"], float(gpu.watts)
    each = values["power.usd_per_kwh"] if kwh is None else kwh
    dear = each * values["power.pue"] * HOURS / 1000 * offer.gpus
    idle, busy = values["power.idle_share"], values["power.busy_share"]
    kw = offer.gpus * (watts * busy + host) / 1000
    room = kw * values["space.usd_per_kw_month"] * 12
    sold_in, sold_out = priced.usd(values, below)
    mix = values["demand.input_per_output"]
    return Unit(
        speed=speed,
        capital=capital,
        fixed=paid + room + (watts * idle + host) * dear,
        moving=watts * np.maximum(busy - idle, 0.0) * dear,
        earned=speed.output * SECONDS / MILLION * (sold_out + mix * sold_in),
        kw=kw,
    )
