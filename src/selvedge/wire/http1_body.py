"""The body of an HTTP/1.1 message: three ways to find its end (RFC 9112 section 6 and 7).

Each framing consumes bytes at a position and says when it is done. Chunk sizes are plain
hexadecimal digits, nothing else; extensions and trailers are checked, dropped, and counted
against the limits of the head, so that a body cannot smuggle in an unlimited one.

Refuses to know: what the bytes mean, heads, sockets.
"""

import re
from collections.abc import Callable
from typing import Protocol

from selvedge.fabric.value import Value
from selvedge.wire.http1_head import TOKEN, HeadLimits, head_too_large, malformed

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER_LINE = re.compile(rb"(" + TOKEN + rb"):[\t\x20-\x7e\x80-\xff]*")
_NEVER_TRAILERS = frozenset({b"content-length", b"transfer-encoding", b"host"})
_CHUNK_LINE_BYTES_MAX = 1024


class BodyPart(Value, frozen=True, gc=False):
    """Some bytes of the body, never none; how they are cut means nothing."""

    data: bytes


class EndOfMessage(Value, frozen=True, gc=False):
    """The message is complete."""


END_OF_MESSAGE = EndOfMessage()


class Framing(Protocol):
    """Finds the end of one body."""

    done: bool

    def take(self, data: bytes, at: int, parts: list[bytes]) -> int:
        """Consume `data` from `at`, append body bytes to `parts`, return the new position.

        Bytes that are not consumed while not `done` must be offered again, with more behind.
        Raises ProtocolViolation.
        """

    def ends_at_eof(self) -> bool:
        """Whether the end of the connection completes this body."""


class LengthBody:
    """A body of a length announced beforehand, at least one byte."""

    __slots__ = ("_left", "done")

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = False

    def take(self, data: bytes, at: int, parts: list[bytes]) -> int:
        part = data[at : at + self._left]
        self._left -= len(part)
        self.done = self._left == 0
        if part:
            parts.append(part)
        return at + len(part)

    def ends_at_eof(self) -> bool:
        return False


class EofBody:
    """A response body that ends with the connection."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False

    def take(self, data: bytes, at: int, parts: list[bytes]) -> int:
        if at < len(data):
            parts.append(data[at:])
        return len(data)

    def ends_at_eof(self) -> bool:
        return True


class ChunkedBody:
    """A body in chunks, then trailers. `_left` counts the bytes of the open chunk."""

    __slots__ = ("_count_left", "_extra_left", "_left", "_step", "done")

    def __init__(self, limits: HeadLimits, header_count: int) -> None:
        self._step: _Step = ChunkedBody._size
        self._left = 0
        self._extra_left = limits.head_bytes_max
        self._count_left = limits.header_count_max - header_count
        self.done = False

    def take(self, data: bytes, at: int, parts: list[bytes]) -> int:
        while not self.done:
            after = self._step(self, data, at, parts)
            if after < 0:
                break
            at = after
        return at

    def ends_at_eof(self) -> bool:
        return False

    # Each step returns the new position, or -1 when it needs more bytes.

    def _size(self, data: bytes, at: int, parts: list[bytes]) -> int:
        end = data.find(b"\r\n", at, at + _CHUNK_LINE_BYTES_MAX)
        if end < 0:
            _check_open_line(data, at, _CHUNK_LINE_BYTES_MAX)
            return -1
        line = _CHUNK_LINE.fullmatch(data, at, end)
        if line is None:
            raise malformed("a chunk size is not a plain hexadecimal number")
        if line[2] is not None:
            self._spend(len(line[2]))
        self._left = int(line[1], 16)
        if self._left:
            self._step = ChunkedBody._data
        else:
            self._step = ChunkedBody._trailer
        return end + 2

    def _data(self, data: bytes, at: int, parts: list[bytes]) -> int:
        if at >= len(data):
            return -1
        part = data[at : at + self._left]
        parts.append(part)
        self._left -= len(part)
        if not self._left:
            self._step = ChunkedBody._data_end
        return at + len(part)

    def _data_end(self, data: bytes, at: int, parts: list[bytes]) -> int:
        end = data[at : at + 2]
        if end == b"\r\n":
            self._step = ChunkedBody._size
            return at + 2
        if end not in (b"", b"\r"):
            raise malformed("a chunk does not end where its size says")
        return -1

    def _trailer(self, data: bytes, at: int, parts: list[bytes]) -> int:
        end = data.find(b"\r\n", at, at + self._extra_left + 2)
        if end < 0:
            _check_open_line(data, at, self._extra_left + 2)
            return -1
        if end == at:
            self.done = True
            return at + 2
        line = _TRAILER_LINE.fullmatch(data, at, end)
        if line is None or line[1].lower() in _NEVER_TRAILERS:
            raise malformed("a trailer is not a field that may be one")
        self._spend(end + 2 - at)
        self._count_left -= 1
        if self._count_left < 0:
            raise head_too_large("too many header and trailer fields")
        return end + 2

    def _spend(self, size: int) -> None:
        self._extra_left -= size
        if self._extra_left < 0:
            raise head_too_large("chunk extensions and trailers are too large")


_Step = Callable[[ChunkedBody, bytes, int, list[bytes]], int]


def _check_open_line(data: bytes, at: int, bytes_max: int) -> None:
    """Refuse a line that has no end yet and can have none that would be accepted."""
    if len(data) - at >= bytes_max:
        raise head_too_large("a chunk line or trailer is too long")
    feed = data.find(b"\n", at)
    if feed >= 0:
        raise malformed("a line ends without CR")
