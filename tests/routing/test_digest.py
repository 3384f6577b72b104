"""Digests: nothing held is denied, little else is claimed, sizes hold, zones stay apart."""

from __future__ import annotations

from random import Random

import pytest

from selvedge.routing import (
    BYTES_PER_S_MAX,
    NEAREST_MAX,
    PUBLISHED_BYTES_MAX,
    Board,
    Copy,
    Delta,
    Filter,
    Publisher,
    Report,
)
from selvedge.routing.digest import BITS_PER_BLOCK, FALSE_POSITIVES, Shorts, bits_for, shorten

SECOND_US = 1_000_000


@pytest.mark.parametrize("kind", ["hashes", "counters"])
def test_the_rate_of_false_claims_is_as_stated(kind: str) -> None:
    random = Random(kind)
    count = PUBLISHED_BYTES_MAX * 8 // BITS_PER_BLOCK
    if kind == "hashes":
        blocks = [random.getrandbits(64) for _ in range(2 * count)]
    else:
        blocks = list(range(2 * count))
    held, others = blocks[:count], blocks[count:]
    made = Filter(PUBLISHED_BYTES_MAX * 8)
    for one in held:
        made.add(shorten(one))
    assert all(made.has(shorten(one)) for one in held)
    claimed = sum(made.has(shorten(one)) for one in others) / count
    assert claimed < FALSE_POSITIVES
    assert made.bytes_count == PUBLISHED_BYTES_MAX


def test_leading_blocks_are_found_by_bisection() -> None:
    made = Filter(1 << 16)
    random = Random(1)
    prefix = tuple(random.getrandbits(64) for _ in range(64))
    assert made.leading(Shorts(prefix)) == 0
    for held, one in enumerate(prefix, 1):
        made.add(shorten(one))
        assert made.leading(Shorts(prefix)) == held
        assert made.leading(Shorts(prefix[: held + 1])) == held
    assert made.leading(Shorts(())) == 0


@pytest.mark.parametrize("bits", [0, 1 << 11, (1 << 12) + 1, 1 << 20])
def test_a_filter_has_a_size(bits: int) -> None:
    with pytest.raises(ValueError, match="a filter has"):
        Filter(bits)


def test_a_copy_follows_its_publisher() -> None:
    publisher, copies = Publisher("fra", "chat"), {"eea": Copy(), "world": Copy()}
    held = {"eea": list(range(100)), "world": list(range(1_000, 1_500))}
    for delta in publisher.begin(held):
        assert copies[delta.zone].take(delta)
    for one in range(2_000, 2_010):
        publisher.hold("eea", one)
        publisher.hold("eea", one)
    (delta,) = publisher.deltas()
    assert (delta.zone, len(delta.shorts), delta.size) == ("eea", 40, 40 + 3 + 3 + 4 + 24)
    assert copies["eea"].take(delta)
    assert publisher.deltas() == []
    eea, world = copies["eea"].filter, copies["world"].filter
    assert eea is not None
    assert world is not None
    assert all(eea.has(shorten(one)) for one in [*range(100), *range(2_000, 2_010)])
    assert not any(world.has(shorten(one)) for one in range(100)), "zones stay apart"


def test_what_is_gone_is_gone_with_the_epoch() -> None:
    publisher, copy = Publisher("fra", "chat"), Copy()
    copy.take(*publisher.begin({"eea": range(100)}))
    copy.take(*publisher.begin({"eea": range(50, 100)}))
    assert copy.filter is not None
    assert all(copy.filter.has(shorten(one)) for one in range(50, 100))
    assert sum(copy.filter.has(shorten(one)) for one in range(50)) <= 1


def test_a_gap_empties_the_copy_until_the_whole_comes() -> None:
    publisher, copy = Publisher("fra", "chat"), Copy()
    (whole,) = publisher.begin({"eea": range(100)})
    publisher.hold("eea", 500)
    (first,) = publisher.deltas()
    publisher.hold("eea", 501)
    (second,) = publisher.deltas()
    assert copy.take(whole)
    assert not copy.take(second)
    assert copy.filter is None, "it would claim what may be gone"
    assert not copy.take(first)
    assert copy.take(whole)
    assert copy.take(first)
    assert copy.take(second)
    with pytest.raises(ValueError, match="4 bytes"):
        copy.take(Delta("fra", "eea", "chat", 1, 3, 0, b"123"))


def test_all_filters_of_a_pop_fit_and_the_newest_stay() -> None:
    publisher, total = Publisher("fra", "chat"), 0
    found = {}
    for delta in publisher.begin({"a": range(60_000), "b": range(100_000, 130_000)}):
        copy = Copy()
        assert copy.take(delta)
        assert copy.filter is not None
        total += copy.filter.bytes_count
        found[delta.zone] = copy.filter
    assert total <= PUBLISHED_BYTES_MAX
    assert all(found["a"].has(shorten(one)) for one in range(59_000, 60_000))
    assert not all(found["a"].has(shorten(one)) for one in range(1_000))


def test_many_zone_classes_fit_too() -> None:
    publisher = Publisher("fra", "chat")
    deltas = publisher.begin({f"z{at}": range(at, at + 5) for at in range(300)})
    assert sum(delta.bits_count for delta in deltas) // 8 <= PUBLISHED_BYTES_MAX
    publisher.hold("late", 1)
    assert publisher.deltas() == [], "no room before the next epoch"


def test_a_zone_class_may_begin_late_and_a_full_filter_takes_no_more() -> None:
    publisher, copy = Publisher("fra", "chat"), Copy()
    publisher.begin({"eea": range(10)})
    publisher.hold("world", 1)
    (late,) = publisher.deltas()
    assert late.bits_count == bits_for(4)
    assert copy.take(late)
    for one in range(10_000):
        publisher.hold("world", one)
    (more,) = publisher.deltas()
    assert copy.take(more)
    assert copy.filter is not None
    assert sum(copy.filter.has(shorten(one)) for one in range(50_000, 60_000)) < 500


def test_a_busy_fleet_is_heard_within_the_bound() -> None:
    """160 reports a second, and 16 digests of PoPs that take 100 new blocks a second each."""
    board = Board(frozenset({"world"}))
    publishers = [Publisher(f"gpu-{at:03}", "chat") for at in range(NEAREST_MAX)]
    random = Random(1)
    held = [random.getrandbits(64) for _ in range(5_000)]
    for second in range(1, 121):
        now_us = second * SECOND_US
        for at in range(160):
            board.put(Report(f"gpu-{at:03}", now_us, 1.0, {}), 90, now_us)
        for at, publisher in enumerate(publishers):
            if (second + at) % 60 == 0 or second == 1:
                for delta in publisher.begin({"world": held}):
                    board.put_delta(delta, now_us)
            for _ in range(100):
                publisher.hold("world", random.getrandbits(64))
            for delta in publisher.deltas():
                assert board.put_delta(delta, now_us)
    assert 20_000 < board.bytes_per_s(120 * SECOND_US) <= BYTES_PER_S_MAX


def test_the_board_answers_as_signals() -> None:
    board = Board(frozenset({"world", "eea"}))
    assert board.report("fra", 5) is None
    assert board.matched("fra", "chat", (1, 2), 5) == 0
    board.put(Report("fra", 4, 1.0, {}), 10, 5)
    board.put(Report("fra", 3, 0.5, {}), 10, 5)
    board.put(Report("fra", 9, 0.5, {}), 10, 5)
    known = board.report("fra", 5)
    assert known is not None
    assert known.at_us == 4, "neither an older one nor one of the future"
    for delta in Publisher("fra", "chat").begin({"world": [1], "eea": [1, 2, 3]}):
        assert board.put_delta(delta, 5)
    assert board.matched("fra", "chat", (1, 2, 3, 4), 5) == 3
    assert board.matched("fra", "other", (1, 2, 3, 4), 5) == 0
    board.drop("fra")
    assert board.matched("fra", "chat", (1, 2, 3, 4), 5) == 0


def test_the_board_takes_no_foreign_zone_and_no_seventeenth_digest() -> None:
    board = Board(frozenset({"world"}))
    (foreign,) = Publisher("fra", "chat").begin({"eea": [1]})
    with pytest.raises(ValueError, match="does not belong here"):
        board.put_delta(foreign, 5)
    for at in range(NEAREST_MAX):
        (delta,) = Publisher(f"gpu-{at}", "chat").begin({"world": [1]})
        board.put_delta(delta, 5)
    (more,) = Publisher("fra", "chat").begin({"world": [1]})
    with pytest.raises(ValueError, match="at most 16"):
        board.put_delta(more, 5)
    board.drop("gpu-3")
    assert board.put_delta(more, 5)
