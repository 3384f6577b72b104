"""Event streams: what botocore reads of the same bytes, however they are split or damaged."""

from __future__ import annotations

import binascii
import struct
from itertools import pairwise
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.wire.dialects.event_stream import (
    MESSAGE_BYTES_MAX,
    BrokenStream,
    EventStreamReader,
)
from tests.standins.bedrock import Says, exception, message

STREAM = b"".join([*Says().events(), exception("throttlingException"), message({}, b"")])


def test_what_botocore_reads() -> None:
    theirs = EventStreamBuffer()
    theirs.add_data(STREAM)
    ours = EventStreamReader().feed(STREAM)
    assert [(one.headers, one.payload) for one in ours] == [
        (one.headers, one.payload) for one in theirs
    ]
    assert len(ours) == 8


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
@settings(deadline=None, max_examples=60)
def test_however_it_is_split(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    reader = EventStreamReader()
    found = [one for a, b in pairwise(places) for one in reader.feed(STREAM[a:b])]
    assert found == EventStreamReader().feed(STREAM)
    assert reader.is_between


def test_headers_of_every_type() -> None:
    kinds = [
        (0, b""),
        (1, b""),
        (2, b"\1"),
        (3, b"\0\1"),
        (4, b"\0" * 4),
        (5, b"\0" * 8),
        (6, b"\0\2ab"),
        (8, b"\0" * 8),
        (9, b"\0" * 16),
        (7, b"\0\1x"),
    ]
    packed = b"".join(b"\1" + bytes([97 + kind, kind]) + value for kind, value in kinds)
    (read,) = EventStreamReader().feed(raw(packed, b"p"))
    assert (read.headers, read.payload) == ({"h": "x"}, b"p")


def raw(headers: bytes, payload: bytes) -> bytes:
    """A message of headers as they are."""

    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    whole = prelude + struct.pack(">I", binascii.crc32(prelude)) + headers + payload
    return whole + struct.pack(">I", binascii.crc32(whole))


@pytest.mark.parametrize(
    "headers", [b"\1", b"\1a", b"\1a\7", b"\1a\7\0\1", b"\1a\x0a", b"\1\xff\0"]
)
def test_headers_that_cannot_be_read(headers: bytes) -> None:
    with pytest.raises(BrokenStream):
        EventStreamReader().feed(raw(headers, b""))


@pytest.mark.parametrize("size", [0, 15, MESSAGE_BYTES_MAX + 1, 2**32 - 1])
def test_impossible_lengths(size: int) -> None:

    prelude = struct.pack(">II", size, 0)
    with pytest.raises(BrokenStream):
        EventStreamReader().feed(prelude + struct.pack(">I", binascii.crc32(prelude)))


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_damage_is_found(data: Any) -> None:  # Any: hypothesis has no type for it
    """One changed byte is never another message."""
    changed = bytearray(STREAM)
    at = data.draw(st.integers(0, len(STREAM) - 1))
    changed[at] ^= data.draw(st.integers(1, 255))
    reader = EventStreamReader()
    with pytest.raises(BrokenStream):
        reader.feed(bytes(changed))
