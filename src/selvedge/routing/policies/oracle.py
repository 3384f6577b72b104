"""What one decision at a time could have: each candidate's time to first token, from exact state.

The same interface as every policy: whoever runs it hands in `Signals` that know the present and how
long each answer will be (the simulator does; nobody else can). No shortlist, no price, no
stickiness, no lot. It is greedy: the least time for this request, plus ``crowd_us`` for each answer
that runs there, which stands for what the choice costs those who come later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from selvedge.fabric import Ask
from selvedge.fabric.value import Value
from selvedge.routing.attempts import Attempt, Candidate
from selvedge.routing.load import Load
from selvedge.routing.policies.ordering import Seen, predictions, survey
from selvedge.routing.signals import Foresight, Signals

_US_PER_S: Final = 1_000_000


class OracleKnobs(Value, frozen=True):
    """``answer_us``: how long an answer holds its slot; ``crowd_us``: what each one adds."""

    answer_us: int = 5_000_000
    crowd_us: int = 20_000


class Oracle:
    """The least time to first token, from full fresh state."""

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
        """By time to first token."""
        seen = survey(facts, shortlist, signals, load, now_us, trail=(None, 0))
        for one in seen:
            sight = one.sight
            over = sight.running + 1 - sight.slots if sight.known else 0
            slot = max(0, over) * self._knobs.answer_us / max(1, sight.slots)
            tokens = sight.waiting + one.uncached
            one.cost = one.candidate.rtt_us + tokens * _US_PER_S / sight.rate + slot
            one.cost += sight.running * self._knobs.crowd_us
        seen.sort(key=lambda one: (one.cost, one.candidate.rtt_us))
        if isinstance(signals, Foresight):
            seen = self._foreseen(facts, seen, signals)
        return predictions(seen, "fresh state")

    def _foreseen(self, facts: Ask, seen: list[Seen], signals: Foresight) -> list[Seen]:
        """The candidates that are asked for the exact time, by it; the rest behind them.

        Who could not be the best, with nothing before it in an engine that does nothing else, is
        not asked: the sum above is never much less than what comes.
        """
        best = float("inf")
        asked: list[Seen] = []
        rest: list[Seen] = []
        for one in seen:
            candidate, sight = one.candidate, one.sight
            aside = candidate.rtt_us + sight.running * self._knobs.crowd_us
            if aside + one.uncached * _US_PER_S / candidate.rate >= best:
                rest.append(one)
                continue
            tokens = facts.prompt_bytes // 4
            one.cost = aside + float(signals.first_token_us(candidate.pop, facts, tokens))
            best = min(best, one.cost)
            asked.append(one)
        asked.sort(key=lambda one: (one.cost, one.candidate.rtt_us))
        return asked + rest
