"""HTTP/1.1 without I/O: bytes in, events out. One reader per connection, one per response.

A reader cuts the stream at the first empty line, has the head judged (`http1_head`), and
follows the one framing that the head announced (`http1_body`) to the byte where the message
ends. What it cannot follow with certainty it refuses: a message that two parsers could cut
differently is how requests are smuggled (RFC 9112 section 11.2).

How the bytes were split on their way never changes what comes out, except where one body is
cut into parts. The strictness is tested against h11 on a corpus of tricks.

Refuses to know: sockets, clocks, tasks, what a request asks for.
"""

import msgspec

from selvedge.fabric.value import Value
from selvedge.wire.http1_body import (
    END_OF_MESSAGE,
    BodyPart,
    ChunkedBody,
    EndOfMessage,
    EofBody,
    Framing,
    LengthBody,
)
from selvedge.wire.http1_head import (
    BARE_LF,
    HeadLimits,
    ProtocolViolation,
    RequestHead,
    ResponseHead,
    head_too_large,
    malformed,
    parse_request_head,
    parse_response_head,
    target_too_long,
)

RequestEvent = RequestHead | BodyPart | EndOfMessage
ResponseEvent = ResponseHead | BodyPart | EndOfMessage

_BLANK_LINES_MAX = 2
_INTERIM_MAX = 16
_NO_BODY = frozenset({204, 304})
_REQUEST_LINE_SLACK = 32  # the longest method, two spaces, the version


class EndOfInput(Value, frozen=True, gc=False):
    """The peer closed between two messages."""


class _HeadCutter:
    """Finds the end of a head in a growing buffer, and gives up early on a hopeless one."""

    __slots__ = ("_limits", "_line_bytes_max", "_scanned")

    def __init__(self, limits: HeadLimits, line_bytes_max: int) -> None:
        self._limits = limits
        self._line_bytes_max = line_bytes_max
        self._scanned = 0

    def reset(self) -> None:
        """The next byte is the first of a head."""
        self._scanned = 0

    def end(self, data: bytes, at: int) -> int:
        """The position behind the head that starts at `at`, or -1 when more is needed.

        Raises ProtocolViolation: 400, 414 or 431.
        """
        end = data.find(b"\r\n\r\n", at + max(0, self._scanned - 3))
        if end >= 0 and end + 4 - at <= self._limits.head_bytes_max:
            self._scanned = 0
            return end + 4
        line_end = at + self._line_bytes_max
        if len(data) > line_end and data.find(b"\r\n", at, line_end) < 0:
            raise target_too_long(self._limits)
        if BARE_LF.search(data, at + self._scanned, at + self._limits.head_bytes_max):
            raise malformed("a line of the head ends without CR")
        if end >= 0 or len(data) - at >= self._limits.head_bytes_max:
            raise head_too_large(f"the head exceeds {self._limits.head_bytes_max} bytes")
        self._scanned = len(data) - at
        return -1


class RequestReader:
    """The server's side of one connection: requests, one behind the other.

    `stalled` is True when `pipelined_max` requests came out of one `feed` and more bytes wait:
    call `feed(b"")` once those are answered. After a request that ends the connection
    (`keep_alive` False) further bytes are dropped.
    """

    __slots__ = ("_blank", "_body", "_cutter", "_failed", "_last", "_limits", "_rest", "stalled")

    def __init__(self, limits: HeadLimits) -> None:
        self._limits = limits
        self._cutter = _HeadCutter(limits, limits.target_bytes_max + _REQUEST_LINE_SLACK)
        self._rest = b""
        self._body: Framing | None = None
        self._blank = 0
        self._last = False
        self._failed: ProtocolViolation | None = None
        self.stalled = False

    @property
    def idle(self) -> bool:
        """Between two messages, with no byte of the next one."""
        return self._body is None and not self._rest

    def feed(self, data: bytes) -> list[RequestEvent]:
        """Events that these bytes complete.

        Raises ProtocolViolation, with the events before it in `.before`; then for ever.
        """
        if self._failed is not None:
            raise self._failed
        if self._rest:
            data = self._rest + data
        events: list[RequestEvent] = []
        try:
            at = self._advance(data, events)
        except ProtocolViolation as violation:
            self._failed, self._rest = violation, b""
            violation.before = tuple(events)
            raise
        self._rest = data[at:]
        return events

    def feed_whole(self, data: bytes) -> tuple[RequestHead, bytes] | None:
        """The one request that these bytes are, first to last: what most reads bring.

        None where they are anything else; nothing is taken then, and `feed` is to be asked. Raises
        ProtocolViolation as `feed` does.
        """
        if self._rest or self._body is not None or self._last or self._failed is not None:
            return None
        end = data.find(b"\r\n\r\n") + 4
        if not 4 <= end <= self._limits.head_bytes_max or not 65 <= data[0] <= 90:
            return None
        try:
            head = parse_request_head(data[:end], self._limits)
        except ProtocolViolation as violation:
            self._failed = violation
            raise
        if head.chunked or len(data) - end != (head.content_length or 0):
            return None
        self._cutter.reset()
        self._blank = 0
        self._last = not head.keep_alive
        self.stalled = False
        return head, data[end:]

    def close(self) -> EndOfInput:
        """The peer sent its last byte. Raises ProtocolViolation inside a message."""
        if self._failed is not None:
            raise self._failed
        if not self.idle and not self._last:
            raise ProtocolViolation(400, "truncated", "the connection ended inside a request")
        return EndOfInput()

    def _advance(self, data: bytes, events: list[RequestEvent]) -> int:
        at, heads, size = 0, 0, len(data)
        self.stalled = False
        while at < size:
            if self._body is not None:
                at, done = _take_body(self._body, data, at, events)
                if not done:
                    break
                self._body = None
                continue
            if self._last:
                return size
            if heads == self._limits.pipelined_max:
                self.stalled = True
                break
            at = self._skip_blank(data, at)
            end = self._cutter.end(data, at) if at < size else -1
            if end < 0:
                break
            self._open(data[at:end], events)
            at, heads = end, heads + 1
        return at

    def _skip_blank(self, data: bytes, at: int) -> int:
        """Drop an empty line before a request (RFC 9112 section 2.2), but not any number."""
        while data.startswith(b"\r\n", at):
            at += 2
            self._blank += 1
            if self._blank > _BLANK_LINES_MAX:
                raise malformed("empty lines where a request should be")
        if at < len(data) and not 65 <= data[at] <= 90 and data[at:] != b"\r":
            raise malformed("this is not the start of an HTTP request")
        return at

    def _open(self, head_bytes: bytes, events: list[RequestEvent]) -> None:
        head = parse_request_head(head_bytes, self._limits)
        self._blank = 0
        self._last = not head.keep_alive
        events.append(head)
        if head.chunked:
            self._body = ChunkedBody(self._limits, len(head.headers))
        elif head.content_length:
            self._body = LengthBody(head.content_length)
        else:
            events.append(END_OF_MESSAGE)


class ResponseReader:
    """The client's side of one exchange: one final response to one request.

    `done` after the EndOfMessage. Bytes beyond it set `surplus`: the response stands, the
    connection must not be used again. `started` after the first byte.
    """

    __slots__ = (
        "_body",
        "_cutter",
        "_failed",
        "_headless",
        "_interim",
        "_limits",
        "_rest",
        "done",
        "started",
        "surplus",
    )

    def __init__(self, request_method: str, limits: HeadLimits | None = None) -> None:
        self._limits = limits or HeadLimits()
        self._cutter = _HeadCutter(self._limits, self._limits.head_bytes_max)
        self._headless = request_method == "HEAD"
        self._rest = b""
        self._body: Framing | None = None
        self._interim = 0
        self._failed: ProtocolViolation | None = None
        self.done = False
        self.started = False
        self.surplus = False

    def feed(self, data: bytes) -> list[ResponseEvent]:
        """Events that these bytes complete. Raises ProtocolViolation as RequestReader does."""
        if self._failed is not None:
            raise self._failed
        self.started = self.started or bool(data)
        if self._rest:
            data = self._rest + data
        events: list[ResponseEvent] = []
        try:
            at = self._advance(data, events)
        except ProtocolViolation as violation:
            self._failed, self._rest = violation, b""
            violation.before = tuple(events)
            raise
        self.surplus = self.surplus or (self.done and at < len(data))
        self._rest = b"" if self.done else data[at:]
        return events

    def feed_whole(self, data: bytes) -> tuple[ResponseHead, bytes] | None:
        """The one final response that these bytes are, as `RequestReader.feed_whole`."""
        if self.started or self._headless or data[:5] != b"HTTP/":
            return None
        end = data.find(b"\r\n\r\n") + 4
        if not 4 <= end <= self._limits.head_bytes_max:
            return None
        try:
            head = parse_response_head(data[:end], self._limits)
        except ProtocolViolation as violation:
            self._failed, self.started = violation, True
            raise
        # Without a length it would end with the connection; 1xx, 204 and 304 have rules of theirs.
        if head.chunked or head.content_length != len(data) - end or head.status in _NO_BODY:
            return None
        if head.status < 200:
            return None
        self.started = self.done = True
        return head, data[end:]

    def eof(self) -> list[ResponseEvent]:
        """The peer sent its last byte: ends a body that ends so.

        Raises ProtocolViolation with the code `truncated` anywhere else.
        """
        if self._failed is not None:
            raise self._failed
        if self.done:
            return []
        if self._body is None or not self._body.ends_at_eof():
            raise ProtocolViolation(400, "truncated", "the connection ended inside a response")
        self.done = True
        return [END_OF_MESSAGE]

    def _advance(self, data: bytes, events: list[ResponseEvent]) -> int:
        at, size = 0, len(data)
        while at < size and not self.done:
            if self._body is not None:
                at, self.done = _take_body(self._body, data, at, events)
                break
            if data[at] != 72:  # H
                raise malformed("this is not the start of an HTTP response")
            end = self._cutter.end(data, at)
            if end < 0:
                break
            self._open(data[at:end], events)
            at = end
        return at

    def _open(self, head_bytes: bytes, events: list[ResponseEvent]) -> None:
        head = parse_response_head(head_bytes, self._limits)
        if head.status < 200:
            self._interim += 1
            if head.status == 101 or self._interim > _INTERIM_MAX:
                raise malformed("an interim response that was not asked for")
            return
        if self._headless or head.status in _NO_BODY or head.content_length == 0:
            self.done = True
        elif head.chunked:
            self._body = ChunkedBody(self._limits, len(head.headers))
        elif head.content_length is not None:
            self._body = LengthBody(head.content_length)
        else:
            self._body = EofBody()
            head = msgspec.structs.replace(head, keep_alive=False)
        events.append(head)
        if self.done:
            events.append(END_OF_MESSAGE)


def _take_body(
    body: Framing, data: bytes, at: int, events: "list[RequestEvent] | list[ResponseEvent]"
) -> tuple[int, bool]:
    """Let the framing take what it can; the parts of one read become one event."""
    parts: list[bytes] = []
    try:
        at = body.take(data, at, parts)
    finally:  # what came before a violation is part of the body too
        if parts:
            events.append(BodyPart(parts[0] if len(parts) == 1 else b"".join(parts)))
    if body.done:
        events.append(END_OF_MESSAGE)
    return at, body.done
