"""The HTTP/1.1 readers and renderers, as conversations of bytes and events."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.wire import (
    BodyPart,
    EndOfInput,
    EndOfMessage,
    HeadLimits,
    ProtocolViolation,
    RequestHead,
    RequestReader,
    ResponseHead,
    ResponseReader,
    chunk,
    render_request_head,
    render_response_head,
)
from selvedge.wire.http1_head import Headers
from selvedge.wire.http1_render import UnsafeHead

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /p?q=1 HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LIMITS = HeadLimits()
SMALL = HeadLimits(head_bytes_max=400, header_count_max=4, target_bytes_max=60, pipelined_max=3)

# (method, target, version, header pairs, body, whether it is complete)
Message = tuple[str, str, str, tuple[tuple[bytes, bytes], ...], bytes, bool]
Outcome = tuple[list[Message], tuple[int, str] | None]


def line(request_line: bytes, more: bytes = b"Host: a\r\n") -> bytes:
    return request_line + b"\r\n" + more + b"\r\n"


def field(header: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: a\r\n" + header + b"\r\n\r\n"


def sized(headers: bytes, body: bytes = b"hello") -> bytes:
    return POST + headers + b"\r\n\r\n" + body


def test_a_request_without_a_body() -> None:
    reader = RequestReader(LIMITS)
    head, end = reader.feed(b"GET /v1/models?x=%20y HTTP/1.1\r\nHOST: a\r\nX-Two:  b \t\r\n\r\n")
    assert isinstance(head, RequestHead)
    assert isinstance(end, EndOfMessage)
    assert (head.method, head.target, head.version) == ("GET", "/v1/models?x=%20y", "1.1")
    assert head.headers.pairs == ((b"host", b"a"), (b"x-two", b"b"))
    assert head.headers.get("X-TWO") == "b"
    assert head.headers.get("x-three") is None
    assert "Host" in head.headers
    assert (head.keep_alive, head.content_length, head.chunked) == (True, None, False)
    assert reader.idle
    assert reader.close() == EndOfInput()


def test_repeated_fields_read_as_one_list_and_values_stay_out_of_a_repr() -> None:
    headers = Headers([(b"accept", b"x"), (b"authorization", b"secret"), (b"accept", b"y")])
    assert headers.get("Accept") == "x, y"
    assert len(headers) == len(list(headers)) == 3
    assert headers == Headers(headers.pairs)
    assert hash(headers) == hash(Headers(headers.pairs))
    assert "secret" not in repr(headers)


def test_a_body_by_length_and_a_body_in_chunks() -> None:
    reader = RequestReader(LIMITS)
    head, part, _ = reader.feed(sized(b"Content-Length: 5\r\nExpect: 100-Continue"))
    assert isinstance(head, RequestHead)
    assert (head.content_length, head.expect_continue) == (5, True)
    assert part == BodyPart(b"hello")
    head, part, _ = reader.feed(CHUNKED + b"5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nTrail: er\r\n\r\n")
    assert isinstance(head, RequestHead)
    assert head.chunked
    assert "trail" not in head.headers
    assert part == BodyPart(b"hello!")


@pytest.mark.parametrize(
    ("head", "keep_alive"),
    [
        (GET, True),
        (field(b"Connection: x, Close"), False),
        (field(b"Connection: closed"), True),
        (line(b"GET / HTTP/1.0"), False),
        (line(b"GET / HTTP/1.0", b"Connection: keep-alive\r\n"), False),
        (field(b"Connection: Upgrade\r\nUpgrade: h2c"), True),
    ],
)
def test_after_the_last_request_bytes_are_dropped(head: bytes, keep_alive: bool) -> None:
    messages, refusal = read([head + GET])
    assert refusal is None
    assert len(messages) == (2 if keep_alive else 1)


def test_pipelining_stalls_at_its_limit_and_goes_on() -> None:
    reader = RequestReader(SMALL)
    assert len(reader.feed(GET * 7)) == 6
    assert reader.stalled
    assert len(reader.feed(GET)) == 6
    assert reader.stalled
    assert len(reader.feed(b"")) == 4
    assert not reader.stalled
    assert reader.idle


def test_what_was_complete_before_a_violation_comes_with_it_and_the_violation_stays() -> None:
    reader = RequestReader(LIMITS)
    with pytest.raises(ProtocolViolation) as caught:
        reader.feed(GET + b"nonsense")
    assert len(caught.value.before) == 2
    with pytest.raises(ProtocolViolation):
        reader.feed(GET)
    with pytest.raises(ProtocolViolation):
        reader.close()


@pytest.mark.parametrize("start", [b"GET", POST, sized(b"Content-Length: 9"), CHUNKED + b"0\r\n"])
def test_an_end_inside_a_request_is_told(start: bytes) -> None:
    reader = RequestReader(LIMITS)
    reader.feed(start)
    assert not reader.idle
    with pytest.raises(ProtocolViolation, match="inside a request") as caught:
        reader.close()
    assert caught.value.code == "truncated"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (line(b"GET /" + b"x" * 60 + b" HTTP/1.1"), 414),
        (b"GET /" + b"x" * 300, 414),
        (field(b"A: " + b"x" * 400), 431),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 400, 431),
        (field(b"A: 1\r\nB: 2\r\nC: 3\r\nD: 4"), 431),
        (CHUNKED + b"1;" + b"x" * 500 + b"\r\na\r\n0\r\n\r\n", 431),
        (CHUNKED + b"1;" + b"x" * 2000, 431),
        (CHUNKED + b"0\r\nA: " + b"x" * 500, 431),
        (CHUNKED + b"0\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n", 431),
        (CHUNKED + b"1;eeeeeeee\r\na\r\n" * 60, 431),
        (line(b"GET / HTTP/2.0"), 505),
        (line(b"GET / HTTP/0.9"), 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (line(b"BREW / HTTP/1.1"), 501),
        (line(b"CONNECT a:1 HTTP/1.1"), 501),
        (sized(b"Transfer-Encoding: gzip, chunked"), 501),
        (sized(b"Content-Length: 5\r\nExpect: 200-ok"), 417),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"\r\n\r\n\r\n" + GET, 400),
    ],
)
def test_limits_and_refusals_have_their_status(data: bytes, status: int) -> None:
    assert read([data], SMALL)[1] == read(byte_by_byte(data), SMALL)[1]
    refusal = read([data], SMALL)[1]
    assert refusal is not None
    assert refusal[0] == status


def test_an_empty_line_before_a_request_is_dropped() -> None:
    """RFC 9112 section 2.2 asks for it; h11 refuses it, a difference without a second meaning."""
    assert read([b"\r\n" + GET]) == read([GET])
    assert read(byte_by_byte(b"\r\n" + GET)) == read([GET])


def test_a_target_may_not_be_longer_than_a_head() -> None:
    with pytest.raises(ValueError, match="target_bytes_max"):
        HeadLimits(head_bytes_max=100, target_bytes_max=101)


@pytest.mark.parametrize("field_name", ["head_bytes_max", "header_count_max", "pipelined_max"])
def test_limits_check_themselves(field_name: str) -> None:
    with pytest.raises(ValueError, match="must"):
        HeadLimits(**{field_name: 0})


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.integers(1, 30))
def test_chunks_come_out_as_they_went_in(parts: list[bytes], step: int) -> None:
    data = CHUNKED + b"".join(chunk(part) for part in parts) + b"0\r\n\r\n"
    messages, refusal = read(data[i : i + step] for i in range(0, len(data), step))
    assert refusal is None
    assert messages[0][4] == b"".join(parts)


# Responses


def test_a_response_with_a_length_can_be_followed() -> None:
    reader = ResponseReader("POST")
    assert not reader.started
    head, part, end = reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    assert isinstance(head, ResponseHead)
    assert (head.status, head.reason, head.keep_alive) == (200, "OK", True)
    assert part == BodyPart(b"hi")
    assert isinstance(end, EndOfMessage)
    assert reader.done
    assert not reader.surplus
    assert reader.eof() == []
    assert reader.feed(b"more") == []
    assert reader.surplus


@pytest.mark.parametrize(
    ("method", "data"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
        ("GET", b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"),
    ],
)
def test_a_response_without_a_body_ends_with_its_head(method: str, data: bytes) -> None:
    reader = ResponseReader(method)
    assert len(reader.feed(data)) == 2
    assert reader.done
    assert not reader.surplus


def test_interim_responses_are_skipped_but_not_for_ever() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    reader = ResponseReader("POST")
    assert reader.feed(interim + b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n") == []
    assert len(reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) == 2
    with pytest.raises(ProtocolViolation):
        ResponseReader("POST").feed(interim * 17)
    with pytest.raises(ProtocolViolation):
        ResponseReader("GET").feed(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")


def test_a_body_may_end_with_the_connection_and_then_forbids_keep_alive() -> None:
    reader = ResponseReader("GET")
    head, part = reader.feed(b"HTTP/1.1 200 OK\r\n\r\nhalf")
    assert isinstance(head, ResponseHead)
    assert not head.keep_alive
    assert part == BodyPart(b"half")
    assert len(reader.eof()) == 1
    assert reader.done


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
    ],
)
def test_an_end_inside_a_response_is_told(data: bytes) -> None:
    reader = ResponseReader("GET")
    reader.feed(data)
    with pytest.raises(ProtocolViolation) as caught:
        reader.eof()
    assert caught.value.code == "truncated"


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 200 a\0b\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\nA: b\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 500,
    ],
)
def test_what_is_no_response_is_refused_however_it_is_split(data: bytes) -> None:
    for pieces in ([data], byte_by_byte(data)):
        reader = ResponseReader("GET", SMALL)
        with pytest.raises(ProtocolViolation):
            [reader.feed(piece) for piece in pieces]
        with pytest.raises(ProtocolViolation):
            reader.feed(b"")
        with pytest.raises(ProtocolViolation):
            reader.eof()


# Rendering


def test_heads_are_rendered_and_read_back() -> None:
    request = render_request_head(
        "POST", "/p?q", [("Host", "a"), (b"X", b"1")], [b"content-length: 0"]
    )
    head, _ = RequestReader(LIMITS).feed(request)
    assert isinstance(head, RequestHead)
    assert (head.method, head.target, head.headers.get("x")) == ("POST", "/p?q", "1")
    response = render_response_head(429, [("retry-after", "1")], [b"content-length: 0"])
    assert response.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    answer, _ = ResponseReader("GET").feed(response)
    assert isinstance(answer, ResponseHead)
    assert answer.headers.get("Retry-After") == "1"
    assert render_response_head(599, []) == b"HTTP/1.1 599 \r\n\r\n"


@pytest.mark.parametrize(
    "pair",
    [
        ("a", "b\r\nc: d"),
        ("a", "b\nc"),
        ("a", "b\rc"),
        ("a", "b\0"),
        ("a\r\nb", "c"),
        ("a b", "c"),
        ("a:", "c"),
        ("", "c"),
        ("\u00e9", "c"),
        ("a", "\u20ac"),
        ("Content-Length", "5"),
        (b"transfer-encoding", b"chunked"),
        ("Connection", "close"),
    ],
)
def test_a_header_that_would_be_more_than_one_is_not_sent(pair: tuple[str, str]) -> None:
    with pytest.raises(UnsafeHead):
        render_response_head(200, [pair])
    with pytest.raises(UnsafeHead):
        render_request_head("GET", "/", [pair])


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/ x"), ("GET", ""), ("G T", "/"), ("GET", "/\r\n"), ("GET", "/\u00e9"), ("", "/")],
)
def test_a_request_line_that_would_be_another_is_not_sent(method: str, target: str) -> None:
    with pytest.raises(UnsafeHead):
        render_request_head(method, target, [])


def test_a_status_out_of_range_and_an_empty_chunk_are_refused() -> None:
    with pytest.raises(UnsafeHead):
        render_response_head(99, [])
    with pytest.raises(ValueError, match="empty chunk"):
        chunk(b"")


# How the two readers are driven


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def read(pieces: Iterable[bytes], limits: HeadLimits = LIMITS) -> Outcome:
    """What our reader makes of these pieces."""
    reader = RequestReader(limits)
    events: list[object] = []
    refusal = None
    try:
        for piece in pieces:
            events += reader.feed(piece)
            while reader.stalled:
                events += reader.feed(b"")
    except ProtocolViolation as violation:
        events += violation.before
        refusal = (violation.status, violation.code)
    messages: list[Message] = []
    for event in events:
        if isinstance(event, RequestHead):
            told = (event.method, event.target, event.version, event.headers.pairs)
            messages.append((*told, b"", False))
        elif isinstance(event, BodyPart):
            assert event.data
            messages[-1] = (*messages[-1][:4], messages[-1][4] + event.data, False)
        else:
            messages[-1] = (*messages[-1][:5], True)
    return messages, refusal
