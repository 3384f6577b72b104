"""What the answer store keeps, and how it lies on the disk.

A record is a header in clear (numbers and keyed hashes, no names, no text), a nonce, and the sealed
rest (AES-256-GCM). The header and the record's place are bound to the seal: a record that is moved
to another scope or id, or whose times are changed, does not open. The header is readable without a
key, so that sweeping and evicting need to open nothing.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag

from selvedge.adapters.scope_keys import SealKey
from selvedge.fabric import StoreCorrupt, Usage

ID_BYTES: Final = 12
TAGS_MAX: Final = 32
_NONCE_BYTES: Final = 12
_MARK_BYTES: Final = 16
_VERSION: Final = 1
_HEAD: Final = struct.Struct("<BB6xQqqQ16s16s")


class KeptAnswer(msgspec.Struct, frozen=True):
    """A whole answer and what its receipt said. One of ``payloads`` and ``body`` is empty."""

    id: str
    """``ce_`` and 24 hex digits; the store gives one where this is none."""
    made_us: int
    ttl_us: int
    model: str
    model_digest: str | None = None
    payloads: tuple[bytes, ...] = ()
    """Of a stream: what stood behind each ``data:``, in order, without the ``[DONE]``."""
    body: bytes = b""
    """Of an answer given whole: its JSON."""
    finish_reason: str | None = None
    served_pop: str = ""
    served_engine: str = ""
    country: str = ""
    entity: str = ""
    usage: Usage = Usage()
    receipt: str = ""
    """The receipt that paid for it."""
    tags: tuple[str, ...] = ()
    """Surrogate keys: what may be purged together."""
    cost_micro: int = 0


class Question(msgspec.Struct, frozen=True, array_like=True):
    """What was asked, for those entries that may answer similar questions."""

    text: str
    bucket: bytes
    slots: bytes = b""
    """What the gates compare (`cache.Slots`, MessagePack)."""
    cluster: bytes = b""
    """Entries that have it in common answer the same."""
    by: str = ""
    """Who asked, by the id of the key: its own entries need no judgement."""
    trusted: bool = False
    """Warmed by an operator, or judged right for somebody else: served to all of the tenant."""


class Head(msgspec.Struct, frozen=True):
    """The part of a record that is readable without a key."""

    seq: int
    """Counts the store's writes: what is purged is everything up to a number."""
    made_us: int
    expires_us: int
    cost_micro: int
    exact: bytes
    """Keyed hashes, as are ``model`` and ``tags``: where the exact request is found by."""
    model: bytes
    tags: tuple[bytes, ...]


_answers: Final = msgspec.msgpack.Decoder(KeptAnswer)
_questions: Final = msgspec.msgpack.Decoder(Question)
encode: Final = msgspec.msgpack.Encoder().encode


def pack_head(head: Head) -> bytes:
    """The header's bytes."""
    packed = _HEAD.pack(
        _VERSION,
        len(head.tags),
        head.seq,
        head.made_us,
        head.expires_us,
        head.cost_micro,
        head.exact,
        head.model,
    )
    return packed + b"".join(head.tags)


def read_head(record: bytes) -> Head:
    """Raises `StoreCorrupt` where the bytes are no header of ours."""
    if len(record) < _HEAD.size or record[0] != _VERSION:
        raise StoreCorrupt("a kept answer has no header of this version")
    _, count, seq, made, expires, cost, exact, model = _HEAD.unpack_from(record)
    end = _HEAD.size + count * _MARK_BYTES
    if len(record) < end:
        raise StoreCorrupt("a kept answer is cut short")
    tags = tuple(record[at : at + _MARK_BYTES] for at in range(_HEAD.size, end, _MARK_BYTES))
    return Head(seq, made, expires, cost, exact, model, tags)


def seal(key: SealKey, place: bytes, head: bytes, plain: bytes, nonce: bytes) -> bytes:
    """A record: ``head`` in clear, then the nonce and what only the scope's key opens."""
    return head + nonce + key.cipher.encrypt(nonce, plain, place + head)


def unseal(key: SealKey, place: bytes, head_bytes: int, record: bytes) -> bytes:
    """What was sealed. Raises `StoreCorrupt` where record, place or key is another."""
    body = head_bytes + _NONCE_BYTES
    head = record[:head_bytes]
    try:
        return key.cipher.decrypt(record[head_bytes:body], record[body:], place + head)
    except (InvalidTag, ValueError) as error:
        raise StoreCorrupt("a kept answer fails its check") from error


def head_bytes(record: bytes) -> int:
    """How long the header is."""
    return _HEAD.size + record[1] * _MARK_BYTES


def open_answer(key: SealKey, place: bytes, record: bytes) -> KeptAnswer:
    """Raises `StoreCorrupt`."""
    try:
        return _answers.decode(unseal(key, place, head_bytes(record), record))
    except msgspec.MsgspecError as error:
        raise StoreCorrupt("a kept answer is not of this version") from error


def open_question(key: SealKey, place: bytes, record: bytes) -> Question:
    """Raises `StoreCorrupt`."""
    try:
        return _questions.decode(unseal(key, place, 0, record))
    except msgspec.MsgspecError as error:
        raise StoreCorrupt("a kept question is not of this version") from error


def open_small(key: SealKey, place: bytes, record: bytes) -> bytes:
    """Raises `StoreCorrupt`."""
    return unseal(key, place, 0, record)
