"""Lines of one turn are written together: all of them, or none, and no number is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from selvedge.adapters import MemoryAppender, ReceiptBook, Vault
from selvedge.fabric import StoreFailed
from selvedge.ledger import Recovery, receipts_of
from tests.adapters.test_receipt_book import TENANTS, WHO, receipt

Told = list[StoreFailed | None]


class Turn:
    """A book whose writes wait until the turn is over."""

    def __init__(self, directory: Path, fault: Callable[[int], str | None]) -> None:
        self.appender = MemoryAppender(fault)
        self.writes: list[Callable[[], None]] = []
        vault = Vault(directory / "subjects.jsonl")
        self.book = ReceiptBook(
            "sin", self.appender, vault, Recovery({}, {}), bytes, schedule=self._later
        )

    def _later(self, write: Callable[[], None]) -> None:
        self.writes.append(write)

    def over(self) -> None:
        writes, self.writes = self.writes, []
        for write in writes:
            write()

    def sequence(self, tenant: str) -> list[int]:
        found = [one.decode() for one in receipts_of(self.appender.lines)]
        return [one.seq for one in found if one.tenant == tenant]


def test_a_turn_is_one_write_and_everybody_is_told_after_it(tmp_path: Path) -> None:
    counted: list[int] = []
    turn = Turn(tmp_path, lambda count: counted.append(count))
    told: Told = []
    for number in range(4):
        turn.book.intend(receipt(number), WHO, told.append)
    assert (counted, told, turn.book.open_intents) == ([], [], 0)
    turn.over()
    assert (counted, told, turn.book.open_intents) == ([1], [None] * 4, 4)
    for number in range(4):
        turn.book.record(receipt(number), WHO, told.append)
    turn.over()
    assert (counted, told, turn.book.open_intents) == ([1, 2], [None] * 8, 0)


@pytest.mark.parametrize("fault", ["lost", "kept"])
def test_a_turn_that_fails_takes_no_number(tmp_path: Path, fault: str) -> None:
    turn = Turn(tmp_path, lambda count: fault if count == 2 else None)
    told: Told = []
    for number in range(len(TENANTS)):
        turn.book.record(receipt(number), WHO, told.append)
    turn.over()
    failed: Told = []
    for number in range(10, 16):
        turn.book.record(receipt(number), WHO, failed.append)
    turn.over()
    assert [type(one) for one in failed] == [StoreFailed] * 6
    again: Told = []
    for number in range(20, 26):
        turn.book.record(receipt(number), WHO, again.append)
    turn.over()
    if fault == "kept":  # it may be there, so nothing may follow it
        assert all(isinstance(one, StoreFailed) for one in again)
        return
    assert again == [None] * 6
    for tenant in TENANTS:
        found = turn.sequence(tenant)
        assert found == list(range(1, len(found) + 1))


def test_what_is_staged_by_whoever_is_told_is_of_the_next_turn(tmp_path: Path) -> None:
    turn = Turn(tmp_path, lambda _: None)
    order: list[str] = []

    def recorded(error: StoreFailed | None) -> None:
        order.append(f"recorded {error}")

    def intended(error: StoreFailed | None) -> None:
        order.append(f"intended {error}")
        turn.book.record(receipt(0), WHO, recorded)

    turn.book.intend(receipt(0), WHO, intended)
    turn.over()
    assert order == ["intended None"]
    turn.over()
    assert order == ["intended None", "recorded None"]
