"""One keep-alive connection of a cheap HTTP/1.1 client: prebuilt bytes out, timed bytes in.

It does as little as it can while an answer arrives, so that what is measured is the fabric: each
read is kept with its time, and made sense of afterwards. It knows the two framings that engines
and PoPs use (content-length, chunked) and nothing of JSON.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

LAST_CHUNK = b"\r\n0\r\n\r\n"
DONE = b"data: [DONE]"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(slots=True)
class Heard:
    """What came back for one request. Times are `time.perf_counter_ns()`.

    ``whole``: the last byte of the body is here.
    """

    sent_ns: int
    parts: list[tuple[int, bytes]] = field(default_factory=list)
    whole: bool = False

    @property
    def raw(self) -> bytes:
        """Head and body as they came, framing included."""
        return b"".join(data for _, data in self.parts)

    @property
    def status(self) -> int:
        """The HTTP status; 0 where no head came."""
        raw = self.raw
        return int(raw[9:12]) if raw.startswith(b"HTTP/1.1 ") and len(raw) > 12 else 0

    def header(self, name: str) -> str | None:
        """One header of a complete head; None where it is missing."""
        head, end, _ = self.raw.partition(b"\r\n\r\n")
        found = re.search(rb"\r\n" + name.encode() + rb": *([^\r]*)", head, re.IGNORECASE)
        return found.group(1).decode("latin-1") if found and end else None

    @property
    def ended(self) -> bool:
        """Whether the terminal event is here: ``[DONE]`` of a stream, else the last byte."""
        return self.whole or DONE in self.raw

    def first_ns(self, pattern: re.Pattern[bytes]) -> int | None:
        """When the read came with which ``pattern`` first matched what is there."""
        seen = b""
        for at_ns, data in self.parts:
            seen += data
            if pattern.search(seen):
                return at_ns
        return None

    @property
    def ended_ns(self) -> int:
        """When the last read came."""
        return self.parts[-1][0]


class Line(asyncio.Protocol):
    """A connection that asks one thing at a time. Made by `open_line`."""

    def __init__(self) -> None:
        self.is_open = False
        self._transport: asyncio.Transport | None = None
        self._heard = Heard(0)
        self._waiter: asyncio.Future[Heard] | None = None
        self._framed = False
        self._left: int | None = None
        self._tail = b""
        self._parts_max: int | None = None

    async def ask(self, request: bytes, parts_max: int | None = None) -> Heard:
        """Send a request and hear its answer, whole or cut off by the end of the connection.

        With ``parts_max`` the client hangs up after so many reads; 0 is before the first.
        """
        assert self._transport is not None
        assert self._waiter is None
        self._framed, self._left, self._tail, self._parts_max = False, None, b"", parts_max
        waiter: asyncio.Future[Heard] = asyncio.get_running_loop().create_future()
        self._waiter = waiter
        self._heard = Heard(time.perf_counter_ns())
        if not self.is_open:
            self._finish()
        else:
            self._transport.write(request)
            if parts_max == 0:
                asyncio.get_running_loop().call_soon(self.close)
        return await waiter

    def close(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self.is_open = True
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        heard = self._heard
        heard.parts.append((time.perf_counter_ns(), data))
        if not self._framed:
            raw = heard.raw
            head_end = raw.find(b"\r\n\r\n")
            if head_end < 0:
                return
            self._framed = True
            found = _LENGTH.search(raw, 0, head_end)
            self._left = int(found.group(1)) if found else None
            data = raw[head_end + 4 :]
            self._tail = b"\r\n"
        if self._left is not None:
            self._left -= len(data)
            heard.whole = self._left <= 0
        else:
            self._tail = (self._tail + data)[-len(LAST_CHUNK) :]
            heard.whole = self._tail == LAST_CHUNK
        if heard.whole:
            self._finish()
        elif self._parts_max is not None and len(heard.parts) >= self._parts_max:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._finish()

    def _finish(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(self._heard)


async def open_line(port: int) -> Line:
    """A connection to a loopback port. Raises `OSError`."""
    _, line = await asyncio.get_running_loop().create_connection(Line, "127.0.0.1", port)
    return line


def post(path: str, port: int, body: bytes, key: str | None = None) -> bytes:
    """The bytes of a POST of JSON."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"host: 127.0.0.1:{port}",
        "content-type: application/json",
        f"content-length: {len(body)}",
    ]
    if key is not None:
        lines.append(f"authorization: Bearer {key}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def until_ready(port: int, is_over: Callable[[], bool], pause_s: float = 0.003) -> bool:
    """Ask ``/readyz`` until it says 200; False as soon as ``is_over``."""
    request = f"GET /readyz HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n"
    while not is_over():
        try:
            line = await open_line(port)
        except OSError:
            await asyncio.sleep(pause_s)
            continue
        heard = await line.ask(request.encode())
        line.close()
        if heard.status == 200:
            return True
        await asyncio.sleep(pause_s)
    return False
