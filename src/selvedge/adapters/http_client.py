"""A pooled HTTP/1.1 client for engines and peers: callbacks, keep-alive, no task per chunk.

``send`` returns at once; the answer comes through a sink. ``Call.cancel`` closes the connection of
an unfinished answer with a reset, so that the engine notices at once. Only the pool closes idle
connections, never one in use. A kept connection that its server closed just before our request is
replaced once by a fresh one, if no byte of an answer was seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Sequence
from typing import Final, cast

from selvedge.adapters.egress import dial_place
from selvedge.adapters.http_answer import Kind, Response, ResponseSink, TransportFailed, Whole
from selvedge.adapters.http_target import ClientSettings, Origin, Outgoing
from selvedge.adapters.sockets import no_delay
from selvedge.wire import (
    BodyPart,
    EndOfMessage,
    HeadLimits,
    ProtocolViolation,
    RequestTemplate,
    ResponseHead,
    ResponseReader,
    render_request_head,
)

_LINGER_RESET: Final = struct.pack("ii", 1, 0)


class Call:
    """One request on its way. After ``cancel`` the sink hears nothing more."""

    __slots__ = ("_connection", "_paused", "_place", "done", "message", "method", "retried", "sink")

    def __init__(self, place: _Place, method: str, message: bytes, sink: ResponseSink) -> None:
        self._place = place
        self._connection: _Connection | None = None
        self._paused = False
        self.method = method
        self.message = message
        self.sink = sink
        self.retried = False
        self.done = False

    @property
    def sent(self) -> bool:
        """Whether the request was written to a connection."""
        return self._connection is not None

    def cancel(self) -> None:
        """Give up; an unfinished answer's connection is reset."""
        if self.done:
            return
        self.done = True
        if self._connection is not None:
            self._connection.reset()

    def pause(self) -> None:
        """Take no more bytes of the answer for now."""
        self._paused = True
        if self._connection is not None and not self.done:  # else it may carry another call
            self._connection.reading(False)

    def resume(self) -> None:
        """Go on taking bytes."""
        self._paused = False
        if self._connection is not None and not self.done:
            self._connection.reading(True)

    def bind(self, connection: _Connection) -> None:
        """This connection carries the call."""
        self._connection = connection
        if self._paused:
            connection.reading(False)

    def fail(self, error: TransportFailed) -> None:
        """Tell the sink, unless cancelled."""
        if not self.done:
            self.done = True
            self.sink.failed(error)


class _Place:
    """One server, the idle connections to it, newest last, and how many there are in all."""

    __slots__ = ("host", "idle", "open", "plain_outside", "port", "tls")

    def __init__(
        self, host: str, port: int, tls: ssl.SSLContext | None, plain_outside: bool
    ) -> None:
        self.host = host
        self.plain_outside = plain_outside
        self.port = port
        self.tls = tls
        self.idle: list[_Connection] = []
        self.open = 0


class Way:
    """One server and one target, for many requests. Made by `HttpClient.way`."""

    __slots__ = ("place", "template")

    def __init__(self, place: _Place, template: RequestTemplate) -> None:
        self.place = place
        self.template = template


class HttpClient:
    """The pool. Owned by one event loop."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._places: dict[tuple[str, int, ssl.SSLContext | None, bool], _Place] = {}
        self._dialling: dict[asyncio.Task[None], Call] = {}
        self._open: set[_Connection] = set()
        self._closed = False

    def send(self, request: Outgoing, sink: ResponseSink) -> Call:
        """Send a request; its answer comes through ``sink``."""
        sized = request.body or request.method == "POST"
        framing = [b"content-length: %d" % len(request.body)] if sized else []
        host = ("host", authority_of(request))
        head = render_request_head(
            request.method, request.target, [host, *request.headers], framing
        )
        place = self._place(request)
        call = Call(place, request.method, head + request.body, sink)
        self._start(call)
        return call

    def way(self, target: str, to: Origin, headers: Sequence[tuple[str, str]] = ()) -> Way:
        """A way for many POSTs to one target: its head is rendered once."""
        host = ("host", authority_of(to))
        return Way(self._place(to), RequestTemplate(target, [host, *headers]))

    def post(
        self, way: Way, body: bytes, sink: ResponseSink, extra: Sequence[tuple[str, str]] = ()
    ) -> Call:
        """POST ``body`` on this way; its answer comes through ``sink``."""
        call = Call(way.place, "POST", way.template.render(body, extra), sink)
        self._start(call)
        return call

    async def fetch(
        self, request: Outgoing, *, bytes_max: int = 1_000_000, timeout_s: float = 10.0
    ) -> Response:
        """A whole answer. Raises `TransportFailed` or `TimeoutError`."""
        sink = Whole(bytes_max)
        call = self.send(request, sink)
        try:
            async with asyncio.timeout(timeout_s):
                return await sink.result
        finally:
            call.cancel()

    async def close(self) -> None:
        """Close every connection; calls under way fail."""
        self._closed = True
        dialling = dict(self._dialling)
        for task in dialling:
            task.cancel()
        await asyncio.gather(*dialling, return_exceptions=True)
        for call in dialling.values():
            call.fail(TransportFailed("connect", "the client is closed", bytes_sent=call.sent))
        for connection in list(self._open):
            connection.give_up()
        await asyncio.sleep(0)

    def _place(self, to: Outgoing | Origin) -> _Place:
        # An identity of ours is never shared with another one, nor is leave to go outside.
        key = (to.host, to.port, to.tls, to.plain_outside)
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = _Place(*key)
        return place

    def _start(self, call: Call) -> None:
        if self._closed:
            error = TransportFailed("connect", "the client is closed", bytes_sent=False)
            asyncio.get_running_loop().call_soon(call.fail, error)
            return
        idle = call._place.idle
        while idle:
            connection = idle.pop()
            if connection.usable(self._settings.idle_s):
                connection.carry(call, reused=True)
                return
            connection.reset()
        most = self._settings.connections_per_host_max
        if call._place.open >= most:
            error = TransportFailed("busy", f"{most} connections are in use", bytes_sent=False)
            asyncio.get_running_loop().call_soon(call.fail, error)
            return
        self._dial(call)

    def _dial(self, call: Call) -> None:
        call._place.open += 1
        task = asyncio.get_running_loop().create_task(self._connect(call))
        self._dialling[task] = call
        task.add_done_callback(self._dialling.pop)

    async def _connect(self, call: Call) -> None:
        place = call._place
        where = f"{place.host}:{place.port}"
        try:
            async with asyncio.timeout(self._settings.connect_ms_max / 1000):
                connection = await dial_place(lambda: _Connection(self, place), place)
        except TimeoutError:
            place.open -= 1
            words = f"{where} did not accept within {self._settings.connect_ms_max} ms"
            call.fail(TransportFailed("connect_timeout", words, bytes_sent=call.sent))
        except (OSError, UnicodeError) as error:  # UnicodeError: no host name at all
            place.open -= 1
            why = getattr(error, "strerror", None) or type(error).__name__
            words = f"{where} refused the connection ({why})"
            call.fail(TransportFailed("connect", words, bytes_sent=call.sent))
        else:
            if call.done:
                connection.keep_or_close(keep=True)
            else:
                connection.carry(call, reused=False)

    def retry(self, call: Call) -> None:
        """A kept connection turned out closed: once more, on a fresh one."""
        call.retried = True
        self._dial(call)

    def opened(self, connection: _Connection) -> None:
        """A connection exists."""
        self._open.add(connection)

    def lost(self, connection: _Connection) -> None:
        """A connection is no more."""
        self._open.discard(connection)
        connection.place.open -= 1
        if connection in connection.place.idle:
            connection.place.idle.remove(connection)

    def keeps(self, place: _Place) -> bool:
        """Whether another idle connection may be kept; closes those that were idle too long."""
        while place.idle and not place.idle[0].usable(self._settings.idle_s):
            place.idle.pop(0).reset()
        return not self._closed and len(place.idle) < self._settings.idle_per_host_max

    @property
    def limits(self) -> HeadLimits:
        """Limits of response heads."""
        return self._settings.limits


class _Connection(asyncio.Protocol):
    """One connection: carries one call at a time, then waits in the pool."""

    def __init__(self, client: HttpClient, place: _Place) -> None:
        self._client = client
        self.place = place
        self._transport: asyncio.Transport | None = None
        self._reader: ResponseReader | None = None
        self._call: Call | None = None
        self._reused = False
        self._keep_alive = True
        self._idle_since = 0.0
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports implement the class without deriving from it.
        transport = cast(asyncio.Transport, transport)
        self._transport = transport
        self._client.opened(self)
        no_delay(transport)

    def carry(self, call: Call, *, reused: bool) -> None:
        """Send this call's request."""
        self._call = call
        self._reused = reused
        self._reader = ResponseReader(call.method, self._client.limits)
        call.bind(self)
        if self._transport is not None:
            self._transport.write(call.message)

    def usable(self, idle_s: float) -> bool:
        """Whether it is open and was used recently."""
        fresh = time.monotonic() - self._idle_since < idle_s
        return fresh and self._transport is not None and not self._transport.is_closing()

    def reading(self, wanted: bool) -> None:
        """Take bytes from the socket, or leave them there."""
        if self._transport is None or self._transport.is_closing() or self._paused is not wanted:
            return
        self._paused = not wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def reset(self) -> None:
        """Close with a reset: the other side learns at once that nobody listens."""
        self._call = None
        if self._transport is None or self._transport.is_closing():
            return
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self._transport.abort()

    def give_up(self) -> None:
        """The pool closes: tell the call that is under way."""
        call = self._call
        self.reset()
        if call is not None:
            call.fail(TransportFailed("reset", "the client is closed", bytes_sent=True))

    def data_received(self, data: bytes) -> None:
        call, reader = self._call, self._reader
        if call is None or reader is None:
            self.reset()
            return
        try:
            if not reader.started:
                whole = reader.feed_whole(data)
                if whole is not None:
                    self._deliver_whole(call, *whole)
                    return
            events = reader.feed(data)
        except ProtocolViolation as violation:
            self._deliver(call, violation.before)
            call.fail(TransportFailed("protocol", f"not HTTP/1.1: {violation}", bytes_sent=True))
            self.reset()
        else:
            self._deliver(call, events)

    def _deliver(self, call: Call, events: object) -> None:
        assert isinstance(events, list | tuple)
        for event in events:
            if call.done:
                return
            if isinstance(event, BodyPart):
                call.sink.data(event.data)
            elif isinstance(event, ResponseHead):
                self._keep_alive = event.keep_alive
                call.sink.head(event)
            elif isinstance(event, EndOfMessage):
                self._finish(call)

    def _deliver_whole(self, call: Call, head: ResponseHead, body: bytes) -> None:
        self._keep_alive = head.keep_alive
        call.sink.head(head)
        if body and not call.done:
            call.sink.data(body)
        if not call.done:
            self._finish(call)

    def _finish(self, call: Call) -> None:
        surplus = self._reader is not None and self._reader.surplus
        self._call = self._reader = None
        call.done = True
        self.reading(True)
        self.keep_or_close(keep=self._keep_alive and not surplus)
        call.sink.end()

    def keep_or_close(self, *, keep: bool) -> None:
        """Back into the pool, or closed."""
        self._idle_since = time.monotonic()
        if keep and self._transport is not None and self._client.keeps(self.place):
            self.place.idle.append(self)
        elif self._transport is not None:
            self._transport.close()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._client.lost(self)
        call, reader = self._call, self._reader
        self._call = None
        if call is None or reader is None or call.done:
            return
        if exc is None:
            with contextlib.suppress(ProtocolViolation):
                self._deliver(call, reader.eof())
            if call.done:
                return
        if self._reused and not reader.started and not call.retried:
            self._client.retry(call)
            return
        kind: Kind = "truncated" if reader.started and exc is None else "reset"
        where = f"{self.place.host}:{self.place.port}"
        words = (
            f"{where} closed the connection {'during' if reader.started else 'before'} its answer"
        )
        call.fail(TransportFailed(kind, words, bytes_sent=True))


def authority_of(to: Outgoing | Origin) -> str:
    """Host and port as ``Host`` names them: an IPv6 address in brackets, no port of TLS's own."""
    host = f"[{to.host}]" if ":" in to.host else to.host
    return host if to.tls is not None and to.port == 443 else f"{host}:{to.port}"


__all__ = [
    "Call",
    "ClientSettings",
    "HttpClient",
    "Kind",
    "Origin",
    "Outgoing",
    "Response",
    "ResponseSink",
    "TransportFailed",
    "Way",
    "authority_of",
]
