"""How a PoP hands receipts to the collector of a zone: one question, one answer, both sealed.

The key is that of the pair PoP and collector; in the pair the collector is called
``~collector/<zone>``, which no PoP can be. A question without lines asks how far the collector has
come. Each answer repeats the question's nonce. Proposal 0009 has the reasons.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from selvedge.fabric import BadTicket
from selvedge.ledger import Batch, Place
from selvedge.wire import is_sealed, payload_of, seal

TARGET: Final = "/pop/v1/receipts"
QUESTION_BYTES_MAX: Final = 16 * 1024 * 1024
ANSWER_BYTES_MAX: Final = 64 * 1024
NONCE_BYTES: Final = 16
VERSION: Final = 1
_SHIPS: Final = b"selvedge/receipts-shipped/v1\n"
_HOLDS: Final = b"selvedge/receipts-held/v1\n"

Nonce = Annotated[bytes, Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]


class Shipment(msgspec.Struct, frozen=True):
    """A batch of one journal of ``pop`` for the collector of ``zone``."""

    pop: str
    zone: str
    nonce: Nonce
    batch: Batch
    v: int = VERSION


class Holding(msgspec.Struct, frozen=True):
    """How far the collector has read this journal; ``problem`` says why it took nothing."""

    pop: str
    zone: str
    nonce: Nonce
    place: Place
    problem: str | None = None
    v: int = VERSION


class _Sender(msgspec.Struct, frozen=True):
    """Whose key must verify it, and by which version it is to be read."""

    pop: str
    v: int


_encode: Final = msgspec.msgpack.Encoder().encode
_senders: Final = msgspec.msgpack.Decoder(_Sender)
_shipments: Final = msgspec.msgpack.Decoder(Shipment)
_holdings: Final = msgspec.msgpack.Decoder(Holding)


def name_of(zone: str) -> str:
    """The collector's name in a pair."""
    return f"~collector/{zone}"


def ship(shipment: Shipment, pair_key: bytes) -> bytes:
    """A shipment as it travels."""
    return seal(_SHIPS, _encode(shipment), pair_key)


def read_shipment(
    written: bytes, zone: str, pair_key_of: Callable[[str], bytes | None]
) -> Shipment:
    """A shipment that holds. ``pair_key_of`` knows the PoPs of the release.

    Raises `BadTicket`.
    """
    if len(written) > QUESTION_BYTES_MAX:
        raise BadTicket(f"the shipment exceeds {QUESTION_BYTES_MAX} bytes")
    try:
        sender = _senders.decode(payload_of(written))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadTicket("the shipment is not readable") from error
    pair_key = pair_key_of(sender.pop)
    if pair_key is None:
        raise BadTicket("the shipment is of no PoP in this release")
    if not is_sealed(_SHIPS, written, pair_key):
        raise BadTicket("the shipment's MAC does not hold")
    if sender.v != VERSION:
        raise BadTicket(f"the shipment has version {sender.v}, this collector reads {VERSION}")
    try:
        shipment = _shipments.decode(payload_of(written))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadTicket("the shipment is not readable") from error
    if shipment.zone != zone:
        raise BadTicket(f"the shipment is for zone {shipment.zone!r}, here is {zone!r}")
    return shipment


def hold(shipment: Shipment, place: Place, problem: str | None, pair_key: bytes) -> bytes:
    """The answer to a shipment that holds."""
    holding = Holding(shipment.pop, shipment.zone, shipment.nonce, place, problem)
    return seal(_HOLDS, _encode(holding), pair_key)


def read_holding(written: bytes, shipment: Shipment, pair_key: bytes) -> Holding:
    """The answer to this shipment. Raises `BadTicket`."""
    if len(written) > ANSWER_BYTES_MAX or not is_sealed(_HOLDS, written, pair_key):
        raise BadTicket("the answer's MAC does not hold")
    try:
        holding = _holdings.decode(payload_of(written))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadTicket("the answer is not readable") from error
    told = (holding.pop, holding.zone, holding.nonce, holding.v)
    if told != (shipment.pop, shipment.zone, shipment.nonce, VERSION):
        raise BadTicket("the answer is to something else")
    return holding
