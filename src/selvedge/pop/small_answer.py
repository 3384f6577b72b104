"""A small answer to a question that no request waits for: bounded in bytes and in time.

One of these stands behind each poll of an engine or a peer. However the other side misbehaves, it
ends once, and with a word for the count.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Literal

from selvedge.adapters import Call, TransportFailed
from selvedge.wire import ResponseHead

Fault = Literal["failed", "slow", "too_large", "refused"]
OnAnswer = Callable[[bytes | None, Fault | None], None]
FAULTS: Final[tuple[Fault, ...]] = ("failed", "slow", "too_large", "refused")


class SmallAnswer:
    """The sink of one answer. ``on_answer`` gets the body, or why there is none, exactly once."""

    def __init__(self, bytes_max: int, timeout_s: float, on_answer: OnAnswer) -> None:
        self._bytes_max = bytes_max
        self._on_answer: OnAnswer | None = on_answer
        self._parts: list[bytes] = []
        self._size = 0
        self._call: Call | None = None
        self._timer = asyncio.get_running_loop().call_later(timeout_s, self._end, None, "slow")

    def begin(self, call: Call) -> None:
        """The question is on its way as ``call``."""
        self._call = call
        if self._on_answer is None:
            call.cancel()

    def stop(self) -> None:
        """Nobody waits for it any more."""
        self._on_answer = None
        self._let_go()

    def head(self, head: ResponseHead) -> None:
        """The other side answers."""
        if head.status != 200:
            self._end(None, "refused")

    def data(self, part: bytes) -> None:
        """A part of the body."""
        self._size += len(part)
        if self._size > self._bytes_max:
            self._end(None, "too_large")
        else:
            self._parts.append(part)

    def end(self) -> None:
        """The answer is complete."""
        self._end(b"".join(self._parts), None)

    def failed(self, error: TransportFailed) -> None:
        """There will be no answer."""
        self._end(None, "failed")

    def _end(self, body: bytes | None, fault: Fault | None) -> None:
        on_answer, self._on_answer = self._on_answer, None
        self._let_go()
        if on_answer is not None:
            on_answer(body, fault)

    def _let_go(self) -> None:
        self._timer.cancel()
        self._parts = []
        if self._call is not None:
            self._call.cancel()
            self._call = None
