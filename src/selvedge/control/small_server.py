"""A small HTTP/1.1 server for PoPs alone, and large bodies: a question, an answer, kept alive.

PoPs' own HTTP reader decides what a request is; anything it refuses ends the connection.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Final, cast

import msgspec

from selvedge.wire import (
    BodyPart,
    EndOfMessage,
    HeadLimits,
    ProtocolViolation,
    RequestHead,
    RequestReader,
    render_response_head,
)

LIMITS: Final = HeadLimits(head_bytes_max=16 * 1024, pipelined_max=1)
IDLE_S: Final = 75.0
CONNECTIONS_MAX: Final = 10_000
READING_BYTES_MAX: Final = 256 * 1024 * 1024
"""Of all bodies together: a MAC is checked only when its body is there."""
BACKLOG: Final = 4096

log: Final = logging.getLogger("selvedge.control.door")


class Answer(msgspec.Struct, frozen=True):
    """A whole answer."""

    status: int
    body: bytes
    kind: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


Answering = Callable[[str, str, bytes], Awaitable[Answer]]
"""Method, target and body -> the answer. Raises nothing."""


class SmallServer:
    """Listens until it is closed."""

    def __init__(
        self,
        answering: Answering,
        body_bytes_max: int,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        self.answering = answering
        self.body_bytes_max = body_bytes_max
        self.connections_max = connections_max
        self.connections: set[_Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.reading = 0
        """Bytes of bodies that are not answered yet."""
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> None:
        """Serve on this address. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), host, port, backlog=BACKLOG
        )

    async def listen_on(self, sock: socket.socket) -> None:
        """Serve on a socket that listens already."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), sock=sock, backlog=BACKLOG
        )

    async def close(self) -> None:
        """Take no more; what is under way is answered first."""
        if self._server is not None:
            self._server.close()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for one in list(self.connections):
            one.close()
        await asyncio.sleep(0)


class _Connection(asyncio.Protocol):
    """One client, one request at a time."""

    def __init__(self, server: SmallServer) -> None:
        self._server = server
        self._reader = RequestReader(LIMITS)
        self._transport: asyncio.Transport | None = None
        self._head: RequestHead | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._held = 0
        """Bytes counted in the server's ``reading``."""
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self)
        if len(self._server.connections) > self._server.connections_max:
            self.close()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._let_go()
        if self._idle is not None:
            self._idle.cancel()
        self._transport = None

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.close()

    def _wait(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, self.close)

    def data_received(self, data: bytes) -> None:
        try:
            events = self._reader.feed(data)
        except ProtocolViolation as violation:
            self._end(Answer(violation.status, _words("protocol", str(violation))))
            return
        for event in events:
            if isinstance(event, RequestHead):
                self._head = event
            elif isinstance(event, BodyPart):
                self._size += len(event.data)
                if self._server.reading + len(event.data) > READING_BYTES_MAX:
                    self._parts = []
                    self._end(Answer(503, _words("busy", "too much is under way; try later")))
                    return
                if self._size <= self._server.body_bytes_max:
                    self._hold(event.data)
            elif isinstance(event, EndOfMessage):
                self._ask()

    def _hold(self, data: bytes) -> None:
        self._parts.append(data)
        self._held += len(data)
        self._server.reading += len(data)

    def _let_go(self) -> None:
        self._server.reading -= self._held
        self._held = 0

    def _ask(self) -> None:
        head, body, size = self._head, b"".join(self._parts), self._size
        self._parts, self._size = [], 0
        assert head is not None, "a message begins with its head"
        if size > self._server.body_bytes_max:
            words = f"the body exceeds {self._server.body_bytes_max} bytes; send smaller batches"
            self._end(Answer(413, _words("too_large", words)))
            return
        if self._idle is not None:
            self._idle.cancel()
        if self._transport is not None:
            self._transport.pause_reading()
        task = asyncio.get_running_loop().create_task(self._answer(head, body))
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    async def _answer(self, head: RequestHead, body: bytes) -> None:
        try:
            answer = await self._server.answering(head.method, head.target, body)
        except Exception:
            log.exception("a fault of ours")
            answer = Answer(500, _words("fault", "a fault of ours; see the log"))
        self._let_go()
        if not head.keep_alive:
            self._end(answer)
            return
        self._write(answer)
        self._wait()
        if self._transport is not None:
            self._transport.resume_reading()
            if self._reader.stalled:
                self.data_received(b"")

    def _end(self, answer: Answer) -> None:
        self._write(answer, last=True)
        self.close()

    def _write(self, answer: Answer, *, last: bool = False) -> None:
        if self._transport is None:
            return
        framing = [b"content-length: %d" % len(answer.body)]
        framing += [b"connection: close"] if last else []
        head = render_response_head(
            answer.status, [("content-type", answer.kind), *answer.headers], framing
        )
        self._transport.write(head + answer.body)


def _words(code: str, words: str) -> bytes:
    return msgspec.json.encode({"error": {"code": code, "message": words}})
