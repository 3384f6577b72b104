"""A fleet of sites with GPUs: what they sell, and whether some more of them pay.

More sites do not make more demand. They can serve what only a site where it enters may serve (law,
latency), and what those that are there have no room for; all other demand is served already.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from selvedge.plan.economics.inputs import Fleet
from selvedge.plan.economics.margins import MILLION, SECONDS, Unit
from selvedge.plan.economics.observed import Observed
from selvedge.plan.economics.quantities import Real, Values

_DAYS: Final = SECONDS / 86_400


class Year(msgspec.Struct, frozen=True, kw_only=True):
    """A year of so many sites, in dollars."""

    sites: int
    asked_mtokens: Real
    """Of what they may serve."""
    sold_mtokens: Real
    use: Real
    revenue: Real
    cost: Real

    @property
    def profit(self) -> Real:
        """Revenue less cost."""
        return self.revenue - self.cost

    @property
    def margin(self) -> Real:
        """Profit as a share of revenue."""
        return self.profit / self.revenue


def units_at(offer: str, values: Values) -> Real:
    """Groups of an offer at a site."""
    return values.get(f"offers.{offer}.units_per_site", values["fleet.units_per_site"])


def covered(sites: int, fleet: Fleet, values: Values, seen: Observed | None) -> Real:
    """Of all demand, what enters at the so many busiest PoPs."""
    if seen is not None:
        return seen.covered(sites)
    power = values["demand.concentration"]
    return _ranks(sites, power) / _ranks(fleet.pops, power)


def _ranks(count: int, power: Real) -> Real:
    """The sum of rank ** -power (Euler-Maclaurin; exact within 0.1 %)."""
    one = np.where(np.abs(1 - power) < 1e-6, 1 - 1e-6, power)
    whole = (count ** (1 - one) - 1) / (1 - one)
    ends = (1 + count**-one) / 2 + one * (1 - count ** (-one - 1)) / 12
    found: Real = whole + ends
    return found


def year_of(
    sites: int, unit: Unit, fleet: Fleet, values: Values, seen: Observed | None = None
) -> Year:
    """What so many sites sell, earn and cost."""
    local = values["demand.local_share"]
    reach = (1 - local) + local * covered(sites, fleet, values, seen)
    asked = values["demand.tokens_per_day"] * _DAYS / MILLION * reach
    units = sites * units_at(fleet.offer, values)
    full = units * unit.speed.total * SECONDS / MILLION
    sold = np.minimum(asked, full * values["demand.use_max"])
    use = sold / full
    return Year(
        sites=sites,
        asked_mtokens=asked,
        sold_mtokens=sold,
        use=use,
        revenue=units * unit.earned * use,
        cost=units * (unit.fixed + unit.moving * use),
    )
