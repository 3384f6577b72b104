"""Raw HTTP/1.1 connections for tests: what goes out is exactly what was given."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

READ_S_MAX = 10.0
BROKEN = (asyncio.IncompleteReadError, ConnectionResetError, BrokenPipeError)


@dataclass(frozen=True, slots=True)
class Response:
    """One response as it came. `whole` is false where the connection ended first."""

    status: int
    headers: Mapping[str, str]  # lower-case names; the last of each
    body: bytes
    whole: bool = True

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:  # Any: JSON
        """The error object; exactly OpenAI's four keys, with a string for a code."""
        assert self.headers["content-type"].startswith("application/json")
        return error_of(self.body)

    @property
    def events(self) -> list[bytes]:
        """The data of a stream's frames; asserts that there is nothing but frames."""
        *frames, rest = self.body.split(b"\n\n")
        assert rest == b"", f"after the last frame: {rest!r}"
        assert all(one.startswith(b"data: ") and b"\n" not in one for one in frames), frames
        return [one.removeprefix(b"data: ") for one in frames]


def error_of(body: bytes) -> dict[str, Any]:  # Any: JSON
    """The error object of a body or of an event."""
    parsed = json.loads(body)
    assert list(parsed) == ["error"], parsed
    error = parsed["error"]
    assert set(error) == {"message", "type", "param", "code"}, error
    assert isinstance(error["code"], str), error
    assert isinstance(error["message"], str), error
    assert isinstance(error["type"], str), error
    assert "Traceback" not in error["message"], error
    return dict(error)


def chat(text: str = "hi", **fields: object) -> bytes:
    """The body of a chat request."""
    message = {"role": "user", "content": text}
    return json.dumps({"model": "chat", "messages": [message], **fields}).encode()


def post(
    authorization: str | None,
    body: bytes,
    path: str = "/v1/chat/completions",
    more: str = "",
    length: int | None = None,
) -> bytes:
    """A POST as bytes. `more` holds further header lines, each with its CRLF."""
    head = f"POST {path} HTTP/1.1\r\nhost: pop\r\n{more}"
    if authorization is not None:
        head += f"authorization: {authorization}\r\n"
    if "content-type:" not in more:
        head += "content-type: application/json\r\n"
    if "transfer-encoding:" not in more:
        head += f"content-length: {len(body) if length is None else length}\r\n"
    return f"{head}\r\n".encode("latin-1") + body


class Wire:
    """One connection to a PoP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._chunked = False
        self._left: int | None = None
        self._buffer = b""

    @classmethod
    @contextlib.asynccontextmanager
    async def to(
        cls, port: int, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> AsyncIterator[Wire]:
        """A connection that is closed at the end of the block."""
        reader, writer = await asyncio.open_connection(host, port, limit=2**24, ssl=tls)
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)

    async def ask(
        self,
        authorization: str | None,
        body: bytes,
        path: str = "/v1/chat/completions",
        more: str = "",
    ) -> Response:
        """POST, and the whole answer."""
        self.send(post(authorization, body, path, more))
        return await self.answer()

    async def get(
        self, path: str, authorization: str | None = None, method: str = "GET"
    ) -> Response:
        """GET (or another method without a body), and the whole answer."""
        head = f"{method} {path} HTTP/1.1\r\nhost: pop\r\n"
        head += f"authorization: {authorization}\r\n" if authorization else ""
        self.send(f"{head}\r\n".encode())
        status, headers = await self.head()
        if method == "HEAD":
            return Response(status, headers, b"")
        body, whole = await self.rest()
        return Response(status, headers, body, whole)

    async def answer(self) -> Response:
        """The next whole answer, or what there is of it."""
        status, headers = await self.head()
        body, whole = await self.rest()
        return Response(status, headers, body, whole)

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the next answer."""
        async with asyncio.timeout(READ_S_MAX):
            data = await self._reader.readuntil(b"\r\n\r\n")
        first, *lines = data.decode("latin-1").rstrip().split("\r\n")
        pairs = (line.partition(": ") for line in lines)
        headers = {name.lower(): value for name, _, value in pairs}
        self._chunked = headers.get("transfer-encoding") == "chunked"
        self._left = int(headers["content-length"]) if "content-length" in headers else None
        return int(first.split(" ")[1]), headers

    async def part(self) -> bytes:
        """The next part of the body; nothing at its end. Raises one of `BROKEN`."""
        async with asyncio.timeout(READ_S_MAX):
            if self._chunked:
                size = int((await self._reader.readuntil(b"\r\n"))[:-2], 16)
                return (await self._reader.readexactly(size + 2))[:-2]
            if self._left is not None:
                data = await self._reader.readexactly(self._left)
                self._left = 0
                return data
            return await self._reader.read(65536)

    async def event(self) -> bytes:
        """The data of the next frame of a stream."""
        while b"\n\n" not in self._buffer:
            part = await self.part()
            assert part, "the stream ended"
            self._buffer += part
        frame, _, self._buffer = self._buffer.partition(b"\n\n")
        assert frame.startswith(b"data: "), frame
        return frame.removeprefix(b"data: ")

    async def rest(self) -> tuple[bytes, bool]:
        """What is left of the body, and whether it is whole."""
        parts, self._buffer = [self._buffer], b""
        try:
            while part := await self.part():
                parts.append(part)
        except BROKEN:
            return b"".join(parts), False
        return b"".join(parts), True

    async def ended(self) -> bool:
        """Whether the other side has closed without another byte; waits until it does either."""
        async with asyncio.timeout(READ_S_MAX):
            try:
                return await self._reader.read(1) == b""
            except ConnectionResetError:
                return True

    def read_nothing(self) -> None:
        """Leave in the kernel what arrives from now on, and little of it."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        cast(asyncio.ReadTransport, self._writer.transport).pause_reading()

    def read_on(self) -> None:
        """Go on reading."""
        cast(asyncio.ReadTransport, self._writer.transport).resume_reading()

    @property
    def secured(self) -> ssl.SSLObject:
        """The TLS side of the connection."""
        found: ssl.SSLObject = self._writer.get_extra_info("ssl_object")
        return found

    @property
    def _socket(self) -> socket.socket:
        found: socket.socket = self._writer.get_extra_info("socket")
        return found

    def hang_up(self, *, reset: bool = False) -> None:
        """Close now: with a FIN, or with a reset."""
        if reset:
            linger = struct.pack("ii", 1, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._writer.transport.abort()
        else:
            self._writer.close()
