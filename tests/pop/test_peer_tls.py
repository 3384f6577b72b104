"""Peers by mutual TLS: who may connect, who is dialled, and what comes in by which door."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from selvedge.adapters import PEER_FILE, dialling_context, keep_peer_identity, peer_certificates
from selvedge.adapters.peer_identities import check_peer_certificates
from selvedge.fabric import Outcome, Refused, Release, Route
from tests.pop.test_tickets import BODY, ticket
from tests.support import Answer, Script, run
from tests.support.fleets import bearer
from tests.support.pops import Fabric, RunningPop, rig
from tests.support.wires import BROKEN, Response, Wire, chat, post

NEXT = "peer-next.pem"
REFUSED = (403, "ticket_refused")


def context_of(pop: RunningPop, to: RunningPop) -> ssl.SSLContext:
    """What `pop` dials `to` with."""
    return dialling_context(pop.directory / PEER_FILE, trusted(to))


def trusted(pop: RunningPop) -> bytes:
    return check_peer_certificates("", pop.certificates)


def peer_port(pop: RunningPop) -> int:
    assert pop.peer_sock is not None
    port: int = pop.peer_sock.getsockname()[1]
    return port


def wire(fabric: Fabric, ingress: str, serving: str = "sin") -> Any:
    """A connection from one PoP to another's door for peers."""
    to = fabric.pop(serving)
    return Wire.to(peer_port(to), tls=context_of(fabric.pop(ingress), to))


async def ask(fabric: Fabric, entry: str = "cgk", **fields: Any) -> Response:
    async with fabric.wire(entry) as wire:
        return await wire.ask(bearer("asean"), chat(**fields))


async def forward(wire: Wire, written: str) -> tuple[int, str | None]:
    response = await wire.ask(None, BODY, more=f"selvedge-ticket: {written}\r\n")
    return response.status, response.error["code"] if response.status != 200 else None


def publish(fabric: Fabric, pops: tuple[str, ...], change: Callable[[Release], Release]) -> None:
    """A newer release at these PoPs."""
    newer = msgspec.structs.replace(fabric.release, version=fabric.release.version + 1)
    fabric.release = change(newer)
    for pop in pops:
        fabric.lay_down(pop, fabric.release)
        fabric.pop(pop).keeper.look()


def with_certificates(release: Release, pop: str, certificates: tuple[str, ...]) -> Release:
    pops = tuple(
        msgspec.structs.replace(one, certificates=certificates) if one.id == pop else one
        for one in release.pops
    )
    return msgspec.structs.replace(release, pops=pops)


def without_certificates(_: str, release: Release) -> Release:
    """A release as it was made before there were certificates."""
    pops = tuple(msgspec.structs.replace(one, certificates=()) for one in release.pops)
    return msgspec.structs.replace(release, pops=pops)


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_request_goes_by_mutual_tls(stream: bool, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, secured=True) as fabric:
            for _ in range(3):
                assert (await ask(fabric, stream=stream)).status == 200
            receipts = fabric.pop("cgk").receipts()
            assert [one.processed_in for one in receipts] == ["SG"] * 3
            sin = fabric.pop("sin")
            assert len({one.certificate for one in sin.work()}) == 1
            assert sin.state.peering.name_of(sin.work()[0].certificate) == "cgk"
            shown = sin.state.metrics.render()
            for step in (b"begun", b"done"):  # one connection for three requests
                line = b'selvedge_tls_handshakes_total{door="peers",step="%b"} 1.0' % step
                assert line in shown

    run(main())


def test_a_ticket_does_not_come_by_the_door_of_clients(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, secured=True) as fabric, fabric.wire("sin") as client:
            assert await forward(client, ticket(fabric)) == REFUSED
            assert await forward(client, "x") == REFUSED
            assert fabric.pop("sin").tallied() == {"ticket_refused": 2}
            assert fabric.engines["sin"].connections == []

    run(main())


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/chat/completions"), ("GET", "/metrics"), ("GET", "/v1/models"), ("GET", "/x")],
)
def test_clients_do_not_come_by_the_door_of_peers(method: str, path: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, secured=True) as fabric, wire(fabric, "cgk") as peer:
            for more in ("", "selvedge-ticket: x\r\n"):
                peer.send(post(bearer("asean"), BODY, path, more).replace(b"POST", method.encode()))
                answer = await peer.answer()
                assert (answer.status, answer.error["code"]) == REFUSED
            assert fabric.pop("sin").receipts() == []
            assert fabric.engines["sin"].connections == []

    run(main())


def stranger(tmp_path: Path, to: RunningPop) -> ssl.SSLContext:
    """A certificate of nobody's, with a PoP's name in it."""
    keep_peer_identity(tmp_path / "stranger.pem", "cgk")
    return dialling_context(tmp_path / "stranger.pem", trusted(to))


def nameless(_: Path, __: RunningPop) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def older(_: Path, to: RunningPop) -> ssl.SSLContext:
    context = dialling_context(to.directory / PEER_FILE, trusted(to))
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def itself(_: Path, to: RunningPop) -> ssl.SSLContext:
    return context_of(to, to)


@pytest.mark.parametrize("who", [stranger, nameless, older, itself])
def test_who_may_not_connect(
    who: Callable[[Path, RunningPop], ssl.SSLContext], tmp_path: Path
) -> None:
    async def main() -> None:
        async with rig(tmp_path, secured=True) as fabric:
            sin = fabric.pop("sin")
            written = f"selvedge-ticket: {ticket(fabric)}\r\n"

            async def knock() -> None:
                async with Wire.to(peer_port(sin), tls=who(tmp_path, sin)) as refused:
                    refused.send(post(None, BODY, more=written))
                    await refused.head()

            with pytest.raises((*BROKEN, ssl.SSLError)):
                await knock()
            assert sin.seen == []
            assert sin.accepted == 0

    run(main())


def test_what_is_not_tls(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, secured=True) as fabric:
            async with Wire.to(peer_port(fabric.pop("sin"))) as plain:
                plain.send(post(None, BODY, more=f"selvedge-ticket: {ticket(fabric)}\r\n"))
                async with asyncio.timeout(10):
                    while not await plain.ended():
                        pass
            assert fabric.pop("sin").seen == []

    run(main())


def test_a_ticket_comes_with_the_certificate_of_its_ingress(tmp_path: Path) -> None:
    """Frankfurt may connect, and holds a ticket that Jakarta made: it is worth nothing there."""

    async def main() -> None:
        async with (
            rig(tmp_path, secured=True) as fabric,
            wire(fabric, "fra") as frankfurt,
            wire(fabric, "cgk") as jakarta,
        ):
            written = ticket(fabric)
            assert await forward(frankfurt, written) == REFUSED
            assert fabric.engines["sin"].connections == []
            assert await forward(jakarta, written) == (200, None)

    run(main())


def test_another_pop_at_the_address_gets_nothing(tmp_path: Path) -> None:
    """Frankfurt is a peer too, but Singapore was meant."""

    async def main() -> None:
        settings: dict[str, dict[str, Any]] = {"cgk": {"peer_addresses": {}}}
        async with rig(tmp_path, secured=True, settings=settings) as fabric:
            fra, cgk = fabric.pop("fra"), fabric.pop("cgk")
            cgk.state.settings.peer_addresses["sin"] = f"127.0.0.1:{peer_port(fra)}"
            response = await ask(fabric)
            assert (response.status, response.error["code"]) == (503, "no_engine_available")
            (receipt,) = cgk.receipts()
            assert receipt.outcome is Outcome.FAILED
            assert fra.seen == []
            assert fabric.untouched("sin")

    run(main())


def test_a_certificate_that_the_next_release_does_not_name(tmp_path: Path) -> None:
    """Nothing comes in by it, neither on connections that are open nor on new ones."""

    async def main() -> None:
        async with rig(tmp_path, secured=True) as fabric:
            sin = fabric.pop("sin")
            async with wire(fabric, "cgk") as before:
                assert await forward(before, ticket(fabric)) == (200, None)
                publish(fabric, ("sin",), lambda one: with_certificates(one, "cgk", ()))
                assert await forward(before, ticket(fabric)) == REFUSED
            count = len(sin.seen)
            with pytest.raises(BROKEN):
                async with wire(fabric, "cgk") as after:
                    await forward(after, ticket(fabric))
            assert len(sin.seen) == count
            async with wire(fabric, "fra") as other:  # the rest of the fleet is not disturbed
                assert await forward(other, ticket(fabric)) == REFUSED
            assert len(sin.seen) == count + 1

    run(main())


def test_a_certificate_is_rotated_without_a_refused_request(tmp_path: Path) -> None:
    """Both are named, then the new one first, then alone; PoPs take each release in any order."""

    async def main() -> None:
        async with rig(tmp_path, secured=True) as fabric:
            sin = fabric.pop("sin")
            (old,) = sin.certificates
            keep_peer_identity(sin.directory / NEXT, "sin")
            _, new = sin.certificates
            assert peer_certificates(sin.directory)[new].name == NEXT
            contexts = []
            for named in ((old, new), (new, old), (new,)):
                for pops in (("sin",), ("cgk",)):
                    fabric.lay_down(pops[0], changed := newer(fabric, named))
                    fabric.pop(pops[0]).keeper.look()
                    view = fabric.pop(pops[0]).state.view
                    assert view is not None
                    assert view.release.version == changed.version
                    for connection in sin.connections:
                        connection.close_if_idle()
                    assert (await ask(fabric)).status == 200, named
                contexts.append(fabric.pop("cgk").state.peering.dial("sin"))
            assert len(set(map(id, contexts))) == 3
            der = check_peer_certificates("", [new])
            async with Wire.to(
                peer_port(sin), tls=dialling_context(fabric.pop("fra").directory / PEER_FILE, der)
            ) as shown:
                assert shown.secured.getpeercert(binary_form=True) == der

    def newer(fabric: Fabric, named: tuple[str, ...]) -> Release:
        version = fabric.release.version + 1
        fabric.release = with_certificates(
            msgspec.structs.replace(fabric.release, version=version), "sin", named
        )
        return fabric.release

    run(main())


def test_a_context_outlives_releases_that_do_not_change_it(tmp_path: Path) -> None:
    """Pooled connections belong to their context: a release must not cost a handshake each."""

    async def main() -> None:
        async with rig(tmp_path, secured=True) as fabric:
            assert (await ask(fabric)).status == 200
            before = fabric.pop("cgk").state.peering.dial("sin")
            publish(fabric, ("cgk", "sin"), lambda one: one)
            assert (await ask(fabric)).status == 200
            assert fabric.pop("cgk").state.peering.dial("sin") is before
            assert fabric.pop("sin").accepted == 1

    run(main())


def test_a_release_from_before_there_were_certificates(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It serves what is here, and forwards nothing in the clear."""

    async def main() -> None:
        async with rig(tmp_path, secured=True, amend=without_certificates) as fabric:
            assert (await ask(fabric, "sin")).status == 200
            response = await ask(fabric, "cgk")
            assert (response.status, response.error["code"]) == (503, "no_engine_available")
            assert "names no TLS certificate of PoP 'cgk'" in response.error["message"]
            with pytest.raises(BROKEN):
                async with wire(fabric, "cgk") as peer:
                    await forward(peer, ticket(fabric))
            assert fabric.pop("fra").accepted == 0

    run(main())
    assert "the release names no certificate of this PoP: no request goes that way" in caplog.text


def test_a_peer_without_a_certificate_is_not_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def amend(_: str, release: Release) -> Release:
        return with_certificates(release, "sin", ())

    async def main() -> None:
        async with rig(tmp_path, secured=True, amend=amend) as fabric:
            assert (await ask(fabric)).status == 503
            assert fabric.untouched("sin")
            async with fabric.wire("cgk") as wire:  # who may be served elsewhere, is
                assert (await wire.ask(bearer("free"), chat())).status == 200

    run(main())
    assert "the release names no certificate of sin: no request goes that way" in caplog.text


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("another", "pops.sin.certificates: does not begin with a certificate on this PoP's disk"),
        ("peer", "pops.fra.certificates: is not an X.509 certificate, DER in base64"),
        ("own", "pops.sin.certificates: is not an X.509 certificate, DER in base64"),
    ],
)
def test_a_release_with_a_certificate_that_does_not_hold(
    named: str, words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with rig(tmp_path, secured=True) as fabric:
            keep_peer_identity(tmp_path / "other" / PEER_FILE, "sin")
            (other,) = peer_certificates(tmp_path / "other")
            bad = {"another": ("sin", (other,)), "peer": ("fra", ("AAAA",)), "own": ("sin", ("A",))}
            publish(fabric, ("sin",), lambda one: with_certificates(one, *bad[named]))
            view = fabric.pop("sin").state.view
            assert view is not None
            assert view.release.version == 1
            assert (await ask(fabric)).status == 200

    run(main())
    assert words in caplog.text


def test_a_certificate_without_its_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As where only the certificate was brought to the site: refused, and the last one serves."""

    async def main() -> None:
        async with rig(tmp_path, secured=True) as fabric:
            sin, cgk = fabric.pop("sin"), fabric.pop("cgk")
            keep_peer_identity(tmp_path / "other" / PEER_FILE, "sin")
            (other,) = peer_certificates(tmp_path / "other")
            text = (tmp_path / "other" / PEER_FILE).read_text()
            alone = text[text.index("-----BEGIN CERTIFICATE") :]
            (sin.directory / NEXT).write_text(alone)
            publish(fabric, ("sin",), lambda one: with_certificates(one, "sin", (other,)))
            assert sin.state.view is not None
            assert sin.state.view.release.version == 1
            # And one that is lost while the PoP runs:
            (cgk.directory / PEER_FILE).unlink()
            response = await ask(fabric)
            assert (response.status, response.error["code"]) == (503, "no_engine_available")
            assert "PoP 'cgk' has lost its TLS identity" in response.error["message"]

    run(main())
    assert "release refused, the last good one serves on: pops.sin.certificates: " in caplog.text
    assert "peer-next.pem is no key with its certificate" in caplog.text
    assert "PoP sin cannot be dialled: " in caplog.text


def test_plaintext_stays_on_loopback(tmp_path: Path) -> None:
    async def main() -> None:
        def amend(_: str, release: Release) -> Release:
            pops = tuple(
                msgspec.structs.replace(one, peer="192.0.2.1:8444") if one.id == "sin" else one
                for one in release.pops
            )
            return msgspec.structs.replace(release, pops=pops)

        async with rig(tmp_path, amend=amend) as fabric:
            response = await ask(fabric)
            assert response.status == 503
            assert "is not on loopback, where alone plaintext is" in response.error["message"]
            state = fabric.pop("cgk").state
            assert state.view is not None
            assert isinstance(state.peer_way("sin", Route.CHAT, state.view), Refused)
            assert not isinstance(state.peer_way("fra", Route.CHAT, state.view), Refused)

    run(main())


def test_a_word_in_the_middle_of_many(tmp_path: Path) -> None:
    """Many at once over the door for peers: each has its own answer."""

    async def main() -> None:
        script = Script(choose=lambda one: Answer((one.json["messages"][0]["content"],)))
        async with rig(tmp_path, secured=True, sin=script) as fabric:

            async def one(number: int) -> bytes:
                async with fabric.wire("cgk") as wire:
                    answer = await wire.ask(bearer("asean"), chat(f"<{number}>", stream=True))
                    return b"" if f"<{number}>".encode() in answer.body else answer.body

            others = set(await asyncio.gather(*(one(number) for number in range(50))))
            assert others == {b""}

    run(main())
