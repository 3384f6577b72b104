"""An incremental reader of server-sent events (WHATWG HTML, section 9.2). Bytes in, data out.

It works on bytes, so a character split over two reads never matters. Line ends may be LF, CRLF or
CR, mixed and split anywhere. Comments, ids and retry fields are dropped; the event name is kept.
Bare JSON lines, which some engines send, are taken as data: dropping them would lose an answer.
"""

from __future__ import annotations

import re
from typing import Final

from selvedge.fabric.value import Value

EVENT_BYTES_MAX: Final = 4 * 1024 * 1024
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")


class Event(Value, frozen=True):
    """One dispatched event: its data, with several data lines joined by LF, and its name."""

    data: bytes
    name: bytes = b""


class EventTooLarge(ValueError):
    """An event exceeds the reader's limit; the stream cannot be trusted further."""


class SseReader:
    """Feed it bytes as they come, get whole events back."""

    __slots__ = ("_bytes_max", "_data", "_held", "_name", "_skip_lf")

    def __init__(self, bytes_max: int = EVENT_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._held = b""
        self._data: list[bytes] = []
        self._name = b""
        self._skip_lf = False

    def feed(self, data: bytes) -> list[Event]:
        """The events that ``data`` completes; raises `EventTooLarge`."""
        if not data:
            return []
        if self._skip_lf:
            data = data.removeprefix(b"\n")
            self._skip_lf = False
        buffer = self._held + data if self._held else data
        lines = buffer.split(b"\n") if b"\r" not in buffer else _LINE_END.split(buffer)
        self._held = lines.pop()
        self._skip_lf = buffer.endswith(b"\r")
        events: list[Event] = []
        for line in lines:
            if line.startswith(b"{"):
                events.append(Event(line))
            elif line:
                self._field(line)
            elif self._data:
                events.append(self._dispatch())
            else:
                self._name = b""
        if len(self._held) + sum(map(len, self._data)) > self._bytes_max:
            raise EventTooLarge(f"a server-sent event exceeds {self._bytes_max} bytes")
        return events

    def close(self) -> list[Event]:
        """The stream ended: what an engine left without its blank line still counts."""
        held, self._held = self._held, b""
        if held.startswith(b"{"):
            return [Event(held)]
        if held:
            self._field(held)
        return [self._dispatch()] if self._data else []

    def _dispatch(self) -> Event:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        event = Event(data, self._name)
        self._data = []
        self._name = b""
        return event

    def _field(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line.startswith(b"event:"):
            self._name = line[6:].strip()


def frame(data: bytes) -> bytes:
    """One event as OpenAI frames it."""
    return b"data: " + data + b"\n\n"


DONE: Final = frame(b"[DONE]")
