"""One request and its answer, as the handler sees them.

The body is not read before the handler asks for it, so that a request that may not go on costs
nothing but its head. The answer is written here, in order, with back-pressure told to whoever feeds
it. Refuses to know paths, keys and JSON.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from selvedge.fabric import SelvedgeError
from selvedge.wire import (
    CONTINUE,
    LAST_CHUNK,
    HeaderPair,
    ProtocolViolation,
    RequestHead,
    ResponseTemplate,
    chunk,
    render_response_head,
)

BODY_HELD_MAX: Final = 64 * 1024
"""Bytes of a body that are taken from the socket before the handler asks for them."""


CHUNKED: Final = "transfer-encoding: chunked\r\n"
CLOSE: Final = "connection: close\r\n"


class BodyTooLarge(SelvedgeError):
    """The body is, or would be, larger than the handler allows."""


class ClientGone(SelvedgeError):
    """The client hung up before its body was complete."""


class Connection(Protocol):
    """What an inbound request needs of its connection."""

    @property
    def write_paused(self) -> bool:
        """Whether the client reads more slowly than it is written to."""

    @property
    def closing(self) -> bool:
        """Whether no further request is wanted on this connection."""

    @property
    def certificate(self) -> str:
        """SHA-256 of the certificate the other side showed, hex; empty where it showed none."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def reading(self, wanted: bool) -> None:
        """Take bytes from the socket, or leave them there."""

    def finished(self, inbound: Inbound, *, keep: bool) -> None:
        """The answer is complete; go on with the next request or close."""

    def abort(self) -> None:
        """Close at once."""

    def settled(self, inbound: Inbound) -> None:
        """The handler is through with this request."""

    def faulted(self, inbound: Inbound, error: BaseException) -> None:
        """The handler broke."""

    def report(self, error: BaseException) -> None:
        """Something broke; count and log it."""


BodyFault = BodyTooLarge | ClientGone | ProtocolViolation
OnBody = Callable[[bytes | BodyFault], None]


class Inbound:
    """A request whose head is here. ``on_gone`` is called once if the client leaves early."""

    __slots__ = (
        "_body",
        "_chunked",
        "_connection",
        "_ended",
        "_expects",
        "_held",
        "_keep",
        "_pending",
        "_size",
        "_violation",
        "_want",
        "_want_bytes_max",
        "body_complete",
        "gone",
        "head",
        "on_gone",
        "on_pause",
        "on_resume",
        "peer",
        "received_us",
        "started",
    )

    def __init__(
        self,
        head: RequestHead,
        peer: tuple[str, int],
        received_us: int,
        connection: Connection,
        body: bytes | None = None,
    ) -> None:
        self.head = head
        self.peer = peer
        self.received_us = received_us
        self.gone = False
        self.started = False
        self.body_complete = body is not None
        self.on_gone: Callable[[], None] | None = None
        self.on_pause: Callable[[], None] | None = None
        self.on_resume: Callable[[], None] | None = None
        self._connection = connection
        self._body: list[bytes] = [body] if body else []
        self._size = len(body) if body else 0
        self._held = 0
        self._chunked = False
        self._ended = False
        self._keep = False
        self._pending = b""
        self._expects = head.expect_continue
        self._violation: ProtocolViolation | None = None
        self._want: OnBody | None = None
        self._want_bytes_max = 0

    # The handler's side.

    @property
    def write_paused(self) -> bool:
        """Whether the client reads more slowly than it is written to."""
        return self._connection.write_paused

    @property
    def certificate(self) -> str:
        """SHA-256 of the certificate the other side showed, hex; empty where it showed none."""
        return self._connection.certificate

    @property
    def ended(self) -> bool:
        """Whether the answer is complete."""
        return self._ended

    def want_body(self, bytes_max: int, on_body: OnBody) -> None:
        """Hand the whole body to ``on_body`` once it is here, perhaps at once; else what broke it:
        `BodyTooLarge`, `ClientGone` or `ProtocolViolation`. Called once.
        """
        length = self.head.content_length
        if length is not None and length > bytes_max:
            on_body(BodyTooLarge(f"the body has {length} bytes, the limit is {bytes_max}"))
            return
        self._want, self._want_bytes_max = on_body, bytes_max
        if not self.body_complete:
            if self._expects:
                self._connection.write(CONTINUE)
            self._connection.reading(True)
        self._expects = False
        self._offer()

    def want_no_body(self) -> None:
        """Whoever waited for the body does no longer."""
        self._want = None

    async def read_body(self, bytes_max: int) -> bytes:
        """The whole body. Raises what `want_body` hands over."""
        came: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def take(body: bytes | BodyFault) -> None:
            if not came.done():
                came.set_result(body) if isinstance(body, bytes) else came.set_exception(body)

        self.want_body(bytes_max, take)
        return await came

    def _offer(self) -> None:
        """Hand the body over, or its fault, if somebody waits and it is time."""
        on_body = self._want
        if on_body is None:
            return
        fault: BodyFault | None = None
        if self._size > self._want_bytes_max:
            fault = BodyTooLarge(f"the body has over {self._want_bytes_max} bytes, the limit")
        elif not self.body_complete:
            fault = self._violation
            if fault is None and self.gone:
                fault = ClientGone("the client hung up before its body was complete")
            if fault is None:
                return
        self._want = None
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body = []
        on_body(fault or body)

    def settle(self) -> None:
        """The handler is through with this request, whatever became of the answer."""
        self._connection.settled(self)

    def report(self, error: BaseException) -> None:
        """Something broke that changes nothing for this request: count and log it."""
        self._connection.report(error)

    def fault(self, error: BaseException) -> None:
        """The handler broke: it is told, and the client gets a 500 where that is possible."""
        self._connection.faulted(self, error)

    def start(self, status: int, headers: Sequence[HeaderPair], content_length: int | None) -> None:
        """Begin the answer; chunked where the length is not known (HTTP/1.0: until close).

        The head leaves with the first part, in one write.
        """
        self.started = True
        framing = self._framing(content_length)
        self._chunked = b"transfer-encoding: chunked" in framing
        self._pending = render_response_head(status, headers, framing)

    def start_by(self, template: ResponseTemplate, values: tuple[str, ...]) -> None:
        """Begin an answer of unknown length, by a template; else as `start`."""
        self.started = True
        self._keep = self._keeps(None)
        self._chunked = self.head.version == "1.1"
        framing = CHUNKED if self._chunked else ""
        self._pending = template.render(values, framing if self._keep else framing + CLOSE)

    def respond_by(self, template: ResponseTemplate, values: tuple[str, ...], body: bytes) -> None:
        """A whole answer in one write, by a template."""
        self.started = True
        self._keep = self._keeps(len(body))
        framing = f"content-length: {len(body)}\r\n"
        head = template.render(values, framing if self._keep else framing + CLOSE)
        self._connection.write(head if self.head.method == "HEAD" else head + body)
        self._finish()

    def write(self, data: bytes) -> None:
        """A part of the answer; nothing follows its end."""
        if data and not self._ended:
            self._send(self._part(data))

    def end(self, data: bytes = b"") -> None:
        """The last part, if any; the answer is complete."""
        if self._ended:
            return
        body = self.head.method != "HEAD"
        self._send(self._part(data) + (LAST_CHUNK if self._chunked and body else b""))
        self._finish()

    def _part(self, data: bytes) -> bytes:
        if not data or self.head.method == "HEAD":
            return b""
        return chunk(data) if self._chunked else data

    def _send(self, data: bytes) -> None:
        pending, self._pending = self._pending, b""
        if not self.gone and (pending or data):
            self._connection.write(pending + data)

    def respond(self, status: int, headers: Sequence[HeaderPair], body: bytes) -> None:
        """A whole answer in one write."""
        self.started = True
        head = render_response_head(status, headers, self._framing(len(body)))
        self._connection.write(head if self.head.method == "HEAD" else head + body)
        self._finish()

    def respond_ready(self, head: bytes, body: bytes) -> None:
        """A whole answer with a ready head, its content-length in it, but for the empty line."""
        self.started = True
        self._keep = self._keeps(len(body))
        self._connection.write(
            head + (b"\r\n" if self._keep else b"connection: close\r\n\r\n") + body
        )
        self._finish()

    def hold(self, wanted: bool) -> None:
        """Leave what this client sends next in the kernel, or take it again."""
        self._connection.reading(not wanted)

    def abort(self) -> None:
        """Close the connection; the client sees that the answer is not whole."""
        self._ended = True
        self._connection.abort()

    def _framing(self, content_length: int | None) -> list[bytes]:
        self._keep = self._keeps(content_length)
        lines = [] if self._keep else [b"connection: close"]
        if content_length is not None:
            lines.append(b"content-length: %d" % content_length)
        elif self.head.version == "1.1":
            lines.append(b"transfer-encoding: chunked")
        return lines

    def _keeps(self, content_length: int | None) -> bool:
        whole = self.body_complete and self.head.keep_alive and not self._connection.closing
        return whole and (content_length is not None or self.head.version == "1.1")

    def _finish(self) -> None:
        self._ended = True
        self._connection.finished(self, keep=self._keep)

    # The connection's side.

    def body_part(self, data: bytes) -> None:
        """Bytes of the body have come."""
        if self._ended:
            return
        self._body.append(data)
        self._size += len(data)
        if self._want is None:
            self._held += len(data)
            if self._held > BODY_HELD_MAX:
                self._connection.reading(False)
        elif self._size > self._want_bytes_max:
            self._offer()

    def body_end(self) -> None:
        """The body is complete."""
        self.body_complete = True
        self._offer()

    def violated(self, violation: ProtocolViolation) -> None:
        """The body broke HTTP/1.1."""
        self._violation = violation
        self._offer()

    def lost(self) -> None:
        """The client hung up."""
        if self.gone or self._ended:
            return
        self.gone = True
        self._offer()
        if self.on_gone is not None:
            self.on_gone()


async def finish(doing: Awaitable[None], inbound: Inbound) -> None:
    """Wait for a handler that is a coroutine; then the request is settled, or has a fault."""
    try:
        await doing
    except Exception as error:  # noqa: BLE001 (as in `Server.begin`)
        inbound.fault(error)
    else:
        inbound.settle()
