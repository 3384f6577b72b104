"""GORGO: round trip, queue and unmatched prefill in one sum; the closest published competitor.

arXiv 2602.11688. v2: cost = w_rtt x round trip + t_p x (w_queue x tokens queued and running +
unmatched), weights tuned (by an evolution strategy online; here by the grid). v1, as its code has
it: a peer's own queue is not in the peer's cost, and a request leaves only for a peer that costs
less than the local one. Simplified: t_p is one over the reported prefill rate; prompt tokens of
running answers are not reported, so what runs counts as ``running_tokens`` each.
"""

from __future__ import annotations

from collections.abc import Sequence

from selvedge.fabric import Ask
from selvedge.fabric.value import Value
from selvedge.routing.attempts import Attempt, Candidate
from selvedge.routing.load import Load
from selvedge.routing.policies.ordering import predictions, survey
from selvedge.routing.signals import Signals
from selvedge.routing.trail import Trail


class GorgoKnobs(Value, frozen=True):
    """The weights."""

    rtt_weight: float = 1.0
    queue_weight: float = 1.0
    running_tokens: int = 0
    peers_queue: bool = True
    """Whether a peer's queue counts: v1 leaves it out."""


class Gorgo:
    """The sum, with a peer's queue (v2)."""

    def __init__(self, knobs: GorgoKnobs | None = None, seed: str = "") -> None:
        del seed
        self._knobs = knobs or GorgoKnobs()
        self._trail = Trail()

    def order(
        self,
        facts: Ask,
        shortlist: Sequence[Candidate],
        signals: Signals | None,
        load: Load,
        now_us: int,
    ) -> list[Attempt]:
        """By the sum."""
        knobs = self._knobs
        trail = self._trail.find(facts.prefix)
        seen = survey(facts, shortlist, signals, load, now_us, trail=trail)
        for at, one in enumerate(seen):
            queued = one.sight.waiting + knobs.running_tokens * one.sight.running
            if at and not knobs.peers_queue:
                queued = 0
            tokens = knobs.queue_weight * queued + one.uncached
            one.cost = knobs.rtt_weight * one.candidate.rtt_us + tokens * 1e6 / one.sight.rate
        seen.sort(key=lambda one: (one.cost, one.candidate.rtt_us))
        self._trail.mark(facts.prefix, seen[0].candidate, now_us)
        return predictions(seen, "least sum")


class GorgoFirst:
    """v1: the nearest is local, and the only one whose queue is seen."""

    def __init__(self, knobs: GorgoKnobs | None = None, seed: str = "") -> None:
        known = knobs or GorgoKnobs()
        self._sum = Gorgo(
            GorgoKnobs(known.rtt_weight, known.queue_weight, known.running_tokens, False), seed
        )

    def order(
        self,
        facts: Ask,
        shortlist: Sequence[Candidate],
        signals: Signals | None,
        load: Load,
        now_us: int,
    ) -> list[Attempt]:
        """By the sum without the peers' queues."""
        return self._sum.order(facts, shortlist, signals, load, now_us)
