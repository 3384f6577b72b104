"""What the story tells routing: fingerprints, reports, and what a client asks of it."""

from __future__ import annotations

import msgspec

from selvedge.exchange import (
    BodyRead,
    Intend,
    ReadBody,
    Record,
    Refuse,
    Relay,
    Written,
    serve,
)
from selvedge.fabric import Ask, Route
from selvedge.routing import LoadBook
from tests.exchange.test_story import relayed
from tests.support.boards import Said, model_report
from tests.support.conversation import Conversation
from tests.support.fleets import BODY, NOW_US, bearer, make_head, make_view

READ, WRITTEN = BodyRead(BODY, NOW_US + 10), Written(NOW_US + 30)
BODY_MAX = 9000


def long_body(text: str) -> bytes:
    return BODY.replace(b"CANARY", text.encode())


def test_a_long_prompt_has_fingerprints_of_its_tenant() -> None:
    found = []
    for key in ("free", "free", "asean"):
        talk = Conversation(serve(make_head(bearer(key)), make_view("sin"), BODY_MAX))
        talk.expect(ReadBody, BodyRead(long_body("x" * 3000), NOW_US + 10))
        talk.expect(Intend, WRITTEN)
        found.append(talk.expect(Relay, relayed()).job.ask.prefix)
    assert len(found[0]) == 2
    assert found[0] == found[1]
    assert not set(found[0]) & set(found[2])


def test_without_a_salt_there_are_no_fingerprints() -> None:
    view = msgspec.structs.replace(make_view("sin"), salts={})
    talk = Conversation(serve(make_head(bearer("free")), view, BODY_MAX))
    talk.expect(ReadBody, BodyRead(long_body("x" * 3000), NOW_US + 10))
    talk.expect(Intend, WRITTEN)
    assert talk.expect(Relay, relayed()).job.ask.prefix == ()


def test_facts_that_the_shell_knows_are_not_read_again() -> None:
    ask = Ask(Route.CHAT, "chat", prompt_bytes=999, prefix=(1, 2))
    talk = Conversation(serve(make_head(bearer("free")), make_view("sin"), BODY_MAX))
    talk.expect(ReadBody, BodyRead(b"", NOW_US + 10, ask))
    assert talk.expect(Intend, WRITTEN).receipt.body_bytes == 999
    assert talk.expect(Relay, relayed()).job.ask is ask


def test_reports_decide_and_a_client_may_refuse_to_wait() -> None:
    signals = Said()
    signals.say("sin", model_report(waiting_tokens=50_000, rate=100), at_us=NOW_US)
    signals.say("fra", at_us=NOW_US)
    view = msgspec.structs.replace(make_view("sin"), signals=signals)
    talk = Conversation(serve(make_head(bearer("free")), view, BODY_MAX))
    talk.expect(ReadBody, READ)
    assert talk.expect(Intend, WRITTEN).receipt.planned == ("fra", "sin")
    for pop in ("sin", "fra"):
        signals.say(pop, model_report(waiting_tokens=50_000, rate=100), at_us=NOW_US)
    book = LoadBook()
    book.enter("sin/sin-chat", 10**6)
    view = msgspec.structs.replace(view, load=book.view)
    talk = Conversation(serve(make_head(bearer("free"), wait_ms_max=1000), view, BODY_MAX))
    talk.expect(ReadBody, READ)
    assert talk.expect(Record, WRITTEN).receipt.code == "no_engine_available"
    ending = talk.end()
    assert isinstance(ending, Refuse)
    assert "Prefer: wait" in ending.refused.message
