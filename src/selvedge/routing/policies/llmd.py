"""llm-d's router: sticky until saturated, and the scorers that its published tables compare.

llm-d-inference-scheduler, `pkg/epp/framework/plugins/scheduling`, and its blog of 2026-08-17.
*Sticky until saturated*: keep who has a prefix score of at least 0.8; take the one with the least
(uncached tokens in flight + this prompt's); break off where it has more than tau = R_peak x T_max
tokens more in flight than the coldest. *Scorers*: prefix score (matched / all blocks) + queue
score, each scaled to 0..1 over the candidates, weights 2 and 1 to begin with; `precise` knows what
is held from the engines' events, `estimated` from what it sent itself, `load` has no prefix score.
Simplified: the rate of tau is the reported one; KV utilisation and queue depth are one queue score.
It has no round trips: ``rtt_weight`` adds them, in the unit of its own rule; 0 is as published.
"""

from __future__ import annotations

from collections.abc import Sequence

from selvedge.fabric import Ask
from selvedge.fabric.value import Value
from selvedge.routing.attempts import Attempt, Candidate
from selvedge.routing.load import Load
from selvedge.routing.policies.ordering import Seen, predictions, survey
from selvedge.routing.signals import Signals
from selvedge.routing.trail import Trail


class StickyKnobs(Value, frozen=True):
    """``tau_s``: T_max, how much later a warm one may be; ``rtt_weight``: tokens a round trip."""

    prefix_score: float = 0.8
    tau_s: float = 1.0
    rtt_weight: float = 0.0


class StickyUntilSaturated:
    """llm-d's default."""

    def __init__(self, knobs: StickyKnobs | None = None, seed: str = "") -> None:
        del seed
        self._knobs = knobs or StickyKnobs()
        self._trail = Trail()

    def order(
        self,
        facts: Ask,
        shortlist: Sequence[Candidate],
        signals: Signals | None,
        load: Load,
        now_us: int,
    ) -> list[Attempt]:
        """The least loaded warm one; the least loaded of all where that is too far behind."""
        knobs = self._knobs
        trail = self._trail.find(facts.prefix)
        seen = survey(facts, shortlist, signals, load, now_us, trail=trail)
        for one in seen:
            way = one.candidate.rtt_us * one.sight.rate / 1e6 * knobs.rtt_weight
            one.cost = one.sight.waiting + one.uncached + way
        seen.sort(key=lambda one: (one.cost, one.candidate.rtt_us))
        count = len(facts.prefix)
        warm = [one for one in seen if count and one.blocks / count >= knobs.prefix_score]
        why = "least tokens"
        if warm:
            coldest = min(one.sight.waiting for one in seen)
            if warm[0].sight.waiting - coldest <= warm[0].sight.rate * knobs.tau_s:
                seen.remove(warm[0])
                seen.insert(0, warm[0])
                why = "sticky"
        self._trail.mark(facts.prefix, seen[0].candidate, now_us)
        return predictions(seen, why)


class ScorerKnobs(Value, frozen=True):
    """Weights of the scores."""

    prefix_weight: float = 2.0
    queue_weight: float = 1.0
    rtt_weight: float = 0.0


class Scorers:
    """A weighted sum of scores. What it knows of prefixes depends on the row."""

    def __init__(self, knobs: ScorerKnobs | None = None, seed: str = "") -> None:
        del seed
        self._knobs = knobs or ScorerKnobs()
        self._trail = Trail()

    def order(
        self,
        facts: Ask,
        shortlist: Sequence[Candidate],
        signals: Signals | None,
        load: Load,
        now_us: int,
    ) -> list[Attempt]:
        """By what the engines say they hold (`precise`)."""
        return self.score(survey(facts, shortlist, signals, load, now_us, trail=(None, 0)), facts)

    def estimate(
        self,
        facts: Ask,
        shortlist: Sequence[Candidate],
        signals: Signals | None,
        load: Load,
        now_us: int,
    ) -> list[Attempt]:
        """By what was sent from here (`estimated`)."""
        sent, blocks = self._trail.find(facts.prefix)
        seen = survey(facts, shortlist, signals, load, now_us)
        for one in seen:
            if one.candidate is sent:
                one.blocks = blocks
        found = self.score(seen, facts)
        self._trail.mark(facts.prefix, seen[0].candidate, now_us)
        return found

    def score(self, seen: list[Seen], facts: Ask) -> list[Attempt]:
        """The weighted sum, most first."""
        knobs, count = self._knobs, max(1, len(facts.prefix))
        queues = [one.queue for one in seen]
        least, most = min(queues), max(queues)
        farthest = max(1, max(one.candidate.rtt_us for one in seen))
        for one, queue in zip(seen, queues, strict=True):
            idle = (most - queue) / (most - least) if most > least else 1.0
            near = 1 - one.candidate.rtt_us / farthest
            one.cost = -(
                knobs.prefix_weight * one.blocks / count
                + knobs.queue_weight * idle
                + knobs.rtt_weight * near
            )
        seen.sort(key=lambda one: (one.cost, one.sight.waiting, one.candidate.rtt_us))
        return predictions(seen, "best score")


class Estimated:
    """The scorers with prefixes from what was sent from here."""

    def __init__(self, knobs: ScorerKnobs | None = None, seed: str = "") -> None:
        self._scorers = Scorers(knobs, seed)

    def order(
        self,
        facts: Ask,
        shortlist: Sequence[Candidate],
        signals: Signals | None,
        load: Load,
        now_us: int,
    ) -> list[Attempt]:
        """By the score."""
        return self._scorers.estimate(facts, shortlist, signals, load, now_us)


class LoadScorer:
    """The queue score alone."""

    def __init__(self, knobs: ScorerKnobs | None = None, seed: str = "") -> None:
        known = knobs or ScorerKnobs()
        self._scorers = Scorers(ScorerKnobs(0.0, known.queue_weight, known.rtt_weight), seed)

    def order(
        self,
        facts: Ask,
        shortlist: Sequence[Candidate],
        signals: Signals | None,
        load: Load,
        now_us: int,
    ) -> list[Attempt]:
        """By the score."""
        return self._scorers.score(survey(facts, shortlist, signals, load, now_us), facts)
