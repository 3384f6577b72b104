"""A request that is over leaves nothing for the garbage collector to find."""

from __future__ import annotations

import gc
from collections import Counter
from pathlib import Path

from selvedge.adapters import Call
from selvedge.pop.downstream import Downstream
from selvedge.pop.http_server import Inbound
from selvedge.pop.interpreter import Interpreter
from selvedge.pop.relay import Relaying
from tests.support import run
from tests.support.fleets import bearer
from tests.support.pops import rig
from tests.support.script import Answer, Script
from tests.support.wires import chat

OURS = (Call, Downstream, Inbound, Interpreter, Relaying)
REQUESTS = 5


def test_a_request_leaves_no_cycle_behind(tmp_path: Path) -> None:
    async def main() -> None:
        script = Script(Answer(("a", "b")))
        async with rig(tmp_path, sin=script) as fabric, fabric.wire("sin") as wire:
            for stream in (False, True):
                await wire.ask(bearer("asean"), chat(stream=stream))
            fabric.pop("sin").seen.clear()
            gc.collect()
            gc.disable()
            gc.set_debug(gc.DEBUG_SAVEALL)
            try:
                for number in range(2 * REQUESTS):
                    await wire.ask(bearer("asean"), chat(stream=number % 2 == 0))
                fabric.pop("sin").seen.clear()
                gc.collect()
                left = Counter(type(one).__name__ for one in gc.garbage if isinstance(one, OURS))
            finally:
                gc.set_debug(0)
                gc.garbage.clear()
                gc.enable()
            assert not left

    run(main())
