"""A server's answer to whoever asked: a sink that hears it part by part, or a whole value."""

from __future__ import annotations

import asyncio
from typing import Literal, Protocol

import msgspec

from selvedge.fabric import SelvedgeError
from selvedge.wire import ResponseHead

Kind = Literal["connect", "connect_timeout", "reset", "truncated", "protocol", "too_large", "busy"]


class TransportFailed(SelvedgeError):
    """The way to a server, or back, broke; ``bytes_sent`` says whether it may have begun."""

    def __init__(self, kind: Kind, words: str, *, bytes_sent: bool) -> None:
        super().__init__(words)
        self.kind = kind
        self.bytes_sent = bytes_sent


class Response(msgspec.Struct, frozen=True):
    """A whole answer."""

    head: ResponseHead
    body: bytes

    @property
    def status(self) -> int:
        """The answer's status."""
        return self.head.status


class ResponseSink(Protocol):
    """Takes one answer: ``head``, any number of ``data``, then ``end`` or ``failed``, once."""

    def head(self, head: ResponseHead) -> None:
        """The server answers."""

    def data(self, part: bytes) -> None:
        """A part of the body."""

    def end(self) -> None:
        """The answer is complete."""

    def failed(self, error: TransportFailed) -> None:
        """There will be no (more) answer."""


class Whole:
    """Collects a whole answer."""

    def __init__(self, bytes_max: int) -> None:
        self.result: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._bytes_max = bytes_max
        self._head: ResponseHead | None = None
        self._parts: list[bytes] = []
        self._size = 0

    def head(self, head: ResponseHead) -> None:
        self._head = head

    def data(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= self._bytes_max:
            self._parts.append(part)

    def end(self) -> None:
        if self.result.done() or self._head is None:
            return
        if self._size > self._bytes_max:
            words = f"the answer exceeds {self._bytes_max} bytes"
            self.result.set_exception(TransportFailed("too_large", words, bytes_sent=True))
        else:
            self.result.set_result(Response(self._head, b"".join(self._parts)))

    def failed(self, error: TransportFailed) -> None:
        if not self.result.done():
            self.result.set_exception(error)
