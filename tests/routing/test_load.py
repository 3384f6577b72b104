"""The book of load: counted by place, and the circuit of a place that fails."""

from __future__ import annotations

import pytest

from selvedge.routing import COOLING_US, LoadBook, place
from selvedge.routing.load import TRY_US


def test_requests_and_tokens_are_counted_by_place() -> None:
    book = LoadBook()
    where = place("sin", "chat")
    assert (where, place("sin", None)) == ("sin/chat", "sin")
    book.enter(where, 5)
    book.enter(where, 7)
    assert book.view.tokens_in_flight == {where: 12}
    assert (book.requests(where), book.requests("fra"), book.is_idle) == (2, 0, False)
    book.leave(where, 5)
    book.leave(where, 7)
    assert book.is_idle
    assert not book.view.tokens_in_flight


def test_the_newest_failure_decides_how_long_a_place_cools() -> None:
    book = LoadBook()
    book.warm(0)
    book.cool("sin", COOLING_US)
    book.cool("sin", 2 * COOLING_US)
    book.cool("sin", COOLING_US)
    book.warm(COOLING_US)
    assert book.view.cooling == {"sin"}
    book.warm(2 * COOLING_US)
    assert book.view.cooling == set()


def test_what_was_sent_since_a_moment() -> None:
    book = LoadBook()
    assert book.view.since("sin", 0) == (0, 0)
    for at_us in range(1, 301):
        book.enter("sin", 10, at_us * 1_000_000)
    assert book.view.since("sin", 300_000_000) == (0, 0)
    assert book.view.since("sin", 299_999_999) == (10, 1)
    assert book.view.since("sin", 285_000_000) == (150, 15)
    book.enter("sin", 1, 5)
    assert book.view.since("sin", 299_999_999) == (11, 2), "time does not go back"
    assert book.view.since("fra", 0) == (0, 0)


def test_what_is_old_is_not_kept() -> None:
    book = LoadBook()
    for at_us in range(1, 10_001):
        book.enter("sin", 10, at_us * 1_000_000)
    entered = book.view.entered
    assert entered is not None
    assert entered["sin"].since(0)[1] <= 64


def test_a_circuit_opens_for_longer_each_time_in_a_row() -> None:
    book = LoadBook()
    now_us = 0
    for seconds in (5, 10, 20, 40, 60, 60):
        book.fail("sin", now_us)
        book.fail("sin", now_us)  # was on its way with the first: counts once
        now_us += seconds * 1_000_000
        book.warm(now_us - 1)
        assert book.view.cooling == {"sin"}, seconds
        book.warm(now_us)
        assert not book.view.cooling, seconds


def test_half_open_lets_one_try_and_closes_when_it_succeeds() -> None:
    book = LoadBook()
    book.fail("sin", 0)
    book.warm(COOLING_US)
    book.enter("sin", 1)
    assert book.view.cooling == {"sin"}, "the others wait for how it goes"
    book.leave("sin", 1)
    book.mend("sin")
    assert not book.view.cooling
    book.enter("sin", 1)
    assert not book.view.cooling, "closed"
    book.leave("sin", 1)
    book.fail("sin", COOLING_US)
    book.warm(2 * COOLING_US)
    assert not book.view.cooling, "success forgets the failures before it"


def test_half_open_opens_again_when_the_try_fails() -> None:
    book = LoadBook()
    book.fail("sin", 0)
    book.warm(COOLING_US)
    book.enter("sin", 1)
    book.leave("sin", 1)
    book.fail("sin", COOLING_US)
    book.warm(COOLING_US + 2 * COOLING_US - 1)
    assert book.view.cooling == {"sin"}


def test_a_try_that_says_nothing_lets_the_next_one_try() -> None:
    book = LoadBook()
    book.fail("sin", 0)
    book.warm(COOLING_US)
    book.enter("sin", 1)
    book.leave("sin", 1)  # its client left
    assert not book.view.cooling
    book.enter("sin", 1)
    assert book.view.cooling == {"sin"}


def test_the_others_do_not_wait_for_a_long_answer() -> None:
    book = LoadBook()
    book.fail("sin", 0)
    book.warm(COOLING_US)
    book.enter("sin", 1, COOLING_US)
    book.warm(COOLING_US + TRY_US - 1)
    assert book.view.cooling == {"sin"}
    book.warm(COOLING_US + TRY_US)
    assert not book.view.cooling
    book.leave("sin", 1)
    book.mend("sin")
    assert not book.view.cooling


def test_an_answer_asked_for_before_the_failure_does_not_close() -> None:
    book = LoadBook()
    book.enter("sin", 1)
    book.fail("sin", 0)
    book.leave("sin", 1)
    book.mend("sin")
    assert book.view.cooling == {"sin"}
    book.warm(COOLING_US)
    book.fail("sin", COOLING_US)
    book.warm(COOLING_US + 2 * COOLING_US - 1)
    assert book.view.cooling == {"sin"}, "the failures before still count"


@pytest.mark.parametrize(("told_ms", "cools_us"), [(250, 250_000), (9_000_000, 60_000_000)])
def test_retry_after_is_honoured_within_reason(told_ms: int, cools_us: int) -> None:
    book = LoadBook()
    book.fail("sin", 0, told_ms=told_ms)
    book.warm(cools_us - 1)
    assert book.view.cooling == {"sin"}
    book.warm(cools_us)
    assert not book.view.cooling


def test_bytes_a_token_are_learned_by_model() -> None:
    book = LoadBook()
    ratios = book.view.bytes_per_token
    assert ratios == {}
    for _ in range(300):
        book.learn("chat", 2_000, 1_000)
    book.learn("chat", 0, 5)
    book.learn("chat", 5, 0)
    book.learn("odd", 10**9, 1)
    assert ratios is not None
    assert ratios["chat"] == pytest.approx(2.0, abs=0.01)
    assert 4 < ratios["odd"] < 5
