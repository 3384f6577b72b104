"""The PoP's HTTP server: what is too slow, too many, or asked to stop."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from selvedge.pop.http_server import Inbound, ServerSettings
from tests.pop.test_http_server import BIG, GET, echo, leave_open, path, serving
from tests.support import run
from tests.support.wires import Wire, post


def test_a_client_that_takes_nothing_is_cut_off() -> None:
    paused = asyncio.Event()

    async def flood(inbound: Inbound) -> None:
        inbound.on_pause = paused.set
        inbound.start(200, [], BIG)
        inbound.write(bytes(BIG))
        await leave_open(inbound)

    async def main() -> None:
        async with serving(flood) as rig:
            _, writer = await asyncio.open_connection("127.0.0.1", rig.server.port, limit=1)
            writer.write(GET % 0)
            inbound = await rig.asked.get()
            await paused.wait()
            rig.sweep(0)
            rig.sweep(59)
            assert not inbound.gone
            rig.sweep(200)
            await rig.server.until_idle(5)
            assert inbound.gone
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    run(main())


def test_a_head_has_one_span_of_time_however_slowly_it_drips() -> None:
    async def main() -> None:
        async with serving(path) as rig, Wire.to(rig.server.port) as wire:
            assert (await wire.get("/")).status == 200
            (connection,) = rig.server.connections
            rig.sweep(70)
            assert not connection._transport.is_closing()  # type: ignore[union-attr]
            wire.send(b"GET / HT")
            while connection._reader.idle:  # noqa: ASYNC110 (reading is not an event)
                await asyncio.sleep(0)
            begun = connection._quiet_since
            wire.send(b"TP/1.1\r\n")
            for _ in range(10):
                await asyncio.sleep(0)
            assert connection._quiet_since == begun
            rig.sweep(9)
            assert not connection._transport.is_closing()  # type: ignore[union-attr]
            rig.sweep(11)
            answer = await wire.answer()
            assert (answer.status, answer.error["code"]) == (408, "request_timeout")
            assert answer.headers["x-request-id"].startswith("req_")
            assert await wire.ended()

    run(main())


def test_an_idle_connection_is_closed_and_a_body_that_stops_is_answered() -> None:
    async def main() -> None:
        async with serving(echo) as rig:
            async with Wire.to(rig.server.port) as wire:
                assert (await wire.ask(None, b"")).status == 200
                rig.sweep(76)
                assert await wire.ended()
            async with Wire.to(rig.server.port) as wire:
                wire.send(post(None, b"ab", length=3))
                await rig.asked.get()
                await rig.asked.get()
                rig.sweep(59)
                rig.sweep(61)
                answer = await wire.answer()
                assert (answer.status, answer.headers["connection"]) == (408, "close")

    run(main())


def test_connections_beyond_the_limit_are_told_so() -> None:
    async def main() -> None:
        settings = ServerSettings(connections_max=1)
        async with serving(path, settings) as rig, Wire.to(rig.server.port) as first:
            assert (await first.get("/a")).body == b"/a"
            async with Wire.to(rig.server.port) as second:
                refused = await second.answer()
                assert (refused.status, refused.headers["retry-after"]) == (503, "1")
                assert refused.error["code"] == "overloaded"
            assert (await first.get("/b")).body == b"/b"

    run(main())


def test_close_lets_what_runs_finish_and_drain_waits_for_it() -> None:
    go = asyncio.Event()

    async def wait(inbound: Inbound) -> None:
        await go.wait()
        await path(inbound)

    async def main() -> None:
        async with serving(wait) as rig:
            async with Wire.to(rig.server.port) as idle, Wire.to(rig.server.port) as busy:
                busy.send(GET % 7)
                await rig.asked.get()
                port = rig.server.port
                rig.server.close()
                assert await idle.ended()
                with pytest.raises(ConnectionError):
                    await asyncio.open_connection("127.0.0.1", port)
                draining = asyncio.ensure_future(rig.server.drain(5))
                go.set()
                assert (await busy.answer()).body == b"/7"
                assert await busy.ended()
                await draining
            assert rig.faults == []

    run(main())


def test_drain_gives_up_on_what_does_not_finish() -> None:
    async def main() -> None:
        async with serving(leave_open) as rig, Wire.to(rig.server.port) as wire:
            wire.send(GET % 0)
            inbound = await rig.asked.get()
            rig.server.close()
            await rig.server.drain(0.01)
            assert inbound.gone
            assert await wire.ended()

    run(main())
