"""The desk: max-min fair against its definition, old questions, a store that fails."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.fabric import Limits, StoreFailed
from selvedge.ledger import Desk, MemoryGrants, Question, Wish
from selvedge.ledger.budgets import CONCURRENT, DAY, DAY_US, MINUTE_US, MONTH, REQUESTS, TOKENS
from selvedge.ledger.desk import fair_level
from tests.support.fleets import NOW_US
from tests.support.quotas import LEVEL, NONCE, limits_at


def desk_of(limits: Limits, store: MemoryGrants | None = None) -> Desk:
    desk = Desk(store or MemoryGrants(), NOW_US)
    desk.serve(limits_at(limits))
    return desk


def ask(desk: Desk, pop: str, number: int, *rows: Wish, at_us: int = NOW_US) -> list[int] | None:
    grants = desk.answer(Question(pop, 0, "e", number, NONCE, list(rows)), at_us)
    return None if grants is None else [one.amount for one in grants]


def wish(want: int, held: int = 0, used: int = 0, kind: int = REQUESTS, **more: Any) -> Wish:
    return Wish(LEVEL, kind, more.get("window", 0), held, used, want, more.get("least", 0))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12), st.integers(0, 300))
def test_the_fair_level_is_max_min_fair(needs: list[int], spare: int) -> None:
    level = fair_level(needs, spare)
    met = sum(min(need, level) for need in needs)
    assert met <= spare or level == 0
    if level < max(needs):
        assert sum(min(need, level + 1) for need in needs) > spare


def test_who_wishes_little_has_it_and_the_rest_share_evenly() -> None:
    desk = desk_of(Limits(requests_per_minute=60))
    at_us, held = NOW_US, {"a": 0, "b": 0, "c": 0}
    for number in range(1, 6):
        at_us += 1_000_000
        for pop, want in (("a", 6), ("b", 60), ("c", 60)):
            found = ask(desk, pop, number, wish(want, held[pop]), at_us=at_us)
            assert found is not None
            (held[pop],) = found
        assert sum(held.values()) <= 60
    assert held == {"a": 6, "b": 27, "c": 27}


def test_a_share_that_nobody_could_use_is_raised_where_there_is_room() -> None:
    desk = desk_of(Limits(tokens_per_minute=100))
    wishes = [wish(200, kind=TOKENS, least=60)] * 3
    grants = [ask(desk, pop, 1, row) for pop, row in zip("abc", wishes, strict=True)]
    assert sum(one[0] for one in grants if one) <= 100
    assert grants[0] is not None
    assert grants[0][0] >= 60


def test_what_was_used_of_a_minute_is_not_granted_in_it_again() -> None:
    desk = desk_of(Limits(requests_per_minute=60))
    ask(desk, "a", 1, wish(60))
    ask(desk, "a", 2, wish(60, held=60, used=50))
    assert ask(desk, "a", 3, wish(0, held=0, used=50)) is not None
    assert ask(desk, "b", 1, wish(60)) == [10]
    later = NOW_US + MINUTE_US
    assert ask(desk, "a", 4, wish(0), at_us=later) is not None
    assert ask(desk, "b", 2, wish(60, held=10), at_us=later) == [60]


def test_a_silent_holder_keeps_its_share_until_its_lease_is_surely_over() -> None:
    desk = desk_of(Limits(concurrent_requests=5))
    assert ask(desk, "a", 1, wish(5, kind=CONCURRENT)) == [5]
    for at_us, amount in ((NOW_US + 34_000_000, 0), (NOW_US + 36_000_000, 5)):
        number = at_us // 1_000_000
        assert ask(desk, "b", number, wish(5, kind=CONCURRENT), at_us=at_us) == [amount]


def test_a_long_lease_lasts_although_a_shorter_one_was_granted_and_lost() -> None:
    desk = desk_of(Limits(concurrent_requests=60))
    grants = desk.answer(Question("a", 0, "e", 1, NONCE, [wish(3, kind=CONCURRENT)]), NOW_US)
    assert grants is not None
    (first,) = grants
    assert (first.amount, first.last_ms) == (12, 20 * 30_000)
    row = Wish(LEVEL, CONCURRENT, 0, first.amount, 5, 60, 0, first.last_ms - 1000)
    lost = desk.answer(Question("a", 0, "e", 2, NONCE, [row]), NOW_US + 1_000_000)
    assert lost is not None
    assert lost[0].last_ms == 30_000
    at_us = NOW_US + 200_000_000
    assert desk.granted(LEVEL, CONCURRENT, at_us) >= first.amount
    assert desk.granted(LEVEL, CONCURRENT, NOW_US + 610_000_000) == 0


def test_money_begins_again_with_its_window_alone() -> None:
    desk = desk_of(Limits(micro_dollars_per_day=100))
    assert ask(desk, "a", 1, wish(100, kind=DAY)) == [100]
    assert ask(desk, "b", 1, wish(10, kind=DAY), at_us=NOW_US + 3_600_000_000) == [0]
    day = NOW_US + DAY_US
    old = wish(110, held=100, used=100, kind=DAY, window=NOW_US // DAY_US)
    assert ask(desk, "b", 2, wish(10, kind=DAY), at_us=day) == [10]
    assert ask(desk, "a", 2, old, at_us=day) == [90]


def test_an_old_question_is_not_answered_and_changes_nothing() -> None:
    desk = desk_of(Limits(requests_per_minute=60))
    assert ask(desk, "a", 2, wish(60)) == [60]
    for number in (1, 2):
        assert ask(desk, "a", number, wish(0)) is None
    assert desk.granted(LEVEL, REQUESTS, NOW_US) == 60


def test_a_budget_that_is_none_is_left_out() -> None:
    desk = desk_of(Limits(requests_per_minute=60))
    assert ask(desk, "a", 1, wish(5, kind=TOKENS), Wish("key/x", 0, 0, 0, 0, 5)) == []
    assert desk.granted("key/x", 0, NOW_US) == 0


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_cannot_be_written_is_not_granted_and_not_forgotten(when: str) -> None:
    store = MemoryGrants()
    desk = desk_of(Limits(requests_per_minute=60), store)
    assert ask(desk, "a", 1, wish(10)) is not None
    before = desk.granted(LEVEL, REQUESTS, NOW_US)

    def fault(at: str) -> None:
        if at == when:
            raise StoreFailed("disk full")

    store.fault = fault
    with pytest.raises(StoreFailed):
        ask(desk, "b", 1, wish(60))
    store.fault = None
    assert desk.granted(LEVEL, REQUESTS, NOW_US) >= before
    again = desk_of(Limits(requests_per_minute=60), store)
    assert again.granted(LEVEL, REQUESTS, NOW_US) >= before
    assert ask(again, "a", 1, wish(0)) is None


def test_a_lower_limit_is_reached_as_leases_come_round() -> None:
    desk = desk_of(Limits(requests_per_minute=60))
    ask(desk, "a", 1, wish(60))
    desk.serve(limits_at(Limits(requests_per_minute=20)))
    assert ask(desk, "b", 1, wish(5)) == [0]
    assert ask(desk, "a", 2, wish(20, held=60)) == [15]
    assert ask(desk, "a", 3, wish(20, held=15)) == [15]
    assert ask(desk, "b", 2, wish(5)) == [5]


def test_what_is_over_is_forgotten_also_in_the_store() -> None:
    store = MemoryGrants()
    desk = desk_of(Limits(requests_per_minute=60), store)
    ask(desk, "a", 1, wish(60))
    assert len(store.pages) == 1
    desk.tidy(NOW_US + 2 * DAY_US)
    assert not store.pages
    assert not desk._pots
    assert not desk._holdings
    assert not list(desk_of(Limits(), store)._pots)


@pytest.mark.parametrize(("kind", "first"), [(DAY, DAY_US), (MONTH, DAY_US * 31)])
def test_a_clock_set_back_over_midnight_while_the_desk_is_away(kind: int, first: int) -> None:
    """January 1970 ends a day and a month: what was granted of the next is not granted again."""
    name = "micro_dollars_per_day" if kind == DAY else "micro_dollars_per_month"
    store, limits = MemoryGrants(), limits_at(Limits(**{name: 100}))
    before = Desk(store, first + 1_000_000)
    before.serve(limits)
    assert ask(before, "a", 1, wish(100, kind=kind), at_us=first + 1_000_000) == [100]
    after = Desk(store, first - 60_000_000)
    after.serve(limits)
    assert ask(after, "b", 1, wish(100, kind=kind), at_us=first - 50_000_000) == [0]
    assert ask(after, "b", 2, wish(100, kind=kind), at_us=first + 2_000_000) == [0]
    # A clock that was far ahead is not believed for ever.
    long_before = first - 7_200_000_000
    other = Desk(store, long_before)
    other.serve(limits)
    assert ask(other, "b", 3, wish(100, kind=kind), at_us=long_before) == [100]
