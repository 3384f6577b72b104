"""Two servers that write down the requests they see: the PoP's own, and one that h11 cuts.

Behind the same front both are sent the same bytes. Where they do not write down the same requests,
one of them is being lied to.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import cast

import h11

from selvedge.fabric import SelvedgeError
from selvedge.pop.http_server import Inbound, ServerSettings, start_server
from selvedge.wire import ProtocolViolation

BODY_BYTES_MAX = 1_000_000
EVENT_BYTES_MAX = 200_000

_BROKEN = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"

Message = tuple[str, str, bytes]


@dataclass(slots=True)
class Recorder:
    """What one server saw: whole requests, in order, and how many connections it gave up on."""

    port: int = 0
    messages: list[Message] = field(default_factory=list)
    broken: int = 0
    faults: list[BaseException] = field(default_factory=list)

    def take(self) -> list[Message]:
        """What was written down since the last time."""
        found, self.messages = self.messages, []
        return found


@contextlib.asynccontextmanager
async def pop_recorder() -> AsyncIterator[Recorder]:
    """The PoP's HTTP server; its handler writes down and answers."""
    recorder = Recorder()

    async def handle(inbound: Inbound) -> None:
        try:
            body = await inbound.read_body(BODY_BYTES_MAX)
        except (SelvedgeError, ProtocolViolation):
            recorder.broken += 1
            inbound.respond(400, [], b'{"error":{"type":"invalid_request_error"}}')
            return
        recorder.messages.append((inbound.head.method, inbound.head.target, body))
        inbound.respond(200, [], b"ok")

    server = await start_server(
        handle, "127.0.0.1", 0, settings=ServerSettings(), on_error=recorder.faults.append
    )
    recorder.port = server.port
    try:
        yield recorder
    finally:
        server.close()
        await server.drain(1)


@contextlib.asynccontextmanager
async def h11_recorder() -> AsyncIterator[Recorder]:
    """A server that is h11 and nothing else."""
    recorder = Recorder()
    open_ones: set[_H11] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _H11(recorder, open_ones), "127.0.0.1", 0)
    recorder.port = server.sockets[0].getsockname()[1]
    try:
        yield recorder
    finally:
        server.close()
        for one in list(open_ones):
            one.close()
        await asyncio.sleep(0)


class _H11(asyncio.Protocol):
    """One connection."""

    def __init__(self, recorder: Recorder, open_ones: set[_H11]) -> None:
        self._recorder = recorder
        self._open = open_ones
        self._cut = h11.Connection(h11.SERVER, max_incomplete_event_size=EVENT_BYTES_MAX)
        self._head: h11.Request | None = None
        self._body = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self)

    def close(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self._cut.receive_data(data)
            while self._next():
                pass
        except h11.ProtocolError:
            self._recorder.broken += 1
            if self._transport is not None:
                self._transport.write(_BROKEN)
                self._transport.close()

    def _next(self) -> bool:
        event = self._cut.next_event()
        if isinstance(event, h11.Request):
            self._head, self._body = event, b""
            if self._cut.they_are_waiting_for_100_continue:
                self._send(h11.InformationalResponse(status_code=100, headers=[]))
        elif isinstance(event, h11.Data):
            self._body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return self._answer()
        return event not in (h11.NEED_DATA, h11.PAUSED) and not isinstance(
            event, h11.ConnectionClosed
        )

    def _answer(self) -> bool:
        assert self._head is not None
        method, target = self._head.method.decode(), self._head.target.decode()
        self._recorder.messages.append((method, target, self._body))
        status = 405 if method == "CONNECT" else 200  # a 200 would open a tunnel
        self._send(h11.Response(status_code=status, headers=[("content-length", "2")]))
        if method != "HEAD":
            self._send(h11.Data(data=b"ok"))
        self._send(h11.EndOfMessage())
        if self._cut.our_state is not h11.DONE or self._cut.their_state is not h11.DONE:
            if self._transport is not None:
                self._transport.close()
            return False
        self._cut.start_next_cycle()
        return True

    def _send(self, event: h11.Event) -> None:
        data = self._cut.send(event)
        if data and self._transport is not None:
            self._transport.write(data)
