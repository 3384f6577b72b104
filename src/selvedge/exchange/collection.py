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

from selvedge.exchange.pair_messages import PairMessage
from selvedge.fabric import BadTicket
from selvedge.ledger import Batch, Place

TARGET: Final = "/pop/v1/receipts"
QUESTION_BYTES_MAX: Final = 16 * 1024 * 1024
ANSWER_BYTES_MAX: Final = 64 * 1024
NONCE_BYTES: Final = 16
VERSION: Final = 1

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


_SHIPPED: Final = PairMessage(
    b"selvedge/receipts-shipped/v1\n", Shipment, "shipment", QUESTION_BYTES_MAX
)
_HELD: Final = PairMessage(b"selvedge/receipts-held/v1\n", Holding, "answer", ANSWER_BYTES_MAX)


def name_of(zone: str) -> str:
    """The collector's name in a pair."""
    return f"~collector/{zone}"


def ship(shipment: Shipment, pair_key: bytes) -> bytes:
    """A shipment as it travels."""
    return _SHIPPED.write(shipment, pair_key)


def read_shipment(
    written: bytes, zone: str, pair_key_of: Callable[[str], bytes | None]
) -> Shipment:
    """A shipment that holds. ``pair_key_of`` knows the PoPs of the release.

    Raises `BadTicket`.
    """
    shipment = _SHIPPED.read_of(written, pair_key_of)
    if shipment.zone != zone:
        raise BadTicket(f"the shipment is for zone {shipment.zone!r}, here is {zone!r}")
    return shipment


def hold(shipment: Shipment, place: Place, problem: str | None, pair_key: bytes) -> bytes:
    """The answer to a shipment that holds."""
    holding = Holding(shipment.pop, shipment.zone, shipment.nonce, place, problem)
    return _HELD.write(holding, pair_key)


def read_holding(written: bytes, shipment: Shipment, pair_key: bytes) -> Holding:
    """The answer to this shipment. Raises `BadTicket`."""
    holding = _HELD.read(written, pair_key)
    told = (holding.pop, holding.zone, holding.nonce, holding.v)
    if told != (shipment.pop, shipment.zone, shipment.nonce, VERSION):
        raise BadTicket("the answer is to something else")
    return holding
