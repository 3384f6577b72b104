"""Leaves of a journal: each sealed receipt once, however the journal is read."""

from __future__ import annotations

from random import Random

import pytest

from selvedge.ledger import LeafReader, leaf
from tests.support.shipping import SALT, MemoryJournal


def _journal(count: int) -> tuple[MemoryJournal, list[bytes]]:
    journal = MemoryJournal("sin", 0)
    wanted = []
    for number in range(count):
        wanted.append(leaf(journal.write("asean", "asean"), SALT))
        if number % 7 == 6:
            journal.roll()
    return journal, wanted


@pytest.mark.parametrize("read_bytes", [1, 100, 3_000, 65_536])
def test_each_receipt_is_one_leaf_in_order(read_bytes: int) -> None:
    journal, wanted = _journal(40)
    reader, found = LeafReader(), []
    while True:
        read, leaves = reader.read(journal, read_bytes)
        found += leaves
        if not read:
            break
    assert found == wanted
    again = LeafReader(reader.place)
    assert again.read(journal) == (0, [])
    assert (reader.damaged, reader.again) == (0, 0)


def test_a_journal_that_grows_is_read_on_from_its_place() -> None:
    rng, journal = Random(3), MemoryJournal("sin", 0)
    wanted, found, place = [], [], (0, 0)
    for _ in range(60):
        for _ in range(rng.randrange(4)):
            wanted.append(leaf(journal.write("asean", "asean"), SALT))
        if rng.random() < 0.2 and journal.segments:
            journal.roll()
        reader = LeafReader(place)
        while True:
            read, leaves = reader.read(journal, rng.choice([10, 1_000, 9_999]))
            found += leaves
            if not read:
                break
        place = reader.place
    assert found == wanted


def test_lines_without_receipts_and_damaged_ones_have_no_leaf() -> None:
    journal, wanted = _journal(3)
    (number,) = journal.segments
    lines = journal.segments[number].splitlines(keepends=True)
    broken = lines[2].replace(b"rcpt", b"rcqt", 1)
    journal.segments[number] = b"".join([lines[0], lines[1], broken, b"R \n", *lines[3:], b"R "])
    reader = LeafReader()
    assert reader.read(journal)[1] == wanted[1:]
    assert reader.damaged == 2
