"""What tenants spend by the hour, at list prices; and which of their alerts that sets off.

List prices are what budgets in money count: a contract's discount makes the invoice smaller, never
larger. An alert fires once for each of its thresholds and month: the id of what it says is made of
these three, so that telling it twice is telling it once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from selvedge.fabric import Price
from selvedge.ledger.burn_rates import BurnRate
from selvedge.ledger.settlement import BILLING, Sums
from selvedge.ledger.spend_forecast import HOUR_US, SpendForecast
from selvedge.ledger.usage_rows import UsageTable

PPM: Final = 1_000_000
SPEND_BY: Final = ("tenant", "project", "model", "settled_by", "hour")
"""How usage is told for spending."""
AlertKind = Literal["budget", "forecast", "burn"]
PERCENT_MAX: Final = 1_000
TRIAL: Final = "test"
"""The threshold of what only tries whether telling works."""

SpendHours = dict[tuple[str, str], dict[int, int]]
"""Tenant and project -> hour -> micro-dollars."""


class AlertRule(msgspec.Struct, frozen=True):
    """What is to be told: ``budget`` when that percent of it is spent, ``forecast`` when the month
    is going to come to it, ``burn`` when an error budget burns too fast (no thresholds)."""

    id: str
    tenant: str
    kind: AlertKind
    project: str | None = None
    thresholds: tuple[int, ...] = ()
    budget_micro_dollars: int | None = None


class AlertEvent(msgspec.Struct, frozen=True):
    """One thing to be told. ``data`` is what its receiver reads."""

    id: str
    alert: str
    tenant: str
    month: str
    threshold: str
    type: str
    at_us: int
    data: dict[str, Any]  # Any: JSON

    def body(self) -> bytes:
        """As it is sent (Standard Webhooks: type, timestamp, data)."""
        at = datetime.fromtimestamp(self.at_us // 1_000_000, UTC)
        told = {"type": self.type, "timestamp": f"{at:%Y-%m-%dT%H:%M:%SZ}", "data": self.data}
        return msgspec.json.encode(told)


def cost_ppm(price: Price, sums: Sums, requests: int = 0) -> int:
    """What usage costs, in millionths of a micro-dollar: exact. ``requests`` pay the fee each."""
    cached = price.input if price.cached is None else price.cached
    write = price.input if price.cache_write is None else price.cache_write
    prompt = sums.input_uncached * price.input + sums.cache_write * write + sums.cache_read * cached
    made = (sums.output + sums.reasoning) * price.output
    return prompt + made + requests * price.request * PPM


def spend_hours(
    usage: UsageTable, prices: Mapping[str, Price | None]
) -> tuple[SpendHours, frozenset[str]]:
    """Spending of usage told by `SPEND_BY`, each hour rounded down; and models without a price.

    The fee is of every request whose end bills: one that ended so without a token pays it here too.
    """
    exact: dict[tuple[str, str], dict[int, int]] = {}
    unpriced: set[str] = set()
    for (tenant, project, model, end, hour), sums in usage.items():
        price, made = prices.get(model), sums.output + sums.reasoning
        bills = sums.input_uncached + sums.cache_read + sums.cache_write + made > 0
        if price is None:
            if bills:
                unpriced.add(model)
            continue
        requests = sums.receipts if bills and end in BILLING else 0
        at = _hour_us(hour)
        hours = exact.setdefault((tenant, project), {})
        hours[at] = hours.get(at, 0) + cost_ppm(price, sums, requests)
    found = {
        whose: {at: cost // PPM for at, cost in hours.items()} for whose, hours in exact.items()
    }
    return found, frozenset(unpriced)


def _hour_us(hour: str) -> int:
    found = datetime.strptime(hour, "%Y-%m-%dT%H").replace(tzinfo=UTC)
    return round(found.timestamp()) * 1_000_000 // HOUR_US * HOUR_US


def hours_of(spending: SpendHours, tenant: str, project: str | None) -> dict[int, int]:
    """The hours of a project, or of a tenant's projects together."""
    found: dict[int, int] = {}
    for (who, what), hours in spending.items():
        if who == tenant and project in (None, what):
            for at, cost in hours.items():
                found[at] = found.get(at, 0) + cost
    return found


def event_id(alert: str, month: str, threshold: str) -> str:
    """The id of what one alert says once in a month."""
    told = f"{alert}\n{month}\n{threshold}".encode()
    return f"evt_{hashlib.sha256(told).hexdigest()[:32]}"


def money_due(rule: AlertRule, month: str, found: SpendForecast, now_us: int) -> list[AlertEvent]:
    """What a rule of kind ``budget`` or ``forecast`` has to tell by now."""
    budget = rule.budget_micro_dollars
    if budget is None or rule.kind == "burn":
        return []
    amount = found.spent if rule.kind == "budget" else found.expected
    if rule.kind == "forecast" and found.low is None:
        return []  # two days are not known yet: no forecast to wake anybody with
    facts = {
        "month": month,
        "tenant": rule.tenant,
        "project": rule.project,
        "budget_micro_dollars": budget,
        "spent_micro_dollars": found.spent,
        "forecast_micro_dollars": found.expected,
        "forecast_low_micro_dollars": found.low,
        "forecast_high_micro_dollars": found.high,
    }
    word = "budget.threshold_reached" if rule.kind == "budget" else "budget.forecast_exceeded"
    return [
        _event(rule, month, (f"{percent} %", word), {"percent": percent, **facts}, now_us)
        for percent in rule.thresholds
        if amount * 100 >= percent * budget
    ]


def burn_due(
    rule: AlertRule, month: str, rates: Iterable[BurnRate], now_us: int
) -> list[AlertEvent]:
    """What a rule of kind ``burn`` has to tell by now: once a month, model and pair of windows."""
    if rule.kind != "burn":
        return []
    return [
        _event(
            rule,
            month,
            (f"{rate.model} {rate.rule}", "error_budget.burning"),
            {"month": month, **msgspec.to_builtins(rate)},
            now_us,
        )
        for rate in rates
        if rate.firing and rate.tenant == rule.tenant
    ]


def trial(rule: AlertRule, number: str, now_us: int) -> AlertEvent:
    """Something to tell that says nothing but that telling works."""
    words = {"tenant": rule.tenant, "alert": rule.id, "kind": rule.kind}
    return _event(rule, number, (TRIAL, "alert.test"), words, now_us)


def _event(
    rule: AlertRule, month: str, told: tuple[str, str], data: dict[str, Any], now_us: int
) -> AlertEvent:  # Any: JSON
    threshold, word = told
    return AlertEvent(
        id=event_id(rule.id, month, threshold),
        alert=rule.id,
        tenant=rule.tenant,
        month=month,
        threshold=threshold,
        type=word,
        at_us=now_us,
        data={"alert": rule.id, **data},
    )
