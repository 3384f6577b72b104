"""Deadlines: the near ones by a timer, the far ones by looking, none twice."""

from __future__ import annotations

import asyncio

from selvedge.pop.deadlines import Deadlines
from tests.support import run


class Clock:
    """The day's time as a number."""

    def __init__(self) -> None:
        self.us = 1_000_000_000

    def __call__(self) -> int:
        return self.us


def test_a_deadline_that_is_past_acts_in_the_next_turn_and_a_cancelled_one_never() -> None:
    async def main() -> None:
        clock, acted = Clock(), asyncio.Event()
        deadlines = Deadlines(clock)
        deadlines.add(clock.us, lambda: acted.clear()).cancel()
        deadlines.add(clock.us - 5, acted.set)
        async with asyncio.timeout(5):
            await acted.wait()
        assert not deadlines.far

    run(main())


def test_a_far_deadline_gets_its_timer_when_it_is_near() -> None:
    async def main() -> None:
        clock, acted = Clock(), asyncio.Event()
        deadlines = Deadlines(clock)
        cancelled = deadlines.add(clock.us + 60_000_000, acted.clear)
        deadlines.add(clock.us + 60_000_000, acted.set)
        assert len(deadlines.far) == 2
        cancelled.cancel()
        deadlines._look()
        assert len(deadlines.far) == 1
        clock.us += 60_000_000
        deadlines._look()
        assert not deadlines.far
        async with asyncio.timeout(5):
            await acted.wait()

    run(main())
