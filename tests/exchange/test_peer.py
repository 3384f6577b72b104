"""The serving side: a ticket in, an attestation out, and only what both releases allow."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.exchange import (
    Attest,
    BodyRead,
    BodyRefused,
    ClientLeft,
    Deliver,
    Drop,
    Ended,
    Failed,
    FleetView,
    Intend,
    ReadBody,
    Record,
    Refuse,
    Relay,
    Relayed,
    Reply,
    Served,
    Tally,
    Vouched,
    serve_peer,
    take_word,
)
from selvedge.fabric import (
    Attestation,
    Attested,
    DataClass,
    Outcome,
    Refused,
    Route,
    Tenant,
    Usage,
)
from selvedge.wire import Ticket, TicketBook, attest, body_hash, holds, issue, ticket_hash
from tests.exchange.test_story import FULL, SIN, USAGE, WRITTEN, failed, gone, relayed
from tests.support.conversation import Conversation
from tests.support.fleets import (
    BODY,
    NOW_US,
    RELEASE_HASH,
    make_head,
    make_pop,
    make_release,
    make_view,
    pair_key,
)

TICKET = Ticket(
    id="t1",
    request_id="req_1",
    ingress="cgk",
    serving="sin",
    tenant="asean",
    data_class="default",
    rule="asean/default",
    allowed=("sin", "cgk"),
    release=7,
    release_hash=RELEASE_HASH,
    route=Route.CHAT,
    model="chat",
    body_sha256=body_hash(BODY),
    deadline_ms=60_000,
    issued_us=NOW_US,
)
NAMED = ticket_hash(issue(TICKET, pair_key("cgk", "sin")))
VIEW = make_view("sin")
READ = BodyRead(BODY, NOW_US + 10)


def begin(
    ticket: Ticket = TICKET,
    view: FleetView = VIEW,
    book: TicketBook | None = None,
    key: bytes | None = None,
    **head: Any,
) -> Conversation:
    written = issue(ticket, key or pair_key(ticket.ingress, "sin"))
    book = book or TicketBook("sin", 0)
    return Conversation(serve_peer(make_head(None, **head), written, view, book, 1000))


def changed(**changes: Any) -> Ticket:
    return msgspec.structs.replace(TICKET, **changes)


def refusal(talk: Conversation) -> Refused:
    ending = talk.end()
    assert isinstance(ending, Refuse)
    assert not ending.receipt
    assert not talk.said(Record) + talk.said(Intend)
    return ending.refused


def relaying() -> Conversation:
    talk = begin()
    assert talk.expect(ReadBody, READ) == ReadBody(1000)
    return talk


def vouched(talk: Conversation) -> Attest:
    """The attestation asked for, and given."""
    wanted = next(one for one in talk.commands if isinstance(one, Attest))
    attested = attest(wanted.attestation, pair_key("sin", "cgk"))
    return talk.expect(Attest, Vouched(attested, NOW_US + 99))


def test_a_request_of_a_peer() -> None:
    talk = relaying()
    relay = talk.expect(Relay, relayed())
    assert [(one.pop, one.engine) for one in relay.attempts] == [("sin", "sin-chat")]
    job = relay.job
    assert (job.for_peer, job.allowed, job.body) == (True, (), BODY)
    assert (job.tenant, job.data_class, job.rule) == ("asean", "default", "asean/default")
    wanted = vouched(talk)
    words = wanted.attestation
    assert wanted.ingress == "cgk"
    assert (words.ticket, words.request_id) == (NAMED, "req_1")
    assert (words.pop, words.country, words.entity) == ("sin", "SG", "Example SG")
    assert (words.engine, words.model) == ("sin-chat", "chat")
    assert words.model_digest == "sha256:" + "11" * 32
    assert (words.release_hash, words.outcome, words.usage) == (
        RELEASE_HASH,
        Outcome.COMPLETE,
        USAGE,
    )
    assert (words.started_us, words.ended_us) == (NOW_US + 40, NOW_US + 90)
    ending = talk.end()
    assert isinstance(ending, Deliver)
    assert ending.attested is not None
    assert holds(ending.attested, pair_key("cgk", "sin"))


@pytest.mark.parametrize(
    ("ticket", "key", "head", "why"),
    [
        (TICKET, b"wrong" * 6, {}, "MAC does not hold"),
        (changed(ingress="fra"), pair_key("cgk", "sin"), {}, "MAC does not hold"),
        (changed(ingress="nowhere"), None, {}, "No PoP 'nowhere'"),
        (changed(serving="fra"), None, {}, "is for PoP 'fra'"),
        (changed(hop=2), None, {}, "never forwarded again"),
        (changed(issued_us=NOW_US - 31_000_000), None, {}, "too old"),
        (TICKET, None, {"received_us": NOW_US + 31_000_000}, "too old"),
        (TICKET, None, {"route": Route.COMPLETIONS}, "another route"),
        (changed(v=2), None, {}, "version 2"),
    ],
)
def test_tickets_that_do_not_hold(
    ticket: Ticket, key: bytes | None, head: dict[str, Any], why: str
) -> None:
    talk = begin(ticket, key=key, **head)
    talk.expect(Tally, WRITTEN)
    refused = refusal(talk)
    assert (refused.code, refused.kind.status) == ("ticket_refused", 403)
    assert why in refused.message
    assert refused.message[0].isupper()
    assert talk.commands == [Tally("ticket_refused")]


@pytest.mark.parametrize("peer", ["fra", "sin", ""])
def test_a_ticket_comes_with_the_certificate_of_its_ingress(peer: str) -> None:
    book = TicketBook("sin", 0)
    talk = begin(book=book, peer=peer)
    talk.expect(Tally, WRITTEN)
    assert refusal(talk).message == "The ticket is not of the PoP whose certificate came with it."
    # It was not used by that: its own ingress may still bring it.
    begin(book=book, peer="cgk").expect(ReadBody, ClientLeft(NOW_US))


def test_who_is_busier_than_was_thought_sends_the_request_back() -> None:
    talk = begin(changed(patience_us=1))
    talk.expect(ReadBody, READ)
    busy = refusal(talk)
    assert busy.code == "engine_busy"
    assert "worth waiting for at most 0 ms" in busy.message
    patient = begin(changed(patience_us=10**9))
    patient.expect(ReadBody, READ)
    assert patient.expect(Relay, relayed()).attempts[0].engine == "sin-chat"


def test_what_is_no_ticket() -> None:
    for written in ("", "x.y", "é"):
        talk = Conversation(serve_peer(make_head(), written, VIEW, TicketBook("sin", 0), 1000))
        talk.expect(Tally, WRITTEN)
        assert refusal(talk).code == "ticket_refused"


def test_a_ticket_is_used_once_even_if_its_body_never_comes() -> None:
    book = TicketBook("sin", 0)
    talk = begin(book=book)
    talk.expect(ReadBody, ClientLeft(NOW_US))
    assert talk.end() == Drop()
    again = begin(book=book)
    again.expect(Tally, WRITTEN)
    assert "used before" in refusal(again).message


def test_after_a_restart() -> None:
    talk = begin(book=TicketBook("sin", NOW_US + 1))
    talk.expect(Tally, WRITTEN)
    assert "before this PoP started" in refusal(talk).message


@pytest.mark.parametrize(
    ("ticket", "code"),
    [
        (changed(allowed=("cgk", "fra")), "residency_no_allowed_pop"),
        (changed(allowed=()), "residency_no_allowed_pop"),
        (changed(tenant="nobody"), "residency_no_allowed_pop"),
        (changed(data_class="strict"), "residency_no_allowed_pop"),
        # This PoP's own release says otherwise, whatever the ingress believes.
        (changed(tenant="eea", data_class="transit", allowed=("sin",)), "residency_no_allowed_pop"),
        (changed(tenant="eea", data_class="strict", allowed=("sin",)), "residency_ingress"),
        (changed(ingress="fra"), "residency_ingress"),
    ],
)
def test_both_releases_must_allow_it(ticket: Ticket, code: str) -> None:
    talk = begin(ticket)
    refused = refusal(talk)
    assert (refused.code, refused.kind.status) == (code, 451)
    assert refused.rule
    assert talk.commands == []  # not even the body is read


def test_a_newer_release_here_forbids_it() -> None:
    tenants = (Tenant("asean", (DataClass("default", "eea", "transit-allowed"),)),)
    view = make_view("sin", make_release(tenants=tenants, keys=()))
    assert refusal(begin(view=view)).code == "residency_no_allowed_pop"


def test_an_ingress_that_left_the_fleet() -> None:
    pops = (make_pop("sin"), make_pop("fra"))
    view = make_view("sin", make_release(pops=pops))
    assert refusal(begin(view=view)).code == "residency_ingress"


def test_the_body_must_be_the_tickets() -> None:
    talk = begin()
    talk.expect(ReadBody, BodyRead(BODY + b" ", NOW_US))
    talk.expect(Tally, WRITTEN)
    assert refusal(talk).code == "ticket_refused"
    assert not talk.said(Relay)


def test_a_body_that_is_not_taken() -> None:
    talk = begin()
    talk.expect(ReadBody, BodyRefused(Refused("request_too_large", "No."), NOW_US))
    assert refusal(talk).code == "request_too_large"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "invalid_json"),
        (BODY.replace(b"chat", b"none"), "model_not_found"),
        (BODY.replace(b"chat", b"embed"), "unsupported_route"),
    ],
)
def test_bodies_this_pop_cannot_serve(body: bytes, code: str) -> None:
    talk = begin(changed(body_sha256=body_hash(body)))
    talk.expect(ReadBody, BodyRead(body, NOW_US))
    assert refusal(talk).code == code


def test_nothing_is_forwarded_again() -> None:
    release = make_release(pops=(make_pop("sin", engines=False), make_pop("fra"), make_pop("cgk")))
    ticket = changed(tenant="free", rule="free/default", allowed=("sin", "fra", "cgk"))
    talk = begin(ticket, view=make_view("sin", release))
    talk.expect(ReadBody, READ)
    assert refusal(talk).code == "no_engine_available"
    assert not talk.said(Relay)


@pytest.mark.parametrize(
    ("ended", "outcome", "usage"),
    [
        (relayed(usage=None), Outcome.COMPLETE, Usage()),
        (gone(tokens=1, usage=Usage(output=1), served=SIN), Outcome.CLIENT_GONE, Usage(output=1)),
        (failed("engine_failed"), Outcome.FAILED, Usage()),
        (failed("engine_rejected"), Outcome.REFUSED, Usage()),
        (failed("engine_interrupted", tokens=1, usage=USAGE, served=SIN), Outcome.FAILED, USAGE),
    ],
)
@pytest.mark.parametrize("written", [True, False])
def test_every_ending_is_attested(
    ended: Any, outcome: Outcome, usage: Usage, written: bool
) -> None:
    talk = relaying()
    talk.expect(Relay, ended)
    wanted = vouched(talk) if written else talk.expect(Attest, FULL)
    assert (wanted.attestation.outcome, wanted.attestation.usage) == (outcome, usage)
    assert wanted.attestation.engine == ("sin-chat" if ended.served else "")
    ending = talk.end()
    if outcome is Outcome.CLIENT_GONE:
        assert ending == Drop()
    elif outcome in (Outcome.FAILED, Outcome.REFUSED):
        assert isinstance(ending, Refuse)
        assert (ending.refused, ending.receipt) == (ended.refused, False)
        assert (ending.attested is not None) == written
    elif written:
        assert isinstance(ending, Deliver)
    else:
        assert isinstance(ending, Refuse)
        assert ending.refused.code == "receipt_unwritable"


def test_an_attestation_that_is_not_given_gives_nothing() -> None:
    talk = relaying()
    talk.expect(Relay, relayed())
    talk.expect(Attest, WRITTEN)
    assert isinstance(talk.end(), Refuse)


@settings(deadline=None)
@given(st.data())
def test_exactly_one_word_for_what_was_relayed(data: st.DataObject) -> None:
    """However it goes: no receipt here, one attestation if an engine was asked, none if not."""
    talk = begin()

    def answer(command: object) -> Reply:
        if isinstance(command, ReadBody):
            return data.draw(
                st.sampled_from([READ, READ, ClientLeft(NOW_US), BodyRead(b"", NOW_US)])
            )
        if isinstance(command, Relay):
            return data.draw(st.sampled_from([relayed(), gone(), failed("engine_failed")]))
        return data.draw(st.sampled_from([WRITTEN, FULL]))

    talk.run(answer)
    assert len(talk.said(Attest)) == min(1, len(talk.said(Relay)))
    assert not talk.said(Record) + talk.said(Intend)
    assert all(one.pop == "sin" for relay in talk.said(Relay) for one in relay.attempts)


def answer(attested: Attested | None, *, tokens: int = 3) -> Relayed:
    served = Served("sin", None, "SG", "by the release", None)
    return Relayed(
        started_us=1, at_us=9, tokens=tokens, served=served, attested=attested, finish_reason="stop"
    )


def word(**changes: object) -> Attested:
    wanted = Attestation(
        ticket=ticket_hash("written"),
        request_id="req_1",
        pop="sin",
        country="SG",
        entity="Example SG",
        engine="sin-chat",
        model="chat",
        model_digest="sha256:" + "22" * 32,
        release_hash=RELEASE_HASH,
        outcome=Outcome.COMPLETE,
        usage=USAGE,
        started_us=1,
        ended_us=2,
    )
    return attest(msgspec.structs.replace(wanted, **changes), pair_key("sin", "cgk"))


def taken(ended: Ended) -> Ended:
    peer = make_release().pop("sin")
    return take_word(ended, "written", pair_key("sin", "cgk"), peer, "req_1")


def test_a_peers_word_becomes_what_the_receipt_says() -> None:
    ended = taken(answer(word()))
    assert isinstance(ended, Relayed)
    assert ended.usage == USAGE
    assert ended.served == Served("sin", "sin-chat", "SG", "Example SG", "sha256:" + "22" * 32)
    odd = taken(answer(word(engine="NOT A NAME")))
    assert odd.served is not None
    assert odd.served.engine is None


@pytest.mark.parametrize(
    "changes",
    [{"ticket": "t"}, {"request_id": "req_2"}, {"pop": "fra"}, {"country": "DE"}],
)
def test_a_word_on_something_else_is_none(changes: dict[str, object]) -> None:
    ended = taken(answer(word(**changes)))
    assert isinstance(ended, Failed)
    assert (ended.refused.code, ended.tokens) == ("engine_interrupted", 3)


def test_a_word_that_does_not_hold_and_none_at_all() -> None:
    forged = Attested(word().attestation, "x" * 43)
    for ended in (taken(answer(forged, tokens=0)), taken(answer(None, tokens=0))):
        assert isinstance(ended, Failed)
        assert (ended.refused.code, ended.refused.retry_after_ms) == ("engine_failed", 1000)
    failed = Failed(started_us=1, at_us=2, refused=Refused("engine_failed", "x"))
    assert taken(failed) is failed
    at_no_engine = Failed(
        started_us=1, at_us=2, refused=Refused("engine_failed", "x"), attested=word(engine="")
    )
    ended = taken(at_no_engine)
    assert (ended.served, ended.usage) == (None, None)
    nowhere = msgspec.structs.replace(answer(None), served=None)
    assert isinstance(taken(nowhere), Failed)
