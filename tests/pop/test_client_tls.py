"""TLS towards clients: renewed in place, limited in time, the same server behind it."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from selvedge.fabric import BadSetting
from selvedge.pop import client_tls
from selvedge.pop.client_tls import ClientTls
from selvedge.pop.http_server import Inbound, ServerSettings, start_server
from selvedge.pop.metrics import Metrics
from tests.support import Answer, Gate, Script, run
from tests.support.certificates import serial_of, trusting, write_pair
from tests.support.fleets import bearer
from tests.support.pops import Fabric, RunningPop, rig
from tests.support.wires import Wire, chat, post


def secured(directory: Path, **more: Any) -> dict[str, dict[str, Any]]:
    chain, key = write_pair(directory / "tls", 1)
    return {"sin": {"tls_cert_file": str(chain), "tls_key_file": str(key), **more}}


def chain_of(directory: Path) -> Path:
    return directory / "tls" / "chain.pem"


async def serial(fabric: Fabric, directory: Path, **versions: ssl.TLSVersion) -> int:
    """What a new connection is shown."""
    context = trusting(chain_of(directory))
    for name, version in versions.items():
        setattr(context, name, version)
    async with Wire.to(fabric.pop("sin").port, tls=context) as wire:
        assert (await wire.get("/healthz")).status == 200
        return serial_of(wire.secured)


def metric(pop: RunningPop, line: str) -> float:
    """The value of one line of the metrics."""
    lines = pop.state.metrics.render().decode().splitlines()
    return float(next(one for one in lines if one.startswith(line + " ")).split()[1])


def test_a_certificate_is_renewed_while_connections_live(tmp_path: Path) -> None:
    async def main() -> None:
        gate = Gate(1)
        script = Script(Answer(("a", "b"), gate=gate), Answer(("c",)))
        async with rig(tmp_path, sin=script, settings=secured(tmp_path)) as fabric:
            pop = fabric.pop("sin")
            context = trusting(chain_of(tmp_path))
            async with (
                Wire.to(pop.port, tls=context) as kept,
                Wire.to(pop.port, tls=context) as streaming,
            ):
                assert (await kept.get("/healthz")).status == 200
                streaming.send(post(bearer("asean"), chat(stream=True)))
                assert (await streaming.head())[0] == 200
                while b'"a"' not in await streaming.event():
                    pass
                assert await serial(fabric, tmp_path) == 1
                write_pair(tmp_path / "tls", 2)
                assert pop.tls is not None
                pop.tls.look()
                assert await serial(fabric, tmp_path) == 2
                assert [serial_of(one.secured) for one in (kept, streaming)] == [1, 1]
                assert (await kept.ask(bearer("asean"), chat())).status == 200
                gate.open()
                body, whole = await streaming.rest()
                assert whole
                assert body.endswith(b"data: [DONE]\n\n")
            assert metric(pop, 'selvedge_tls_certificate_loads_total{ending="taken"}') == 2

    run(main())


@pytest.mark.parametrize("spoil", ["chain", "key"])
def test_a_bad_pair_leaves_the_last_good_one(
    spoil: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with rig(tmp_path, settings=secured(tmp_path)) as fabric:
            pop = fabric.pop("sin")
            assert pop.tls is not None
            good = chain_of(tmp_path).read_bytes()
            (tmp_path / "tls" / f"{spoil}.pem").write_bytes(b"half of it")
            pop.tls.look()
            pop.tls.look()
            chain_of(tmp_path).write_bytes(good)
            assert await serial(fabric, tmp_path) == 1
            assert metric(pop, 'selvedge_tls_certificate_loads_total{ending="refused"}') == 1
            write_pair(tmp_path / "tls", 3)
            pop.tls.look()
            assert await serial(fabric, tmp_path) == 3

    run(main())
    assert "certificate refused, the last good one serves on: " in caplog.text
    assert len([one for one in caplog.records if "refused" in one.message]) == 1


def test_files_are_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_tls, "CERTIFICATE_POLL_S", 0.001)

    async def main() -> None:
        async with rig(tmp_path, settings=secured(tmp_path)) as fabric:
            tls = fabric.pop("sin").tls
            assert tls is not None
            watching = asyncio.create_task(tls.watch())
            write_pair(tmp_path / "tls", 2)
            async with asyncio.timeout(10):
                while await serial_seen(fabric) != 2:
                    pass
            watching.cancel()

    async def serial_seen(fabric: Fabric) -> int:
        any_of_them = ssl.create_default_context()
        any_of_them.check_hostname, any_of_them.verify_mode = False, ssl.CERT_NONE
        async with Wire.to(fabric.pop("sin").port, tls=any_of_them) as wire:
            return serial_of(wire.secured)

    run(main())


def test_a_start_without_a_pair_that_holds(tmp_path: Path) -> None:
    chain, key = write_pair(tmp_path, 1)
    chain.write_bytes(b"")
    with pytest.raises(BadSetting, match=r"setting tls_cert_file: .*chain\.pem does not hold"):
        ClientTls(str(chain), str(key), Metrics("sin").tls)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions(version: ssl.TLSVersion, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, settings=secured(tmp_path)) as fabric:
            limits = {"minimum_version": version, "maximum_version": version}
            assert await serial(fabric, tmp_path, **limits) == 1
            for step in ("begun", "done"):
                line = f'selvedge_tls_handshakes_total{{door="clients",step="{step}"}}'
                assert metric(fabric.pop("sin"), line) == 1

    run(main())


def test_a_handshake_has_its_time(tmp_path: Path) -> None:
    async def main() -> None:
        settings = secured(tmp_path, tls_handshake_ms_max=50)
        async with rig(tmp_path, settings=settings) as fabric, fabric.wire("sin") as silent:
            assert await silent.ended()
            assert fabric.pop("sin").seen == []

    run(main())


def test_what_is_not_tls_is_closed(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, settings=secured(tmp_path)) as fabric:
            async with fabric.wire("sin") as plain:
                plain.send(post(bearer("asean"), chat()))
                async with asyncio.timeout(10):
                    while not await plain.ended():
                        pass
            assert fabric.pop("sin").seen == []

    run(main())


def test_a_client_that_still_sends_can_read_why_it_was_refused(tmp_path: Path) -> None:
    """TLS has no half-close: the refusal must arrive before a reset could."""

    async def main() -> None:
        settings = secured(tmp_path, body_bytes_max=1000)
        async with rig(tmp_path, settings=settings) as fabric:
            context = trusting(chain_of(tmp_path))
            async with Wire.to(fabric.pop("sin").port, tls=context) as wire:
                wire.send(post(bearer("asean"), b"x" * 3_000_000))
                answer = await wire.answer()
                assert (answer.status, answer.error["code"]) == (413, "request_too_large")
                assert answer.headers["connection"] == "close"

    run(main())


def test_a_client_that_hangs_up_reaches_the_engine(tmp_path: Path) -> None:
    async def main() -> None:
        answer = Answer(("a", "b"), gate=Gate(1))
        async with rig(tmp_path, sin=Script(answer), settings=secured(tmp_path)) as fabric:
            context = trusting(chain_of(tmp_path))
            async with Wire.to(fabric.pop("sin").port, tls=context) as wire:
                wire.send(post(bearer("asean"), chat(stream=True)))
                assert (await wire.head())[0] == 200
                wire.hang_up()
                engine = fabric.engines["sin"]
                await engine.until(lambda: engine.aborts)
                (receipt,) = await fabric.pop("sin").until_receipts()
                assert receipt.outcome == "client_gone"

    run(main())


def test_a_slow_reader_pauses_whoever_writes(tmp_path: Path) -> None:
    """Encrypted bytes wait in bounded places too."""

    async def main() -> None:
        paused, written = asyncio.Event(), 0

        async def write_on(inbound: Inbound) -> None:
            nonlocal written
            inbound.on_pause = paused.set
            inbound.start(200, [], None)
            while not paused.is_set():
                inbound.write(b"x" * 65_536)
                written += 65_536
                assert written < 16_000_000, "nobody was told to pause"
                await asyncio.sleep(0)
            inbound.abort()

        chain, key = write_pair(tmp_path, 1)
        tls = ClientTls(str(chain), str(key), Metrics("sin").tls)
        faults: list[BaseException] = []
        server = await start_server(
            *(write_on, "127.0.0.1", 0),
            settings=ServerSettings(),
            on_error=faults.append,
            tls=tls.context,
        )
        async with Wire.to(server.port, tls=trusting(chain)) as wire:
            wire.read_nothing()
            wire.send(post(None, b""))
            async with asyncio.timeout(10):
                await paused.wait()
        server.close()
        await server.drain(5)
        assert faults == []

    run(main())


def test_a_handshake_that_had_begun_is_served_before_the_end(tmp_path: Path) -> None:
    """A server that closes waits for it, as it waits for a request."""

    async def main() -> None:
        chain, key = write_pair(tmp_path, 1)
        tls = ClientTls(str(chain), str(key), Metrics("sin").tls)
        faults: list[BaseException] = []

        async def answer(inbound: Inbound) -> None:
            inbound.respond(200, [], b"late")

        server = await start_server(
            *(answer, "127.0.0.1", 0),
            settings=ServerSettings(),
            on_error=faults.append,
            tls=tls.context,
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(10_000):
            if server.greetings.pending:
                break
            await asyncio.sleep(0)
        assert server.greetings.pending
        server.close(5)
        draining = asyncio.create_task(server.drain(10))
        await writer.start_tls(trusting(chain), server_hostname="localhost")
        writer.write(post(None, b""))
        async with asyncio.timeout(10):
            assert (await reader.read()).endswith(b"late")
            writer.close()
            await draining
        assert faults == []

    run(main())


def test_a_handshake_that_fails_is_not_waited_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, settings=secured(tmp_path)) as fabric:
            async with fabric.wire("sin") as plain:
                plain.send(b"GET / HTTP/1.1\r\n\r\n")
                async with asyncio.timeout(10):
                    while not await plain.ended():
                        pass
            async with asyncio.timeout(10):
                await fabric.pop("sin").server.greetings.settle(60)

    run(main())
