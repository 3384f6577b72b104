"""Fingerprints of a prompt's leading blocks: what two requests have in common, without the words.

Block *i* of a prompt has fingerprint BLAKE2b(fingerprint of block *i-1* + its bytes), keyed with
the salt of its tenant (RFC 7693 section 2.9): equal fingerprints mean equal prompts up to there, of
one tenant alone. Whoever lacks the salt can ask nothing about a prompt. The blocks are bytes of the
body as they are written, because a tokenizer has no place on the event loop: a client that repeats
a conversation repeats its bytes. The last, partial block is left out; it will be otherwise next
time.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import msgspec

from selvedge.fabric import Route
from selvedge.wire.body_shapes import Prompted

BLOCK_BYTES: Final = 1024
BLOCKS_MAX: Final = 64
SALT_BYTES: Final = 32
_decoder: Final = msgspec.json.Decoder(Prompted)


def prefix_salt(tenant: str, secret: bytes) -> bytes:
    """The salt of a tenant's fingerprints, from a secret that all PoPs of the fleet share."""
    keyed = blake2b(b"prefix\0", digest_size=64, key=secret[:64])
    keyed.update(secret[64:])
    return blake2b(tenant.encode(), digest_size=SALT_BYTES, key=keyed.digest()).digest()


_NOT_READ: Final = (Route.EMBEDDINGS, Route.COUNT, Route.RERANK)
"""An engine keeps no prefix of what it does not go on from."""


def fingerprint(route: Route, model: str, body: bytes, salt: bytes) -> tuple[int, ...]:
    """Fingerprints of the whole leading blocks of a body that was parsed: none of a short one.

    Tools come before messages in a model's context, so they begin the chain, with the model.
    """
    if len(body) <= BLOCK_BYTES or route in _NOT_READ:
        return ()
    fields = _decoder.decode(body)
    # Without the bracket or quote that ends it: the next turn goes on instead.
    prompt = memoryview(fields.messages or fields.prompt)[:-1]
    blocks = min(len(prompt) // BLOCK_BYTES, BLOCKS_MAX)
    if not blocks:
        return ()
    last = blake2b(model.encode(), digest_size=8, key=salt, person=b"model")
    last.update(fields.tools)
    link = last.digest()
    found: list[int] = []
    for at in range(0, blocks * BLOCK_BYTES, BLOCK_BYTES):
        block = blake2b(link, digest_size=8, key=salt)
        block.update(prompt[at : at + BLOCK_BYTES])
        link = block.digest()
        found.append(int.from_bytes(link, "big"))
    return tuple(found)
