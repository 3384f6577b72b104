"""What `run` forgives: nothing."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.loop import run


def test_a_task_left_running_fails() -> None:
    async def main() -> None:
        kept.append(asyncio.create_task(asyncio.Event().wait()))

    kept: list[asyncio.Task[bool]] = []  # a task nobody holds may be collected
    with pytest.raises(AssertionError, match="tasks left running"):
        run(main())


def test_a_failing_callback_fails() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(0)

    with pytest.raises(AssertionError, match="nobody was waiting"):
        run(main())


def test_hanging_fails() -> None:
    with pytest.raises(TimeoutError):
        run(asyncio.Event().wait(), timeout_s=0.01)
