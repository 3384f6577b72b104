"""A control plane's desk behind a socket, and a worker's client that a test drives by hand."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec

from selvedge.adapters import pop_public_key
from selvedge.control.lease_desk import LeaseDesk
from selvedge.fabric import Control, Limits, Release, SelvedgeError
from selvedge.ledger import MemoryGrants
from selvedge.pop.lease_client import LeaseClient
from tests.support.pops import RunningPop

ENDED_S_MAX = 10.0
CONTROL_KEY: Final = bytes(range(100, 132))


class DeskServer:
    """Answers questions for leases; `answer` may be replaced by what misbehaves."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.store = MemoryGrants()
        self.desk: LeaseDesk | None = None
        self.refused: list[str] = []
        self.answer: Callable[[bytes], bytes] = self._by_desk

    def amend(self, release: Release, limits: Limits, key: str = "free") -> Release:
        """The release with this control plane, and these limits of one key."""
        public = pop_public_key(CONTROL_KEY)
        assert base64.b64decode(public)
        keys = tuple(
            msgspec.structs.replace(one, limits=limits) if one.id == key else one
            for one in release.keys
        )
        control = Control(f"http://127.0.0.1:{self.port}", public)
        return msgspec.structs.replace(release, keys=keys, control=control)

    def open(self, release: Release) -> LeaseDesk:
        """The desk begins, or begins again from its store."""
        self.desk = LeaseDesk(CONTROL_KEY, release, self.store)
        return self.desk

    def _by_desk(self, body: bytes) -> bytes:
        assert self.desk is not None
        return self.desk.answer(body)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                assert head.startswith(b"post /pop/v1/leases ")
                size = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(size)
                status, made = b"200 OK", b""
                try:
                    made = self.answer(body)
                except SelvedgeError as error:
                    self.refused.append(str(error))
                    status = b"403 Forbidden"
                writer.write(b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n" % (status, len(made)))
                writer.write(made)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def desk_server() -> AsyncIterator[DeskServer]:
    """The desk's socket, open; its desk begins with `open`."""
    found: list[DeskServer] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await found[0].serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    found.append(DeskServer(server.sockets[0].getsockname()[1]))
    try:
        yield found[0]
    finally:
        server.close()


class Leases(LeaseClient):
    """Asks when it is told to, and says how it ended."""

    def __init__(self, pop: RunningPop, worker: int = 0) -> None:
        super().__init__(pop.state, pop.identity, worker)
        self.endings: list[str] = []
        self._moved = asyncio.Event()

    def ended(self, why: str) -> None:
        """Noted."""
        self.endings.append(why)
        self._moved.set()
        super().ended(why)

    async def ask(self) -> str | None:
        """Ask what is due; how that ended, None where nothing was."""
        self._due_us = 0
        for state in self._state.quotas._kept.values():
            for budget in state.budgets:
                budget.asked_us = 0
                self._state.quotas._want(budget)
        self._moved.clear()
        before = len(self.endings)
        self.turn()
        if self._answer is None and len(self.endings) == before:
            return None
        async with asyncio.timeout(ENDED_S_MAX):
            while len(self.endings) == before:
                self._moved.clear()
                await self._moved.wait()
        return self.endings[-1]
