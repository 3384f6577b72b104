"""`bounded`: of its hits, at most so many are wrong, and it says with what confidence.

A hit is served where the score (`scoring`) is at least the threshold in force. The threshold is the
lowest for which "more than ``wrong_max`` of the hits from here on are wrong" is rejected, in the
fixed sequence of thresholds from strict to lax (Learn then Test, Angelopoulos and others, arXiv
2110.01052, section 2.2: no correction within a sequence). The sequence starts where there are
`START` times the observations that would do if none was wrong, which does not look at labels.
Where nothing is rejected, nothing is served: exploring is safe, since every miss that has a
neighbour is an observation.

**The bound.** Scores are sorted into `BINS`. For each we know how many requests fell into it, how
many of those were observed, and how many of the observed were wrong: before a bin is served, every
one is observed (it is a miss); afterwards audits alone. The wrong share of a threshold is the sum
over its bins of (part of the traffic x wrong share), its upper bound that of Fay and Feuer for
unequally sampled strata; while all is observed alike that is the exact Poisson bound, which lies
above Clopper's and Pearson's. Counting only what is observed would overstate the errors of a laxer
threshold, since its new bins are seen in full and the served ones in small part.

Bins are taken together until `STRATUM` observations are in one, but not across a threshold that was
in force, since they were sampled differently.

**Sequential.** Bounds are taken anew on a schedule that does not look at labels: first when `FIRST`
times the observations that would do if none was wrong look promising to the general model (which
has learned nothing here), then whenever these, and once something is served all observations, have
grown by `LATER`; the k-th time at level alpha / (k (k + 1)). These add up to alpha, so with
probability 1 - alpha every threshold that ever came into force was a good one.
An observation is scored before it is learned from, so no score knows its own label. An e-process
(Waudby-Smith and Ramdas, arXiv 2010.09686) would need no schedule and spend less, but it needs all
to be sampled alike: with one hit in twenty audited, its bets on a laxer threshold shrink by that
factor, and this one would stay for long where it began.

A threshold that was accepted stays accepted; it is raised while the share above it *looks* worse
than ``wrong_max``. An entry or cluster with wrong answers of its own leaves through its score.

**Assumed.** (1) The judge is right. (2) Within a bin, what is observed is a fair sample of its
requests; audits are drawn at random. (3) A bin does not get worse: its errors in the past are at
least those to come. New entries bring a route nearer answers, yet questions may change for the
worse: that is what `audit` is for, which assumes none of this. (4) The logistic law is **not**
assumed: were the score noise, nothing would be served. (5) Only where a prior of the tenant's other
routes is given: they err alike at like scores. Then their observations (at most `PRIOR_MAX`) count
as the route's own until its own contradict them. Without that assumption no method can promise 1 %
after tens of observations: it takes 299 right ones in a row to say so with 95 % confidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from math import log
from typing import Final

import msgspec

from selvedge.cache.bounds import at_least, weighted_at_most
from selvedge.cache.deciding import Pair, Verdict
from selvedge.cache.scoring import Fitted, Scoring, general_score

BINS: Final = 90
"""Of a tenth in log-odds each, the first from 0 down, the last from 8.9 up."""
PRIOR_MAX: Final = 4000.0
"""What other routes' observations count for at most, in observations."""
START: Final = 2.0
FIRST: Final = 2.0
LATER: Final = 1.5
STRATUM: Final = 50.0
FIRST_WITH_PRIOR: Final = 50
"""Observations of its own before a route may lean on its tenant's others."""

_NEVER: Final = 1e9
_NO_LOOK: Final = 1 << 60


class _Kept(msgspec.Struct, array_like=True):
    version: int
    promise: tuple[float, float]
    fitted: Fitted
    asked: list[float]
    seen: list[float]
    wrong: list[float]
    looks: int = 0
    next_look: int = 0
    lowest: int = BINS
    promising: int = 0
    next_promising: float = 0.0
    cuts: list[int] = []
    threshold: float = _NEVER
    bound: float = 0.0
    prior: list[list[float]] = []  # msgspec copies it


class Bounded:
    """One route's decider. `wrong_max` is of hits, `confidence` over all looks together."""

    def __init__(
        self,
        wrong_max: float,
        confidence: float = 0.95,
        kept: bytes | None = None,
        prior: bytes | None = None,
    ) -> None:
        self.wrong_max = wrong_max
        self.alpha = 1.0 - confidence
        self._promising = log(1.0 / wrong_max - 1.0)
        self.asked = [0.0] * BINS
        self.seen = [0.0] * BINS
        self.wrong = [0.0] * BINS
        self.looks = 0
        self.lowest = BINS
        self.next_look = _NO_LOOK
        self.promising = 0
        self.next_promising = FIRST * needed(wrong_max, self.alpha / 2)
        self.cuts: list[int] = []
        self.threshold = _NEVER
        self.bound = 0.0
        self.prior: list[list[float]] = []
        if kept:
            self._load(kept)
            return
        other = _decode(prior) if prior else None
        self.scoring = Scoring(prior=other.fitted if other else None)
        if other is not None and sum(other.seen) > 0.0:
            part = min(1.0, PRIOR_MAX / sum(other.seen))
            self.prior = [[part * count for count in row] for row in (other.seen, other.wrong)]
            self.next_look = FIRST_WITH_PRIOR

    def decide(self, pair: Pair, entry: str, cluster: str, draw: float) -> Verdict:
        """By the score; the request is counted in its bin."""
        score = self.scoring.score(pair, entry, cluster)
        self.asked[_bin(score)] += 1.0
        if score >= self.threshold:
            why = f"score {score:.1f} ≥ {self.threshold:.1f}, of hits {1 - self.bound:.2%} wrong"
            return Verdict(serve=True, bound=self.bound, why=why)
        if self.threshold == _NEVER:
            why = f"no bound yet: {sum(self.seen):.0f} observations"
        else:
            why = f"score {score:.1f} < {self.threshold:.1f}"
        return Verdict(serve=False, bound=0.0, why=why)

    def learn(self, pair: Pair, entry: str, cluster: str, correct: bool) -> None:
        """One observation; at a look, the threshold is set anew."""
        number = _bin(self.scoring.score(pair, entry, cluster))
        self.seen[number] += 1.0
        if not correct:
            self.wrong[number] += 1.0
        self.scoring.learn(pair, entry, cluster, correct)
        if general_score(pair) >= self._promising:
            self.promising += 1
        seen = sum(self.seen)
        if seen >= self.next_look or self.promising >= self.next_promising:
            self._look()
            self.next_promising = self.promising * LATER if self.lowest == BINS else _NEVER
            if self.prior or self.lowest < BINS:
                self.next_look = int(seen * LATER) + 1

    def inserts(self, correct: bool) -> bool:
        """Every miss: more questions of the same answer make the next ones surer."""
        return True

    def dump(self) -> bytes:
        """All of it; as a prior, without the entries."""
        kept = _Kept(
            version=1,
            promise=(self.wrong_max, self.alpha),
            fitted=self.scoring.dump(),
            asked=self.asked,
            seen=self.seen,
            wrong=self.wrong,
            looks=self.looks,
            next_look=self.next_look,
            lowest=self.lowest,
            promising=self.promising,
            next_promising=self.next_promising,
            cuts=self.cuts,
            threshold=self.threshold,
            bound=self.bound,
            prior=self.prior,
        )
        return msgspec.msgpack.encode(kept)

    def _load(self, kept: bytes) -> None:
        state = _decode(kept)
        self.scoring = Scoring(state.fitted)
        self.asked, self.seen, self.wrong = state.asked, state.seen, state.wrong
        self.prior, self.promising = state.prior, state.promising
        if state.promise != (self.wrong_max, self.alpha):
            self.next_promising = 0.0  # another promise: what was proved is proved anew, soon
            return
        self.looks, self.next_look = state.looks, state.next_look
        self.next_promising = state.next_promising
        self.lowest, self.cuts = state.lowest, state.cuts
        self.threshold, self.bound = state.threshold, state.bound

    def _look(self) -> None:
        """What can be served, tested anew: the lowest threshold that the sequence reaches."""
        self.looks += 1
        level = self.alpha / (self.looks * (self.looks + 1))
        enough = START * needed(self.wrong_max, level)
        at, seen = BINS, 0.0
        while at > 0 and seen < enough:
            at -= 1
            seen += self.seen[at] + (self.prior[0][at] if self.prior else 0.0)
        at = min(at, self.lowest - 1 if self.lowest < BINS else at)
        while seen >= enough and at > 0 and (bound := self._at_most(at, level)) <= self.wrong_max:
            self.lowest, self.bound = at, 1.0 - bound
            at -= 1
        serve = self.lowest
        while serve < BINS and self._estimate(serve) > self.wrong_max:
            serve += 1  # what was bounded once has become worse since
        self.threshold = serve / 10.0 if serve < BINS else _NEVER
        if serve < BINS and serve not in self.cuts:
            self.cuts.append(serve)

    def _estimate(self, lowest: int) -> float:
        """The wrong share among what scores in ``lowest`` or above, as it looks."""
        return sum(weight * count for weight, count in self._strata(lowest, self.prior))

    def _at_most(self, lowest: int, level: float) -> float:
        """The upper bound of the wrong share among what scores in ``lowest`` or above."""
        own_seen, own_wrong = sum(self.seen[lowest:]), sum(self.wrong[lowest:])
        prior = self.prior
        if prior and at_least(int(own_wrong), int(own_seen), level) > self.wrong_max:
            prior = []
        return weighted_at_most(self._strata(lowest, prior), level)

    def _strata(self, lowest: int, prior: list[list[float]]) -> list[tuple[float, float]]:
        """Of each stratum: what one wrong answer in it adds to the share, and how many it has."""
        total = sum(self.asked[lowest:]) + (sum(prior[0][lowest:]) if prior else 0.0)
        strata: list[tuple[float, float]] = []
        asked = seen = wrong = 0.0
        for number in range(BINS - 1, lowest - 1, -1):
            more = prior[0][number] if prior else 0.0
            asked += self.asked[number] + more
            seen += self.seen[number] + more
            wrong += self.wrong[number] + (prior[1][number] if prior else 0.0)
            if seen >= STRATUM or number == lowest or number in self.cuts:
                if asked > 0.0:
                    strata.append((asked / total / max(seen, 0.5), wrong))
                asked = seen = wrong = 0.0
        return strata


def pooled(dumps: Sequence[bytes]) -> bytes | None:
    """The dumps of a tenant's routes as a prior of its next one; None where there are none.

    Weights are averaged by how surely each route knows them (per feature), counts are added up;
    entries and clusters stay behind. A dump of another version is left out.
    """
    states: list[_Kept] = []
    for dump in dumps:
        with suppress(msgspec.MsgspecError, ValueError):
            states.append(_decode(dump))
    if not states:
        return None
    size = len(states[0].fitted.weights)
    sure = [[1.0 / max(1e-12, s.fitted.covariance[i][i]) for i in range(size)] for s in states]
    whole = [sum(row[i] for row in sure) for i in range(size)]
    weights = [
        sum(row[i] * s.fitted.weights[i] for row, s in zip(sure, states, strict=True)) / whole[i]
        for i in range(size)
    ]
    covariance = states[
        max(range(len(states)), key=lambda n: sum(states[n].seen))
    ].fitted.covariance
    kept = _Kept(
        version=1,
        promise=states[0].promise,
        fitted=Fitted(weights, covariance, {}, {}),
        asked=_added([state.asked for state in states]),
        seen=_added([state.seen for state in states]),
        wrong=_added([state.wrong for state in states]),
    )
    return msgspec.msgpack.encode(kept)


def _added(rows: list[list[float]]) -> list[float]:
    return [sum(column) for column in zip(*rows, strict=True)]


def needed(wrong_max: float, level: float) -> float:
    """Observations without a wrong one that bound the share by ``wrong_max`` at ``level``."""
    return log(1.0 / level) / wrong_max


def _bin(score: float) -> int:
    return min(BINS - 1, max(0, int(score * 10.0)))


def _decode(kept: bytes) -> _Kept:
    state = msgspec.msgpack.decode(kept, type=_Kept)
    if state.version != 1:
        raise ValueError(f"observations of version {state.version}, this is 1")
    return state
