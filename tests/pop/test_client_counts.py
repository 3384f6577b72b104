"""Connections of one address: an IPv4 address, or an IPv6 /64."""

from __future__ import annotations

import pytest

from selvedge.pop.client_counts import ClientCounts, client_of
from selvedge.pop.http_server import ServerSettings
from tests.pop.test_http_server import path, serving
from tests.support import run
from tests.support.wires import Wire


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""),
    ],
)
def test_who_counts_as_one_client(address: str, client: str) -> None:
    assert client_of(address) == client


def test_counts_end_with_their_connections() -> None:
    counts = ClientCounts(2)
    assert [counts.enter("2001:db8::1"), counts.enter("2001:db8::2")] == [True, True]
    assert not counts.enter("2001:db8::3")
    assert counts.enter("2001:db8:0:1::1")
    for address in ("2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"):
        counts.leave(address)
    assert len(counts) == 0


def test_one_client_cannot_have_every_connection() -> None:
    async def main() -> None:
        settings = ServerSettings(connections_per_client_max=1)
        async with serving(path, settings) as rig, Wire.to(rig.server.port) as first:
            assert (await first.get("/a")).body == b"/a"
            async with Wire.to(rig.server.port) as second:
                refused = await second.answer()
                assert (refused.status, refused.error["code"]) == (503, "overloaded")
                assert "connections_per_client_max" in refused.error["message"]
            assert (await first.get("/b")).body == b"/b"
            assert len(rig.server.clients) == 1

    run(main())


def test_more_than_one_connection_is_accepted_a_turn() -> None:
    async def main() -> None:
        async with serving(path) as rig:
            assert [len(more) for more in rig.server._listeners.values()] == [15]
            async with Wire.to(rig.server.port) as one, Wire.to(rig.server.port) as other:
                assert (await one.get("/a")).body + (await other.get("/b")).body == b"/a/b"

    run(main())
