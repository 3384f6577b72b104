"""`Idempotency-Key`s and kept answers of all workers of a PoP: one memory, which the keeper holds.

A key that one worker holds is held at every worker, and an answer that one gave is given again by
any. The memory outlives each of them. A worker that dies leaves its keys held; the keeper, which
sees its end, reads in its journal which of their requests were billed: those keys are spent, the
others free again. With the keeper the memory is gone, and with it every key.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from pathlib import Path
from typing import Final

import msgspec

from selvedge.adapters import (
    CLAIM_KEY_BYTES,
    CLAIM_NOTE_BYTES,
    CLAIMS_LAYOUT,
    LeftClaim,
    Memory,
    SharedClaims,
    SharedRing,
    find_receipts,
)
from selvedge.exchange import Claim, Claimed, Kept, spends
from selvedge.fabric import Receipt, SelvedgeError

ANSWER_BYTES_MAX: Final = 49_152
"""A larger answer is not kept: to copy and to hash it would hold up the event loop."""
CLOCK_S: Final = 1.0
"""By how much a file's time may lag behind a request's."""
_CLAIMS_AT: Final = 64
_POSITION_BYTES: Final = 8
_CHECK_BYTES: Final = CLAIM_NOTE_BYTES - 2 * _POSITION_BYTES

log: Final = logging.getLogger("selvedge.keeper")

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Kept).decode


class Shape(msgspec.Struct, frozen=True):
    """How much the memory holds: as the PoP was started, whatever its settings say since."""

    keys_max: int
    bytes_max: int

    def size(self) -> int:
        """Bytes of the memory."""
        ring = SharedRing.bytes_for(self.bytes_max)
        return _CLAIMS_AT + SharedClaims.bytes_for(self.keys_max) + ring

    def new_memory(self) -> Memory:
        """An empty one, with a salt of its own: nobody can choose which keys share a bucket."""
        memory = Memory.shared("selvedge-answers", self.size())
        memory.view[:CLAIM_KEY_BYTES] = os.urandom(CLAIM_KEY_BYTES)
        return memory


def layout() -> str:
    """What lies where, for processes that are to share it."""
    return repr((_CLAIMS_AT, CLAIMS_LAYOUT, Kept.__struct_fields__, Kept.__annotations__))


class AnsweredTogether:
    """What `Answered` is to one process alone, for one of several. ``owner`` is its process id."""

    def __init__(self, memory: Memory, shape: Shape, ttl_us: int, owner: int) -> None:
        self._salt = bytes(memory.view[:CLAIM_KEY_BYTES])
        self._ttl_us = ttl_us
        self._bytes_max = min(shape.bytes_max, ANSWER_BYTES_MAX)
        self.claims = SharedClaims(memory, _CLAIMS_AT, shape.keys_max, owner)
        ring_at = _CLAIMS_AT + SharedClaims.bytes_for(shape.keys_max)
        self._ring = SharedRing(memory, ring_at, shape.bytes_max)

    def claim(self, command: Claim, at_us: int) -> Claimed:
        """Whose the key is; from now on this request's, where it was nobody's."""
        key = self._hash(command)
        try:
            held = self.claims.claim(
                key,
                command.fingerprint,
                command.receipt,
                at_us=at_us,
                forget_us=at_us - self._ttl_us,
            )
        except OverflowError:
            return Claimed("full", at_us)
        if held is None:
            return Claimed("first", at_us)
        if held.fingerprint != command.fingerprint:
            return Claimed("other", at_us, held.receipt)
        if held.runs:
            return Claimed("running", at_us, held.receipt)
        return Claimed("finished", at_us, held.receipt, self._kept(key, held.note))

    def end(self, command: Claim, *, spent: bool, kept: Kept | None) -> None:
        """The request that claimed it has ended: with something billed, or the key is free."""
        key = self._hash(command)
        if not spent:
            self.claims.free(key)
        elif kept is None or not command.keeps or len(kept.body) > self._bytes_max:
            self.claims.finish(key)
        else:
            self.claims.finish(key, self._keep(key, kept))

    def _hash(self, command: Claim) -> bytes:
        word = "\n".join(command.key).encode()
        return hashlib.blake2b(word, digest_size=CLAIM_KEY_BYTES, key=self._salt).digest()

    def _keep(self, key: bytes, kept: Kept) -> bytes:
        """Put an answer into the ring; the note by which it is found, and known for its own."""
        data = _encode(kept)
        if len(data) > self._bytes_max:
            return bytes(CLAIM_NOTE_BYTES)
        begin, length = self._ring.put(data), len(data)
        return b"".join(
            (
                begin.to_bytes(_POSITION_BYTES, "little"),
                length.to_bytes(_POSITION_BYTES, "little"),
                _check(key, data),
            )
        )

    def _kept(self, key: bytes, note: bytes) -> Kept | None:
        begin = int.from_bytes(note[:_POSITION_BYTES], "little")
        length = int.from_bytes(note[_POSITION_BYTES : 2 * _POSITION_BYTES], "little")
        data = self._ring.get(begin, length)
        if data is None or _check(key, data) != note[2 * _POSITION_BYTES :]:
            return None
        return _decode(data)


def _check(key: bytes, data: bytes) -> bytes:
    """A hash of an answer and of whose it is: no other bytes are ever given for it."""
    return hashlib.sha256(key + data).digest()[:_CHECK_BYTES]


async def settle_left(claims: SharedClaims, owner: int, receipts: Path) -> int:
    """Settle the keys of a process that has ended, by the receipts in its journal; how many.

    Where the journal cannot be read they are spent: better refused than billed twice.
    """
    left = claims.left_by(owner)
    if not left:
        return 0
    try:
        found = await asyncio.to_thread(_receipts_of, left, receipts)
    except (SelvedgeError, OSError, msgspec.MsgspecError) as error:
        log.error("%s: idempotency keys of process %d are spent: %s", receipts, owner, error)
        found = None
    for one in left:
        receipt = found.get(one.receipt) if found is not None else None
        spent = found is None or (receipt is not None and spends(receipt))
        claims.settle(one, spent=spent)
    return len(left)


def _receipts_of(left: list[LeftClaim], receipts: Path) -> dict[str, Receipt]:
    since_s = min(one.at_us for one in left) / 1e6 - CLOCK_S
    return find_receipts(receipts, {one.receipt for one in left}, since_s)
