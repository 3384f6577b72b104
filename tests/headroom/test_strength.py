from __future__ import annotations

import math
from random import Random

import pytest

from selvedge.headroom import Strengths, strengths, trend_per_year
from tests.headroom.series import WEEK


def moments(values: list[float]) -> tuple[list[float], list[float], list[float]]:
    slots: list[list[float]] = [values[slot::WEEK] for slot in range(WEEK)]
    return (
        [float(len(one)) for one in slots],
        [sum(one) for one in slots],
        [sum(value * value for value in one) for one in slots],
    )


def test_a_pure_day_is_all_season_and_no_week() -> None:
    found = strengths(*moments([math.sin(hour / 12 * math.pi) for hour in range(4 * WEEK)]))
    assert found.daily == pytest.approx(1.0)
    assert found.weekly == pytest.approx(0.0, abs=1e-6)


def test_weekends_are_the_week() -> None:
    week = [1.0 if hour % WEEK >= 120 else 0.0 for hour in range(4 * WEEK)]
    found = strengths(*moments(week))
    assert found.daily == pytest.approx(0.0, abs=1e-6)
    assert found.weekly == pytest.approx(1.0)


def test_noise_has_little_strength_and_half_has_half() -> None:
    random = Random(1)
    noise = [random.gauss(0.0, 1.0) for _ in range(52 * WEEK)]
    none = strengths(*moments(noise))
    assert none.daily is not None
    assert none.daily < 0.02
    day = [value + math.sqrt(2) * math.sin(hour / 12 * math.pi) for hour, value in enumerate(noise)]
    assert strengths(*moments(day)).daily == pytest.approx(0.5, abs=0.02)


def test_little_or_one_sided_data_has_no_strength() -> None:
    assert strengths(*moments([1.0] * WEEK)) == Strengths(None, None)
    counts, sums, squares = moments([1.0] * 4 * WEEK)
    for slot in range(3, WEEK, 24):
        counts[slot] = sums[slot] = squares[slot] = 0.0
    assert strengths(counts, sums, squares) == Strengths(None, None)
    assert strengths(*moments([0.0] * 4 * WEEK)) == Strengths(0.0, 0.0)


def test_hours_that_are_missing_do_not_count() -> None:
    counts, sums, squares = moments([math.sin(hour / 12 * math.pi) for hour in range(4 * WEEK)])
    counts[7] = sums[7] = squares[7] = 0.0
    assert strengths(counts, sums, squares).daily == pytest.approx(1.0)


def test_a_week_has_168_hours() -> None:
    with pytest.raises(ValueError, match="168"):
        strengths([1.0], [1.0], [1.0])


def test_growth_is_the_median_slope() -> None:
    levels: list[float | None] = [0.3 * 1.2 ** (28 * one / 365.25) for one in range(19)]
    assert trend_per_year(levels, 28) == pytest.approx(0.2)
    levels[4], levels[9], levels[11] = 9.0, None, 0.0
    assert trend_per_year(levels, 28) == pytest.approx(0.2, abs=0.01)


def test_two_blocks_are_no_trend() -> None:
    assert trend_per_year([0.3, 0.4], 28) is None
    assert trend_per_year([0.3, 0.3, 0.3, 0.3], 28) == 0.0
