from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.headroom.quantiles import GRID, NORMAL, Tracker, interpolate

PARTS = st.floats(0.0, 1.0)


def fed(scores: list[float], pace: float = 1.0) -> Tracker:
    tracker = Tracker(pace)
    for score in scores:
        tracker.add(score)
    return tracker


def test_quantiles_of_a_normal_are_found() -> None:
    random = Random(5)
    tracker = fed([random.gauss(0.3, 2.0) for _ in range(20_000)])
    assert tracker.quantile(0.5) == pytest.approx(0.3, abs=0.3)
    assert tracker.quantile(0.95) == pytest.approx(0.3 + 1.645 * 2.0, abs=0.5)
    assert tracker.bias == pytest.approx(0.3, abs=0.3)


@pytest.mark.parametrize("part", [0.05, 0.5, 0.95])
def test_the_long_run_is_right_whatever_comes(part: float) -> None:
    """Scores that jump: no quantile is right for long, and the share below still is."""
    random = Random(9)
    tracker, below = Tracker(), 0
    for turn in range(20_000):
        score = random.gauss(0.0, 1.0) * (1.0 + turn // 3000 % 3) + turn // 5000
        below += score < tracker.values[GRID.index(part)]
        tracker.add(score)
    assert below / 20_000 == pytest.approx(part, abs=0.01)


def test_a_slow_pace_learns_the_same_later() -> None:
    assert fed([1.0] * 10, pace=0.1).quantile(0.5) < fed([1.0] * 10).quantile(0.5)
    assert fed([1.0] * 5000, pace=0.1).quantile(0.5) == pytest.approx(1.0, abs=0.1)


def test_a_monstrous_score_moves_no_more_than_a_step() -> None:
    tracker = fed([1e300, -1e300])
    assert max(abs(one) for one in tracker.values) < 5.0
    assert abs(tracker.bias) < 1.0


@given(st.lists(st.floats(-50.0, 50.0), max_size=80), PARTS, PARTS)
def test_quantiles_never_cross(scores: list[float], one: float, other: float) -> None:
    tracker = fed(scores)
    low, high = sorted((one, other))
    assert tracker.quantile(low) <= tracker.quantile(high)


def test_between_the_grid_it_is_straight_and_beyond_it_goes_on() -> None:
    assert interpolate(NORMAL, 0.85) == pytest.approx((0.845 + 2.062) / 2)
    assert interpolate(NORMAL, 0.05) == NORMAL[2]
    assert interpolate(NORMAL, 0.0005) < interpolate(NORMAL, 0.002) < NORMAL[0]
    assert interpolate(NORMAL, 0.9995) > interpolate(NORMAL, 0.998) > NORMAL[-1]
    assert interpolate(NORMAL, 0.0) == pytest.approx(-interpolate(NORMAL, 1.0))


@given(st.lists(st.floats(-9.0, 9.0), max_size=50), st.floats(0.01, 1.0))
def test_a_state_goes_on_as_if_nothing_had_happened(scores: list[float], pace: float) -> None:
    tracker = fed(scores, pace)
    other = Tracker(pace)
    other.load(tracker.state())
    for one in (tracker, other):
        one.add(1.5)
    assert other.state() == tracker.state()
