"""A simulated request that is over leaves nothing for the garbage collector to find."""

from __future__ import annotations

import gc
from collections import Counter

from selvedge.sim import example_release, example_scenario
from selvedge.sim.answering import BatchedAnswering
from selvedge.sim.conversation import Conversation
from selvedge.sim.engines import Answering
from selvedge.sim.forward import Forward, Line
from selvedge.sim.interpreter import Interpreter
from selvedge.sim.relay import LocalRelay

OURS = (Answering, BatchedAnswering, Conversation, Forward, Line, LocalRelay)


def test_a_request_leaves_no_cycle_behind() -> None:
    run = Interpreter(example_release(), example_scenario(300), 3)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        report = run.run()
        gc.collect()
        left = Counter(type(one).__name__ for one in gc.garbage if isinstance(one, OURS))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert len(report.figures.codes) > 1, "some ended badly"
    assert report.figures.forwarded
    assert not left
