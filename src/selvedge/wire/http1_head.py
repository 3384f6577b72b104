"""The head of an HTTP/1.1 message: values, limits, and the one place where llhttp is asked.

llhttp (through `httptools`) judges the characters of a head: tokens, values, line ends, folds,
duplicate lengths. It is handed exactly one head at a time, cut at the first empty line by the
reader, in its strict mode, and must agree that the head ends where we cut it. Everything that
decides where a *message* ends (RFC 9112 section 6) is decided here from the parsed fields, so
that no sentence of llhttp about bodies, upgrades or keep-alive is ever relied upon.

Refuses to know: bodies, sockets, what a path means, who is asking.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NoReturn

import httptools

from selvedge.fabric.value import Value

METHODS = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
}
TOKEN = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+"

BARE_LF = re.compile(rb"(?<!\r)\n")
_REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") [\x21-\x7e]+ HTTP/([0-9]\.[0-9])\r\n")
_LENGTH_DIGITS_MAX = 18
_VERSIONS = {b" HTTP/1.1\r\n": "1.1", b" HTTP/1.0\r\n": "1.0"}
_SINGLE = frozenset({b"host", b"content-length", b"transfer-encoding"})


class ProtocolViolation(Exception):
    """A peer broke HTTP/1.1 or exceeded a limit: the connection cannot go on.

    `status` is what a server answers, `code` a stable word for machines; the message names the
    rule and may be shown. `before` holds the events that were complete in the same bytes.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.before: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """Limits on what a peer may make us hold. Bytes count every byte up to the empty line."""

    head_bytes_max: int = 64 * 1024
    header_count_max: int = 128
    target_bytes_max: int = 8 * 1024
    pipelined_max: int = 16

    def __post_init__(self) -> None:
        if min(self.head_bytes_max, self.header_count_max, self.pipelined_max) < 1:
            raise ValueError("head limits must be positive")
        if not 1 <= self.target_bytes_max <= self.head_bytes_max:
            raise ValueError("target_bytes_max must lie between 1 and head_bytes_max")


class Headers:
    """Header fields in order, names lower-cased; looked up without regard to case.

    A repeated field reads as one value joined with ", " (RFC 9110 section 5.3).
    """

    __slots__ = ("_index", "pairs")

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self.pairs: tuple[tuple[bytes, bytes], ...] = tuple(pairs)
        index = dict(self.pairs)
        if len(index) != len(self.pairs):
            index = {}
            for name, value in self.pairs:
                index[name] = index[name] + b", " + value if name in index else value
        self._index = index

    def get(self, name: str) -> str | None:
        """The value of a field, latin-1 decoded, or None."""
        value = self._index.get(name.lower().encode("latin-1"))
        return None if value is None else value.decode("latin-1")

    def raw(self, name: bytes) -> bytes | None:
        """The value of a field by its lower-cased name."""
        return self._index.get(name)

    def __contains__(self, name: str) -> bool:
        return name.lower().encode("latin-1") in self._index

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self.pairs == other.pairs

    def __hash__(self) -> int:
        return hash(self.pairs)

    def __repr__(self) -> str:
        """Names only: values may carry keys."""
        return f"Headers({[name.decode('latin-1') for name, _ in self.pairs]})"


class RequestHead(Value, frozen=True):
    """A request up to its body. `target` is raw, path and query, in origin form or `*`."""

    method: str
    target: str
    version: str
    headers: Headers
    keep_alive: bool
    content_length: int | None
    chunked: bool
    expect_continue: bool


class ResponseHead(Value, frozen=True):
    """A final response up to its body. `keep_alive` is False where the body ends with the
    connection."""

    status: int
    reason: str
    version: str
    headers: Headers
    keep_alive: bool
    content_length: int | None
    chunked: bool


def malformed(message: str) -> ProtocolViolation:
    """A refusal for bytes that are not HTTP/1.1."""
    return ProtocolViolation(400, "malformed_request", message)


def head_too_large(message: str) -> ProtocolViolation:
    """A refusal for a head (or trailer) beyond its limits."""
    return ProtocolViolation(431, "headers_too_large", message)


class _Collector:
    """What llhttp calls while it reads one head."""

    __slots__ = ("begun", "body", "complete", "pairs", "reason", "target")

    def __init__(self) -> None:
        self.begun = 0
        self.complete = False
        self.body = False
        self.target = b""
        self.reason = b""
        self.pairs: list[tuple[bytes, bytes]] = []

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_status(self, part: bytes) -> None:
        self.reason += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.complete = True

    def on_body(self, _part: bytes) -> None:
        self.body = True

    def whole(self) -> bool:
        """Whether llhttp saw one head, to its end, and nothing behind it."""
        return self.complete and self.begun == 1 and not self.body


def parse_request_head(head: bytes, limits: HeadLimits) -> RequestHead:
    """Parse one head, empty line included.

    Raises ProtocolViolation: 400, 414, 417, 431, 501 or 505.
    """
    seen = _Collector()
    parser = httptools.HttpRequestParser(seen)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass  # an Upgrade is a wish that RFC 9110 section 7.8 lets us ignore
    except httptools.HttpParserError as error:
        _refuse_request(head, error)
    method, target = parser.get_method(), seen.target
    name = METHODS.get(method)
    # The request line is exactly `METHOD SP target SP version CRLF`.
    line = method + b" " + target
    version = _VERSIONS.get(head[len(line) : len(line) + 11])
    if version is None or name is None or not head.startswith(line) or not seen.whole():
        _refuse_request(head, None)
    _check_target(method, target, limits)
    if len(seen.pairs) > limits.header_count_max:
        raise _too_many(limits)
    headers = Headers(seen.pairs)
    get = headers._index.get
    if version == "1.1" and get(b"host") is None:
        raise malformed("an HTTP/1.1 request needs one Host header")
    if len(headers._index) != len(seen.pairs):
        _check_single(headers)
    length, chunked = body_length(headers, version)
    expect = get(b"expect")
    return RequestHead(
        name,
        target.decode("ascii"),
        version,
        headers,
        version == "1.1" and not _closes(get(b"connection")),
        length,
        chunked,
        expect is not None and _expects_continue(expect, version),
    )


def _refuse_request(head: bytes, cause: Exception | None) -> NoReturn:
    """Find the status for a head that was not accepted."""
    if BARE_LF.search(head):  # as it is refused where it shows before the head is complete
        raise malformed("a line of the head ends without CR") from cause
    line = _REQUEST_LINE.match(head)
    if line is not None and line[2] not in (b"1.0", b"1.1"):
        raise ProtocolViolation(
            505, "http_version_not_supported", "only HTTP/1.0 and HTTP/1.1 are spoken here"
        ) from cause
    if line is not None and line[1] not in METHODS:
        raise ProtocolViolation(
            501, "method_not_implemented", "this method is not implemented"
        ) from cause
    raise malformed("the request head is not valid HTTP/1.1") from cause


def _check_target(method: bytes, target: bytes, limits: HeadLimits) -> None:
    if len(target) > limits.target_bytes_max:
        raise target_too_long(limits)
    if target[:1] != b"/" and not (target == b"*" and method == b"OPTIONS"):
        raise malformed("the request target must be a path")
    if not target.isascii() or b"#" in target:
        raise malformed("the request target holds a character that is not allowed")


def target_too_long(limits: HeadLimits) -> ProtocolViolation:
    """A refusal for a target beyond its limit."""
    return ProtocolViolation(
        414, "target_too_long", f"the request target exceeds {limits.target_bytes_max} bytes"
    )


def _too_many(limits: HeadLimits) -> ProtocolViolation:
    return head_too_large(f"more than {limits.header_count_max} header fields")


def _check_single(headers: Headers) -> None:
    """Fields that say where a message ends or whom it is for may come only once."""
    seen = set()
    for name, _ in headers.pairs:
        if name in _SINGLE:
            if name in seen:
                raise malformed(f"more than one {name.decode()} header")
            seen.add(name)


def body_length(headers: Headers, version: str) -> tuple[int | None, bool]:
    """The (content length, chunked) that the fields announce; both together are refused.

    Raises ProtocolViolation: 400, or 501 for a transfer coding other than `chunked`.
    """
    length = headers._index.get(b"content-length")
    coding = headers._index.get(b"transfer-encoding")
    if coding is not None:
        if length is not None:
            raise malformed("Content-Length and Transfer-Encoding exclude each other")
        if version != "1.1":
            raise malformed("Transfer-Encoding does not exist in HTTP/1.0")
        if coding.lower() != b"chunked":
            raise ProtocolViolation(
                501, "transfer_encoding_not_implemented", "only `chunked` is implemented"
            )
        return None, True
    if length is None:
        return None, False
    # bytes.isdigit knows ASCII digits only; int() alone would take signs and underscores.
    if not length.isdigit() or len(length) > _LENGTH_DIGITS_MAX:
        raise malformed("Content-Length is not a number")
    return int(length), False


def _closes(tokens: bytes | None) -> bool:
    if tokens is None or tokens == b"keep-alive":
        return False
    return b"close" in [token.strip(b" \t") for token in tokens.lower().split(b",")]


def _expects_continue(expect: bytes, version: str) -> bool:
    if version == "1.0":
        return False
    if expect.lower() != b"100-continue":
        raise ProtocolViolation(417, "expectation_failed", "only `100-continue` can be expected")
    return True


def parse_response_head(head: bytes, limits: HeadLimits) -> ResponseHead:
    """Parse one head, empty line included; framing that depends on the request is not judged.

    Raises ProtocolViolation (400 or 431; a gateway answers 502).
    """
    seen = _Collector()
    parser = httptools.HttpResponseParser(seen)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise malformed("the response head is not valid HTTP/1.1") from error
    version = _VERSIONS.get(b" " + head[:8] + b"\r\n")
    status = parser.get_status_code()
    if not seen.whole() or version is None or b"\0" in head or not head[9:12].isdigit():
        raise malformed("the response head is not valid HTTP/1.1")
    if not 100 <= status <= 599:
        raise malformed("the response status is out of range")
    if len(seen.pairs) > limits.header_count_max:
        raise _too_many(limits)
    headers = Headers(seen.pairs)
    if len(headers._index) != len(seen.pairs):
        _check_single(headers)
    length, chunked = body_length(headers, version)
    return ResponseHead(
        status,
        seen.reason.decode("latin-1"),
        version,
        headers,
        version == "1.1" and not _closes(headers._index.get(b"connection")),
        length,
        chunked,
    )
