"""Keys and answers of several workers in one memory: one book, whoever dies when."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.adapters import Memory
from selvedge.adapters.shared_claims import PLACES
from selvedge.exchange import Kept
from selvedge.fabric import Outcome, Receipt, Usage
from selvedge.pop import Settings
from selvedge.pop.answered import Answered
from selvedge.pop.answered_together import ANSWER_BYTES_MAX, AnsweredTogether, Shape, settle_left
from selvedge.pop.clock import now_us
from selvedge.pop.process import open_book
from tests.adapters.test_journal_store import RECEIPT
from tests.adapters.test_receipt_book import WHO
from tests.pop.test_answered import HOUR_US, claim, finish, kept
from tests.support import run

SHAPE = Shape(keys_max=64, bytes_max=1000)
NOW_US = now_us()


@pytest.fixture
def memory() -> Iterator[Memory]:
    made = SHAPE.new_memory()
    yield made
    os.close(made.fd)


def worker(memory: Memory, owner: int, shape: Shape = SHAPE) -> AnsweredTogether:
    """As a process of its own sees it."""
    return AnsweredTogether(Memory(memory.fd, shape.size()), shape, HOUR_US, owner)


def test_a_key_and_an_answer_are_of_every_worker(memory: Memory) -> None:
    one, two = worker(memory, 1), worker(memory, 2)
    first = claim("k")
    assert one.claim(first, 5).state == "first"
    for book in (one, two):
        assert book.claim(claim("k", "rcpt_2"), 6).state == "running"
        assert book.claim(claim("k", "rcpt_2", b"b"), 6).state == "other"
    two.end(first, spent=False, kept=None)  # not its own: nothing happens
    one.end(first, spent=True, kept=kept())
    for book in (one, two):
        again = book.claim(claim("k", "rcpt_2"), 7)
        assert (again.state, again.first, again.kept) == ("finished", "rcpt_1", kept())
    assert two.claim(claim("k", "rcpt_2"), HOUR_US + 4).state == "finished"
    assert two.claim(claim("k", "rcpt_2"), HOUR_US + 5).state == "first"
    assert one.claim(claim("k", "rcpt_3"), HOUR_US + 6).first == "rcpt_2"


def test_answers_of_all_workers_have_one_limit_in_bytes(memory: Memory) -> None:
    books = [worker(memory, owner) for owner in (1, 2)]
    for number in range(12):
        finish(books[number % 2], claim(str(number)), number + 1, kept(100))
    found = [books[0].claim(claim(str(number), "rcpt_2"), 20) for number in range(12)]
    assert {one.state for one in found} == {"finished"}
    still = [one.kept is not None for one in found]
    assert still == sorted(still)  # the oldest have gone
    assert 3 <= sum(still) <= 9
    finish(books[0], claim("large"), 1, kept(1001))
    finish(books[0], claim("elsewhere", keeps=False), 1, kept(1))
    for word in ("large", "elsewhere"):
        assert books[1].claim(claim(word), 1).kept is None


def test_an_answer_too_large_to_copy_is_not_kept() -> None:
    shape = Shape(64, 10 * ANSWER_BYTES_MAX)
    book = AnsweredTogether(Memory.private(shape.size()), shape, HOUR_US, 1)
    finish(book, claim("large"), 1, kept(ANSWER_BYTES_MAX))
    finish(book, claim("fits"), 1, kept(ANSWER_BYTES_MAX - 200))
    assert book.claim(claim("large"), 1).kept is None
    assert book.claim(claim("fits"), 1).kept == kept(ANSWER_BYTES_MAX - 200)


def test_where_no_bytes_are_allowed_none_are_kept() -> None:
    shape = Shape(64, 0)
    book = AnsweredTogether(Memory.private(shape.size()), shape, HOUR_US, 1)
    finish(book, claim("k"), 1, kept(1))
    assert (book.claim(claim("k"), 1).state, book.claim(claim("k"), 1).kept) == ("finished", None)


def test_keys_have_a_limit_and_those_that_run_are_not_forgotten() -> None:
    shape = Shape(PLACES, 1000)  # one bucket
    book = AnsweredTogether(Memory.private(shape.size()), shape, HOUR_US, 1)
    for number in range(PLACES):
        assert book.claim(claim(str(number)), number + 1).state == "first"
    assert book.claim(claim("new"), 90).state == "full"
    for number in (3, 7):
        book.end(claim(str(number)), spent=True, kept=None)
    assert book.claim(claim("new"), 91).state == "first"
    assert book.claim(claim("7"), 92).state == "finished"
    assert book.claim(claim("3"), 93).state == "first"  # the older of the two was forgotten
    assert book.claim(claim("0"), 94).state == "running"


def test_bytes_that_are_not_the_answers_own_are_never_given(memory: Memory) -> None:
    """A writer that stood still wrote into its stretch of the ring after others had used it."""
    one, two = worker(memory, 1), worker(memory, 2)
    finish(one, claim("k"), 1, kept(100))
    body = memory.view.tobytes().index(b"x" * 100)
    memory.view[body + 50] = ord("y")
    assert two.claim(claim("k", "rcpt_2"), 2).kept is None
    memory.view[body + 50] = ord("x")
    assert two.claim(claim("k", "rcpt_2"), 2).kept == kept(100)


STEPS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("pq"), st.integers(0, 2), st.booleans()),
    max_size=60,
)


@given(STEPS)
def test_it_answers_as_the_book_of_one_process_does(
    steps: list[tuple[str, str, int, bool]],
) -> None:
    shape = Shape(64, 1 << 16)
    memory = Memory.private(shape.size())
    many = [AnsweredTogether(memory, shape, HOUR_US, owner) for owner in (1, 2)]
    alone = Answered(1 << 16, HOUR_US, 64)
    running: dict[str, tuple[int, object]] = {}
    for number, (word, asked, step, spent) in enumerate(steps):
        at_us, which = 1 + number * (HOUR_US // 20), number % 2
        command = claim(word, f"rcpt_{number}", asked.encode())
        if step and word in running:
            which, command = running.pop(word)  # type: ignore[assignment]
            for book in (many[which], alone):
                book.end(command, spent=spent, kept=kept(number) if step == 2 else None)
            continue
        said = many[which].claim(command, at_us)
        assert said == alone.claim(command, at_us)
        if said.state == "first":
            running[word] = (which, command)


def receipt(name: str, usage: Usage | None = None) -> Receipt:
    outcome = Outcome.COMPLETE if usage is not None else Outcome.FAILED
    return msgspec.structs.replace(
        RECEIPT, id=name, outcome=outcome, usage=usage, code=None if usage else "engine_failed"
    )


def book_of(directory: Path) -> Settings:
    return Settings(
        pop="sin",
        listen="127.0.0.1:0",
        state_dir=str(directory),
        release_file="-",
        operator_public_key="-",
        pepper_file="-",
        segment_bytes_max=2_000,
    )


def test_the_keys_of_a_worker_that_died_are_settled_by_its_journal(
    memory: Memory, tmp_path: Path
) -> None:
    """Billed, failed, intended alone, and never begun; over several segments of the journal."""
    dead, other = worker(memory, 1), worker(memory, 2)
    words = ["billed", "failed", "intended", "begun"]
    for word in [*words, "early"]:
        assert dead.claim(claim(word, f"rcpt_{word}"), NOW_US).state == "first"
    assert other.claim(claim("others", "rcpt_others"), NOW_US).state == "first"
    book = open_book(book_of(tmp_path), 0)
    book.record(receipt("rcpt_early", Usage(5, 0, 0, 2, 0)), WHO)
    for number in range(9):
        book.record(receipt(f"rcpt_{number}", Usage(1, 0, 0, 1, 0)), WHO)
    book.intend(receipt("rcpt_intended"), WHO)
    book.record(receipt("rcpt_failed"), WHO)
    book.record(receipt("rcpt_billed", Usage(5, 0, 0, 2, 0)), WHO)
    book.close()
    assert len(list((tmp_path / "receipts").glob("*.log"))) > 2
    settled = run(settle_left(other.claims, 1, tmp_path / "receipts"))
    assert settled == 5
    states = {word: other.claim(claim(word, "rcpt_2"), NOW_US + 1) for word in words}
    assert {word: one.state for word, one in states.items()} == {
        "billed": "finished",
        "failed": "first",
        "intended": "first",
        "begun": "first",
    }
    assert states["billed"].first == "rcpt_billed"
    assert other.claim(claim("early", "rcpt_2"), NOW_US + 1).state == "finished"
    assert other.claim(claim("others", "rcpt_2"), NOW_US + 1).state == "running"
    assert run(settle_left(other.claims, 1, tmp_path / "receipts")) == 0


def test_keys_are_spent_where_the_journal_cannot_be_read(memory: Memory, tmp_path: Path) -> None:
    dead, other = worker(memory, 1), worker(memory, 2)
    assert dead.claim(claim("k"), 1).state == "first"
    path = tmp_path / "receipts-00000001.log"
    path.write_bytes(b'R 00000000 {"receipt":{"id":"rcpt_1"}}\n')
    assert run(settle_left(other.claims, 1, tmp_path)) == 1
    assert other.claim(claim("k", "rcpt_2"), 2).state == "finished"


def test_kept_answers_travel_whole() -> None:
    body = bytes(range(256))
    shape = Shape(64, 10_000)
    book = AnsweredTogether(Memory.private(shape.size()), shape, HOUR_US, 1)
    one = Kept(body, kept().served, None)
    finish(book, claim("k"), 1, one)
    assert book.claim(claim("k"), 1).kept == one
