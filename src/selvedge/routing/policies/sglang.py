"""SGLang's cache-aware router: the best match while loads are even, the shortest queue else.

smg `model_gateway/src/policies/cache_aware.rs`: where max - min > abs and max > rel x min, the
shortest queue; else the best radix-tree match if above ``match_share`` of the prompt, else the one
with the smallest tree. Simplified: the tree is the trail of what went from here, the smallest tree
is the shortest queue, and load is what runs and waits, as reported. No round trips: nearer if even.
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


class CacheAwareKnobs(Value, frozen=True):
    """Its documented defaults."""

    match_share: float = 0.3
    balance_abs: float = 64
    balance_rel: float = 1.5


class CacheAware:
    """Cache-aware while balanced."""

    def __init__(self, knobs: CacheAwareKnobs | None = None, seed: str = "") -> None:
        del seed
        self._knobs = knobs or CacheAwareKnobs()
        self._trail = Trail()

    def order(
        self,
        facts: Ask,
        shortlist: Sequence[Candidate],
        signals: Signals | None,
        load: Load,
        now_us: int,
    ) -> list[Attempt]:
        """By the regime that the loads are in."""
        knobs = self._knobs
        trail = self._trail.find(facts.prefix)
        seen = survey(facts, shortlist, signals, load, now_us, trail=trail)
        for one in seen:
            one.cost = one.queue
        least, most = min(one.cost for one in seen), max(one.cost for one in seen)
        uneven = most - least > knobs.balance_abs and most > knobs.balance_rel * least
        seen.sort(key=lambda one: (one.cost, one.candidate.rtt_us))
        best = max(seen, key=lambda one: one.blocks)
        why = "shortest queue"
        if not uneven and best.blocks / max(1, len(facts.prefix)) > knobs.match_share:
            seen.remove(best)
            seen.insert(0, best)
            why = "best match"
        self._trail.mark(facts.prefix, seen[0].candidate, now_us)
        return predictions(seen, why)
