"""From neighbours to the pair that is decided about."""

from __future__ import annotations

from selvedge.cache import also_compared, content_words, pair_of
from selvedge.cache.pairing import COMPARED_MAX, NEIGHBOURS

NEAR = [(0.95, "a"), (0.93, "a"), (0.9, "b"), (0.88, "c"), (0.7, "a"), (0.6, "d")]


def test_rival_and_crowd() -> None:
    pair = pair_of(NEAR, 0, "How do I cancel my transfer?", content_words("cancel a transfer"))
    assert (pair.similarity, pair.rival) == (0.95, 0.9)
    assert (pair.near, pair.agree) == (2, 1)
    assert (pair.overlap, pair.length) == (1.0, 6)


def test_those_that_the_gates_turned_away_are_rivals_too() -> None:
    pair = pair_of(NEAR, 2, "x")
    assert (pair.similarity, pair.rival, pair.near, pair.agree) == (0.9, 0.95, 2, 0)
    assert pair.overlap == 0.0


def test_without_another_answer_there_is_no_rival() -> None:
    assert pair_of([(0.9, "a"), (0.8, "a")], 0, "x").rival == -1.0
    assert pair_of([(0.9, "a")] * NEIGHBOURS, 0, "x").rival == 0.9


def test_content_words() -> None:
    assert content_words("How can I top-up my Card?") == {"top", "up", "card"}
    assert content_words("What is it?") == frozenset()
    assert pair_of([(0.9, "a")], 0, "what is it?", frozenset()).overlap == 0.0


def test_a_new_answer_is_compared_with_few_clusters_more() -> None:
    assert also_compared(NEAR, 0) == [2, 3]
    assert also_compared(NEAR, -1) == [0, 2]
    assert also_compared([(0.9, "a")], 0) == []
    assert len(also_compared(NEAR, 5)) == COMPARED_MAX
