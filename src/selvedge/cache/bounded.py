"""`bounded`: of its hits, at most so many are wrong, and it says with what confidence.

A hit is served where the score (`scoring`) is at least the threshold in force. The threshold is the
lowest for which "more than ``wrong_max`` of the hits from here on are wrong" is rejected, in the
fixed sequence of thresholds from strict to lax (Learn then Test, Angelopoulos and others, arXiv
2110.01052, section 2.2: no correction within a sequence, its level split among several starts).
Where nothing is rejected, nothing is served.

**The bound.** Scores are sorted into `BINS`. For each we know how many requests fell into it, how
many of those were observed, and how many of the observed were wrong: before a bin is served, every
one is observed (it is a miss); afterwards audits alone. The wrong share of a threshold is the sum
over its bins of (part of the traffic x wrong share), its upper bound that of Fay and Feuer for
unequally sampled strata; while all is observed alike that is the exact Poisson bound (which is
above Clopper's and Pearson's). Counting only what is observed would overstate the errors of a lax
threshold, since its bins are seen in full and the served ones in small part.

**Sequential.** Bounds are taken anew at the n-th observation for n on a geometric schedule that
does not look at labels, the k-th time at level alpha / (k (k + 1)): these add up to alpha, so that
with probability 1 - alpha every threshold that was ever in force kept to ``wrong_max``. (An
e-process would need no schedule, but loses the strata: with audits of one in twenty its bets on a
laxer threshold shrink by that factor.) An observation is scored before it is learned from, so
scores do not know their own labels.

**Assumed.** (1) The judge is right. (2) Within a bin, what is observed is a fair sample of its
requests; audits are drawn at random. (3) A bin does not get worse: its errors in the past are at
least those to come. New entries bring a route nearer answers, yet questions may change for the
worse: that is what `audit` is for, which assumes none of this. (4) The logistic law is **not**
assumed: were the score noise, nothing would be served. (5) Only where a prior of the tenant's other
routes is given: they err alike at like scores; their observations count by half, at most
`PRIOR_MAX`, and not at all once the route's own observations contradict them. Without that
assumption no method can promise 1 % after tens of observations: it takes 299 right ones in a row
to say so with 95 % confidence.
"""

from __future__ import annotations

from math import log
from typing import Final

import msgspec

from selvedge.cache.bounds import at_least, weighted_at_most
from selvedge.cache.deciding import Pair, Verdict
from selvedge.cache.scoring import Fitted, Scoring

BINS: Final = 90
"""Of a tenth in log-odds each, the first from 0 down, the last from 8.9 up."""
PRIOR_MAX: Final = 1000.0
"""What other routes' observations count for at most, in observations."""
_PRIOR_PART: Final = 0.5
_STARTS: Final = (1.2, 2.5, 5.0)
"""Where sequences start: at so many times the observations that would do if none was wrong."""
_LATER: Final = 1.3
"""From one look to the next, in observations."""
_FIRST: Final = 2.0
"""The first look, in what would do if none was wrong; with a prior, at `_FIRST_WITH_PRIOR`."""
_FIRST_WITH_PRIOR: Final = 30

_NEVER: Final = 1e9


class _Kept(msgspec.Struct, array_like=True):
    version: int
    fitted: Fitted
    asked: list[float]
    seen: list[float]
    wrong: list[float]
    looks: int
    next_look: int
    threshold: float
    bound: float
    prior: list[list[float]]


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
        self.asked = [0.0] * BINS
        self.seen = [0.0] * BINS
        self.wrong = [0.0] * BINS
        self.looks = 0
        self.threshold = _NEVER
        self.bound = 0.0
        self.prior: list[list[float]] = []
        if kept:
            self._load(kept)
            return
        other = _decode(prior) if prior else None
        self.scoring = Scoring(prior=other.fitted if other else None)
        self.next_look = round(_FIRST * needed(wrong_max, self.alpha / 2))
        if other is not None and sum(other.seen) > 0.0:
            part = min(_PRIOR_PART, PRIOR_MAX / sum(other.seen))
            self.prior = [[part * count for count in row] for row in (other.seen, other.wrong)]
            self.next_look = _FIRST_WITH_PRIOR

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
        seen = sum(self.seen)
        if seen >= self.next_look:
            self.looks += 1
            self.next_look = max(self.next_look + 1, round(seen * _LATER))
            self._set_threshold()

    def inserts(self, correct: bool) -> bool:
        """Every miss: more questions of the same answer make the next ones surer."""
        return True

    def dump(self) -> bytes:
        """All of it; as a prior, without the entries."""
        kept = _Kept(
            1,
            self.scoring.dump(),
            self.asked,
            self.seen,
            self.wrong,
            self.looks,
            self.next_look,
            self.threshold,
            self.bound,
            self.prior,
        )
        return msgspec.msgpack.encode(kept)

    def _load(self, kept: bytes) -> None:
        state = _decode(kept)
        self.scoring = Scoring(state.fitted)
        self.asked, self.seen, self.wrong = state.asked, state.seen, state.wrong
        self.looks, self.next_look = state.looks, state.next_look
        self.threshold, self.bound, self.prior = state.threshold, state.bound, state.prior

    def _set_threshold(self) -> None:
        """The lowest threshold that any of the sequences reaches."""
        level = self.alpha / (self.looks * (self.looks + 1)) / len(_STARTS)
        enough = needed(self.wrong_max, level)
        self.threshold, self.bound = _NEVER, 0.0
        number, seen = BINS, 0.0
        lowest = BINS
        for start in _STARTS:
            while number > 0 and seen < start * enough:
                number -= 1
                seen += self._seen(number)
            if seen < start * enough:
                break
            at = min(number, lowest)
            while at > 0 and (bound := self._at_most(at, level)) <= self.wrong_max:
                lowest, self.bound = at, 1.0 - bound
                at -= 1
        if lowest < BINS:
            self.threshold = lowest / 10.0

    def _seen(self, number: int) -> float:
        return self.seen[number] + (self.prior[0][number] if self.prior else 0.0)

    def _at_most(self, lowest: int, level: float) -> float:
        """The upper bound of the wrong share among what scores in ``lowest`` or above."""
        own_seen, own_wrong = sum(self.seen[lowest:]), sum(self.wrong[lowest:])
        prior = self.prior
        if prior and at_least(int(own_wrong), int(own_seen), level) > self.wrong_max:
            prior = []
        total = sum(self.asked[lowest:]) + (sum(prior[0][lowest:]) if prior else 0.0)
        strata: list[tuple[float, float]] = []
        for number in range(lowest, BINS):
            more = prior[0][number] if prior else 0.0
            asked, seen = self.asked[number] + more, self.seen[number] + more
            if asked <= 0.0:
                continue
            weight = asked / total / max(seen, 0.5)
            strata.append((weight, self.wrong[number] + (prior[1][number] if prior else 0.0)))
        return weighted_at_most(strata, level)


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
