"""TLS handshakes at a listener: which have begun, and what the other side showed.

References are weak, because nobody is told of a handshake that fails: its connection is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
import weakref


class Greetings:
    """Connections whose handshake is not done; a server that closes waits for them."""

    def __init__(self) -> None:
        self.pending: set[weakref.ref[asyncio.Protocol]] = set()
        self._settled = asyncio.Event()

    def begin(self, connection: asyncio.Protocol) -> None:
        """A connection was accepted."""
        self.pending.add(weakref.ref(connection, self._forget))

    def done(self, connection: asyncio.Protocol, secured: ssl.SSLObject) -> str:
        """SHA-256 in hex of what the other side showed; empty where it showed nothing."""
        self._forget(weakref.ref(connection))
        shown = secured.getpeercert(binary_form=True)
        return hashlib.sha256(shown).hexdigest() if shown else ""

    async def settle(self, timeout_s: float) -> None:
        """Wait for what has begun: what those clients want is still to come."""
        if self.pending:
            self._settled.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._settled.wait(), timeout_s)

    def _forget(self, connection: weakref.ref[asyncio.Protocol]) -> None:
        self.pending.discard(connection)
        if not self.pending:
            self._settled.set()
