"""A PoP behind the shipped nginx and HAProxy: HTTP/2 in front, and nothing lost on the way."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from selvedge.fabric import Outcome
from tests.support import Answer, Gate, Script, run
from tests.support.fleets import bearer
from tests.support.pops import Fabric, rig
from tests.support.proxies import KINDS, Front, proxied
from tests.support.wires import Wire, chat, error_of

CLIENT = "127.0.0.2"
FORGED = "6.6.6.6"
SETTINGS: dict[str, dict[str, Any]] = {
    "sin": {"trusted_hops": 1, "trusted_proxies": ["127.0.0.1/32"]}
}
ANY_PROXY = pytest.mark.parametrize("kind", KINDS)
WORK = "/v1/chat/completions"


def request(body: bytes, *words: str) -> tuple[str, ...]:
    """A POST for curl, from an address of its own, with headers that lie about it."""
    headers = [
        f"authorization: {bearer('asean')}",
        "content-type: application/json",
        f"x-forwarded-for: {FORGED}",
        f"forwarded: for={FORGED}",
    ]
    more = [word for header in headers for word in ("-H", header)]
    return ("--interface", CLIENT, *more, "--data-binary", body.decode(), *words)


async def next_event(front: Any) -> bytes:
    """The data of the next event that curl printed."""
    while True:
        line: bytes = await front.stdout.readline()
        assert line, "the stream ended"
        if line.startswith(b"data: "):
            return line.removeprefix(b"data: ").rstrip(b"\n")


async def token(front: Any, text: str) -> None:
    """Read on until this token."""
    async with asyncio.timeout(10):
        while f'"content":"{text}"'.encode() not in await next_event(front):
            pass


@ANY_PROXY
def test_a_request_over_http_2(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            rig(tmp_path, settings=SETTINGS) as fabric,
            proxied(kind, tmp_path, fabric.pop("sin").port) as front,
        ):
            told = await front.curl(WORK, *request(chat(), "-w", "\n%{http_version} %{http_code}"))
            body, _, facts = told.rpartition("\n")
            assert facts == "2 200"
            assert json.loads(body)["choices"][0]["message"]["content"] == "Hello, world!"
            (receipt,) = fabric.pop("sin").receipts()
            assert receipt.outcome is Outcome.COMPLETE
            assert fabric.pop("sin").personal()[0].client_ip == CLIENT
            (seen,) = fabric.pop("sin").work()
            assert FORGED in (seen.head.headers.get("x-forwarded-for") or "")
            assert "forwarded" not in seen.head.headers

    run(main())


@ANY_PROXY
def test_events_arrive_one_by_one_and_a_hang_up_reaches_the_engine(
    kind: str, tmp_path: Path
) -> None:
    async def main() -> None:
        gate = Gate()
        script = Script(Answer(("a", "b", "c", "d"), gate=gate))
        async with (
            rig(tmp_path, sin=script, settings=SETTINGS) as fabric,
            proxied(kind, tmp_path, fabric.pop("sin").port) as front,
        ):
            engine = fabric.engines["sin"]
            async with front.asking(WORK, *request(chat(stream=True))) as asking:
                for count, text in enumerate("abc", 1):
                    gate.let()  # the next token is made only when the last has arrived
                    await token(asking, text)
                    assert engine.requests[0].tokens_sent == count
            await engine.until(lambda: engine.aborts)
            (receipt,) = await fabric.pop("sin").until_receipts()
            assert receipt.outcome is Outcome.CLIENT_GONE

    run(main())


@ANY_PROXY
def test_a_client_that_leaves_before_the_first_token(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        script = Script(Answer(("a",), gate=Gate()))
        async with (
            rig(tmp_path, sin=script, settings=SETTINGS) as fabric,
            proxied(kind, tmp_path, fabric.pop("sin").port) as front,
        ):
            engine = fabric.engines["sin"]
            async with front.asking(WORK, *request(chat())):
                await engine.until(lambda: engine.requests)
            await engine.until(lambda: engine.aborts)
            (receipt,) = await fabric.pop("sin").until_receipts()
            assert receipt.outcome is Outcome.CLIENT_GONE

    run(main())


@ANY_PROXY
def test_connections_to_the_pop_are_kept(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            rig(tmp_path, settings=SETTINGS) as fabric,
            proxied(kind, tmp_path, fabric.pop("sin").port) as front,
        ):
            urls = [f"https://localhost:{front.port}/healthz"] * 4
            told = await front.curl("/healthz", "-Z", "--parallel-max", "1", *urls)
            assert told.count('{"status":"ok"}') == 5
            assert fabric.pop("sin").accepted < 5

    run(main())


@ANY_PROXY
def test_a_body_over_the_limit(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        big = tmp_path / "big"
        big.write_bytes(b"{" + b" " * 10_000_000)
        async with (
            rig(tmp_path, settings=SETTINGS) as fabric,
            proxied(kind, tmp_path, fabric.pop("sin").port) as front,
        ):
            words = request(b"x", "-w", "\n%{http_code}")
            words = tuple(f"@{big}" if word == "x" else word for word in words)
            body, _, status = (await front.curl(WORK, *words)).rpartition("\n")
            assert (status, error_of(body.encode())["code"]) == ("413", "request_too_large")
            assert fabric.engines["sin"].connections == []

    run(main())


@ANY_PROXY
def test_a_pop_that_is_away(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            rig(tmp_path, settings=SETTINGS) as fabric,
            proxied(kind, tmp_path, fabric.pop("sin").port) as front,
        ):
            await fabric.pop("sin").refuse()
            told = await front.curl(WORK, *request(chat(), "-w", "\n%{http_code}"))
            body, _, status = told.rpartition("\n")
            assert (status, error_of(body.encode())["code"]) == ("503", "not_ready")

    run(main())


@ANY_PROXY
def test_a_request_is_sent_once(kind: str, tmp_path: Path) -> None:
    """The PoP breaks off after the request: no proxy may ask again on its own.

    Over HTTP/1.1, because HAProxy tells an HTTP/2 client REFUSED_STREAM, and curl asks again.
    """

    async def main() -> None:
        count = 0
        old = ("--http1.1",) if kind == "haproxy" else ()

        async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal count
            await reader.readuntil(b"\r\n\r\n")
            count += 1
            writer.transport.abort()

        async with await asyncio.start_server(broken, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with proxied(kind, tmp_path, port) as front:
                told = await front.curl(WORK, *request(chat(), "-w", "\n%{http_code}", *old))
                assert told.rpartition("\n")[2] in ("502", "503")
        assert count == 1

    run(main())


def test_the_socket_address_where_no_proxy_is_trusted(tmp_path: Path) -> None:
    async def main(fabric: Fabric, front: Front | None = None) -> None:
        async with fabric.wire("sin") as wire:
            more = f"x-forwarded-for: {FORGED}\r\nforwarded: for={FORGED}\r\n"
            assert (await wire.ask(bearer("asean"), chat(), more=more)).status == 200
        assert [one.client_ip for one in fabric.pop("sin").personal()] == ["127.0.0.1"]

    async def told(settings: dict[str, dict[str, Any]], directory: Path) -> None:
        async with rig(directory, settings=settings) as fabric:
            await main(fabric)

    run(told({}, tmp_path / "a"))
    elsewhere = {"trusted_hops": 1, "trusted_proxies": ["192.0.2.0/24"]}
    run(told({"sin": elsewhere}, tmp_path / "b"))


def test_the_header_that_our_proxies_write(tmp_path: Path) -> None:
    async def main() -> None:
        told = {"trusted_proxies": ["127.0.0.0/8"], "trusted_header": "forwarded"}
        async with rig(tmp_path, settings={"sin": told}) as fabric:
            async with Wire.to(fabric.pop("sin").port) as wire:
                more = f'x-forwarded-for: {FORGED}\r\nforwarded: for="[2001:db8::7]:4711"\r\n'
                assert (await wire.ask(bearer("asean"), chat(), more=more)).status == 200
                more = f"forwarded: for={FORGED}\r\nforwarded: for=192.0.2.7, for=127.0.0.9\r\n"
                assert (await wire.ask(bearer("asean"), chat(), more=more)).status == 200
            found = [one.client_ip for one in fabric.pop("sin").personal()]
            assert found == ["2001:db8::7", "192.0.2.7"]

    run(main())
