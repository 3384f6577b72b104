"""Dialling: the address that was judged is the one that is dialled, and no other."""

from __future__ import annotations

import asyncio

import pytest

from selvedge.adapters import ClientSettings, HttpClient, Outgoing, TransportFailed, egress
from selvedge.adapters.egress import EgressRefused, dial, judge, resolve
from tests.support import run


class Peer(asyncio.Protocol):
    """Closes as soon as it is connected."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[fe80::1]", "0.0.0.0", "::", "::ffff:169.254.169.254"]
)
def test_a_forbidden_address_is_not_dialled(host: str) -> None:
    async def main() -> None:
        with pytest.raises(EgressRefused):
            await dial(Peer, host, 80, tls=None)

    run(main())


@pytest.mark.parametrize("host", ["2852039166", "0xa9fea9fe", "0251.0376.0251.0376"])
def test_an_address_in_disguise_is_judged_by_what_it_resolves_to(host: str) -> None:
    async def main() -> None:
        with pytest.raises(EgressRefused, match=r"169\.254\.169\.254"):
            await dial(Peer, host, 80, tls=None)

    run(main())


def test_a_name_that_turns_on_us_is_refused_when_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the same name, another answer at the next connection."""
    answers = ["127.0.0.1", "169.254.169.254"]
    accepted: list[object] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def resolve(host: str, port: int) -> list[str]:
            return [answers.pop(0)]

        monkeypatch.setattr(egress, "resolve", resolve)
        async with await loop.create_server(Peer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            accepted.append(await dial(Peer, "engine.example", port, tls=None))
            with pytest.raises(EgressRefused, match="link-local"):
                await dial(Peer, "engine.example", port, tls=None)

    run(main())
    assert len(accepted) == 1
    assert not answers


def test_plaintext_stays_inside_unless_it_is_said() -> None:
    judge("engine", "10.0.0.1", outside=False)
    judge("engine", "8.8.8.8", outside=True)
    with pytest.raises(EgressRefused, match="plain_http_outside"):
        judge("engine", "8.8.8.8", outside=False)
    with pytest.raises(EgressRefused, match="no IP address"):
        judge("engine", "rubbish", outside=True)


def test_the_client_fails_such_a_call_before_a_byte_is_sent() -> None:
    async def main() -> None:
        client = HttpClient(ClientSettings())
        with pytest.raises(TransportFailed, match="link-local") as caught:
            await client.fetch(Outgoing("169.254.169.254", 80, "GET", "/"))
        assert (caught.value.kind, caught.value.bytes_sent) == ("connect", False)
        await client.close()

    run(main())


def test_a_name_with_an_empty_part_is_an_os_error() -> None:
    """So that whoever dials treats it as any host that is not there."""
    for host in ("a..example", "a" * 64 + ".example"):
        with pytest.raises(OSError, match="no name of a host"):
            run(resolve(host, 443))
