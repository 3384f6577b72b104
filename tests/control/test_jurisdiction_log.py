"""The log of a jurisdiction: takes PoPs' checkpoints, is witnessed, and never has two histories."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from selvedge.adapters import Outgoing, closed_why, decode_state
from selvedge.control.small_server import Answer
from selvedge.tlog import (
    Checkpoint,
    Signer,
    Submission,
    partial_tiles,
    read_checkpoint,
    sign_checkpoint,
)
from tests.support import run
from tests.support.log_pops import DAY_US, DOMAIN
from tests.support.log_world import LogWorld, back_up, bring_back

NOVEMBER, DECEMBER = "2026-11", "2026-12"


def _origin(pop: str, shard: str = NOVEMBER) -> str:
    return f"{DOMAIN}/example/pop/{pop}/{shard}"


async def _get(world: LogWorld, target: str, port: str = "log") -> tuple[int, bytes]:
    asked = Outgoing("127.0.0.1", world.ports[port], "GET", target, ())
    answer = await world.client.fetch(asked)
    return answer.status, answer.body


def test_checkpoints_of_pops_are_witnessed_and_published(tmp_path: Path) -> None:
    async def play() -> None:
        world = LogWorld(tmp_path)
        async with world.running():
            for _ in range(5):
                for place in world.places.values():
                    place.write(20)
                await world.second()
            sizes = {_origin(pop): one.log.state.size for pop, one in world.places.items()}
            assert world.taken(NOVEMBER) == sizes
            assert min(sizes.values()) > 150
            assert len(world.seen[NOVEMBER]) >= 5
            status, body = await _get(world, f"/{NOVEMBER}/checkpoint")
            checkpoint, note = read_checkpoint(body)
            assert (status, len(note.signatures)) == (200, 3)  # the log, two witnesses
            tile = f"/{NOVEMBER}/tile/entries/000.p/{checkpoint.size}"
            assert (await _get(world, tile))[0] == 200
            for bad in (
                "/",
                f"/{NOVEMBER}/../../state.json",
                f"/{NOVEMBER}/tile/0/00",
                "/x/checkpoint",
            ):
                assert (await _get(world, bad))[0] == 404
            assert (await _get(world, "/status"))[0] == 200
            assert b'selvedge_log_closed{log="asean"} 0' in (await _get(world, "/metrics"))[1]
            assert (await _get(world, "/status", "0"))[0] == 200

    run(play())


def test_a_log_begins_again_where_it_was(tmp_path: Path) -> None:
    async def play() -> None:
        world = LogWorld(tmp_path)
        async with world.running():
            for _ in range(6):
                world.places["sin"].write(5)
                await world.second()
                await world.end_log()
                await world.begin_log()
                world.begin_pop("cgk", world.client)
            await world.second()
            sizes = {_origin(pop): one.log.state.size for pop, one in world.places.items()}
            assert world.taken(NOVEMBER) == sizes

    run(play())


def test_a_pop_log_brought_back_from_a_backup_is_refused_until_a_new_shard(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def play() -> None:
        world = LogWorld(tmp_path)
        place = world.places["sin"]
        async with world.running():
            place.write(10)
            await world.second()
            back_up(tmp_path / "sin" / "log", tmp_path / "backup")
            place.write(10)
            await world.second()
            seen = place.log.state
            bring_back(tmp_path / "sin" / "log", tmp_path / "backup")
            keeping = world.begin_pop("sin", world.client)
            place.write(10)
            for _ in range(3):
                await world.second()
            # Nothing was signed since: the log knows no more than its backup did.
            assert keeping.closed is not None
            assert f"knows {_origin('sin')} at {seen.size}" in keeping.closed
            assert "set back to an older copy" in keeping.closed
            assert place.log.state.size < seen.size
            assert world.taken(NOVEMBER)[_origin("sin")] == seen.size
            again = world.begin_pop("sin", world.client)
            await world.second()
            assert again.closed is not None  # a start does not open it
            assert closed_why(tmp_path / "sin" / "log") == again.closed
            (tmp_path / "sin" / "log" / "reshard").touch()
            for _ in range(3):
                await world.second()
            assert again.closed is closed_why(tmp_path / "sin" / "log") is None
            assert place.log.state.shard == "2026-11.2"
            leaves = {one for one in place.entries("2026-11.2") if len(one) == 32}
            assert world.taken(NOVEMBER)[_origin("sin", "2026-11.2")] == place.log.state.size
            before = {one for one in place.entries(NOVEMBER) if len(one) == 32}
            assert sorted(before | leaves) == place.leaves()  # not one is without a proof

    run(play())
    assert "the log is closed" in caplog.text


def test_a_pop_log_that_was_lost_whole_is_refused(tmp_path: Path) -> None:
    async def play() -> None:
        world = LogWorld(tmp_path)
        place = world.places["sin"]
        async with world.running():
            place.write(10)
            await world.second()
            (tmp_path / "sin" / "log").rename(tmp_path / "lost")
            keeping = world.begin_pop("sin", world.client)
            await world.second()
            assert keeping.closed is not None
            assert "and here it ends at 0" in keeping.closed

    run(play())


def test_a_fork_of_a_pop_log_is_refused(tmp_path: Path) -> None:
    """The backup goes on, signed with the right key, while nobody can be asked."""

    async def play() -> None:
        world = LogWorld(tmp_path)
        place = world.places["sin"]
        async with world.running():
            place.write(10)
            await world.second()
            back_up(tmp_path / "sin" / "log", tmp_path / "backup")
            place.write(10)
            await world.second()
            bring_back(tmp_path / "sin" / "log", tmp_path / "backup")
            place.begin()
            place.ticks += 100
            place.write(40)
            place.turn()  # past where the log was seen
            keeping = world.begin_pop("sin", world.client)
            await world.second()
            assert keeping.closed is not None
            assert "another history" in keeping.closed

    run(play())


def test_a_jurisdiction_log_brought_back_from_a_backup_is_refused_by_its_witness(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def play() -> None:
        world = LogWorld(tmp_path, witnesses=1)
        async with world.running():
            world.places["sin"].write(10)
            await world.second()
            await world.end_log()
            back_up(world.log_folder, tmp_path / "backup")
            await world.begin_log()
            for _ in range(3):
                world.places["sin"].write(10)
                await world.second()
            newest = max(world.seen[NOVEMBER])
            await world.end_log()
            bring_back(world.log_folder, tmp_path / "backup")
            log = await world.begin_log()
            signed = (world.log_folder / "state.json").read_bytes()
            for _ in range(3):
                world.places["sin"].write(10)
                await world.second()
            assert log.keeper.closed is not None
            assert f"knows {DOMAIN}/example/jurisdiction/asean/{NOVEMBER} at {newest}" in (
                log.keeper.closed
            )
            assert closed_why(world.log_folder) == log.keeper.closed
            # Nothing was signed, nothing taken, and what was published is all there ever was.
            assert (world.log_folder / "state.json").read_bytes() == signed
            assert max(world.seen[NOVEMBER]) == newest
            assert (await _get(world, f"/{NOVEMBER}/checkpoint"))[0] == 200
            (world.log_folder / "reshard").touch()
            for _ in range(3):
                await world.second()
            assert log.keeper.closed is None
            assert log.keeper.state.shard == "2026-11.2"
            assert world.taken("2026-11.2")

    run(play())
    assert "the log is closed" in caplog.text


def test_a_fork_of_a_jurisdiction_log_is_refused_by_its_witness(tmp_path: Path) -> None:
    """Two copies run beside each other with the same key; only one history is ever published."""

    async def play() -> None:
        world = LogWorld(tmp_path, witnesses=1)
        async with world.running():
            await world.second()
            await world.end_log()
            back_up(world.log_folder, tmp_path / "backup")
            for copy in range(2):
                if copy:
                    bring_back(world.log_folder, tmp_path / "backup")
                log = await world.begin_log()
                world.places["cgk" if copy else "sin"].write(10)
                for keeping in world.keepings.values():
                    keeping._listener = None
                    keeping._release = None
                await world.second()
                if not copy:
                    assert log.keeper.closed is None
                    await world.end_log()
            assert log.keeper.closed is not None
            status, body = await _get(world, "/status", "0")
            assert status == 200
            assert f'{NOVEMBER}":{max(world.seen[NOVEMBER])}'.encode() in body

    run(play())


def test_without_a_quorum_nothing_is_published_and_it_goes_on_when_there_is_one(
    tmp_path: Path,
) -> None:
    async def play() -> None:
        world = LogWorld(tmp_path, witnesses=3, quorum=2)
        async with world.running():
            await world.second()
            await world.end_witness(0)
            world.places["sin"].write(3)
            await world.second()
            published = max(world.seen[NOVEMBER])
            await world.end_witness(1)
            world.places["sin"].write(3)
            await world.second()
            await world.second()
            assert world.log is not None
            assert "1 of 2 witnesses have cosigned" in world.log.keeper.alarms[-1]
            assert max(world.seen[NOVEMBER]) == published
            await world.begin_witness(1)
            for keeping in world.keepings.values():
                keeping._untold = 0
            await world.second()
            await world.second()
            sizes = {_origin(pop): one.log.state.size for pop, one in world.places.items()}
            assert world.taken(NOVEMBER) == sizes

    run(play())


def test_every_witness_that_is_there_is_heard_before_anything_is_signed(tmp_path: Path) -> None:
    """A copy that is older than what one witness has seen, where another has seen no more."""

    async def play() -> None:
        world = LogWorld(tmp_path, witnesses=2, quorum=1)
        async with world.running():
            world.places["sin"].write(5)
            await world.second()
            back_up(world.log_folder, tmp_path / "backup")
            await world.end_witness(1)
            for _ in range(3):
                world.places["sin"].write(5)
                await world.second()
            await world.end_log()
            bring_back(world.log_folder, tmp_path / "backup")
            await world.begin_witness(1)
            heard, first, second = asyncio.Event(), world.witnesses[0], world.witnesses[1]

            async def late(method: str, target: str, body: bytes) -> Answer:
                await heard.wait()
                for _ in range(500):  # the other's answer is there first
                    await asyncio.sleep(0)
                return await first.answer(method, target, body)

            async def early(method: str, target: str, body: bytes) -> Answer:
                answer = await second.answer(method, target, body)
                heard.set()
                return answer

            first.server.answering, second.server.answering = late, early
            log = await world.begin_log()
            assert log.keeper.closed is not None
            assert "set back to an older copy" in log.keeper.closed
            heard.set()

    run(play())


def test_a_month_ends_in_both_logs(tmp_path: Path) -> None:
    async def play() -> None:
        world = LogWorld(tmp_path)
        place = world.places["sin"]
        async with world.running():
            place.write(5)
            await world.second()
            world.now_us += 31 * DAY_US
            for _ in range(4):
                place.write(5)
                await world.second()
            assert place.log.state.shard == DECEMBER
            ends = place.tree(NOVEMBER).size
            taken = world.taken(NOVEMBER) | world.taken(DECEMBER)
            assert taken[_origin("sin")] == ends
            assert taken[_origin("sin", DECEMBER)] == place.log.state.size
            await world.end_log()
            await world.begin_log()
            place.write(5)
            await world.second()
            await world.second()
            assert world.taken(DECEMBER)[_origin("sin", DECEMBER)] == place.log.state.size
            leaves = [one for one in place.entries(NOVEMBER, DECEMBER) if len(one) == 32]
            assert sorted(leaves) == place.leaves()

    run(play())


def test_a_witness_that_begins_again_knows_what_it_has_seen(tmp_path: Path) -> None:
    async def play() -> None:
        world = LogWorld(tmp_path, witnesses=1)
        async with world.running():
            await world.second()
            before = world.witnesses[0].book.sizes
            await world.end_witness(0)
            one = await world.begin_witness(0)
            assert one.book.sizes == before
            world.places["sin"].write(1)
            await world.second()
            assert one.book.sizes != before

    run(play())


@pytest.mark.parametrize(
    ("cut", "words"), [("state.json", "fails its checksum"), ("tail", "has no head")]
)
def test_a_damaged_file_closes_the_log_and_not_the_door(
    tmp_path: Path, cut: str, words: str
) -> None:
    async def play() -> None:
        world = LogWorld(tmp_path)
        async with world.running():
            world.places["sin"].write(5)
            await world.second()
            await world.end_log()
            path = world.log_folder / cut
            path = max(path.glob("*")) if path.is_dir() else path
            path.write_bytes(path.read_bytes()[:20])
            log = await world.begin_log()
            world.places["sin"].write(5)
            await world.second()
            assert log.keeper.closed is not None
            assert words in log.keeper.closed
            assert (await _get(world, f"/{NOVEMBER}/checkpoint"))[0] == 200
            assert (await _get(world, "/healthz"))[0] == 200
            # The PoP's own log goes on.
            place = world.places["sin"]
            state = decode_state((tmp_path / "sin" / "log" / "state.json").read_bytes())
            assert state.size == place.log.state.size > 5
            (world.log_folder / "reshard").touch()
            for keeping in world.keepings.values():
                keeping._tell_s = 0.0
            await world.second()
            await world.second()
            assert log.keeper.closed is None

    run(play())


def test_two_logs_do_not_share_a_folder(tmp_path: Path) -> None:
    async def play() -> None:
        world = LogWorld(tmp_path)
        async with world.running():
            with pytest.raises(Exception, match="is in use by another process"):
                await world.begin_log()

    run(play())


async def _post(world: LogWorld, body: bytes) -> tuple[int, bytes]:
    asked = Outgoing("127.0.0.1", world.ports["log"], "POST", "/add-pop-checkpoint", (), body)
    answer = await world.client.fetch(asked)
    return answer.status, answer.body


def test_what_is_no_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    async def play() -> None:
        world = LogWorld(tmp_path)
        place = world.places["sin"]
        async with world.running():
            place.write(5)
            await world.second()
            note = place.log.state.note.encode()
            size = place.log.state.size
            good = Submission(size, (), note).encode()
            assert (await _post(world, good))[0] == 200  # told once more, nothing is added
            before = world.taken(NOVEMBER)
            wrong_key = sign_checkpoint(
                Checkpoint(_origin("sin"), size + 1, bytes(32)), [Signer(_origin("sin"), bytes(32))]
            )
            stranger = sign_checkpoint(
                Checkpoint(_origin("fra"), 1, bytes(32)), [Signer(_origin("fra"), bytes(32))]
            )
            cases = [
                (b"", 400, b"old"),
                (good[: len(good) // 2], 400, b""),
                (good[:-3], 400, b""),
                (Submission(size, (), wrong_key).encode(), 403, b"signed by none"),
                (Submission(0, (), stranger).encode(), 404, b"is not known here"),
                (Submission(size + 1, (), note).encode(), 400, b"above the new"),
                (Submission(size - 1, (), note).encode(), 409, b"%d\n" % size),
                (b"x" * 80_000, 413, b"too_large"),
            ]
            for body, status, words in cases:
                found = await _post(world, body)
                assert found[0] == status, (body[:60], found)
                assert words in found[1]
            assert world.taken(NOVEMBER) == before

    run(play())


def test_a_damaged_tile_of_a_pop_is_named_and_its_log_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def play() -> None:
        world = LogWorld(tmp_path)
        place = world.places["sin"]
        async with world.running():
            place.write(300)
            await world.second()
            keeping = world.keepings["sin"]
            place.write(5)
            place.ticks += 2
            await keeping.turn()
            await keeping.turn()
            size = place.log.state.size
            (tile, *_) = partial_tiles(size)
            path = tmp_path / "sin" / "log" / "public" / NOVEMBER / tile.path
            whole = path.read_bytes()
            path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
            await world.tell()
            assert keeping.closed is None
            assert world.taken(NOVEMBER)[_origin("sin")] < size
            for _ in range(2):
                place.write(5)  # the next checkpoint has tiles of its own
                keeping._tell_s = 0.0
                await world.second()
            assert world.taken(NOVEMBER)[_origin("sin")] == place.log.state.size > size

    run(play())
    assert "a file of the log is damaged: tile/0/" in caplog.text
