"""`verified`: vCache's rule, from the formulas of the paper (arXiv 2502.03771) and nothing else.

Every entry has its own model, Pr(right | s) = 1 / (1 + exp(-g (s - t))), fitted by maximum
likelihood on its own observations (similarity, right or wrong), and serves at random: with
probability tau it asks the model instead, where tau is the least such that

    tau + (1 - tau) alpha >= 1 - delta,   alpha(e) = (1 - e) L(s; t'(e), g),

and t'(e) is the upper end of the one-sided interval of t at level 1 - e, by the delta method.

**What is promised**: of all requests, misses included, at most delta are answered wrongly. Of hits
alone nothing is: at a hit rate of a tenth, ten times delta of them may be wrong. **Assumed**: an
entry's observations are independent and alike, errors follow the logistic law, the judge is right.
Nothing is served before six observations of the same entry.

Where right and wrong are separated the likelihood has no maximum, so t is the middle of the gap
(where all are right: the lowest similarity seen) and its variance comes from `_SEPARATED`: the mean
squared error of those estimates over 200,000 simulated entries per row, t uniform and g
log-uniform in (0.5, 1) and (20, 200), similarities uniform in (0.5, 1), kept where separated
(`tests/cache/test_verified.py` simulates it again).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import exp, inf, sqrt
from statistics import NormalDist
from typing import Final

import msgspec

from selvedge.cache.deciding import Pair, Verdict
from selvedge.fabric.value import Value

OBSERVATIONS_MIN: Final = 6
OBSERVATIONS_MAX: Final = 128
"""Of one entry; the oldest leave."""
_SEPARATED: Final = (
    (6, 0.00246, 0.00728),
    (8, 0.00178, 0.00483),
    (10, 0.00138, 0.00352),
    (12, 0.00110, 0.00260),
    (15, 0.00083, 0.00183),
    (20, 0.00058, 0.00121),
    (25, 0.00043, 0.00078),
    (30, 0.00034, 0.00058),
    (40, 0.00023, 0.00035),
    (60, 0.00013, 0.00018),
)
"""Observations, and the variance of t: both kinds seen, only right ones seen."""
_STEEP: Final = 1000.0
_LEVELS: Final = 50
_ROUNDS: Final = 25

Observations = list[tuple[float, bool]]


class Curve(Value, frozen=True):
    """An entry's fitted law: the middle, its standard deviation, and how steep."""

    middle: float
    deviation: float
    steep: float


class _Kept(msgspec.Struct, array_like=True):
    version: int
    entries: dict[str, Observations]


class Verified:
    """Decides by the entry's own observations; ``wrong_max`` is the share of requests."""

    def __init__(self, wrong_max: float, kept: bytes | None = None) -> None:
        self.wrong_max = wrong_max
        normal = NormalDist()
        levels = [(number + 0.5) / _LEVELS for number in range(_LEVELS)]
        # Finer where it matters: an e above delta can never let tau reach zero.
        levels += [wrong_max * part for part in (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)]
        self._levels = [(level, normal.inv_cdf(1.0 - level)) for level in sorted(levels)]
        self._entries: dict[str, Observations] = {}
        self._curves: dict[str, Curve] = {}
        if kept:
            self._load(kept)

    def decide(self, pair: Pair, entry: str, cluster: str, draw: float) -> Verdict:
        """Serves with probability 1 - tau."""
        curve = self._curves.get(entry)
        if curve is None:
            seen = len(self._entries.get(entry, ()))
            why = f"the entry has {seen} of {OBSERVATIONS_MIN} observations"
            return Verdict(serve=False, bound=0.0, why=why)
        right = self._right(curve, round(pair.similarity, 3))
        tau = 1.0 - self.wrong_max / (1.0 - right) if right < 1.0 - self.wrong_max else 0.0
        serve = draw > tau if tau > 0.0 else True
        return Verdict(serve=serve, bound=right, why=f"asks again with probability {tau:.2f}")

    def learn(self, pair: Pair, entry: str, cluster: str, correct: bool) -> None:
        """One more observation of the entry; its law is fitted again."""
        seen = self._entries.setdefault(entry, [])
        seen.append((round(pair.similarity, 3), correct))
        del seen[:-OBSERVATIONS_MAX]
        if len(seen) >= OBSERVATIONS_MIN:
            self._curves[entry] = fit(seen)

    def inserts(self, correct: bool) -> bool:
        """Only what no entry answered: observations gather on few entries."""
        return not correct

    def dump(self) -> bytes:
        """Every entry's observations."""
        return msgspec.msgpack.encode(_Kept(1, self._entries))

    def _load(self, kept: bytes) -> None:
        state = msgspec.msgpack.decode(kept, type=_Kept)
        if state.version != 1:
            raise ValueError(f"observations of version {state.version}, this is 1")
        self._entries = state.entries
        for entry, seen in state.entries.items():
            if len(seen) >= OBSERVATIONS_MIN:
                self._curves[entry] = fit(seen)

    def _right(self, curve: Curve, similarity: float) -> float:
        """The greatest alpha over the levels: the least tau goes with it."""
        most = 0.0
        for level, z in self._levels:
            middle = min(1.0, max(0.0, curve.middle + z * curve.deviation))
            most = max(most, (1.0 - level) * _law(similarity, middle, curve.steep))
        return most


def fit(seen: Sequence[tuple[float, bool]]) -> Curve:
    """The entry's law by maximum likelihood, Newton's way; the separated case by the table."""
    right = [similarity for similarity, correct in seen if correct]
    wrong = [similarity for similarity, correct in seen if not correct]
    if not right:
        return Curve(middle=1.0, deviation=0.0, steep=_STEEP)
    if not wrong:
        return Curve(min(right), sqrt(_variance(len(seen), both=False)), _STEEP)
    if max(wrong) < min(right):
        middle = (max(wrong) + min(right)) / 2.0
        return Curve(middle, sqrt(_variance(len(seen), both=True)), _STEEP)
    return _newton(seen)


def _newton(seen: Sequence[tuple[float, bool]]) -> Curve:
    """Overlapping classes: the maximum exists (or lies at a slope that is not positive)."""
    mean = sum(similarity for similarity, _ in seen) / len(seen)
    base, steep = 0.0, 1.0  # of similarity minus mean: better conditioned
    h00 = h01 = h11 = 0.0
    for _ in range(_ROUNDS):
        g0 = g1 = h00 = h01 = h11 = 0.0
        for similarity, correct in seen:
            x = similarity - mean
            p = _law(x, 0.0, steep) if not base else 1.0 / (1.0 + exp(-_clip(base + steep * x)))
            weight = max(p * (1.0 - p), 1e-9)
            g0 += correct - p
            g1 += (correct - p) * x
            h00 += weight
            h01 += weight * x
            h11 += weight * x * x
        bottom = h00 * h11 - h01 * h01
        if bottom <= 1e-18:
            break
        step0, step1 = (h11 * g0 - h01 * g1) / bottom, (h00 * g1 - h01 * g0) / bottom
        size = max(1.0, abs(step0) / 5.0, abs(step1) / 100.0)
        base, steep = base + step0 / size, steep + step1 / size
        if abs(step0) < 1e-6 and abs(step1) < 1e-4:
            break
    if steep <= 1e-6:  # more similar, yet no more often right: no threshold helps
        return Curve(middle=1.0, deviation=0.0, steep=1e-6)
    bottom = h00 * h11 - h01 * h01
    d0, d1 = -1.0 / steep, base / (steep * steep)
    variance = (d0 * d0 * h11 - 2.0 * d0 * d1 * h01 + d1 * d1 * h00) / bottom if bottom else inf
    return Curve(min(1.0, max(0.0, mean - base / steep)), min(1.0, sqrt(variance)), steep)


def _law(similarity: float, middle: float, steep: float) -> float:
    return 1.0 / (1.0 + exp(-_clip(steep * (similarity - middle))))


def _clip(x: float) -> float:
    return min(700.0, max(-700.0, x))


def _variance(count: int, *, both: bool) -> float:
    row = _SEPARATED[max(0, bisect_right(_SEPARATED, (count, inf, inf)) - 1)]
    return row[1] if both else row[2]
