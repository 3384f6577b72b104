"""What of receipts is demand, and how it is counted by hours."""

from __future__ import annotations

from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.fabric import REFUSALS, Outcome, Receipt, Tried
from selvedge.ledger import (
    DEMAND_KINDS,
    HOUR_US,
    OTHERS,
    ROWS,
    DemandAsked,
    DemandFold,
    HourWindow,
    Sealed,
    UsageRow,
    demand_kinds_table,
    join_tallies,
    row_of_receipt,
    seal,
)
from tests.support.observed import BEGIN_HOUR, BEGIN_US, asked_at
from tests.support.shipping import SALT

NOW_US = BEGIN_US + 30 * 24 * HOUR_US
ASKED = DemandAsked(NOW_US)


def row_of(receipt: Receipt) -> UsageRow:
    sealed: Sealed = seal(receipt, 1, SALT, None)
    return row_of_receipt(sealed, sealed.decode())


def tried(outcome: str, tokens: int) -> dict[str, object]:
    one = Tried("sin", "SG", "e", outcome, "", tokens, 1, 2)  # type: ignore[arg-type]
    return {"attempts": (one,)}


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        ({"outcome": Outcome.COMPLETE}, "answered"),
        ({"outcome": Outcome.COMPLETE, "cache": "hit"}, "cached"),
        ({"outcome": Outcome.COMPLETE, "repeats": "rcpt_1"}, "repeated"),
        ({"outcome": Outcome.COMPLETE, "purpose": "batch"}, "batch"),
        ({"outcome": Outcome.FAILED, "purpose": "batch", **tried("failed", 0)}, "batch"),
        ({"outcome": Outcome.REFUSED, "purpose": "batch", "code": "invalid_json"}, "wrong"),
        ({"outcome": Outcome.COMPLETE, "purpose": "probe"}, "own"),
        ({"outcome": Outcome.COMPLETE, "purpose": "judge"}, "own"),
        ({"outcome": Outcome.COMPLETE, "model": "gpt"}, "provider_model"),
        ({"outcome": Outcome.COMPLETE, "model": "gpt", "cache": "hit"}, "provider_model"),
        ({"outcome": Outcome.COMPLETE, "model": "gpt", "purpose": "batch"}, "provider_model"),
        ({"outcome": Outcome.COMPLETE, "cache": "hit", "purpose": "batch"}, "cached"),
        ({"outcome": Outcome.COMPLETE, "served_pop": "azure"}, "at_provider"),
        ({"outcome": Outcome.CLIENT_GONE, **tried("gone", 3)}, "answered"),
        ({"outcome": Outcome.CLIENT_GONE, **tried("gone", 0)}, "in_vain"),
        ({"outcome": Outcome.CLIENT_GONE, "model": None}, "wrong"),
        ({"outcome": Outcome.FAILED, "code": "deadline_exceeded"}, "in_vain"),
        ({"outcome": Outcome.FAILED, "code": "deadline_exceeded", "model": None}, "wrong"),
        ({"outcome": Outcome.FAILED, **tried("failed", 2)}, "failed"),
        ({"outcome": Outcome.INTERRUPTED}, "failed"),
        ({"outcome": Outcome.REFUSED, "code": "no_engine_available"}, "no_room"),
        ({"outcome": Outcome.REFUSED, "code": "overloaded", "model": None}, "no_room"),
        ({"outcome": Outcome.REFUSED, "code": "residency_model"}, "no_place"),
        ({"outcome": Outcome.REFUSED, "code": "residency_ingress"}, "barred"),
        ({"outcome": Outcome.REFUSED, "code": "key_scope"}, "barred"),
        ({"outcome": Outcome.REFUSED, "code": "rate_limit_exceeded"}, "limited"),
        ({"outcome": Outcome.REFUSED, "code": "insufficient_quota"}, "limited"),
        ({"outcome": Outcome.REFUSED, "code": "quota_unknown"}, "failed"),
        ({"outcome": Outcome.REFUSED, "code": "model_not_found"}, "wrong"),
        ({"outcome": Outcome.COMPLETE, "tenant": "both"}, OTHERS),
        ({"outcome": Outcome.COMPLETE, "model": None}, OTHERS),
    ],
)
def test_what_is_demand(facts: dict[str, object], kind: str) -> None:
    asked = ASKED._replace(
        providers=frozenset({"azure"}),
        provider_models=frozenset({"gpt"}),
        tenant="asean" if facts.get("tenant") else None,
        model="scripted" if kind == OTHERS else None,
    )
    assert asked.kind(row_of(asked_at(1, **facts))) == kind


def test_every_end_of_a_receipt_has_a_kind() -> None:
    """The last two rows of the settlement are of attempts; no receipt has them."""
    told = [end for kind in DEMAND_KINDS.values() for end in kind.ends]
    assert sorted(told) == sorted([*ROWS][:-2])
    for code in REFUSALS:
        receipt = asked_at(1, outcome=Outcome.REFUSED, code=code)
        assert ASKED.kind(row_of(receipt)) not in ("unknown", "answered")


def test_a_row_of_a_newer_version_is_nobodys_demand() -> None:
    row = msgspec.structs.replace(row_of(asked_at(1)), settled_by="dreamt")
    assert ASKED.kind(row) == "unknown"


def test_classes_with_a_policy_and_keys_for_some_zones_are_narrowed() -> None:
    row = row_of(asked_at(1))
    assert not ASKED.is_narrowed(row)
    assert ASKED._replace(narrowed=frozenset({"asean/standard"})).is_narrowed(row)
    assert ASKED._replace(narrowed=frozenset({"asean:asean"})).is_narrowed(row)
    assert not ASKED._replace(narrowed=frozenset({"both/standard"})).is_narrowed(row)


@given(st.integers(0, 10**6), st.integers(0, 2000))
def test_how_often_an_hour_of_the_day_lies_in_a_window(begin: int, length: int) -> None:
    window = HourWindow(begin, begin + length)
    for hour in range(24):
        inside = sum(one % 24 == hour for one in range(begin, begin + length))
        assert window.times(hour) == inside


def rows_of_days(count: int = 200, seed: int = 5) -> list[UsageRow]:
    rng = Random(seed)
    return [
        row_of(
            asked_at(
                rng.random() * 72,
                rng.choice(["sin", "fra"]),
                rng.choice(["asean", "eea"]),
                outcome=rng.choice([Outcome.COMPLETE, Outcome.FAILED]),
            )
        )
        for _ in range(count)
    ]


ROWS_OF_DAYS = rows_of_days()


@given(st.permutations(ROWS_OF_DAYS), st.integers(0, 200), st.integers(0, 71), st.integers(0, 71))
@settings(deadline=None, max_examples=30)
def test_the_order_does_not_matter_and_nothing_gets_lost(
    rows: list[UsageRow], cut: int, begin: int, end: int
) -> None:
    window = HourWindow(BEGIN_HOUR + min(begin, end), BEGIN_HOUR + max(begin, end))
    folds = []
    for some in (rows, rows[:cut], rows[cut:]):
        fold = DemandFold(ASKED)
        for row in some:
            fold.take(row)
        folds.append(fold)
    whole = folds[0].tallies(window)
    assert join_tallies(one.tallies(window) for one in folds[1:]) == whole
    assert folds[1].hours.plus(folds[2].hours) == folds[0].hours
    inside = [one for one in rows if window.begin <= one.received_us // HOUR_US < window.end]
    assert sum(one.requests for one in whole.values()) == len(inside)
    complete = [one for one in inside if one.settled_by == "complete"]
    assert sum(one.completed for one in whole.values()) == len(complete)
    tokens = sum(one.output + one.reasoning for one in complete)
    assert sum(one.output_tokens for one in whole.values()) == tokens


def test_receipts_outside_and_of_the_future_and_conflicts_are_not_counted() -> None:
    asked = ASKED._replace(since_us=BEGIN_US + HOUR_US // 2, until_us=BEGIN_US + 7 * HOUR_US // 2)
    fold = DemandFold(asked)
    for hour, pop in ((0.7, "sin"), (1.0, "sin"), (2.9, "sin"), (3.2, "fra"), (24 * 40, "sin")):
        fold.take(row_of(asked_at(hour, pop)))
    fold.take(msgspec.structs.replace(row_of(asked_at(2)), conflict=True))
    assert fold.hours.seen == {BEGIN_HOUR + 1: 1, BEGIN_HOUR + 2: 1}
    assert dict(fold.hours.future) == {"sin": 1}, "fra's is of another time, and not of the future"


def test_the_table_of_the_documentation_is_the_tables() -> None:
    page = Path(__file__).parent.parent.parent / "docs/plan-placement.md"
    assert demand_kinds_table() in page.read_text("utf-8")
