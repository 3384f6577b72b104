"""The journal on disk keeps its promise and its twin makes the same one."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from selvedge.adapters import (
    FileAppender,
    MemoryAppender,
    find_receipt,
    find_sealed,
    read_segments,
)
from selvedge.adapters.journal_store import Appender
from selvedge.fabric import Outcome, Receipt, StoreCorrupt, StoreFailed
from selvedge.ledger import Intent, SegmentHeader, receipts_of, recover, seal, write_line
from tests.support.fabric import tiny_disk

FIRST = SegmentHeader("sin", 1, {})
SALT = bytes(32)
RECEIPT = Receipt(
    id="rcpt_0",
    request_id="req_1",
    tenant="asean",
    project="default",
    key="asean",
    data_class="default",
    route="/v1/chat/completions",
    ingress_pop="sin",
    ingress_country="SG",
    rule="asean/default",
    zone="asean",
    release=7,
    release_hash="ab" * 32,
    received_us=1_800_000_000_000_000,
    transit=False,
    outcome=Outcome.COMPLETE,
    status=200,
)


def receipt(number: int) -> Receipt:
    return msgspec.structs.replace(RECEIPT, id=f"rcpt_{number}")


def intent(number: int) -> bytes:
    return write_line(Intent(receipt(number)))


def sealed(number: int, seq: int | None = None) -> bytes:
    return write_line(seal(receipt(number), seq or number, SALT, None))


@contextlib.contextmanager
def opened(directory: Path, bytes_max: int = 1 << 20) -> Iterator[FileAppender]:
    """A journal that has its first header."""
    appender = FileAppender(directory, fsync_ms=1, segment_bytes_max=bytes_max)
    try:
        appender.open()
        appender.roll(FIRST)
        yield appender
    finally:
        appender.close()


def segments(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("receipts-*"))


def newest(directory: Path) -> Path:
    return sorted(directory.glob("receipts-*.log"))[-1]


class Disk:
    """Makes `os.write` to regular files cut short, or fail, as told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fault: Callable[[int, bytes], int] | None = None
        self._write = os.write
        monkeypatch.setattr("selvedge.adapters.journal_store.os.write", self._faulty)

    def _faulty(self, fd: int, data: bytes) -> int:
        return self.fault(fd, data) if self.fault else self._write(fd, data)

    def cut(self, fd: int, data: bytes) -> int:
        """A short write, as a full disk makes it."""
        return self._write(fd, data[: len(data) // 2])

    def refuse(self, fd: int, data: bytes) -> int:
        """Nothing is written."""
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def lie(self, fd: int, data: bytes) -> int:
        """All is written, and an error all the same."""
        self._write(fd, data)
        raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


# The contract, over both stores: how to make one, make one append fail, and read it back.


class Stores:
    """One of the two stores under test."""

    def __init__(self, kind: str, directory: Path, disk: Disk) -> None:
        self.kind = kind
        self._directory = directory
        self._disk = disk
        self._fault: str | None = None
        self.memory = MemoryAppender(lambda _: self._fault)

    def open(self) -> Appender:
        if self.kind == "memory":
            return self.memory
        appender = FileAppender(self._directory, fsync_ms=1)
        appender.open()
        return appender

    def fail(self, failing: bool) -> None:
        self._fault = "lost" if failing else None
        self._disk.fault = self._disk.cut if failing else None

    def lines(self) -> bytes:
        if self.kind == "memory":
            return b"".join(self.memory.lines)
        return b"".join(read_segments(self._directory))


@pytest.fixture(params=["file", "memory"])
def stores(request: pytest.FixtureRequest, tmp_path: Path, disk: Disk) -> Stores:
    return Stores(request.param, tmp_path, disk)


def test_contract_what_returned_is_there_and_in_order(stores: Stores) -> None:
    with contextlib.closing(stores.open()) as appender:
        assert appender.roll(FIRST)
        assert not appender.roll(FIRST)
        for number in range(5):
            appender.append(intent(number))
            assert stores.lines().endswith(intent(number))
    assert stores.lines() == write_line(FIRST) + b"".join(map(intent, range(5)))


def test_contract_what_failed_is_not_there_and_the_next_is(stores: Stores) -> None:
    with contextlib.closing(stores.open()) as appender:
        appender.roll(FIRST)
        appender.append(intent(1))
        before = stores.lines()
        stores.fail(True)
        for number in (2, 3):
            with pytest.raises(StoreFailed):
                appender.append(intent(number))
            assert stores.lines() == before
        stores.fail(False)
        appender.append(intent(4))
    assert stores.lines() == before + intent(4)
    assert list(recover(stores.lines()).open) == ["rcpt_1", "rcpt_4"]


def test_contract_a_line_that_may_be_there_is_the_last(
    stores: Stores, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stores.kind == "memory":
        stores.memory = MemoryAppender(lambda count: "kept" if count == 2 else None)
    with contextlib.closing(stores.open()) as appender:
        appender.roll(FIRST)
        appender.append(intent(1))
        disk.fault = disk.lie
        monkeypatch.setattr("selvedge.adapters.journal_store.os.ftruncate", disk.refuse)
        with pytest.raises(StoreFailed):
            appender.append(intent(2))
        disk.fault = None
        with pytest.raises(StoreFailed):
            appender.append(intent(3))
        assert not appender.roll(SegmentHeader("sin", 2, {}))
    assert stores.lines() == write_line(FIRST) + intent(1) + intent(2)


# The file store alone.


def test_a_journal_survives_reopening(tmp_path: Path) -> None:
    with opened(tmp_path) as appender:
        appender.append(intent(1))
        appender.append(sealed(1))
        appender.append(intent(2))
    again = FileAppender(tmp_path)
    found = again.open()
    assert not again.roll(SegmentHeader("sin", 2, {}))
    again.append(sealed(2))
    again.close()
    again.close()
    assert (found.seqs, list(found.open), found.segment) == ({"asean": 1}, ["rcpt_2"], 1)
    assert [one.decode().id for one in receipts_of(read_segments(tmp_path))] == ["rcpt_1", "rcpt_2"]
    assert segments(tmp_path) == ["receipts-00000001.log"]
    assert newest(tmp_path).stat().st_mode & 0o777 == 0o600


def test_a_torn_tail_is_cut_wherever_it_was_torn(tmp_path: Path) -> None:
    with opened(tmp_path) as appender:
        appender.append(sealed(1))
    whole = newest(tmp_path).read_bytes()
    line = sealed(2)
    for cut in range(1, len(line), 97):
        newest(tmp_path).write_bytes(whole + line[:cut])
        again = FileAppender(tmp_path)
        assert again.open().torn_bytes == cut
        again.close()
        assert newest(tmp_path).read_bytes() == whole


def test_a_damaged_middle_is_refused_by_file_and_line(tmp_path: Path) -> None:
    with opened(tmp_path) as appender:
        appender.append(sealed(1))
        appender.append(sealed(2))
    path = newest(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"rcpt_1", b"rcpt_7"))
    again = FileAppender(tmp_path)
    with pytest.raises(StoreCorrupt) as caught:
        again.open()
    again.close()
    words = str(caught.value)
    assert words.startswith(f"{path}: segment line 2: ")
    assert words.endswith("; restore it or move it away")
    assert path.read_bytes() == data.replace(b"rcpt_1", b"rcpt_7")


@pytest.mark.parametrize("content", [b"", sealed(1), write_line(SegmentHeader("sin", 9, {}))])
def test_a_segment_without_its_own_header_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "receipts-00000001.log"
    path.write_bytes(content)
    appender = FileAppender(tmp_path)
    with pytest.raises(StoreCorrupt, match=r"header.*; restore it or move it away"):
        appender.open()
    appender.close()
    assert path.read_bytes() == content


def test_one_owner(tmp_path: Path) -> None:
    with opened(tmp_path):
        with pytest.raises(StoreFailed, match=f"{tmp_path} is in use by another process; stop it"):
            FileAppender(tmp_path)
        code = "import sys; from pathlib import Path; from selvedge.adapters import FileAppender\n"
        code += "FileAppender(Path(sys.argv[1]))"
        argv = [sys.executable, "-c", code, str(tmp_path)]
        other = subprocess.run(argv, capture_output=True, check=False, timeout=60)
        assert other.returncode == 1
        assert b"is in use by another process" in other.stderr
    with opened(tmp_path):
        pass


@pytest.mark.parametrize("fault", ["cut", "refuse", "lie"])
def test_a_failed_write_is_undone(tmp_path: Path, disk: Disk, fault: str) -> None:
    with opened(tmp_path) as appender:
        appender.append(sealed(1))
        before = newest(tmp_path).read_bytes()
        disk.fault = getattr(disk, fault)
        with pytest.raises(StoreFailed, match="the journal cannot be written: ") as caught:
            appender.append(sealed(2))
        assert "\n" not in str(caught.value)
        assert newest(tmp_path).read_bytes() == before
        disk.fault = None
        appender.append(sealed(3, 2))
    assert recover(newest(tmp_path).read_bytes()).seqs == {"asean": 2}


def test_a_write_that_cannot_be_undone_closes_the_journal(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as appender:
        appender.append(intent(1))
        with monkeypatch.context() as patch:
            patch.setattr("selvedge.adapters.journal_store.os.ftruncate", disk.refuse)
            disk.fault = disk.cut
            with pytest.raises(StoreFailed):
                appender.append(intent(2))
        disk.fault = None
        with pytest.raises(StoreFailed, match="ends in a line not written whole: No space"):
            appender.append(intent(3))
    again = FileAppender(tmp_path)
    found = again.open()
    again.close()
    assert list(found.open) == ["rcpt_1"]
    assert found.torn_bytes == len(intent(2)) // 2


def test_an_fsync_that_fails_closes_the_journal_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    told: list[OSError] = []
    monkeypatch.setattr("selvedge.adapters.journal_store.os.fdatasync", broken)
    appender = FileAppender(tmp_path, fsync_ms=1, on_trouble=told.append)
    appender.open()
    appender.roll(FIRST)
    appender.append(intent(1))
    appender.close()
    assert told
    with pytest.raises(StoreFailed, match="cannot be synced: Input/output error"):
        appender.append(intent(2))


def test_a_roll_carries_sequences_and_open_intents(tmp_path: Path) -> None:
    with opened(tmp_path, bytes_max=1) as appender:
        appender.append(intent(1))
        header = SegmentHeader("sin", 2, {"asean": 4}, (Intent(receipt(1)),))
        assert appender.roll(header)
        appender.append(sealed(1, 5))
    assert segments(tmp_path) == ["receipts-00000001.log", "receipts-00000002.log"]
    again = FileAppender(tmp_path)
    found = again.open()
    again.close()
    assert (found.segment, found.seqs, found.open) == (2, {"asean": 5}, {})


@pytest.mark.parametrize("fault", ["cut", "refuse", "lie"])
def test_a_roll_that_fails_goes_on_in_the_old_segment(
    tmp_path: Path, disk: Disk, fault: str
) -> None:
    with opened(tmp_path, bytes_max=1) as appender:
        disk.fault = getattr(disk, fault)
        assert not appender.roll(SegmentHeader("sin", 2, {}))
        disk.fault = None
        assert segments(tmp_path) == ["receipts-00000001.log"]
        appender.append(intent(1))
        assert appender.roll(SegmentHeader("sin", 2, {}, (Intent(receipt(1)),)))
        appender.append(intent(2))
    assert list(recover(newest(tmp_path).read_bytes()).open) == ["rcpt_1", "rcpt_2"]


def test_the_first_segment_cannot_be_started_on_a_full_disk(tmp_path: Path, disk: Disk) -> None:
    appender = FileAppender(tmp_path)
    appender.open()
    disk.fault = disk.refuse
    with pytest.raises(StoreFailed, match="the journal cannot be started: No space left"):
        appender.roll(FIRST)
    appender.close()
    assert segments(tmp_path) == []


@pytest.mark.parametrize("failing", ["fsync of the old segment", "fsync of the directory"])
def test_a_roll_never_hides_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """Recovery reads the newest segment alone: after a roll half done, it must be the right one."""
    fsync, calls = os.fsync, [0]

    def faulty(fd: int) -> None:
        calls[0] += 1
        # 1: the draft, 2: the old segment, 3: the directory.
        if calls[0] == (2 if failing == "fsync of the old segment" else 3):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(fd)

    with opened(tmp_path, bytes_max=1) as appender:
        appender.append(intent(1))
        monkeypatch.setattr("selvedge.adapters.journal_store.os.fsync", faulty)
        appender.roll(SegmentHeader("sin", 2, {}, (Intent(receipt(1)),)))
        with pytest.raises(StoreFailed, match="cannot be synced"):
            appender.append(intent(2))
    again = FileAppender(tmp_path)
    assert list(again.open().open) == ["rcpt_1"]
    again.close()


def fill(appender: FileAppender) -> int:
    """Write until the disk is full; how many lines were taken."""
    for number in range(1, 1000):
        try:
            appender.append(sealed(number))
        except StoreFailed:
            return number - 1
    raise AssertionError("this disk has no end")


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", "64k") as tiny:
        filler = tiny / "filler"
        filler.write_bytes(bytes(20_000))
        appender = FileAppender(tiny / "receipts", fsync_ms=1)
        appender.open()
        appender.roll(FIRST)
        count = fill(appender)
        assert count
        with pytest.raises(StoreFailed):
            appender.append(sealed(1000))  # no shorter than what did not fit
        found = recover(newest(tiny / "receipts").read_bytes())
        assert (found.seqs, found.torn_bytes) == ({"asean": count}, 0)
        filler.unlink()
        appender.append(sealed(count + 1))
        appender.close()
        found = recover(newest(tiny / "receipts").read_bytes())
        assert (found.seqs, found.torn_bytes) == ({"asean": count + 1}, 0)


def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreFailed, match="cannot be used: Not a directory"):
        FileAppender(tmp_path / "file" / "receipts")


def test_finding_one_receipt(tmp_path: Path) -> None:
    with opened(tmp_path, bytes_max=1) as appender:
        appender.append(intent(1))
        appender.append(sealed(1))
        appender.roll(SegmentHeader("sin", 2, {"asean": 1}))
        appender.append(sealed(2))
    assert find_receipt(tmp_path, "rcpt_1") == msgspec.structs.replace(receipt(1), seq=1)
    found = find_sealed(tmp_path, "rcpt_2")
    assert found is not None
    assert found.decode().seq == 2
    for unknown in ("rcpt_3", "rcpt_", "", '"', "*"):
        assert find_receipt(tmp_path, unknown) is None
    assert find_receipt(tmp_path / "none", "rcpt_1") is None
