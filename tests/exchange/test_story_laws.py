"""What holds for every request, whatever the world answers: the laws of the story."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.exchange import (
    BodyRead,
    BodyRefused,
    Claim,
    Claimed,
    ClientLeft,
    Command,
    Deliver,
    Drop,
    Ending,
    Failed,
    FleetView,
    Gone,
    Intend,
    Kept,
    ReadBody,
    Record,
    Refuse,
    Relay,
    Relayed,
    Replay,
    Reply,
    Tally,
    serve,
)
from selvedge.fabric import REFUSALS, Head, Outcome, Receipt, Refused, Usage
from selvedge.ledger import attempt_rows, canonical, row_of, settle
from tests.exchange.test_story import (
    BODY_MAX,
    FULL,
    SIN,
    USAGE,
    WRITTEN,
    failed,
    gone,
    relayed,
)
from tests.support.conversation import Conversation
from tests.support.fleets import (
    BODY,
    KEYS,
    NOW_US,
    SITES,
    STREAM_BODY,
    bearer,
    make_head,
    make_view,
)

VIEWS = {pop: make_view(pop) for pop in SITES}


@st.composite
def ends(draw: st.DrawFn) -> Reply:
    fields: dict[str, Any] = {
        "tokens": draw(st.integers(0, 2)),
        "first_token_us": draw(st.none() | st.just(NOW_US + 60)),
        "served": draw(st.none() | st.just(SIN)),
        "usage": draw(st.none() | st.just(USAGE)),
    }
    kind = draw(st.sampled_from(["relayed", "failed", "gone"]))
    if kind == "relayed":
        return relayed(**fields)
    if kind == "gone":
        return gone(**fields)
    return failed(draw(st.sampled_from(sorted(REFUSALS))), **fields)


BODIES = [
    BODY,
    STREAM_BODY,
    b"{",
    b"{}",
    BODY.replace(b"chat", b"embed"),
    BODY.replace(b"chat", b"none"),
]
arrivals = st.one_of(
    st.sampled_from(BODIES).map(lambda body: BodyRead(body, NOW_US + 10)),
    st.just(BodyRefused(Refused("request_too_large", "No."), NOW_US + 10)),
    st.just(ClientLeft(NOW_US + 10)),
)
writes = st.sampled_from([WRITTEN, WRITTEN, FULL])
heads = st.builds(
    make_head,
    st.one_of(st.none(), st.just("Bearer sk-x-y"), st.sampled_from(sorted(KEYS)).map(bearer)),
    fault=st.sampled_from([None, None, None, Refused("invalid_header", "Bad.")]),
    idempotency_key=st.sampled_from([None, None, "k"]),
)
KEPT = Kept(b'{"choices":[]}', SIN, "stop")
claims = st.one_of(
    st.just(Claimed("first", NOW_US + 15)),
    st.sampled_from(["running", "other", "finished"]).map(
        lambda state: Claimed(state, NOW_US + 15, "rcpt_0")
    ),
    st.just(Claimed("finished", NOW_US + 15, "rcpt_0", KEPT)),
)


def replies(data: st.DataObject, command: Command) -> Reply:
    match command:
        case ReadBody():
            return data.draw(arrivals)
        case Claim():
            return data.draw(claims)
        case Relay():
            return data.draw(ends())
        case _:
            return data.draw(writes)


def check(talk: Conversation, head: Head, view: FleetView, given_replies: list[Reply]) -> None:
    """What holds for every request, however it went."""
    ending = talk.end()
    admitted = view.keyring.admit(head.authorization, NOW_US)
    records = talk.said(Record)
    if isinstance(admitted, Refused):
        assert talk.commands == [Tally(admitted.code)]
        assert ending == Refuse(admitted, receipt=False)
        return
    assert not talk.said(Tally)
    assert len(records) == 1
    assert talk.commands[-1] is records[0]
    check_relays(talk, view, given_replies)
    written = given_replies[-1] == WRITTEN
    check_ending(ending, records[0].receipt, given_replies, written)
    check_receipt(records[0].receipt, talk, given_replies)
    check_claim(head, talk, given_replies)
    check_bill(records[0].receipt, talk)


def check_relays(talk: Conversation, view: FleetView, given_replies: list[Reply]) -> None:
    relays = talk.said(Relay)
    if not relays:
        return
    at = talk.commands.index(relays[0])
    assert isinstance(talk.commands[at - 1], Intend)
    assert given_replies[at - 1] == WRITTEN
    receipt = talk.said(Intend)[0].receipt
    allowed = view.rules.allowed(
        receipt.tenant, receipt.data_class, view.here.id, receipt.received_us
    )
    assert not isinstance(allowed, Refused)
    inside = [pop.id for pop in view.rules.members(allowed.bits)]
    tried = [relay.attempts[0].pop for relay in relays]
    assert all(len(relay.attempts) == 1 for relay in relays)
    assert set(tried) <= set(receipt.planned) <= set(inside)
    assert tuple(tried) == receipt.planned[: len(tried)]
    working = tuple(pop.id for pop in view.rules.members(allowed.bits) if pop.engines)
    assert all(relay.job.allowed == working for relay in relays)
    for reply in given_replies[at : at + len(relays) - 1]:
        assert isinstance(reply, Failed)
        assert reply.tokens == 0
        assert reply.refused.kind.fault != "caller"
        assert reply.refused.code != "deadline_exceeded"


def check_claim(head: Head, talk: Conversation, given_replies: list[Reply]) -> None:
    """Under a key that stands for another request nothing leaves, and the receipt names it."""
    receipt = talk.said(Record)[0].receipt
    claims_made = talk.said(Claim)
    assert len(claims_made) <= (head.idempotency_key is not None)
    if not claims_made:
        assert receipt.repeats is None
        return
    reply = given_replies[talk.commands.index(claims_made[0])]
    assert isinstance(reply, Claimed)
    assert receipt.repeats == reply.first
    if reply.state != "first":
        assert not talk.said(Intend)
        assert not talk.said(Relay)
        assert settle(receipt).billed == Usage()
    if isinstance(talk.end(), Replay):
        assert talk.end() == Replay(KEPT, "rcpt_0")
        assert row_of(receipt) == "replayed"
        assert given_replies[-1] == WRITTEN


def check_bill(receipt: Receipt, talk: Conversation) -> None:
    """What reached an engine has one row, and only a receipt that reached one bills anything."""
    settled = settle(receipt)
    reached = bool(talk.said(Relay))
    assert len(attempt_rows(receipt)) == len(talk.said(Relay))
    assert reached or settled.billed == Usage()
    assert not (reached and settled.row.startswith("refused_"))


def check_ending(
    ending: Ending, receipt: Receipt, given_replies: list[Reply], written: bool
) -> None:
    if isinstance(ending, Deliver):
        assert written
        assert receipt.outcome is Outcome.COMPLETE
    if isinstance(ending, Refuse):
        assert ending.receipt == written
        assert receipt.code == ending.refused.code if written else True
        if not written:
            assert ending.refused.code == "receipt_unwritable"
    if isinstance(ending, Replay):
        assert written
        assert receipt.outcome is Outcome.COMPLETE
    if receipt.outcome is Outcome.CLIENT_GONE:
        assert ending == Drop()
    elif written:
        assert not isinstance(ending, Drop)


def check_receipt(receipt: Receipt, talk: Conversation, given_replies: list[Reply]) -> None:
    assert canonical(receipt)
    assert b"CANARY" not in canonical(receipt)
    assert b"203.0.113.9" not in canonical(receipt)
    assert receipt.outcome is not Outcome.INTERRUPTED
    assert (receipt.code is None) == (receipt.outcome in (Outcome.COMPLETE, Outcome.CLIENT_GONE))
    assert receipt.ended_us >= receipt.received_us
    relays = len(talk.said(Relay))
    assert len(receipt.attempts) == relays
    ends = [reply for reply in given_replies if isinstance(reply, Relayed | Failed | Gone)]
    assert [one.tokens for one in receipt.attempts] == [end.tokens for end in ends]
    if not ends:
        assert (receipt.usage, receipt.served_pop, receipt.processed_in) == (None, None, None)
        return
    last = ends[-1]
    assert (receipt.usage, receipt.ended_us) == (last.usage, last.at_us)
    assert receipt.first_token_us == last.first_token_us
    assert receipt.processed_in == (last.served.country if last.served else None)
    assert (receipt.outcome is Outcome.COMPLETE) == isinstance(last, Relayed)
    assert (receipt.outcome is Outcome.CLIENT_GONE) == isinstance(last, Gone)


@settings(deadline=None, max_examples=400)
@given(heads, st.sampled_from(sorted(SITES)), st.data())
def test_however_it_goes(head: Head, here: str, data: st.DataObject) -> None:
    view = VIEWS[here]
    talk = Conversation(serve(head, view, BODY_MAX))
    given_replies: list[Reply] = []

    def answer(command: Command) -> Reply:
        given_replies.append(replies(data, command))
        return given_replies[-1]

    talk.run(answer)
    assert len(given_replies) == len(talk.commands)
    check(talk, head, view, given_replies)
