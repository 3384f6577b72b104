"""The book of load: counted by place; the newest failure decides how long a place cools."""

from __future__ import annotations

from selvedge.routing import COOLING_US, LoadBook, place


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
