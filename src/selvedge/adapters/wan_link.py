"""Emulated WAN links: a TCP relay per link that makes loopback as slow as the distance.

    python -m selvedge.adapters.wan_link --spec links.json

The spec is a list of links (`links`). Each chunk crosses half a round trip late, order and bytes
kept, and the first bytes of a connection cross one whole round trip later still: the handshake
that loopback hides. A FIN crosses as a FIN and a reset as a reset, because a client that hangs up
in Jakarta must reach an engine in Singapore. No rate limit, loss or jitter: distance is the one
thing this emulates.

The delay itself is `DelayLine`, pure. It refuses to know HTTP, and PoPs.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from enum import Enum
from pathlib import Path
from typing import cast

import uvloop

from selvedge.adapters.delay_line import DelayLine
from selvedge.adapters.links import READY, BadLinks, Link, parse_links
from selvedge.adapters.processes import die_with_parent

HELD_BYTES_MAX = 4 * 1024 * 1024
CONNECTIONS_MAX = 4_096
EXIT_REFUSED = 2
_SLACK_S = 0.000_5
"""Timers count whole milliseconds and ring up to one late; what is due within half of one leaves
now, so that a round trip is right on average instead of 1.3 ms long."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class _Ending(Enum):
    """What a line carries besides bytes."""

    FIN = "fin"
    RESET = "reset"


_Line = DelayLine[bytes | _Ending]


class _End(asyncio.Protocol):
    """One of the two sockets of a connection: pushes what it reads into `line`.

    `line` leads to `other`. What comes out of it is written there when it is due. Nothing
    leaves before both sockets are open. Once a FIN was read, uvloop watches a socket only when it
    writes, so a reset that follows a FIN crosses with the second chunk after it.
    """

    def __init__(
        self, line: _Line, opened: Callable[[_End], None], lost: Callable[[_End], None]
    ) -> None:
        self.line = line
        self.other: _End
        self._opened = opened
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_paused = True
        self._can_write = True
        self._read_eof = False
        self._wrote_eof = False
        self._is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HELD_BYTES_MAX)
        self._transport.pause_reading()
        if self.other._is_lost:
            self._transport.abort()
        self._opened(self)
        self.regulate()

    def data_received(self, data: bytes) -> None:
        self._push(data, len(data))

    def eof_received(self) -> bool:
        self._read_eof = True
        self._push(_Ending.FIN)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self._lost(self)
        if exc is not None:
            self._push(_Ending.RESET)

    @property
    def is_open(self) -> bool:
        """Whether this end has a socket that was not lost."""
        return self._transport is not None and not self._is_lost

    def cut(self) -> None:
        """Reset this end now; the other is not told."""
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._reset(self._transport)

    def pause_writing(self) -> None:
        self._can_write = False
        self.other.regulate()

    def resume_writing(self) -> None:
        self._can_write = True
        self.other.regulate()

    def refuse(self) -> None:
        """This end was never reached: the other learns it a round trip after it asked."""
        self._is_lost = True
        self._push(_Ending.RESET)

    def begin(self) -> None:
        """The other end is open: what was read before, uvloop's pause being late, may go."""
        self.regulate()
        self._arm()

    def regulate(self) -> None:
        """Stop reading while the line or the far socket is full; start again with room."""
        if self._transport is None or self._read_eof or self._is_lost:
            return
        must_pause = self.line.is_full or not self.other.is_open or not self.other._can_write
        if must_pause and not self._is_paused:
            self._transport.pause_reading()
            self._is_paused = True
        elif not must_pause and self._is_paused and self.line.has_room:
            self._transport.resume_reading()
            self._is_paused = False

    def _push(self, item: bytes | _Ending, weight: int = 0) -> None:
        self.line.push(time.monotonic(), item, weight)
        self.regulate()
        self._arm()

    def _arm(self) -> None:
        due_s = self.line.next_due_s
        is_dialling = self.other._transport is None and not self.other._is_lost
        if self._timer is not None or due_s is None or is_dialling:
            return
        remaining_s = due_s - time.monotonic()
        if remaining_s <= _SLACK_S:
            self._fire()
            return
        delay_ms = max(1, math.floor(remaining_s * 1_000))
        self._timer = asyncio.get_running_loop().call_later(delay_ms / 1_000, self._fire)

    def _fire(self) -> None:
        self._timer = None
        for item in self.line.pop_due(time.monotonic() + _SLACK_S):
            self.other.emit(item)
        self.regulate()
        self._arm()

    def emit(self, item: bytes | _Ending) -> None:
        """Do to this end's socket what was done to the other's, half a round trip ago."""
        if self._is_lost or self._transport is None:
            return
        if isinstance(item, bytes):
            self._transport.write(item)
        elif item is _Ending.FIN:
            self._write_eof(self._transport)
        else:
            self._reset(self._transport)

    @staticmethod
    def _reset(transport: asyncio.Transport) -> None:
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()

    def _write_eof(self, transport: asyncio.Transport) -> None:
        self._wrote_eof = True
        if self._read_eof:
            transport.close()
        else:
            transport.write_eof()
        if self.other._wrote_eof and self.other._transport is not None:
            self.other._transport.close()


class _LinkServer:
    """The listener of one link and the connections that cross it."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._ends: set[_End] = set()
        self._dialling: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._emptied = asyncio.Event()
        self._emptied.set()

    async def start(self) -> None:
        """Listen on loopback. Raises BadLinks if the port is taken."""
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(
                self._accept, "127.0.0.1", self.link.listen_port
            )
        except OSError as error:
            raise BadLinks(
                f"link {self.link.name!r}: port {self.link.listen_port} cannot be listened on "
                f"({os.strerror(error.errno or 0).lower()})"
            ) from error

    async def stop(self) -> None:
        """Stop listening and reset what still crosses."""
        if self._listener is not None:
            self._listener.close()
        for task in self._dialling:
            task.cancel()
        await asyncio.gather(*self._dialling, return_exceptions=True)
        for end in tuple(self._ends):
            end.cut()
        await self._emptied.wait()

    def _accept(self) -> _End:
        opens_at_s = time.monotonic() + self.link.rtt_ms / 1_000
        near = _End(self._line(opens_at_s), self._opened, self._ended)
        far = _End(self._line(opens_at_s), self._opened, self._ended)
        near.other, far.other = far, near
        return near

    def _line(self, opens_at_s: float) -> _Line:
        return DelayLine(self.link.rtt_ms / 2_000, opens_at_s=opens_at_s, capacity=HELD_BYTES_MAX)

    def _opened(self, end: _End) -> None:
        self._ends.add(end)
        self._emptied.clear()
        if end.other.is_open:
            end.other.begin()
        elif len(self._ends) > 2 * CONNECTIONS_MAX:
            end.cut()
        else:
            task = asyncio.get_running_loop().create_task(self._dial(end))
            self._dialling.add(task)
            task.add_done_callback(self._dialling.discard)

    def _ended(self, end: _End) -> None:
        self._ends.discard(end)
        if not self._ends:
            self._emptied.set()

    async def _dial(self, near: _End) -> None:
        loop = asyncio.get_running_loop()
        target = self.link.target_host, self.link.target_port
        try:
            await loop.create_connection(lambda: near.other, *target)
        except OSError:
            near.other.refuse()


@asynccontextmanager
async def serving(links: Sequence[Link]) -> AsyncIterator[None]:
    """Carry connections over `links` inside the block. Raises BadLinks if a port is taken."""
    servers = [_LinkServer(link) for link in links]
    try:
        for server in servers:
            await server.start()
        yield
    finally:
        for server in servers:
            await server.stop()


async def _serve_until_signal(links: Sequence[Link]) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with serving(links):
        print(READY, flush=True)
        await ended.wait()


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT (exit code 0); 2 when the spec or a port is refused."""
    die_with_parent()
    parser = argparse.ArgumentParser(prog="selvedge.adapters.wan_link", allow_abbrev=False)
    parser.add_argument("--spec", type=Path, required=True, help="a JSON list of links")
    spec: Path = parser.parse_args(argv).spec
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve_until_signal(parse_links(spec.read_bytes())))
    except BadLinks as error:
        print(f"selvedge wan link: {error}.", file=sys.stderr)
        return EXIT_REFUSED
    except OSError as error:
        print(f"selvedge wan link: {spec}: {error.strerror}.", file=sys.stderr)
        return EXIT_REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
