"""The records of a journal. No I/O here.

Structs that are decoded are in a module of their own: what decodes them is compiled, and they are
not, because compiled they would forget the types of their fields.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

import msgspec

from selvedge.fabric import Attested, Receipt

LEAF_DOMAIN: Final = b"selvedge/receipt/v1\n"

_receipt_decoder: Final = msgspec.json.Decoder(Receipt)


class Sealed(msgspec.Struct, frozen=True):
    """A receipt as it is kept: canonical bytes, the salt of its leaf, the personal ciphertext.

    ``salt`` and ``personal`` are base64. Deleting ``salt`` makes the leaf unlinkable, deleting
    ``personal`` (or its subject's key) removes the person; neither touches the log.
    """

    receipt: msgspec.Raw
    salt: str
    personal: str | None = None

    def decode(self) -> Receipt:
        """The receipt; raises `msgspec.ValidationError` where the bytes are not one."""
        return _receipt_decoder.decode(self.receipt)

    def leaf(self) -> bytes:
        """32 bytes for the transparency log: SHA-256(domain, salt, canonical bytes)."""
        return leaf(bytes(self.receipt), base64.b64decode(self.salt))


def leaf(canonical_bytes: bytes, salt: bytes) -> bytes:
    """The leaf of a receipt in the transparency log; the salt hides low-entropy receipts."""
    return hashlib.sha256(LEAF_DOMAIN + salt + canonical_bytes).digest()


class Intent(msgspec.Struct, frozen=True):
    """An intent is the receipt that stands if nothing more is ever written, and its secrets."""

    receipt: Receipt
    personal: str | None = None


class SegmentHeader(msgspec.Struct, frozen=True):
    """First line of a segment: the sequence numbers reached, and the intents still open."""

    pop: str
    segment: int
    seqs: dict[str, int]
    open: tuple[Intent, ...] = ()
    v: int = 1


class Summary(msgspec.Struct, frozen=True):
    """Unauthenticated refusals of one minute: a flood must not become permanent."""

    pop: str
    minute_us: int
    counts: dict[str, int]
    v: int = 1


class Recovery(msgspec.Struct):
    """What one segment leaves behind: sequence numbers, open intents, and a torn tail's length."""

    seqs: dict[str, int]
    open: dict[str, Intent]
    pop: str = ""
    segment: int = 0
    whole_bytes: int = 0
    torn_bytes: int = 0


Entry = SegmentHeader | Intent | Sealed | Attested | Summary
