"""Cables that remember: TCP relays on loopback that keep every byte of either direction.

    async with Taps() as taps:
        port = await taps.lay("cgk->sin", 8102)
        ...                                    # whoever dials `port` reaches 8102
        assert not taps.holding(CANARY)

What a secret may look like on its way is `forms_of`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Iterable
from types import TracebackType
from typing import Self
from urllib.parse import quote_from_bytes

CHUNK = 65_536


def forms_of(secret: str) -> list[bytes]:
    """A secret as it is, in parts, in base64 at any offset, in hex, escaped for JSON or a URL."""
    plain = secret.encode()
    half = len(plain) // 2
    found = [plain, plain[: half + 2], plain[half:], secret.encode("utf-16-le")]
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + plain + b"\0" * 2)
        # Only what no neighbour has a part in.
        inner = coded[4 if shift else 0 : len(coded) - 8 + (shift == 0)]
        found += [inner, inner.replace(b"+", b"-").replace(b"/", b"_")]
    found += [plain.hex().encode(), plain.hex().upper().encode()]
    found.append("".join(f"\\u{ord(one):04x}" for one in secret).encode())
    found.append(quote_from_bytes(plain, safe="").encode())
    found.append(b"".join(b"%%%02x" % one for one in plain))
    return list(dict.fromkeys(found))


def found_in(data: bytes, forms: Iterable[bytes]) -> list[bytes]:
    """Which of the forms are in there."""
    return [one for one in forms if one in data]


class Tap:
    """One cable: `there` and `back` are all bytes of that direction, of all its connections."""

    def __init__(self, name: str, target: int) -> None:
        self.name = name
        self.target = target
        self.port = 0
        self.there = bytearray()
        self.back = bytearray()
        self.connections = 0
        self.is_cut = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self, is_cut: bool = True) -> None:
        """Refuse who comes, and drop who is there; or let them through again."""
        self.is_cut = is_cut
        if is_cut:
            for writer in self._writers:
                writer.transport.abort()

    async def stop(self) -> None:
        """Close everything."""
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            if not self.is_cut:
                await self._relay(reader, writer)
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            return
        self._writers.add(to_writer)
        pumps = [
            asyncio.create_task(_pump(reader, to_writer, self.there)),
            asyncio.create_task(_pump(to_reader, writer, self.back)),
        ]
        try:
            await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._writers.discard(to_writer)
            to_writer.transport.abort()


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray
) -> None:
    """Pass on what comes, its end as an end and a reset as a reset."""
    try:
        while data := await reader.read(CHUNK):
            kept += data
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except (OSError, RuntimeError):
        writer.transport.abort()


class Taps:
    """All cables of a fabric, by name."""

    def __init__(self) -> None:
        self.laid: dict[str, Tap] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for tap in self.laid.values():
            with contextlib.suppress(OSError):
                await tap.stop()

    async def lay(self, name: str, target: int) -> int:
        """A cable to a port of this machine; the port by which it is entered."""
        tap = self.laid[name] = Tap(name, target)
        await tap.start()
        return tap.port

    def __getitem__(self, name: str) -> Tap:
        return self.laid[name]

    def holding(self, forms: Iterable[bytes]) -> dict[str, list[bytes]]:
        """Which directions of which cables held any of these bytes: ``name there|back``."""
        forms = list(forms)
        found = {}
        for name, tap in self.laid.items():
            for way, data in (("there", bytes(tap.there)), ("back", bytes(tap.back))):
                held = found_in(data, forms)
                if held:
                    found[f"{name} {way}"] = held
        return found
