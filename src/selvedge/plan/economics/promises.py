"""What a service level costs: credits that are to be expected, and the fee that pays for them."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from selvedge.ledger import PPM, Sla
from selvedge.plan.economics.inputs import CreditStep, Inputs
from selvedge.plan.economics.quantities import Values

_MONTHS: Final = 100_000
_MINUTES: Final = 365.25 * 24 * 60 / 12


class PromiseCost(msgspec.Struct, frozen=True, kw_only=True):
    """Of one contract, by the month, in dollars."""

    mean_availability: float
    months_missed: float
    """Share of months below the first step of the table."""
    worst_percentile: float
    """Availability of the worst month in a hundred."""
    credit_share: float
    """Of charges, on average."""
    credit_usd: float
    fee_usd: float
    fee_needed_usd: float
    fee_per_mtoken: float
    """The fee that is needed, as dollars on each million tokens."""
    fee_of_charges: float
    fee_needed_alone_usd: float
    """Were no outage hidden by another site."""
    steps: tuple[CreditStep, ...]


def steps_of(sla: Sla) -> tuple[CreditStep, ...]:
    """The table of credits of a price book's service level."""
    rows = ((one.below_ppm / PPM, one.credit_ppm / PPM) for one in sla.credits)
    return tuple(CreditStep(below=below, credit=credit) for below, credit in rows)


def promise_cost(inputs: Inputs, values: Values, seed: int, sla: Sla | None = None) -> PromiseCost:
    """A hundred thousand months of outages: Poisson in number, log-normal in length."""
    steps = steps_of(sla) if sla is not None and sla.credits else inputs.promise.credits
    most = sla.credit_ppm_max / PPM if sla is not None else 1.0
    available = _months(values, seed)
    share = _credit(available, steps, most)
    alone = _credit(_months({**values, "promise.masked_share": 0.0}, seed), steps, most)
    charges = float(values["promise.charges_usd_month"])
    needed = share * charges
    first = max((step.below for step in steps), default=0.0)
    mtokens = float(values["promise.tokens_per_month"]) / 1e6
    return PromiseCost(
        mean_availability=float(available.mean()),
        months_missed=float((available < first).mean()),
        worst_percentile=float(np.quantile(available, 0.01)),
        credit_share=share,
        credit_usd=needed,
        fee_usd=float(values["promise.fee_usd_month"]),
        fee_needed_usd=needed,
        fee_per_mtoken=needed / mtokens,
        fee_of_charges=share,
        fee_needed_alone_usd=alone * charges,
        steps=steps,
    )


def _credit(
    available: npt.NDArray[np.float64], steps: tuple[CreditStep, ...], most: float
) -> float:
    """Share of charges that comes back, on average of months."""
    credit = np.zeros_like(available)
    for step in steps:
        credit = np.where(available < step.below, np.maximum(credit, step.credit), credit)
    return float(np.minimum(credit, most).mean())


def _months(values: Values, seed: int) -> npt.NDArray[np.float64]:
    """Availability of each month, as a share."""
    generator = np.random.default_rng([seed, 7])
    seen = float(values["promise.outages_per_year"]) / 12
    seen *= 1 - float(values["promise.masked_share"])
    counts = generator.poisson(seen, _MONTHS)
    sigma = float(values["promise.outage_sigma"])
    lengths = np.exp(sigma * generator.standard_normal(int(counts.sum())))
    lengths *= float(values["promise.outage_minutes"])
    down = np.bincount(np.repeat(np.arange(_MONTHS), counts), lengths, minlength=_MONTHS)
    found: npt.NDArray[np.float64] = np.maximum(0.0, 1 - down / _MINUTES)
    return found
