"""Receipts as bytes: canonical form, salted leaf, and what a PoP writes down of them.

The canonical form is RFC 8785 (JCS). Receipts hold only ASCII keys, strings, booleans, nulls and
integers below 2**53, and every field is always present, so `msgspec`'s sorted compact JSON *is* the
canonical form; a test holds it to the RFC's rules. Proposal 0001 has the reasons.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

import msgspec

from selvedge.fabric import Outcome, Receipt

SALT_BYTES: Final = 32
LEAF_DOMAIN: Final = b"selvedge/receipt/v1\n"
INTEGER_MAX: Final = 2**53 - 1

_encoder: Final = msgspec.json.Encoder(order="sorted")
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


def canonical(receipt: Receipt) -> bytes:
    """The canonical bytes of a receipt (RFC 8785)."""
    return _encoder.encode(receipt)


def leaf(canonical_bytes: bytes, salt: bytes) -> bytes:
    """The leaf of a receipt in the transparency log; the salt hides low-entropy receipts."""
    return hashlib.sha256(LEAF_DOMAIN + salt + canonical_bytes).digest()


def seal(
    receipt: Receipt, seq: int, salt: bytes, ciphertext: str | None, worker: int = 0
) -> Sealed:
    """Give a draft its number in its journal and its commitment to the personal ciphertext
    (base64)."""
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes")
    commitment = None
    if ciphertext is not None:
        commitment = hashlib.sha256(binascii.a2b_base64(ciphertext)).hexdigest()
    final = msgspec.structs.replace(receipt, seq=seq, worker=worker, personal=commitment)
    written = binascii.b2a_base64(salt, newline=False).decode("ascii")
    return Sealed(msgspec.Raw(canonical(final)), written, ciphertext)


def interrupted(intent: Receipt, found_us: int) -> Receipt:
    """The receipt of a request whose PoP died after its intent: nothing is known of its end."""
    return msgspec.structs.replace(
        intent, outcome=Outcome.INTERRUPTED, status=0, code=None, ended_us=found_us
    )
