"""Virtual time: a heap of calls, in integer microseconds.

Two calls for the same microsecond run in the order in which they were asked for, so that a run is
a function of its inputs. It refuses to know what is called, and any other clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final, TypeAlias

Call: TypeAlias = Callable[[], None]


DEAD_MIN: Final = 4096
"""So many cancelled calls may lie about before the heap is swept."""


class Timer:
    """A call that is to come; `cancel` makes nothing of it, also after it ran."""

    __slots__ = ("_call", "_clock")

    def __init__(self, call: Call, clock: Clock) -> None:
        self._call: Call | None = call
        self._clock = clock

    @property
    def is_dead(self) -> bool:
        """Whether nothing will run."""
        return self._call is None

    def cancel(self) -> None:
        """Forget the call; the heap drops it by the time it would have come."""
        if self._call is not None:
            self._call = None
            self._clock.bury()

    def take(self) -> Call | None:
        """The call, once; None where it was cancelled."""
        call, self._call = self._call, None
        return call


class Clock:
    """Runs calls in the order of their time. ``start_us`` is microseconds UTC."""

    __slots__ = ("_dead", "_heap", "_now_us", "_order", "_ran")

    def __init__(self, start_us: int = 0) -> None:
        self._now_us = start_us
        self._heap: list[tuple[int, int, Timer]] = []
        self._order = 0
        self._ran = 0
        self._dead = 0

    @property
    def now_us(self) -> int:
        """The virtual moment."""
        return self._now_us

    @property
    def ran(self) -> int:
        """How many calls have run: the work of a simulation."""
        return self._ran

    def at(self, at_us: int, call: Call) -> Timer:
        """Run ``call`` at ``at_us``. Raises ValueError for a moment that is past."""
        if at_us < self._now_us:
            raise ValueError(f"{at_us} us is past: it is {self._now_us} us")
        self._order += 1
        timer = Timer(call, self)
        heapq.heappush(self._heap, (at_us, self._order, timer))
        return timer

    def after(self, delay_us: int, call: Call) -> Timer:
        """Run ``call`` in ``delay_us``."""
        return self.at(self._now_us + delay_us, call)

    def run_until(self, until_us: int | None = None) -> None:
        """Run all calls due by ``until_us``, which it then is; None: until none is left."""
        heap = self._heap
        while heap and (until_us is None or heap[0][0] <= until_us):
            at_us, _, timer = heapq.heappop(heap)
            call = timer.take()
            if call is None:
                self._dead -= 1
            else:
                self._now_us = at_us
                self._ran += 1
                call()
        if until_us is not None:
            self._now_us = max(self._now_us, until_us)

    def bury(self) -> None:
        """A call was cancelled. Deadlines lie far ahead and most never come: sweep them out."""
        self._dead += 1
        heap = self._heap
        if self._dead > DEAD_MIN and self._dead * 2 > len(heap):
            heap[:] = [one for one in heap if not one[2].is_dead]
            heapq.heapify(heap)
            self._dead = 0
