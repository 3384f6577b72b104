"""One worker's quotas: what is refused and how, what is shown, what is kept and forgotten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.fabric import Limits, Refused
from selvedge.ledger import Admitted, Away, Estimate, Grant, Holder, Level, Reservation
from selvedge.ledger.budgets import CONCURRENT, DAY, DAY_US, MINUTE_US, REQUESTS, TOKENS, window_of
from selvedge.ledger.holder import IDLE_US, RENEW_US
from selvedge.ledger.leases import ROWS_MAX
from selvedge.ledger.shares import AWAY, NONE
from tests.support.fleets import NOW_US
from tests.support.quotas import LEVEL, admitted

ESTIMATE = Estimate(10, 3)


def leased(limits: Limits, rule: str = "last", away_us: int = DAY_US) -> tuple[Holder, Admitted]:
    holder = Holder(Away(AWAY.index(rule), away_us))
    holder.serve(is_leased=True)
    return holder, admitted(limits)


def grant(holder: Holder, amount: int, at_us: int = NOW_US, last_ms: int = 30_000) -> None:
    """Every budget that is asked for gets so much, of a month more."""
    rows = holder.turn(at_us)
    assert rows
    window = window_of(DAY, at_us)
    granted = [
        Grant(row.level, row.kind, window if row.kind >= DAY else 0, amount, last_ms, False)
        for row in rows
    ]
    holder.take(holder.number, granted)


def code(found: Reservation | Refused | None) -> str | None:
    return found.code if isinstance(found, Refused) else None


def admit(holder: Holder, who: Admitted, at_us: int = NOW_US) -> str | None:
    return code(holder.reserve(who, ESTIMATE, at_us))


def test_a_cold_holder_has_one_request_a_window() -> None:
    holder, who = leased(Limits(requests_per_minute=60))
    assert [admit(holder, who) for _ in range(2)] == [None, "rate_limit_exceeded"]
    later = NOW_US + MINUTE_US
    assert [admit(holder, who, later) for _ in range(2)] == [None, "rate_limit_exceeded"]


def test_a_limit_of_nothing_is_nothing_also_for_who_is_cold() -> None:
    holder, who = leased(Limits(requests_per_minute=0))
    refused = holder.peek(who, NOW_US)
    assert refused is not None
    assert (refused.code, refused.kind.should_retry) == ("request_over_limit", False)
    holder, who = leased(Limits(micro_dollars_per_day=0))
    assert admit(holder, who) == "insufficient_quota"


@pytest.mark.parametrize(
    ("rule", "within", "after"),
    [
        ("last", [None, None, None], [None, "rate_limit_exceeded"]),
        ("micro", [None, "rate_limit_exceeded"], [None, "rate_limit_exceeded"]),
        ("refuse", ["quota_unknown"], ["quota_unknown"]),
    ],
)
def test_what_may_be_used_when_the_desk_is_away(
    rule: str, within: list[str | None], after: list[str | None]
) -> None:
    holder, who = leased(Limits(requests_per_minute=60), rule, away_us=5 * MINUTE_US)
    admit(holder, who)
    grant(holder, 3)
    ended = NOW_US + MINUTE_US
    assert [admit(holder, who, ended) for _ in within] == within
    if rule == "last":
        assert admit(holder, who, ended) == "rate_limit_exceeded"
    long_after = NOW_US + 7 * MINUTE_US
    assert [admit(holder, who, long_after) for _ in after] == after


def test_money_never_goes_on_past_its_window() -> None:
    holder, who = leased(Limits(micro_dollars_per_day=100))
    admit(holder, who)
    grant(holder, 9, last_ms=1000)
    assert [admit(holder, who) for _ in range(3)] == [None, None, "rate_limit_exceeded"]
    later = NOW_US + 2_000_000
    assert [admit(holder, who, later) for _ in range(2)] == [None, "rate_limit_exceeded"]


def test_spent_money_is_told_as_such() -> None:
    holder, who = leased(Limits(micro_dollars_per_day=6))
    admit(holder, who)
    grant(holder, 6)
    assert [admit(holder, who) for _ in range(2)] == [None, "insufficient_quota"]


def test_a_refused_request_takes_of_no_level() -> None:
    holder = Holder(Away())
    wide, narrow = Level("key/a", Limits(9, 900, 9)), Level("tenant/t", Limits(1))
    who = Admitted("a", "t", "p", "d", (wide, narrow))
    assert [admit(holder, who) for _ in range(3)] == [
        None,
        "rate_limit_exceeded",
        "rate_limit_exceeded",
    ]
    assert [one.used for one in holder._kept["key/a"].budgets] == [1, 10, 1]


def test_a_settlement_is_heard_once_and_only_in_its_window() -> None:
    holder = Holder(Away())
    who = admitted(Limits(9, 900, 9))
    held = holder.reserve(who, ESTIMATE, NOW_US)
    assert isinstance(held, Reservation)
    for _ in range(2):
        holder.settle(held, 1, 4, 0, NOW_US + 1)
    assert [one.used for one in holder._kept[LEVEL].budgets] == [1, 4, 0]
    late = holder.reserve(who, ESTIMATE, NOW_US + 2)
    assert isinstance(late, Reservation)
    holder.settle(late, 1, 400, 0, NOW_US + MINUTE_US)
    assert [one.used for one in holder._kept[LEVEL].budgets] == [0, 0, 0]


@given(st.integers(0, 50), st.integers(1, 9))
def test_parts_of_workers_are_the_whole(limit: int, workers: int) -> None:
    holders = [Holder(Away(), part=(slot, workers)) for slot in range(workers)]
    who = admitted(Limits(requests_per_minute=limit))
    served = sum(admit(one, who) is None for one in holders for _ in range(limit + 1))
    assert served == limit


def test_shown_is_the_level_with_least_left() -> None:
    holder = Holder(Away())
    levels = (Level("key/a", Limits(9, 1000)), Level("tenant/t", Limits(5)))
    holder.reserve(Admitted("a", "t", "p", "d", levels), ESTIMATE, NOW_US)
    shown = [(one.kind, one.limit, one.left, one.reset_us) for one in holder.shown(levels, NOW_US)]
    assert shown == [(REQUESTS, 5, 4, MINUTE_US), (TOKENS, 1000, 990, MINUTE_US)]


def test_what_nobody_asks_of_is_given_back_and_forgotten() -> None:
    holder, who = leased(Limits(requests_per_minute=60))
    admit(holder, who)
    grant(holder, 30)
    at_us = NOW_US + IDLE_US
    (row,) = holder.turn(at_us)
    assert (row.held, row.used, row.wish) == (0, 0, 0)
    assert len(holder) == 0
    assert holder.turn(at_us + RENEW_US) == []


def test_what_has_spent_money_waits_for_the_end_of_its_window() -> None:
    holder, who = leased(Limits(micro_dollars_per_day=100))
    admit(holder, who)
    grant(holder, 50, last_ms=DAY_US // 1000)
    at_us = NOW_US + IDLE_US
    (row,) = holder.turn(at_us)
    assert (row.held, row.used, row.wish) == (3, 3, 3)
    assert len(holder) == 1
    assert holder.turn(at_us + RENEW_US) == []
    assert admit(holder, who, at_us + RENEW_US) == "rate_limit_exceeded"
    assert [one.wish > 3 for one in holder.turn(at_us + 2 * RENEW_US)] == [True]
    holder.turn(NOW_US + 2 * DAY_US)
    holder.turn(NOW_US + 3 * DAY_US)
    assert len(holder) == 0


def test_what_runs_is_not_forgotten() -> None:
    holder, who = leased(Limits(concurrent_requests=5))
    held = holder.reserve(who, ESTIMATE, NOW_US)
    assert isinstance(held, Reservation)
    grant(holder, 5)
    for at_us in range(NOW_US, NOW_US + 2 * IDLE_US, RENEW_US):
        holder.turn(at_us)
        holder.failed()
    assert len(holder) == 1
    holder.settle(held, 1, 1, 1, NOW_US + 2 * IDLE_US)
    holder.turn(NOW_US + 3 * IDLE_US)
    assert len(holder) == 0


def test_a_lower_limit_holds_at_once_and_what_was_used_stays() -> None:
    holder, who = leased(Limits(requests_per_minute=60))
    admit(holder, who)
    grant(holder, 30)
    lower = admitted(Limits(requests_per_minute=2, concurrent_requests=3))
    assert [admit(holder, lower) for _ in range(2)] == [None, "rate_limit_exceeded"]
    kinds = [(one.kind, one.used) for one in holder._kept[LEVEL].budgets]
    assert kinds == [(REQUESTS, 2), (CONCURRENT, 1)]


def test_only_the_answer_to_the_newest_question_is_taken() -> None:
    holder, who = leased(Limits(requests_per_minute=60))
    admit(holder, who)
    (row,) = holder.turn(NOW_US)
    first = holder.number
    holder.failed()
    assert holder.turn(NOW_US + RENEW_US)
    holder.take(first, [Grant(row.level, row.kind, 0, 9, 1000, False)])
    (budget,) = holder._kept[LEVEL].budgets
    assert budget.share() == NONE
    grants = [Grant(row.level, row.kind, 0, 9, 1000, False), Grant("key/none", 0, 0, 1, 1, False)]
    holder.take(holder.number, grants)
    assert budget.share() == 9


def test_a_question_has_a_limit() -> None:
    holder, _ = leased(Limits())
    for at in range(ROWS_MAX + 10):
        admit(holder, admitted(Limits(requests_per_minute=5), f"key/k{at}"))
    assert len(holder.turn(NOW_US)) == ROWS_MAX
    assert len(holder.turn(NOW_US)) == 10


def test_a_desk_comes_and_goes_with_the_release() -> None:
    holder = Holder(Away())
    who = admitted(Limits(requests_per_minute=3))
    assert admit(holder, who) is None
    assert holder.turn(NOW_US) == []
    holder.serve(is_leased=True)
    assert [row.used for row in holder.turn(NOW_US + 1)] == [1]
    holder.serve(is_leased=False)
    assert [admit(holder, who) for _ in range(3)] == [None, None, "rate_limit_exceeded"]


def test_a_process_that_ends_gives_back_what_is_not_in_use() -> None:
    holder, who = leased(Limits(requests_per_minute=60, micro_dollars_per_day=100))
    admit(holder, who)
    grant(holder, 30)
    rows = {row.kind: (row.held, row.used) for row in holder.leave(NOW_US)}
    assert rows == {REQUESTS: (1, 1), DAY: (3, 3)}


def test_a_clock_that_was_set_back_does_not_stop_time() -> None:
    holder, who = leased(Limits(requests_per_minute=60))
    holder.turn(NOW_US)
    admit(holder, who)
    back_us = NOW_US - 3_600_000_000
    holder.turn(back_us)
    assert admit(holder, who, back_us + MINUTE_US) is None


def test_moments_of_requests_come_in_any_order() -> None:
    """A head that waited in line is older than what came meanwhile: no clock was set back."""
    holder, who = leased(Limits(requests_per_minute=60))
    for _ in range(100):
        holder.turn(NOW_US)
        admit(holder, who, NOW_US + 50_000)
        admit(holder, who, NOW_US)
    assert holder._at_us == NOW_US + 50_000
    assert holder._behind_us == 0
