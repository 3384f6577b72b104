"""Slow and many: each kind meets its own limit, and a good client does not notice.

Time is passed by calling the sweep with a later hour; no test waits for a clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
from pathlib import Path

import pytest

from selvedge.pop.http_server import ServerSettings
from tests.pop.test_http_server import GET, path, serving
from tests.support import run
from tests.support.fleets import bearer
from tests.support.pops import rig
from tests.support.wires import Wire, chat, post

FLOOD = 5_000
LIMIT = 200
DROPS = 50


def test_a_flood_of_connections_is_bounded_and_passes() -> None:
    """5,000 at once against a limit of 200: told so, and the one that was there is served on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * FLOOD + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"the limit of open files, {hard}, is below {wanted}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))

    async def main() -> None:
        async with serving(path, ServerSettings(connections_max=LIMIT)) as rig_:
            refused: list[str] = []
            rig_.server.on_refused = refused.append
            async with Wire.to(rig_.server.port) as good:
                assert (await good.get("/a")).status == 200
                opened = await asyncio.gather(
                    *(asyncio.open_connection("127.0.0.1", rig_.server.port) for _ in range(FLOOD))
                )
                assert (await good.get("/b")).status == 200
                heads = await asyncio.gather(
                    *(reader.readline() for reader, _ in opened[LIMIT + 100 :])
                )
                assert all(b" 503 " in head for head in heads)
                assert set(refused) == {"overloaded"}
                assert len(refused) >= FLOOD - LIMIT
                assert (await good.get("/c")).status == 200
                for _, writer in opened:
                    writer.transport.abort()
                while len(rig_.server.connections) > 1:  # noqa: ASYNC110
                    await asyncio.sleep(0)
            async with Wire.to(rig_.server.port) as later:
                assert (await later.get("/d")).status == 200
            assert rig_.faults == []

    try:
        run(main(), timeout_s=60)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_slow_heads_are_told_and_counted(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, contextlib.AsyncExitStack() as stack:
            pop = fabric.pop("sin")
            wires = [await stack.enter_async_context(fabric.wire("sin")) for _ in range(DROPS)]
            for wire in wires:
                wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nx-a: ")
            while sum(not one._reader.idle for one in pop.connections) < DROPS:  # noqa: ASYNC110
                await asyncio.sleep(0)
            async with fabric.wire("sin") as good:
                assert (await good.ask(bearer("asean"), chat())).status == 200
                now = asyncio.get_running_loop().time()
                for connection in pop.connections:
                    connection.check_time(now + 11)
                for wire in wires:
                    answer = await wire.answer()
                    assert (answer.status, answer.error["code"]) == (408, "request_timeout")
                    assert await wire.ended()
                assert (await good.ask(bearer("asean"), chat())).status == 200
                metrics = (await good.get("/metrics")).body.decode()
            told = f'selvedge_connections_refused_total{{code="request_timeout"}} {DROPS}.0'
            assert told in metrics

    run(main())


def test_slow_bodies_hold_no_more_than_their_limit_and_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, contextlib.AsyncExitStack() as stack:
            pop = fabric.pop("sin")
            wires = [await stack.enter_async_context(fabric.wire("sin")) for _ in range(DROPS)]
            for wire in wires:
                wire.send(post(bearer("asean"), b'{"model":', length=1_000))
            while len(pop.seen) < DROPS or pop.state.gate.line.waiting:  # noqa: ASYNC110
                await asyncio.sleep(0)
            assert pop.state.bodies.held == DROPS * 1_000
            now = asyncio.get_running_loop().time()
            for connection in pop.connections:
                connection.check_time(now + 61)
            for wire in wires:
                answer = await wire.answer()
                assert (answer.status, answer.error["code"]) == (408, "request_timeout")
            assert pop.state.bodies.held == 0
            assert {one.code for one in pop.receipts()} == {"request_timeout"}

    run(main())


def test_every_refusal_of_a_connection_has_an_id_and_a_bounded_label(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric:
            for raw, code in (
                (b"\x00\r\n\r\n", "malformed_request"),
                (b"BREW / HTTP/1.1\r\nhost: a\r\n\r\n", "method_not_implemented"),
                (b"GET / HTTP/1.9\r\nhost: a\r\n\r\n", "http_version_not_supported"),
                (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n", "target_too_long"),
                (GET[:-2] % 1 + b"x: " + b"y" * 70_000, "headers_too_large"),
                (GET[:-2] % 1 + b"expect: tea\r\n\r\n", "expectation_failed"),
            ):
                async with fabric.wire("sin") as wire:
                    wire.send(raw)
                    answer = await wire.answer()
                    assert answer.error["code"] == code
                    assert answer.headers["x-request-id"].startswith("req_")
                metrics = fabric.pop("sin").state.metrics.render().decode()
                assert f'selvedge_connections_refused_total{{code="{code}"}} 1.0' in metrics
            fabric.pop("sin").server.on_refused("never heard of")
            metrics = fabric.pop("sin").state.metrics.render().decode()
            assert 'selvedge_connections_refused_total{code="other"} 1.0' in metrics

    run(main())
