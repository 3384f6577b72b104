"""How a server leaves its connections: nobody who was told to go on is cut off."""

from __future__ import annotations

import asyncio

from selvedge.adapters import CELL_BYTES, Memory, Table
from selvedge.pop.http_server import Inbound, ServerSettings
from tests.pop.test_http_server import GET, path, serving
from tests.support import run
from tests.support.wires import Wire

LONG_S = 30.0


def test_an_idle_connection_may_ask_once_more_and_is_then_told_to_close() -> None:
    async def main() -> None:
        async with serving(path) as rig, Wire.to(rig.server.port) as wire:
            assert (await wire.get("/a")).headers.get("connection") is None
            rig.server.close(LONG_S)
            answer = await wire.get("/b")
            assert (answer.body, answer.headers["connection"]) == (b"/b", "close")
            assert await wire.ended()
            await rig.server.drain(5)

    run(main())


def test_requests_that_were_pipelined_are_all_answered() -> None:
    async def main() -> None:
        async with serving(path) as rig, Wire.to(rig.server.port) as wire:
            wire.send(GET % 1 + GET % 2 + GET % 3)
            await rig.asked.get()
            rig.server.close(LONG_S)
            answers = [await wire.answer() for _ in range(3)]
            assert [one.body for one in answers] == [b"/1", b"/2", b"/3"]
            assert answers[2].headers["connection"] == "close"
            assert await wire.ended()

    run(main())


def test_who_was_told_to_keep_the_connection_is_answered_again() -> None:
    """The answer began before the drain, so its head did not say that it would be the last."""
    go = asyncio.Event()

    async def late(inbound: Inbound) -> None:
        inbound.start(200, [], 2)
        inbound.write(b"o")
        await go.wait()
        inbound.end(b"k")

    async def main() -> None:
        async with serving(late) as rig, Wire.to(rig.server.port) as wire:
            wire.send(GET % 1)
            _, headers = await wire.head()
            rig.server.close(LONG_S)
            go.set()
            assert (await wire.rest(), headers.get("connection")) == ((b"ok", True), None)
            answer = await wire.get("/again")
            assert (answer.body, answer.headers["connection"]) == (b"ok", "close")
            await rig.server.drain(5)
            assert not rig.server.connections

    run(main())


def test_what_stays_idle_is_closed_and_half_a_head_is_not() -> None:
    async def main() -> None:
        async with (
            serving(path) as rig,
            Wire.to(rig.server.port) as idle,
            Wire.to(rig.server.port) as slow,
        ):
            await idle.get("/a")
            await slow.get("/a")
            request = GET % 5
            slow.send(request[:9])
            rig.server.close(0.05)
            assert await idle.ended()
            slow.send(request[9:])
            assert (await slow.answer()).headers["connection"] == "close"

    run(main())


def test_the_limit_of_connections_is_one_for_all_workers() -> None:
    """The other worker's row of the cell has one connection already."""
    memory = Memory.private(2 * CELL_BYTES)
    mine, other = (Table(memory, 0, (2, 1), row).cell(0) for row in (0, 1))
    other.inc()

    async def main() -> None:
        async with serving(path, ServerSettings(connections_max=2)) as rig:
            rig.server.counted = mine
            async with Wire.to(rig.server.port) as first:
                assert (await first.get("/a")).status == 200
                async with Wire.to(rig.server.port) as second:
                    assert (await second.answer()).status == 503
                    assert mine.total() == 3
            rig.server.close()
            await rig.server.drain(5)
            assert (mine.value, mine.total()) == (0, 1)

    run(main())
