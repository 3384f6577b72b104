"""vCache's rule: its arithmetic, its promise over requests, and the table by simulation."""

from __future__ import annotations

from math import exp
from random import Random

import msgspec
import pytest

from selvedge.cache import Pair
from selvedge.cache.verified import OBSERVATIONS_MAX, Verified, fit


def ask(similarity: float) -> Pair:
    return Pair(similarity=similarity)


def taught(decider: Verified, seen: list[tuple[float, bool]]) -> Verified:
    for similarity, correct in seen:
        decider.learn(ask(similarity), "e", "c", correct)
    return decider


def test_nothing_before_six_observations() -> None:
    decider = taught(Verified(0.05), [(0.95, True)] * 5)
    verdict = decider.decide(ask(0.99), "e", "c", 0.999)
    assert not verdict.serve
    assert verdict.why == "the entry has 5 of 6 observations"
    assert taught(decider, [(0.95, True)]).decide(ask(1.0), "e", "c", 0.999).serve


def test_separated_it_serves_above_the_gap_and_rarely_below() -> None:
    seen = [(0.7, False), (0.72, False), (0.9, True), (0.91, True), (0.93, True), (0.95, True)]
    decider = taught(Verified(0.02), seen * 4)
    assert decider.decide(ask(0.99), "e", "c", 0.5).serve
    below = decider.decide(ask(0.7), "e", "c", 0.5)
    assert not below.serve
    assert "asks again with probability 0.98" in below.why
    assert decider.decide(ask(0.7), "e", "c", 0.99).serve


def test_all_wrong_serves_as_seldom_as_delta() -> None:
    decider = taught(Verified(0.02), [(0.9, False)] * 8)
    assert not decider.decide(ask(0.98), "e", "c", 0.97).serve


def test_overlapping_classes_are_fitted_by_likelihood() -> None:
    rng = Random(2)
    seen = []
    for _ in range(4000):
        similarity = rng.uniform(0.6, 1.0)
        seen.append((similarity, rng.random() < 1 / (1 + exp(-30 * (similarity - 0.8)))))
    curve = fit(seen)
    assert curve.middle == pytest.approx(0.8, abs=0.01)
    assert curve.steep == pytest.approx(30, rel=0.1)
    assert 0.0005 < curve.deviation < 0.01


def test_where_the_similar_are_more_often_wrong_it_does_not_serve() -> None:
    curve = fit([(0.9, False), (0.85, True), (0.8, True), (0.95, False), (0.91, True)] * 3)
    assert curve.middle == 1.0
    decider = taught(
        Verified(0.01), [(0.9, False), (0.85, True), (0.8, True), (0.95, False), (0.91, True)] * 3
    )
    assert not decider.decide(ask(0.99), "e", "c", 0.9).serve


def test_errors_over_requests_keep_to_delta() -> None:
    """Entries with laws of their own; of 10,000 requests at most delta are answered wrongly."""
    rng = Random(8)
    decider, wrong, requests = Verified(0.03), 0, 10_000
    laws = [(rng.uniform(0.7, 0.95), rng.uniform(20, 80)) for _ in range(60)]
    for _ in range(requests):
        name = rng.randrange(len(laws))
        middle, steep = laws[name]
        similarity = rng.uniform(0.5, 1.0)
        correct = rng.random() < 1 / (1 + exp(-steep * (similarity - middle)))
        if decider.decide(ask(similarity), str(name), "c", rng.random()).serve:
            wrong += not correct
        else:
            decider.learn(ask(similarity), str(name), "c", correct)
    assert 0 < wrong / requests <= 0.03


@pytest.mark.parametrize(("count", "both", "one"), [(6, 0.00246, 0.00728), (15, 0.00083, 0.00183)])
def test_the_table_of_separated_classes(count: int, both: float, one: float) -> None:
    rng = Random(count)
    errors: dict[str, list[float]] = {"both": [], "one": []}
    while min(map(len, errors.values())) < 1500:
        middle, steep = rng.uniform(0.5, 1.0), 20 * 10 ** rng.random()
        seen = []
        for _ in range(count):
            similarity = rng.uniform(0.5, 1.0)
            seen.append((similarity, rng.random() < 1 / (1 + exp(-steep * (similarity - middle)))))
        right = [similarity for similarity, correct in seen if correct]
        wrong = [similarity for similarity, correct in seen if not correct]
        if right and not wrong:
            errors["one"].append((min(right) - middle) ** 2)
        elif right and max(wrong) < min(right):
            errors["both"].append(((max(wrong) + min(right)) / 2 - middle) ** 2)
    assert sum(errors["both"]) / len(errors["both"]) == pytest.approx(both, rel=0.2)
    assert sum(errors["one"]) / len(errors["one"]) == pytest.approx(one, rel=0.2)


def test_it_is_kept_and_forgets_the_oldest() -> None:
    decider = taught(Verified(0.02), [(0.8, False)] + [(0.9, True)] * OBSERVATIONS_MAX)
    again = Verified(0.02, decider.dump())
    assert again.decide(ask(0.8), "e", "c", 0.5) == decider.decide(ask(0.8), "e", "c", 0.5)
    assert len(msgspec.msgpack.decode(again.dump())[1]["e"]) == OBSERVATIONS_MAX


def test_only_what_no_entry_answered_becomes_one() -> None:
    assert Verified(0.02).inserts(correct=False)
    assert not Verified(0.02).inserts(correct=True)


def test_what_another_version_kept_is_refused() -> None:
    with pytest.raises(ValueError, match="observations of version 7, this is 1"):
        Verified(0.02, msgspec.msgpack.encode([7, {}]))
