"""Messages between two PoPs, outside of any request: bytes with a MAC of the pair before them.

The same key that holds a ticket holds them, in a domain of its own; with mutual TLS around them the
MAC says the same as the certificate, on loopback without TLS it is all there is. Refuses to know
what is said.
"""

from __future__ import annotations

import hmac
from typing import Final

MAC_BYTES: Final = 32


def seal(domain: bytes, payload: bytes, pair_key: bytes) -> bytes:
    """``payload`` as it travels. ``domain`` says which kind of message it is, and which way."""
    return hmac.digest(pair_key, domain + payload, "sha256") + payload


def payload_of(sealed: bytes) -> bytes:
    """What is said, unverified: only to find whose key must verify it."""
    return sealed[MAC_BYTES:]


def is_sealed(domain: bytes, sealed: bytes, pair_key: bytes) -> bool:
    """Whether the MAC is this pair's, for this kind of message."""
    mac = hmac.digest(pair_key, domain + sealed[MAC_BYTES:], "sha256")
    return hmac.compare_digest(mac, sealed[:MAC_BYTES])
