"""A PoP's hearing that a test drives by hand, and a relay that notes what a peer was told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from selvedge.pop.clock import now_us
from selvedge.pop.hearing import Hearing
from tests.support.pops import RunningPop

HEARD_S_MAX = 10.0


class Ears(Hearing):
    """Asks when it is told to, and says when each answer, or none, has come."""

    def __init__(self, pop: RunningPop) -> None:
        super().__init__(pop.state)
        self.endings: list[str] = []
        self._moved = asyncio.Event()

    def ended(self, pop: str, why: str) -> None:
        """Noted."""
        self.endings.append(f"{pop} {why}")
        self._moved.set()
        super().ended(pop, why)

    def all_due(self) -> None:
        """Everybody is asked in the next turn."""
        for peer in self._peers.values():
            peer.due_us = 0

    async def round(self) -> list[str]:
        """Ask every peer once; how each ended."""
        self.endings.clear()
        self.turn(now_us())
        self.all_due()
        self._numbered_us = 0
        self.turn(now_us())
        asked = sum(1 for peer in self._peers.values() if peer.answer is not None)
        async with asyncio.timeout(HEARD_S_MAX):
            while len(self.endings) < asked:
                self._moved.clear()
                await self._moved.wait()
        self.turn(now_us())
        return sorted(self.endings)


@contextlib.asynccontextmanager
async def noting(port: int, heard: bytearray) -> AsyncIterator[int]:
    """A relay to a port of this machine; what comes back from there is noted."""

    async def carry(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: bytearray | None
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                if note is not None:
                    note += data
                writer.write(data)
                await writer.drain()
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(carry(reader, to_writer, None), carry(to_reader, writer, heard))
        finally:
            to_writer.transport.abort()

    async with answering(relay) as listening:
        yield listening


@contextlib.asynccontextmanager
async def answering(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """A server that does whatever a test says with each connection; its port."""
    running: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await serve(reader, writer)
        writer.transport.abort()
        running.discard(task)

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
