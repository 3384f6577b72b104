"""What engines hold and what is told of it: newest kept, zones apart, every asker made whole."""

from __future__ import annotations

from random import Random

from selvedge.routing import Copy, Delta, Held, Publications
from selvedge.routing.digest import shorten
from selvedge.routing.held import HELD_US, ROOM_BLOCKS_MAX
from selvedge.routing.publication import (
    DELTAS_KEPT,
    EPOCH_US,
    EPOCH_US_MAX,
    EPOCH_US_MIN,
    Known,
)

SECOND_US = 1_000_000


def test_leading_blocks_and_what_is_new() -> None:
    book = Held()
    assert book.hold("eea", (1, 2, 3), 5) == [3, 2, 1]
    assert book.hold("eea", (1, 2, 9), 6) == [9]
    assert book.hold("world", (1,), 7) == [1], "told in that zone class as well"
    assert book.leading((1, 2, 3, 4)) == 3
    assert book.leading((2, 3)) == 2
    assert book.leading((4,)) == book.leading(()) == 0
    assert sorted(book.by_zone()["eea"]) == [1, 2, 3, 9]
    assert book.by_zone()["world"] == [1]
    assert len(book) == 4


def test_the_least_used_leave_and_the_head_of_a_chain_last() -> None:
    book = Held(room=4)
    book.hold("eea", (1, 2, 3), 5)
    book.hold("eea", (7, 8), 6)
    assert book.leading((1, 2, 3)) == 2, "the tail of the older one went"
    assert (book.gone, len(book)) == (1, 4)
    book.make_room(2)
    assert book.leading((7, 8)) == 2
    assert book.gone == 3
    book.make_room(10**9)
    book.hold("eea", tuple(range(ROOM_BLOCKS_MAX + 5)), 7)
    assert len(book) == ROOM_BLOCKS_MAX


def test_what_nobody_asks_for_is_forgotten() -> None:
    book = Held()
    book.hold("eea", (1, 2), 1)
    book.hold("eea", (1,), 2)
    book.expire(1 + HELD_US)
    assert len(book) == 2
    book.expire(2 + HELD_US)
    assert book.by_zone() == {"eea": [1]}
    book.forget()
    assert (len(book), book.gone) == (0, 2)


class Asker:
    """A PoP that takes what it is told of one model."""

    def __init__(self, *zones: str) -> None:
        self.zones = frozenset(zones)
        self.copies: dict[str, Copy] = {}
        self.told = 0

    @property
    def known(self) -> Known:
        heard = {zone: copy.heard for zone, copy in self.copies.items()}
        return {"chat": {zone: at for zone, at in heard.items() if at is not None}}

    def ask(self, publications: Publications) -> list[Delta]:
        deltas = publications.since(self.zones, self.known)
        for delta in deltas:
            assert delta.zone in self.zones
            assert self.copies.setdefault(delta.zone, Copy()).take(delta)
            self.told += delta.size
        return deltas

    def has(self, zone: str, block: int) -> bool:
        kept = self.copies[zone].filter
        return kept is not None and kept.has(shorten(block))


def test_every_asker_gets_what_it_lacks_and_no_other_zone() -> None:
    publications, book, now_us = Publications("fra", 1, 7), Held(), SECOND_US
    inside, outside, late = Asker("eea", "world"), Asker("world"), Asker("eea")
    for number in range(200):
        now_us += SECOND_US // 10
        zone = "eea" if number % 2 else "world"
        fresh = book.hold(zone, (number * 10, number * 10 + 1), now_us)
        publications.hold("chat", zone, fresh)
        publications.turn("chat", [book], now_us)
        inside.ask(publications)
        outside.ask(publications)
        if number % 90 == 89:
            late.ask(publications)
    late.ask(publications)
    for number in range(200):
        zone = "eea" if number % 2 else "world"
        assert inside.has(zone, number * 10)
        assert zone == "world" or late.has("eea", number * 10 + 1)
    assert set(outside.copies) == {"world"}
    assert not inside.ask(publications), "nothing is told twice"
    assert inside.told < 20_000


def test_who_lags_too_far_gets_the_whole() -> None:
    publications, book = Publications("fra"), Held()
    asker = Asker("eea")
    for number in range(DELTAS_KEPT + 3):
        publications.hold("chat", "eea", book.hold("eea", (number,), 1 + number))
        publications.turn("chat", [book], 1 + number)
        if number < 2:
            asker.ask(publications)
    (whole,) = asker.ask(publications)
    assert whole.bits_count
    assert all(asker.has("eea", number) for number in range(DELTAS_KEPT + 3))
    publications.hold("chat", "eea", book.hold("eea", (10**6,), 100))
    publications.turn("chat", [book], 100)
    (more,) = asker.ask(publications)
    assert (more.bits_count, len(more.shorts)) == (0, 4)


def test_an_asker_that_knows_another_epoch_begins_anew() -> None:
    """A PoP that was started again, or another worker of it."""
    book, asker = Held(), Asker("eea")
    book.hold("eea", (1, 2), 5)
    for epoch in (7, 1 << 50):
        publications = Publications("fra", 1, epoch)
        publications.turn("chat", [book], 5)
        (whole,) = asker.ask(publications)
        assert whole.bits_count
        book.hold("eea", (3,), 6)
    assert asker.has("eea", 3)
    weird: Known = {
        "chat": {"eea": ((1 << 50) + 1, 10**9), "gone": (1, 1)},
        "other": {"eea": (1, 1)},
    }
    told = publications.since(frozenset({"eea", "gone"}), weird)
    assert {(one.model, one.zone, len(one.shorts)) for one in told} == {
        ("chat", "eea", 12),
        ("chat", "gone", 0),
        ("other", "eea", 0),
    }, "what is no more begins empty"


def test_epochs_begin_when_much_is_gone_or_a_filter_is_full() -> None:
    publications, book, asker = Publications("fra"), Held(), Asker("eea")
    random = Random(1)

    def hold(count: int, now_us: int) -> list[Delta]:
        blocks = tuple(random.getrandbits(64) for _ in range(count))
        publications.hold("chat", "eea", book.hold("eea", blocks, now_us))
        publications.turn("chat", [book], now_us)
        return asker.ask(publications)

    assert hold(300, 1)[0].bits_count == 4096
    assert not hold(50, 2)[0].bits_count, "too soon"
    assert hold(1, 1 + EPOCH_US_MIN)[0].bits_count == 8192, "the small one was full"
    book.make_room(300)
    at_us = 1 + EPOCH_US_MIN
    assert not hold(1, at_us + EPOCH_US - 1)[0].bits_count
    assert hold(1, at_us + EPOCH_US)[0].bits_count, "an eighth is gone"
    at_us += EPOCH_US
    book.gone = 1
    publications.turn("chat", [book], at_us + EPOCH_US_MAX - 1)
    assert not asker.ask(publications)
    publications.turn("chat", [book], at_us + EPOCH_US_MAX)
    assert asker.ask(publications)[0].bits_count
    publications.turn("chat", [book], 5)
    assert asker.ask(publications)[0].bits_count, "the clock was set back"
