"""Used tickets, remembered for all workers of a PoP: the wire's book over shared memory."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.adapters import Memory, SharedTickets
from selvedge.adapters.shared_tickets import ENTRIES
from selvedge.fabric import BadTicket
from selvedge.wire import TicketBook, UsedHere, issue, read_unverified
from tests.wire.test_tickets import KEY, NOW_US, TICKET

SIZE = SharedTickets.bytes_for(4)


@pytest.fixture
def memory() -> Iterator[Memory]:
    made = Memory.shared("test", SIZE)
    yield made
    os.close(made.fd)


def test_a_ticket_used_at_one_worker_is_refused_at_the_other(memory: Memory) -> None:
    books = [TicketBook("sin", 0, SharedTickets(Memory(memory.fd, SIZE), 4)) for _ in range(2)]
    ticket = read_unverified(issue(TICKET, KEY))
    books[0].check(*ticket, KEY, NOW_US)
    for book in books:
        with pytest.raises(BadTicket, match="used before"):
            book.check(*ticket, KEY, NOW_US)


def test_a_full_bucket_refuses_until_its_oldest_may_be_forgotten() -> None:
    used = SharedTickets(Memory.private(SharedTickets.bytes_for(1)), 1)
    assert all(used.take(f"a{number}", number, 0) for number in range(ENTRIES))
    with pytest.raises(OverflowError):
        used.take("b", ENTRIES, 0)
    assert not used.take("a0", ENTRIES, 0)
    assert used.take("b", ENTRIES, 1)
    assert used.take("a0", ENTRIES, 2)
    assert not used.take("a0", ENTRIES, 2)
    with pytest.raises(OverflowError):
        used.take("c", ENTRIES, 2)


def test_a_full_bucket_is_a_refused_ticket() -> None:
    book = TicketBook("sin", 0, SharedTickets(Memory.private(SharedTickets.bytes_for(1)), 1))
    ticket = read_unverified(issue(TICKET, KEY))[0]
    used = book._used
    for number in range(ENTRIES):
        used.take(str(number), NOW_US, 0)
    with pytest.raises(BadTicket, match="more tickets within a minute than are remembered"):
        book.check(*read_unverified(issue(ticket, KEY)), KEY, NOW_US)


@given(st.lists(st.tuples(st.text(max_size=3), st.integers(0, 9)), max_size=80))
def test_it_answers_as_the_book_of_one_process_does(steps: list[tuple[str, int]]) -> None:
    shared, here = SharedTickets(Memory.private(SIZE), 4), UsedHere()
    now_us = 0
    for ticket_id, step_us in steps:
        now_us += step_us
        assert shared.take(ticket_id, now_us, 0) == here.take(ticket_id, now_us, 0)
