"""The journal: every truncation recovers, every flipped bit is found, nothing is passed over."""

from __future__ import annotations

import json
import zlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.fabric import Attested, Receipt, StoreCorrupt
from selvedge.ledger import (
    Entry,
    Intent,
    Recovery,
    Sealed,
    SegmentHeader,
    Summary,
    read_line,
    receipts_of,
    recover,
    seal,
    write_line,
)
from tests.ledger.test_receipts import ATTESTATION, RECEIPT, SALT


def receipt(number: int, tenant: str = "asean") -> Receipt:
    return msgspec.structs.replace(RECEIPT, id=f"rcpt_{number}", tenant=tenant)


def sealed(number: int, seq: int, tenant: str = "asean") -> Sealed:
    return seal(receipt(number, tenant), seq, SALT, "cGVyc29uYWw=")


HEADER = SegmentHeader("sin", 3, {"asean": 5}, (Intent(receipt(0)),))
ATTESTED = Attested(msgspec.Raw(msgspec.json.encode(ATTESTATION, order="sorted")), "bWFj")
SUMMARY = Summary("sin", 60_000_000, {"invalid_api_key": 3})
RECORDS: list[Entry] = [
    HEADER,
    Intent(receipt(1), "cGVyc29uYWw="),
    ATTESTED,
    Intent(receipt(2)),
    sealed(1, 6),
    SUMMARY,
    sealed(3, 1, "free"),
    sealed(0, 7),
]
SEGMENT = b"".join(map(write_line, RECORDS))


def fold(records: list[Entry]) -> Recovery:
    """What recovery should find, told again in other words."""
    found = Recovery({}, {})
    for record in records:
        if isinstance(record, SegmentHeader):
            found.pop, found.segment, found.seqs = record.pop, record.segment, dict(record.seqs)
            found.open = {one.receipt.id: one for one in record.open}
        if isinstance(record, Intent):
            found.open[record.receipt.id] = record
        if isinstance(record, Sealed):
            final = record.decode()
            found.open.pop(final.id, None)
            found.seqs[final.tenant] = final.seq
        found.whole_bytes += len(write_line(record))
    return found


@pytest.mark.parametrize("record", RECORDS)
def test_lines_survive(record: Entry) -> None:
    line = write_line(record)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert read_line(line[:-1]) == record
    kind, crc, payload = line[:-1].split(b" ", 2)
    assert kind in b"HIRAS"
    assert crc == b"%08x" % zlib.crc32(kind + payload)
    assert json.loads(payload)


def test_a_receipt_keeps_its_bytes_and_its_leaf() -> None:
    before = sealed(1, 6)
    after = read_line(write_line(before)[:-1])
    assert isinstance(after, Sealed)
    assert bytes(after.receipt) == bytes(before.receipt)
    assert after.leaf() == before.leaf()
    assert after.decode() == before.decode()


def test_a_whole_segment() -> None:
    found = recover(SEGMENT)
    assert found == fold(RECORDS)
    assert list(found.open) == ["rcpt_2"]
    assert found.seqs == {"asean": 7, "free": 1}
    assert (found.segment, found.whole_bytes, found.torn_bytes) == (3, len(SEGMENT), 0)


def test_nothing_at_all() -> None:
    assert recover(b"") == Recovery({}, {})


@settings(deadline=None)
@given(st.integers(0, len(SEGMENT)))
def test_every_truncation_recovers(cut: int) -> None:
    whole: list[Entry] = []
    for record in RECORDS:
        if sum(len(write_line(one)) for one in [*whole, record]) > cut:
            break
        whole.append(record)
    expected = fold(whole)
    expected.torn_bytes = cut - expected.whole_bytes
    found = recover(SEGMENT[:cut])
    assert found == expected
    # Cut there, the rest can be written again and nothing is lost or doubled.
    assert recover(SEGMENT[: found.whole_bytes] + SEGMENT[found.whole_bytes :]) == fold(RECORDS)


@settings(deadline=None, max_examples=500)
@given(st.integers(0, len(SEGMENT) - 1), st.integers(0, 7))
def test_flipped_bits_are_found(at: int, bit: int) -> None:
    damaged = bytearray(SEGMENT)
    damaged[at] ^= 1 << bit
    last = len(SEGMENT) - len(write_line(RECORDS[-1]))
    if at >= last - 1:  # what may never have been synced: cut, and its length told
        found = recover(bytes(damaged))
        assert found.whole_bytes <= last
        assert found.whole_bytes + found.torn_bytes == len(SEGMENT)
    else:
        with pytest.raises(StoreCorrupt):
            recover(bytes(damaged))


def test_every_flip_of_a_kind_is_found() -> None:
    for record in RECORDS:
        line = write_line(record)[:-1]
        for other in range(256):
            if other != line[0]:
                with pytest.raises(StoreCorrupt):
                    read_line(bytes([other]) + line[1:])


@settings(deadline=None)
@given(st.integers(1, len(RECORDS) - 2), st.data())
def test_a_torn_line_is_corruption_anywhere_but_at_the_end(index: int, data: st.DataObject) -> None:
    lines = list(map(write_line, RECORDS))
    keep = data.draw(st.integers(1, len(lines[index - 1]) - 1))
    lines[index - 1] = lines[index - 1][:keep]
    with pytest.raises(StoreCorrupt, match=f"segment line {index}: "):
        recover(b"".join(lines) + b"\n")


@pytest.mark.parametrize(
    "line",
    [b"", b"R", b"R ", b"X 00000000 {}", b"R 00000000 {}", b"R_00000000 {}", b"R 00000000_{}"],
)
def test_lines_that_are_none(line: bytes) -> None:
    with pytest.raises(StoreCorrupt):
        read_line(line)
    with pytest.raises(StoreCorrupt, match="segment line 1"):
        recover(line + b"\n")


def test_a_true_checksum_over_what_is_no_record() -> None:
    for kind in b"HIRAS":
        payload = b'{"receipt":1}'
        line = b"%c %08x %b" % (kind, zlib.crc32(b"%c%b" % (kind, payload)), payload)
        with pytest.raises(StoreCorrupt):
            recover(line + b"\n")


def test_sequences_only_grow() -> None:
    lines = [write_line(one) for one in (HEADER, sealed(1, 9), sealed(2, 4))]
    assert recover(b"".join(lines)).seqs == {"asean": 9}


def test_a_segment_begins_with_its_header() -> None:
    with pytest.raises(StoreCorrupt, match="header"):
        recover(write_line(sealed(1, 1)))


def test_receipts_of_passes_over_the_rest_and_a_torn_end() -> None:
    lines = SEGMENT.splitlines(keepends=True)
    assert [one.decode().id for one in receipts_of(lines)] == ["rcpt_1", "rcpt_3", "rcpt_0"]
    torn = [*lines[:-1], lines[-1][:-5]]
    assert [one.decode().id for one in receipts_of(torn)] == ["rcpt_1", "rcpt_3"]
    damaged = lines[4].replace(b"asean", b"asian", 1)
    with pytest.raises(StoreCorrupt):
        list(receipts_of([damaged]))
