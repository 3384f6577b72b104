"""What routing learns from live answers, and what a client may ask of it."""

from __future__ import annotations

from pathlib import Path

from selvedge.pop.clock import now_us
from tests.support import run
from tests.support.fleets import bearer
from tests.support.pops import rig
from tests.support.script import Answer, Script, Status
from tests.support.wires import chat, post


def test_an_engine_that_says_when_is_left_alone_for_so_long(tmp_path: Path) -> None:
    async def main() -> None:
        busy = Status(429, headers=(("retry-after", "30"),))
        async with (
            rig(tmp_path, sin=Script(busy, Answer(("a",)))) as fabric,
            fabric.wire("sin") as wire,
        ):
            load = fabric.pop("sin").state.load
            begun_us = now_us()
            assert (await wire.ask(bearer("asean"), chat())).status == 503
            (cooling,) = load.view.cooling
            load.warm(begun_us + 29_900_000)
            assert load.view.cooling == {cooling}, "longer than cooling_ms"
            load.warm(now_us() + 30_000_000)
            assert not load.view.cooling
            assert (await wire.ask(bearer("asean"), chat())).status == 200
            load.enter(cooling, 1, now_us())
            assert not load.view.cooling, "its success has closed the circuit"
            load.leave(cooling, 1)

    run(main())


def test_a_client_that_does_not_wait_is_refused_where_all_are_busy(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=Script(Answer(("a",)))) as fabric:
            load = fabric.pop("sin").state.load
            load.enter("sin/gpu", 10**6)
            for prefer, status in (("wait=0", 503), ("wait=99999", 200), ("respond-async", 200)):
                async with fabric.wire("sin") as wire:
                    more = f"prefer: {prefer}\r\n"
                    wire.send(post(bearer("asean"), chat(), more=more))
                    answer = await wire.answer()
                    assert answer.status == status, prefer
                    if status == 503:
                        assert answer.json["error"]["code"] == "no_engine_available"
                        assert "Prefer: wait" in answer.json["error"]["message"]
                        assert int(answer.headers["retry-after-ms"]) == 60_000
            load.leave("sin/gpu", 10**6)
            async with fabric.wire("sin") as wire:
                wire.send(post(bearer("asean"), chat(), more="prefer: wait=0\r\n"))
                assert (await wire.answer()).status == 200

    run(main())


def test_bytes_a_token_are_learned_from_usage(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            rig(tmp_path, sin=Script(Answer(("a",)))) as fabric,
            fabric.wire("sin") as wire,
        ):
            assert (await wire.ask(bearer("asean"), chat("x" * 3_000))).status == 200
            await fabric.pop("sin").until_receipts()
            ratios = fabric.pop("sin").state.load.view.bytes_per_token
            assert ratios is not None
            assert ratios["chat"] != 4.0

    run(main())
