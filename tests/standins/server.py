"""An HTTP server for stand-ins: what came in is kept, what goes out is exactly what was told.

async with StandIn(answer) as provider:   # answer: Asked -> Told
    ...
    assert provider.asked[0].json["model"] == "small"
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

SEEN_S_MAX = 5.0


class Hold:
    """A place in an answer where nothing more comes until the client closes."""


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # Any: JSON
        """The body."""
        return json.loads(self.body)

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


@dataclass(frozen=True)
class Told:
    """One answer: parts of the body, each sent as a chunk of its own. `cut`: it has no end."""

    parts: tuple[bytes | Hold, ...]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = "application/json"
    cut: bool = False


class StandIn:
    """The server: start it with `async with`, then talk to `url`."""

    def __init__(self, answer: Callable[[Asked], Told]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.aborted: list[int] = []
        self.accepted = 0
        self.port = 0
        self._seen = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**24)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until_aborted(self) -> int:
        """How many parts were out when a client first closed; waits for it."""
        async with asyncio.timeout(SEEN_S_MAX):
            while not self.aborted:
                self._seen.clear()
                await self._seen.wait()
        return self.aborted[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        try:
            while (asked := await _read(reader)) is not None:
                self.asked.append(asked)
                if not await self._tell(self.answer(asked), reader, writer):
                    break
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _tell(
        self, told: Told, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        lines = [f"HTTP/1.1 {told.status} Told", f"content-type: {told.kind}"]
        lines += [f"{name}: {value}" for name, value in told.headers.items()]
        lines += ["transfer-encoding: chunked", "", ""]
        writer.write("\r\n".join(lines).encode())
        for at, part in enumerate(told.parts):
            if isinstance(part, Hold):
                with contextlib.suppress(ConnectionError):
                    await reader.read(1)
                self.aborted.append(at)
                self._seen.set()
                return False
            if part:
                writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            await writer.drain()
        if told.cut:
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.partition(": ") for line in lines)
    headers = {name.lower(): value for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, target, headers, body)
