"""Refusing early: what a refusal says, what is written of it, who is never refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from selvedge.pop.clock import now_us
from selvedge.pop.gate import CALM_MAX, REFUSED_FEW, RETRY_STEPS_MS
from selvedge.pop.state import PopState
from tests.support import run
from tests.support.fleets import bearer
from tests.support.pops import Fabric, rig
from tests.support.script import Answer, Gate, Script
from tests.support.wires import chat, post

ANSWER = Script(Answer(("a", "b")))


def press(state: PopState, limit: int = 0) -> None:
    """A turn that is too long already, and that does not end; so many may stand in line."""
    gate = state.gate
    gate._following = True
    gate.line.limit = limit
    gate.line._pass_until_us = gate.line._late = 0


def ease(state: PopState) -> None:
    state.gate.line._limit()
    state.gate._turn()


async def until(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not happened():  # noqa: ASYNC110 (a turn is not an event)
            await asyncio.sleep(0)


def shed_so_far(fabric: Fabric, pop: str, reason: str) -> float:
    line = f'selvedge_requests_shed_total{{reason="{reason}"}} '.encode()
    shown = fabric.pop(pop).state.metrics.render().splitlines()
    return sum(float(one.split()[1]) for one in shown if one.startswith(line))


def test_a_refusal_under_pressure(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=ANSWER) as fabric, fabric.wire("sin") as wire:
            state = fabric.pop("sin").state
            press(state)
            refused = [await wire.ask(bearer("asean"), chat()) for _ in range(3)]
            for answer in refused:
                assert answer.status == 503
                assert answer.error["code"] == "overloaded"
                assert answer.headers["x-should-retry"] == "true"
                assert int(answer.headers["retry-after-ms"]) in RETRY_STEPS_MS
                assert answer.headers["x-request-id"].startswith("req_")
                assert "selvedge-receipt" not in answer.headers
            assert len({one.headers["x-request-id"] for one in refused}) == 3
            assert len({one.headers["retry-after-ms"] for one in refused}) == 3
            for path in ("/healthz", "/readyz", "/metrics", "/health"):
                assert (await wire.get(path)).status == 200
            # Whoever has no key that holds is one of many in a bucket of their own.
            unknown = await wire.ask("Bearer sk-asean-wrong", chat())
            assert unknown.status == 503
            ease(state)
            assert (await wire.ask(bearer("asean"), chat())).status == 200
            assert (await wire.ask("Bearer sk-asean-wrong", chat())).status == 401
            assert fabric.pop("sin").accepted == 1  # one connection for all of it
            assert len(fabric.pop("sin").receipts()) == 1
            tallied = fabric.pop("sin").tallied()
            assert tallied["overloaded/asean"] == 3
            assert tallied["overloaded"] == 1
            assert shed_so_far(fabric, "sin", "loop") == 4

    run(main())


def test_a_tenant_of_whom_none_waits_passes_beside_one_that_floods(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            rig(tmp_path, sin=ANSWER) as fabric,
            fabric.wire("sin") as one,
            fabric.wire("sin") as other,
        ):
            gate = fabric.pop("sin").state.gate
            press(fabric.pop("sin").state, limit=1)
            one.send(post(bearer("asean"), chat()))
            await until(lambda: gate.line.waiting == 1)
            gate.line.limit = 0
            assert (await other.ask(bearer("asean"), chat())).status == 503
            gate.line._late = 1
            assert (await other.ask(bearer("free"), chat())).status == 200
            ease(fabric.pop("sin").state)
            assert (await one.answer()).status == 200
            assert not gate._following

    run(main())


def test_who_waits_begins_when_its_turn_has_come_unless_it_is_gone(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=ANSWER) as fabric, fabric.wire("sin") as wire:
            state, server = fabric.pop("sin").state, fabric.pop("sin")
            press(state, limit=10)
            wire.send(post(bearer("asean"), chat()))
            await until(lambda: state.gate.line.waiting == 1)
            async with fabric.wire("sin") as leaving:
                leaving.send(post(bearer("free"), chat()))
                await until(lambda: state.gate.line.waiting == 2)
            await until(lambda: len(server.connections) == 1)
            ease(state)
            assert (await wire.answer()).status == 200
            assert len(server.receipts()) == 1
            assert state.gate.running == 0

    run(main())


def test_who_waited_is_refused_where_too_many_run_by_then(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=ANSWER) as fabric, fabric.wire("sin") as wire:
            state = fabric.pop("sin").state
            press(state, limit=10)
            wire.send(post(bearer("asean"), chat()))
            await until(lambda: state.gate.line.waiting == 1)
            state.gate._running_max = 0
            ease(state)
            assert (await wire.answer()).status == 503
            press(state, limit=10)
            state.gate.line._late = 1
            assert (await wire.ask(bearer("asean"), chat())).status == 503
            assert shed_so_far(fabric, "sin", "running") == 2

    run(main())


def test_a_fault_of_who_waited_is_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=ANSWER) as fabric, fabric.wire("sin") as wire:
            state = fabric.pop("sin").state
            press(state, limit=10)
            for _ in range(2):
                wire.send(post(bearer("asean"), chat()))
            await until(lambda: state.gate.line.waiting == 1)
            (queue,) = state.gate.line._round

            def breaks(*_: object) -> None:
                raise RuntimeError("a fault of this test")

            queue.ones[0][1].begin = breaks
            ease(state)
            assert (await wire.answer()).status == 500
            assert (await wire.answer()).status == 200
            assert [str(one) for one in fabric.pop("sin").faults] == ["a fault of this test"]
            fabric.pop("sin").faults.clear()

    run(main())


def test_a_body_that_is_still_coming_is_not_waited_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=ANSWER) as fabric, fabric.wire("sin") as wire:
            press(fabric.pop("sin").state)
            wire.send(post(bearer("asean"), b"{", length=1_000_000))
            answer = await wire.answer()
            assert (answer.status, answer.headers["connection"]) == (503, "close")
            assert fabric.pop("sin").state.bodies.held == 0

    run(main())


def test_requests_beyond_the_limit_are_refused_before_their_body(tmp_path: Path) -> None:
    gate = Gate()

    async def main() -> None:
        script = Script(Answer(("a",), gate=gate))
        settings = {"sin": {"requests_running_max": 1}}
        async with (
            rig(tmp_path, sin=script, settings=settings) as fabric,
            fabric.wire("sin") as one,
            fabric.wire("sin") as other,
        ):
            one.send(post(bearer("asean"), chat()))
            engine = fabric.engines["sin"]
            await engine.until(lambda: len(engine.requests) == 1)
            assert (await other.ask(bearer("asean"), chat())).status == 503
            assert shed_so_far(fabric, "sin", "running") == 1
            gate.open()
            assert (await one.answer()).status == 200
            assert (await other.ask(bearer("asean"), chat())).status == 200

    run(main())


def test_a_flood_of_refusals_is_read_no_faster_than_it_was_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=ANSWER) as fabric, fabric.wire("sin") as wire:
            state = fabric.pop("sin").state
            press(state)
            assert (await wire.ask(bearer("asean"), chat())).status == 503
            (connection,) = fabric.pop("sin").connections
            assert not connection._paused
            state.gate._refused_in_second = 10**9
            assert (await wire.ask(bearer("asean"), chat())).status == 503
            assert not connection._paused, "few of this key were refused"
            (asker,) = state.gate._askers.values()
            asker.refused = REFUSED_FEW
            assert (await wire.ask(bearer("asean"), chat())).status == 503
            assert connection._paused
            ((_, number, inbound),) = state.gate._held
            state.gate._held[0] = (0, number, inbound)
            state.gate._release()
            assert not connection._paused
            asker.refused = REFUSED_FEW
            assert (await wire.ask(bearer("asean"), chat())).status == 503
            assert connection._paused
            ease(state)
            state.gate._release()
            assert not connection._paused, "nobody stands in line: who is held is next"
            assert (await wire.ask(bearer("asean"), chat())).status == 200

    run(main())


@pytest.mark.interpreted
def test_keys_that_are_remembered_have_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selvedge.pop.gate.KEYS_MAX", 1)

    async def main() -> None:
        async with rig(tmp_path, sin=ANSWER) as fabric, fabric.wire("sin") as wire:
            state = fabric.pop("sin").state
            press(state)
            for key in ("asean", "free", "asean"):
                await wire.ask(bearer(key), chat())
                assert len(state.gate._askers) == 1
            await wire.ask("Bearer sk-asean-wrong", chat())
            assert len(state.gate._askers) == 1

    run(main())


def test_turns_are_followed_where_requests_come_fast_and_then_no_more(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=ANSWER) as fabric, fabric.wire("sin") as wire:
            gate = fabric.pop("sin").state.gate
            assert (await wire.ask(bearer("asean"), chat())).status == 200
            assert gate._in_calm == 1
            gate._calm_us, gate._in_calm = 2**60, CALM_MAX  # a clock that was set back
            assert (await wire.ask(bearer("asean"), chat())).status == 200
            assert gate._in_calm == 1
            turned = gate.line._turned_us
            gate._calm_us, gate._in_calm = now_us(), CALM_MAX
            while gate.line._turned_us == turned:
                gate._calm_us = now_us()
                assert (await wire.ask(bearer("asean"), chat())).status == 200
            await until(lambda: not gate._following)
            assert gate._in_calm <= 1

    run(main())


def test_one_tenant_leaves_slots_of_an_engine_to_another(tmp_path: Path) -> None:
    gate = Gate()

    async def main() -> None:
        script = Script(Answer(("a",), gate=gate))
        async with rig(tmp_path, sin=script) as fabric:
            engine = fabric.engines["sin"]
            shares = fabric.pop("sin").state.shares
            async with fabric.wire("sin") as other:
                other.send(post(bearer("free"), chat()))
                await engine.until(lambda: len(engine.requests) == 1)
                wires = [await _connected(fabric.pop("sin").port) for _ in range(60)]
                for writer in wires:
                    writer.write(post(bearer("asean"), chat()))
                await engine.until(lambda: len(engine.requests) == 52)
                assert shares.held("sin/gpu", "asean") == 51
                assert not fabric.pop("sin").state.load.view.cooling
                gate.open()
                assert (await other.answer()).status == 200
                for writer in wires:
                    writer.transport.abort()
                receipts = await fabric.pop("sin").until_receipts(61)
            assert sum(one.tenant == "asean" for one in receipts) == 60
        assert not shares._held

    run(main())


async def _connected(port: int) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    return writer
