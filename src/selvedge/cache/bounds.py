"""Exact bounds of a share: of so many among so many, and of strata that were sampled unequally.

Clopper and Pearson (Biometrika 26, 1934) for the first; the binomial tail is the regularised
incomplete beta function, by its continued fraction (Abramowitz and Stegun 26.5.8, modified Lentz).
Fay and Feuer (Statistics in Medicine 16, 1997) for the second: the gamma interval of a weighted sum
of Poisson counts, which covers at least as often as it says in every case that they and others have
simulated, and is the exact Poisson bound where all weights are equal. Quantiles by bisection.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import exp, lgamma, log, log1p
from typing import Final

_TINY: Final = 1e-300
_ROUNDS: Final = 500
_HALVINGS: Final = 60


def tail(count: int, trials: int, share: float) -> float:
    """Probability of at least ``count`` of ``trials`` where each happens with ``share``."""
    if count <= 0 or share >= 1.0:
        return 1.0
    if count > trials or share <= 0.0:
        return 0.0
    return _beta(float(count), float(trials - count + 1), share)


def at_most(count: int, trials: int, alpha: float) -> float:
    """The upper bound of the share, wrong with probability at most ``alpha``; 1 without trials."""
    if count >= trials:
        return 1.0
    low, high = count / trials, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if 1.0 - tail(count + 1, trials, middle) > alpha:
            low = middle
        else:
            high = middle
    return high


def at_least(count: int, trials: int, alpha: float) -> float:
    """The lower bound of the share, wrong with probability at most ``alpha``; 0 without trials."""
    if count <= 0 or trials <= 0:
        return 0.0
    low, high = 0.0, count / trials
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if tail(count, trials, middle) < alpha:
            low = middle
        else:
            high = middle
    return low


def interval(count: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Both ends, each wrong with half of what ``level`` leaves."""
    alpha = (1.0 - level) / 2.0
    return at_least(count, trials, alpha), at_most(count, trials, alpha)


def weighted_at_most(strata: Iterable[tuple[float, float]], alpha: float) -> float:
    """The upper bound of the sum of weight x count, each count Poisson; weights may be unequal.

    A stratum's weight is what one more of its count adds: its part of the whole, over the trials
    that were looked at in it. Strata without a count belong in it too: the largest weight counts.
    """
    total = spread = most = 0.0
    for weight, count in strata:
        total += weight * count
        spread += weight * weight * count
        most = max(most, weight)
    if most <= 0.0:
        return 1.0
    mean, variance = total + most, spread + most * most
    return min(1.0, variance / mean * gamma_quantile(mean * mean / variance, alpha))


def gamma_quantile(shape: float, alpha: float) -> float:
    """What a gamma variable of this shape and scale 1 exceeds with probability ``alpha``."""
    low, high = 0.0, shape + 10.0
    while _above(shape, high) > alpha:
        low, high = high, high * 2.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if _above(shape, middle) > alpha:
            low = middle
        else:
            high = middle
    return high


def _above(shape: float, x: float) -> float:
    """Q(shape, x): the series of P below shape + 1, Legendre's fraction from there on."""
    if x <= 0.0:
        return 1.0
    front = exp(shape * log(x) - x - lgamma(shape))
    if x < shape + 1.0:
        term = total = 1.0 / shape
        for step in range(1, _ROUNDS):
            term *= x / (shape + step)
            total += term
            if term < total * 1e-12:
                break
        return 1.0 - front * total
    b = x + 1.0 - shape
    c, d = 1.0 / _TINY, 1.0 / b
    result = d
    for step in range(1, _ROUNDS):
        a = -step * (step - shape)
        b += 2.0
        d, c = 1.0 / _kept(a * d + b), _kept(b + a / c)
        result *= d * c
        if abs(d * c - 1.0) < 1e-12:
            break
    return front * result


def _beta(a: float, b: float, x: float) -> float:
    """I_x(a, b)."""
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x))
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _fraction(a, b, x) / a
    return 1.0 - front * _fraction(b, a, 1.0 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, 1.0 / _kept(1.0 - (a + b) * x / (a + 1.0))
    result = d
    for m in range(1, _ROUNDS):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        d, c = 1.0 / _kept(1.0 + even * d), _kept(1.0 + even / c)
        result *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        d, c = 1.0 / _kept(1.0 + odd * d), _kept(1.0 + odd / c)
        step = d * c
        result *= step
        if abs(step - 1.0) < 1e-14:
            break
    return result


def _kept(value: float) -> float:
    """Away from zero, where Lentz's method would divide by it."""
    return value if abs(value) > _TINY else _TINY
