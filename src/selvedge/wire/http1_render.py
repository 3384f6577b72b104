"""HTTP/1.1 heads and chunks as bytes. Nothing leaves that could be read as another line.

The caller names the fields; a field that says where a message ends belongs to whoever frames
the body, and is passed in by that one only (`framing=`).

Refuses to know: sockets, bodies, which headers make sense.
"""

import re
from collections.abc import Sequence
from http import HTTPStatus

from selvedge.wire.http1_head import TOKEN

HeaderPair = tuple[bytes | str, bytes | str]

LAST_CHUNK = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_TOKEN = re.compile(TOKEN)
_TARGET = re.compile(rb"[\x21-\x7e]+")
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection", b"upgrade"})
_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}".encode("ascii") for s in HTTPStatus}


class UnsafeHead(ValueError):
    """A head that was to be sent holds what would change its meaning on the wire."""


def render_request_head(
    method: str, target: str, headers: Sequence[HeaderPair], framing: Sequence[bytes] = ()
) -> bytes:
    """The head of a request, empty line included. `framing` holds ready lines without CRLF.

    Raises UnsafeHead.
    """
    try:
        verb, path = method.encode("ascii"), target.encode("ascii")
    except UnicodeEncodeError as error:
        raise UnsafeHead("method and target must be ASCII") from error
    if _TOKEN.fullmatch(verb) is None or _TARGET.fullmatch(path) is None:
        raise UnsafeHead("method or target holds a character that is not allowed")
    return _render(b"%b %b HTTP/1.1" % (verb, path), headers, framing)


def render_response_head(
    status: int, headers: Sequence[HeaderPair], framing: Sequence[bytes] = ()
) -> bytes:
    """The head of a response, empty line included. `framing` holds ready lines without CRLF.

    Raises UnsafeHead.
    """
    line = _STATUS_LINES.get(status)
    if line is None:
        if not 100 <= status <= 599:
            raise UnsafeHead("a status lies between 100 and 599")
        line = b"HTTP/1.1 %d " % status
    return _render(line, headers, framing)


def _render(first: bytes, headers: Sequence[HeaderPair], framing: Sequence[bytes] = ()) -> bytes:
    lines = [first, *framing]
    for name, value in headers:
        lines.append(_line(name, value))
    lines.append(b"\r\n")
    head = b"\r\n".join(lines)
    # Every CR and LF in the head is one that was just put there, or it does not leave.
    breaks = len(lines)
    if head.count(b"\r") != breaks or head.count(b"\n") != breaks or b"\0" in head:
        raise UnsafeHead("a header holds CR, LF or NUL")
    return head


def _line(name: bytes | str, value: bytes | str) -> bytes:
    try:
        field = name.encode("ascii") if isinstance(name, str) else name
        content = value.encode("latin-1") if isinstance(value, str) else value
    except UnicodeEncodeError as error:
        raise UnsafeHead("a header holds a character that is not latin-1") from error
    if _TOKEN.fullmatch(field) is None:
        raise UnsafeHead("a header name is not a token")
    if field.lower() in _FRAMING:
        raise UnsafeHead(f"{field.decode()} is set by whoever frames the body")
    return b"%b: %b" % (field, content)


class ResponseTemplate:
    """A response head of which most is known long before it is sent.

    ``fixed`` fields and the ``names`` of the others are judged once; `render` only fills in values,
    and makes sure that they add no line.
    """

    __slots__ = ("_breaks", "_format")

    def __init__(self, status: int, fixed: Sequence[HeaderPair], names: Sequence[str]) -> None:
        known = render_response_head(status, [*fixed, *((name, "") for name in names)])
        text = known.decode("latin-1").replace("%", "%%")
        for name in names:
            text = text.replace(f"\r\n{name}: \r\n", f"\r\n{name}: %s\r\n", 1)
        self._format = text[:-2] + "%s\r\n"
        self._breaks = text.count("\n")

    def render(self, values: tuple[str, ...], framing: str) -> bytes:
        """The head, empty line included. ``framing`` is ready lines, each with its CRLF.

        Raises UnsafeHead.
        """
        text = self._format % (*values, framing)
        breaks = self._breaks + framing.count("\n")
        if text.count("\n") != breaks or text.count("\r") != breaks or "\0" in text:
            raise UnsafeHead("a header holds CR, LF or NUL")
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError as error:
            raise UnsafeHead("a header holds a character that is not latin-1") from error


class RequestTemplate:
    """A POST's head but for the length of its body; judged once, sent many times."""

    __slots__ = ("_head",)

    def __init__(self, target: str, headers: Sequence[HeaderPair]) -> None:
        self._head = render_request_head("POST", target, headers)[:-2]

    def render(self, body: bytes, extra: Sequence[HeaderPair] = ()) -> bytes:
        """The whole request. Raises UnsafeHead."""
        more = _render(b"", extra)[2:-2] if extra else b""
        return b"%b%bcontent-length: %d\r\n\r\n%b" % (self._head, more, len(body), body)


def chunk(data: bytes) -> bytes:
    """One chunk. Raises ValueError for no bytes, which would end the body."""
    if not data:
        raise ValueError("an empty chunk would end the body")
    return b"%x\r\n%b\r\n" % (len(data), data)
