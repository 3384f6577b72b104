"""One request as a conversation: each ending by a script. For all of them see the laws."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from selvedge.exchange import (
    BodyRead,
    BodyRefused,
    ClientLeft,
    Deliver,
    Drop,
    Failed,
    Gone,
    Intend,
    NotWritten,
    ReadBody,
    Record,
    Refuse,
    Relay,
    Relayed,
    Reply,
    Served,
    Tally,
    Written,
    cools,
    serve,
)
from selvedge.fabric import REFUSALS, Outcome, Personal, Receipt, Refused, Route, Usage
from selvedge.wire import parse
from tests.support.conversation import Conversation
from tests.support.fleets import (
    BODY,
    NOW_US,
    STREAM_BODY,
    bearer,
    make_head,
    make_release,
    make_view,
)

BODY_MAX = 1000
SIN = Served("sin", "sin-chat", "SG", "Example SG", "sha256:" + "11" * 32)
USAGE = Usage(5, output=2, provenance="reported")
READ, WRITTEN = BodyRead(BODY, NOW_US + 10), Written(NOW_US + 30)
FULL = NotWritten("disk full", NOW_US + 50)


def begin(key: str = "free", here: str = "sin", **head: Any) -> Conversation:
    return Conversation(serve(make_head(bearer(key), **head), make_view(here), BODY_MAX))


def intended(body: bytes = BODY, key: str = "free", here: str = "sin") -> Conversation:
    """A conversation that has come to its first relay."""
    talk = begin(key, here)
    talk.expect(ReadBody, BodyRead(body, NOW_US + 10))
    talk.expect(Intend, WRITTEN)
    return talk


def relayed(**changes: Any) -> Relayed:
    fields: dict[str, Any] = {
        "started_us": NOW_US + 40,
        "at_us": NOW_US + 90,
        "tokens": 2,
        "first_token_us": NOW_US + 60,
        "served": SIN,
        "usage": USAGE,
        "finish_reason": "stop",
    }
    return Relayed(**fields | changes)


def failed(code: str, **changes: Any) -> Failed:
    refused = Refused(code, f"It is {code}.")
    return Failed(**{"started_us": NOW_US + 40, "at_us": NOW_US + 50} | changes, refused=refused)


def gone(**changes: Any) -> Gone:
    return Gone(**{"started_us": NOW_US + 40, "at_us": NOW_US + 70} | changes)


# One script for each ending.


def test_a_complete_request() -> None:
    talk = begin("asean")
    assert talk.expect(ReadBody, READ) == ReadBody(BODY_MAX)
    ask = parse(Route.CHAT, BODY)
    intend = talk.expect(Intend, WRITTEN)
    assert intend.personal == Personal("203.0.113.9", None, "mine")
    assert intend.receipt == Receipt(
        id="rcpt_1",
        request_id="req_1",
        tenant="asean",
        project="default",
        key="asean",
        data_class="default",
        route="/v1/chat/completions",
        ingress_pop="sin",
        ingress_country="SG",
        rule="asean/default",
        zone="asean",
        release=7,
        release_hash="ab" * 32,
        received_us=NOW_US,
        transit=False,
        model="chat",
        model_digest="sha256:" + "11" * 32,
        body_bytes=len(BODY),
        allowed_pops=2,
        planned=("sin",),
        planned_in=("SG",),
    )
    relay = talk.expect(Relay, relayed())
    assert [one.engine for one in relay.attempts] == ["sin-chat"]
    job = relay.job
    assert (job.ask, job.body, job.allowed) == (ask, BODY, ("sin",))
    assert (job.tenant, job.data_class, job.rule) == ("asean", "default", "asean/default")
    assert not job.for_peer
    record = talk.expect(Record, WRITTEN)
    (tried,) = record.receipt.attempts
    assert (tried.pop, tried.engine, tried.outcome) == ("sin", "sin-chat", "relayed")
    assert record.receipt == msgspec.structs.replace(
        intend.receipt,
        attempts=(tried,),
        served_pop="sin",
        served_engine="sin-chat",
        served_entity="Example SG",
        processed_in="SG",
        outcome=Outcome.COMPLETE,
        status=200,
        finish_reason="stop",
        usage=USAGE,
        first_token_us=NOW_US + 60,
        ended_us=NOW_US + 90,
    )
    assert record.personal == intend.personal
    assert talk.end() == Deliver()


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, "missing_api_key"),
        ("Bearer sk-nobody-x", "invalid_api_key"),
        (bearer("old"), "key_expired"),
    ],
)
def test_nobody_is_known_to_have_asked(authorization: str | None, code: str) -> None:
    head = make_head(authorization, fault=Refused("invalid_header", "Bad."))
    talk = Conversation(serve(head, make_view("sin"), BODY_MAX))
    talk.expect(Tally, WRITTEN)
    ending = talk.end()
    assert isinstance(ending, Refuse)
    assert (ending.refused.code, ending.receipt) == (code, False)
    assert talk.commands == [Tally(code)]


def refused_with(talk: Conversation, code: str) -> Record:
    """The one record of a refused request."""
    record = talk.expect(Record, WRITTEN)
    ending = talk.end()
    assert isinstance(ending, Refuse)
    assert (ending.refused.code, ending.receipt) == (code, True)
    kind = REFUSALS[code]
    assert (record.receipt.code, record.receipt.status) == (code, kind.status)
    policy = kind.fault in ("caller", "policy")
    assert record.receipt.outcome is (Outcome.REFUSED if policy else Outcome.FAILED)
    assert (record.receipt.usage, record.receipt.served_pop) == (None, None)
    assert record.receipt.attempts == ()
    return record


def test_a_head_that_is_wrong() -> None:
    talk = begin(fault=Refused("invalid_header", "Bad."))
    refused_with(talk, "invalid_header")
    assert len(talk.commands) == 1


def test_not_one_byte_is_read_where_the_rule_forbids_entry() -> None:
    talk = begin("eea-strict", "sin")
    record = refused_with(talk, "residency_ingress")
    assert len(talk.commands) == 1
    receipt = record.receipt
    assert (receipt.rule, receipt.status, receipt.ended_us) == ("eea/strict", 451, NOW_US)
    assert (receipt.ingress_country, receipt.allowed_pops, receipt.planned) == ("SG", 0, ())


def test_transit_is_written_down() -> None:
    talk = intended(key="eea", here="cgk")
    relay = talk.expect(Relay, relayed())
    assert [one.pop for one in relay.attempts] == ["fra"]
    assert relay.job.allowed == ("fra",)
    receipt = talk.expect(Record, WRITTEN).receipt
    assert (receipt.transit, receipt.zone, receipt.allowed_pops) == (True, "eea", 1)


@pytest.mark.parametrize("code", ["request_too_large", "overloaded", "deadline_exceeded"])
def test_a_body_that_is_not_taken(code: str) -> None:
    talk = begin()
    talk.expect(ReadBody, BodyRefused(Refused(code, "No."), NOW_US + 9))
    assert refused_with(talk, code).receipt.ended_us == NOW_US + 9


@pytest.mark.parametrize("reply", [WRITTEN, FULL])
def test_a_client_that_leaves_before_its_request_is_whole(reply: Reply) -> None:
    talk = begin()
    talk.expect(ReadBody, ClientLeft(NOW_US + 9))
    receipt = talk.expect(Record, reply).receipt
    assert (receipt.outcome, receipt.status) == (Outcome.CLIENT_GONE, 0)
    assert (receipt.ended_us, receipt.model) == (NOW_US + 9, None)
    assert talk.end() == Drop()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "invalid_json"),
        (b'{"model":"chat"}', "missing_field"),
        (b'{"model":"chat","messages":[]}', "invalid_value"),
    ],
)
def test_a_body_that_is_wrong(body: bytes, code: str) -> None:
    talk = begin()
    talk.expect(ReadBody, BodyRead(body, NOW_US + 9))
    receipt = refused_with(talk, code).receipt
    assert (receipt.model, receipt.ended_us) == (None, NOW_US + 9)


@pytest.mark.parametrize(
    ("model", "code", "known"),
    [("unheard-of", "model_not_found", None), ("embed", "unsupported_route", "embed")],
)
def test_a_model_that_is_not_for_this(model: str, code: str, known: str | None) -> None:
    talk = begin()
    body = BODY.replace(b'"chat"', b'"%b"' % model.encode())
    talk.expect(ReadBody, BodyRead(body[:-1] + b',"user":"me"}', NOW_US))
    record = refused_with(talk, code)
    assert record.personal.end_user == "me"
    assert record.receipt.model == known  # what a client makes up is not in a receipt
    assert record.receipt.ended_us == NOW_US


def test_served_but_not_inside() -> None:
    release = make_release()
    pops = tuple(
        msgspec.structs.replace(pop, engines=()) if pop.id == "sin" else pop for pop in release.pops
    )
    view = make_view("sin", msgspec.structs.replace(release, pops=pops))
    talk = Conversation(serve(make_head(bearer("asean")), view, BODY_MAX))
    talk.expect(ReadBody, READ)
    refused_with(talk, "residency_model")


def test_what_cannot_be_intended_is_not_served_and_says_so() -> None:
    talk = begin()
    talk.expect(ReadBody, READ)
    talk.expect(Intend, FULL)
    record = refused_with(talk, "receipt_unwritable")
    assert record.receipt.planned == ("sin", "fra")
    assert not talk.said(Relay)


def test_what_can_be_written_nowhere_has_no_receipt() -> None:
    talk = begin()
    talk.expect(ReadBody, READ)
    talk.expect(Intend, FULL)
    talk.expect(Record, FULL)
    ending = talk.end()
    assert isinstance(ending, Refuse)
    assert (ending.refused.code, ending.receipt) == ("receipt_unwritable", False)
    assert ending.refused.retry_after_ms
    assert "disk full" in ending.refused.message


def test_a_refusal_that_cannot_be_written_is_another_refusal() -> None:
    talk = begin("eea-strict")
    talk.expect(Record, FULL)
    ending = talk.end()
    assert isinstance(ending, Refuse)
    assert (ending.refused.code, ending.receipt) == ("receipt_unwritable", False)


@pytest.mark.parametrize("code", ["engine_failed", "no_engine_available", "ticket_refused"])
def test_the_next_attempt_is_not_seen(code: str) -> None:
    talk = intended()
    first = talk.expect(Relay, failed(code))
    second = talk.expect(Relay, relayed(served=Served("fra", "fra-chat", "DE", "E", None)))
    assert [one.attempts[0].pop for one in (first, second)] == ["sin", "fra"]
    assert first.job == second.job
    receipt = talk.expect(Record, WRITTEN).receipt
    assert [(one.pop, one.engine, one.outcome) for one in receipt.attempts] == [
        ("sin", "sin-chat", "failed"),
        ("fra", "fra-chat", "relayed"),
    ]
    assert receipt.attempts[0].reason == code
    assert (receipt.outcome, receipt.code, receipt.processed_in) == (Outcome.COMPLETE, None, "DE")
    assert talk.end() == Deliver()


def test_nobody_answered() -> None:
    talk = intended()
    talk.expect(Relay, failed("engine_failed"))
    talk.expect(Relay, failed("engine_failed", at_us=NOW_US + 80))
    receipt = talk.expect(Record, WRITTEN).receipt
    assert (receipt.outcome, receipt.status) == (Outcome.FAILED, 503)
    assert (receipt.code, receipt.ended_us) == ("no_engine_available", NOW_US + 80)
    assert [one.outcome for one in receipt.attempts] == ["failed", "failed"]
    assert receipt.served_pop is None
    ending = talk.end()
    assert isinstance(ending, Refuse)
    assert ending.refused.retry_after_ms == 1000
    assert "It is engine_failed." in ending.refused.message


@pytest.mark.parametrize("code", ["unsupported_field", "unsupported_route"])
@pytest.mark.parametrize("other", ["before", "after", "none"])
def test_an_engine_that_cannot_be_told_all_is_passed_over(code: str, other: str) -> None:
    """Its client is told only where no engine failed otherwise: that could have been told."""
    talk = intended()
    talk.expect(Relay, failed("engine_failed" if other == "before" else code))
    talk.expect(Relay, failed("engine_failed" if other == "after" else code, at_us=NOW_US + 80))
    receipt = talk.expect(Record, WRITTEN).receipt
    told = code if other == "none" else "no_engine_available"
    assert (receipt.code, receipt.ended_us) == (told, NOW_US + 80)
    assert receipt.outcome is (Outcome.REFUSED if other == "none" else Outcome.FAILED)
    assert len(receipt.attempts) == 2
    ending = talk.end()
    assert isinstance(ending, Refuse)
    assert ending.refused.code == told


def test_the_engines_own_pause_is_passed_on() -> None:
    talk = intended()
    talk.expect(Relay, failed("engine_failed"))
    busy = Failed(
        started_us=1, at_us=2, refused=Refused("no_engine_available", "Busy.", retry_after_ms=77)
    )
    talk.expect(Relay, busy)
    talk.expect(Record, WRITTEN)
    ending = talk.end()
    assert isinstance(ending, Refuse)
    assert ending.refused.retry_after_ms == 77


@pytest.mark.parametrize(
    ("code", "outcome", "tried"),
    [
        ("engine_rejected", Outcome.REFUSED, "rejected"),
        ("context_length_exceeded", Outcome.REFUSED, "rejected"),
        ("deadline_exceeded", Outcome.FAILED, "deadline"),
    ],
)
def test_what_no_other_engine_would_do_better(code: str, outcome: Outcome, tried: str) -> None:
    talk = intended()
    talk.expect(Relay, failed(code))
    receipt = talk.expect(Record, WRITTEN).receipt
    assert (receipt.outcome, receipt.code) == (outcome, code)
    assert receipt.status == REFUSALS[code].status
    assert [(one.outcome, one.reason) for one in receipt.attempts] == [(tried, code)]
    ending = talk.end()
    assert isinstance(ending, Refuse)
    assert ending.refused == Refused(code, f"It is {code}.")


@pytest.mark.parametrize("code", ["engine_interrupted", "deadline_exceeded"])
def test_a_broken_answer_is_billed_as_delivered_and_told_in_band(code: str) -> None:
    talk = intended(STREAM_BODY)
    counted = Usage(output=3)
    broken = failed(code, tokens=3, served=SIN, usage=counted, first_token_us=NOW_US + 45)
    talk.expect(Relay, broken)
    receipt = talk.expect(Record, WRITTEN).receipt
    assert (receipt.outcome, receipt.status, receipt.code) == (Outcome.FAILED, 200, code)
    assert (receipt.usage, receipt.processed_in) == (counted, "SG")
    assert receipt.attempts[0].tokens == 3
    assert receipt.stream
    assert talk.end() == Refuse(broken.refused)


@pytest.mark.parametrize(
    ("body", "first_token_us", "status"),
    [(STREAM_BODY, NOW_US + 50, 200), (STREAM_BODY, None, 0), (BODY, NOW_US + 50, 0)],
)
def test_a_client_that_hangs_up(body: bytes, first_token_us: int | None, status: int) -> None:
    talk = intended(body)
    counted = Usage(output=1)
    talk.expect(Relay, gone(tokens=1, served=SIN, usage=counted, first_token_us=first_token_us))
    receipt = talk.expect(Record, WRITTEN).receipt
    assert (receipt.outcome, receipt.status, receipt.code) == (Outcome.CLIENT_GONE, status, None)
    assert (receipt.usage, receipt.ended_us) == (counted, NOW_US + 70)
    assert [one.outcome for one in receipt.attempts] == ["gone"]
    assert talk.end() == Drop()
    assert len(talk.said(Relay)) == 1


@pytest.mark.parametrize(
    ("body", "ended", "ending"),
    [
        (BODY, relayed(tokens=0), "receipt_unwritable"),
        (STREAM_BODY, relayed(), None),
        (STREAM_BODY, failed("engine_interrupted", tokens=1), None),
        (BODY, failed("engine_rejected"), "receipt_unwritable"),
        (STREAM_BODY, gone(), None),
    ],
)
def test_without_a_receipt_nothing_is_acknowledged(
    body: bytes, ended: Reply, ending: str | None
) -> None:
    talk = intended(body)
    talk.expect(Relay, ended)
    talk.expect(Record, FULL)
    end = talk.end()
    if ending is None:
        assert end == Drop()
    else:
        assert isinstance(end, Refuse)
        assert (end.refused.code, end.receipt) == (ending, False)


def test_what_is_no_answer_to_a_relay_is_our_own_fault() -> None:
    talk = intended()
    with pytest.raises(TypeError, match="Written is not an answer to Relay"):
        talk.expect(Relay, WRITTEN)


def test_who_cools() -> None:
    assert cools(failed("engine_failed"))
    assert cools(failed("no_engine_available"))
    assert not cools(failed("engine_interrupted", tokens=1))
    assert not cools(failed("deadline_exceeded"))
    assert not cools(failed("engine_busy"))
    assert not cools(failed("engine_rejected"))
    assert not cools(gone())
    assert not cools(relayed())


def test_the_body_never_leaves_the_job() -> None:
    talk = intended()
    relay = talk.expect(Relay, relayed())
    talk.expect(Record, WRITTEN)
    others = [command for command in talk.commands if command is not relay]
    assert all(b"CANARY" not in msgspec.json.encode(command) for command in others)
    assert json.loads(relay.job.body)
