"""Spending by the hour, and which alerts it sets off: each once for a threshold and month."""

from __future__ import annotations

import json
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.fabric import Price, Usage
from selvedge.ledger import (
    DAY_US,
    HOUR_US,
    SPEND_BY,
    AlertRule,
    BurnRate,
    SpendForecast,
    Sums,
    UsageAsked,
    burn_due,
    cost_of,
    cost_ppm,
    event_id,
    fold,
    hours_of,
    money_due,
    month_of,
    spend_hours,
    trial,
)
from tests.ledger.test_service_levels import row
from tests.support.months import BEGIN_US

PRICES = {"a": Price(input=20_000, output=80_000, cached=5_000), "b": Price(10, 20), "free": None}
PRICES["fees"] = Price(input=20_000, output=80_000, cached=5_000, cache_write=30_000, request=7)
COUNT = st.integers(0, 10**6)


@given(st.tuples(COUNT, COUNT, COUNT, COUNT, COUNT), st.sampled_from(["a", "b", "fees"]))
def test_what_usage_costs_is_what_budgets_count(counts: tuple[int, ...], model: str) -> None:
    price = PRICES[model]
    assert price is not None
    usage = Usage(*counts, provenance="reported")
    exact = cost_ppm(price, Sums(1, *counts, 0), requests=int(usage.input + usage.generated > 0))
    assert cost_of(price, usage) == -(-exact // 1_000_000)


def test_hours_by_tenant_and_project() -> None:
    usage = {
        ("t", "p", "a", "complete", "2026-11-01T00"): Sums(1, 1_000_000, 0, 0, 500_000),
        ("t", "q", "a", "complete", "2026-11-01T00"): Sums(1, 50),  # a micro-dollar exactly
        ("t", "q", "a", "complete", "2026-11-01T01"): Sums(1, 99),
        ("u", "q", "free", "complete", "2026-11-01T01"): Sums(1, 99),
        ("u", "q", "-", "refused_caller", "2026-11-01T01"): Sums(3),  # refused: nothing to pay
    }
    found, unpriced = spend_hours(usage, PRICES)
    assert found == {
        ("t", "p"): {BEGIN_US: 20_000 + 40_000},
        ("t", "q"): {BEGIN_US: 1, BEGIN_US + HOUR_US: 1},
    }
    assert unpriced == {"free"}
    assert hours_of(found, "t", None) == {BEGIN_US: 60_001, BEGIN_US + HOUR_US: 1}
    assert hours_of(found, "t", "q") == {BEGIN_US: 1, BEGIN_US + HOUR_US: 1}
    assert hours_of(found, "nobody", None) == {}


def test_fees_are_of_requests_whose_end_bills() -> None:
    hour = "2026-11-01T00"
    usage = {
        ("t", "p", "fees", "complete", hour): Sums(3, 50, 0, 100, 0),  # 1 + 3 micro-dollars, 3 fees
        ("t", "p", "fees", "gone_after", hour): Sums(1, 0, 0, 0, 50),  # 4, and a fee
        ("t", "p", "fees", "cache_hit", hour): Sums(9),
        ("t", "p", "fees", "refused_policy", hour): Sums(9),
        ("t", "p", "free", "complete", hour): Sums(1, 0, 0, 0, 0, 5),
    }
    found, unpriced = spend_hours(usage, PRICES)
    assert found == {("t", "p"): {BEGIN_US: 1 + 3 + 3 * 7 + 4 + 7}}
    assert unpriced == {"free"}, "reasoning is output"


def test_rows_are_told_by_the_hour() -> None:
    rows = [row(1), row(2, received_us=BEGIN_US + 26 * HOUR_US + 1)]
    keys = set(fold(rows, UsageAsked(SPEND_BY)))
    assert {key[-1] for key in keys} == {"2026-11-01T00", "2026-11-02T02"}
    assert (month_of(BEGIN_US), month_of(BEGIN_US - 1)) == ("2026-11", "2026-10")


BUDGET = AlertRule("b", "t", "budget", None, (50, 80, 100), 1_000)


def spent(amount: int, expected: int | None = None, low: int | None = 0) -> SpendForecast:
    return SpendForecast(amount, amount if expected is None else expected, low, 10**9, 14)


@pytest.mark.parametrize(
    ("amount", "told"),
    [
        (0, []),
        (499, []),
        (500, ["50 %"]),
        (799, ["50 %"]),
        (800, ["50 %", "80 %"]),
        (5_000, ["50 %", "80 %", "100 %"]),
    ],
)
def test_a_budget_tells_at_its_thresholds(amount: int, told: list[str]) -> None:
    found = money_due(BUDGET, "2026-11", spent(amount), BEGIN_US)
    assert [one.threshold for one in found] == told
    assert {one.type for one in found} <= {"budget.threshold_reached"}


def test_a_forecast_tells_before_it_is_spent() -> None:
    rule = msgspec.structs.replace(BUDGET, kind="forecast", thresholds=(100,))
    assert money_due(rule, "2026-11", spent(10, 999), BEGIN_US) == []
    (found,) = money_due(rule, "2026-11", spent(10, 1_000), BEGIN_US)
    assert (found.type, found.data["spent_micro_dollars"]) == ("budget.forecast_exceeded", 10)
    assert money_due(rule, "2026-11", spent(10, 1_000, None), BEGIN_US) == [], "too little known"
    burn = msgspec.structs.replace(rule, kind="burn")
    assert money_due(burn, "2026-11", spent(10, 1_000), BEGIN_US) == []


def test_burning_is_told_once_a_model_and_pair_of_windows() -> None:
    rate = BurnRate("t", "m", "gold", "1h/5m", "page", 14_400, 20_000, 20_000, 99, True)
    other = msgspec.structs.replace(rate, tenant="u")
    cold = msgspec.structs.replace(rate, firing=False)
    rule = AlertRule("b", "t", "burn")
    (found,) = burn_due(rule, "2026-11", [rate, other, cold], BEGIN_US)
    assert (found.threshold, found.type) == ("m 1h/5m", "error_budget.burning")
    assert found.data["long_milli"] == 20_000
    assert burn_due(BUDGET, "2026-11", [rate], BEGIN_US) == []


def test_the_id_is_of_alert_month_and_threshold() -> None:
    early = money_due(BUDGET, "2026-11", spent(600), BEGIN_US)
    late = money_due(BUDGET, "2026-11", spent(700), BEGIN_US + DAY_US)
    assert [one.id for one in early] == [one.id for one in late]
    after = money_due(BUDGET, "2026-12", spent(700), BEGIN_US + 31 * DAY_US)
    assert after[0].id != late[0].id
    rng = Random(1)
    made = {event_id(f"a{rng.random()}", "2026-11", "50 %") for _ in range(1_000)}
    assert len(made) == 1_000


def test_the_body_is_the_specifications() -> None:
    body = json.loads(trial(BUDGET, "x", BEGIN_US).body())
    assert body == {
        "type": "alert.test",
        "timestamp": "2026-11-01T00:00:00Z",
        "data": {"alert": "b", "tenant": "t", "kind": "budget"},
    }
