"""Policies without affinity: where every comparison begins.

`random`, `round-robin` and `nearest` know nothing of load; `least-load` takes the fewest waiting
tokens a unit of rate; `power-of-two` the better of two drawn (Mitzenmacher 2001, "The Power of Two
Choices in Randomized Load Balancing": robust to reports that are old). Simplified: nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from selvedge.fabric import Ask
from selvedge.fabric.value import Value
from selvedge.routing.attempts import Attempt, Candidate, Draws
from selvedge.routing.load import Load
from selvedge.routing.policies.ordering import attempts, drawn, seconds_waiting, survey
from selvedge.routing.signals import Signals


class NoKnobs(Value, frozen=True):
    """Nothing to tune."""


class Random:
    """Any, by lot."""

    def __init__(self, knobs: NoKnobs | None = None, seed: str = "") -> None:
        self._draws = Draws(f"random/{seed}")

    def order(
        self,
        facts: Ask,
        shortlist: Sequence[Candidate],
        signals: Signals | None,
        load: Load,
        now_us: int,
    ) -> list[Attempt]:
        """Three drawn."""
        return attempts(drawn(shortlist, self._draws), "by lot")


class RoundRobin:
    """Each in its turn. Ingresses begin at different ones."""

    def __init__(self, knobs: NoKnobs | None = None, seed: str = "") -> None:
        self._next = Draws(f"round-robin/{seed}").below(1 << 20)

    def order(
        self,
        facts: Ask,
        shortlist: Sequence[Candidate],
        signals: Signals | None,
        load: Load,
        now_us: int,
    ) -> list[Attempt]:
        """The next three."""
        self._next += 1
        count = len(shortlist)
        turns = [shortlist[(self._next + more) % count] for more in range(min(3, count))]
        return attempts(turns, "in turn")


class Nearest:
    """The least round trip."""

    def __init__(self, knobs: NoKnobs | None = None, seed: str = "") -> None:
        del knobs, seed

    def order(
        self,
        facts: Ask,
        shortlist: Sequence[Candidate],
        signals: Signals | None,
        load: Load,
        now_us: int,
    ) -> list[Attempt]:
        """The nearest three."""
        return attempts(shortlist, "nearest")


class LeastLoad:
    """The least reported wait, with own un-acknowledged work; nearer where equal."""

    def __init__(self, knobs: NoKnobs | None = None, seed: str = "") -> None:
        del knobs, seed

    def order(
        self,
        facts: Ask,
        shortlist: Sequence[Candidate],
        signals: Signals | None,
        load: Load,
        now_us: int,
    ) -> list[Attempt]:
        """By wait."""
        seen = survey(facts, shortlist, signals, load, now_us)
        seen.sort(key=lambda one: (seconds_waiting(one), one.sight.running, one.candidate.rtt_us))
        return attempts([one.candidate for one in seen], "least load")


class PowerOfTwo:
    """The less loaded of two drawn."""

    def __init__(self, knobs: NoKnobs | None = None, seed: str = "") -> None:
        self._draws = Draws(f"power-of-two/{seed}")

    def order(
        self,
        facts: Ask,
        shortlist: Sequence[Candidate],
        signals: Signals | None,
        load: Load,
        now_us: int,
    ) -> list[Attempt]:
        """Two drawn, the less loaded first; then a third."""
        lots = drawn(shortlist, self._draws)
        seen = survey(facts, lots[:2], signals, load, now_us)
        seen.sort(key=lambda one: (seconds_waiting(one), one.sight.running))
        return attempts([one.candidate for one in seen] + lots[2:], "the better of two")
