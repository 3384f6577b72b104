"""A PoP's log: every receipt is a leaf once, whatever happens to who writes it."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from selvedge.adapters import read_log_keys, rotate_log_key, segment_path
from selvedge.fabric import StoreCorrupt, StoreFailed
from selvedge.pop.access_record import access_file, write_access
from selvedge.tlog import access_digest, heartbeat_gaps, heartbeat_time, read_checkpoint
from tests.support.log_pops import DAY_US, NOVEMBER_US, LogPlace, digest_of

NOVEMBER, DECEMBER = "2026-11", "2026-12"


def _receipts(entries: list[bytes]) -> list[bytes]:
    return sorted(one for one in entries if len(one) == 32)


def test_every_receipt_of_every_journal_is_a_leaf_once(tmp_path: Path) -> None:
    place = LogPlace(tmp_path)
    for _ in range(4):
        place.write(70)
        place.turn()
    place.begin()
    place.write(30)
    place.turn()
    place.turn()
    entries = place.entries(NOVEMBER)
    assert _receipts(entries) == place.leaves()
    assert [heartbeat_time(one) for one in entries if heartbeat_time(one)]


def test_nothing_is_signed_where_nothing_happens_but_the_heartbeat(tmp_path: Path) -> None:
    place = LogPlace(tmp_path)
    for _ in range(100):
        place.turn()
    entries = place.entries(NOVEMBER)
    assert len(entries) == 4  # at 0, 30, 60 and 90 s
    assert heartbeat_gaps(entries) == []
    assert heartbeat_gaps(entries, end_us=place.now_us + 51_000_000) != []
    assert heartbeat_gaps(entries, start_us=NOVEMBER_US - DAY_US)[0][0] == NOVEMBER_US - DAY_US


def test_a_log_that_stood_still_has_a_gap_that_shows(tmp_path: Path) -> None:
    place = LogPlace(tmp_path)
    place.turn()
    place.now_us += 600_000_000
    place.ticks += 600
    place.turn()
    ((start, end),) = heartbeat_gaps(place.entries(NOVEMBER))
    assert end - start == pytest.approx(600_000_000, abs=2_000_000)


def test_a_month_ends_with_a_checkpoint_and_the_next_begins_at_nothing(tmp_path: Path) -> None:
    place = LogPlace(tmp_path)
    place.write(40)
    place.turn()
    ends = place.log.state.size
    place.now_us += 31 * DAY_US
    place.turn()
    assert place.log.state.shard == DECEMBER
    place.write(40)
    place.turn()
    assert place.tree(NOVEMBER).size == ends
    assert _receipts(place.entries(NOVEMBER, DECEMBER)) == place.leaves()


def test_a_clock_that_is_moved_back_moves_neither_shard_nor_heartbeat(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = LogPlace(tmp_path)
    place.now_us += 31 * DAY_US
    place.turn()
    assert place.log.state.shard == DECEMBER
    before = place.log.state.time_us
    place.now_us -= 20 * DAY_US
    for _ in range(70):
        place.write(1)
        place.turn()
    place.begin()
    place.turn()
    assert place.log.state.shard == DECEMBER
    assert place.log.state.time_us == before
    beats = [time for one in place.entries(DECEMBER) if (time := heartbeat_time(one))]
    assert beats == sorted(set(beats))
    assert len(beats) > 2
    assert sum("the clock was moved back" in one for one in caplog.messages) == 2
    assert _receipts(place.entries(DECEMBER)) == place.leaves()


def test_two_keys_sign_while_one_follows_the_other(tmp_path: Path) -> None:
    place = LogPlace(tmp_path)
    (old,) = place.keys
    signatures = []
    for version in range(2, 6):
        place.write(1)
        place.turn()
        _, note = read_checkpoint(place.log.state.note.encode())
        signatures.append(len(note.signatures))
        if version < 5:
            assert rotate_log_key(tmp_path) == version - 1
        place.keys = read_log_keys(tmp_path)
        place.release = place.make_release(version)
        assert place.log.key(place.release) is None
    assert signatures == [1, 2, 2, 1]
    assert old not in place.keys
    place.write(1)
    place.turn()
    assert _receipts(place.entries(NOVEMBER)) == place.leaves()


def test_a_key_that_the_release_does_not_name_signs_nothing(tmp_path: Path) -> None:
    place = LogPlace(tmp_path)
    (tmp_path / "log.key").unlink()
    why = place.log.key(place.release)
    assert why is not None
    assert "pops.sin.log_keys" in why
    bare = msgspec.structs.replace(place.release.pops[0], log_keys=())
    none = place.log.key(msgspec.structs.replace(place.release, pops=(bare,)))
    assert none is not None
    assert "publish it anew" in none


def test_damaged_lines_have_no_leaf_and_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = LogPlace(tmp_path)
    place.write(10)
    path = segment_path(tmp_path / "receipts", 1)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[4] = lines[4].replace(b'"tenant":"asean"', b'"tenant":"other"')
    path.write_bytes(b"".join(lines))
    place.turn()
    assert len(_receipts(place.entries(NOVEMBER))) == 19
    assert "1 damaged lines of journal 0 have no leaf" in caplog.text


def test_a_log_whose_first_checkpoint_fails_goes_on(tmp_path: Path) -> None:
    """No checkpoint has told of its journals yet: they are read from their beginning."""
    place = LogPlace(tmp_path)
    place.log.open()
    place.write(20)
    (tmp_path / "log" / "state.json.draft").mkdir()
    with pytest.raises(StoreFailed):
        place.turn()
    place.log.is_open = False
    (tmp_path / "log" / "state.json.draft").rmdir()
    place.turn()
    assert _receipts(place.entries(NOVEMBER)) == place.leaves()


def test_a_state_that_was_cut_is_refused_until_a_new_shard_is_opened(tmp_path: Path) -> None:
    place = LogPlace(tmp_path)
    place.write(20)
    place.turn()
    state = tmp_path / "log" / "state.json"
    state.write_bytes(state.read_bytes()[:-20])
    place.begin()
    with pytest.raises(StoreCorrupt, match="selvedge log reshard"):
        place.turn()
    assert place.log.reshard() == "2026-11.2"
    place.write(5)
    place.turn()
    # How far the journals were read is not known any more: all of them, once more.
    assert _receipts(place.entries("2026-11.2")) == place.leaves()
    place.now_us += 31 * DAY_US
    place.turn()
    assert place.log.state.shard == DECEMBER


def test_a_journal_that_was_set_back_is_read_once_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = LogPlace(tmp_path)
    place.write(10)
    shutil.copytree(tmp_path / "receipts", tmp_path / "backup")
    place.write(10)
    place.turn()
    shutil.rmtree(tmp_path / "receipts")
    (tmp_path / "backup").rename(tmp_path / "receipts")
    place.turn()
    assert "journal 0 was set back" in caplog.text
    found = Counter(_receipts(place.entries(NOVEMBER)))
    assert sorted(found) == place.leaves()
    assert Counter(found.values()) == {1: 30, 2: 10}


def test_every_read_of_receipts_is_an_entry(tmp_path: Path) -> None:
    place = LogPlace(tmp_path)
    place.turn()
    digests = [write_access(tmp_path, "receipts show", f"rcpt_{n}", "alice") for n in range(3)]
    place.turn()
    place.begin()
    digests.append(write_access(tmp_path, "receipts tail", "10", "bob"))
    place.turn()
    found = [digest for one in place.entries(NOVEMBER) if (digest := access_digest(one))]
    assert found == digests
    lines = access_file(tmp_path).read_bytes().splitlines()
    assert [digest_of(one) for one in lines] == digests
    assert b'"who":"alice"' in lines[0]


def test_a_record_of_reads_that_was_set_back_hides_no_later_read(tmp_path: Path) -> None:
    place = LogPlace(tmp_path)
    for number in range(3):
        write_access(tmp_path, "audit prove", f"receipt {number}")
    place.turn()
    path = access_file(tmp_path)
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    place.turn()
    later = write_access(tmp_path, "audit prove", "another")
    place.turn()
    found = [access_digest(one) for one in place.entries(NOVEMBER)]
    assert later in found


def test_an_access_that_was_half_written_does_not_join_the_next(tmp_path: Path) -> None:
    place = LogPlace(tmp_path)
    write_access(tmp_path, "receipts show", "rcpt_1", "alice")
    with access_file(tmp_path).open("ab") as file:
        file.write(b'{"at_us":1,"wh')
    place.turn()
    digest = write_access(tmp_path, "receipts show", "rcpt_2", "bob")
    place.turn()
    found = [one for one in map(access_digest, place.entries(NOVEMBER)) if one]
    assert found[-1] == digest
    assert len(found) == 3
