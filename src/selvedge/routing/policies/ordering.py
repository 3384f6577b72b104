"""What the compared policies share: the same sight of every candidate, the same form of answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from selvedge.fabric import Ask
from selvedge.routing.attempts import ATTEMPTS_MAX, Attempt, Candidate, Draws
from selvedge.routing.load import Load
from selvedge.routing.sight import Case, Sight, held, look
from selvedge.routing.signals import Signals

STALE_US: Final = 15_000_000


class Seen:
    """A candidate with what is known of it, and what of the prompt it holds."""

    __slots__ = ("blocks", "candidate", "cost", "queue", "sight", "uncached")

    def __init__(self, case: Case, candidate: Candidate, sight: Sight, blocks: int) -> None:
        self.candidate = candidate
        self.sight = sight
        self.blocks = blocks
        self.uncached = case.uncached(blocks)
        self.queue = sight.running + sight.waiting / case.tokens
        """Requests that run and wait, where those that wait are like this one."""
        self.cost = 0.0


def survey(
    facts: Ask,
    shortlist: Sequence[Candidate],
    signals: Signals | None,
    load: Load,
    now_us: int,
    *,
    stale_us: int = STALE_US,
    trail: tuple[Candidate | None, int] | None = None,
) -> list[Seen]:
    """Every candidate as it is known now; with a ``trail``, what it holds, too."""
    case = Case(facts, signals, load, now_us)
    seen = []
    for one in shortlist:
        blocks = 0 if trail is None else held(case, one, trail)
        seen.append(Seen(case, one, look(case, one, stale_us), blocks))
    return seen


def seconds_waiting(one: Seen) -> float:
    """Reported and own work before this request, as time."""
    return one.sight.waiting / one.sight.rate


def attempts(ordered: Sequence[Candidate], why: str) -> list[Attempt]:
    """The first few as attempts that predict a round trip and nothing more."""
    return [
        Attempt(one.pop, one.country, None, one.rtt_us, f"{why}: rtt {one.rtt_us // 1000} ms")
        for one in ordered[:ATTEMPTS_MAX]
    ]


def predictions(ordered: Sequence[Seen], why: str) -> list[Attempt]:
    """The first few as attempts with the times that their sight gives."""
    found = []
    for one in ordered[:ATTEMPTS_MAX]:
        rtt_us, rate = one.candidate.rtt_us, one.sight.rate
        wait_us = one.sight.waiting * 1_000_000 // rate
        prefill_us = one.uncached * 1_000_000 // rate
        said = f"{why}: rtt {rtt_us // 1000} ms + wait {wait_us // 1000} ms"
        said += f" + prefill {prefill_us // 1000} ms"
        pop, country = one.candidate.pop, one.candidate.country
        found.append(Attempt(pop, country, None, rtt_us + wait_us + prefill_us, said, wait_us))
    return found


def drawn(shortlist: Sequence[Candidate], draws: Draws) -> list[Candidate]:
    """Some of the shortlist by lot, none twice."""
    left = list(shortlist)
    found: list[Candidate] = []
    while left and len(found) < ATTEMPTS_MAX:
        at = draws.below(len(left))
        found.append(left[at])
        left[at] = left[-1]
        left.pop()
    return found
