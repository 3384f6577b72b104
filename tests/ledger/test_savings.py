"""What the cache has saved is a fold over receipts: calls, tokens, money and time."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from click.testing import CliRunner

from selvedge.adapters import find_parts, usage_of_parts
from selvedge.cli.main import commands
from selvedge.fabric import Outcome, Price, Receipt, Usage
from selvedge.ledger import (
    MonthlyUsage,
    PriceBook,
    Saved,
    SavingsFold,
    UsageAsked,
    bill_month,
    fold,
    us_of_day,
)
from tests.support.money import book, row, row_of, sold, write_part

AT_US = us_of_day("2026-11-10")
COSTS = {"openai/api": Price(100_000, 400_000, request=5)}


def answered(number: int, took_ms: int, **facts: object) -> Receipt:
    """A miss: an engine answered it."""
    given: dict[str, object] = {
        "cache": "miss",
        "received_us": AT_US + number,
        "ended_us": AT_US + number + took_ms * 1000,
        "served_pop": "openai",
        "served_engine": "api",
    }
    return sold(number, **given | facts)


def hit(number: int, paid: int, took_ms: int = 2, **facts: object) -> Receipt:
    """The answer of an earlier one, given again."""
    first = {"cache": "hit", "cache_from": sold(paid).id, "cache_entry": "ce_1"}
    return answered(number, took_ms, **first | facts)


def biller(prices: PriceBook) -> object:
    def bill(tenant: str, month: str, usage: MonthlyUsage) -> int | None:
        lines = bill_month(tenant, month, usage, prices).lines
        return sum(one.amount_micro_dollars for one in lines if one.group is not None)

    return bill


def saved(receipts: list[Receipt], prices: PriceBook | None = None) -> list[Saved]:
    fold = SavingsFold()
    for one in receipts:
        fold.take(one)
    bill = biller(prices or book())
    return list(fold.rows(bill, COSTS))  # type: ignore[arg-type]


def test_a_hit_saves_what_its_answer_had_used() -> None:
    prices = book(row("small", input=2_000_000, output=10_000_000, cache_hit=700))
    (found,) = saved([answered(1, 900), hit(2, 1, 3), hit(3, 1, 5)], prices)
    assert (found.tenant, found.model, found.month) == ("acme", "small", "2026-11")
    assert (found.asked, found.hits, found.hit_ppm) == (3, 2, 666_666)
    assert (found.input_tokens, found.output_tokens) == (2_000, 200)
    assert found.micro_dollars == 2 * (2_000 + 1_000) - 2 * 700, "what hits are billed is not saved"
    assert found.cost_micro_dollars == 2 * (100 + 40 + 5)
    assert (found.latency_us, found.untimed) == (897_000 + 895_000, 0)


def judged(number: int, **facts: object) -> Receipt:
    """A judge was asked; it answered, where nothing else is said."""
    given = {"purpose": "judge", "cache": "off", "cache_entry": "ce_1", "model": "wise"}
    return answered(number, 100, **{**given, **facts})


def test_judgements_are_the_operators_cost_and_nobodys_saving() -> None:
    failed = {"outcome": Outcome.FAILED, "usage": None, "served_engine": None, "served_pop": None}
    small, wise = saved([answered(1, 900), hit(2, 1), judged(3), judged(4), judged(5, **failed)])
    assert (small.model, small.judgements, small.judge_tokens) == ("small", 0, 0)
    assert (small.asked, small.hits, small.judge_cost_micro_dollars) == (2, 1, 0)
    assert (wise.model, wise.asked, wise.hits, wise.micro_dollars) == ("wise", 0, 0, 0)
    assert (wise.judgements, wise.judge_tokens) == (3, 2 * 1_100)
    assert wise.judge_cost_micro_dollars == 2 * (100 + 40 + 5)
    (unknown,) = saved([judged(1, served_engine="dear")])
    assert unknown.judge_cost_micro_dollars is None, "an engine whose cost nobody stated"


def test_time_is_held_against_who_paid_else_the_mean_else_nothing() -> None:
    (found,) = saved([answered(1, 400), answered(2, 800), hit(3, 99, 10)])
    assert (found.latency_us, found.untimed) == (590_000, 0)
    (found,) = saved([hit(3, 99, 10)])
    assert (found.latency_us, found.untimed) == (0, 1)
    (slower,) = saved([answered(1, 1), hit(2, 1, 9)])
    assert slower.latency_us == -8_000, "what took longer is told, too"


def test_who_asked_no_cache_counts_for_nothing() -> None:
    others = [
        sold(1),
        answered(2, 5, outcome=Outcome.FAILED),
        answered(3, 5, tenant="selvedge-probe"),
        answered(4, 5, usage=None),
    ]
    assert saved(others) == []


def test_what_has_no_price_is_said_so() -> None:
    (found,) = saved([hit(1, 9, served_pop="sin", served_engine="gpu")])
    assert found.cost_micro_dollars is None
    fold = SavingsFold()
    fold.take(hit(1, 9))
    (unpriced,) = fold.rows(lambda *_: None, COSTS)
    assert unpriced.micro_dollars is None


def test_tenants_models_and_months_are_told_apart_in_any_order() -> None:
    receipts = [
        answered(1, 500),
        hit(2, 1),
        hit(3, 1, tenant="other"),
        hit(4, 1, model="large"),
        hit(5, 1, received_us=us_of_day("2026-12-01"), ended_us=us_of_day("2026-12-01") + 2_000),
    ]
    found = saved(receipts)
    names = [(one.tenant, one.model, one.month, one.hits) for one in found]
    assert names == [
        ("acme", "large", "2026-11", 1),
        ("acme", "small", "2026-11", 1),
        ("acme", "small", "2026-12", 1),
        ("other", "small", "2026-11", 1),
    ]
    Random(7).shuffle(receipts)
    assert saved(receipts) == found


def test_the_command(tmp_path: Path) -> None:
    directory = tmp_path / "eea"
    usage = Usage(input_uncached=1_000, output=100, provenance="reported")
    made = [answered(1, 900, usage=usage), hit(2, 1, 3, usage=usage)]
    write_part(directory, 1, [row_of(one) for one in made])
    asked = ["savings", "--collected", str(directory), "--home", str(tmp_path / "home")]
    shown = CliRunner().invoke(commands, asked)
    assert shown.exit_code == 0, shown.output
    assert "50 %" in shown.output
    assert "0.9 s" in shown.output
    told = json.loads(CliRunner().invoke(commands, [*asked, "--json"]).output)
    assert [(one["hits"], one["input_tokens"], one["micro_dollars"]) for one in told] == [
        (1, 1_000, None)
    ]
    none = CliRunner().invoke(commands, [*asked, "--tenant", "nobody"])
    assert "no class of these receipts has a cache" in none.output


def test_judgements_are_nobodys_usage_in_parts_too(tmp_path: Path) -> None:
    receipts = [answered(1, 900), judged(2), judged(3)]
    rows = [row_of(one) for one in receipts]
    write_part(tmp_path, 1, rows)
    wish = UsageAsked(("tenant", "settled_by"))
    told = usage_of_parts(find_parts(tmp_path), wish)
    assert told == fold(rows, wish)
    assert list(told) == [("acme", "complete")]
    assert next(iter(told.values())).receipts == 1
