"""TLS handshakes at a listener: which have begun, and what the other side showed.

References are weak, because nobody is told of a handshake that fails: its connection is dropped,
and with it the `Greeting` that it held. The reference is to the greeting and not to the
connection, because a class that mypyc compiles must not be referenced weakly where it derives from
an interpreted one: its memory is freed with the references still listed in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
import weakref


class Greeting:
    """A handshake that has begun; it lives as long as the connection that holds it."""

    __slots__ = ("__weakref__",)


class Greetings:
    """Handshakes that are not done; a server that closes waits for them."""

    def __init__(self) -> None:
        self.pending: set[weakref.ref[Greeting]] = set()
        self._settled = asyncio.Event()

    def begin(self) -> Greeting:
        """A connection was accepted, and holds this."""
        greeting = Greeting()
        self.pending.add(weakref.ref(greeting, self._forget))
        return greeting

    def done(self, greeting: Greeting, secured: ssl.SSLObject) -> str:
        """SHA-256 in hex of what the other side showed; empty where it showed nothing."""
        self._forget(weakref.ref(greeting))
        shown = secured.getpeercert(binary_form=True)
        return hashlib.sha256(shown).hexdigest() if shown else ""

    async def settle(self, timeout_s: float) -> None:
        """Wait for what has begun: what those clients want is still to come."""
        if self.pending:
            self._settled.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._settled.wait()

    def _forget(self, greeting: weakref.ref[Greeting]) -> None:
        self.pending.discard(greeting)
        if not self.pending:
            self._settled.set()
