"""Burn rates over two windows: what fires, when it stops, and what is too little to tell."""

from __future__ import annotations

import pytest

from selvedge.ledger import (
    BURN_RULES,
    LONGEST_US,
    MINUTE_US,
    PPM,
    BurnRate,
    Objective,
    Sla,
    Span,
    Tally,
    burn_milli,
    burn_rates,
)
from tests.support.months import BEGIN_US, END_US

NOW_US = BEGIN_US + 20 * 1_440 * MINUTE_US + 30_000_000
SLA = Sla("gold", (Objective("*", availability_ppm=999_000),))


def rates(failing: range, *, per_minute: int = 10, share: int = 1) -> dict[str, BurnRate]:
    """Requests of three days by the minute; one of ``share`` fails in the ``failing`` minutes, as
    counted back from now."""
    table = {}
    for back in range(LONGEST_US // MINUTE_US):
        slot = (NOW_US // MINUTE_US - back) * MINUTE_US
        bad = per_minute // share if back in failing else 0
        table["t", "m", slot] = Tally({"answered": per_minute - bad, "failed": bad})
    found = burn_rates(table, "t", [Span(BEGIN_US, END_US, SLA)], NOW_US)
    return {one.rule: one for one in found}


def firing(found: dict[str, BurnRate]) -> list[str]:
    return [name for name, one in found.items() if one.firing]


def test_the_rules_are_the_workbooks() -> None:
    minutes = [(one.long_us // MINUTE_US, one.short_us // MINUTE_US) for one in BURN_RULES]
    assert minutes == [(60, 5), (360, 30), (4_320, 360)]
    assert [one.milli for one in BURN_RULES] == [14_400, 6_000, 1_000]
    # Of a budget of 30 days: 2 % in an hour, 5 % in six, 10 % in three days.
    spent = [one.milli * one.long_us // MINUTE_US * 1_000 // 43_200 for one in BURN_RULES]
    assert spent == [20_000, 50_000, 100_000]


def test_an_outage_fires_and_ends_with_it() -> None:
    assert firing(rates(range(0))) == []
    five = rates(range(5))  # the last five minutes: 50 of 600 in the hour: 83.3 times the budget
    assert five["1h/5m"].long_milli == 50 * 1_000_000 // 600
    assert five["1h/5m"].short_milli == 1_000_000
    assert "1h/5m" in firing(five)
    assert firing(rates(range(6, 11)))[:1] != ["1h/5m"], "it is over; the short window says so"


def test_a_slow_leak_is_a_ticket_alone() -> None:
    leak = rates(range(4_320), per_minute=1_000, share=500)  # 0.2 %: twice the budget
    assert {name: one.long_milli for name, one in leak.items()} == dict.fromkeys(leak, 2_000)
    assert firing(leak) == ["3d/6h"]
    assert leak["3d/6h"].severity == "ticket"


def test_few_requests_raise_no_alarm() -> None:
    span = [Span(BEGIN_US, END_US, SLA)]
    table = {("t", "m", NOW_US // MINUTE_US * MINUTE_US): Tally({"answered": 8, "failed": 1})}
    assert not any(one.firing for one in burn_rates(table, "t", span, NOW_US))
    table["", "m", NOW_US // MINUTE_US * MINUTE_US] = Tally({"failed": 1})  # and a probe
    assert all(one.firing for one in burn_rates(table, "t", span, NOW_US))
    assert burn_rates(table, "t", [Span(BEGIN_US, NOW_US, SLA)], NOW_US) == []
    latency = Sla("l", (Objective("m", ttft_p95_ms=1),))
    assert burn_rates(table, "t", [Span(BEGIN_US, END_US, latency)], NOW_US) == []


@pytest.mark.parametrize(
    ("promised", "good", "bad", "milli"),
    [
        (999_000, 999, 1, 1_000),
        (999_000, 1_000, 0, 0),
        (990_000, 0, 10, 100_000),
        (PPM, 10, 0, 0),
        (PPM, 10, 1, 1_000 * PPM),
        (990_000, 0, 0, None),
    ],
)
def test_rates(promised: int, good: int, bad: int, milli: int | None) -> None:
    assert burn_milli(promised, Tally({"answered": good, "failed": bad})) == milli
