"""A PoP's shipping: to real collectors over sockets, which go away and come back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from selvedge.adapters import (
    ClientSettings,
    FileJournal,
    HttpClient,
    Outgoing,
    keep_secret,
    operator_public_key,
    pop_public_key,
    seal_release,
    segment_path,
    write_atomically,
)
from selvedge.control import CollectorSettings, Snapshot, free_port, run_collector
from selvedge.control.collector import Collector as CollectorProcess
from selvedge.exchange import collection
from selvedge.fabric import BadRelease, Collector, Release, StoreFailed, Zone
from selvedge.ledger import payload_of_line, segment_name
from selvedge.pop.metrics import Metrics
from selvedge.pop.settings import Settings
from selvedge.pop.shared import Shared
from selvedge.pop.shipped import drop_shipped, zones_in
from selvedge.pop.shipping import Shipping, acknowledged
from tests.support import run
from tests.support.fleets import make_pop
from tests.support.shipping import MemoryJournal

FAR_S = 10**9


class Place:
    """One PoP's disk, two zones' collectors, and the release that names them."""

    def __init__(self, path: Path, **changes: object) -> None:
        self.path = path
        self.identity = keep_secret(path / "identity.key", os.urandom(32))
        self.operator = keep_secret(path / "operator.key", os.urandom(32))
        self.ports = {zone: free_port() for zone in ("asean", "eea")}
        self.journals = {worker: MemoryJournal("sin", worker) for worker in (0, 3)}
        self.release = self.publish(1)
        values = {
            "pop": "sin",
            "listen": "127.0.0.1:1",
            "state_dir": str(path / "pop"),
            "release_file": str(path / "release.json"),
            "operator_public_key": operator_public_key(self.operator),
            "pepper_file": "none",
            "ship_ms": 10,
            "ship_batch_max": 7,
        }
        self.settings = msgspec.convert({**values, **changes}, Settings)
        self.now_s = 0.0
        self.shared = Shared.alone()

    def key(self, zone: str) -> Path:
        return self.path / f"{zone}.key"

    def publish(self, version: int) -> Release:
        collectors = tuple(
            Collector(
                zone,
                f"http://127.0.0.1:{port}",
                pop_public_key(keep_secret(self.key(zone), os.urandom(32))),
            )
            for zone, port in self.ports.items()
        )
        pop = msgspec.structs.replace(make_pop("sin"), public_key=pop_public_key(self.identity))
        pop = msgspec.structs.replace(pop, engines=())
        zones = tuple(Zone(zone, ("SG",)) for zone in self.ports)
        release = Release("example", version, 1, (), (pop,), zones, (), (), collectors=collectors)
        write_atomically(self.path / "release.json", seal_release(release, self.operator))
        return release

    def write(self, count: int) -> None:
        """Requests of both tenants, in both journals."""
        for number in range(count):
            for journal in self.journals.values():
                zone = ("asean", "eea", "")[number % 3]
                journal.write(zone or "asean", zone)
        self.save()

    def save(self) -> None:
        for worker, journal in self.journals.items():
            workers = self.path / "pop" / "workers" / str(worker)
            directory = (self.path / "pop" if worker == 0 else workers) / "receipts"
            directory.mkdir(parents=True, exist_ok=True)
            for number, data in journal.segments.items():
                segment_path(directory, number).write_bytes(data)

    def collector_settings(self, zone: str) -> CollectorSettings:
        return CollectorSettings(
            zone=zone,
            listen=f"127.0.0.1:{self.ports[zone]}",
            directory=self.path / "collected" / zone,
            release_file=self.path / "release.json",
            operator_public_key=operator_public_key(self.operator),
            key_file=self.key(zone),
            segment_bytes_max=2**30,
            partition_s=3600,
            days_kept=1,
        )

    def collector(self, zone: str) -> CollectorProcess:
        return CollectorProcess(self.collector_settings(zone))

    @asynccontextmanager
    async def serving(self, zone: str) -> AsyncIterator[CollectorProcess]:
        """A collector that runs."""
        collector = self.collector(zone)
        await collector.server.listen("127.0.0.1", self.ports[zone])
        committing = asyncio.create_task(collector.commit.run())
        try:
            yield collector
        finally:
            await collector.server.close()
            committing.cancel()
            await asyncio.gather(committing, return_exceptions=True)
            collector.folder.close()

    @asynccontextmanager
    async def shipping(self) -> AsyncIterator[Shipping]:
        client = HttpClient(ClientSettings())
        one = Shipping(
            self.settings,
            client,
            self.identity,
            lambda: self.release,
            lambda: self.now_s,
            shared=self.shared,
        )
        try:
            yield one
        finally:
            for route in one.routes.values():
                if route.task is not None:
                    route.task.cancel()
                    await asyncio.gather(route.task, return_exceptions=True)
            await client.close()


async def turn(shipping: Shipping, times: int = 2) -> None:
    """Look, and wait for what is then shipped."""
    for _ in range(times):
        await shipping.turn()
        tasks = [one.task for one in shipping.routes.values() if one.task is not None]
        await asyncio.gather(*tasks)


def held(collector: CollectorProcess) -> int:
    return int(str(collector.status()["held"]))


def test_receipts_of_all_journals_go_to_their_zone_and_nothing_personal_leaves(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        place = Place(tmp_path)
        place.write(30)
        async with (
            place.serving("asean") as asean,
            place.serving("eea") as eea,
            place.shipping() as shipping,
        ):
            await turn(shipping)
            assert (held(asean), held(eea)) == (20, 20)
            assert asean.status()["gaps"] == 0
            place.write(3)
            await turn(shipping)
            assert (held(asean), held(eea)) == (22, 22)
            assert shipping.routes["asean"].shipped == 22
        log = tmp_path / "collected" / "asean" / segment_name(1)
        data = log.read_bytes()
        assert b"cGVyc29uYWw=" not in data
        assert b'"zone":"eea"' not in data
        lines = [payload_of_line(one) for one in data.splitlines() if one[:1] == b"R"]
        assert {msgspec.json.decode(one)["receipt"]["worker"] for one in lines} == {0, 3}

    run(main())


def test_a_collector_that_was_away_gets_all_and_holds_up_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(tmp_path)
        place.write(30)
        async with place.serving("eea") as eea, place.shipping() as shipping:
            await turn(shipping)
            route = shipping.routes["asean"]
            assert (held(eea), route.failures) == (20, 1)
            assert route.due_s > 0
            await turn(shipping)
            assert route.failures == 1, "it is not asked again before it is time"
            place.now_s = FAR_S
            async with place.serving("asean") as asean:
                await turn(shipping)
                assert (held(asean), route.failures) == (20, 0)
            # It ends and comes back: it knows where it was.
            place.write(3)
            place.now_s *= 2
            await turn(shipping)
            assert route.failures == 1
            place.now_s *= 2
            async with place.serving("asean") as asean:
                await turn(shipping)
                assert held(asean) == 22
                assert asean.status()["doubles"] == 0

    run(main())


def shown(place: Place) -> dict[str, float]:
    """What ``/metrics`` says of receipts that wait, without the front of the names."""
    front = "selvedge_receipts_unshipped"
    lines = Metrics("sin", place.shared).render().decode().splitlines()
    found = [line.split() for line in lines if line.startswith(front)]
    return {name.removeprefix(front): float(value) for name, value in found}


def test_what_waits_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(tmp_path)
        ended_us = 1_700_000_123_000_000
        for at in range(10):
            place.journals[0].write("asean", "asean", ended_us=ended_us + at * 1_000_000)
            place.journals[3].write("asean", "")  # stays here, by no fault
        place.save()
        size = sum(
            len(line)
            for line in place.journals[0].segments[1].splitlines(keepends=True)
            if line[:2] == b"R "
        )
        async with place.shipping() as shipping:
            assert shown(place) == {"": 0, "_bytes": 0}
            await turn(shipping, 3)
            # The collector is away, and was when this process began: everything waits.
            waiting = {"": 10.0, "_bytes": float(size)}
            assert shown(place) == {**waiting, "_oldest_timestamp_seconds": ended_us // 10**6}
            place.now_s = FAR_S
            async with place.serving("asean") as asean, place.serving("eea"):
                await turn(shipping, 3)
                assert held(asean) == 10
                assert shown(place) == {"": 0, "_bytes": 0}
            # It goes away again: what comes now waits, and nothing of before.
            place.journals[0].write("asean", "asean", ended_us=ended_us + 60_000_000)
            place.save()
            place.now_s *= 2
            await turn(shipping, 3)
            told = shown(place)
            assert (told[""], told["_oldest_timestamp_seconds"]) == (1, ended_us // 10**6 + 60)
            place.release = msgspec.structs.replace(place.release, version=2, collectors=())
            await turn(shipping)
            assert shown(place) == {"": 0, "_bytes": 0}

    run(main())


def test_a_day_is_caught_up_with_at_a_bounded_rate(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(tmp_path, ship_bytes_per_s_max=1_000_000)
        place.write(300)
        size = sum(len(one) for each in place.journals.values() for one in each.segments.values())
        async with place.serving("asean") as asean, place.shipping() as shipping:
            loop = asyncio.get_running_loop()
            begun = loop.time()
            await turn(shipping)
            assert held(asean) == 200
            assert loop.time() - begun >= size / (1_000_000 / 2), "shared by two zones"

    run(main())


def test_what_the_collector_refuses_waits_and_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        place = Place(tmp_path)
        place.journals[0].write("asean", "asean")
        place.save()
        async with place.serving("asean") as asean, place.shipping() as shipping:
            shipping._identity = os.urandom(32)
            await turn(shipping)
            assert held(asean) == 0
            assert asean.status()["alarms"] != 0
            assert "MAC does not hold" in caplog.text
            assert "receipts of zone asean wait here: the collector answered 403" in caplog.text

    run(main())


def test_a_collector_says_what_it_is_asked(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(tmp_path)
        async with place.serving("asean") as asean:
            client = HttpClient(ClientSettings())
            port = place.ports["asean"]

            async def ask(method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
                answer = await client.fetch(Outgoing("127.0.0.1", port, method, target, (), body))
                return answer.status, answer.body

            assert await ask("GET", "/healthz") == (200, b'{"status":"ok"}')
            assert (await ask("GET", "/nothing"))[0] == 404
            assert (await ask("GET", "/status?x=1"))[0] == 200
            status, body = await ask("POST", collection.TARGET, b"x")
            assert (status, b"not readable" in body) == (403, True)
            large = bytes(collection.QUESTION_BYTES_MAX + 1)
            status, body = await ask("POST", collection.TARGET, large)
            assert (status, b"send smaller batches" in body) == (413, True)
            asean.commit.log.broken = "the disk has gone"
            place.write(3)
            async with place.shipping() as shipping:
                await turn(shipping)
                assert shipping.routes["asean"].failures == 1
            await client.close()

    run(main())


def test_a_collector_starts_only_as_the_one_the_release_names(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.key("asean").unlink()
    keep_secret(place.key("asean"), os.urandom(32))
    with pytest.raises(BadRelease, match=r"collectors\.asean\.public_key: is not of the key in"):
        place.collector("asean")
    place.publish(2)
    first = place.collector("asean")
    with pytest.raises(StoreFailed, match="in use by another process"):
        place.collector("asean")
    place.ports.pop("asean")
    place.publish(3)
    with pytest.raises(BadRelease, match=r"collectors\.asean: is not in the release"):
        first.keys.look()
    assert first.keys.of("sin") is not None, "the last good one counts"
    assert first.keys.of("nobody") is None
    first.folder.close()


def test_segments_become_partitions_beside_and_a_bad_one_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        place = Place(tmp_path)
        place.write(30)
        async with place.serving("asean") as asean, place.shipping() as shipping:
            await turn(shipping)
            asean.commit.close_segment()
            place.write(3)
            await turn(shipping)
            (closed,) = asean.commit.log.closed
            directory = tmp_path / "collected" / "asean"
            path = directory / segment_name(closed)
            whole = path.read_bytes()
            path.write_bytes(whole.replace(b'"seq":1', b'"seq":9', 1))
            assert not await asean._partition(closed)
            assert "segment 1 stays in the log: a line fails its checksum" in caplog.text
            path.write_bytes(whole)
            assert await asean._partition(closed)
            assert asean.commit.log.closed == []
            snapshot = Snapshot(directory)
            assert len(snapshot.parts) == 6, "ten receipts of a journal a day"
            assert len(list(snapshot.rows())) == held(asean) == 22

    run(main())


def test_a_collector_whose_disk_refuses_ends_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object, name: str) -> None:
        raise StoreFailed(f"{name} cannot be used: Input/output error")

    async def main() -> None:
        place = Place(tmp_path)
        place.write(3)
        ending = asyncio.create_task(run_collector(place.collector_settings("asean")))
        async with place.shipping() as shipping:
            monkeypatch.setattr("selvedge.adapters.PlainFiles.sync", refuse)
            while not ending.done():
                place.now_s += FAR_S
                await turn(shipping, 1)
        with pytest.raises(StoreFailed, match=r"collected-00000001\.log .*Input/output error"):
            await ending

    run(main())


def test_only_what_every_collector_has_is_dropped(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(tmp_path, receipts_kept_days=1)
        journal = place.journals[0]
        journal.write("asean", "asean")
        journal.roll()
        journal.write("eea", "eea")
        journal.write("asean", "")
        journal.roll()
        journal.write("asean", "nowhere")
        journal.roll()
        journal.write("asean", "asean")
        place.save()
        directory = tmp_path / "pop" / "receipts"
        os.utime(segment_path(directory, 1), (1, 1))
        async with place.serving("asean"), place.shipping() as shipping:
            await turn(shipping, 3)
            assert acknowledged(shipping.routes, 0) == 0, "the other collector is away"
            place.now_s = FAR_S
            async with place.serving("eea"):
                await turn(shipping, 3)
                place.now_s *= 2
                await turn(shipping, 1)
            names = sorted(one.name for one in directory.glob("*.log"))
            assert names == [f"receipts-0000000{one}.log" for one in (2, 3, 4)]
        reader = FileJournal(directory)
        reader.look()
        reader.look()
        assert zones_in(reader, 2) == {"eea", ""}
        assert drop_shipped(reader, 4, {"asean", "eea"}, 0.0, FAR_S * 10) == [2]
        assert drop_shipped(reader, 2, {"asean", "eea"}, 0.0, FAR_S * 10) == []

    run(main())


def test_what_is_just_being_written_is_not_shipped(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    path = segment_path(tmp_path, 1)
    path.write_bytes(b"12345")
    journal.look()
    assert journal.sizes() == {}
    path.write_bytes(b"1234567")
    journal.look()
    assert journal.sizes() == {1: 5}
    journal.look()
    assert journal.sizes() == {1: 7}
    assert journal.read(1, 2, 3) == b"345"
    with pytest.raises(StoreFailed, match=r"receipts-00000009\.log cannot be read"):
        journal.read(9, 0, 1)
    with pytest.raises(StoreFailed, match=r"receipts-00000009\.log cannot be dropped"):
        journal.drop(9)
    with pytest.raises(StoreFailed, match="cannot be shipped"):
        FileJournal(tmp_path / "none").look()
