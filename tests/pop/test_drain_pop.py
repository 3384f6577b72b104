"""The orderly end: notice, no new connections, finish, and end the rest in-band."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec
import pytest

from bench.kill_loop import _fleet
from bench.line import until_ready
from selvedge.adapters import ChildProcess, operator_public_key, read_segments
from selvedge.control import Home, free_port
from selvedge.fabric import Outcome
from selvedge.ledger import receipts_of
from selvedge.pop.drain import drain
from tests.support import run
from tests.support.fleets import bearer
from tests.support.pops import Fabric, rig
from tests.support.script import Answer, Gate, Script
from tests.support.scripted_engine import ScriptedEngine
from tests.support.wires import Wire, chat, error_of, post

READY_S_MAX = 30.0


async def begun(wire: Wire) -> None:
    """A stream whose first token is here."""
    wire.send(post(bearer("asean"), chat(stream=True)))
    assert (await wire.head())[0] == 200
    assert b'"a"' in await wire.part()


async def stop(fabric: Fabric, **changes: int) -> None:
    pop = fabric.pop("sin")
    await drain([pop.server], pop.state, msgspec.structs.replace(pop.state.settings, **changes))


def test_what_runs_may_finish_and_nobody_new_comes(tmp_path: Path) -> None:
    gate = Gate(1)

    async def main() -> None:
        script = Script(Answer(("a", "b"), gate=gate))
        async with rig(tmp_path, sin=script) as fabric, fabric.wire("sin") as wire:
            await begun(wire)
            draining = asyncio.create_task(stop(fabric))
            while not fabric.pop("sin").server.draining:  # noqa: ASYNC110 (a flag is no event)
                await asyncio.sleep(0)
            with pytest.raises(ConnectionError):
                await asyncio.open_connection("127.0.0.1", fabric.pop("sin").port)
            gate.open()
            rest, whole = await wire.rest()
            assert whole
            assert rest.endswith(b"data: [DONE]\n\n")
            assert await wire.ended()
            await draining
            (receipt,) = fabric.pop("sin").receipts()
            assert receipt.outcome is Outcome.COMPLETE

    run(main())


def test_what_does_not_finish_ends_in_band_with_a_receipt(tmp_path: Path) -> None:
    gate = Gate(1)

    async def main() -> None:
        script = Script(Answer(("a", "b"), gate=gate))
        async with (
            rig(tmp_path, sin=script) as fabric,
            fabric.wire("sin") as streamed,
            fabric.wire("sin") as plain,
        ):
            engine = fabric.engines["sin"]
            await begun(streamed)
            plain.send(post(bearer("asean"), chat()))
            await engine.until(lambda: len(engine.requests) == 2)
            await stop(fabric, drain_ms=1)
            rest, whole = await streamed.rest()
            assert whole
            error = error_of(rest.removeprefix(b"data: ").strip())
            assert error["code"] == "shutting_down"
            assert "drain_ms" in error["message"]
            answer = await plain.answer()
            assert (answer.status, answer.headers["connection"]) == (503, "close")
            await engine.until(lambda: len(engine.aborts) == 2)
            receipts = fabric.pop("sin").receipts()
            assert [one.outcome for one in receipts] == [Outcome.FAILED] * 2
            assert {one.status for one in receipts} == {200, 503}

    run(main())


def test_whoever_steers_traffic_here_learns_first(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=Script(Answer(("a",)))) as fabric:
            draining = asyncio.create_task(stop(fabric, drain_notice_ms=60_000))
            while not fabric.pop("sin").state.draining:  # noqa: ASYNC110 (a flag is no event)
                await asyncio.sleep(0)
            async with fabric.wire("sin") as wire:
                ready = await wire.get("/readyz")
                assert (ready.status, ready.json) == (503, {"status": "stopping"})
                assert ready.headers["connection"] == "close"
            async with fabric.wire("sin") as wire:
                answer = await wire.ask(bearer("asean"), chat())
                assert (answer.status, answer.headers["connection"]) == (200, "close")
                assert await wire.ended()
            async with fabric.wire("sin") as wire:
                assert (await wire.get("/healthz")).status == 200
            draining.cancel()
            await asyncio.gather(draining, return_exceptions=True)

    run(main())


def test_a_process_that_is_told_to_end_finishes_its_streams(tmp_path: Path) -> None:
    gate = Gate(1)

    async def main() -> None:
        async with ScriptedEngine(Script(Answer(("a", "b"), gate=gate))) as engine:
            home, port = Home(tmp_path), free_port()
            pop = await started(home, port, engine.port)
            try:
                async with Wire.to(port) as wire:
                    key = home.keys()["warp"]
                    body = chat(model="scripted", stream=True)
                    wire.send(post(f"Bearer {key}", body))
                    assert (await wire.head())[0] == 200
                    os.kill(pop.pid, signal.SIGTERM)
                    await refusing(port)
                    gate.open()
                    rest, whole = await wire.rest()
                    assert whole
                    assert rest.endswith(b"data: [DONE]\n\n")
                assert await pop.wait() == 0
            finally:
                await pop.stop()
            lines = read_segments(home.pop("sin") / "receipts")
            (receipt,) = [one.decode() for one in receipts_of(lines)]
            assert receipt.outcome is Outcome.COMPLETE

    run(main(), timeout_s=60)


async def refusing(port: int) -> None:
    """Until nobody listens there any more."""
    async with asyncio.timeout(READY_S_MAX):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionError:
                return
            writer.transport.abort()
            await asyncio.sleep(0.01)


async def started(home: Home, port: int, engine_port: int) -> ChildProcess:
    listen = f"127.0.0.1:{port}"
    home.publish(_fleet(engine_port, listen), {}, {}, {"sin": listen})
    directory = home.pop("sin")
    values = {
        "pop": "sin",
        "listen": listen,
        "state_dir": str(directory.resolve()),
        "release_file": str(home.release_file.resolve()),
        "operator_public_key": operator_public_key(home.operator_key()),
        "pepper_file": str(home.pepper_file.resolve()),
    }
    (directory / "settings.yaml").write_bytes(msgspec.json.encode(values))
    argv = [sys.executable, "-m", "selvedge", "pop", "--settings"]
    pop = await ChildProcess.start(
        "pop", [*argv, str(directory / "settings.yaml")], env=os.environ, log_path=home.log("sin")
    )
    assert await until_ready(port, lambda: pop.exit_code is not None)
    return pop
