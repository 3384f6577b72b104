"""From judged pairs to the curve, and to what may be promised of it."""

from __future__ import annotations

from math import exp
from random import Random

import pytest

from selvedge.cache.calibration import Judged, as_text, chart, curve, suggested


def drawn(count: int, seed: int = 1, middle: float = 0.8) -> list[Judged]:
    rng = Random(seed)
    found = []
    for _ in range(count):
        similarity = rng.uniform(0.6, 1.0)
        p = 1 / (1 + exp(-60 * (similarity - middle)))
        found.append(Judged(similarity, rng.random() < p))
    return found


def test_the_curve_counts_from_the_strictest_down() -> None:
    points = curve([Judged(0.9, True), Judged(0.8, False), Judged(0.95, True), Judged(0.9, True)])
    assert [(p.threshold, p.hits, p.wrong) for p in points] == [
        (0.95, 1, 0),
        (0.9, 3, 0),
        (0.8, 4, 1),
    ]
    assert points[-1].wrong_rate == 0.25
    assert points[-1].low < 0.25 < points[-1].high
    assert points[1].hit_rate == 0.75


def test_what_the_gates_turn_away_is_no_hit_but_is_asked() -> None:
    points = curve([Judged(0.9, True), Judged(0.99, False, passed=False)])
    assert [(p.hits, p.wrong, p.hit_rate) for p in points] == [(1, 0, 0.5)]


def test_no_pairs_no_points() -> None:
    assert curve([]) == ()
    assert suggested([], 0.01).threshold is None


def test_many_pairs_are_shown_by_few_points_with_both_ends() -> None:
    points = curve(drawn(3000), points_max=50)
    assert len(points) == 50
    assert points[-1].hits == 3000


def test_a_suggestion_keeps_its_promise_on_new_pairs() -> None:
    """60 calibrations; the threshold is wrong about new pairs in few of them."""
    broken = 0
    fresh = drawn(40_000, seed=999)
    for seed in range(60):
        one = suggested(drawn(3000, seed=seed + 1), 0.03)
        assert one.threshold is not None
        served = [judged for judged in fresh if judged.similarity >= one.threshold]
        broken += sum(not judged.correct for judged in served) / len(served) > 0.03
    assert broken <= 0.1 * 60


def test_it_says_why_there_is_none() -> None:
    assert (
        "too few pairs: 100, of the most similar at least 597" in suggested(drawn(100), 0.01).words
    )
    bad = [Judged(0.9, number % 2 == 0) for number in range(2000)]
    assert "of the 2000 most similar pairs 1000 are wrong" in suggested(bad, 0.01).words


def test_text_and_chart() -> None:
    pairs = drawn(2000)
    points = curve(pairs)
    text = as_text(points, [suggested(pairs, 0.01), suggested(pairs, 0.03)])
    assert text.splitlines()[0].startswith("threshold")
    assert "wrong hits ≤ 3.0% (95% sure): serve from 0.8" in text
    assert len(text.splitlines()) < 30
    lines = chart(points)
    assert set(lines) == {"wrong of hits", "at least", "at most"}
    assert all(len(line) == len(points) for line in lines.values())
    assert lines["at most"][-1][1] == pytest.approx(points[-1].high)
