"""What a collector knows: keys, gaps, conflicts. What it refuses. What leaves a journal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.exchange import collection
from selvedge.fabric import BadTicket, StoreCorrupt, StoreFailed
from selvedge.ledger import (
    BEGINNING,
    Batch,
    Collected,
    CollectorLog,
    Ranges,
    Run,
    Sealed,
    Shipper,
    Stream,
    as_line,
    collected,
    missing,
    payload_of_line,
    read_receipt,
    seal,
    segment_name,
    segment_number,
    write_line,
)
from selvedge.wire import seal as seal_bytes
from tests.support.disks import Disk
from tests.support.shipping import KEY, SALT, Collector, MemoryJournal, Sender, make_receipt

STREAM = ("asean", "sin", 0)
NONCE = bytes(16)
HEADER = Collected("asean").header(1)


def disk() -> Disk:
    return Disk(Random(1))


def line(seq: int, **facts: object) -> bytes:
    return write_line(seal(make_receipt(seq, **facts), seq, SALT, None))


def changed(old: bytes, new: bytes) -> bytes:
    """A line whose checksum holds, of a receipt that was never written so."""
    sealed = seal(make_receipt(1), 1, SALT, None)
    receipt = bytes(sealed.receipt).replace(old, new, 1)
    assert receipt != bytes(sealed.receipt)
    return as_line(b"R", b'{"receipt":%b,"salt":"%b"}' % (receipt, sealed.salt.encode()))


def batch(*lines: bytes, start: tuple[int, int] = BEGINNING, again: bool = False) -> Batch:
    return Batch(0, start, (1, start[1] + 100), b"".join(lines), {}, again)


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 8)), max_size=30))
def test_ranges_are_sets(added: list[tuple[int, int]]) -> None:
    ranges, numbers = Ranges(), set[int]()
    for first, more in added:
        ranges.add(first, first + more)
        numbers |= set(range(first, first + more + 1))
    assert {one for one in range(80) if one in ranges} == numbers
    assert ranges.count == len(numbers)
    assert ranges.last == max(numbers, default=0)
    runs = list(ranges)
    assert all(runs[at][1] + 1 < runs[at + 1][0] for at in range(len(runs) - 1))
    gaps = {one for first, last in missing(ranges) for one in range(first, last + 1)}
    assert gaps == set(range(1, ranges.last + 1)) - numbers


def test_a_gap_is_named_and_filled_later() -> None:
    known = CollectorLog(disk(), "asean").known
    taken = known.take("sin", batch(line(1), line(4)))
    assert taken.gaps == ["tenant asean, PoP sin, worker 0: 2 to 3"]
    assert known.gaps() == {STREAM: [(2, 3)]}
    taken = known.take("sin", batch(line(3), line(2), again=True))
    assert (taken.new, taken.gaps, taken.filled) == (2, [], 1)
    assert known.gaps() == {}


def test_numbers_of_other_zones_are_no_gaps() -> None:
    known = CollectorLog(disk(), "asean").known
    told = Batch(0, BEGINNING, (1, 9), line(3), {"asean": [(1, 2)]})
    assert known.take("sin", told).gaps == []
    assert known.gaps() == {}


def test_zones_that_alternate_cost_no_more_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant of two zones: every other number is of each, for ever."""
    looked: list[int] = []

    def counting(runs: Iterable[Run]) -> list[Run]:
        looked.append(len(held := list(runs)))
        return missing(held)

    monkeypatch.setattr(collected, "missing", counting)
    log = CollectorLog(files := disk(), "asean")
    for first in range(1, 400, 40):
        own = b"".join(line(seq) for seq in range(first, first + 40, 2))
        other = {"asean": [(seq, seq) for seq in range(first + 1, first + 40, 2)]}
        place = log.known.place("sin", 0)
        log.write(log.known.take("sin", Batch(0, place, (1, first + 40), own, other)).lines)
    assert log.roll(now=True)
    assert (log.known.gaps(), max(looked)) == ({}, 1)
    log.remove(1)
    again = CollectorLog(files, "asean")
    assert (again.known.gaps(), max(looked)) == ({}, 1)
    assert again.known.header(2) == log.known.header(2)


def test_other_bytes_under_one_key_are_kept_and_said_once() -> None:
    files = disk()
    log = CollectorLog(files, "asean")
    for one in (line(1), line(1, model="other"), line(1, model="other"), line(1)):
        taken = log.known.take("sin", batch(one, again=True))
        log.write(taken.lines)
    assert log.known.conflicts.keys() == {(STREAM, 1)}
    assert log.known.doubles == 2
    kinds = [one[:1] for one in files.read(segment_name(1)).splitlines()]
    assert kinds == [b"H", b"R", b"P", b"K", b"P", b"P", b"P"]
    assert CollectorLog(files, "asean").known.conflicts == log.known.conflicts


def test_a_batch_out_of_order_changes_nothing() -> None:
    known = CollectorLog(disk(), "asean").known
    known.take("sin", batch(line(1)))
    assert known.place("sin", 0) == (1, 100)
    taken = known.take("sin", batch(line(7), start=(3, 0)))
    assert (taken.lines, taken.new, known.place("sin", 0)) == ([], 0, (1, 100))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (line(1, zone="eea"), "of zone 'eea', here is 'asean'"),
        (line(1, pop="fra"), "of PoP fra, worker 0"),
        (line(1, v=2), "version 2, this collector reads 1; start a newer collector first"),
        (line(1)[:-9] + b"\n", "checksum"),
        (line(1)[:-1], "not a receipt's"),
        (b"I" + line(1)[1:], "not a receipt's"),
        (write_line(seal(make_receipt(1), 0, SALT, None)), "no number or no salt"),
        (write_line(Sealed(seal(make_receipt(1), 1, SALT, None).receipt, "x")), "no salt"),
        (write_line(Sealed(msgspec.Raw(b"{}"), "")), "not a sealed receipt"),
        (changed(b'"outcome":"', b'"outcome":"x'), "none that this collector reads"),
        (changed(b'"model":"', b'"model":"\xff'), "none that this collector reads"),
        (changed(b'"rule":', b'"ruel":'), "none that this collector reads"),
        (changed(b'"tenant":"', b'"tenant":"\xff'), "not a sealed receipt"),
        (line(1, received_us=2**53), "received_us of a receipt is not from 0 to"),
        (line(1, ended_us=-1), "ended_us of a receipt is not from 0 to"),
    ],
)
def test_what_does_not_hold_is_refused_whole(wrong: bytes, words: str) -> None:
    known = CollectorLog(disk(), "asean").known
    with pytest.raises(StoreCorrupt, match=words):
        known.take("sin", batch(line(2), wrong))
    assert (known.held, known.places) == ({}, {})


def test_what_cannot_be_compared_changes_nothing() -> None:
    """Were the numbers of its other receipts taken for held, these would be lost."""
    away = [True]

    def lookup(stream: Stream, seqs: Sequence[int]) -> dict[int, bytes]:
        if away[0]:
            raise StoreFailed("partitions cannot be read")
        return {}

    log = CollectorLog(disk(), "asean", lookup)
    log.write(log.known.take("sin", batch(line(1), line(2))).lines)
    assert log.roll(now=True)
    log.remove(1)
    again = batch(line(3), line(1), line(4), again=True)
    with pytest.raises(StoreFailed):
        log.known.take("sin", again)
    assert [list(runs) for runs in log.known.held.values()] == [[(1, 2)]]
    away[0] = False
    taken = log.known.take("sin", again)
    assert (taken.new, taken.double, taken.unverified) == (2, 1, 1)
    assert [one[:1] for one in taken.lines] == [b"R", b"R", b"P"]


def test_a_damaged_log_is_named_with_its_line() -> None:
    files = disk()
    log = CollectorLog(files, "asean")
    log.write(log.known.take("sin", batch(line(1), line(2))).lines)
    whole = files.files[segment_name(1)]
    files.files[segment_name(1)] = whole.replace(b'"seq":1', b'"seq":9')
    with pytest.raises(StoreCorrupt, match=r"collected-00000001\.log line 2: .*checksum"):
        CollectorLog(files, "asean")
    files.files[segment_name(1)] = b""
    with pytest.raises(StoreCorrupt, match="is empty"):
        CollectorLog(files, "asean")
    files.files[segment_name(1)] = whole
    with pytest.raises(StoreCorrupt, match="of zone 'asean', not of 'eea'"):
        CollectorLog(files, "eea")
    files.files[segment_name(1)] = whole[:-3]
    again = CollectorLog(files, "asean")
    assert again.torn_bytes > 0
    assert again.known.held.keys() == {STREAM}
    assert again.known.place("sin", 0) == BEGINNING, "the mark was cut: it is sent again"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (b"R 00000000 {}\n", "begins with its header"),
        (as_line(b"H", b"{}"), "the header is not one"),
        (HEADER.replace(b'"v":1', b'"v":2'), "version 2, not 1"),
        (HEADER.replace(b'"segment":1', b'"segment":7'), "its header is not its own"),
        (HEADER + as_line(b"X", b"{}") + as_line(b"P", b"{}"), "line 2: a line has no known kind"),
    ],
)
def test_a_log_that_is_none_is_refused(wrong: bytes, words: str) -> None:
    files = disk()
    kind, payload = wrong[:1], wrong.split(b"\n")[0][11:]
    rest = wrong.partition(b"\n")[2]
    whole = as_line(kind, payload) + rest if kind == b"H" else wrong
    files.create(segment_name(1), whole)
    with pytest.raises(StoreCorrupt, match=words):
        CollectorLog(files, "asean")


def test_a_segment_that_is_written_to_does_not_leave() -> None:
    with pytest.raises(ValueError, match="segment 1 is written to"):
        CollectorLog(disk(), "asean").remove(1)


def test_what_cannot_be_cut_ends_the_writing() -> None:
    files = disk()
    log = CollectorLog(files, "asean")
    assert not log.roll(now=True), "there is nothing in it"
    files.fails = {files.operations + 1: "full", files.operations + 2: "gone"}
    with pytest.raises(StoreFailed, match="full"):
        log.write([line(1)])
    assert "ends in what was not written whole: " in str(log.broken)
    with pytest.raises(StoreFailed, match="gone"):
        log.write([line(1)])
    assert log.next_header(now=True) is None


def test_a_disk_that_refuses_a_sync_is_not_written_again() -> None:
    files = disk()
    log = CollectorLog(files, "asean")
    files.fails[files.operations + 1] = "Input/output error"
    with pytest.raises(StoreFailed, match="Input/output error"):
        log.sync()
    with pytest.raises(StoreFailed, match="Input/output error"):
        log.write([line(1)])
    assert not log.roll(now=True)


def test_file_names() -> None:
    assert segment_number(segment_name(12)) == 12
    assert [segment_number(one) for one in ("collected-1.log", "lock", "x")] == [None] * 3


def shipped(journal: MemoryJournal, zone: str, **options: bool) -> Batch:
    shipper = Shipper(zone, journal.worker, **options)
    assert shipper.due, "it asks first"
    assert shipper.batch == Batch(0, BEGINNING, BEGINNING, b"", {})
    shipper.take(BEGINNING)
    while shipper.read(journal):
        pass
    return shipper.batch


def test_only_receipts_of_the_zone_leave_and_no_personal_field() -> None:
    journal = MemoryJournal("sin", 0)
    journal.write("asean", "asean")
    journal.write("both", "eea")
    journal.write("both", "")
    found = shipped(journal, "asean")
    assert found.lines.count(b"\n") == 1
    sealed, facts = read_receipt(payload_of_line(found.lines))
    assert (facts.tenant, sealed.personal) == ("asean", None)
    assert found.elsewhere == {"both": [(1, 2)]}
    sealed, _ = read_receipt(payload_of_line(shipped(journal, "asean", personal=True).lines))
    assert sealed.personal == "cGVyc29uYWw="


def test_a_damaged_line_is_passed_over_and_missed() -> None:
    journal = MemoryJournal("sin", 0)
    for _ in range(3):
        journal.write("asean", "asean")
    journal.segments[1] = journal.segments[1].replace(b'"seq":2', b'"seq":7')
    shipper = Shipper("asean", 0)
    shipper.take(BEGINNING)
    shipper.read(journal)
    assert (shipper.damaged, shipper.batch.lines.count(b"\n")) == (1, 2)
    known = CollectorLog(disk(), "asean").known
    assert known.take("sin", shipper.batch).gaps == ["tenant asean, PoP sin, worker 0: 2 to 2"]


def test_a_line_without_its_end_waits_and_a_long_one_is_read_whole() -> None:
    journal = MemoryJournal("sin", 0)
    journal.write("asean", "asean", rule="r" * 200_000)
    whole = journal.segments[1]
    journal.segments[1] = whole[:-1]
    assert shipped(journal, "asean").lines == b""
    journal.segments[1] = whole
    assert shipped(journal, "asean").lines.count(b"\n") == 1


def test_a_segment_that_is_shorter_than_was_said_waits() -> None:
    class Shrunk(MemoryJournal):
        def read(self, segment: int, offset: int, size: int) -> bytes:
            return super().read(segment, offset, 20)

    journal = Shrunk("sin", 0)
    journal.write("asean", "asean")
    assert shipped(journal, "asean").lines == b""


def test_a_journal_that_was_set_back_is_read_again_from_its_beginning() -> None:
    journal, collector = MemoryJournal("sin", 0), Collector("asean", disk(), 10**9)
    for _ in range(4):
        journal.write("asean", "asean")
    first = dict(journal.segments)
    journal.roll()
    journal.write("asean", "asean")
    sender = Sender(journal, ["asean"], Random(1))
    while sender.send(collector):
        pass
    journal.segments, journal.seqs, journal.count = first, {"asean": 4}, 40
    journal.write("asean", "asean")
    sender.begin()
    while sender.send(collector):
        pass
    assert collector.conflicts == ["tenant asean, PoP sin, worker 0: two receipts with number 5"]
    assert sum(collector.held().values()) == 5
    assert collector.log.known.doubles == 4


def test_a_shipment_of_somebody_else_is_refused() -> None:
    shipment = collection.Shipment("sin", "asean", NONCE, batch(line(1)))
    written = collection.ship(shipment, KEY)
    assert collection.read_shipment(written, "asean", {"sin": KEY}.get) == shipment
    later = collection.ship(msgspec.structs.replace(shipment, v=2), KEY)
    for wrong, keys, words in (
        (written, {"fra": KEY}, "of no PoP"),
        (written, {"sin": bytes([1]) * 32}, "MAC"),
        (written[:-1], {"sin": KEY}, "not readable|MAC"),
        (written + bytes(collection.QUESTION_BYTES_MAX), {"sin": KEY}, "exceeds"),
        (later, {"sin": KEY}, "version 2, this side reads 1"),
    ):
        with pytest.raises(BadTicket, match=words):
            collection.read_shipment(wrong, "asean", keys.get)
    with pytest.raises(BadTicket, match="for zone 'asean', here is 'eea'"):
        collection.read_shipment(written, "eea", {"sin": KEY}.get)
    strange = seal_bytes(b"selvedge/receipts-shipped/v1\n", b"\x82\xa3pop\xa3sin\xa1v\x01", KEY)
    with pytest.raises(BadTicket, match="not readable"):
        collection.read_shipment(strange, "asean", {"sin": KEY}.get)
    strange = seal_bytes(b"selvedge/receipts-held/v1\n", b"\x80", KEY)
    with pytest.raises(BadTicket, match="not readable"):
        collection.read_holding(strange, shipment, KEY)
    answer = collection.hold(shipment, (1, 2), None, KEY)
    assert collection.read_holding(answer, shipment, KEY).place == (1, 2)
    other = msgspec.structs.replace(shipment, nonce=bytes([1]) * 16)
    with pytest.raises(BadTicket, match="something else"):
        collection.read_holding(answer, other, KEY)
    with pytest.raises(BadTicket, match="MAC"):
        collection.read_holding(answer[:-1], shipment, KEY)
