"""Receipts as bytes: canonical form, salted leaf, and what a PoP writes down of them.

The canonical form is RFC 8785 (JCS). Receipts hold only ASCII keys, strings, booleans, nulls and
integers below 2**53, and every field is always present, so `msgspec`'s sorted compact JSON *is* the
canonical form; a test holds it to the RFC's rules. Proposal 0001 has the reasons.
"""

from __future__ import annotations

import binascii
import hashlib
from typing import Final

import msgspec

from selvedge.fabric import Outcome, Receipt
from selvedge.ledger.records import Sealed

SALT_BYTES: Final = 32
INTEGER_MAX: Final = 2**53 - 1

_encoder: Final = msgspec.json.Encoder(order="sorted")


def canonical(receipt: Receipt) -> bytes:
    """The canonical bytes of a receipt (RFC 8785)."""
    return _encoder.encode(receipt)


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
