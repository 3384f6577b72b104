from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.headroom import (
    BIN,
    BINS,
    LEAPS_MAX,
    RESERVE_FEW,
    WEEK_STEPS,
    Band,
    Choice,
    Surges,
    bin_of,
    choice_of,
    reserve_of,
    reserve_of_counts,
)


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


def test_a_return_is_judged_by_what_the_site_usually_carries() -> None:
    usual = [0.30, 0.32, 0.40, 0.38] * WEEK_STEPS
    assert Surges().band() == Band.of(0.0, 0.0) == Band(0.005, 0.0)
    away = [*usual, 0.3, 0.009, 0.01, 0.2, 0.4, 0.4]
    surges = Surges()
    for use in away:
        surges.add(use)
    assert surges.band().away == pytest.approx(0.075)
    assert surges.band().back == pytest.approx(0.6)
    # The sample in which it came back, and the one after that.
    assert surges.returns == 2
    assert surges.reserve().largest == pytest.approx(0.081)
    for more, largest in (
        ([0.01, 0.7], 0.691),  # far above what it ever carried
        ([0.08, 0.4], 0.321),  # from no outage
        ([0.02, 0.07, 0.4], 0.081),  # no leap, then one from there, which is a return
        ([0.01, 0.2, None, 0.2, 0.5], 0.301),  # a gap ends a return
        ([0.01, 0.2, 0.19, 0.5], 0.311),  # and so does a fall
    ):
        assert reserve_of([*usual, *more]).largest == pytest.approx(largest), more


def test_a_surge_out_of_a_quiet_night_counts() -> None:
    day = [0.03] * 96 + [0.5] * 192
    uses = day * 8
    uses[5 * 288 + 40] = 0.45
    surges = Surges()
    for use in uses:
        surges.add(use)
    # Mornings rise at one blow here: what counts is that none of them is an outage's end.
    assert surges.returns == 0
    assert surges.reserve().largest == pytest.approx(0.471)


def test_of_too_many_leaps_the_smaller_are_surges() -> None:
    surges = Surges()
    for at in range(2 * LEAPS_MAX):
        for use in (0.4, 0.4, 0.0, 0.2 + at / (10 * LEAPS_MAX)):
            surges.add(use)
    assert surges.returns == LEAPS_MAX
    found = surges.reserve()
    assert found.largest == pytest.approx(0.3, abs=0.002)


def test_choices() -> None:
    counts = [0] * BINS
    counts[0], counts[49], counts[199] = 199_700, 290, 10
    largest, usual = reserve_of_counts(counts, "largest"), reserve_of_counts(counts, "usual")
    assert (largest.share, largest.exceeded) == (0.2, 0)
    assert (usual.share, usual.exceeded, usual.reason) == (0.05, 10, "usual")
    told = reserve_of_counts(counts, 0.049)
    assert (told.share, told.exceeded, told.reason) == (0.049, 300, "set")
    assert reserve_of_counts(counts, 0.0).exceeded == 300, "falls are no rises"
    assert reserve_of_counts(counts) == largest, "what is kept unless asked otherwise"
    few = [2000, *counts[1:49], 1]
    assert reserve_of_counts(few, "usual").share == RESERVE_FEW
    assert reserve_of_counts(few, 0.02).share == 0.02


@pytest.mark.parametrize(
    ("text", "choice"), [("largest", "largest"), ("usual", "usual"), ("0.05", 0.05), ("0", 0.0)]
)
def test_choices_as_they_are_written(text: str, choice: Choice) -> None:
    assert choice_of(text) == choice


@pytest.mark.parametrize("text", ["5%", "1", "1.2", "-0.1", "nan", "", "Usual"])
def test_what_is_no_choice(text: str) -> None:
    words = "it is a share of capacity, at least 0 and below 1: say largest, usual or a share"
    with pytest.raises(ValueError, match=f"reserve is .*; {words} such as"):
        choice_of(text)


def test_a_share_is_checked_where_it_is_used() -> None:
    with pytest.raises(ValueError, match="reserve is 1;"):
        reserve_of([0.1, 0.2], 1.0)


def is_return(rises: list[tuple[float, float]], at: int, band: Band) -> bool:
    """Of neighbouring samples, each pair with the one before it."""
    before, use = rises[at]
    began = before
    if at and not use > 4 * before and rises[at - 1][1] == before:
        began, end = rises[at - 1]
        if not end > 4 * began:
            return False
    elif not use > 4 * before:
        return False
    return use > before and began < band.away and use <= band.back


@given(st.lists(st.floats(0.0, 1.2), max_size=60))
def test_the_reserve_covers_every_rise_of_a_year(uses: list[float]) -> None:
    surges = Surges()
    for use in uses:
        surges.add(use)
    pairs = list(pairwise(uses))
    kept = [at for at in range(len(pairs)) if not is_return(pairs, at, surges.band())]
    reserve = surges.reserve()
    rises = [pairs[at][1] - pairs[at][0] for at in kept]
    assert all(rise <= reserve.share + BIN * 1e-5 for rise in rises if rise < 1.0)
    assert (reserve.exceeded, reserve.steps) == (0, len(kept))
    assert surges.returns == len(pairs) - len(kept)
