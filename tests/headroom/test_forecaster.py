from __future__ import annotations

import doctest
import math
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import selvedge.headroom.forecaster
import selvedge.headroom.reserve
from selvedge.headroom import Forecaster, ForecastState, Prediction, Surges, local_second
from tests.headroom.series import WEEK, WEEK_S, content, shape

HOUR_S = 3600
DAY_S = 86_400
USES = st.one_of(st.none(), st.floats(0.0, 1.0))


def taught(uses: list[float | None] | list[float], step_s: int = HOUR_S) -> Forecaster:
    forecaster = Forecaster(step_s)
    for at, use in enumerate(uses):
        forecaster.update(at * step_s, at * step_s % WEEK_S, use)
    return forecaster


def ahead(forecaster: Forecaster, hours: int) -> Prediction:
    at_s = forecaster.last_s + hours * HOUR_S
    return forecaster.predict(at_s, at_s % WEEK_S)


def test_the_examples_hold() -> None:
    for module in (selvedge.headroom.forecaster, selvedge.headroom.reserve):
        assert doctest.testmod(module).failed == 0


def test_a_perfect_week_is_repeated() -> None:
    forecaster = taught([0.3 * shape(hour) for hour in range(6 * WEEK)])
    for hours in (1, 7, 24, 100, WEEK, 10 * WEEK):
        expected = 0.3 * shape(6 * WEEK - 1 + hours)
        assert ahead(forecaster, hours).mean == pytest.approx(expected, rel=0.05)
        assert ahead(forecaster, hours).quantile(0.5) == pytest.approx(expected, rel=0.05)


def test_the_next_hour_knows_of_this_one() -> None:
    uses = content(8, seed=3, noise=0.05)
    calm = taught(uses)
    uses[-1] *= 1.2
    risen = taught(uses)
    assert ahead(risen, 1).mean > 1.08 * ahead(calm, 1).mean
    assert ahead(risen, 48).mean == pytest.approx(ahead(calm, 48).mean, rel=0.03)


def test_intervals_widen_with_the_lead() -> None:
    forecaster = taught(content(30, seed=4, noise=0.05))
    # The same hour of the week, so that only the lead differs.
    widths = [
        one.quantile(0.95) - one.quantile(0.05)
        for one in (
            ahead(forecaster, hours) for hours in (1, 1 + WEEK, 1 + 6 * WEEK, 1 + 13 * WEEK)
        )
    ]
    assert widths == sorted(widths)


@pytest.mark.parametrize(("noise", "fade"), [(0.03, 0.9), (0.1, 0.5), (0.2, 0.0)])
def test_nine_of_ten_come_as_the_interval_says(noise: float, fade: float) -> None:
    uses = content(40, seed=11, noise=noise, fade=fade)
    forecaster, inside = taught(uses[: 8 * WEEK]), 0
    for at in range(8 * WEEK, len(uses)):
        found = forecaster.predict(at * HOUR_S, at * HOUR_S % WEEK_S)
        inside += found.quantile(0.05) <= uses[at] <= found.quantile(0.95)
        forecaster.update(at * HOUR_S, at * HOUR_S % WEEK_S, uses[at])
    assert inside / (32 * WEEK) == pytest.approx(0.9, abs=0.015)


def test_growth_is_carried_on() -> None:
    uses = [0.2 * 1.5 ** (hour / 8766) * shape(hour) for hour in range(40 * WEEK)]
    forecaster = taught(uses)
    truth = 0.2 * 1.5 ** (52.5 / 52.18)
    flat = 0.2 * 1.5 ** (40 / 52.18)
    week = forecaster.predict_week(13)
    assert flat < week.mean < 1.02 * truth
    assert abs(week.mean - truth) < 0.6 * abs(flat - truth)
    assert week.quantile(0.05) < truth < week.quantile(0.99)


def test_last_years_winter_is_expected_again() -> None:
    def winter(hour: int) -> float:
        return 1.0 + 0.3 * math.sin(2 * math.pi * hour / (52 * WEEK))

    uses = [0.3 * winter(hour) * shape(hour) for hour in range(66 * WEEK)]
    change = winter(79 * WEEK) / winter(66 * WEEK)
    seen = taught(uses).levels.grown(13.0)
    assert change < seen < 1.0 - 0.5 * (1.0 - change)


def test_another_capacity_is_another_level_within_days() -> None:
    uses = content(20, seed=6, noise=0.03, growth=0.0)
    halved = uses[: 16 * WEEK] + [0.45 * use for use in uses[16 * WEEK :]]
    after = taught(halved[: 16 * WEEK + 96])
    assert ahead(after, 24).mean == pytest.approx(halved[16 * WEEK + 96 + 23], rel=0.1)
    whole = taught(halved)
    assert whole.predict_week(13).mean == pytest.approx(0.45 * 0.35, rel=0.08)
    assert abs(whole.levels.growth) < 0.005


def test_one_wild_day_is_forgotten() -> None:
    uses = content(12, seed=7, noise=0.03, growth=0.0)
    calm = taught(uses)
    for hour in range(11 * WEEK, 11 * WEEK + 24):
        uses[hour] *= 3.0
    wild = taught(uses)
    assert ahead(wild, 24).mean == pytest.approx(ahead(calm, 24).mean, rel=0.12)


def test_what_is_missing_is_not_zero() -> None:
    uses: list[float | None] = [*content(12, seed=8, noise=0.03, growth=0.0)]
    whole = taught(uses)
    uses[9 * WEEK : 9 * WEEK + 60] = [None] * 60
    uses[11 * WEEK :: 5] = [None] * len(uses[11 * WEEK :: 5])
    holed = taught(uses)
    for hours in (1, 24, 24 * 40):
        at_s = 12 * WEEK * HOUR_S + hours * HOUR_S
        one, other = whole.predict(at_s, at_s % WEEK_S), holed.predict(at_s, at_s % WEEK_S)
        assert other.mean == pytest.approx(one.mean, rel=0.06)


def test_months_of_silence_are_survived() -> None:
    uses: list[float | None] = [*content(12, seed=8), *([None] * 40 * WEEK), *content(2, seed=9)]
    forecaster = taught(uses)
    assert ahead(forecaster, 24).mean == pytest.approx(0.35 * shape(23), rel=0.2)


@pytest.mark.parametrize("use", [None, math.nan, -0.1, math.inf])
def test_what_is_no_measurement_is_not_taken(use: float | None) -> None:
    forecaster = taught([0.3, 0.4])
    before = forecaster.state()
    assert not forecaster.update(3 * HOUR_S, 3 * HOUR_S, use)
    assert forecaster.state() == before


def test_time_does_not_go_back() -> None:
    forecaster = taught([0.3, 0.4])
    assert not forecaster.update(HOUR_S, HOUR_S, 0.9)
    assert forecaster.update(2 * HOUR_S, 2 * HOUR_S, 0.9)
    with pytest.raises(ValueError, match="after the last one"):
        forecaster.predict(2 * HOUR_S, 0)


def test_nothing_learnt_says_nothing() -> None:
    with pytest.raises(ValueError, match="after the last one that was learnt"):
        Forecaster().predict(0, 0)
    with pytest.raises(ValueError, match="after something was learnt"):
        Forecaster().predict_week(1)


@pytest.mark.parametrize("step_s", [0, -60, 7, 7200])
def test_a_step_divides_an_hour(step_s: int) -> None:
    with pytest.raises(ValueError, match="must divide an hour"):
        Forecaster(step_s)


def test_a_place_that_begins_idle_is_learnt() -> None:
    forecaster = taught([0.0] * 30 + [0.3 * shape(hour) for hour in range(30, 4 * WEEK)])
    assert ahead(forecaster, 12).mean == pytest.approx(0.3 * shape(11), rel=0.25)
    idle = ahead(taught([0.0] * 3 * WEEK), 12)
    assert idle.mean == 0.0
    assert 0.0 <= idle.quantile(0.95) < 1e-4


def test_a_changed_clock_is_another_local_hour() -> None:
    """Winter comes: the local hour falls back, and so does the shape in UTC."""
    forecaster = Forecaster()
    change = 10 * WEEK
    for at in range(change + 2 * WEEK):
        local_hour = at if at < change else at - 1
        forecaster.update(at * HOUR_S, local_hour * HOUR_S % WEEK_S, 0.3 * shape(local_hour))
    at = change + 2 * WEEK + 7
    expected = 0.3 * shape(at - 1)
    found = forecaster.predict(at * HOUR_S, (at - 1) * HOUR_S % WEEK_S)
    assert found.mean == pytest.approx(expected, rel=0.02)


def test_a_holiday_is_a_sunday() -> None:
    assert local_second(0, 5) == 5
    assert local_second(3, 7200) == 3 * DAY_S + 7200
    assert local_second(3, 7200, is_holiday=True) == 6 * DAY_S + 7200


@pytest.mark.parametrize("step_s", [300, 600, 1800])
def test_short_steps_follow_the_day(step_s: int) -> None:
    def use(at_s: int) -> float:
        return 0.4 + 0.2 * math.sin(2 * math.pi * at_s / DAY_S)

    forecaster = Forecaster(step_s)
    steps = 10 * DAY_S // step_s
    for one in range(steps):
        forecaster.update(one * step_s, one * step_s % WEEK_S, use(one * step_s))
    for hours in (1, 6, 24):
        at_s = forecaster.last_s + hours * HOUR_S
        assert forecaster.predict(at_s, at_s % WEEK_S).mean == pytest.approx(use(at_s), rel=0.05)


def test_a_pops_minutes() -> None:
    """Admission, minute by minute: offer what the next five minutes will surely leave free."""
    random = Random(2)
    content_use, surges = Forecaster(step_s=60), Surges()
    offered, broken, error, kept = 0.0, 0, 0.0, 0
    uses = []
    for minute in range(4 * 1440):
        error = 0.98 * error + random.gauss(0.0, 0.004)
        uses.append(max(0.0, 0.4 + 0.25 * math.sin(2 * math.pi * minute / 1440) + error))
        if minute % 5 == 0:
            surges.add(uses[-1])
        content_use.update(minute * 60, minute * 60 % WEEK_S, uses[-1])
        if minute < 3 * 1440:
            continue
        soon = content_use.predict((minute + 5) * 60, (minute + 5) * 60 % WEEK_S)
        reserve = surges.reserve().share
        free = 1.0 - max(soon.quantile(0.99), uses[-1] + reserve)
        if kept:
            broken += uses[-1] > 1.0 - offered
        offered, kept = max(0.0, free), kept + 1
        assert 0.0 < free < 1.0
    assert broken == 0
    assert kept == 1440


@settings(max_examples=25, deadline=None)
@given(st.lists(USES, max_size=60), st.lists(USES, min_size=1, max_size=30))
def test_a_stored_state_goes_on_as_if_nothing_had_happened(
    before: list[float | None], after: list[float | None]
) -> None:
    forecaster = taught(before)
    stored = msgspec.json.encode(forecaster.state())
    other = Forecaster.restore(msgspec.json.decode(stored, type=ForecastState))
    for at, use in enumerate(after, len(before)):
        taken = forecaster.update(at * HOUR_S, at * HOUR_S % WEEK_S, use)
        assert other.update(at * HOUR_S, at * HOUR_S % WEEK_S, use) == taken
    assert other.state() == forecaster.state()


def test_a_long_life_is_stored_whole_and_small() -> None:
    uses = content(70, seed=12)
    forecaster = taught(uses[: 69 * WEEK])
    stored = msgspec.json.encode(forecaster.state())
    assert len(stored) < 16_000
    other = Forecaster.restore(msgspec.json.decode(stored, type=ForecastState))
    for at in range(69 * WEEK, 70 * WEEK):
        for one in (forecaster, other):
            one.update(at * HOUR_S, at * HOUR_S % WEEK_S, uses[at])
    assert other.state() == forecaster.state()
    assert ahead(other, 5000).values == ahead(forecaster, 5000).values


def test_a_state_of_another_version_is_refused() -> None:
    state = msgspec.structs.replace(taught([0.1]).state(), version=0)
    with pytest.raises(ValueError, match="version 0"):
        Forecaster.restore(state)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(USES, min_size=1, max_size=80),
    st.integers(1, 3000),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0),
)
def test_quantiles_never_cross_and_are_uses(
    uses: list[float | None], hours: int, one: float, other: float
) -> None:
    forecaster = taught(uses)
    if forecaster.seen:
        found = ahead(forecaster, hours)
        low, high = sorted((one, other))
        assert 0.0 <= found.quantile(low) <= found.quantile(high)
        assert math.isfinite(found.quantile(high))
        assert math.isfinite(found.mean)
