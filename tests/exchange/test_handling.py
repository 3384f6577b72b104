"""Handlings of data classes: who may process, and what of a request is kept by anybody."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from selvedge.exchange import (
    Attest,
    BodyRead,
    Claim,
    Claimed,
    Deliver,
    FleetView,
    Intend,
    ReadBody,
    Record,
    Refuse,
    Relay,
    Remember,
    Tally,
    Vouched,
    serve,
    serve_peer,
)
from selvedge.exchange.reports import zones_of
from selvedge.fabric import (
    HANDLINGS,
    Attested,
    CompiledRule,
    DataClass,
    Handling,
    Policy,
    PoP,
    Refused,
    Release,
    Tenant,
)
from selvedge.wire import Ticket, TicketBook, body_hash, issue
from tests.exchange.test_peer import TICKET
from tests.exchange.test_story import WRITTEN, relayed
from tests.support.conversation import Conversation
from tests.support.fleets import (
    BODY,
    NOW_US,
    bearer,
    make_head,
    make_pop,
    make_release,
    make_view,
    pair_key,
)

ZERO: tuple[Handling, ...] = ("zero-retention",)
BOTH = HANDLINGS
LONG = BODY.replace(b"CANARY", b"a" * 4096)


def honouring(pop: str, *honours: Handling, of: int | None = None) -> PoP:
    """One of the sites; its engines (or only the one numbered ``of``) honour these."""
    made = make_pop(pop)
    engines = tuple(
        msgspec.structs.replace(one, honours=honours if of in (None, at) else ())
        for at, one in enumerate(made.engines)
    )
    return msgspec.structs.replace(made, engines=engines)


def release(
    handling: tuple[Handling, ...],
    pops: tuple[PoP, ...],
    ingress: str = "transit-allowed",
    **changes: Any,
) -> Release:
    """Tenant `free` asks for a handling in the whole world."""
    free = Tenant("free", (DataClass("default", "world", ingress, handling=handling),))
    tenants = tuple(one for one in make_release().tenants if one.id != "free")
    return make_release(tenants=(*tenants, free), pops=pops, **changes)


def begin(made: Release, here: str = "cgk", **head: Any) -> Conversation:
    return Conversation(serve(make_head(bearer("free"), **head), make_view(here, made), 10_000))


def planned(made: Release, here: str = "cgk") -> tuple[str, ...]:
    """Which PoPs the receipt names before anything leaves."""
    talk = begin(made, here)
    talk.expect(ReadBody, BodyRead(BODY, NOW_US + 10))
    return talk.expect(Intend, WRITTEN).receipt.planned


CGK = make_pop("cgk", engines=False)


@pytest.mark.parametrize("handling", [ZERO, ("no-training",), BOTH])
def test_who_does_not_honour_is_no_candidate(handling: tuple[Handling, ...]) -> None:
    pops = (make_pop("sin"), honouring("fra", *BOTH), CGK)
    assert planned(release((), pops)) == ("sin", "fra")
    assert planned(release(handling, pops)) == ("fra",)


def test_all_of_them_must_be_honoured() -> None:
    pops = (honouring("sin", "no-training"), honouring("fra", *reversed(BOTH)), CGK)
    assert planned(release(BOTH, pops)) == ("fra",)
    assert set(planned(release(("no-training",), pops))) == {"sin", "fra"}


def test_the_second_level_asks_only_who_honours() -> None:
    sin = honouring("sin", *BOTH)
    chat, embed = sin.engines
    silent = msgspec.structs.replace(chat, id="silent", honours=())
    pops = (msgspec.structs.replace(sin, engines=(silent, chat, embed)), CGK)
    talk = begin(release(ZERO, pops), here="sin")
    talk.expect(ReadBody, BodyRead(BODY, NOW_US + 10))
    talk.expect(Intend, WRITTEN)
    assert [one.engine for one in talk.expect(Relay, relayed()).attempts] == ["sin-chat"]


@pytest.mark.parametrize("here", ["cgk", "sin"])
def test_where_nobody_honours_it_the_refusal_names_rule_and_handling(here: str) -> None:
    talk = begin(release(BOTH, (honouring("sin", "no-training"), make_pop("fra"), CGK)), here)
    talk.expect(ReadBody, BodyRead(BODY, NOW_US + 10))
    receipt = talk.expect(Record, WRITTEN).receipt
    ending = talk.end()
    assert isinstance(ending, Refuse)
    refused = ending.refused
    assert (refused.code, refused.kind.status) == ("residency_handling", 451)
    assert refused.rule == "free/default"
    assert "zero-retention and no-training" in refused.message
    assert "'free/default'" in refused.message
    assert (receipt.code, receipt.status) == ("residency_handling", 451)
    assert receipt.handling == BOTH
    assert not talk.said(Relay)


def test_one_that_is_served_outside_alone_is_a_matter_of_the_model() -> None:
    eea = Tenant("free", (DataClass("default", "eea", "transit-allowed", handling=ZERO),))
    made = make_release(tenants=(*make_release().tenants[:-1], eea), pops=(make_pop("sin"), CGK))
    made = msgspec.structs.replace(made, pops=(*made.pops, make_pop("fra", engines=False)))
    talk = begin(made)
    talk.expect(ReadBody, BodyRead(BODY, NOW_US + 10))
    talk.expect(Record, WRITTEN)
    ending = talk.end()
    assert isinstance(ending, Refuse)
    assert ending.refused.code == "residency_model"


@pytest.mark.parametrize("handling", [(), ZERO, ("no-training",)])
def test_what_is_kept(handling: tuple[Handling, ...]) -> None:
    """Of zero retention: no fingerprint, no answer for its key; receipts say it."""
    pops = (honouring("sin", *BOTH), honouring("fra", *BOTH), CGK)
    keeps = handling != ZERO
    talk = begin(release(handling, pops), here="sin", idempotency_key="k")
    talk.expect(ReadBody, BodyRead(LONG, NOW_US + 10))
    claim = talk.expect(Claim, Claimed("first", NOW_US + 12))
    assert claim.keeps is keeps
    intended = talk.expect(Intend, WRITTEN).receipt
    job = talk.expect(Relay, relayed()).job
    assert (len(job.ask.prefix) > 0) is keeps
    assert job.handling == handling
    recorded = talk.expect(Record, WRITTEN).receipt
    assert isinstance(talk.end(), Deliver)
    assert talk.said(Remember) == []
    assert intended.handling == recorded.handling == handling
    assert recorded.cache == "off"


def test_an_ask_of_a_simulation_loses_its_fingerprints() -> None:
    talk = begin(release(ZERO, (honouring("sin", *BOTH), CGK)), here="sin")
    plain = begin(release((), (make_pop("sin"), CGK)), here="sin")
    plain.expect(ReadBody, BodyRead(LONG, NOW_US + 10))
    plain.expect(Intend, WRITTEN)
    known = plain.expect(Relay, relayed()).job.ask
    assert known.prefix
    talk.expect(ReadBody, BodyRead(LONG, NOW_US + 10, known))
    talk.expect(Intend, WRITTEN)
    assert talk.expect(Relay, relayed()).job.ask.prefix == ()


def policy(**bits: str) -> Policy:
    """One rule of it, by which all may be done everywhere but what is given."""
    every = dict.fromkeys(("enter", "process", "cache", "log", "receipts", "keys"), "7")
    row = CompiledRule("clinic", 0, **{**every, **bits})
    return Policy("permit", "{}", "2026-07-01", "sha256:" + "ab" * 32, (row,))


def test_what_a_policy_does_not_let_be_kept_is_not_kept_there() -> None:
    free = Tenant("free", (DataClass("default", "world", "transit-allowed", policy="clinic"),))
    tenants = (*make_release().tenants[:-1], free)
    pops = (make_pop("sin"), make_pop("fra"), CGK)
    for cache, keeps in (("7", True), ("6", False)):  # bit 0 is sin
        made = make_release(tenants=tenants, pops=pops, policy=policy(cache=cache))
        talk = begin(made, here="sin", idempotency_key="k")
        talk.expect(ReadBody, BodyRead(LONG, NOW_US + 10))
        assert talk.expect(Claim, Claimed("first", NOW_US + 12)).keeps is keeps
        receipt = talk.expect(Intend, WRITTEN).receipt
        assert receipt.policy == "2026-07-01/" + "ab" * 8
        job = talk.expect(Relay, relayed()).job
        assert bool(job.ask.prefix) is keeps
        assert job.policy == receipt.policy


@pytest.mark.parametrize("act", ["enter", "receipts", "keys", "log"])
def test_a_pop_that_may_keep_no_receipt_refuses_without_one(act: str) -> None:
    """Counted, as a request of nobody is; where only entry is forbidden there is a receipt."""
    free = Tenant("free", (DataClass("default", "world", "transit-allowed", policy="clinic"),))
    tenants = (*make_release().tenants[:-1], free)
    pops = (make_pop("sin"), make_pop("fra"), CGK)
    made = make_release(tenants=tenants, pops=pops, policy=policy(**{act: "6"}))  # bit 0 is sin
    talk = begin(made, here="sin")
    if act == "enter":
        assert talk.expect(Record, WRITTEN).receipt.code == "residency_ingress"
    else:
        assert talk.expect(Tally, WRITTEN) == Tally("residency_ingress")
    ending = talk.end()
    assert isinstance(ending, Refuse)
    assert (ending.refused.kind.status, ending.receipt) == (451, act == "enter")


def test_digests_under_a_policy_are_told_where_something_may_be_kept() -> None:
    """By the bits of now; of a key that is narrowed nobody is told at all."""
    ruled = DataClass("default", "world", "transit-allowed", policy="clinic")
    tenants = (*make_release().tenants[:-1], Tenant("free", (ruled,)))
    pops = (make_pop("sin"), make_pop("fra"), CGK)
    first = policy(cache="3").rules[0]
    later = msgspec.structs.replace(first, from_us=NOW_US + 50, cache="1")
    two = msgspec.structs.replace(policy(), rules=(first, later))
    keys = tuple(
        msgspec.structs.replace(one, zones=("asean",)) if one.id == "free" else one
        for one in make_release().keys
    )
    view = make_view("sin", make_release(tenants=tenants, pops=pops, policy=two))
    scope = "world/clinic"

    def told(at_us: int) -> set[str]:
        return {pop for pop in ("sin", "fra", "cgk") if scope in zones_of(view, pop, at_us)}

    assert told(NOW_US) == {"sin", "fra"}
    assert told(NOW_US + 50) == {"sin"}
    assert zones_of(view, "fra", NOW_US + 50) == {"eea", "world"}

    for made, expected in (
        (make_release(tenants=tenants, pops=pops, policy=two), scope),
        (make_release(tenants=tenants, pops=pops, policy=two, keys=keys), f"{scope}//asean"),
    ):
        talk = begin(made, here="sin")
        talk.expect(ReadBody, BodyRead(LONG, NOW_US + 10))
        talk.expect(Intend, WRITTEN)
        assert talk.expect(Relay, relayed()).job.scope == expected


# The serving side.

SINS = (honouring("sin", "zero-retention"), make_pop("fra"), CGK)


def forwarded(made: Release, ticket: Ticket, body: bytes = BODY) -> Conversation:
    view: FleetView = make_view("sin", made)
    ticket = msgspec.structs.replace(
        ticket, tenant="free", rule="free/default", body_sha256=body_hash(body)
    )
    written = issue(ticket, pair_key("cgk", "sin"))
    head = make_head(None, content_length=len(body))
    return Conversation(serve_peer(head, written, view, TicketBook("sin", 0), 10_000))


def refused_by_peer(talk: Conversation) -> Refused:
    talk.expect(ReadBody, BodyRead(BODY, NOW_US + 10))
    ending = talk.end()
    assert isinstance(ending, Refuse)
    assert not talk.said(Relay)
    return ending.refused


@pytest.mark.parametrize(
    ("own", "tickets"), [(BOTH, ()), ((), BOTH), (ZERO, ("no-training",)), (("no-training",), ())]
)
def test_the_serving_pop_asks_for_what_either_release_does(
    own: tuple[Handling, ...], tickets: tuple[Handling, ...]
) -> None:
    ticket = msgspec.structs.replace(TICKET, handling=tickets)
    refused = refused_by_peer(forwarded(release(own, SINS), ticket))
    assert (refused.code, refused.kind.status) == ("residency_handling", 451)


def test_the_keys_zones_are_the_serving_pops_to_draw() -> None:
    """Its own release has Singapore outside the zone that the key is narrowed to."""
    zones = tuple(
        msgspec.structs.replace(one, countries=("ID",)) if one.id == "asean" else one
        for one in make_release().zones
    )
    made = release((), SINS, zones=zones)
    for narrowed, refuses in (((), False), (("asean",), True), (("unknown",), True)):
        talk = forwarded(made, msgspec.structs.replace(TICKET, zones=narrowed))
        if refuses:
            ending = talk.end()
            assert isinstance(ending, Refuse)
            assert ending.refused.kind.fault == "policy"
        else:
            assert talk.expect(ReadBody, BodyRead(BODY, NOW_US + 10))


@pytest.mark.parametrize(
    ("own", "tickets"), [((), ()), (ZERO, ()), ((), ZERO), (ZERO, ZERO)], ids=str
)
def test_what_the_serving_pop_keeps(
    own: tuple[Handling, ...], tickets: tuple[Handling, ...]
) -> None:
    ticket = msgspec.structs.replace(TICKET, handling=tickets)
    talk = forwarded(release(own, SINS), ticket, LONG)
    talk.expect(ReadBody, BodyRead(LONG, NOW_US + 10))
    job = talk.expect(Relay, relayed()).job
    either = own or tickets
    assert job.handling == either
    assert bool(job.ask.prefix) is (either != ZERO)
    talk.expect(Attest, Vouched(Attested(msgspec.Raw(b"{}"), ""), NOW_US + 90))
    assert isinstance(talk.end(), Deliver)
