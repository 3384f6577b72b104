"""The kept corpus against the SSE reader: no split and no edit changes what comes out."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.wire import Event, EventTooLarge, SseReader
from tests.attack.corpus.sse import STREAMS

BYTES_MAX = 10_000
PUTS = (b"\r", b"\n", b"\r\n", b"\0", b":", b"data:", b"{", b"\xff", b"\xe2\x80", b"event: ", b" ")


def read(pieces: Iterable[bytes], bytes_max: int = 1_000_000) -> list[Event]:
    reader = SseReader(bytes_max)
    return [event for piece in pieces for event in reader.feed(piece)] + reader.close()


@pytest.mark.parametrize("stream", STREAMS, ids=range(len(STREAMS)))
def test_a_split_at_any_byte_makes_no_difference(stream: bytes) -> None:
    whole = read([stream])
    for at in range(0, len(stream), 1 + len(stream) // 500):
        assert read([stream[:at], stream[at:]]) == whole
    if len(stream) < 10_000:
        assert read(stream[at : at + 1] for at in range(len(stream))) == whole


@given(
    st.sampled_from([one for one in STREAMS if len(one) < 3_000]),
    st.integers(0, 400),
    st.integers(0, 4),
    st.sampled_from(PUTS),
    st.lists(st.integers(0, 600), max_size=8),
)
def test_nor_does_it_after_an_edit(
    stream: bytes, at: int, cut: int, put: bytes, splits: list[int]
) -> None:
    edited = stream[:at] + put + stream[at + cut :]
    places = [0, *sorted(splits), len(edited)]
    assert read(edited[a:b] for a, b in pairwise(places)) == read([edited])


@pytest.mark.parametrize("byte", [b"x", b"data: x\n", b": x", b"event: "])
def test_what_never_ends_is_cut_off_at_its_limit(byte: bytes) -> None:
    reader = SseReader(BYTES_MAX)

    def feed_for_ever() -> None:
        for _ in range(BYTES_MAX):
            reader.feed(byte * 10)

    with pytest.raises(EventTooLarge):
        feed_for_ever()
