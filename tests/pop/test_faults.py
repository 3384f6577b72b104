"""What breaks inside a request: it is told once, settled once, and nobody waits for ever."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from selvedge.fabric import Outcome, PoP, Release
from tests.support import run
from tests.support.fleets import bearer
from tests.support.pops import RunningPop, rig
from tests.support.wires import chat


def keyed(_: object, release: Release) -> Release:
    """Every engine wants a key from the environment."""

    def with_key(pop: PoP) -> PoP:
        engines = tuple(msgspec.structs.replace(one, api_key_env="KEY") for one in pop.engines)
        return msgspec.structs.replace(pop, engines=engines)

    return msgspec.structs.replace(release, pops=tuple(map(with_key, release.pops)))


def held(pop: RunningPop) -> tuple[int, ...]:
    """What a request that is over must have given back."""
    state = pop.state
    return (
        state.gate.running,
        state.metrics.running.value,
        len(state.streams),
        state.load.requests("sin/sin-chat"),
        state.bodies.held,
        state.book.open_intents,
        len(state.deadlines.far),
    )


def test_a_fault_before_the_engine_is_asked_is_a_failed_attempt(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, amend=keyed) as fabric, fabric.wire("sin") as wire:
            pop = fabric.pop("sin")
            pop.state.engine_keys = {"KEY": "sk-abc\n"}  # no header may hold it
            answer = await wire.ask(bearer("asean"), chat(stream=True))
            assert answer.status == 503
            assert answer.error["code"] == "no_engine_available"
            assert set(held(pop)) == {0}
            (receipt,) = pop.receipts()
            assert (receipt.outcome, receipt.code) == (Outcome.FAILED, "no_engine_available")
            assert pop.faults
            pop.faults.clear()
            pop.state.engine_keys = {}
            assert (await wire.get("/healthz")).status == 200

    run(main())


@pytest.mark.interpreted
def test_a_fault_of_the_books_is_a_500_and_leaves_nothing_behind(tmp_path: Path) -> None:
    def breaks(*_: object) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire("sin") as wire:
            pop = fabric.pop("sin")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(type(pop.state.shares), "give_back", breaks)
                answer = await wire.ask(bearer("asean"), chat())
            assert answer.status == 500
            assert pop.state.gate.running == pop.state.metrics.running.value == 0
            assert pop.faults
            pop.faults.clear()
            assert (await wire.ask(bearer("asean"), chat())).status == 200

    run(main())
