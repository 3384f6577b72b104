"""What waits of a journal, against a count of its lines: however it is read and acknowledged."""

from __future__ import annotations

from random import Random

import pytest

from selvedge.ledger import BEGINNING, Backlog
from selvedge.ledger.collected import Place
from tests.support.shipping import MemoryJournal

ZONES = ("asean", "eea", "")


def lines_after(journal: MemoryJournal, place: Place) -> list[bytes]:
    """Receipts of zone asean that end behind a place."""
    found = []
    for segment, data in sorted(journal.segments.items()):
        end = 0
        for line in data.splitlines(keepends=True):
            end += len(line)
            if (segment, end) > place and line[:2] == b"R " and b'"zone":"asean"' in line:
                found.append(line)
    return found


def places_in(journal: MemoryJournal) -> list[Place]:
    """Every end of a line."""
    found: list[Place] = [BEGINNING]
    for segment, data in sorted(journal.segments.items()):
        end = 0
        for line in data.splitlines(keepends=True):
            end += len(line)
            found.append((segment, end))
    return found


def read_all(backlog: Backlog, journal: MemoryJournal) -> None:
    while backlog.read(journal):
        pass


def check(backlog: Backlog, journal: MemoryJournal, place: Place) -> None:
    waiting = lines_after(journal, place)
    assert backlog.count == len(waiting)
    assert backlog.bytes == sum(len(line) for line in waiting)
    if waiting:
        assert b'"ended_us":%d' % backlog.oldest_us in waiting[0]
    else:
        assert backlog.oldest_us == 0


@pytest.mark.parametrize("seed", range(8))
def test_it_is_what_the_journal_holds_behind_the_place(seed: int) -> None:
    random, journal, backlog = Random(seed), MemoryJournal("sin", 0), Backlog("asean")
    place = BEGINNING
    backlog.acknowledge(place)
    for _ in range(40):
        for _ in range(random.randrange(6)):
            journal.write("asean", random.choice(ZONES), ended_us=1_000 + journal.count)
        if random.random() < 0.2 and journal.segments:
            journal.roll()
        read_all(backlog, journal)
        check(backlog, journal, place)
        # Mostly forward; now and then a collector was set back.
        known = places_in(journal)
        later = [one for one in known if one >= place]
        place = random.choice(known if random.random() < 0.2 else later)
        backlog.acknowledge(place)
        read_all(backlog, journal)
        check(backlog, journal, place)


def test_a_segment_that_was_dropped_and_one_long_line_hold_up_nothing() -> None:
    journal, backlog = MemoryJournal("sin", 0), Backlog("asean")
    journal.write("asean", "asean", ended_us=5)
    journal.roll()
    journal.write("asean", "asean", ended_us=6, request_id="r" * 200_000)
    journal.write("asean", "asean", ended_us=7)
    del journal.segments[1]
    backlog.acknowledge(BEGINNING)
    read_all(backlog, journal)
    assert (backlog.count, backlog.oldest_us) == (2, 6)
