"""Our request reader against h11, on a corpus of tricks and on edits of it.

The law: what is accepted here means the same to h11, and what was complete before a refusal does
too. Refusing more than h11 is allowed; reading something else is how smuggling works.
"""

from __future__ import annotations

from itertools import pairwise

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.test_http1 import (
    CHUNKED,
    GET,
    Message,
    byte_by_byte,
    field,
    line,
    read,
    sized,
)

# The corpus. Each entry is one attempt to be understood in two ways.
CORPUS = [
    GET,
    GET * 3,
    # Lengths
    sized(b"Content-Length: 5"),
    sized(b"Content-Length: 5") + GET,
    sized(b"Content-Length: 05"),
    sized(b"Content-Length: 0", b"") + GET,
    sized(b"Content-Length: +5"),
    sized(b"Content-Length: -5"),
    sized(b"Content-Length: 5 "),
    sized(b"Content-Length: 5, 5"),
    sized(b"Content-Length: 5, 6"),
    sized(b"Content-Length: 0x5"),
    sized(b"Content-Length: 5_0"),
    sized(b"Content-Length: 5.0"),
    sized(b"Content-Length: \xb2"),
    sized(b"Content-Length:"),
    sized(b"Content-Length: 99999999999999999999999"),
    sized(b"Content-Length: 5\r\nContent-Length: 5"),
    sized(b"Content-Length: 5\r\nContent-Length: 6"),
    sized(b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
    sized(b"Transfer-Encoding: chunked\r\nContent-Length: 5", b"0\r\n\r\n"),
    sized(b"Content-Length : 5"),
    sized(b"Content-Length\t: 5"),
    sized(b"\x00Content-Length: 5"),
    # Codings
    CHUNKED + b"5\r\nhello\r\n0\r\n\r\n" + GET,
    sized(b"Transfer-Encoding: CHUNKED", b"0\r\n\r\n"),
    sized(b"Transfer-Encoding: chunked, chunked", b"0\r\n\r\n"),
    sized(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
    sized(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", b"0\r\n\r\n"),
    sized(b"Transfer-Encoding: identity"),
    sized(b"Transfer-Encoding: xchunked", b"0\r\n\r\n"),
    sized(b"Transfer-Encoding: \x0bchunked", b"0\r\n\r\n"),
    sized(b"Transfer-Encoding: chunked;q=1", b"0\r\n\r\n"),
    sized(b"Transfer-Encoding:\r\n chunked", b"0\r\n\r\n"),
    sized(b"Transfer-Encoding:", b"0\r\n\r\n"),
    sized(b"Transfer_Encoding: chunked", b"0\r\n\r\n"),
    b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    # Chunks
    *[
        CHUNKED + size + b"\r\nhe\r\n0\r\n\r\n" + GET
        for size in (b"2", b"02", b"0x2", b"2_0", b"+2", b"-2", b" 2", b"2 ", b"2\t", b"", b"g")
    ],
    *[
        CHUNKED + size + b"\r\nhe\r\n0\r\n\r\n" + GET
        for size in (b"2;a", b"2;a=b", b"2 ;a", b'2;a="\r\n"', b"2;a\nb", b"2;a\rb", b"2;\x00")
    ],
    CHUNKED + b"00000000000000000000002\r\nhe\r\n0\r\n\r\n",
    CHUNKED + b"ffffffffffffffff\r\nhe\r\n0\r\n\r\n",
    CHUNKED + b"2\nhe\r\n0\r\n\r\n",
    CHUNKED + b"2\r\nhe\n0\r\n\r\n",
    CHUNKED + b"2\r\nhello\r\n0\r\n\r\n",
    CHUNKED + b"2\r\nhe0\r\n\r\n",
    CHUNKED + b"2\r\nhe\r\n0\r\n" + GET,
    CHUNKED + b"2\r\nhe\r\n00\r\n\r\n" + GET,
    CHUNKED + b"0\r\nA: b\r\n\r\n" + GET,
    CHUNKED + b"0\r\nContent-Length: 9\r\n\r\n" + GET,
    CHUNKED + b"0\r\nA : b\r\n\r\n" + GET,
    CHUNKED + b"0\r\nA: b\r\n c\r\n\r\n" + GET,
    CHUNKED + b"0\r\nA: b\n\r\n\r\n" + GET,
    CHUNKED + b"0\r\nA\r\n\r\n" + GET,
    CHUNKED + b"0\r\n\n" + GET,
    # Fields
    field(b"A: x\r\n y"),
    field(b"A: x\r\n\ty"),
    b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    field(b"A : x"),
    field(b": x"),
    field(b"A"),
    field(b"A:"),
    field(b"A:\r\nB: x"),
    field(b"A: \t x \t "),
    field(b"A: x\x00y"),
    field(b"A: x\ry"),
    field(b"A: x\ny"),
    field(b"A: x\x0by"),
    field(b"A: x\x7fy"),
    field(b"A: x\xffy"),
    field(b"A\xff: x"),
    field(b"A(: x"),
    field(b"Host: a"),
    field(b"Host: b"),
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\n\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    b"GET / HTTP/1.1\r\nHost: a\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n\r\n",
    field(b"Connection: close") + GET,
    field(b"Connection: upgrade\r\nUpgrade: websocket") + GET,
    field(b"A: " + b"x" * 9000),
    # Request lines
    b"GET /\r\n\r\n",
    line(b"GET  / HTTP/1.1"),
    line(b"GET /  HTTP/1.1"),
    line(b"GET / HTTP/1.1 "),
    line(b" GET / HTTP/1.1"),
    line(b"GET\t/ HTTP/1.1"),
    line(b"GET /a b HTTP/1.1"),
    line(b"GET /\xff HTTP/1.1"),
    line(b"GET /\x00 HTTP/1.1"),
    line(b"GET /\x7f HTTP/1.1"),
    line(b"GET / http/1.1"),
    line(b"GET / HTTP/1.10"),
    line(b"GET / HTTP/01.1"),
    line(b"GET / HTTP/1.2"),
    line(b"GET / HTTP/9.9"),
    line(b"GET / RTSP/1.0"),
    line(b"SOURCE / ICE/1.0"),
    line(b"get / HTTP/1.1"),
    line(b"G:T / HTTP/1.1"),
    line(b"GET http://b/ HTTP/1.1"),
    line(b"GET * HTTP/1.1"),
    line(b"OPTIONS * HTTP/1.1"),
    line(b"GET /a#b HTTP/1.1"),
    line(b"HEAD / HTTP/1.1") + GET,
]


@pytest.mark.parametrize("data", CORPUS, ids=range(len(CORPUS)))
def test_nothing_is_read_otherwise_than_h11_reads_it(data: bytes) -> None:
    assert_compatible(data)
    assert read(byte_by_byte(data)) == read([data])


def test_the_corpus_is_neither_all_refused_nor_all_accepted() -> None:
    refused = sum(read([data])[1] is not None for data in CORPUS)
    assert 60 <= refused <= len(CORPUS) - 20


@given(
    st.sampled_from(CORPUS),
    st.integers(0, 200),
    st.integers(0, 3),
    st.sampled_from([b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b"\0", b":", b"0", b";", b"\xff"]),
)
def test_no_edit_of_the_corpus_makes_a_difference_to_h11(
    data: bytes, at: int, cut: int, put: bytes
) -> None:
    assert_compatible(data[:at] + put + data[at + cut :])


@given(st.sampled_from(CORPUS), st.lists(st.integers(0, 400), max_size=12))
def test_how_bytes_were_split_makes_no_difference(data: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(places)]
    assert read(pieces) == read([data])


def read_h11(data: bytes) -> tuple[list[Message], bool]:
    """What h11 makes of these bytes, and whether it refuses; spared the empty lines between
    requests, which it does not know."""
    messages: list[Message] = []
    rest: bytes | None = data
    while rest is not None:
        server = h11.Connection(h11.SERVER, max_incomplete_event_size=100_000)
        blank = next(n for n in (4, 2, 0) if rest.startswith(b"\r\n" * (n // 2)))
        if rest[blank:] == b"\r":  # half of another one
            break
        server.receive_data(rest[blank:])
        try:
            rest = read_h11_once(server, messages)
        except h11.RemoteProtocolError:
            return messages, True
    return messages, False


def read_h11_once(server: h11.Connection, messages: list[Message]) -> bytes | None:
    """Add the next message; the bytes behind it, or None where nothing more is read."""
    while True:
        event = server.next_event()
        if isinstance(event, h11.Request):
            text = (event.method, event.target, event.http_version)
            method, target, version = (part.decode("latin-1") for part in text)
            messages.append((method, target, version, tuple(event.headers), b"", False))
        elif isinstance(event, h11.Data):
            messages[-1] = (*messages[-1][:4], messages[-1][4] + bytes(event.data), False)
        elif isinstance(event, h11.EndOfMessage):
            messages[-1] = (*messages[-1][:5], True)
            server.send(h11.Response(status_code=404, headers=[("content-length", "0")]))
            server.send(h11.EndOfMessage())
            alive = server.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}
            return server.trailing_data[0] if alive else None
        else:
            return None


def as_h11_tells(pairs: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[bytes, bytes], ...]:
    """h11 hands this one value over in lower case."""
    coding = b"transfer-encoding"
    return tuple((name, value.lower() if name == coding else value) for name, value in pairs)


def assert_compatible(data: bytes) -> None:
    """Equal to h11, or refused with nothing before it that h11 reads otherwise."""
    ours, refusal = read([data])
    ours = [(*message[:3], as_h11_tells(message[3]), *message[4:]) for message in ours]
    theirs, h11_refuses = read_h11(data)
    if refusal is None:
        assert not h11_refuses, ours
        assert ours == theirs
        return
    whole = [message for message in ours if message[5]]
    assert whole == theirs[: len(whole)]
    if len(ours) > len(whole):  # the last one was refused inside its body
        assert ours[-1][:4] == theirs[len(whole)][:4]
        shorter, longer = sorted((ours[-1][4], theirs[len(whole)][4]), key=len)
        assert longer.startswith(shorter)
