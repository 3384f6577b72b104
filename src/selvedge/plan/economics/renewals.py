"""Contracts that are renewed, with inference and without: revenue, and net revenue retention.

A quarter of the contracts is renewed each quarter: some leave, those that stay spend more or less,
and of those that have no inference yet some take it with them and spend on it from then on.
"""

from __future__ import annotations

import msgspec

from selvedge.plan.economics.inputs import Inputs
from selvedge.plan.economics.quantities import Real, Values


class Renewed(msgspec.Struct, frozen=True, kw_only=True):
    """By year, in dollars."""

    content: tuple[Real, ...]
    inference: tuple[Real, ...]
    gross_profit: tuple[Real, ...]
    """Of inference."""
    retention_without: Real
    """Revenue of a year over that of the year before, of the same customers."""
    retention_with: Real
    """The first year that all contracts have been renewed in, inference at full rate."""
    attach_needed: Real
    """Rate at which the target is met; above 1: not by attaching alone."""


def renewed(inputs: Inputs, values: Values) -> Renewed:
    """Quarter by quarter over the years, four groups of contracts by when they are renewed."""
    stay = 1 - values["renewals.churn"]
    base = stay - values["renewals.contraction"] + values["renewals.expansion"]
    rate, spend = values["renewals.attach_rate"], values["renewals.attach_spend"]
    groups = [values["renewals.revenue_usd_year"] / 16] * 4
    taken: list[Real] = [0.0 * rate] * 4
    content, inference = [], []
    for _ in range(inputs.renewals.years):
        kept, added = 0.0 * rate, 0.0 * rate
        for turn in range(4):
            groups[turn] = groups[turn] * base
            taken[turn] = taken[turn] + (1 - taken[turn]) * rate
            kept = kept + sum(groups)
            added = added + sum(one * share for one, share in zip(groups, taken, strict=True))
        content.append(kept)
        inference.append(added * spend)
    gain = base * spend
    return Renewed(
        content=tuple(content),
        inference=tuple(inference),
        gross_profit=tuple(one * values["renewals.gross_margin"] for one in inference),
        retention_without=base,
        retention_with=base + rate * gain,
        attach_needed=(inputs.renewals.target_retention - base) / gain,
    )
