"""The book keeps its sums through every failed write and every death, at every position."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selvedge.adapters import FileAppender, MemoryAppender, ReceiptBook, Vault, read_segments
from selvedge.adapters.receipt_book import MINUTE_US, SUMMARY_CODES_MAX
from selvedge.fabric import Outcome, Personal, Receipt, StoreFailed
from selvedge.ledger import Intent, Sealed, SegmentHeader, Summary, read_line, receipts_of, recover
from tests.adapters.test_journal_store import RECEIPT

WHO = Personal("203.0.113.9", "amara", "mine")
NOW_US = 1_800_000_000_000_000
TENANTS = ("asean", "eea")


def receipt(number: int) -> Receipt:
    tenant = TENANTS[number % 2]
    return msgspec.structs.replace(RECEIPT, id=f"rcpt_{number}", tenant=tenant, seq=0)


def salt(size: int) -> bytes:
    return bytes(size)


class Life:
    """One journal and vault through several lives of the process that owns them."""

    def __init__(self, directory: Path) -> None:
        self.vault = Vault(directory / "subjects.jsonl")
        self.lines: list[bytes] = []
        self.book: ReceiptBook
        self.left = 0

    def start(self, fault_at: int | None = None, fault: str = "") -> None:
        """Be born: recover, and close what is open. Append number `fault_at` fails."""
        found = recover(b"".join(self.lines))
        appender = MemoryAppender(lambda count: fault if count == fault_at else None)
        appender.lines = self.lines
        if found.segment:
            appender.roll(SegmentHeader("sin", found.segment, {}))
            self.lines.pop()  # The segment has its header.
        self.book = ReceiptBook("sin", appender, self.vault, found, salt)
        self.left = self.book.close_interrupted(NOW_US)

    def receipts(self) -> list[Receipt]:
        return [one.decode() for one in receipts_of(self.lines)]

    def verify(self) -> None:
        """No id twice, no gap in a sequence, no intent without a receipt."""
        found = self.receipts()
        ids = Counter(one.id for one in found)
        assert max(ids.values(), default=1) == 1, ids
        for tenant in TENANTS:
            seqs = [one.seq for one in found if one.tenant == tenant]
            assert seqs == list(range(1, len(seqs) + 1))
        records = [read_line(line[:-1]) for line in self.lines]
        intended = {one.receipt.id for one in records if isinstance(one, Intent)}
        assert intended <= set(ids)


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    made = Life(tmp_path)
    yield made
    with contextlib.suppress(StoreFailed):
        made.book.close()


def work(book: ReceiptBook, first: int, acknowledged: list[str]) -> None:
    """Six requests: four intended and recorded across each other, one refused, one unknown."""
    steps = [(0, "i"), (1, "i"), (0, "r"), (2, "r"), (3, "i"), (1, "r"), (4, "i"), (3, "r")]
    steps += [(5, "t"), (4, "r")]
    intended: set[int] = set()
    for number, step in steps:
        one = receipt(first + number)
        try:
            if step == "i":
                book.intend(one, WHO)
                intended.add(number)
            elif step == "t":
                book.tally("invalid_api_key", NOW_US)
                book.flush_tally()
            else:
                # As the exchange does: where the intent failed, a refusal is recorded instead.
                book.record(one, WHO)
                acknowledged.append(one.id)
        except StoreFailed:
            continue


def test_a_quiet_life(life: Life) -> None:
    acknowledged: list[str] = []
    life.start()
    work(life.book, 0, acknowledged)
    assert life.book.open_intents == 0
    life.verify()
    assert [one.id for one in life.receipts()] == acknowledged
    assert isinstance(read_line(life.lines[0][:-1]), SegmentHeader)


def test_sequences_count_per_tenant_and_go_on_after_a_start(life: Life) -> None:
    life.start()
    for number in range(3):
        life.book.record(receipt(number), WHO)
    life.start()
    for number in range(3, 6):
        life.book.record(receipt(number), WHO)
    got = [(one.tenant, one.seq) for one in life.receipts()]
    assert got == [("asean", 1), ("eea", 1), ("asean", 2), ("eea", 2), ("asean", 3), ("eea", 3)]


@pytest.mark.parametrize("fault", ["lost", "kept"])
@pytest.mark.parametrize("at", range(1, 11))
def test_one_append_fails_at_every_position(life: Life, at: int, fault: str) -> None:
    """Failed and not written, or failed but written: the whole holds after the next start.

    A line that is there although its write failed can only be the last (see `Appender`), so its
    sequence number is not taken again, and recovery finds the receipt instead of making another.
    """
    acknowledged: list[str] = []
    life.start(at, fault)
    work(life.book, 0, acknowledged)
    told = len(acknowledged)
    life.start()
    life.verify()
    work(life.book, 10, acknowledged)
    life.verify()
    ids = [one.id for one in life.receipts()]
    assert set(acknowledged) <= set(ids)
    assert len(acknowledged) == told + 5
    for one in life.receipts():
        if one.id not in acknowledged and one.outcome is not Outcome.COMPLETE:
            assert one.outcome is Outcome.INTERRUPTED
            assert (one.status, one.code, one.ended_us) == (0, None, NOW_US)


@pytest.mark.parametrize("fault", ["lost", "kept"])
def test_deaths_while_closing_what_was_interrupted(life: Life, fault: str) -> None:
    life.start()
    for number in range(4):
        life.book.intend(receipt(number), WHO)
    for at in (1, 2, 2, 1):
        with contextlib.suppress(StoreFailed):
            life.start(at, fault)
    life.start()
    life.verify()
    assert {one.outcome for one in life.receipts()} == {Outcome.INTERRUPTED}
    assert len(life.receipts()) == 4
    life.start()
    assert (life.left, len(life.receipts())) == (0, 4)


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(st.integers(1, 14), st.sampled_from(["lost", "kept"])), min_size=1, max_size=5
    )
)
def test_any_row_of_deaths(tmp_path: Path, deaths: list[tuple[int, str]]) -> None:
    life = Life(tmp_path)
    acknowledged: list[str] = []
    for number, (at, fault) in enumerate(deaths):
        with contextlib.suppress(StoreFailed):
            life.start(at, fault)
            work(life.book, 10 * number, acknowledged)
    life.start()
    life.verify()
    assert set(acknowledged) <= {one.id for one in life.receipts()}
    life.book.close()


def test_a_death_at_every_byte(life: Life) -> None:
    """`kill -9` may leave any prefix that holds what was acknowledged; here, every prefix."""
    life.start()
    work(life.book, 0, [])
    whole = b"".join(life.lines)
    for cut in range(len(life.lines[0]), len(whole), 61):
        found = recover(whole[:cut])
        life.lines = whole[: found.whole_bytes].splitlines(keepends=True)
        life.start()
        life.verify()


def test_the_interrupted_receipt_keeps_the_intent_and_its_personal_fields(life: Life) -> None:
    life.start()
    life.book.intend(receipt(1), WHO)
    life.start()
    assert life.left == 1
    (found,) = receipts_of(life.lines)
    expected = msgspec.structs.replace(
        receipt(1),
        outcome=Outcome.INTERRUPTED,
        status=0,
        code=None,
        ended_us=NOW_US,
        seq=1,
        personal=found.decode().personal,
    )
    assert found.decode() == expected
    assert opened(life, found) == WHO


def opened(life: Life, found: Sealed) -> Personal | None:
    raw = msgspec.json.decode(f'"{found.personal}"', type=bytes)
    return life.vault.open(raw, found.decode().id)


def test_intent_and_receipt_hold_the_same_ciphertext(life: Life) -> None:
    life.start()
    life.book.intend(receipt(1), WHO)
    life.book.record(receipt(1), WHO)
    life.book.record(receipt(2), WHO)
    intents = [read_line(line[:-1]) for line in life.lines if line.startswith(b"I")]
    first, second = receipts_of(life.lines)
    assert [one.personal for one in intents if isinstance(one, Intent)] == [first.personal]
    assert (opened(life, first), opened(life, second)) == (WHO, WHO)
    assert b"amara" not in b"".join(life.lines)
    assert b"203.0.113.9" not in b"".join(life.lines)


def test_a_subject_key_that_cannot_be_kept_stops_the_intent(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    life.start()
    before = list(life.lines)
    monkeypatch.setattr("selvedge.adapters.vault.os.write", lambda fd, data: 0)
    with pytest.raises(StoreFailed, match="a subject's key cannot be kept: the disk is full"):
        life.book.intend(receipt(1), WHO)
    assert (life.lines, life.book.open_intents) == (before, 0)


def test_refusals_of_unknown_callers_fold_into_minutes(life: Life) -> None:
    life.start()
    for code in ("a", "b", "a"):
        life.book.tally(code, NOW_US + 5)
    life.book.tally("a", NOW_US + MINUTE_US)
    life.book.flush_tally()
    life.book.flush_tally()
    minute = NOW_US - NOW_US % MINUTE_US
    assert [read_line(line[:-1]) for line in life.lines[1:]] == [
        Summary("sin", minute, {"a": 2, "b": 1}),
        Summary("sin", minute + MINUTE_US, {"a": 1}),
    ]


def test_a_flood_of_codes_stays_small(life: Life) -> None:
    life.start()
    for number in range(SUMMARY_CODES_MAX * 2):
        life.book.tally(f"code_{number}", NOW_US)
    life.book.flush_tally()
    summary = read_line(life.lines[-1][:-1])
    assert isinstance(summary, Summary)
    assert len(summary.counts) == SUMMARY_CODES_MAX + 1
    assert sum(summary.counts.values()) == SUMMARY_CODES_MAX * 2
    assert summary.counts["other"] == SUMMARY_CODES_MAX


def test_a_summary_that_cannot_be_written_is_kept_for_later(life: Life) -> None:
    life.start(1, "lost")
    life.book.tally("a", NOW_US)
    with pytest.raises(StoreFailed):
        life.book.flush_tally()
    life.book.flush_tally()
    summary = read_line(life.lines[-1][:-1])
    assert isinstance(summary, Summary)
    assert summary.counts == {"a": 1}


def test_small_segments_on_disk_and_a_death_in_each(tmp_path: Path) -> None:
    """Every record rolls; the newest segment alone knows all that matters."""
    vault = Vault(tmp_path / "subjects.jsonl")
    for number in itertools.count(0, 10):
        appender = FileAppender(tmp_path / "receipts", segment_bytes_max=1)
        book = ReceiptBook("sin", appender, vault, appender.open(), salt)
        left = book.close_interrupted(NOW_US)
        assert left == (2 if number else 0)
        if number == 50:
            break
        work(book, number, [])
        book.intend(receipt(number + 6), WHO)
        book.intend(receipt(number + 7), WHO)
        appender.close()  # The book is not: this is a death.
    appender.close()
    vault.close()
    found = [one.decode() for one in receipts_of(read_segments(tmp_path / "receipts"))]
    assert len({one.id for one in found}) == len(found) == 5 * 7
    for tenant in TENANTS:
        seqs = [one.seq for one in found if one.tenant == tenant]
        assert seqs == list(range(1, len(seqs) + 1))
    assert len(list((tmp_path / "receipts").glob("*.log"))) > 20
