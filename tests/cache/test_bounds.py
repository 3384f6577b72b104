"""Exact bounds: against values from tables, against each other, and how often they hold."""

from __future__ import annotations

from math import log
from random import Random

import pytest

from selvedge.cache.bounds import (
    at_least,
    at_most,
    gamma_quantile,
    interval,
    tail,
    weighted_at_most,
)


@pytest.mark.parametrize(
    ("count", "trials", "share", "expected"),
    [
        (0, 10, 0.1, 1.0),
        (1, 10, 0.1, 1 - 0.9**10),
        (10, 10, 0.5, 0.5**10),
        (11, 10, 0.5, 0.0),
        (1, 10, 0.0, 0.0),
        (3, 5, 1.0, 1.0),
        (2, 4, 0.5, 11 / 16),
    ],
)
def test_tail_is_the_binomial_s(count: int, trials: int, share: float, expected: float) -> None:
    assert tail(count, trials, share) == pytest.approx(expected, abs=1e-12)


def test_tail_adds_up_over_many_trials() -> None:
    parts = [tail(k, 2000, 0.01) - tail(k + 1, 2000, 0.01) for k in range(2001)]
    assert sum(parts) == pytest.approx(1.0)
    assert sum(k * part for k, part in enumerate(parts)) == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("count", "trials", "low", "high"),
    [(0, 20, 0.0, 0.168433), (1, 20, 0.001265, 0.248733), (3, 500, 0.001239, 0.017434)],
)
def test_clopper_pearson_as_published(count: int, trials: int, low: float, high: float) -> None:
    assert interval(count, trials) == pytest.approx((low, high), abs=1e-5)


def test_299_right_ones_bound_one_percent() -> None:
    assert at_most(0, 299, 0.05) <= 0.01 < at_most(0, 298, 0.05)


def test_nothing_seen_bounds_nothing() -> None:
    assert at_most(0, 0, 0.05) == 1.0
    assert at_least(0, 0, 0.05) == 0.0
    assert at_most(4, 4, 0.05) == 1.0
    assert at_least(4, 4, 0.05) == pytest.approx(0.05**0.25)


@pytest.mark.parametrize(
    ("shape", "alpha", "expected"),
    [(1.0, 0.05, -log(0.05)), (4.0, 0.025, 8.7673), (50.0, 0.01, 67.9034), (0.5, 0.05, 1.9207)],
)
def test_gamma_quantiles_as_published(shape: float, alpha: float, expected: float) -> None:
    assert gamma_quantile(shape, alpha) == pytest.approx(expected, abs=1e-3)


def test_equal_weights_are_the_poisson_bound() -> None:
    whole = weighted_at_most([(1 / 500, 7)], 0.05)
    parts = weighted_at_most([(1 / 500, 2), (1 / 500, 5), (1 / 500, 0)], 0.05)
    assert whole == pytest.approx(parts)
    assert whole == pytest.approx(13.148 / 500, abs=1e-5)
    assert whole > at_most(7, 500, 0.05)


def test_no_strata_bound_nothing() -> None:
    assert weighted_at_most([], 0.05) == 1.0
    assert weighted_at_most([(0.9, 3)], 0.05) == 1.0


def test_unequal_weights_cover_as_often_as_they_say() -> None:
    """Two strata, one seen in full and one by a tenth, with a rare error: 2,000 draws."""
    rng = Random(5)
    seen, shares, parts = (600, 60), (0.02, 0.005), (0.5, 0.5)
    truth = sum(part * share for part, share in zip(parts, shares, strict=True))
    missed = 0
    for _ in range(2000):
        strata = [
            (part / trials, sum(rng.random() < share for _ in range(trials)))
            for part, share, trials in zip(parts, shares, seen, strict=True)
        ]
        missed += weighted_at_most(strata, 0.05) < truth
    assert missed <= 0.06 * 2000
