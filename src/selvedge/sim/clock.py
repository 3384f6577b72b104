"""Virtual time: a heap of calls, in integer microseconds.

Two calls for the same microsecond run in the order in which they were asked for, so that a run is
a function of its inputs. Calls that are far off (most are deadlines, and most of these never come)
lie unsorted by the second in which they are due, so that the heap stays small. It refuses to know
what is called, and any other clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final, TypeAlias

Call: TypeAlias = Callable[[], None]


DEAD_MIN: Final = 4096
"""So many cancelled calls may lie about before they are swept out."""
_FAR_BITS: Final = 20
"""Calls lie together that are due in the same 2**20 us, about a second."""


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


Entry: TypeAlias = tuple[int, int, Timer]


class Clock:
    """Runs calls in the order of their time. ``start_us`` is microseconds UTC."""

    __slots__ = (
        "_count",
        "_dead",
        "_dues",
        "_far",
        "_heap",
        "_near_us",
        "_now_us",
        "_order",
        "_ran",
    )

    def __init__(self, start_us: int = 0) -> None:
        self._now_us = start_us
        # All in the heap come before this moment, all that are far do not.
        self._near_us = ((start_us >> _FAR_BITS) + 1) << _FAR_BITS
        self._heap: list[Entry] = []
        self._far: dict[int, list[Entry]] = {}
        self._dues: list[int] = []
        self._order = 0
        self._ran = 0
        self._count = 0
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
        self._count += 1
        timer = Timer(call, self)
        entry = at_us, self._order, timer
        if at_us < self._near_us:
            heapq.heappush(self._heap, entry)
        else:
            due = at_us >> _FAR_BITS
            together = self._far.get(due)
            if together is None:
                self._far[due] = [entry]
                heapq.heappush(self._dues, due)
            else:
                together.append(entry)
        return timer

    def after(self, delay_us: int, call: Call) -> Timer:
        """Run ``call`` in ``delay_us``."""
        return self.at(self._now_us + delay_us, call)

    def run_until(self, until_us: int | None = None) -> None:
        """Run all calls due by ``until_us``, which it then is; None: until none is left."""
        heap = self._heap
        while heap or self._approach(until_us):
            if until_us is not None and heap[0][0] > until_us:
                break
            at_us, _, timer = heapq.heappop(heap)
            self._count -= 1
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
        if self._dead > DEAD_MIN and self._dead * 2 > self._count:
            heap = self._heap
            heap[:] = [one for one in heap if not one[2].is_dead]
            heapq.heapify(heap)
            for due, together in self._far.items():
                self._far[due] = [one for one in together if not one[2].is_dead]
            self._count -= self._dead
            self._dead = 0

    def _approach(self, until_us: int | None) -> bool:
        """The heap is empty: the far calls that are due next become near ones, if there are any."""
        dues = self._dues
        while dues:
            due = dues[0]
            if until_us is not None and due << _FAR_BITS > until_us:
                return False
            heapq.heappop(dues)
            together = self._far.pop(due)
            self._near_us = (due + 1) << _FAR_BITS
            found = [one for one in together if not one[2].is_dead]
            gone = len(together) - len(found)
            self._dead -= gone
            self._count -= gone
            self._heap += found
            heapq.heapify(self._heap)
            if found:
                return True
        return False
