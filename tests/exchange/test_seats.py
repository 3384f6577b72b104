"""Ends that nothing produces yet have their place in the receipt: batches, probes, caches, races.

Each receipt is made by the exchange's own types, written to a journal and read back: what is to
come changes the story, and not the receipt's form.
"""

from __future__ import annotations

import msgspec
import pytest

from selvedge.exchange import (
    BodyRead,
    Claimed,
    Deliver,
    Gone,
    Intend,
    Kept,
    ReadBody,
    Record,
    Relay,
    Replay,
    drafts,
    repeats,
    story,
)
from selvedge.fabric import Outcome, Purpose, Receipt, Usage
from selvedge.ledger import (
    SALT_BYTES,
    Admitted,
    Intent,
    Sealed,
    attempt_rows,
    interrupted,
    read_line,
    row_of,
    seal,
    settle,
    write_line,
)
from selvedge.routing import Attempt
from tests.exchange.test_story import SIN, USAGE, WRITTEN, begin, relayed
from tests.support.fleets import BODY, NOW_US, make_head, make_view

SALT = bytes(SALT_BYTES)


def kept(receipt: Receipt) -> Receipt:
    """As it is read from a journal."""
    read = read_line(write_line(seal(receipt, 1, SALT, None)).rstrip(b"\n"))
    assert isinstance(read, Sealed)
    return msgspec.structs.replace(read.decode(), seq=0)


@pytest.mark.parametrize(
    ("purpose", "row", "billed"),
    [
        ("request", "complete", USAGE),
        ("batch", "batch_line", USAGE),
        ("probe", "probe", Usage()),
        ("judge", "judge", Usage()),
    ],
)
def test_a_request_says_why_it_was_asked(purpose: Purpose, row: str, billed: Usage) -> None:
    """A line of a batch and a probe go the way of every request, intent and death included."""
    talk = begin(purpose=purpose)
    talk.expect(ReadBody, BodyRead(BODY, NOW_US + 10))
    intent = talk.expect(Intend, WRITTEN)
    talk.expect(Relay, relayed())
    receipt = kept(talk.expect(Record, WRITTEN).receipt)
    assert isinstance(talk.end(), Deliver)
    assert receipt.purpose == purpose
    assert (row_of(receipt), settle(receipt).billed) == (row, billed)
    read = read_line(write_line(Intent(intent.receipt)).rstrip(b"\n"))
    assert isinstance(read, Intent)
    died = kept(interrupted(read.receipt, NOW_US + 99))
    assert died.purpose == purpose
    assert settle(died).billed == Usage()


def test_a_kept_answer_has_a_row_and_an_ending() -> None:
    """The ending of a replayed answer gives any kept one; the draft says that it was a hit."""
    admitted = Admitted("k", "asean", "default", "standard")
    draft = drafts.open_receipt(make_head(), make_view("sin"), admitted)
    draft = msgspec.structs.replace(draft, cache="hit", usage=USAGE)
    answer = Kept(b"{}", SIN, "stop")
    found = repeats.replayed(Claimed("finished", NOW_US + 5, "rcpt_0", answer), draft)
    assert found is not None
    receipt, ending = kept(found[0]), found[1]
    assert ending == Replay(answer, "rcpt_0")
    assert (receipt.outcome, receipt.attempts) == (Outcome.COMPLETE, ())
    assert (row_of(receipt), settle(receipt).billed) == ("cache_hit", Usage())


def test_an_attempt_that_lost_a_race_has_a_row() -> None:
    """The loser is cut off as for a client that left; its receipt bills the winner."""
    lost, won = (Attempt("sin", "SG", engine, 40_000, "16 ms") for engine in ("slow", "quick"))
    cut = Gone(started_us=NOW_US, at_us=NOW_US + 5)
    answered = relayed()
    tried = (story._tried(lost, cut), story._tried(won, answered))
    draft = drafts.open_receipt(make_head(), make_view("sin"), Admitted("k", "a", "d", "standard"))
    draft = msgspec.structs.replace(draft, outcome=Outcome.COMPLETE, status=200)
    receipt = kept(story._with_end(draft, answered, tried))
    assert attempt_rows(receipt) == ("hedge_loser", "complete")
    assert settle(receipt).billed == USAGE
