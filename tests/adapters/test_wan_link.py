"""Links over real loopback sockets: bytes, order, endings, back-pressure and the clock's floor.

Times are only compared from below: a link may be late on a busy machine, never early.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import uvloop

from selvedge.adapters import wan_link
from selvedge.adapters.links import READY, BadLinks, Link, render_links
from selvedge.adapters.wan_link import HELD_BYTES_MAX, serving
from tests.support.engines import free_port

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Peer = Callable[[Reader, Writer], Awaitable[None]]


def run(story: Awaitable[None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await story

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())


@asynccontextmanager
async def linked(peer: Peer, rtt_ms: float) -> AsyncIterator[tuple[Reader, Writer]]:
    """A connection to `peer` across a link; `peer` has ended when the block has."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def accept(reader: Reader, writer: Writer) -> None:
        try:
            await peer(reader, writer)
        except BaseException as error:
            done.set_exception(error)
            raise
        finally:
            await close(writer)
        done.set_result(None)

    port = free_port()
    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        target = server.sockets[0].getsockname()[1]
        async with serving([Link("test", port, "127.0.0.1", target, rtt_ms)]):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                yield reader, writer
                await done
            finally:
                await close(writer)


async def close(writer: Writer) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def echo(reader: Reader, writer: Writer) -> None:
    while chunk := await reader.read(65_536):
        writer.write(chunk)
        await writer.drain()


def reset(writer: Writer) -> None:
    """Hang up rudely: the kernel sends RST."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def test_a_first_answer_takes_two_round_trips_and_the_next_takes_one() -> None:
    async def story() -> None:
        started = time.monotonic()
        async with linked(echo, rtt_ms=60) as (reader, writer):
            writer.write(b"one")
            assert await reader.readexactly(3) == b"one"
            first = time.monotonic()
            assert first - started >= 0.118
            writer.write(b"two")
            assert await reader.readexactly(3) == b"two"
            assert time.monotonic() - first >= 0.057
            writer.write_eof()

    run(story())


@pytest.mark.parametrize("rtt_ms", [0, 8])
def test_a_long_stream_crosses_whole_and_a_fin_as_a_fin(rtt_ms: float) -> None:
    block = bytes(range(256)) * 256
    count = 3 * HELD_BYTES_MAX // len(block)
    seen = hashlib.sha256()

    async def story() -> None:
        async with linked(echo, rtt_ms) as (reader, writer):

            async def send() -> None:
                for _ in range(count):
                    writer.write(block)
                    await writer.drain()
                writer.write_eof()

            sending = asyncio.create_task(send())
            while chunk := await reader.read(1 << 20):
                seen.update(chunk)
            await sending

    run(story())
    assert seen.digest() == hashlib.sha256(block * count).digest()


def test_a_reader_that_does_not_read_stops_the_writer() -> None:
    async def story() -> None:
        may_read = asyncio.Event()
        total = 0

        async def slow(reader: Reader, writer: Writer) -> None:
            nonlocal total
            await may_read.wait()
            while chunk := await reader.read(1 << 20):
                total += len(chunk)

        async with linked(slow, rtt_ms=1) as (_, writer):
            sent = await write_until_stopped(writer)
            assert sent < 10 * HELD_BYTES_MAX
            may_read.set()
            writer.write_eof()
        assert total == sent

    run(story())


async def write_until_stopped(writer: Writer) -> int:
    """Bytes written before the socket took no more for a second."""
    sent = 0
    while True:
        writer.write(bytes(1 << 20))
        sent += 1 << 20
        try:
            async with asyncio.timeout(1):
                await writer.drain()
        except TimeoutError:
            return sent


def test_a_hang_up_crosses_as_a_reset() -> None:
    async def story() -> None:
        async def serve(reader: Reader, writer: Writer) -> None:
            assert await reader.readexactly(2) == b"hi"
            writer.write(b"go")
            with pytest.raises(ConnectionResetError):
                await reader.read()

        async with linked(serve, rtt_ms=20) as (reader, writer):
            writer.write(b"hi")
            assert await reader.readexactly(2) == b"go"
            reset(writer)

    run(story())


def test_a_server_that_resets_resets_the_client() -> None:
    async def story() -> None:
        async def serve(reader: Reader, writer: Writer) -> None:
            await reader.readexactly(2)
            reset(writer)

        async with linked(serve, rtt_ms=20) as (reader, writer):
            writer.write(b"hi")
            with pytest.raises(ConnectionResetError):
                await reader.read()

    run(story())


def test_a_stream_to_a_client_that_closed_is_reset() -> None:
    """A FIN alone leaves the server free to write; the answers to its writes end it."""

    async def story() -> None:
        async def serve(reader: Reader, writer: Writer) -> None:
            assert await reader.read() == b"hi"
            with pytest.raises(ConnectionError):
                await write_for_ever(writer)

        async with linked(serve, rtt_ms=4) as (_, writer):
            writer.write(b"hi")
            await close(writer)

    run(story())


async def write_for_ever(writer: Writer) -> None:
    while True:
        writer.write(b"data: token\n\n" * 100)
        await writer.drain()
        await asyncio.sleep(0)


def test_a_target_that_is_away_resets_after_a_round_trip() -> None:
    async def story() -> None:
        port = free_port()
        started = time.monotonic()
        async with serving([Link("dead", port, "127.0.0.1", free_port(), 40)]):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with pytest.raises(ConnectionResetError):
                await reader.read()
            assert time.monotonic() - started >= 0.039
            await close(writer)

    run(story())


def test_more_connections_than_the_limit_are_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wan_link, "CONNECTIONS_MAX", 1)

    async def story() -> None:
        async with linked(echo, rtt_ms=0) as (reader, writer):
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            port = writer.get_extra_info("peername")[1]
            second, closing = await asyncio.open_connection("127.0.0.1", port)
            with pytest.raises(ConnectionResetError):
                await second.read()
            await close(closing)
            writer.write_eof()

    run(story())


def test_an_ending_of_the_links_resets_what_crosses() -> None:
    async def story() -> None:
        port = free_port()
        async with await asyncio.start_server(ignore_reset, "127.0.0.1", 0) as server:
            target = server.sockets[0].getsockname()[1]
            async with serving([Link("short", port, "127.0.0.1", target, 10)]):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"x")
                assert await reader.readexactly(1) == b"x"
            with pytest.raises(ConnectionResetError):
                await reader.read()
            await close(writer)

    run(story())


async def ignore_reset(reader: Reader, writer: Writer) -> None:
    with suppress(ConnectionError):
        await echo(reader, writer)
    await close(writer)


def test_a_taken_port_is_named() -> None:
    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(BadLinks, match=f"'test': port {port} .*address already in use"):
                async with serving([Link("test", port, "127.0.0.1", 1, 1)]):
                    pass

    run(story())


def command(spec: Path) -> list[str]:
    return [sys.executable, "-m", "selvedge.adapters.wan_link", "--spec", str(spec)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_says_when_it_is_ready_and_ends_on_a_signal(
    number: signal.Signals, tmp_path: Path
) -> None:
    spec = tmp_path / "links.json"
    spec.write_bytes(render_links((Link("a", free_port(), "127.0.0.1", 1, 15.2),)))
    with subprocess.Popen(command(spec), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().decode().strip() == READY
        os.kill(process.pid, number)
        assert process.wait(30) == 0


@pytest.mark.parametrize("text", [None, "[{}]"])
def test_the_process_refuses_a_bad_spec_in_one_sentence(text: str | None, tmp_path: Path) -> None:
    spec = tmp_path / "links.json"
    if text is not None:
        spec.write_text(text)
    ended = subprocess.run(command(spec), capture_output=True, check=False, timeout=60)
    assert ended.returncode == 2
    assert ended.stderr.decode().startswith("selvedge wan link: ")
    assert ended.stderr.count(b"\n") == 1
