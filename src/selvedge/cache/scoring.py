"""The score of a pair: log-odds that the nearest entry's answer is right, learned as it goes.

A logistic model over few features, each of known direction, with an offset of its own for every
cluster and entry that was observed. Learned one observation at a time: the Gaussian approximation
of the posterior takes one Newton step for each (the extended Kalman filter of a logistic model), so
there is nothing to fit again, and learning costs some ten microseconds.

**Hierarchy.** Where a route begins is `GENERAL`, or the posterior of the tenant's other routes,
widened. A cluster's offset is the ridge estimate of what the route's model gets wrong about it: the
sum of (right - p) over (its prior's weight + the sum of p (1 - p)); an entry's likewise. One wrong
answer at p = 0.995 takes two from the log-odds; a hundred right ones add little. So the bad leave
at once and the good are not in a hurry.

The score need not be right: how often hits from a score on are wrong is counted, in `bounded`.
"""

from __future__ import annotations

from math import exp, log, log1p
from typing import Final

import msgspec

from selvedge.cache.deciding import Pair

GENERAL: Final = (1.3, 0.6, 0.9, -0.8, 0.6, 1.1, 0.4)
"""Constant, similarity, margin, other answers near, same answer near, overlap, length: rounded from
fits to every other intent of Banking77 (docs/cache-quality.md)."""
_SIGNS: Final = (0, 1, 1, -1, 1, 1, 0)
"""Which way a feature may move the score; what the data says otherwise is taken as none."""
_VARIANCES: Final = (1.0, 0.1, 0.1, 0.3, 0.3, 0.5, 0.3)
_MARGIN_MAX: Final = 0.5
_WEIGHT: Final = 0.5
"""Of an offset's prior: one over the variance of offsets, in log-odds."""
_OFFSETS_MAX: Final = 16_384
_NEGLIGIBLE: Final = 0.2
"""What a right answer must surprise by to be held for a name that has no offset yet."""
_WIDER: Final = 4.0
"""Other routes' variances, for a new route's prior."""

Offsets = dict[str, tuple[float, float]]


class Fitted(msgspec.Struct, array_like=True):
    """What was learned, as it is kept."""

    weights: list[float]
    covariance: list[list[float]]
    clusters: Offsets
    entries: Offsets


def features(pair: Pair) -> tuple[float, ...]:
    """Of order one each; the first is the constant."""
    return (
        1.0,
        10.0 * (pair.similarity - 0.85),
        10.0 * min(_MARGIN_MAX, pair.similarity - pair.rival),
        log1p(pair.near),
        log1p(pair.agree),
        pair.overlap,
        log(max(1, pair.length)) - 2.0,
    )


def general_score(pair: Pair) -> float:
    """What `GENERAL` says: it knows no label of the route."""
    return sum([w * x for w, x in zip(GENERAL, features(pair), strict=True)])


class Scoring:
    """The model of one route."""

    def __init__(self, kept: Fitted | None = None, prior: Fitted | None = None) -> None:
        self.weights = list(GENERAL)
        size = len(GENERAL)
        self.covariance = [
            [_VARIANCES[i] if i == j else 0.0 for j in range(size)] for i in range(size)
        ]
        self.clusters: Offsets = {}
        self.entries: Offsets = {}
        if kept is not None:
            self.weights, self.covariance = kept.weights, kept.covariance
            self.clusters, self.entries = kept.clusters, kept.entries
        elif prior is not None:
            self.weights = list(prior.weights)
            self.covariance = [[_WIDER * cell for cell in row] for row in prior.covariance]
        self._used = self._signed()

    def score(self, pair: Pair, entry: str, cluster: str) -> float:
        """The log-odds that the answer is right."""
        total = sum([w * x for w, x in zip(self._used, features(pair), strict=True)])
        if found := self.clusters.get(cluster):
            total += found[0] / (_WEIGHT + found[1])
        if found := self.entries.get(entry):
            total += found[0] / (_WEIGHT + found[1])
        return total

    def learn(self, pair: Pair, entry: str, cluster: str, correct: bool) -> None:
        """One observation: the offsets first, then what is left for the weights."""
        score = self.score(pair, entry, cluster)
        p = 1.0 / (1.0 + exp(-max(-30.0, min(30.0, score))))
        miss, weight = correct - p, p * (1.0 - p)
        for offsets, name in ((self.clusters, cluster), (self.entries, entry)):
            if 0.0 <= miss < _NEGLIGIBLE and name not in offsets:
                continue
            total, seen = offsets.pop(name, (0.0, 0.0))
            offsets[name] = total + miss, seen + weight
            if len(offsets) > _OFFSETS_MAX:
                del offsets[next(iter(offsets))]  # the one that was learned of longest ago
        self._step(features(pair), miss, weight)

    def dump(self) -> Fitted:
        """What was learned; it shares its lists."""
        return Fitted(self.weights, self.covariance, self.clusters, self.entries)

    def _step(self, x: tuple[float, ...], miss: float, weight: float) -> None:
        """One observation's Newton step; the covariance by Sherman and Morrison."""
        turned = [sum([c * v for c, v in zip(row, x, strict=True)]) for row in self.covariance]
        spread = sum([v * t for v, t in zip(x, turned, strict=True)])
        part = weight / (1.0 + weight * spread)
        for row, t in zip(self.covariance, turned, strict=True):
            scaled = part * t
            for column, other in enumerate(turned):
                row[column] -= scaled * other
        step = miss / (1.0 + weight * spread)
        self.weights = [w + step * t for w, t in zip(self.weights, turned, strict=True)]
        self._used = self._signed()

    def _signed(self) -> tuple[float, ...]:
        return tuple(
            [w if sign * w >= 0 else 0.0 for w, sign in zip(self.weights, _SIGNS, strict=True)]
        )
