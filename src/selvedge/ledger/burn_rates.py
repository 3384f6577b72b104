"""How fast error budgets burn, over two windows at a time.

The multiwindow, multi-burn-rate alerts of Google's SRE workbook (chapter 5, "Alerting on SLOs"): a
rate of 1 spends exactly the budget in the whole time of the objective; the long window says that it
matters, the short one that it still goes on. Rates are whole thousandths, rounded down.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from selvedge.ledger.price_book import PPM
from selvedge.ledger.service_levels import (
    Slots,
    Span,
    Tallies,
    Tally,
    by_model,
    gather,
    models_of,
    objective_of,
)

MINUTE_US: Final = 60_000_000
REQUESTS_MIN: Final = 10
"""Fewer in the long window raise no alarm: one of three is no rate."""
Severity = Literal["page", "ticket"]


class BurnRule(msgspec.Struct, frozen=True):
    """Two windows, and the rate from which both raise an alarm, in thousandths."""

    name: str
    long_us: int
    short_us: int
    milli: int
    severity: Severity


BURN_RULES: Final = (
    BurnRule("1h/5m", 60 * MINUTE_US, 5 * MINUTE_US, 14_400, "page"),
    BurnRule("6h/30m", 360 * MINUTE_US, 30 * MINUTE_US, 6_000, "page"),
    BurnRule("3d/6h", 4_320 * MINUTE_US, 360 * MINUTE_US, 1_000, "ticket"),
)
LONGEST_US: Final = max(one.long_us for one in BURN_RULES)


class BurnRate(msgspec.Struct, frozen=True):
    """How fast a budget burns by one rule; None: nothing is promised or nothing counted."""

    tenant: str
    model: str
    sla: str
    rule: str
    severity: Severity
    threshold_milli: int
    long_milli: int | None
    short_milli: int | None
    requests: int
    """That count in the long window, probes included where they do."""
    firing: bool


def burn_milli(promised_ppm: int, tally: Tally) -> int | None:
    """Share of failures over the share that may fail. Where none may, any is too much."""
    good, bad = tally.good, tally.bad
    if not good + bad:
        return None
    may = (PPM - promised_ppm) * (good + bad)
    if not may:
        return 1_000 * PPM if bad else 0
    return bad * PPM * 1_000 // may


def burn_rates(tallies: Tallies, tenant: str, spans: Iterable[Span], now_us: int) -> list[BurnRate]:
    """Every model by every rule. ``tallies`` are of minutes; the minute of ``now_us`` counts."""
    end = now_us // MINUTE_US * MINUTE_US + MINUTE_US
    found: list[BurnRate] = []
    slots = by_model(tallies)
    for span in spans:
        if not span.since_us <= now_us < span.until_us:
            continue
        for model in models_of(tallies, tenant, span.sla):
            objective = objective_of(span.sla, model)
            promised = objective.availability_ppm if objective is not None else None
            if promised is not None:
                found += [
                    _rate(slots, (tenant, model, span.sla.id), promised, (rule, end))
                    for rule in BURN_RULES
                ]
    return found


def _rate(
    slots: Slots, whose: tuple[str, str, str], promised: int, rule_end: tuple[BurnRule, int]
) -> BurnRate:
    rule, end = rule_end
    tenant, model, sla = whose
    long, _ = gather(slots, tenant, model, lambda slot: end - rule.long_us <= slot < end)
    short, _ = gather(slots, tenant, model, lambda slot: end - rule.short_us <= slot < end)
    rates = burn_milli(promised, long), burn_milli(promised, short)
    requests = long.good + long.bad
    hot = all(one is not None and one >= rule.milli for one in rates)
    return BurnRate(
        tenant=tenant,
        model=model,
        sla=sla,
        rule=rule.name,
        severity=rule.severity,
        threshold_milli=rule.milli,
        long_milli=rates[0],
        short_milli=rates[1],
        requests=requests,
        firing=hot and requests >= REQUESTS_MIN,
    )
