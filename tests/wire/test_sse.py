"""The SSE reader: any split of any bytes gives the events of the whole."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.wire import DONE, Event, EventTooLarge, SseReader, frame

ENDS = ["\n", "\r\n", "\r"]
lines = st.sampled_from(
    [
        'data: {"a":1}',
        'data:{"b":"é€😀"}',
        "data:",
        "data: [DONE]",
        "data:  two spaces",
        "event: named",
        "event:",
        ": ping",
        ":",
        "id: 7",
        "retry: 100",
        "data",
        "nonsense",
        '{"bare":true}',
        "",
        "",
        "",
    ]
)
texts = st.lists(st.tuples(lines, st.sampled_from(ENDS)).map("".join), max_size=12).map("".join)


def read(*parts: bytes, bytes_max: int = 10_000) -> list[Event]:
    reader = SseReader(bytes_max)
    events = [event for part in parts for event in reader.feed(part)]
    return events + reader.close()


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted(min(cut, len(data)) for cut in cuts)
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]


@settings(deadline=None)
@given(texts, st.lists(st.integers(0, 200), max_size=12))
def test_any_split_gives_the_events_of_the_whole(text: str, cuts: list[int]) -> None:
    data = text.encode()
    assert read(*split(data, cuts)) == read(data)


@settings(deadline=None)
@given(texts)
def test_byte_by_byte_and_with_nothing_in_between(text: str) -> None:
    data = text.encode()
    single = [data[at : at + 1] for at in range(len(data))]
    spaced = [part for one in single for part in (one, b"")]
    assert read(*single) == read(*spaced) == read(data)


@settings(deadline=None)
@given(st.lists(st.lists(lines.filter(bool), min_size=1), max_size=4), st.data())
def test_line_ends_do_not_matter(blocks: list[list[str]], data: st.DataObject) -> None:
    mixed = ""
    for line in (line for block in blocks for line in [*block, ""]):
        after_cr = not line and mixed.endswith("\r")  # where LF would be the end of the same line
        mixed += line + data.draw(st.sampled_from(ENDS[1:] if after_cr else ENDS))
    plain = "".join(line + "\n" for block in blocks for line in [*block, ""])
    assert read(mixed.encode()) == read(plain.encode())


@pytest.mark.parametrize(
    ("text", "events"),
    [
        ("", []),
        ("\n\n\n", []),
        ("data: a\n\n", [Event(b"a")]),
        ("data:a\n\n", [Event(b"a")]),
        ("data:  a\n\n", [Event(b" a")]),
        ("data: a\ndata: b\n\n", [Event(b"a\nb")]),
        ("data:\n\n", [Event(b"")]),
        ("data: a", [Event(b"a")]),
        ("data: a\n", [Event(b"a")]),
        (": ping\n\ndata: a\n\n", [Event(b"a")]),
        ("data: a\n: ping\n\n", [Event(b"a")]),
        ("event: x\ndata: a\n\ndata: b\n\n", [Event(b"a", b"x"), Event(b"b")]),
        ("event: x\n\ndata: b\n\n", [Event(b"b")]),
        ("id: 1\nretry: 2\ndata: a\n\n", [Event(b"a")]),
        ("datum: a\n\n", []),
        ('{"a":1}\n', [Event(b'{"a":1}')]),
        ('{"a":1}', [Event(b'{"a":1}')]),
        ('data: a\n\n{"b":1}\ndata: c\n\n', [Event(b"a"), Event(b'{"b":1}'), Event(b"c")]),
        ("data: a\r\n\r\ndata: b\r\r", [Event(b"a"), Event(b"b")]),
        ("data: [DONE]", [Event(b"[DONE]")]),
    ],
)
def test_what_is_read(text: str, events: list[Event]) -> None:
    assert read(text.encode()) == events


def test_characters_split_anywhere() -> None:
    data = 'data: {"c":"aé€😀z"}\n\n'.encode()
    for cut in range(len(data)):
        (event,) = read(data[:cut], data[cut:])
        assert json.loads(event.data) == {"c": "aé€😀z"}


def test_a_line_feed_after_a_pause_is_still_the_end_of_the_same_line() -> None:
    reader = SseReader()
    assert reader.feed(b"data: a\r") == []
    assert reader.feed(b"") == []
    assert reader.feed(b"\n") == []
    assert reader.feed(b"data: b\r\n\r") == [Event(b"a\nb")]
    assert reader.feed(b"\ndata: c\r\n\r\n") == [Event(b"c")]


@pytest.mark.parametrize(
    "data",
    [
        b"x" * 101,
        b"data: " + b"x" * 95,
        b"data: " + b"x" * 50 + b"\ndata: " + b"x" * 51,
        b"{" * 101,
    ],
)
def test_an_endless_event_is_an_error(data: bytes) -> None:
    with pytest.raises(EventTooLarge, match="100 bytes"):
        SseReader(100).feed(data)
    with pytest.raises(EventTooLarge):
        read(*(data[at : at + 1] for at in range(len(data))), bytes_max=100)


def test_events_within_the_limit_pass_for_ever() -> None:
    reader = SseReader(100)
    event = b"data: " + b"x" * 90 + b"\n\n"
    assert sum(len(reader.feed(event)) for _ in range(50)) == 50


@given(st.binary().filter(lambda data: not set(data) & set(b"\r\n")))
def test_a_frame_is_read_back(data: bytes) -> None:
    assert read(frame(data)) == [Event(data)]


def test_done() -> None:
    assert DONE == b"data: [DONE]\n\n"
