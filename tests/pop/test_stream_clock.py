"""Pings, silent engines and endless streams: one sweep, its time given by the test."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from selvedge.fabric import Outcome, Refused
from selvedge.pop.state import now_us
from selvedge.pop.stream_clock import StreamClock, StreamLimits, Watched
from tests.support import run
from tests.support.fleets import bearer
from tests.support.pops import Fabric, rig
from tests.support.script import Answer, Cut, Gate, Hang, Script, Status
from tests.support.wires import chat, error_of, post

SECOND_US = 1_000_000
LIMITS = StreamLimits(15 * SECOND_US, 120 * SECOND_US, 3600 * SECOND_US)
PING = b": ping\n\n"


class Relay:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.heard = self.wrote = False
        self.expects_life = True
        self.told: list[str] = []

    def ping(self) -> None:
        self.told.append("ping")

    def silent(self, silent_ms: int) -> None:
        self.told.append(f"silent {silent_ms}")

    def refuse(self, refused: Refused) -> None:
        self.told.append(refused.code)


def test_a_quiet_stream_is_pinged_each_time_it_was_quiet_so_long() -> None:
    clock, relay = StreamClock(LIMITS), Relay()
    assert clock.watch(relay, 0)
    for second in range(1, 61):
        relay.heard = True
        relay.wrote = second == 20
        clock.sweep(second * SECOND_US)
    assert relay.told == ["ping", "ping", "ping"]  # at 15, 35 and 50


def test_never_where_the_setting_is_0() -> None:
    clock, relay = StreamClock(StreamLimits(0, 10**12, 10**12)), Relay()
    clock.watch(relay, 0)
    clock.sweep(10**11)
    assert relay.told == []


def test_a_silent_engine_is_given_up_and_a_talking_one_is_not() -> None:
    clock, silent, talking, held = StreamClock(LIMITS), Relay(), Relay(), Relay()
    held.expects_life = False
    for relay in (silent, talking, held):
        clock.watch(relay, 0)
    for second in range(0, 122, 2):
        talking.heard = True
        clock.sweep(second * SECOND_US)
    clock.sweep(121 * SECOND_US)
    assert "silent 120000" in silent.told
    assert not any(one.startswith("silent") for one in talking.told + held.told)


def test_an_endless_stream_ends() -> None:
    clock, relay = StreamClock(LIMITS), Relay()
    clock.watch(relay, 0)
    relay.heard = True
    clock.sweep(3601 * SECOND_US)
    assert relay.told == ["deadline_exceeded"]


def test_forgotten_ones_are_left_alone_and_after_the_end_none_begins() -> None:
    clock, over, running, late = StreamClock(LIMITS), Relay(), Relay(), Relay()
    clock.watch(over, 0)
    clock.watch(running, 0)
    clock.forget(over)
    clock.forget(over)
    clock.end_all(Refused("shutting_down", "It stops."))
    assert len(clock) == 1
    assert not clock.watch(late, 0)
    assert (over.told, running.told, late.told) == ([], ["shutting_down"], ["shutting_down"])


# On real sockets.


def later(fabric: Fabric, pop: str, seconds: float) -> None:
    """What the sweep does so much later."""
    fabric.pop(pop).state.streams.sweep(now_us() + int(seconds * SECOND_US))


def stream() -> bytes:
    return post(bearer("asean"), chat(stream=True))


def test_pings_before_and_between_tokens(tmp_path: Path) -> None:
    gate = Gate()

    async def main() -> None:
        script = Script(Answer(("a", "b"), gate=gate))
        async with rig(tmp_path, sin=script) as fabric, fabric.wire("sin") as wire:
            engine = fabric.engines["sin"]
            wire.send(stream())
            await engine.until(lambda: engine.requests)
            later(fabric, "sin", 16)
            status, headers = await wire.head()
            assert status == 200
            assert headers["content-type"].startswith("text/event-stream")
            assert "selvedge-receipt" in headers
            assert "selvedge-served-by" not in headers
            assert await wire.part() == PING
            gate.let()
            assert b'"a"' in await wire.part()
            later(fabric, "sin", 16)  # sees that something was written
            later(fabric, "sin", 32)
            assert await wire.part() == PING
            gate.open()
            rest, whole = await wire.rest()
            assert whole
            assert rest.endswith(b"data: [DONE]\n\n")
            (receipt,) = await fabric.pop("sin").until_receipts()
            assert (receipt.outcome, receipt.status) == (Outcome.COMPLETE, 200)
            assert receipt.served_engine == "gpu"

    run(main())


def test_after_a_ping_the_next_attempt_is_still_unseen(tmp_path: Path) -> None:
    async def main() -> None:
        script, other = Script(Hang()), Script(Answer(("x",)))
        body = post(bearer("free"), chat(stream=True))
        async with rig(tmp_path, sin=script, fra=other) as fabric, fabric.wire("sin") as wire:
            engine = fabric.engines["sin"]
            wire.send(body)
            await engine.until(lambda: engine.requests)
            later(fabric, "sin", 16)
            assert (await wire.head())[0] == 200
            assert await wire.part() == PING
            later(fabric, "sin", 121)
            rest, whole = await wire.rest()
            assert whole
            assert b'"x"' in rest
            assert b"error" not in rest
            (receipt,) = await fabric.pop("sin").until_receipts()
            assert (receipt.outcome, receipt.status) == (Outcome.COMPLETE, 200)
            assert [one.outcome for one in receipt.attempts] == ["failed", "relayed"]
            assert receipt.served_pop == "fra"

    run(main())


@pytest.mark.parametrize("reply", [Status(500), Hang()])
def test_after_a_ping_a_failure_is_told_in_band(tmp_path: Path, reply: Status | Hang) -> None:
    gate = Gate()

    async def main() -> None:
        first = Hang() if isinstance(reply, Hang) else Answer((), gate=gate, cut=Cut("error"))
        async with rig(tmp_path, sin=Script(first)) as fabric, fabric.wire("sin") as wire:
            engine = fabric.engines["sin"]
            wire.send(stream())
            await engine.until(lambda: engine.requests)
            later(fabric, "sin", 16)
            assert (await wire.head())[0] == 200
            assert await wire.part() == PING
            gate.open()
            if isinstance(reply, Hang):
                later(fabric, "sin", 121)
            rest, whole = await wire.rest()
            assert whole
            assert error_of(rest.removeprefix(b"data: ").strip())["code"] == "no_engine_available"
            (receipt,) = await fabric.pop("sin").until_receipts()
            assert (receipt.outcome, receipt.status) == (Outcome.FAILED, 200)

    run(main())


def test_a_silent_engine_is_cancelled(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=Script(Hang())) as fabric, fabric.wire("sin") as wire:
            engine = fabric.engines["sin"]
            wire.send(stream())
            await engine.until(lambda: engine.requests)
            later(fabric, "sin", 119)
            fabric.pop("sin").state.streams._limits = StreamLimits(0, 120 * SECOND_US, 10**12)
            later(fabric, "sin", 121)
            assert (await wire.head())[0] == 200  # it was pinged at 119
            await engine.until(lambda: engine.aborts)
            (receipt,) = await fabric.pop("sin").until_receipts()
            assert "engine_idle_ms_max" not in receipt.attempts[0].reason
            assert receipt.attempts[0].reason == "engine_failed"

    run(main())


def test_progress_of_a_long_prompt_is_life(tmp_path: Path) -> None:
    gate = Gate()

    async def main() -> None:
        script = Script(Answer(("a",), llama=True, gate=gate))
        async with (
            rig(tmp_path, sin=script, profile="llama.cpp") as fabric,
            fabric.wire("sin") as wire,
        ):
            wire.send(stream())
            (relay,) = await _watched(fabric)
            while not relay.heard:  # noqa: ASYNC110 (a flag is not an event)
                await asyncio.sleep(0)
            later(fabric, "sin", 100)
            relay.heard = True
            later(fabric, "sin", 200)
            gate.open()
            assert (await wire.answer()).status == 200

    run(main())


def test_an_answer_that_is_not_streamed_may_take_its_time(tmp_path: Path) -> None:
    gate = Gate()

    async def main() -> None:
        script = Script(Answer(("a",), gate=gate))
        async with rig(tmp_path, sin=script) as fabric, fabric.wire("sin") as wire:
            wire.send(post(bearer("asean"), chat()))
            await _watched(fabric)
            later(fabric, "sin", 600)
            gate.open()
            answer = await wire.answer()
            assert answer.status == 200
            assert answer.headers["content-type"] == "application/json"

    run(main())


def test_a_stream_that_lasts_too_long_ends_in_band(tmp_path: Path) -> None:
    gate = Gate(1)

    async def main() -> None:
        settings = {"sin": {"stream_ms_max": 60_000}}
        script = Script(Answer(("a", "b"), gate=gate))
        async with (
            rig(tmp_path, sin=script, settings=settings) as fabric,
            fabric.wire("sin") as wire,
        ):
            wire.send(stream())
            assert (await wire.head())[0] == 200
            assert b'"a"' in await wire.part()
            later(fabric, "sin", 61)
            rest, _ = await wire.rest()
            assert b"deadline_exceeded" in rest
            assert b"stream_ms_max" in rest
            assert b"[DONE]" not in rest

    run(main())


async def _watched(fabric: Fabric) -> list[Watched]:
    streams = fabric.pop("sin").state.streams
    while not len(streams):  # noqa: ASYNC110 (a relay is not an event)
        await asyncio.sleep(0)
    return list(streams._running)
