"""Segments become partitions: whole, once, by zone and day; retention drops days."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path

import pytest

from selvedge.adapters import (
    PARTITIONS,
    PlainFiles,
    as_table,
    connect,
    drop_days,
    find_digests,
    find_parts,
    rows_of_parts,
    usage_of_parts,
    write_partitions,
)
from selvedge.fabric import SelvedgeError, StoreCorrupt, StoreFailed
from selvedge.ledger import (
    Batch,
    CollectorLog,
    UsageAsked,
    digest,
    payload_of_line,
    read_receipt,
    segment_name,
)
from tests.ledger.test_collected import batch, line

STREAM = ("asean", "sin", 0)
COUNT = 25  # ten a day


def collected(directory: Path) -> CollectorLog:
    log = CollectorLog(PlainFiles(directory), "asean")
    lines = [line(seq) for seq in range(1, COUNT + 1)]
    log.write(log.known.take("sin", batch(*lines)).lines)
    other = Batch(0, (1, 0), (1, 1), line(3, model="other"), {}, again=True)
    log.write(log.known.take("sin", other).lines)
    log.sync()
    assert log.roll(now=True)
    return log


def test_a_segment_becomes_a_part_a_day_and_counts_once(tmp_path: Path) -> None:
    log = collected(tmp_path)
    paths = write_partitions(tmp_path, 1)
    again = write_partitions(tmp_path, 1)
    assert again == paths
    days = [path.parent.name for path in paths]
    assert len(days) == 3
    assert days[0] == "day=2023-11-15"
    assert find_parts(tmp_path) == [], "the segment counts while it is there"
    log.remove(1)
    assert find_parts(tmp_path) == paths
    table = as_table(paths)
    with connect() as database:
        query = f"SELECT count(*), count(DISTINCT seq), sum(conflict::INT) FROM {table}"
        assert database.execute(query).fetchone() == (COUNT + 1, COUNT, 1)
        query = f"SELECT receipt FROM {table} WHERE seq = 7"
        (kept,) = database.execute(query).fetchone() or ("",)
    sealed, _ = read_receipt(payload_of_line(line(7)))
    assert kept.encode() == bytes(sealed.receipt), "the canonical bytes, unchanged"
    assert find_digests(tmp_path, STREAM, [7, 99]) == {7: digest(bytes(sealed.receipt))}


def test_a_double_of_what_lies_in_a_partition_is_known(tmp_path: Path) -> None:
    collected(tmp_path)
    write_partitions(tmp_path, 1)

    log = CollectorLog(PlainFiles(tmp_path), "asean", partial(find_digests, tmp_path))
    log.remove(1)
    taken = log.known.take("sin", batch(line(1), line(2, model="other"), again=True))
    assert (taken.new, taken.double, taken.unverified) == (0, 1, 0)
    assert taken.conflicts == ["tenant asean, PoP sin, worker 0: two receipts with number 2"]


def test_retention_drops_whole_days_and_what_comes_again_is_still_known(tmp_path: Path) -> None:
    log = collected(tmp_path)
    paths = write_partitions(tmp_path, 1)
    log.remove(1)
    first = paths[0].parent.name.removeprefix("day=")
    second = paths[1].parent.name.removeprefix("day=")
    assert drop_days(tmp_path, second) == [first]
    assert find_parts(tmp_path) == paths[1:]
    assert drop_days(tmp_path, second) == []
    assert log.known.gaps() == {}
    taken = log.known.take("sin", batch(line(1), again=True))
    assert (taken.new, taken.double) == (0, 1)


def test_a_truncated_segment_is_named(tmp_path: Path) -> None:
    collected(tmp_path)
    path = tmp_path / segment_name(1)
    path.write_bytes(path.read_bytes().replace(b'"seq":5', b'"seq":6'))
    with pytest.raises(StoreCorrupt, match="checksum"):
        write_partitions(tmp_path, 1)
    with pytest.raises(StoreFailed, match="segment 9 cannot be partitioned: No such file"):
        write_partitions(tmp_path, 9)
    assert not list(tmp_path.glob(f"{PARTITIONS}/**/part-*"))


def test_without_duckdb_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SelvedgeError, match=r"selvedge\[control\]"):
        connect()


def test_files_fail_by_name(tmp_path: Path) -> None:
    files = PlainFiles(tmp_path / "log")
    with pytest.raises(StoreFailed, match="log/none cannot be used: No such file"):
        files.read("none")
    files.create("a", b"12345")
    files.append("a", b"678")
    files.cut("a", 6)
    files.sync("a")
    assert (files.names(), files.read("a")) == (["a"], b"123456")
    files.remove("a")
    files.close()
    assert files.names() == []
    full = PlainFiles(Path("/dev"))
    with pytest.raises(StoreFailed, match="No space left on device"):
        full.append("full", b"x")
    full.close()


def test_a_damaged_part_is_named_wherever_it_was_cut(tmp_path: Path) -> None:
    log = collected(tmp_path)
    paths = write_partitions(tmp_path, 1)
    log.remove(1)
    whole = paths[1].read_bytes()
    for size in (0, 3, 4, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        paths[1].write_bytes(whole[:size])
        for read in (
            lambda: find_digests(tmp_path, STREAM, [7]),
            lambda: usage_of_parts(paths, UsageAsked()),
            lambda: list(rows_of_parts(paths)),
        ):
            with pytest.raises(StoreFailed, match=r"partitions cannot be read: .*restore the file"):
                read()
    paths[1].unlink()
    with pytest.raises(StoreFailed, match=r"day=\S+ was dropped while it was read; try again"):
        usage_of_parts(paths, UsageAsked())
