"""The PoP's HTTP server over loopback sockets: order, limits, back-pressure, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from selvedge.pop.http_server import (
    BodyTooLarge,
    ClientGone,
    Inbound,
    Server,
    ServerSettings,
    start_server,
)
from selvedge.wire import HeadLimits, ProtocolViolation
from tests.support import run
from tests.support.wires import Wire, post

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
BIG = 10_000_000
Handler = Callable[[Inbound], Awaitable[None]]


class Rig:
    """A server, its faults, and the requests it was asked."""

    def __init__(self) -> None:
        self.server: Server
        self.faults: list[BaseException] = []
        self.seen: list[Inbound] = []
        self.asked = asyncio.Queue[Inbound]()

    def sweep(self, later_s: float) -> None:
        """What the sweep would do that much later."""
        for connection in list(self.server.connections):
            connection.check_time(time.monotonic() + later_s)


@contextlib.asynccontextmanager
async def serving(handler: Handler, settings: ServerSettings | None = None) -> AsyncIterator[Rig]:
    rig = Rig()

    async def remember(inbound: Inbound) -> None:
        rig.seen.append(inbound)
        rig.asked.put_nowait(inbound)
        await handler(inbound)

    rig.server = await start_server(
        *(remember, "127.0.0.1", 0),
        settings=settings or ServerSettings(),
        on_error=rig.faults.append,
    )
    try:
        yield rig
    finally:
        rig.server.close()
        await rig.server.drain(5)


async def path(inbound: Inbound) -> None:
    """Answers with the path."""
    inbound.respond(200, [], inbound.head.target.encode())


async def echo(inbound: Inbound) -> None:
    """Answers with the body, at most 1 MB of it."""
    try:
        body = await inbound.read_body(1_000_000)
    except BodyTooLarge:
        inbound.respond(413, [], b"too large")
    except ProtocolViolation as violation:
        inbound.respond(violation.status, [], violation.code.encode())
    else:
        inbound.respond(200, [], body)


async def leave_open(inbound: Inbound) -> None:
    """Does not answer until the client is gone."""
    gone = asyncio.Event()
    inbound.on_gone = gone.set
    await gone.wait()


def chunked(*parts: bytes) -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return post(None, body + b"0\r\n\r\n", more="transfer-encoding: chunked\r\n")


def test_requests_in_turn_on_one_connection() -> None:
    async def main() -> None:
        async with serving(echo) as rig, Wire.to(rig.server.port) as wire:
            before = time.time_ns() // 1000
            for body in (b"", b"x", b"y" * 500_000):
                assert (await wire.ask(None, body)).body == body
            wire.send(chunked(b"a", b"b"))
            assert (await wire.answer()).body == b"ab"
            assert len(rig.server.connections) == 1
            assert rig.seen[0].peer[0] == "127.0.0.1"
            assert before <= rig.seen[0].received_us <= time.time_ns() // 1000
            assert rig.faults == []

    run(main())


def test_pipelined_requests_are_answered_in_order_one_at_a_time() -> None:
    running: list[str] = []

    async def slow_first(inbound: Inbound) -> None:
        assert running == []
        running.append(inbound.head.target)
        for _ in range(5 if inbound.head.target == "/0" else 0):
            await asyncio.sleep(0)
        running.pop()
        await path(inbound)

    async def main() -> None:
        settings = ServerSettings(limits=HeadLimits(pipelined_max=4))
        async with serving(slow_first, settings) as rig, Wire.to(rig.server.port) as wire:
            wire.send(b"".join(GET % i for i in range(50)))
            for i in range(50):
                assert (await wire.answer()).body == b"/%d" % i
            assert rig.faults == []

    run(main())


def test_a_flood_of_pipelined_requests_waits_in_the_socket() -> None:
    go = asyncio.Event()

    async def wait(inbound: Inbound) -> None:
        await go.wait()
        await path(inbound)

    async def main() -> None:
        settings = ServerSettings(limits=HeadLimits(pipelined_max=4))
        async with serving(wait, settings) as rig, Wire.to(rig.server.port) as wire:
            wire.send(GET % 0)
            await rig.asked.get()
            (connection,) = rig.server.connections
            for i in range(30):  # each in a packet of its own: no single read is over the limit
                wire.send(GET % i)
                for _ in range(10):
                    await asyncio.sleep(0)
            assert len(connection._queue) <= 5
            assert connection._paused
            go.set()
            for i in (0, *range(30)):
                assert (await wire.answer()).body == b"/%d" % i

    run(main())


def test_what_is_not_http_is_answered_in_openais_shape_and_closed() -> None:
    async def main() -> None:
        async with serving(path) as rig:
            for bad, status in ((b"\x16\x03\x01", 400), (GET % 1 + b"GET / HTTP/3.0\r\n\r\n", 505)):
                async with Wire.to(rig.server.port) as wire:
                    wire.send(bad)
                    if status == 505:
                        assert (await wire.answer()).body == b"/1"
                    refused = await wire.answer()
                    assert refused.status == status
                    assert refused.headers["connection"] == "close"
                    assert json.loads(refused.body)["error"]["type"] == "invalid_request_error"
                    assert await wire.ended()

    run(main())


def test_a_body_is_asked_for_only_when_it_is_wanted() -> None:
    async def main() -> None:
        expect = "expect: 100-continue\r\n"
        async with serving(echo) as rig:
            async with Wire.to(rig.server.port) as wire:
                wire.send(post(None, b"", more=expect, length=3))
                assert await wire.head() == (100, {})
                wire.send(b"abc")
                assert (await wire.answer()).body == b"abc"
            async with Wire.to(rig.server.port) as wire:
                wire.send(post(None, b"", more=expect, length=BIG))
                refused = await wire.answer()
                assert (refused.status, refused.headers["connection"]) == (413, "close")
                assert await wire.ended()

    run(main())


def test_a_body_nobody_asked_for_stays_in_the_socket() -> None:
    go = asyncio.Event()

    async def wait(inbound: Inbound) -> None:
        await go.wait()
        await path(inbound)

    async def main() -> None:
        async with serving(wait) as rig, Wire.to(rig.server.port) as wire:
            wire.send(post(None, bytes(BIG)))
            inbound = await rig.asked.get()
            (connection,) = rig.server.connections
            while not connection._paused:  # noqa: ASYNC110 (reading is not an event)
                await asyncio.sleep(0)
            assert inbound._size < BIG // 4
            go.set()

    run(main())


def test_a_client_that_still_sends_can_read_why_it_was_refused() -> None:
    async def refuse(inbound: Inbound) -> None:
        inbound.respond(401, [], b"no")

    async def main() -> None:
        async with serving(refuse) as rig, Wire.to(rig.server.port) as wire:
            wire.send(post(None, bytes(BIG)))
            refused = await wire.answer()
            assert (refused.status, refused.body, refused.whole) == (401, b"no", True)
            assert refused.headers["connection"] == "close"

    run(main())


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (chunked(bytes(600_000), bytes(600_000)), 413),
        (chunked(b"a").replace(b"1\r\na", b"0x1\r\na"), 400),
        (chunked(b"a").replace(b"0\r\n\r\n", b"0\r\n" + b"a: b\r\n" * 200), 431),
    ],
)
def test_a_body_that_breaks_a_rule_while_it_comes(sent: bytes, status: int) -> None:
    async def main() -> None:
        async with serving(echo) as rig, Wire.to(rig.server.port) as wire:
            wire.send(sent)
            assert (await wire.answer()).status == status
            assert rig.faults == []

    run(main())


@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_hangs_up_is_noticed_at_once(reset: bool) -> None:
    async def main() -> None:
        async with serving(leave_open) as rig, Wire.to(rig.server.port) as wire:
            wire.send(GET % 0)
            inbound = await rig.asked.get()
            wire.hang_up(reset=reset)
            await rig.server.until_idle(5)
            assert inbound.gone
            inbound.respond(200, [], b"into nothing")
            assert rig.faults == []

    run(main())


def test_a_client_that_closes_its_side_while_it_waits_is_gone_too() -> None:
    calls = []

    async def count(inbound: Inbound) -> None:
        gone = asyncio.Event()

        def left() -> None:
            calls.append(1)
            gone.set()

        inbound.on_gone = left
        await gone.wait()

    async def main() -> None:
        async with serving(count) as rig:
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.server.port)
            writer.write(GET % 0)
            await rig.asked.get()
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            assert calls == [1]

    run(main())


def test_a_client_that_leaves_inside_its_body_is_told_to_the_handler() -> None:
    told: list[BaseException] = []

    async def read(inbound: Inbound) -> None:
        try:
            await inbound.read_body(100)
        except ClientGone as error:
            told.append(error)

    async def main() -> None:
        async with serving(read) as rig, Wire.to(rig.server.port) as wire:
            wire.send(post(None, b"ab", length=3))
            await rig.asked.get()
            wire.hang_up()
            await rig.server.until_idle(5)
            assert len(told) == 1
            assert rig.faults == []

    run(main())


def test_a_streamed_answer_to_http_1_1_and_to_1_0() -> None:
    async def stream(inbound: Inbound) -> None:
        inbound.start(200, [("x-a", "1")], None)
        for part in (b"a", b"", b"b"):
            inbound.write(part)
        inbound.end()

    async def main() -> None:
        async with serving(stream) as rig, Wire.to(rig.server.port) as wire:
            for _ in range(2):
                wire.send(GET % 0)
                status, headers = await wire.head()
                assert (status, headers) == (200, {"transfer-encoding": "chunked", "x-a": "1"})
                assert [await wire.part() for _ in range(3)] == [b"a", b"b", b""]
            wire.send(b"GET / HTTP/1.0\r\n\r\n")
            answer = await wire.answer()
            assert answer.headers == {"connection": "close", "x-a": "1"}
            assert answer.body == b"ab"

    run(main())


def test_an_answer_to_head_has_no_body() -> None:
    async def main() -> None:
        async with serving(path) as rig, Wire.to(rig.server.port) as wire:
            answer = await wire.get("/abc", method="HEAD")
            assert answer.headers["content-length"] == "4"
            assert (await wire.get("/next")).body == b"/next"

    run(main())


def test_a_fault_of_the_handler_is_counted_and_answered_or_cut() -> None:
    async def fail(inbound: Inbound) -> None:
        if inbound.head.target == "/0":
            raise ZeroDivisionError
        inbound.start(200, [], None)
        inbound.write(b"a")
        raise ZeroDivisionError

    async def forget(inbound: Inbound) -> None:
        pass

    async def main() -> None:
        async with serving(fail) as rig, Wire.to(rig.server.port) as wire:
            wire.send(GET % 0)
            answer = await wire.answer()
            assert (answer.status, answer.error["code"]) == (500, "internal_error")
            wire.send(GET % 1)
            assert (await wire.answer()).whole is False
            assert [type(fault) for fault in rig.faults] == [ZeroDivisionError] * 2
        async with serving(forget) as rig, Wire.to(rig.server.port) as wire:
            assert (await wire.get("/")).status == 500
            assert len(rig.faults) == 1

    run(main())


def test_an_aborted_answer_is_seen_to_be_cut() -> None:
    async def cut(inbound: Inbound) -> None:
        inbound.start(200, [], None)
        inbound.write(b"a")
        await asyncio.sleep(0)
        inbound.abort()

    async def main() -> None:
        async with serving(cut) as rig, Wire.to(rig.server.port) as wire:
            wire.send(GET % 0)
            assert (await wire.answer()).whole is False
            assert rig.faults == []

    run(main())


def test_a_slow_reader_pauses_whoever_writes() -> None:
    heard: list[str] = []

    async def flood(inbound: Inbound) -> None:
        resumed = asyncio.Event()

        def resume() -> None:
            heard.append("resume")
            resumed.set()

        inbound.on_pause = lambda: heard.append("pause")
        inbound.on_resume = resume
        inbound.start(200, [], BIG)
        inbound.write(bytes(BIG))
        await resumed.wait()
        inbound.end()

    async def main() -> None:
        async with serving(flood) as rig, Wire.to(rig.server.port) as wire:
            wire.send(GET % 0)
            answer = await wire.answer()
            assert len(answer.body) == BIG
            assert heard == ["pause", "resume"]
            assert (await rig.asked.get()).write_paused is False

    run(main())
