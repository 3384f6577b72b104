"""The pooled client against raw servers on the loopback: what it sends, keeps and resets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from selvedge.adapters import Call, ClientSettings, HttpClient, Outgoing, TransportFailed
from selvedge.wire import ResponseHead
from tests.support import run

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Sink:
    """Remembers one answer in order, and wakes who waits for its end or its first data."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.body = b""
        self.error: TransportFailed | None = None
        self.over = asyncio.Event()
        self.begun = asyncio.Event()

    def head(self, head: ResponseHead) -> None:
        self.heard.append(f"head {head.status}")

    def data(self, part: bytes) -> None:
        if self.heard[-1] != "data":
            self.heard.append("data")
        self.body += part
        self.begun.set()

    def end(self) -> None:
        self.heard.append("end")
        self.over.set()

    def failed(self, error: TransportFailed) -> None:
        self.heard.append("failed")
        self.error = error
        self.over.set()

    @property
    def failure(self) -> tuple[str, bool]:
        """What failed, and whether bytes were sent."""
        assert self.error is not None
        return self.error.kind, self.error.bytes_sent


class Place:
    """A raw server: counts connections, hands each to one function, and keeps what was read."""

    def __init__(self, serve: Serve, port: int) -> None:
        self.serve = serve
        self.port = port
        self.accepted = 0
        self.closed = asyncio.Queue[BaseException | None]()

    def ask(self, method: str = "POST", body: bytes = b"{}") -> Outgoing:
        return Outgoing("127.0.0.1", self.port, method, "/v1", [("x-a", "1")], body)


@contextlib.asynccontextmanager
async def place(serve: Serve) -> AsyncIterator[Place]:
    made: list[Place] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made[0].accepted += 1
        ended: BaseException | None = None
        try:
            await made[0].serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            ended = error
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        made[0].closed.put_nowait(ended)

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        made.append(Place(serve, server.sockets[0].getsockname()[1]))
        yield made[0]


@contextlib.asynccontextmanager
async def client(settings: ClientSettings | None = None) -> AsyncIterator[HttpClient]:
    made = HttpClient(settings or ClientSettings())
    try:
        yield made
    finally:
        await made.close()


async def request(reader: asyncio.StreamReader) -> bytes:
    """One request with `content-length`, as it came."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return head + await reader.readexactly(int(length or 0))


def answers(*each: bytes) -> Serve:
    """Answers the requests of every connection with these, then closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in each:
            await request(reader)
            writer.write(answer)

    return serve


async def forever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers every request."""
    while True:
        await request(reader)
        writer.write(OK)


async def ask(made: HttpClient, there: Place, method: str = "POST") -> Sink:
    sink = Sink()
    made.send(there.ask(method, b"{}" if method == "POST" else b""), sink)
    await sink.over.wait()
    return sink


def test_what_is_sent_and_what_is_heard() -> None:
    seen = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await request(reader))
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)

    async def main() -> None:
        async with place(serve) as there, client() as made:
            sink = Sink()
            call = made.send(there.ask(), sink)
            assert not call.sent
            await sink.over.wait()
            assert call.sent
            assert sink.heard == ["head 200", "data", "end"]
            host = f"host: 127.0.0.1:{there.port}".encode()
            assert seen[0].split(b"\r\n") == [
                *(b"POST /v1 HTTP/1.1", b"content-length: 2", host, b"x-a: 1", b"", b"{}")
            ]

    run(main())


def test_connections_are_kept_and_only_one_is_needed_for_calls_in_turn() -> None:
    async def main() -> None:
        async with place(forever) as there, client() as made:
            for _ in range(3):
                assert (await ask(made, there)).body == b"hi"
            assert there.accepted == 1
            await asyncio.gather(*(ask(made, there) for _ in range(3)))
            assert there.accepted == 3

    run(main())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        OK + b"surplus",
    ],
)
def test_a_connection_that_ends_or_says_too_much_is_not_kept(answer: bytes) -> None:
    async def main() -> None:
        async with place(answers(answer, answer)) as there, client() as made:
            assert (await ask(made, there)).body == b"hi"
            assert (await ask(made, there)).body == b"hi"
            assert there.accepted == 2

    run(main())


def test_a_chunked_body_one_that_ends_with_the_connection_and_none() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n"

    async def main() -> None:
        for answer in (chunked, b"HTTP/1.1 200 OK\r\n\r\nhi"):
            async with place(answers(answer)) as there, client() as made:
                sink = await ask(made, there)
                assert (sink.body, sink.heard[-1]) == (b"hi", "end")
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
        async with place(answers(head, head)) as there, client() as made:
            assert (await ask(made, there, "HEAD")).heard == ["head 200", "end"]

    run(main())


def test_a_kept_connection_that_was_closed_is_replaced_unseen() -> None:
    """The server takes the second request and closes: nobody can know whether it began."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK)
        await request(reader)

    async def main() -> None:
        async with place(once) as there, client() as made:
            await ask(made, there)
            sink = await ask(made, there)
            assert sink.heard == ["head 200", "data", "end"]
            assert there.accepted == 2

    run(main())


def test_it_is_replaced_once_and_a_failure_then_still_says_that_bytes_were_sent() -> None:
    async def main() -> None:
        async with client() as made:
            async with place(answers(OK)) as there:
                reading = asyncio.Event()

                async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                    await request(reader)
                    writer.write(OK)
                    await reading.wait()
                    await request(reader)

                there.serve = keep
                await ask(made, there)
            # The listener is closed; the kept connection is alive until its next request.
            sink = Sink()
            made.send(there.ask(), sink)
            reading.set()
            await sink.over.wait()
            assert sink.failure == ("connect", True)

        async with place(answers(b"")) as there, client() as made:
            assert (await ask(made, there)).failure == ("reset", True)
            assert there.accepted == 1

    run(main())


@pytest.mark.parametrize(
    ("answer", "kind", "heard"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", "truncated", "data"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n", "truncated", "data"),
        (b"HTTP/1.1 200 OK\r\nContent-", "truncated", None),
        (b"SSH-2.0-OpenSSH\r\n", "protocol", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nhZ\r\n", "protocol", "data"),
    ],
)
def test_a_broken_answer_is_told_once(answer: bytes, kind: str, heard: str | None) -> None:
    async def main() -> None:
        async with place(answers(answer)) as there, client() as made:
            sink = await ask(made, there)
            assert sink.failure == (kind, True)
            assert sink.heard == [*(["head 200", heard] if heard else []), "failed"]

    run(main())


def test_nobody_there_and_no_such_name() -> None:
    async def main() -> None:
        async with place(answers(OK)) as there:
            pass
        async with client() as made:
            assert (await ask(made, there)).failure == ("connect", False)
            sink = Sink()
            made.send(Outgoing("." * 3, 1, "GET", "/"), sink)
            await sink.over.wait()
            assert sink.failure == ("connect", False)

    run(main())


@contextlib.asynccontextmanager
async def under_way(made: HttpClient) -> AsyncIterator[tuple[Place, Sink, Call]]:
    """A call whose answer has begun and does not end."""

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK[:-1])
        await reader.readexactly(1)

    async with place(half) as there:
        sink = Sink()
        call = made.send(there.ask(), sink)
        await sink.begun.wait()
        yield there, sink, call


def test_cancel_resets_the_connection_and_silences_the_sink() -> None:
    async def main() -> None:
        async with client() as made, under_way(made) as (there, sink, call):
            call.cancel()
            call.cancel()
            assert isinstance(await there.closed.get(), ConnectionResetError)
            assert sink.heard == ["head 200", "data"]

    run(main())


def test_a_call_cancelled_while_it_dials_is_silent() -> None:
    async def main() -> None:
        async with place(forever) as there, client() as made:
            early = Sink()
            made.send(there.ask(), early).cancel()
            assert (await ask(made, there)).body == b"hi"
            assert early.heard == []

    run(main())


def test_close_tells_every_call_and_refuses_new_ones() -> None:
    async def main() -> None:
        made = HttpClient(ClientSettings())
        async with under_way(made) as (there, sink, _):
            dialling = Sink()
            made.send(there.ask(), dialling)
            await made.close()
            assert sink.failure == ("reset", True)
            assert dialling.failure == ("connect", False)
            late = Sink()
            made.send(there.ask(), late)
            assert late.heard == []
            await late.over.wait()
            assert late.failure == ("connect", False)

    run(main())


def test_a_paused_call_takes_no_more_until_it_is_resumed() -> None:
    size = 8 * 1024 * 1024
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
    stuck = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(head + bytes(size))
        with contextlib.suppress(TimeoutError):  # the other side takes nothing
            async with asyncio.timeout(0.05):
                await writer.drain()
            pytest.fail("8 MB were taken by a paused call")
        stuck.set()
        await writer.drain()

    async def main() -> None:
        async with place(serve) as there, client() as made:
            sink = Sink()
            call = made.send(there.ask(), sink)
            call.pause()
            await stuck.wait()
            assert len(sink.body) < size
            call.resume()
            await sink.over.wait()
            assert len(sink.body) == size

    run(main())


def test_a_call_that_is_over_has_no_say_over_the_next_on_its_connection() -> None:
    async def main() -> None:
        async with place(forever) as there, client() as made:
            sink = Sink()
            first = made.send(there.ask(), sink)
            await sink.over.wait()
            first.pause()
            assert (await ask(made, there)).body == b"hi"
            first.cancel()
            assert (await ask(made, there)).body == b"hi"
            assert there.accepted == 1

    run(main())


def test_connections_idle_for_too_long_are_not_used_and_closed() -> None:
    async def main() -> None:
        async with place(forever) as there, client(ClientSettings(idle_s=0.0)) as made:
            await ask(made, there)
            await ask(made, there)
            assert there.accepted == 2
            assert isinstance(await there.closed.get(), ConnectionError | EOFError)
        async with place(forever) as there, client(ClientSettings(idle_per_host_max=1)) as made:
            await asyncio.gather(*(ask(made, there) for _ in range(3)))
            for _ in range(2):
                await there.closed.get()
            await ask(made, there)
            assert there.accepted == 3

    run(main())


def test_fetch_gives_a_whole_answer_or_says_why_not() -> None:
    async def main() -> None:
        async with place(forever) as there, client() as made:
            got = await made.fetch(there.ask())
            assert (got.status, got.body) == (200, b"hi")
            with pytest.raises(TransportFailed) as caught:
                await made.fetch(there.ask(), bytes_max=1)
            assert caught.value.kind == "too_large"
        async with client() as made, under_way(made) as (there, _, _):
            with pytest.raises(TimeoutError):
                await made.fetch(there.ask(), timeout_s=0.01)

    run(main())
