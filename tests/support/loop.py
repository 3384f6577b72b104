"""Runs one coroutine the way the product runs: on uvloop, and nothing may be left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], timeout_s: float | None = 30) -> T:
    """The coroutine's result, from a fresh uvloop that is closed afterwards.

    Raises:
        TimeoutError: it took longer than `timeout_s`.
        AssertionError: it left tasks running, or something failed where nobody was waiting.
    """
    failures: list[dict[str, Any]] = []  # Any: asyncio's own type for a handler's context

    async def checked() -> T:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: failures.append(context))
        async with asyncio.timeout(timeout_s):
            result = await main
        for _ in range(5):  # what has been cancelled needs a turn to end
            await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left running: {left}"
        return result

    try:
        with asyncio.Runner(debug=False, loop_factory=uvloop.new_event_loop) as runner:
            result = runner.run(checked())
    finally:
        assert not failures, f"failed where nobody was waiting: {failures}"
    return result
