from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.headroom import (
    Window,
    best_window,
    fold_week,
    is_night,
    window_hours,
    window_use,
)

USES = st.one_of(st.none(), st.floats(0.0, 1.0))


def same(found: Window | None, wanted: Window) -> bool:
    assert found is not None
    return (found.start, found.hours, round(found.use, 9)) == (
        wanted.start,
        wanted.hours,
        wanted.use,
    )


def test_the_night_is_from_eleven_to_four() -> None:
    assert [hour for hour in range(24) if is_night(hour)] == [0, 1, 2, 3, 23]
    assert [hour for hour in range(24) if is_night(hour, 2, 3)] == [2, 3, 4]


def test_hours_of_the_week_have_nights_too() -> None:
    assert [hour for hour in range(48) if is_night(hour)] == [
        *(0, 1, 2, 3, 23),
        *(24, 25, 26, 27, 47),
    ]


def test_a_window_goes_round_the_circle() -> None:
    assert window_hours(23, 5) == [23, 0, 1, 2, 3]
    assert window_hours(166, 4, 168) == [166, 167, 0, 1]


@pytest.mark.parametrize(("start", "hours"), [(24, 1), (-1, 1), (0, 0), (0, 25)])
def test_what_is_no_window_is_refused(start: int, hours: int) -> None:
    with pytest.raises(ValueError, match="none of 24 hours"):
        window_hours(start, hours)


def test_the_best_window_is_the_idlest_and_the_earliest_of_equals() -> None:
    profile = [0.5] * 24
    assert best_window(profile) == Window(0, 5, 0.5)
    for hour in (22, 23, 0):
        profile[hour] = 0.1
    assert same(best_window(profile, 3), Window(22, 3, 0.1))


def test_a_window_that_was_not_measured_whole_is_none() -> None:
    profile: list[float | None] = [None] * 24
    assert best_window(profile) is None
    profile[3:8] = [0.2] * 5
    assert same(best_window(profile), Window(3, 5, 0.2))
    assert window_use(profile, 4, 5) is None


def test_a_week_folds_into_a_day_by_what_was_measured() -> None:
    week: list[float | None] = [0.2] * 168
    week[24] = 0.9  # Tuesday, midnight
    week[5::24] = [None] * 7
    day = fold_week(week)
    assert day[0] == pytest.approx((6 * 0.2 + 0.9) / 7)
    assert day[5] is None
    counts = [1] * 168
    counts[24] = 0
    assert fold_week(week, counts)[0] == pytest.approx(0.2)


def test_a_day_is_no_week() -> None:
    with pytest.raises(ValueError, match="168 hours, this has 24"):
        fold_week([0.1] * 24)


@given(st.lists(USES, min_size=24, max_size=24), st.integers(1, 24))
def test_no_window_is_better_than_the_best(profile: list[float | None], hours: int) -> None:
    best = best_window(profile, hours)
    uses = [window_use(profile, start, hours) for start in range(24)]
    known = [use for use in uses if use is not None]
    if best is None:
        assert not known
    else:
        assert best.use == min(known) == uses[best.start]
