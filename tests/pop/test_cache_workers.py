"""The cache of a PoP of several workers: one process beside them, kept up by the keeper."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

from selvedge.ledger import row_of
from tests.support import Answer, Script, run
from tests.support.wires import chat
from tests.support.workers import Pop, running_pop

pytestmark = pytest.mark.fabric


def cache_pids(pop: Pop) -> list[int]:
    """The cache's process, among the keeper's children."""
    found = []
    for pid in pop.children():
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if words[-3:-1] == [b"cache", b"run"]:
                found.append(pid)
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_all_workers_find_what_one_had_kept(workers: int, tmp_path: Path) -> None:
    """Killed, the process is started again, and what it had kept is there."""

    async def main() -> None:
        script, rule = Script(Answer(("a", "b"))), {"cache": {}}
        async with running_pop(tmp_path, script, workers=workers, rule=rule) as pop:

            async def kept() -> bool:
                """Kept, once its process is up: answers until then are not."""
                async with contextlib.AsyncExitStack() as stack:
                    if workers == 1:
                        wire = await stack.enter_async_context(pop.wire())
                        return "age" in (await wire.ask(pop.bearer, pop.body)).headers
                    found = await pop.wires(stack, 1)
                    wires = [wires[0] for wires in found.values()]
                    told = [await wire.ask(pop.bearer, pop.body) for wire in wires]
                    return all("age" in one.headers for one in told)

            await pop.until(kept)
            (pid,) = cache_pids(pop)
            os.kill(pid, signal.SIGKILL)

            async def again() -> bool:
                return bool(cache_pids(pop)) and cache_pids(pop) != [pid]

            async with pop.wire() as wire:
                assert "age" in (await wire.ask(pop.bearer, pop.body)).headers
                assert (await wire.ask(pop.bearer, chat("new"))).status == 200
                await pop.until(again)
                assert "age" in (await wire.ask(pop.bearer, pop.body)).headers
            counted = await pop.metrics()
            hits = sum(row_of(one) == "cache_hit" for one in pop.receipts())
            assert counted['selvedge_cache_answers_total{how="exact"}'] == hits > 0
            (now,) = cache_pids(pop)
        assert not os.path.exists(f"/proc/{now}")  # noqa: ASYNC240 (no disk)

    run(main())
