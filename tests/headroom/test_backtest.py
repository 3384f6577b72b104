from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from selvedge.headroom import HORIZONS, Plan, Score, backtest
from tests.headroom.series import WEEK, content, local


def scored(uses: Sequence[float | None], plan: Plan | None = None) -> list[Score]:
    return backtest(uses, local(len(uses)), plan=plan)


def test_it_beats_last_week_at_every_horizon() -> None:
    scores = scored(content(52, seed=21, noise=0.08))
    assert [score.horizon for score in scores] == list(HORIZONS)
    for score, skill in zip(scores, (0.45, 0.2, 0.15), strict=True):
        assert score.skill is not None
        assert score.skill > skill, score
        assert score.coverage_90 == pytest.approx(0.9, abs=0.05)
        assert score.naive_skill is not None
        assert score.naive_skill > 0.2


def test_of_noise_alone_last_week_is_worse_by_the_root_of_two() -> None:
    score = scored(content(40, seed=22, noise=0.1, fade=0.0, growth=0.0))[1]
    assert score.skill == pytest.approx(1 - 1 / math.sqrt(2), abs=0.05)
    assert score.mase == pytest.approx(1 / math.sqrt(2), abs=0.05)


def test_scores_are_what_they_say() -> None:
    """A series without any error: nothing to gain, and no point is lost."""
    scores = scored([0.5] * 30 * WEEK, Plan(skip=4 * WEEK, hour=1, day=24, quarter=WEEK))
    hour, day, quarter = scores
    assert hour.points == 26 * WEEK
    assert day.points == 26 * WEEK
    assert quarter.points == 14 * 76
    for score in scores:
        assert score.mae == pytest.approx(0.0, abs=1e-3)
        assert score.seasonal_mae == score.naive_mae == score.scale == 0.0
        assert (score.skill, score.mase, score.naive_skill) == (None, None, None)


def test_what_was_not_measured_is_no_point() -> None:
    uses: list[float | None] = [*content(20, seed=23)]
    whole = scored(uses)[1]
    uses[10 * WEEK : 12 * WEEK] = [None] * 2 * WEEK
    uses[15 * WEEK] = math.nan
    holed = scored(uses)[1]
    # Two weeks, and as many of which the week before is missing.
    assert 2.5 * WEEK < whole.points - holed.points < 4.2 * WEEK


def test_a_short_series_has_no_quarter_and_none_has_nothing() -> None:
    hour, day, quarter = scored(content(6, seed=24))
    assert hour.points > 0
    assert day.points > 0
    assert (quarter.points, quarter.mae, quarter.skill, quarter.coverage_90) == (
        0,
        None,
        None,
        None,
    )
    assert [score.points for score in scored([])] == [0, 0, 0]
    assert [score.scale for score in scored([None] * 2 * WEEK)] == [None] * 3


def test_each_use_has_a_local_time() -> None:
    with pytest.raises(ValueError, match="2 uses and 1 local times"):
        backtest([0.1, 0.2], [0])
