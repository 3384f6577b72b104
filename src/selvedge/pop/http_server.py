"""The PoP's HTTP/1.1 server: a uvloop protocol over the wire's sans-IO reader.

Callbacks, no task a request. Pipelined requests are answered in order. Time is kept by one sweep a
second over all connections: slow ones and idle ones are closed. HTTP/2 and 3 end in front.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from selvedge.adapters import Cell, no_delay
from selvedge.pop.client_counts import ClientCounts
from selvedge.pop.greetings import Greeting, Greetings
from selvedge.pop.http_inbound import BodyFault, BodyTooLarge, ClientGone, Inbound, finish
from selvedge.pop.http_limits import ACCEPTS_A_TURN, ServerSettings
from selvedge.pop.http_refusal import error_body, refusal
from selvedge.wire import (
    BodyPart,
    ProtocolViolation,
    RequestHead,
    RequestReader,
)

LINGER_S: Final = 2.0
SWEEP_S: Final = 1.0

Handler = Callable[[Inbound], Awaitable[None] | None]
"""A plain function calls `Inbound.settle` when it is through with the request; for one that returns
an awaitable a task is made, and settles at its end."""
OnError = Callable[[BaseException], None]
Listener = Any  # uvloop's servers are like asyncio's, not of its class


class Server:
    """A listening server and its connections."""

    def __init__(self, handler: Handler, settings: ServerSettings, on_error: OnError) -> None:
        self.handler = handler
        self.settings = settings
        self.on_error = on_error
        self.on_refused: Callable[[str], None] = lambda code: None
        self.connections: set[_Connection] = set()
        self.accepted = 0
        self.running: set[Inbound] = set()
        self.draining = False
        self.retiring = False
        """Answers say that their connection closes; set before `close` is called."""
        self.clients = ClientCounts(settings.connections_per_client_max)
        self.idle_s = 0.0
        self.counted: Cell | None = None
        self._left = asyncio.Event()
        self._listeners: dict[Listener, list[Listener]] = {}
        self.on_secured: Callable[[], None] = lambda: None
        self.tls: ssl.SSLContext | None = None
        self.greetings = Greetings()
        self._sweeper: asyncio.TimerHandle | None = None
        self._idle: asyncio.Event | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, inbound: Inbound) -> None:
        """Hand a request to the handler."""
        self.running.add(inbound)
        try:
            doing = self.handler(inbound)
        except Exception as error:  # noqa: BLE001 (counted, logged, and answered with a 500)
            inbound.fault(error)
            return
        if doing is not None:
            task = asyncio.get_running_loop().create_task(finish(doing, inbound))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def listen(self, host: str, port: int, sock: socket.socket | None) -> Listener:
        """Open a socket, or take one that was handed over; may be called again for more."""
        loop = asyncio.get_running_loop()
        handshake_s = self.settings.handshake_s if self.tls is not None else None
        ending_s = LINGER_S if self.tls is not None else None

        def connect() -> _Connection:
            return _Connection(self, self.greetings.begin() if self.tls is not None else None)

        open_listener: Callable[..., Awaitable[Listener]] = functools.partial(
            loop.create_server,
            connect,
            backlog=4096,
            ssl=self.tls,
            ssl_handshake_timeout=handshake_s,
            ssl_shutdown_timeout=ending_s,
        )
        where = {"sock": sock} if sock is not None else {"host": host, "port": port}
        listener = await open_listener(**where)
        self._listeners[listener] = [
            await open_listener(sock=one.dup())
            for one in list(listener.sockets) * (ACCEPTS_A_TURN - 1)
        ]
        if self._sweeper is None:
            self._sweeper = loop.call_later(SWEEP_S, self._sweep)
        return listener

    def unlisten(self, listener: Listener) -> None:
        """Close one of several listeners; connections go on."""
        for one in (listener, *self._listeners.pop(listener)):
            one.close()

    @property
    def port(self) -> int:
        """The port of the first socket."""
        port: int = self.sockets[0].getsockname()[1]
        return port

    @property
    def sockets(self) -> list[socket.socket]:
        """The listening sockets."""
        return [sock for listener in self._listeners for sock in listener.sockets]

    def joined(self, connection: _Connection) -> int:
        """Count a connection in; how many there are, over all workers where they share a count."""
        self.connections.add(connection)
        self.accepted += 1
        if self.counted is None:
            return len(self.connections)
        self.counted.inc()
        return self.counted.total()

    def left(self, connection: _Connection) -> None:
        """Count it out."""
        self.connections.discard(connection)
        if self.counted is not None:
            self.counted.dec()
        if not self.connections:
            self._left.set()

    def close(self, idle_s: float = 0.0) -> None:
        """Accept no more connections; running requests go on.

        A connection is told `connection: close` with its next answer; one that stays idle for
        ``idle_s`` is closed without.
        """
        for listener, more in self._listeners.items():
            for one in (listener, *more):
                one.close()
        self.draining = self.retiring = True
        self.idle_s = idle_s
        for connection in list(self.connections):
            connection.close_when_idle(idle_s)

    async def until_left(self, timeout_s: float) -> bool:
        """Wait until every connection has ended by itself; False where some have not."""
        await self.greetings.settle(min(timeout_s, self.settings.handshake_s))
        self._left.clear()
        if self.connections:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._left.wait()
        return not self.connections

    async def drain(self, timeout_s: float) -> None:
        """Wait for running requests and idle connections, then close what is left."""
        await self.until_left(timeout_s)
        for connection in list(self.connections):
            connection.abort()
        await self.until_idle(timeout_s)
        if self._sweeper is not None:
            self._sweeper.cancel()

    def settled(self, inbound: Inbound) -> None:
        """A request is over for its handler."""
        self.running.discard(inbound)
        if self._idle is not None and not self.running:
            self._idle.set()

    async def until_idle(self, timeout_s: float) -> None:
        """Wait until no handler is at work, at most so long."""
        if not self.running:
            return
        self._idle = asyncio.Event()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()

    def _sweep(self) -> None:
        now = time.monotonic()
        for connection in list(self.connections):
            connection.check_time(now)
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)


async def start_server(
    handler: Handler,
    host: str,
    port: int,
    *,
    settings: ServerSettings,
    on_error: OnError,
    sock: socket.socket | None = None,
    counted: Cell | None = None,
    tls: ssl.SSLContext | None = None,
) -> Server:
    """Listen and serve. Raises `OSError` where the address cannot be had.

    ``counted`` counts connections for all workers that share it; the limit is one for all.
    """
    server = Server(handler, settings, on_error)
    server.counted = counted
    server.tls = tls
    await server.listen(host, port, sock)
    return server


class _Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, server: Server, greeting: Greeting | None = None) -> None:
        self._server = server
        self._greeting = greeting
        self._reader = RequestReader(server.settings.limits)
        self._transport: asyncio.Transport | None = None
        self._peer: tuple[str, int] = ("", 0)
        self._queue: deque[Inbound] = deque()
        self._current: Inbound | None = None
        self._receiving: Inbound | None = None
        self._refusal: ProtocolViolation | None = None
        self._paused = False
        self._lingering = False
        self._quiet_since = time.monotonic()
        self._unsent = 0
        self._unsent_since = self._quiet_since
        self.write_paused = False
        self.certificate = ""

    # From the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports implement the class without deriving from it.
        transport = cast(asyncio.Transport, transport)
        self._transport = transport
        peer = transport.get_extra_info("peername") or ("", 0)
        self._peer = (str(peer[0]), int(peer[1]))
        transport.set_write_buffer_limits(high=self._server.settings.write_high_water)
        no_delay(transport)
        secured = transport.get_extra_info("ssl_object")
        if secured is not None and self._greeting is not None:
            self.certificate = self._server.greetings.done(self._greeting, secured)
            self._greeting = None
            self._server.on_secured()
            if self._server.draining:
                self.close_when_idle(self._server.idle_s)
        few = self._server.clients.enter(self._peer[0])
        if self._server.joined(self) > self._server.settings.connections_max:
            words = "This PoP has connections_max connections; retry."
            self._refuse_and_close(503, "overloaded", words, ("retry-after", "1"))
        elif not few:
            words = "This client has connections_per_client_max connections here; close some."
            self._refuse_and_close(503, "overloaded", words, ("retry-after", "1"))

    def data_received(self, data: bytes) -> None:
        if self._reader.idle or self._receiving is not None:
            self._quiet_since = time.monotonic()  # a head has one span of time for all its bytes
        if self._lingering or self._refusal is not None:
            return
        try:
            if self._current is None and not self._queue:
                whole = self._reader.feed_whole(data)
                if whole is not None:
                    at_us = time.time_ns() // 1000
                    self._current = Inbound(whole[0], self._peer, at_us, self, whole[1])
                    self._server.begin(self._current)
                    return
            events = self._reader.feed(data)
        except ProtocolViolation as violation:
            self._take(violation.before)
            self._violated(violation)
        else:
            self._take(events)
        self._advance()

    def eof_received(self) -> bool:
        """A client that closes its side before its answer is complete has hung up."""
        self._lose()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.clients.leave(self._peer[0])
        self._server.left(self)
        self._transport = None
        self._lose()

    def pause_writing(self) -> None:
        self.write_paused = True
        if self._current is not None and self._current.on_pause is not None:
            self._current.on_pause()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._current is not None and self._current.on_resume is not None:
            self._current.on_resume()

    # From the request.

    @property
    def closing(self) -> bool:
        """Whether no further request is wanted; those that were pipelined are still answered."""
        return self._server.retiring and not self._queue

    def write(self, data: bytes) -> None:
        """Send bytes; dropped once the client is gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def reading(self, wanted: bool) -> None:
        """Take bytes from the socket, or leave them there."""
        if self._transport is None or self._transport.is_closing() or self._paused is not wanted:
            return
        self._paused = not wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def finished(self, inbound: Inbound, *, keep: bool) -> None:
        """An answer is complete: the next request, or the end."""
        if inbound is not self._current:
            return
        self._current = None
        self._quiet_since = time.monotonic()
        if keep:
            # Also while draining: a client that was told to keep the connection may be sending.
            self._read_on()
            if self._queue or self._reader.stalled or self._refusal is not None:
                asyncio.get_running_loop().call_soon(self._go_on)
            if self._server.draining:
                self.close_when_idle(self._server.idle_s)
        else:
            self._close(linger=not inbound.body_complete)

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def close_when_idle(self, idle_s: float) -> None:
        """Between requests: close, after a time in which one may still come."""
        if idle_s > 0:
            asyncio.get_running_loop().call_later(idle_s, self.close_if_idle)
        else:
            self.close_if_idle()

    def close_if_idle(self) -> None:
        """Between requests: close."""
        if self._current is None and not self._queue and self._reader.idle:
            self._close(linger=False)

    def check_time(self, now: float) -> None:
        """Called about once a second: end what is too slow."""
        settings = self._server.settings
        if self._is_stuck(now, settings.write_s):
            self.abort()
            return
        quiet = now - self._quiet_since
        if self._current is None and not self._queue:
            if self._lingering:
                return
            if not self._reader.idle and quiet > settings.head_s:
                words = f"The request's head took longer than {settings.head_s:g} s."
                self._refuse_and_close(408, "request_timeout", words)
            elif quiet > settings.idle_s:
                self.abort()
            return
        waiting = self._receiving is not None and not self._receiving.body_complete
        if waiting and not self._paused and quiet > settings.body_s and self._receiving is not None:
            self._receiving.violated(
                ProtocolViolation(408, "timeout", f"no body byte for {settings.body_s:g} s")
            )

    # Within.

    def _take(self, events: object) -> None:
        assert isinstance(events, list | tuple)
        for event in events:
            if isinstance(event, RequestHead):
                at_us = time.time_ns() // 1000
                self._receiving = Inbound(event, self._peer, at_us, self)
                self._queue.append(self._receiving)
            elif self._receiving is None:
                continue
            elif isinstance(event, BodyPart):
                self._receiving.body_part(event.data)
            else:
                self._receiving.body_end()
                self._receiving = None
        if self._reader.stalled or len(self._queue) >= self._server.settings.limits.pipelined_max:
            self.reading(False)

    def _read_on(self) -> None:
        """Read again, unless enough requests wait or an unwanted body is in the way."""
        waiting = len(self._queue) >= self._server.settings.limits.pipelined_max
        if self._receiving is None and not self._reader.stalled and not waiting:
            self.reading(True)

    def _is_stuck(self, now: float, write_s: float) -> bool:
        """Whether the client has taken nothing of what waits for it in this time."""
        unsent = self._transport.get_write_buffer_size() if self._transport is not None else 0
        if unsent == 0 or unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
        return now - self._unsent_since > write_s

    def _violated(self, violation: ProtocolViolation) -> None:
        if self._receiving is not None:
            self._receiving.violated(violation)
        self._refusal = violation

    def _go_on(self) -> None:
        if self._reader.stalled and not self._queue:
            self.data_received(b"")
        else:
            self._advance()

    def _advance(self) -> None:
        """Start the next request; at the end of a broken stream, say why it is closed."""
        if self._current is not None or self._transport is None:
            return
        if self._queue:
            self._current = self._queue.popleft()
            self._read_on()
            self._server.begin(self._current)
        elif self._refusal is not None and not self._lingering:
            refused = self._refusal
            self._refuse_and_close(refused.status, refused.code, refused.message)

    def settled(self, inbound: Inbound) -> None:
        """The handler is through with this request; an answer of some kind has been given."""
        if not inbound.ended and not inbound.gone:
            self.faulted(inbound, RuntimeError("a handler returned without an answer"))
            return
        self._server.settled(inbound)

    def report(self, error: BaseException) -> None:
        """Count and log a fault."""
        self._server.on_error(error)

    def faulted(self, inbound: Inbound, error: BaseException) -> None:
        """The handler broke: count, log, and answer with a 500 where that is possible."""
        self.report(error)
        self._after_fault(inbound)
        self._server.settled(inbound)

    def _after_fault(self, inbound: Inbound) -> None:
        if inbound.started or inbound.gone:
            self.abort()
            return
        body = error_body("internal_error", "A fault of ours; it has been noted.", "server_error")
        inbound.respond(500, [("content-type", "application/json")], body)

    def _lose(self) -> None:
        for inbound in (self._current, *self._queue):
            if inbound is not None:
                inbound.lost()
        self._queue.clear()

    def _refuse_and_close(
        self, status: int, code: str, words: str, *extra: tuple[str, str]
    ) -> None:
        self._server.on_refused(code)
        self.write(refusal(status, code, words, extra))
        self._close(linger=True)

    def _close(self, *, linger: bool) -> None:
        """Close after what was written; lingering lets a client that still sends read it."""
        if self._transport is None or self._lingering:
            return
        if not linger:
            self._transport.close()
            return
        self._lingering = True
        self.reading(True)
        if self._transport.can_write_eof():  # TLS cannot; `connection: close` says it there
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_S, self.abort)


__all__ = [
    "BodyFault",
    "BodyTooLarge",
    "ClientGone",
    "Inbound",
    "Server",
    "ServerSettings",
    "start_server",
]
