"""Messages that are whole in one read, and heads that are ready beforehand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.wire import (
    BodyPart,
    EndOfMessage,
    HeadLimits,
    ProtocolViolation,
    RequestHead,
    RequestReader,
    RequestTemplate,
    ResponseHead,
    ResponseReader,
    ResponseTemplate,
    render_response_head,
)
from selvedge.wire.http1_render import UnsafeHead
from tests.attack.corpus import ATTACKS, FOLLOW, Attack

LIMITS = HeadLimits()
SMALL = HeadLimits(head_bytes_max=80, target_bytes_max=60)
POST = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def test_a_whole_request_is_what_the_events_would_have_been() -> None:
    whole = RequestReader(LIMITS).feed_whole(POST)
    head, body, end = RequestReader(LIMITS).feed(POST)
    assert whole is not None
    assert isinstance(body, BodyPart)
    assert isinstance(end, EndOfMessage)
    assert whole == (head, body.data)


@pytest.mark.parametrize(
    "data",
    [
        POST[:-1],
        POST + b"G",
        POST[:20],
        b"\r\n" + POST,
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: " + b"a" * 90 + b"\r\n\r\n",
        b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_anything_else_is_left_for_events(data: bytes) -> None:
    reader = RequestReader(SMALL)
    assert reader.feed_whole(data) is None
    assert reader.idle


def test_a_reader_in_the_middle_of_something_takes_nothing_whole() -> None:
    inside_head, inside_body, after_last = (RequestReader(LIMITS) for _ in range(3))
    inside_head.feed(b"GET")
    inside_body.feed(POST[:-1])
    last = b"GET / HTTP/1.0\r\n\r\n"
    assert after_last.feed_whole(last) is not None
    for reader in (inside_head, inside_body, after_last):
        assert reader.feed_whole(POST) is None
    broken = RequestReader(LIMITS)
    with pytest.raises(ProtocolViolation):
        broken.feed_whole(b"GET / HTTP/1.1\r\n\r\n")
    assert broken.feed_whole(POST) is None
    with pytest.raises(ProtocolViolation):
        broken.feed(POST)


def test_one_whole_request_behind_the_other_and_events_between() -> None:
    reader = RequestReader(LIMITS)
    for _ in range(2):
        assert reader.feed_whole(POST) is not None
        assert len(reader.feed(POST[:30])) + len(reader.feed(POST[30:])) == 3


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.name)
def test_what_is_taken_whole_is_one_message_by_events_too(attack: Attack) -> None:
    for raw in (attack.raw, attack.raw.removesuffix(FOLLOW)):
        try:
            whole = RequestReader(LIMITS).feed_whole(raw)
        except ProtocolViolation:
            with pytest.raises(ProtocolViolation):
                RequestReader(LIMITS).feed(raw)
            continue
        if whole is not None:
            events = RequestReader(LIMITS).feed(raw)
            assert [one for one in events if isinstance(one, RequestHead)] == [whole[0]]
            assert isinstance(events[-1], EndOfMessage)
            assert b"".join(one.data for one in events if isinstance(one, BodyPart)) == whole[1]


def test_a_whole_response_is_what_the_events_would_have_been() -> None:
    reader = ResponseReader("POST", LIMITS)
    head, body, _ = ResponseReader("POST", LIMITS).feed(OK)
    assert isinstance(head, ResponseHead)
    assert isinstance(body, BodyPart)
    assert reader.feed_whole(OK) == (head, body.data)
    assert (reader.started, reader.done, reader.surplus) == (True, True, False)


@pytest.mark.parametrize(
    "data",
    [
        OK[:-1],
        OK + b"x",
        OK[:10],
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_other_responses_are_left_for_events(data: bytes) -> None:
    reader = ResponseReader("POST", LIMITS)
    assert reader.feed_whole(data) is None
    assert not reader.started


def test_a_response_that_breaks_a_rule_or_comes_late_is_not_whole() -> None:
    broken = ResponseReader("POST", LIMITS)
    with pytest.raises(ProtocolViolation):
        broken.feed_whole(b"HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n")
    assert broken.started
    begun = ResponseReader("POST", LIMITS)
    begun.feed(OK[:9])
    assert begun.feed_whole(OK) is None
    assert ResponseReader("HEAD", LIMITS).feed_whole(OK) is None


def test_a_template_renders_what_a_head_would_be() -> None:
    template = ResponseTemplate(200, [("content-type", "a/b"), ("x-50", "50%")], ["x-id", "x-two"])
    head = template.render(("7", "zwei"), "content-length: 0\r\n")
    fields = [("content-type", "a/b"), ("x-50", "50%"), ("x-id", "7"), ("x-two", "zwei")]
    assert sorted(head.split(b"\r\n")) == sorted(
        render_response_head(200, fields, [b"content-length: 0"]).split(b"\r\n")
    )
    assert head.endswith(b"content-length: 0\r\n\r\n")


@given(st.text(max_size=20))
def test_no_value_adds_a_line(value: str) -> None:
    template = ResponseTemplate(200, [], ["x-id"])
    try:
        head = template.render((value,), "")
    except UnsafeHead:
        unsafe = any(sign in value for sign in "\r\n\0") or any(ord(one) > 255 for one in value)
        assert unsafe
        return
    assert head.count(b"\r\n") == 3
    assert head.split(b"\r\n")[1] == b"x-id: " + value.encode("latin-1")


def test_a_request_template_adds_length_body_and_what_only_one_request_has() -> None:
    template = RequestTemplate("/v1/x", [("host", "a:1")])
    assert template.render(b"hi") == (
        b"POST /v1/x HTTP/1.1\r\nhost: a:1\r\ncontent-length: 2\r\n\r\nhi"
    )
    assert template.render(b"", [("x-t", "1")]) == (
        b"POST /v1/x HTTP/1.1\r\nhost: a:1\r\nx-t: 1\r\ncontent-length: 0\r\n\r\n"
    )
    with pytest.raises(UnsafeHead):
        template.render(b"", [("x-t", "1\r\nx: 2")])
