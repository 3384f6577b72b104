"""The score: what it learns, in which direction it may learn, and whom it holds things against."""

from __future__ import annotations

from math import exp
from random import Random

import pytest

from selvedge.cache import Pair
from selvedge.cache import scoring as module
from selvedge.cache.scoring import GENERAL, Scoring, features


def pair_of(rng: Random) -> Pair:
    similarity = rng.uniform(0.6, 1.0)
    return Pair(similarity, similarity - rng.random() / 2, rng.randrange(5), rng.random(), 8, 2)


def test_it_begins_with_the_general_weights() -> None:
    pair = Pair(0.9, 0.8, 1, 0.5, 8, 2)
    expected = sum(w * x for w, x in zip(GENERAL, features(pair), strict=True))
    assert Scoring().score(pair, "e", "c") == pytest.approx(expected)


def test_it_finds_the_weights_of_a_logistic_route() -> None:
    truth = (0.5, 1.0, 0.6, -1.5, 0.3, 2.0, 0.0)
    rng, scoring = Random(1), Scoring()
    for number in range(20_000):
        pair = pair_of(rng)
        score = sum(w * x for w, x in zip(truth, features(pair), strict=True))
        scoring.learn(pair, f"e{number}", f"c{number}", rng.random() < 1 / (1 + exp(-score)))
    assert scoring.weights[1] == pytest.approx(1.0, abs=0.2)
    assert scoring.weights[2] == pytest.approx(0.6, abs=0.2)
    assert scoring.weights[3] == pytest.approx(-1.5, abs=0.3)
    assert scoring.weights[5] == pytest.approx(2.0, abs=0.4)


def test_more_similar_never_lowers_the_score() -> None:
    """A route where the similar are wrong: the weight is taken as none, not as negative."""
    rng, scoring = Random(2), Scoring()
    for number in range(5000):
        pair = pair_of(rng)
        scoring.learn(pair, f"e{number}", f"c{number}", correct=pair.similarity < 0.8)
    assert scoring.weights[1] < 0
    low, high = Pair(0.7, 0.6, 1, 0.5, 8, 2), Pair(0.9, 0.8, 1, 0.5, 8, 2)
    assert scoring.score(high, "e", "c") == pytest.approx(scoring.score(low, "e", "c"))


def test_one_wrong_answer_weighs_and_many_right_ones_hardly() -> None:
    pair = Pair(0.97, 0.5, 0, 0.9, 8, 5)
    bad, good = Scoring(), Scoring()
    fresh = bad.score(pair, "e", "c")
    bad.learn(pair, "e", "c", correct=False)
    for _ in range(20):
        good.learn(pair, "e", "c", correct=True)
    assert bad.score(pair, "e", "c") < fresh - 2
    assert bad.score(pair, "another", "c") < bad.score(pair, "another", "other") - 1
    assert fresh < good.score(pair, "e", "c") < fresh + 1.5


def test_offsets_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_OFFSETS_MAX", 3)
    scoring = Scoring()
    for name in "abcad":
        scoring.learn(Pair(0.9), name, name, correct=False)
    assert list(scoring.entries) == ["c", "a", "d"]


def test_a_prior_is_taken_wider_and_without_its_entries() -> None:
    other = Scoring()
    for _ in range(50):
        other.learn(Pair(0.9, 0.8, 1, 0.5, 8, 2), "e", "c", correct=False)
    own = Scoring(prior=other.dump())
    assert own.weights == other.weights
    assert own.covariance[1][1] == pytest.approx(4 * other.covariance[1][1])
    assert not own.entries
    assert not own.clusters
