"""What could be had at best by one decision at a time: the same sum, over all, with fresh state.

The same interface as every policy: whoever runs it hands in `Signals` whose reports are of this
moment and whose matches are exact (the simulator does; nobody else can). No shortlist, no price, no
stickiness, no lot: the least predicted time to first token of every candidate.
"""

from __future__ import annotations

from collections.abc import Sequence

from selvedge.fabric import Ask
from selvedge.fabric.value import Value
from selvedge.routing.attempts import Attempt, Candidate
from selvedge.routing.load import Load
from selvedge.routing.policies.ordering import predictions, survey
from selvedge.routing.signals import Signals


class OracleKnobs(Value, frozen=True):
    """``answer_us``: how long an answer holds its slot; ``crowd_us``: what each one adds."""

    answer_us: int = 5_000_000
    crowd_us: int = 20_000


class Oracle:
    """The least predicted time to first token, from full fresh state."""

    def __init__(self, knobs: OracleKnobs | None = None, seed: str = "") -> None:
        del seed
        self._knobs = knobs or OracleKnobs()

    def order(
        self,
        facts: Ask,
        shortlist: Sequence[Candidate],
        signals: Signals | None,
        load: Load,
        now_us: int,
    ) -> list[Attempt]:
        """By predicted time to first token."""
        seen = survey(facts, shortlist, signals, load, now_us, trail=(None, 0))
        for one in seen:
            sight = one.sight
            over = sight.running + 1 - sight.slots if sight.known else 0
            slot = max(0, over) * self._knobs.answer_us / max(1, sight.slots)
            slot += sight.running * self._knobs.crowd_us
            tokens = sight.waiting + one.uncached
            one.cost = one.candidate.rtt_us + tokens * 1e6 / sight.rate + slot
        seen.sort(key=lambda one: (one.cost, one.candidate.rtt_us))
        return predictions(seen, "fresh state")
