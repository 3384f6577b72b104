"""Refusing early: what a refusal says, what is written of it, who is never refused."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from selvedge.pop.gate import RETRY_STEPS_MS
from selvedge.pop.pressure import Pressure, Targets
from selvedge.pop.state import PopState
from tests.support import run
from tests.support.fleets import bearer
from tests.support.pops import Fabric, rig
from tests.support.script import Answer, Gate, Script
from tests.support.wires import chat, post

ANSWER = Script(Answer(("a", "b")))


def press(state: PopState) -> None:
    """Turns so long, with so many requests, that nobody may have more than the least."""
    pressure, now = state.gate.pressure, 0
    while pressure.quota is None:
        now += 50_000
        for tenant in ("asean", "(nobody)"):
            for _ in range(100):
                pressure.admits(tenant, 1, now)
        pressure.turned(now, 10_000_000)
    # Nothing is left of anybody's quota until the next turn.
    for one in pressure._tenants.values():
        one.left, one.turn = -1000.0, pressure._turn


class Watching(Pressure):
    """Keeps what it is told."""

    def __init__(self, turns: list[int]) -> None:
        super().__init__(Targets(1_000_000, 1_000_000))
        self.turns_seen = turns

    def turned(self, now_us: int, took_us: int) -> None:
        self.turns_seen.append(took_us)


def ease(state: PopState) -> None:
    state.gate.pressure._calm()


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
            state.gate.pressure.admits("(nobody)", 10_000, time.monotonic_ns() // 1000)
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


def test_a_tenant_below_its_quota_passes_beside_one_that_is_cut(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=ANSWER) as fabric, fabric.wire("sin") as wire:
            press(fabric.pop("sin").state)
            assert (await wire.ask(bearer("asean"), chat())).status == 503
            assert (await wire.ask(bearer("free"), chat())).status == 200

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
            state.gate._refused_in_second, state.gate._second_us = 10**9, 2**62
            assert (await wire.ask(bearer("asean"), chat())).status == 503
            assert (await wire.ask(bearer("asean"), chat())).status == 503
            (connection,) = fabric.pop("sin").connections
            state.gate._refused_in_second = 10**9
            press(state)
            answer = await wire.ask(bearer("asean"), chat())
            assert answer.status == 503
            assert connection._paused
            ((_, number, inbound),) = state.gate._held
            state.gate._held[0] = (0, number, inbound)
            state.gate._release()
            assert not connection._paused
            ease(state)
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
                assert len(state.gate._tenants) == 1
            state.gate.pressure.watching = True
            await wire.ask("Bearer sk-asean-wrong", chat())
            assert len(state.gate._tenants) == 1

    run(main())


@pytest.mark.interpreted
def test_the_loop_is_timed_while_requests_come(tmp_path: Path) -> None:
    turns: list[int] = []

    async def main() -> None:
        async with rig(tmp_path, sin=ANSWER) as fabric, fabric.wire("sin") as wire:
            gate = fabric.pop("sin").state.gate
            gate.pressure = Watching(turns)
            assert (await wire.ask(bearer("asean"), chat())).status == 200
            while gate._armed:  # noqa: ASYNC110 (a turn is not an event)
                await asyncio.sleep(0)
            assert len(turns) == 1
            assert 0 <= turns[0] < 10_000_000

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
