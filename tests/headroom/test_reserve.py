from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.headroom import (
    BIN,
    BINS,
    RESERVE_FEW,
    WEEK_STEPS,
    Surges,
    bin_of,
    reserve_of,
    reserve_of_counts,
)

USES = st.one_of(st.none(), st.floats(0.0, 1.2))


def test_the_reserve_is_the_largest_rise_rounded_up() -> None:
    uses = [0.30, 0.31] * WEEK_STEPS + [0.4234, 0.31]
    reserve = reserve_of(uses)
    assert reserve.share == reserve.largest == pytest.approx(0.114)
    assert reserve.usual == pytest.approx(0.011)
    assert (reserve.steps, reserve.exceeded, reserve.reason) == (len(uses) - 1, 0, "largest")


def test_falls_and_gaps_are_no_rises() -> None:
    assert reserve_of([0.9, 0.5, None, 0.9, 0.2]).largest == 0.0


def test_a_return_from_nothing_is_counted_apart() -> None:
    surges = Surges()
    for use in [0.4, 0.001, 0.0, 0.6, 0.6]:
        surges.add(use)
    assert surges.returns == 1
    assert surges.reserve().largest == 0.0
    assert surges.reserve().steps == 3  # two falls and a level stretch


def test_a_short_history_keeps_a_tenth_and_no_less_than_it_saw() -> None:
    few = reserve_of([0.2, 0.21])
    assert few.share == RESERVE_FEW
    assert few.reason == "few"
    seen = reserve_of([0.2, 0.5])
    assert seen.share == pytest.approx(0.301)
    assert seen.reason == "largest"


def test_one_in_a_hundred_thousand_is_a_fault() -> None:
    counts = [0] * BINS
    counts[0], counts[49], counts[899] = 99_900, 99, 1
    assert reserve_of_counts(counts).share == pytest.approx(0.05)
    reserve = reserve_of_counts(counts)
    assert reserve.largest == pytest.approx(0.9)
    assert (reserve.exceeded, reserve.reason) == (1, "robust")
    counts[0] -= 1
    assert reserve_of_counts(counts).share == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("rise", "place"),
    [(-0.5, 0), (0.0, 0), (0.34 - 0.30, 40), (0.0401, 40), (1.0, 1000), (7.0, 1000)],
)
def test_rises_have_bins(rise: float, place: int) -> None:
    assert bin_of(rise) == place


def test_nothing_seen_is_no_surge_seen() -> None:
    reserve = reserve_of([])
    assert (reserve.share, reserve.largest, reserve.steps) == (RESERVE_FEW, 0.0, 0)


@given(st.lists(USES, max_size=60))
def test_the_reserve_covers_every_rise_of_a_year(uses: list[float | None]) -> None:
    reserve = reserve_of(uses)
    rises = [
        later - earlier
        for earlier, later in pairwise(uses)
        if earlier is not None and later is not None and earlier >= 0.005
    ]
    assert all(rise <= reserve.share + BIN * 1e-5 for rise in rises if rise < 1.0)
    assert reserve.exceeded == 0
