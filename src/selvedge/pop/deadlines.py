"""Deadlines of requests, most of which are far away and never come.

A timer a request is set and cancelled for nothing: the default deadline is minutes. Far deadlines
lie in a set that is looked through once a second; the near ones get a timer of their own, so that
each is kept to the millisecond. Refuses to know what a deadline ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

NEAR_S: Final = 2.5
LOOK_S: Final = 1.0


class Deadline:
    """One deadline; `cancel` when it no longer matters."""

    __slots__ = ("_act", "_book", "_timer", "at_us")

    def __init__(self, book: Deadlines, at_us: int, act: Callable[[], None]) -> None:
        self._book = book
        self._act = act
        self._timer: asyncio.TimerHandle | None = None
        self.at_us = at_us

    def cancel(self) -> None:
        """It no longer matters."""
        self._book.far.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def arm(self, remaining_s: float) -> None:
        """It is near: give it a timer."""
        self._timer = asyncio.get_running_loop().call_later(max(0.0, remaining_s), self._act)


class Deadlines:
    """The deadlines of one event loop. ``clock`` gives integer microseconds UTC."""

    def __init__(self, clock: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        self._clock = clock
        self._looking = False
        self.far: set[Deadline] = set()

    def add(self, at_us: int, act: Callable[[], None]) -> Deadline:
        """Call ``act`` at this time, unless cancelled before."""
        deadline = Deadline(self, at_us, act)
        remaining_s = (at_us - self._clock()) / 1e6
        if remaining_s < NEAR_S:
            deadline.arm(remaining_s)
            return deadline
        self.far.add(deadline)
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_later(LOOK_S, self._look)
        return deadline

    def _look(self) -> None:
        now_us = self._clock()
        for deadline in [one for one in self.far if (one.at_us - now_us) / 1e6 < NEAR_S]:
            self.far.discard(deadline)
            deadline.arm((deadline.at_us - now_us) / 1e6)
        self._looking = bool(self.far)
        if self._looking:
            asyncio.get_running_loop().call_later(LOOK_S, self._look)
