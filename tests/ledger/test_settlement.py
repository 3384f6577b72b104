"""What a receipt bills, row by row; and that sums do not depend on order or place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.fabric import REFUSALS, Outcome, Receipt, Tried, TriedOutcome, Usage
from selvedge.ledger import (
    ROWS,
    Settlement,
    Sums,
    attempt_rows,
    row_of,
    settle,
    settlement_table,
    sums_of,
)

LEDGER = Path(__file__).parents[2] / "docs" / "ledger.md"
USAGE = Usage(10, 5, 1, 20, 3, "reported")
PART = Usage(10, 5, 1, 2, 0, "counted")
NOTHING = Usage()
OPEN = Receipt(
    id="rcpt_1",
    request_id="req_1",
    tenant="asean",
    project="default",
    key="asean",
    data_class="default",
    route="/v1/chat/completions",
    ingress_pop="cgk",
    ingress_country="ID",
    rule="asean/default",
    zone="asean",
    release=7,
    release_hash="ab" * 32,
    received_us=1,
    transit=False,
)


def tried(outcome: TriedOutcome, tokens: int = 0) -> Tried:
    return Tried("sin", "SG", "sin-chat", outcome, "rtt 16 ms", tokens, 1, 2)


def receipt(outcome: Outcome, *attempts: Tried, **changes: Any) -> Receipt:  # Any: its fields
    fields: dict[str, Any] = {"outcome": outcome, "attempts": attempts, "stream": True}
    return msgspec.structs.replace(OPEN, **fields | changes)


WON, CUT, HUNG_UP = tried("relayed", 20), tried("failed", 2), tried("gone", 2)
CASES: list[tuple[str, Receipt, Usage]] = [
    ("complete", receipt(Outcome.COMPLETE, WON, usage=USAGE), USAGE),
    ("batch_line", receipt(Outcome.COMPLETE, WON, usage=USAGE, purpose="batch"), USAGE),
    ("cache_hit", receipt(Outcome.COMPLETE, cache="hit", usage=USAGE), NOTHING),
    ("replayed", receipt(Outcome.COMPLETE, repeats="rcpt_0", usage=USAGE), NOTHING),
    ("gone_before", receipt(Outcome.CLIENT_GONE, tried("gone"), usage=PART), NOTHING),
    ("gone_before", receipt(Outcome.CLIENT_GONE), NOTHING),
    ("gone_after", receipt(Outcome.CLIENT_GONE, HUNG_UP, usage=PART), PART),
    (
        "deadline_before",
        receipt(Outcome.FAILED, tried("deadline"), usage=PART, code="deadline_exceeded"),
        NOTHING,
    ),
    ("deadline_before", receipt(Outcome.FAILED, code="deadline_exceeded"), NOTHING),
    (
        "deadline_after",
        receipt(Outcome.FAILED, tried("deadline", 2), usage=PART, code="deadline_exceeded"),
        PART,
    ),
    (
        "failed_before",
        receipt(Outcome.FAILED, tried("failed"), usage=PART, code="no_engine_available"),
        NOTHING,
    ),
    ("failed_after", receipt(Outcome.FAILED, CUT, usage=PART, code="engine_failed"), NOTHING),
    (
        "rejected",
        receipt(Outcome.REFUSED, tried("rejected"), usage=PART, code="engine_rejected"),
        NOTHING,
    ),
    (
        "rejected_after",
        receipt(Outcome.REFUSED, tried("rejected", 2), usage=PART, code="engine_rejected"),
        PART,
    ),
    ("refused_caller", receipt(Outcome.REFUSED, code="invalid_json"), NOTHING),
    ("refused_policy", receipt(Outcome.REFUSED, code="residency_ingress"), NOTHING),
    ("refused_capacity", receipt(Outcome.FAILED, code="no_engine_available"), NOTHING),
    ("refused_engine", receipt(Outcome.FAILED, code="engine_failed"), NOTHING),
    ("refused_selvedge", receipt(Outcome.FAILED, code="receipt_unwritable"), NOTHING),
    ("refused_selvedge", receipt(Outcome.FAILED, code="of_a_newer_version"), NOTHING),
    ("interrupted", receipt(Outcome.INTERRUPTED, usage=PART), NOTHING),
    ("probe", receipt(Outcome.COMPLETE, WON, usage=USAGE, purpose="probe"), NOTHING),
    ("judge", receipt(Outcome.COMPLETE, WON, usage=USAGE, purpose="judge"), NOTHING),
]
OF_ATTEMPTS = {"attempt_failed", "hedge_loser"}


@pytest.mark.parametrize(("row", "settled", "billed"), CASES)
def test_each_end_bills_what_its_row_says(row: str, settled: Receipt, billed: Usage) -> None:
    assert settle(settled) == Settlement(row, billed, ROWS[row].why)
    bills_nothing = ROWS[row].bills == "nothing"
    assert bills_nothing == (billed == NOTHING)


def test_every_row_has_a_case() -> None:
    assert {row for row, _, _ in CASES} | OF_ATTEMPTS == set(ROWS)


def test_a_complete_answer_without_usage_bills_nothing_and_says_so() -> None:
    settled = settle(receipt(Outcome.COMPLETE, WON))
    assert (settled.row, settled.billed) == ("complete", NOTHING)
    assert settled.why != ROWS["complete"].why


def test_only_the_attempt_that_answered_is_billed() -> None:
    lost = receipt(Outcome.COMPLETE, tried("gone"), WON, usage=USAGE)
    assert attempt_rows(lost) == ("hedge_loser", "complete")
    assert settle(lost).billed == USAGE
    ahead = receipt(Outcome.COMPLETE, WON, tried("gone"), usage=USAGE)
    assert attempt_rows(ahead) == ("complete", "hedge_loser")
    again = receipt(Outcome.COMPLETE, tried("failed"), tried("failed"), WON, usage=USAGE)
    assert attempt_rows(again) == ("attempt_failed", "attempt_failed", "complete")
    broken = receipt(Outcome.FAILED, tried("failed"), tried("failed"), code="no_engine_available")
    assert attempt_rows(broken) == ("attempt_failed", "failed_before")
    assert attempt_rows(receipt(Outcome.REFUSED)) == ()


counts = st.integers(0, 2**40)
usages = st.builds(
    Usage,
    counts,
    counts,
    counts,
    counts,
    counts,
    st.sampled_from(["reported", "counted", "estimated"]),
)
attempts = st.builds(
    tried, st.sampled_from(["relayed", "failed", "gone", "rejected", "deadline"]), st.integers(0, 2)
)
receipts = st.builds(
    receipt,
    st.sampled_from(Outcome),
    attempts,
    attempts,
    usage=st.none() | usages,
    code=st.none() | st.sampled_from(sorted(REFUSALS)),
    cache=st.sampled_from(["off", "miss", "hit"]),
    purpose=st.sampled_from(["request", "batch", "probe", "judge"]),
    repeats=st.none() | st.just("rcpt_0"),
    stream=st.booleans(),
) | st.builds(receipt, st.sampled_from(Outcome), code=st.sampled_from(sorted(REFUSALS)))


@given(receipts)
def test_every_receipt_has_a_row_and_bills_no_more_than_it_holds(one: Receipt) -> None:
    settled = settle(one)
    assert settled.row == row_of(one)
    assert settled.row in set(ROWS) - OF_ATTEMPTS
    assert settled.billed in (NOTHING, one.usage)
    assert len(attempt_rows(one)) == len(one.attempts)
    assert set(attempt_rows(one)) <= OF_ATTEMPTS | {settled.row}
    assert attempt_rows(one).count(settled.row) == bool(one.attempts)


@given(st.lists(receipts, max_size=8), st.randoms(use_true_random=False), st.integers(0, 8))
def test_sums_are_the_same_in_any_order_and_any_split(
    some: list[Receipt], chance: Any, at: int
) -> None:
    whole = sums_of(some)
    assert sums_of(some[:at]) + sums_of(some[at:]) == whole
    mixed = list(some)
    chance.shuffle(mixed)
    assert sums_of(mixed) == whole
    parts = [sums_of([one]) for one in mixed]
    assert sum(parts[1:], parts[0]) == whole if parts else whole == Sums()
    assert whole.exact <= whole.input_uncached + whole.cache_read + whole.cache_write + (
        whole.output + whole.reasoning
    )


def test_the_table_is_in_the_documents() -> None:
    assert settlement_table().strip() in LEDGER.read_text("utf-8"), (
        "docs/ledger.md has another settlement table: put what `settlement_table` gives there"
    )
