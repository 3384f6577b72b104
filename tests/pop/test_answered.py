"""Keys that stand for a request: whose they are, for how long, and in how many bytes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from selvedge.adapters import Memory
from selvedge.exchange import Claim, Kept
from selvedge.pop.answered import Answered, HeldKeys
from selvedge.pop.answered_together import AnsweredTogether, Shape
from tests.exchange.test_story import SIN

HOUR_US = 3_600_000_000


def claim(word: str, receipt: str = "rcpt_1", asked: bytes = b"a", keeps: bool = True) -> Claim:
    return Claim(("asean", "default", word), asked.ljust(16), receipt, keeps)


def kept(size: int = 10) -> Kept:
    return Kept(b"x" * size, SIN, "stop")


def finish(answered: HeldKeys, one: Claim, at_us: int = 0, answer: Kept | None = None) -> None:
    assert answered.claim(one, at_us).state == "first"
    answered.end(one, spent=True, kept=answer)


def alone(bytes_max: int, keys_max: int = 100) -> Answered:
    return Answered(bytes_max, HOUR_US, keys_max)


def together(bytes_max: int, keys_max: int = 100) -> AnsweredTogether:
    """One worker's, of a memory that nobody else has."""
    shape = Shape(keys_max, bytes_max)
    return AnsweredTogether(Memory.private(shape.size()), shape, HOUR_US, 1)


Make = Callable[[int], HeldKeys]
TWINS: list[Make] = [alone, together]


@pytest.mark.parametrize("make", TWINS)
def test_one_key_is_one_request(make: Make) -> None:
    answered = make(1000)
    first = claim("k")
    assert answered.claim(first, 5).state == "first"
    again = answered.claim(claim("k", "rcpt_2"), 6)
    assert (again.state, again.first, again.at_us) == ("running", "rcpt_1", 6)
    assert answered.claim(claim("k", "rcpt_2", b"b"), 7).state == "other"
    answered.end(first, spent=True, kept=kept())
    again = answered.claim(claim("k", "rcpt_2"), 8)
    assert (again.state, again.first, again.kept) == ("finished", "rcpt_1", kept())
    assert answered.claim(claim("k", "rcpt_2", b"b"), 9).state == "other"
    other = Claim(("asean", "another", "k"), b"a" * 16, "rcpt_3", keeps=True)
    assert answered.claim(other, 10).state == "first"


@pytest.mark.parametrize("make", TWINS)
def test_what_billed_nothing_leaves_its_key_free(make: Make) -> None:
    answered = make(1000)
    first = claim("k")
    assert answered.claim(first, 0).state == "first"
    answered.end(first, spent=False, kept=None)
    assert answered.claim(claim("k", "rcpt_2", b"b"), 1).state == "first"


def test_answers_have_a_limit_in_bytes_and_their_keys_stay_spent() -> None:
    answered = alone(25)
    for word in "abc":
        finish(answered, claim(word), answer=kept(10))
    assert answered.bytes == 20
    states = [answered.claim(claim(word, "rcpt_2"), 1) for word in "abc"]
    assert [one.state for one in states] == ["finished"] * 3
    assert [one.kept is None for one in states] == [True, False, False]
    finish(answered, claim("large"), answer=kept(26))
    finish(answered, claim("elsewhere", keeps=False), answer=kept(1))
    for word in ("large", "elsewhere"):
        assert answered.claim(claim(word), 1).kept is None
    assert answered.bytes == 20


def test_keys_have_a_limit_in_time_and_number_unless_they_run() -> None:
    answered = alone(100, 3)
    runs = claim("runs")
    assert answered.claim(runs, 0).state == "first"
    for at, word in enumerate("abc"):
        finish(answered, claim(word), at, kept(10))
    assert len(answered) == 3
    assert answered.bytes == 20
    assert answered.claim(claim("runs", "rcpt_2"), 9).state == "running"
    assert answered.claim(claim("c", "rcpt_2"), 9).state == "finished"
    assert answered.claim(claim("a", "rcpt_2"), 9).state == "first"  # forgotten
    late = alone(100)
    finish(late, claim("k"), 0, kept(10))
    assert late.claim(claim("k", "rcpt_2"), HOUR_US - 1).state == "finished"
    assert late.claim(claim("k", "rcpt_2"), HOUR_US).state == "first"
    assert late.bytes == 0
