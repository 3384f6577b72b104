"""IPv6 at the socket: listened on, dialled, named in Host, and in the receipt."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from selvedge.adapters import ClientSettings, HttpClient, Outgoing
from selvedge.pop.http_server import Inbound, Server, ServerSettings, start_server
from selvedge.pop.settings import host_and_port
from tests.support import run
from tests.support.wires import Wire, post


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


pytestmark = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 on loopback")


@contextlib.asynccontextmanager
async def serving(handler: Callable[[Inbound], Awaitable[None]]) -> AsyncIterator[Server]:
    host, port = host_and_port("[::1]:0")
    faults: list[BaseException] = []
    server = await start_server(
        handler, host, port, settings=ServerSettings(), on_error=faults.append
    )
    try:
        yield server
    finally:
        server.close()
        await server.drain(5)
        assert faults == []


async def echo(inbound: Inbound) -> None:
    body = await inbound.read_body(1_000_000)
    place = inbound.head.headers.get("host") or ""
    inbound.respond(200, [("seen", inbound.peer[0]), ("at", place)], body)


def test_pipelined_requests_and_one_that_expects() -> None:
    async def main() -> None:
        async with serving(echo) as server, Wire.to(server.port, host="::1") as wire:
            wire.send(b"".join(post(None, text) for text in (b"one", b"two", b"three")))
            answers = [await wire.answer() for _ in range(3)]
            assert [one.body for one in answers] == [b"one", b"two", b"three"]
            assert {one.headers["seen"] for one in answers} == {"::1"}
            head = post(None, b"", more="expect: 100-continue\r\n", length=4)
            wire.send(head)
            assert (await wire.head())[0] == 100
            wire.send(b"four")
            assert (await wire.answer()).body == b"four"

    run(main())


def test_our_own_client_dials_it() -> None:
    async def main() -> None:
        client = HttpClient(ClientSettings())
        async with serving(echo) as server:
            request = Outgoing("::1", server.port, "POST", "/", body=b"hi")
            answer = await client.fetch(request)
            assert answer.body == b"hi"
            assert answer.head.headers.get("at") == f"[::1]:{server.port}"
            await client.close()

    run(main())
