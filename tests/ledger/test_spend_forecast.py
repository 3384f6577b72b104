"""Forecasts: exact where the past repeats, bounded, better than a line where weeks have ends."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.ledger import (
    DAY_US,
    HOUR_US,
    SpendForecast,
    forecast_spend,
    month_span,
    straight_line,
)

BEGIN_US, END_US = month_span("2026-11")
OCTOBER_US, _ = month_span("2026-10")
HOURS = range(OCTOBER_US, END_US, HOUR_US)
Shape = Callable[[int, Random], float]


def is_weekend(at: int) -> bool:
    return (at // DAY_US + 3) % 7 >= 5  # 1970-01-01 was a Thursday


def office(at: int, rng: Random) -> float:
    busy = 8 <= at % DAY_US // HOUR_US < 18 and not is_weekend(at)
    return (10.0 if busy else 0.5) * rng.uniform(0.7, 1.3)


def steady(at: int, rng: Random) -> float:
    return rng.uniform(3, 5)


def growing(at: int, rng: Random) -> float:
    return office(at, rng) * 1.02 ** ((at - OCTOBER_US) // DAY_US)


def newcomer(at: int, rng: Random) -> float:
    return office(at, rng) if at >= BEGIN_US + 4 * DAY_US else 0.0


def bursts(at: int, rng: Random) -> float:
    return rng.choice([0.0] * 30 + [200.0])


SHAPES: dict[str, Shape] = {
    one.__name__: one for one in (office, steady, growing, newcomer, bursts)
}


def month_of(shape: Shape, seed: int) -> dict[int, int]:
    rng = Random(seed)
    return {at: round(shape(at, rng) * 1_000_000) for at in HOURS}


def compared(shape: Shape, months: int = 12) -> tuple[int, int, int]:
    """Mean error in thousandths of the month, on days 3 to 27: ours, a line's; and how many
    thousandths of the months lay within our bounds."""
    ours = line = within = count = 0
    for seed in range(months):
        hours = month_of(shape, seed)
        truth = sum(cost for at, cost in hours.items() if at >= BEGIN_US)
        for day in range(3, 28, 2):
            now = BEGIN_US + day * DAY_US + 37 * 60_000_000
            past = {at: cost for at, cost in hours.items() if at < now}
            found = forecast_spend(past, BEGIN_US, END_US, now)
            straight = straight_line(past, BEGIN_US, END_US, now)
            ours += abs(found.expected - truth) * 1_000 // truth
            line += abs(straight - truth) * 1_000 // truth
            within += found.low is not None and found.low <= truth <= (found.high or 0)
            count += 1
    return ours // count, line // count, within * 1_000 // count


def test_it_is_better_than_a_line_where_there_are_weekends() -> None:
    found = {name: compared(shape, 4) for name, shape in SHAPES.items()}
    assert found["office"][0] * 4 < found["office"][1]
    assert found["newcomer"][0] < found["newcomer"][1]
    assert found["steady"][0] <= found["steady"][1] + 1
    for name in ("office", "steady"):
        assert found[name][2] >= 850, name


@given(st.integers(1, 10**9), st.integers(0, 29 * 24 * 60))
def test_what_repeats_is_told_exactly(cost: int, minutes: int) -> None:
    now = BEGIN_US + minutes * 60_000_000
    hours = dict.fromkeys(range(OCTOBER_US, now, HOUR_US), cost)
    found = forecast_spend(hours, BEGIN_US, END_US, now)
    whole = cost * 720
    part = now % HOUR_US  # the current hour has cost a whole one already, and its rest is to come
    assert found.expected == found.spent + cost * (END_US - now) // HOUR_US
    assert 0 <= found.expected - whole <= (cost if part else 0)
    assert (found.low, found.high) == (found.expected, found.expected)


@given(
    st.dictionaries(st.sampled_from(list(HOURS)), st.integers(0, 10**9), max_size=200),
    st.integers(OCTOBER_US, END_US + DAY_US),
)
@settings(deadline=None, max_examples=60)
def test_laws(hours: dict[int, int], now: int) -> None:
    past = {at: cost for at, cost in hours.items() if at <= now}
    found = forecast_spend(past, BEGIN_US, END_US, now)
    assert found == forecast_spend(dict(reversed(past.items())), BEGIN_US, END_US, now)
    assert found.spent == sum(cost for at, cost in past.items() if at >= BEGIN_US)
    assert found.spent <= found.expected
    if found.low is not None and found.high is not None:
        assert found.spent <= found.low <= found.expected <= found.high
    else:
        assert found.days_known < 2
    if now >= END_US:
        assert found.expected == found.spent


@pytest.mark.parametrize("now", [BEGIN_US, BEGIN_US + 5 * HOUR_US])
def test_nothing_known_is_nothing_to_come(now: int) -> None:
    assert forecast_spend({}, BEGIN_US, END_US, now) == SpendForecast(0, 0, None, None, 0)
    assert straight_line({}, BEGIN_US, END_US, now) == 0
    assert straight_line({BEGIN_US: 7}, BEGIN_US, END_US, BEGIN_US) == 7


def test_a_tenant_of_some_hours_goes_on_as_it_began() -> None:
    now = BEGIN_US + 10 * HOUR_US
    hours = {BEGIN_US + number * HOUR_US: 5 for number in range(5, 10)}
    found = forecast_spend(hours, BEGIN_US, END_US, now)
    assert found == SpendForecast(25, 25 + 5 * 710, None, None, 0)


if __name__ == "__main__":
    print("| month | seasonal: mean error | straight line: mean error | within 90 % bounds |")
    print("|---|---|---|---|")
    for name, shape in SHAPES.items():
        ours, line, within = compared(shape)
        print(f"| {name} | {ours / 10:.1f} % | {line / 10:.1f} % | {within / 10:.1f} % |")
