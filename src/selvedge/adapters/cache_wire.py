"""A connection between a worker and the cache process, at either end: whole messages both ways."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import cast

import msgspec

from selvedge.adapters.cache_process_frames import BadFrame, Frames, frame


class CacheWire(asyncio.Protocol, ABC):
    """A connection's protocol; what comes goes to `message`, one at a time."""

    def __init__(self) -> None:
        """Not connected yet."""
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The other end is there."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no instance of it

    def data_received(self, data: bytes) -> None:
        """Bytes of messages."""
        try:
            for message in self._frames.feed(data):
                self.message(message)
        except BadFrame:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The other end is gone."""
        self._transport = None

    @abstractmethod
    def message(self, message: bytes) -> None:
        """A whole message has come. Raises `BadFrame` where it is none."""

    def send(self, message: msgspec.Struct) -> None:
        """Hand over a message, if the other end is still there."""
        if self._transport is not None:
            self._transport.write(frame(message))

    def close(self) -> None:
        """Hang up; what is not sent is lost."""
        if self._transport is not None:
            self._transport.abort()
