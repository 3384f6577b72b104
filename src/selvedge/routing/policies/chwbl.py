"""Consistent hashing with bounded loads, as KubeAI's PrefixHash and Ray use it.

Mirrokni, Thorup, Zadimoghaddam (SODA 2018): a prefix's owner takes it unless it has more than
``load_factor`` times the mean load, then the next on the ring. KubeAI: hash of the first 100
characters, 256 virtual nodes, factor 1.25. Simplified: rendezvous order in place of a ring with
virtual nodes (the same distribution, no ring to keep), the first block of bytes in place of 100
characters, load is answers under way and prompts that wait, as reported.
"""

from __future__ import annotations

from collections.abc import Sequence

from selvedge.fabric import Ask
from selvedge.fabric.value import Value
from selvedge.routing.attempts import Attempt, Candidate, Draws, fold, mix
from selvedge.routing.load import Load
from selvedge.routing.policies.ordering import predictions, survey
from selvedge.routing.signals import Signals


class ChwblKnobs(Value, frozen=True):
    """``nearest``: the ring has so many nearest candidates; 0: all."""

    load_factor: float = 1.25
    nearest: int = 0


class Chwbl:
    """Consistent hashing with bounded loads."""

    def __init__(self, knobs: ChwblKnobs | None = None, seed: str = "") -> None:
        self._knobs = knobs or ChwblKnobs()
        self._draws = Draws(f"chwbl/{seed}")

    def order(
        self,
        facts: Ask,
        shortlist: Sequence[Candidate],
        signals: Signals | None,
        load: Load,
        now_us: int,
    ) -> list[Attempt]:
        """The owner of the prefix, or the next in its order whose load is within bounds."""
        ring = shortlist[: self._knobs.nearest] if self._knobs.nearest else shortlist
        block = fold(facts.prefix[0]) if facts.prefix else self._draws.below(1 << 30)
        seen = survey(facts, ring, signals, load, now_us)
        for one in seen:
            one.cost = one.queue
        bound = self._knobs.load_factor * (sum(one.cost for one in seen) + 1) / len(seen)
        seen.sort(key=lambda one: -mix(one.candidate.seed, block))
        within = [one for one in seen if one.cost + 1 <= max(1.0, bound)]
        over = [one for one in seen if one.cost + 1 > max(1.0, bound)]
        return predictions(within + over, "owner within bounds")
