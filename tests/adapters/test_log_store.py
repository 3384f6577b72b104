"""A log's files: what a death leaves behind is taken up again, or refused by name."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from selvedge.adapters import FolderFiles, LogStore, published, sizes_around
from selvedge.fabric import BadProof, StoreCorrupt, StoreFailed
from tests.support.disks import Died
from tests.support.log_disks import LogDisk
from tests.support.logs import SHARD, Observer, entries_of, leaf_of, new_store

NEXT = "2026-12"


class Writer:
    """Writes numbers into a log, from where the log itself says; dies and begins again."""

    def __init__(self, disk: LogDisk, rng: Random) -> None:
        self.disk = disk
        self.rng = rng
        self.observer = Observer()
        self.deaths = 0
        self.made = 0
        self.shards: list[str] = [SHARD]
        self.store: LogStore | None = None

    def open(self) -> LogStore:
        store = new_store(self.disk, segment_bytes_max=2_000)
        state = store.open()
        if not state.shard:
            store.begin(self.shards[0], 1)
        if state.note:
            store.publish(state.note.encode())
        self.store = store
        return store

    def step(self, count: int) -> None:
        """Write so many more; a death ends it, and leaves nothing in memory."""
        try:
            store = self.store or self.open()
            place = store.state.sources.get("0", (0, 0))[1]
            self.made += count
            store.add([leaf_of(number) for number in range(place, self.made)])
            state = store.commit(self.made, {"0": (0, self.made)})
            store.publish(state.note.encode())
            self.observer.look(self.disk, state.shard)
            store.settle(self.rng.randrange(6))
        except Died:
            self.deaths += 1
            self.store = None
        except StoreFailed:
            self.store = None
        for shard in self.shards:
            self.observer.look(self.disk, shard)

    def turn(self) -> None:
        """The month ends."""
        try:
            store = self.store or self.open()
            if store.state.shard != NEXT and store.state.size:
                if NEXT not in self.shards:
                    self.shards.append(NEXT)
                store.begin(NEXT, self.made)
        except Died:
            self.deaths += 1
            self.store = None

    def check(self) -> None:
        """Everything is in the log once, and nothing that was published was ever taken back."""
        self.disk.dies_at = 0
        self.disk.fails.clear()
        self.store = None
        self.step(1)
        held = []
        for shard in self.shards:
            if shard in self.observer.seen:
                held += entries_of(self.observer.check(self.disk, shard))
        assert held == [leaf_of(number) for number in range(self.made)]


@pytest.mark.parametrize("power", [False, True])
def test_five_hundred_deaths_lose_no_leaf_and_publish_one_history(power: bool) -> None:
    deaths = seed = 0
    while deaths < 500:
        rng = Random(seed)
        writer = Writer(LogDisk(Random(f"{seed}/disk"), power=power), rng)
        for number in range(40):
            if rng.random() < 0.7:
                writer.disk.dies_at = writer.disk.operations + rng.randint(1, 25)
            if number == 30:
                writer.turn()
            writer.step(rng.choice([1, 3, 40, 256, 300]))
        writer.check()
        deaths += writer.deaths
        seed += 1


@pytest.mark.parametrize("power", [False, True])
def test_a_death_at_every_operation_is_survived(power: bool) -> None:
    def play(dies_at: int) -> int:
        writer = Writer(LogDisk(Random(f"{dies_at}"), power=power), Random(7))
        writer.disk.dies_at = dies_at
        for number in range(5):
            writer.step((200, 56, 1, 300)[number % 4])
            if number == 3:
                writer.turn()
        writer.check()
        return writer.disk.operations

    for dies_at in range(1, play(0) + 1):
        play(dies_at)


def test_a_full_disk_costs_a_checkpoint_and_nothing_else() -> None:
    writer = Writer(LogDisk(Random(3)), Random(3))
    for number in range(120):
        if number % 3 == 0:
            at = writer.disk.operations + writer.rng.randint(1, 12)
            writer.disk.fails[at] = "No space left on device"
        writer.step(50)
    writer.check()


def _written(disk: LogDisk, count: int = 700) -> Writer:
    writer = Writer(disk, Random(1))
    for _ in range(count // 100):
        writer.step(100)
    assert writer.store is not None
    return writer


@pytest.mark.parametrize(
    ("path", "words"),
    [("state.json", "state.json fails its checksum"), ("tail", "the tail ends at|has no head")],
)
def test_a_file_cut_short_is_named_and_nothing_is_signed(path: str, words: str) -> None:
    writer = _written(LogDisk(Random(1)))
    found = max(one for one in writer.disk.files if one.startswith(path))
    for size in (0, 5, len(writer.disk.files[found]) - 1):
        disk = LogDisk(Random(2))
        disk.restore({**writer.disk.files, found: writer.disk.files[found][:size]})
        with pytest.raises(StoreCorrupt, match=words):
            new_store(disk).open()


def test_every_flipped_bit_of_state_and_tail_is_found() -> None:
    writer = _written(LogDisk(Random(1)), 300)
    rng = Random(5)
    for path in ("state.json", max(one for one in writer.disk.files if one.startswith("tail"))):
        for _ in range(60):
            data = bytearray(writer.disk.files[path])
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            disk = LogDisk(Random(2))
            disk.restore({**writer.disk.files, path: bytes(data)})
            with pytest.raises(StoreCorrupt):
                new_store(disk).open()


def test_a_missing_state_is_no_new_log() -> None:
    writer = _written(LogDisk(Random(1)))
    del writer.disk.files["state.json"]
    with pytest.raises(StoreCorrupt, match=r"state.json is missing, but 2026-11 was begun"):
        new_store(writer.disk).open()


def test_a_state_that_is_older_than_its_tail_is_found() -> None:
    writer = _written(LogDisk(Random(1)))
    old = writer.disk.files["state.json"]
    writer.step(10)
    writer.step(10)
    writer.disk.files["state.json"] = old
    writer.disk.remove(published(SHARD))  # else it is found by that
    with pytest.raises(StoreCorrupt, match=r"state.json is older than tail/2026-11"):
        new_store(writer.disk).open()


def test_a_state_that_is_older_than_what_was_shown_is_found() -> None:
    """State and tail were brought back from a copy, and what the world reads was not."""
    disk = LogDisk(Random(1))
    _written(disk, 300)
    kept = {path: disk.read(path) for path in ("state.json", *_tail(disk))}
    _written_on(disk, 200)
    for path in _tail(disk):
        disk.remove(path)
    for path, data in kept.items():
        assert data is not None
        disk.put(path, data)
    with pytest.raises(StoreCorrupt, match=r"state.json is older than public/2026-11/checkpoint"):
        new_store(disk).open()


def test_a_state_of_a_month_that_has_ended_is_found_and_nothing_is_dropped() -> None:
    disk = LogDisk(Random(1))
    writer = _written(disk, 300)
    state = disk.read("state.json")
    writer.turn()
    _written_on(disk, 200)
    assert state is not None
    disk.put("state.json", state)
    before = _tail(disk)
    with pytest.raises(StoreCorrupt, match=r"state.json is older than public/2026-12"):
        new_store(disk).open()
    assert _tail(disk) == before


def _tail(disk: LogDisk) -> list[str]:
    return [f"tail/{name}" for name in disk.names("tail")]


def _written_on(disk: LogDisk, count: int) -> None:
    store = new_store(disk)
    state = store.open()
    store.add([leaf_of(number) for number in range(count)])
    store.publish(store.commit(state.time_us + 1).note.encode())


def test_a_corrupted_tile_is_named_when_it_is_read() -> None:
    writer = _written(LogDisk(Random(1)))
    path = f"public/{SHARD}/tile/0/001"
    data = bytearray(writer.disk.files[path])
    data[700] ^= 1
    writer.disk.files[path] = bytes(data)
    with pytest.raises(BadProof, match=r"tile/0/001: does not hash"):
        entries_of(writer.observer.check(writer.disk, SHARD))


def test_files_on_a_real_disk(tmp_path: Path) -> None:
    files = FolderFiles(tmp_path)
    observer = Observer()
    for life in range(5):
        store = new_store(files, segment_bytes_max=4_000)
        state = store.open()
        if not state.shard:
            store.begin(SHARD, 1)
        for turn in range(4):
            size = store.state.size
            store.add([leaf_of(number) for number in range(size, size + 150)])
            state = store.commit((life * 4 + turn) * 10_000_000 + 1)
            store.publish(state.note.encode())
            observer.look(files, SHARD)
            store.settle(3)
    tree = observer.check(files, SHARD)
    assert entries_of(tree) == [leaf_of(number) for number in range(3_000)]
    assert sizes_around(files, SHARD, 0) == (0, 150)
    assert sizes_around(files, SHARD, 35_000_000) == (600, 750)
    assert sizes_around(files, SHARD, 10**15) == (3_000, None)
    assert (tmp_path / published(SHARD)).stat().st_mode & 0o004  # a web server may read it
    store.settle(store.unsettled)
    partial = sorted(one.name for one in (tmp_path / "public" / SHARD / "tile").rglob("*.p"))
    assert partial == ["000.p", "011.p", "011.p"]


def test_more_than_fits_between_two_checkpoints_is_due_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("selvedge.adapters.log_store.PENDING_MAX", 100)
    monkeypatch.setattr("selvedge.adapters.log_store.PENDING_BYTES_MAX", 10_000)
    store = new_store(LogDisk(Random(1)))
    store.open()
    store.begin(SHARD, 1)
    store.add([leaf_of(number) for number in range(99)])
    assert not store.full
    store.add([leaf_of(99)])
    assert store.full
    store.commit(2)
    assert not store.full
    store.add([bytes(9_999)])
    assert not store.full
    store.add([b"x"])
    assert store.full


def test_tiles_that_wait_for_their_sync_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selvedge.adapters.log_store.UNSETTLED_MAX", 10)
    store = new_store(LogDisk(Random(1)), segment_bytes_max=2_000)
    store.open()
    store.begin(SHARD, 1)
    for turn in range(6):
        store.add([leaf_of(turn * 1_000 + number) for number in range(1_000)])
        store.commit(turn + 2)
        assert store.unsettled <= 10
    store.settle(store.unsettled)
    assert store.unsettled == 0
    assert len(store.files.names("tail")) <= 2
