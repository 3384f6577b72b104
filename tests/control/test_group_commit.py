"""Group commit: nobody is told of what is not on disk, whatever fails."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from selvedge.adapters import PlainFiles
from selvedge.control import group_commit
from selvedge.control.group_commit import GroupCommit
from selvedge.exchange import collection
from selvedge.fabric import StoreFailed
from selvedge.ledger import Batch, CollectorLog, Files
from tests.ledger.test_collected import STREAM, batch, line
from tests.support import run
from tests.support.disks import Disk
from tests.support.fabric import tiny_disk
from tests.support.shipping import KEY


def commit_over(files: Files, **options: int) -> GroupCommit:
    return GroupCommit(CollectorLog(files, "asean", **options), "asean", lambda _: KEY)


def shipment(one: Batch, pop: str = "sin") -> bytes:
    return collection.ship(collection.Shipment(pop, "asean", bytes(16), one), KEY)


async def taken(commit: GroupCommit, one: Batch, pop: str = "sin") -> collection.Holding:
    written = shipment(one, pop)
    answer = await commit.take(written)
    asked = collection.read_shipment(written, "asean", lambda _: KEY)
    return collection.read_holding(answer, asked, KEY)


def test_what_comes_together_is_one_group() -> None:
    async def main() -> None:
        disk = Disk(Random(1))
        commit = commit_over(disk)
        running = asyncio.create_task(commit.run())
        pops = [f"pop-{at}" for at in range(20)]
        batches = [batch(line(1, pop=pop)) for pop in pops]
        found = await asyncio.gather(*map(taken, [commit] * 20, batches, pops))
        assert {one.place for one in found} == {(1, 100)}
        assert commit.groups <= 2
        again = CollectorLog(disk, "asean")
        assert len(again.known.held) == 20
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run(main())


def test_a_bad_batch_is_told_and_the_others_are_taken() -> None:
    async def main() -> None:
        commit = commit_over(Disk(Random(1)))
        running = asyncio.create_task(commit.run())
        bad, good = await asyncio.gather(
            taken(commit, batch(line(1, zone="eea"))),
            taken(commit, batch(line(1, pop="fra")), "fra"),
        )
        assert bad.problem is not None
        assert "of zone 'eea'" in bad.problem
        assert (bad.place, good.place, good.problem) == ((0, 0), (1, 100), None)
        assert commit.alarms == 1
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run(main())


def test_a_write_that_fails_is_forgotten_with_all_that_came_after_it() -> None:
    async def main() -> None:
        disk = Disk(Random(1))
        commit = commit_over(disk)
        running = asyncio.create_task(commit.run())
        await taken(commit, batch(line(1)))
        disk.fails[disk.operations + 1] = "No space left on device"
        with pytest.raises(StoreFailed, match="No space left on device"):
            await taken(commit, batch(line(2), start=(1, 100)))
        assert commit.log.known.held[STREAM].count == 1
        again = await taken(commit, batch(line(2), start=(1, 100)))
        assert again.place == (1, 200)
        assert CollectorLog(disk, "asean").known.held[STREAM].count == 2
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run(main())


def test_more_than_may_wait_is_sent_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr(group_commit, "WAITING_BYTES_MAX", 10)
        commit = commit_over(Disk(Random(1)))
        first = asyncio.create_task(taken(commit, batch(line(1))))
        await asyncio.sleep(0)
        with pytest.raises(group_commit.Busy, match="wait for the disk; try again later"):
            await taken(commit, batch(line(1, pop="fra")), "fra")
        running = asyncio.create_task(commit.run())
        assert (await first).place == (1, 100)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run(main())


def test_a_sync_that_fails_ends_it() -> None:
    async def main() -> None:
        disk = Disk(Random(1))
        commit = commit_over(disk)
        running = asyncio.create_task(commit.run())
        disk.fails[disk.operations + 2] = "Input/output error"
        with pytest.raises(StoreFailed, match="Input/output error"):
            await taken(commit, batch(line(1)))
        with pytest.raises(StoreFailed, match="Input/output error"):
            await running
        with pytest.raises(StoreFailed, match="Input/output error"):
            await taken(commit, batch(line(1)))

    run(main())


def test_segments_roll_between_groups_and_what_is_staged_goes_behind() -> None:
    async def main() -> None:
        disk = Disk(Random(1))
        commit = commit_over(disk, bytes_max=3_000)
        running = asyncio.create_task(commit.run())
        start = (0, 0)
        for seq in range(1, 30):
            both = (
                taken(commit, batch(line(seq), start=start)),
                taken(commit, batch(line(seq, pop="fra"), start=start), "fra"),
            )
            found, _ = await asyncio.gather(*both)
            start = found.place
        commit.close_segment()
        await taken(commit, batch(line(99), again=True))
        assert len(commit.log.closed) > 5
        again = CollectorLog(disk, "asean")
        assert [one.count for one in again.known.held.values()] == [30, 29]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run(main())


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    async def main(place: Path) -> None:
        commit = commit_over(PlainFiles(place / "log"))
        running = asyncio.create_task(commit.run())
        start, seq, refused = (0, 0), 0, ""
        while not refused:
            lines = [line(one) for one in range(seq + 1, seq + 101)]
            try:
                start = (await taken(commit, batch(*lines, start=start))).place
            except StoreFailed as error:
                refused = str(error)
            else:
                seq += 100
        assert "collected-00000001.log cannot be used" in refused
        assert commit.log.known.held[STREAM].count == seq > 0
        (place / "ballast").unlink()
        assert (await taken(commit, batch(*lines, start=start))).problem is None
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        again = CollectorLog(PlainFiles(place / "log"), "asean")
        assert again.known.held[STREAM].count == seq + 100
        assert (again.known.gaps(), again.known.doubles) == ({}, 0)

    with tiny_disk(tmp_path / "disk", "2m") as place:
        (place / "ballast").write_bytes(bytes(600_000))
        run(main(place))
