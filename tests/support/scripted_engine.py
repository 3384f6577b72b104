"""An OpenAI-compatible engine that does what a `Script` says, on a real loopback socket.

In a test, in the running loop:

    async with ScriptedEngine(Script(Answer(("a", "b"), gate=gate))) as engine:
        ...                                     # engine.url
        gate.let(1)
        await engine.until(lambda: engine.aborts)

As a process, for benchmarks and torture:

    python -m tests.support.scripted_engine --port 9001 --tokens 40 --delay-ms 5

Everything that happens is kept in order in `marks`, every request in `requests`, and every
connection in `connections`, with the bytes that arrived: "not one byte left" can be asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self, cast

from tests.support import answers, requests
from tests.support.answers import Asked, Step
from tests.support.loop import run
from tests.support.script import (
    Answer,
    Cut,
    Drop,
    Hang,
    Headers,
    Raw,
    Received,
    Reply,
    Reset,
    Script,
    Status,
)

Kind = Literal["open", "request", "head", "token", "end", "abort", "cut", "close"]


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened, in order; `at_ns` is `time.monotonic_ns()`."""

    at_ns: int
    kind: Kind
    connection: int
    request: int | None = None
    token: int | None = None


@dataclass(slots=True)
class Connection:
    """One accepted connection and what came in on it."""

    index: int
    bytes_received: int = 0
    requests: int = 0
    closed: bool = False


class ScriptedEngine:
    """The engine: start it with `async with`, then talk to `url`."""

    def __init__(self, script: Script | None = None, *, port: int = 0, record: bool = True) -> None:
        self.script = script or Script()
        self.port = port
        self.record = record
        self.requests: list[Received] = []
        self.connections: list[Connection] = []
        self.marks: list[Mark] = []
        self._count = 0
        self._server: asyncio.Server | None = None
        self._serving: set[_Serving] = set()
        self._changed = asyncio.Event()

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def bytes_received(self) -> int:
        """Everything that ever arrived, heads included."""
        return sum(connection.bytes_received for connection in self.connections)

    @property
    def aborts(self) -> list[Mark]:
        """The answers whose client closed before their end; `token` is how many were out."""
        return [mark for mark in self.marks if mark.kind == "abort"]

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return len(self._serving)

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.refuse()
        self.reset_all()
        tasks = [serving.task for serving in self._serving]
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.until(lambda: not self._serving)

    async def accept(self) -> None:
        """Listens (again), on the port it had before."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Serving(self), "127.0.0.1", self.port, reuse_address=True, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Stops listening: new connections are refused, open ones go on."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await asyncio.sleep(0)

    def reset_all(self) -> None:
        """Resets every open connection, as the kernel does for a process that is killed."""
        for serving in list(self._serving):
            serving.reset()

    def close_idle(self) -> None:
        """Closes (FIN) every connection that waits for a request."""
        for serving in list(self._serving):
            if serving.current is None:
                serving.transport.close()

    async def until(self, happened: Callable[[], object], timeout_s: float = 5) -> None:
        """Returns when `happened()` is true; looks again whenever something is marked or arrives.

        Raises:
            AssertionError: it did not become true in time; the text has the last marks.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not happened():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            last = "\n".join(str(mark) for mark in self.marks[-20:])
            raise AssertionError(f"did not happen in {timeout_s} s; last marks:\n{last}") from None

    def mark(self, kind: Kind, at: _Serving, token: int | None = None) -> None:
        """Writes down what happened, and wakes who waits for it."""
        if self.record:
            request = at.current.index if at.current else None
            self.marks.append(Mark(time.monotonic_ns(), kind, at.connection.index, request, token))
        self._changed.set()

    def next_index(self) -> int:
        """The number of the next request, from 0."""
        self._count += 1
        return self._count - 1


class _Serving(asyncio.Protocol):
    """One connection: reads requests, and writes to each what the script says."""

    transport: asyncio.Transport
    task: asyncio.Task[None]

    def __init__(self, engine: ScriptedEngine) -> None:
        self.engine = engine
        self.connection = Connection(len(engine.connections))
        self.current: Received | None = None
        self.buffer = bytearray()
        self.ended = False
        self.arrived = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self.transport.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )
        if self.engine.record:
            self.engine.connections.append(self.connection)
        self.engine._serving.add(self)
        self.engine.mark("open", self)
        self.task = asyncio.get_running_loop().create_task(self.serve())

    def data_received(self, data: bytes) -> None:
        self.connection.bytes_received += len(data)
        self.buffer += data
        self.arrived.set()
        self.engine._changed.set()

    def eof_received(self) -> bool:
        self.leave()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.leave()
        self.writable.set()
        self.connection.closed = True
        self.engine._serving.discard(self)
        self.engine.mark("close", self)

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def leave(self) -> None:
        """The client has gone: an answer that is not out yet is an abort."""
        self.ended = True
        self.arrived.set()
        if self.current is not None and self.current.outcome == "open":
            self.current.outcome = "aborted"
            self.engine.mark("abort", self, self.current.tokens_sent)
            self.task.cancel()

    def reset(self) -> None:
        """Sends an RST: what has not reached the client is lost."""
        if self.current is not None and self.current.outcome == "open":
            self.finish("cut")
        linger = struct.pack("ii", 1, 0)
        if not self.transport.is_closing():
            where = self.transport.get_extra_info("socket")
            where.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.transport.abort()
        self.task.cancel()

    async def serve(self) -> None:
        try:
            while (received := await self.read_request()) is not None:
                if not await self.answer(received):
                    break
                self.current = None
        finally:
            self.transport.close()

    async def read(self, enough: Callable[[bytearray], int | None]) -> bytes | None:
        """Takes from the buffer as many bytes as `enough` says; None if the client ends first."""
        while (size := enough(self.buffer)) is None:
            if self.ended:
                return None
            self.arrived.clear()
            await self.arrived.wait()
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        return taken

    async def read_request(self) -> Received | None:
        head = await self.read(requests.head_size)
        if head is None:
            return None
        first, *lines = head.decode("latin-1").rstrip().split("\r\n")
        method, path, _ = first.split(" ", 2)
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        if headers.get("expect", "").lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in headers.get("transfer-encoding", ""):
            body = await self.read(requests.chunked_size)
            body = None if body is None else requests.unchunk(body)
        else:
            length = int(headers.get("content-length", 0))
            body = await self.read(lambda buffer: length if len(buffer) >= length else None)
        if body is None:
            return None
        index = self.engine.next_index()
        path = path.partition("?")[0]
        received = Received(index, self.connection.index, method, path, headers, head, body)
        self.current = received
        self.connection.requests += 1
        if self.engine.record:
            self.engine.requests.append(received)
        self.engine.mark("request", self)
        if self.ended:
            self.leave()
            return None
        return received

    async def answer(self, received: Received) -> bool:
        """Carries out the reply; whether the connection may take another request."""
        reply = self.engine.script.reply(received)
        if reply is None:
            return self.write_whole(received, *answers.default(self.engine.script, received))
        return await self.act(received, reply)

    async def act(self, received: Received, reply: Reply) -> bool:
        match reply:
            case Answer():
                return await self.write_answer(received, reply)
            case Status():
                body, kind = answers.error(reply)
                return self.write_whole(received, reply.code, body, kind, reply.headers)
            case Raw():
                self.transport.write(reply.data)
                self.finish("complete")
                return not reply.close
            case Drop():
                self.finish("cut")
            case Reset():
                self.reset()
            case Hang():
                await asyncio.Event().wait()
        return False

    def write_whole(
        self,
        received: Received,
        code: int,
        body: bytes,
        kind: str = "application/json",
        headers: Headers = (),
    ) -> bool:
        fields = [("content-length", str(len(body))), *headers]
        self.transport.write(answers.head(code, kind, fields) + body)
        self.finish("complete")
        return received.headers.get("connection", "").lower() != "close"

    def finish(self, outcome: Literal["complete", "cut"]) -> None:
        assert self.current is not None
        self.current.outcome = outcome
        self.engine.mark("end" if outcome == "complete" else "cut", self, self.current.tokens_sent)

    async def write_answer(self, received: Received, answer: Answer) -> bool:
        asked, cut = Asked.of(received), answer.cut
        count = answers.tokens_in(answer, asked)
        if asked.stream:
            steps = answers.stream(answer, asked)
        elif cut is not None and cut.how == "error":
            return await self.act(received, Status(500, cut.message))
        else:
            steps = (Step(count, answers.whole(answer, asked)),)
        output = _Output(self, answer, steps, asked.stream)
        await pause(answer.first_ms)
        output.write_head()
        for group in answers.grouped(steps, answer):
            await self.hold(answer, group[-1].position, 1 if asked.stream else count)
            data = b"".join(step.data for step in group)
            if cut is not None and group[-1].position >= cut.after:
                await self.cut(output, cut, b"" if asked.stream else data[: len(data) // 2])
                return False
            last = group[-1] is steps[-1]
            await output.write(data, last)
            self.note_tokens(received, group[-1].position + 1 if asked.stream else count, count)
            if last:
                self.finish("complete")
        keep = answer.keep_alive and output.framing != "close"
        return keep and received.headers.get("connection", "").lower() != "close"

    async def hold(self, answer: Answer, position: int, tokens: int) -> None:
        """Waits as long as the answer says before what has `position`."""
        if position == answers.PRELUDE:
            return
        if answer.gate is not None:
            await answer.gate.passed(position)
        await pause(answer.delay_ms * tokens)

    def note_tokens(self, received: Received, sent: int, count: int) -> None:
        for token in range(received.tokens_sent, min(sent, count)):
            received.tokens_sent = token + 1
            self.engine.mark("token", self, token)

    async def cut(self, output: _Output, cut: Cut, half: bytes) -> None:
        if half:
            await output.write(half)
        await self.settle()
        if cut.how == "hang":
            await asyncio.Event().wait()
        elif cut.how == "reset":
            self.reset()
        elif cut.how == "error":
            event = answers.error_event(output.answer, cut)
            await output.write(event + (answers.done(output.answer) if output.answer.done else b""))
            output.end()
        self.finish_once("cut")

    def finish_once(self, outcome: Literal["complete", "cut"]) -> None:
        if self.current is not None and self.current.outcome == "open":
            self.finish(outcome)

    async def settle(self) -> None:
        """Returns when what was written has left this process, and the peer had a turn to read."""
        turns = 0
        while self.transport.get_write_buffer_size() and not self.transport.is_closing():
            turns += 1
            await asyncio.sleep(0 if turns < 20 else 0.001)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


class _Output:
    """The body of one answer on its way: HTTP framing, and where TCP writes begin and end."""

    def __init__(
        self, serving: _Serving, answer: Answer, steps: tuple[Step, ...], is_stream: bool
    ) -> None:
        self.serving = serving
        self.answer = answer
        self.framing = answer.framing or ("chunked" if is_stream else "length")
        self.kind = "text/event-stream" if is_stream else "application/json"
        self.size = sum(len(step.data) for step in steps)
        self.offset = 0

    def write_head(self) -> None:
        fields = list(self.answer.headers)
        if self.framing == "chunked":
            fields.append(("transfer-encoding", "chunked"))
        elif self.framing == "length":
            fields.append(("content-length", str(self.size)))
        if self.framing == "close" or not self.answer.keep_alive:
            fields.append(("connection", "close"))
        self.serving.transport.write(answers.head(200, self.kind, fields))
        self.serving.engine.mark("head", self.serving)

    async def write(self, data: bytes, last: bool = False) -> None:
        """Writes it in as many pieces as the answer says; nothing is awaited after the last."""
        begins = self.cuts(len(data))
        for begin, end in zip(begins, [*begins[1:], len(data)], strict=True):
            if self.answer.piece or self.answer.splits:
                await self.serving.settle()
            await self.serving.writable.wait()
            piece = data[begin:end]
            if self.framing == "chunked":
                piece = b"%x\r\n%b\r\n" % (len(piece), piece)
                piece += b"0\r\n\r\n" if last and end == len(data) else b""
            self.serving.transport.write(piece)
        self.offset += len(data)

    def end(self) -> None:
        """Ends a body before its planned end, properly where the framing can say so."""
        if self.framing == "chunked":
            self.serving.transport.write(b"0\r\n\r\n")

    def cuts(self, size: int) -> list[int]:
        """Where pieces begin in the next `size` bytes."""
        stop = self.offset + size
        begins = {self.offset, *(at for at in self.answer.splits if self.offset < at < stop)}
        if piece := self.answer.piece:
            begins.update(range(-(-self.offset // piece) * piece, stop, piece))
        return sorted(at - self.offset for at in begins)


async def pause(milliseconds: float) -> None:
    if milliseconds:
        await asyncio.sleep(milliseconds / 1000)


async def serve_forever(script: Script, port: int) -> None:
    """Serves until the process is told to end, keeping no record."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with ScriptedEngine(script, port=port, record=False) as engine:
        print(f"listening {engine.url}", flush=True)
        await stopped.wait()


def main() -> None:
    """The engine as a process: every answer is the same, with real delays."""
    parser = argparse.ArgumentParser(prog="scripted_engine", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--first-ms", type=float, default=0)
    parser.add_argument("--delay-ms", type=float, default=0)
    parser.add_argument("--join", type=int, default=1, help="events for each write")
    parser.add_argument("--model", default="scripted")
    parser.add_argument("--dimensions", type=int, default=32)
    given = parser.parse_args()
    answer = Answer(
        tuple(f" t{at}" for at in range(given.tokens)),
        first_ms=given.first_ms,
        delay_ms=given.delay_ms,
        continues=True,
        join=given.join,
    )
    script = Script(answer, models=(given.model,), dimensions=given.dimensions)
    run(serve_forever(script, given.port), timeout_s=None)


if __name__ == "__main__":
    main()
