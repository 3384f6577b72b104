"""LMetric with round trips: least (new prefill tokens x batch size), then distance as time.

arXiv 2603.15202: argmin of uncached prompt tokens, those that wait included, times the batch size;
no knobs. It is made for one place; across PoPs its product has no unit to which a round trip could
be added. Here the round trip counts as the prompt tokens that could have been prefilled meanwhile,
times ``rtt_weight``. Simplified: batch size is what runs, as reported, with own requests since.
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


class LMetricKnobs(Value, frozen=True):
    """``rtt_weight``: 0 is the paper's own."""

    rtt_weight: float = 1.0


class LMetric:
    """LMetric, with round trips as tokens."""

    def __init__(self, knobs: LMetricKnobs | None = None, seed: str = "") -> None:
        del seed
        self._knobs = knobs or LMetricKnobs()
        self._trail = Trail()

    def order(
        self,
        facts: Ask,
        shortlist: Sequence[Candidate],
        signals: Signals | None,
        load: Load,
        now_us: int,
    ) -> list[Attempt]:
        """By the product."""
        trail = self._trail.find(facts.prefix)
        seen = survey(facts, shortlist, signals, load, now_us, trail=trail)
        for one in seen:
            way = one.candidate.rtt_us * one.sight.rate / 1e6 * self._knobs.rtt_weight
            one.cost = (one.sight.waiting + one.uncached + way) * (one.sight.running + 1)
        seen.sort(key=lambda one: (one.cost, one.candidate.rtt_us))
        self._trail.mark(facts.prefix, seen[0].candidate, now_us)
        return predictions(seen, "least tokens x batch")
