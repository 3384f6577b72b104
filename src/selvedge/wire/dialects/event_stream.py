"""An incremental reader of AWS event streams (`application/vnd.amazon.eventstream`).

A message is its length, the length of its headers, a checksum of the two, headers, a payload and a
checksum of it all. Source: AWS, "Event stream encoding"; checked against botocore's reader.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Final

from selvedge.fabric.value import Value

MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024
_PRELUDE: Final = struct.Struct(">III")
_CHECKSUM: Final = struct.Struct(">I")
_SHORT: Final = struct.Struct(">H")
_FIXED: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value by its type; 6 and 7 tell their own length."""
_TEXT: Final = 7


class Message(Value, frozen=True):
    """One message: its headers that are texts, and its payload."""

    headers: Mapping[str, str]
    payload: bytes


class BrokenStream(ValueError):
    """What came is no event stream, or a damaged one; it cannot be trusted further."""


class EventStreamReader:
    """Feed it bytes as they come, get whole messages back."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> list[Message]:
        """The messages that ``data`` completes; raises `BrokenStream`."""
        held = self._held + data if self._held else data
        found: list[Message] = []
        at = 0
        while len(held) - at >= _PRELUDE.size:
            total, headers, checksum = _PRELUDE.unpack_from(held, at)
            if zlib.crc32(held[at : at + 8]) != checksum:
                raise BrokenStream("a prelude does not match its checksum")
            if not 16 + headers <= total <= MESSAGE_BYTES_MAX:
                raise BrokenStream("a message has an impossible length")
            if len(held) - at < total:
                break
            found.append(_read(held[at : at + total], headers))
            at += total
        self._held = held[at:]
        return found

    @property
    def is_between(self) -> bool:
        """Whether nothing is left of a message that has only begun."""
        return not self._held


def _read(message: bytes, headers: int) -> Message:
    (checksum,) = _CHECKSUM.unpack_from(message, len(message) - 4)
    if zlib.crc32(message[:-4]) != checksum:
        raise BrokenStream("a message does not match its checksum")
    end = _PRELUDE.size + headers
    try:
        named = _read_headers(message[_PRELUDE.size : end])
    except (IndexError, struct.error, UnicodeDecodeError, KeyError):
        raise BrokenStream("a header cannot be read") from None
    return Message(named, message[end:-4])


def _read_headers(data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while at < len(data):
        size = data[at]
        name = data[at + 1 : at + 1 + size].decode()
        kind = data[at + 1 + size]
        at += 2 + size
        if kind in (6, _TEXT):
            (size,) = _SHORT.unpack_from(data, at)
            if kind == _TEXT:
                found[name] = data[at + 2 : at + 2 + size].decode()
            at += 2 + size
        else:
            at += _FIXED[kind]
    if at != len(data):
        raise IndexError(at)
    return found
