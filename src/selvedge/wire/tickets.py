"""Tickets between PoPs: what an ingress PoP asks of a serving PoP, bound by a MAC.

A ticket is canonical JSON and an HMAC-SHA-256 (RFC 2104) under the pairwise key of the two PoPs,
``base64url(json).base64url(mac)``. It binds request id, body hash, tenant, allowed set, release and
a relative deadline (PoP clocks need not agree on it). It is single use: the serving PoP remembers
ticket ids for as long as ``issued_us`` is acceptable, and refuses tickets older than its start.
The serving PoP's attestation carries a MAC of the same kind. Proposal 0002 has the reasons.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections import OrderedDict
from typing import Final, Protocol

import msgspec

from selvedge.fabric import Attestation, Attested, BadTicket, Handling, Route

SKEW_US_MAX: Final = 30_000_000
"""How far ``issued_us`` may lie from the serving PoP's clock."""
HOPS_MAX: Final = 1
VERSION: Final = 1
REMEMBERED_MAX: Final = 1_000_000
TICKET_BYTES_MAX: Final = 32 * 1024

_TICKET_DOMAIN: Final = b"selvedge/ticket/v1\n"
_ATTESTATION_DOMAIN: Final = b"selvedge/attestation/v1\n"
_encoder: Final = msgspec.json.Encoder(order="sorted")


class Ticket(msgspec.Struct, frozen=True):
    """What the ingress asks for. ``allowed`` names PoPs; ``deadline_ms`` runs from arrival."""

    id: str
    request_id: str
    ingress: str
    serving: str
    tenant: str
    data_class: str
    rule: str
    allowed: tuple[str, ...]
    release: int
    release_hash: str
    route: Route
    model: str
    body_sha256: str
    deadline_ms: int
    issued_us: int
    hop: int = 1
    v: int = VERSION
    patience_us: int = 0
    """See `routing.Attempt`."""
    handling: tuple[Handling, ...] = ()
    """What the data class asks of the engine, by the ingress's release."""
    zones: tuple[str, ...] = ()
    """Those that the key is narrowed to; none: all."""


_decoder: Final = msgspec.json.Decoder(Ticket)


def body_hash(body: bytes) -> str:
    """SHA-256 of a request body, in hex."""
    return hashlib.sha256(body).hexdigest()


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def issue(ticket: Ticket, pair_key: bytes) -> str:
    """A ticket as it travels in the ``selvedge-ticket`` header."""
    body = _encoder.encode(ticket)
    return f"{_b64(body)}.{_b64(hmac.digest(pair_key, _TICKET_DOMAIN + body, 'sha256'))}"


def read_unverified(written: str) -> tuple[Ticket, bytes, bytes]:
    """Ticket, its signed bytes and its MAC; only to find whose key must verify it.

    Raises `BadTicket`.
    """
    if len(written) > TICKET_BYTES_MAX:
        raise BadTicket(f"the ticket exceeds {TICKET_BYTES_MAX} bytes")
    body_text, _, mac_text = written.partition(".")
    try:
        body, mac = _unb64(body_text), _unb64(mac_text)
        return _decoder.decode(body), body, mac
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise BadTicket("the ticket is not readable") from error


class UsedTickets(Protocol):
    """Remembers which tickets were used: in one process, or for all workers of a PoP."""

    def take(self, ticket_id: str, now_us: int, forget_us: int) -> bool:
        """Remember a ticket; False where it was used. Raises `OverflowError` where it has no room.

        What was used before ``forget_us`` may be forgotten.
        """


class UsedHere:
    """Used tickets in this process's memory."""

    __slots__ = ("_used",)

    def __init__(self) -> None:
        # Not a dict: taking its first key again and again walks over all that were deleted.
        self._used: OrderedDict[str, int] = OrderedDict()

    def take(self, ticket_id: str, now_us: int, forget_us: int) -> bool:
        """Insertion order is nearly time order: forget from the front what skew already refuses."""
        if ticket_id in self._used:
            return False
        while self._used:
            oldest = next(iter(self._used))
            if self._used[oldest] >= forget_us:
                break
            self._used.popitem(last=False)
        if len(self._used) >= REMEMBERED_MAX:
            raise OverflowError(f"more than {REMEMBERED_MAX} tickets")
        self._used[ticket_id] = now_us
        return True


class TicketBook:
    """Checks tickets at a serving PoP and remembers the used ones.

    ``started_us`` is when this book began to remember: older tickets may have been used before.
    """

    __slots__ = ("_here", "_started_us", "_used")

    def __init__(self, here: str, started_us: int, used: UsedTickets | None = None) -> None:
        self._here = here
        self._started_us = started_us
        self._used = used or UsedHere()

    def check(
        self, ticket: Ticket, signed: bytes, mac: bytes, pair_key: bytes, now_us: int
    ) -> None:
        """Raises `BadTicket` unless the ticket is authentic, for this PoP, fresh and unused.

        The body is not here yet: the caller compares `body_hash` once it has been read.
        """
        if not hmac.compare_digest(hmac.digest(pair_key, _TICKET_DOMAIN + signed, "sha256"), mac):
            raise BadTicket("the ticket's MAC does not hold")
        if ticket.v != VERSION:
            raise BadTicket(f"the ticket has version {ticket.v}, not {VERSION}")
        if ticket.serving != self._here:
            raise BadTicket(f"the ticket is for PoP {ticket.serving!r}")
        if ticket.hop != HOPS_MAX:
            raise BadTicket("a forwarded request is never forwarded again")
        if abs(now_us - ticket.issued_us) > SKEW_US_MAX:
            raise BadTicket("the ticket is too old, or the PoPs' clocks differ by over 30 s")
        if ticket.issued_us < self._started_us:
            raise BadTicket("the ticket is from before this PoP started")
        try:
            fresh = self._used.take(ticket.id, now_us, now_us - 2 * SKEW_US_MAX)
        except OverflowError as error:
            raise BadTicket(f"more tickets within a minute than are remembered: {error}") from error
        if not fresh:
            raise BadTicket("the ticket was used before")


def ticket_hash(written: str) -> str:
    """How an attestation names its ticket: SHA-256, in hex, of the header as it travelled."""
    return hashlib.sha256(written.encode()).hexdigest()


def attest(attestation: Attestation, pair_key: bytes) -> Attested:
    """The serving PoP's word with its MAC."""
    signed = _encoder.encode(attestation)
    mac = hmac.digest(pair_key, _ATTESTATION_DOMAIN + signed, "sha256")
    return Attested(msgspec.Raw(signed), _b64(mac))


def holds(attested: Attested, pair_key: bytes) -> bool:
    """Whether an attestation is canonical JSON and its MAC is the one of this pair of PoPs."""
    signed = bytes(attested.attestation)
    mac = _b64(hmac.digest(pair_key, _ATTESTATION_DOMAIN + signed, "sha256"))
    same = hmac.compare_digest(mac.encode(), attested.mac.encode())
    return same and _encoder.encode(msgspec.json.decode(signed)) == signed
