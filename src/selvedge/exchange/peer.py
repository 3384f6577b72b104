"""The serving side of a forwarded request: a ticket in, an attestation out.

The serving PoP trusts the ingress for who asks and nothing else: its own release must allow the
same (the intersection of both holds), only its own engines are asked, nothing is forwarded twice.
The billing receipt is the ingress's; this PoP writes down its attestation.
"""

from __future__ import annotations

import msgspec

from selvedge.exchange.commands import (
    Attest,
    BodyRead,
    BodyRefused,
    Deliver,
    Drop,
    Ended,
    Failed,
    Gone,
    Job,
    ReadBody,
    Refuse,
    Relayed,
    Served,
    Tally,
    Vouched,
)
from selvedge.exchange.keeping import may_keep, read_ask
from selvedge.exchange.story import RETRY_AFTER_MS, Story, relay_in_turn
from selvedge.exchange.view import FleetView, prefix_scope
from selvedge.fabric import (
    HANDLINGS,
    NAME_PATTERN,
    Ask,
    Attestation,
    BadTicket,
    Handling,
    Head,
    Outcome,
    PoP,
    Refused,
    Usage,
)
from selvedge.residency import Allowed
from selvedge.wire import (
    ImageUrls,
    Ticket,
    TicketBook,
    body_hash,
    holds,
    is_callers_fault,
    read_unverified,
    ticket_hash,
)


def serve_peer(
    head: Head,
    written_ticket: str,
    view: FleetView,
    book: TicketBook,
    body_bytes_max: int,
    *,
    image_urls: ImageUrls = "data-only",
) -> Story:
    """One request that another PoP forwarded here."""
    ticket = _checked(head, written_ticket, view, book)
    if isinstance(ticket, Refused):
        yield Tally(ticket.code)
        return Refuse(ticket, receipt=False)
    named = ticket_hash(written_ticket)
    return (
        yield from serve_ticket(head, ticket, named, view, body_bytes_max, image_urls=image_urls)
    )


def serve_ticket(
    head: Head,
    ticket: Ticket,
    named: str,
    view: FleetView,
    body_bytes_max: int,
    *,
    image_urls: ImageUrls = "data-only",
) -> Story:
    """The same from where the ticket holds; ``named`` is its hash.

    Its own door for a simulation, which knows of most of its tickets that they hold.
    """
    allowed = _allowed(ticket, view, head.received_us)
    if isinstance(allowed, Refused):
        return Refuse(allowed, receipt=False)
    handling = _both(ticket.handling, allowed.rule.handling)
    keeps = may_keep(view, allowed, handling)

    arrived = yield ReadBody(body_bytes_max)
    if isinstance(arrived, BodyRefused):
        return Refuse(arrived.refused, receipt=False)
    if not isinstance(arrived, BodyRead):
        return Drop()
    if body_hash(arrived.body) != ticket.body_sha256:
        yield Tally("ticket_refused")
        return Refuse(Refused("ticket_refused", "The body is not the ticket's."), receipt=False)
    ask = read_ask(head, arrived, view, ticket.tenant, image_urls, keeps=keeps)
    if isinstance(ask, Refused):
        return Refuse(ask, receipt=False)

    plan = view.routes.rank(
        ask,
        (view.here,),
        view.load,
        local_only=True,
        now_us=arrived.at_us,
        states=view.states,
        patience_us=ticket.patience_us,
        handling=handling,
    )
    if isinstance(plan, Refused):
        return Refuse(plan, receipt=False)
    job = Job(
        head,
        ask,
        arrived.body,
        ticket.tenant,
        ticket.data_class,
        ticket.rule,
        (),
        for_peer=True,
        handling=handling,
        scope=prefix_scope(allowed.rule) if keeps else "",
    )
    ended, _ = yield from relay_in_turn(plan, job)
    attestation = _attestation(ticket, named, view, ask, ended)
    vouched = yield Attest(attestation, ticket.ingress)
    return _ending(ended, vouched if isinstance(vouched, Vouched) else None)


def _checked(head: Head, written: str, view: FleetView, book: TicketBook) -> Ticket | Refused:
    try:
        ticket, signed, mac = read_unverified(written)
        if head.peer is not None and head.peer != ticket.ingress:
            raise BadTicket("the ticket is not of the PoP whose certificate came with it")
        pair_key = view.pair_keys.get(ticket.ingress)
        if pair_key is None:
            raise BadTicket(f"no PoP {ticket.ingress!r} in this release")
        book.check(ticket, signed, mac, pair_key, head.received_us)
        if ticket.route is not head.route:
            raise BadTicket("the ticket is for another route")
    except BadTicket as error:
        return Refused("ticket_refused", f"{str(error)[:1].upper()}{str(error)[1:]}.")
    return ticket


def _allowed(ticket: Ticket, view: FleetView, at_us: int) -> Allowed | Refused:
    """What this PoP's own release says of the request, where the ticket's says the same."""
    named = ticket.tenant, ticket.data_class, ticket.ingress
    allowed = view.rules.allowed(*named, at_us, ticket.zones)
    if isinstance(allowed, Refused):
        return allowed
    here = view.here.id
    if here not in ticket.allowed or not view.rules.holds(allowed.bits, here):
        return Refused(
            "residency_no_allowed_pop",
            f"PoP {here!r} may not process for rule {ticket.rule!r} by both releases.",
            rule=ticket.rule,
        )
    return allowed


def _both(one: tuple[Handling, ...], other: tuple[Handling, ...]) -> tuple[Handling, ...]:
    """What either release asks for, in one order."""
    if one == other:
        return one
    return tuple([each for each in HANDLINGS if each in one or each in other])


def _attestation(
    ticket: Ticket, named: str, view: FleetView, ask: Ask, ended: Ended
) -> Attestation:
    outcome = Outcome.COMPLETE
    if isinstance(ended, Gone):
        outcome = Outcome.CLIENT_GONE
    elif isinstance(ended, Failed):
        callers = is_callers_fault(ended.refused)
        outcome = Outcome.REFUSED if callers else Outcome.FAILED
    return Attestation(
        ticket=named,
        request_id=ticket.request_id,
        pop=view.here.id,
        country=view.here.country,
        entity=view.here.entity,
        engine=(ended.served.engine if ended.served else None) or "",
        model=ask.model,
        model_digest=view.models[ask.model].digest,
        release_hash=view.release_hash,
        outcome=outcome,
        usage=ended.usage or Usage(),
        started_us=ended.started_us,
        ended_us=ended.at_us,
    )


def take_word(
    ended: Ended, written_ticket: str, pair_key: bytes, peer: PoP, request_id: str
) -> Ended:
    """The ingress's side: what a peer attests becomes what the receipt says, if it holds.

    A complete answer without a word that holds, names this very ticket and comes from where the
    release says that peer is, counts as broken.
    """
    if ended.attested is None:
        return _broken(ended, "gave no attestation") if isinstance(ended, Relayed) else ended
    if not holds(ended.attested, pair_key):
        return _broken(ended, "gave an attestation that does not hold")
    try:
        words = ended.attested.decode()
    except msgspec.MsgspecError:
        return _broken(ended, "gave an attestation that this version cannot read")
    named = (words.ticket, words.request_id, words.pop, words.country)
    if named != (ticket_hash(written_ticket), request_id, peer.id, peer.country):
        return _broken(ended, "gave an attestation of something else")
    if not words.engine and isinstance(ended, Failed):
        return msgspec.structs.replace(ended, served=None, usage=None)
    engine = words.engine if NAME_PATTERN.fullmatch(words.engine) else None
    served = Served(words.pop, engine, words.country, words.entity, words.model_digest)
    return msgspec.structs.replace(ended, served=served, usage=words.usage)


def _broken(ended: Ended, words: str) -> Failed:
    place = ended.served.pop if ended.served else "the peer"
    code = "engine_interrupted" if ended.tokens else "engine_failed"
    return Failed(
        started_us=ended.started_us,
        at_us=ended.at_us,
        tokens=ended.tokens,
        first_token_us=ended.first_token_us,
        served=ended.served,
        usage=ended.usage,
        refused=Refused(code, f"PoP {place!r} {words}.", retry_after_ms=RETRY_AFTER_MS),
    )


def _ending(ended: Ended, vouched: Vouched | None) -> Deliver | Refuse | Drop:
    attested = vouched.attested if vouched is not None else None
    if isinstance(ended, Gone):
        return Drop()
    if isinstance(ended, Failed):
        return Refuse(ended.refused, receipt=False, attested=attested)
    if attested is None:
        words = "The attestation cannot be written, so the answer is not given."
        return Refuse(Refused("receipt_unwritable", words, retry_after_ms=1000), receipt=False)
    return Deliver(attested)
