"""One candidate as it is known now: its newest report, how old that is, what it holds.

The terms that every policy is made of, so that a comparison compares policies and not what they
were told. Times are microseconds, work is prompt tokens.
"""

from __future__ import annotations

from selvedge.fabric import Ask
from selvedge.routing.attempts import Candidate, block_tokens_of, prompt_tokens_of
from selvedge.routing.load import Entered, Load
from selvedge.routing.signals import ModelReport, Report, Signals
from selvedge.routing.told import Told


def take_apart(report: Report, of_model: ModelReport) -> Told:
    """What a report says of one of its models."""
    told = Told(report.at_us, report.reserve, of_model.prefill_tokens_per_s)
    told.waiting = of_model.waiting_tokens
    told.running = of_model.running
    told.slots = of_model.slots
    told.residence_us = of_model.residence_ms * 1000
    kv_tokens: int = of_model.kv_tokens
    told.kv_tokens = kv_tokens
    told.kv_free_share = of_model.kv_free
    free = int(kv_tokens * of_model.kv_free)
    told.kv_free = free - of_model.kv_wanted
    told.kv_held = kv_tokens - free
    return told


class Case:
    """One request, and all that is known when it is routed."""

    __slots__ = (
        "ask",
        "block_tokens",
        "entered",
        "load",
        "model",
        "now_us",
        "prefix",
        "signals",
        "tokens",
    )

    def __init__(self, ask: Ask, signals: Signals | None, load: Load, now_us: int) -> None:
        self.ask = ask
        self.model: str = ask.model
        self.prefix: tuple[int, ...] = ask.prefix
        self.signals = signals
        self.load = load
        self.now_us = now_us
        self.tokens: int = prompt_tokens_of(ask, load.bytes_per_token)
        entered = load.entered
        self.entered: dict[str, Entered] = entered if isinstance(entered, dict) else {}
        self.block_tokens: int = block_tokens_of(ask, load.bytes_per_token) if ask.prefix else 0

    def claimed(self, one: Candidate) -> int:
        """Blocks of the prefix that a candidate's digest claims."""
        assert self.signals is not None, "somebody reports"
        return self.signals.matched(one.pop, self.model, self.prefix, self.now_us)

    def uncached(self, blocks: int) -> int:
        """Prompt tokens left to prefill where so many blocks are held; the last token always is."""
        return max(1, self.tokens - blocks * self.block_tokens)


class Sight:
    """What is known of one candidate."""

    __slots__ = ("age_us", "known", "kv_free", "rate", "reserve", "running", "slots", "waiting")

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.known = False
        """Whether there is a report that is not too old."""
        self.age_us = 0
        self.waiting = 0
        """Prompt tokens before this one: as reported, with what was sent since and is not in it."""
        self.running = 0
        """Answers being decoded, with requests sent since."""
        self.slots = 0
        self.kv_free = 1.0
        self.reserve = 1.0


def look(case: Case, one: Candidate, stale_us: int) -> Sight:
    """A candidate's newest report with own un-acknowledged work; without one, own in-flight."""
    sight = Sight(one.rate)
    signals = case.signals
    told = signals.told(one.pop, case.model, case.now_us) if signals is not None else None
    if told is not None:
        age_us = case.now_us - told.at_us
        if age_us <= stale_us:
            # What left here after this cannot have been there when the report was made.
            tokens, requests = sent_since(case.load, one, told.at_us - one.rtt_us // 2)
            sight.known = True
            sight.reserve = told.reserve
            sight.age_us = age_us
            sight.rate = told.rate
            sight.waiting = told.waiting + tokens
            sight.running = told.running + requests
            sight.slots = told.slots
            sight.kv_free = told.kv_free_share
            return sight
    elif signals is not None:
        report = signals.report(one.pop, case.now_us)
        if report is not None and case.now_us - report.at_us <= stale_us:
            sight.reserve = report.reserve
    sight.waiting = in_flight(case.load, one)
    return sight


def sent_since(load: Load, one: Candidate, at_us: int) -> tuple[int, int]:
    """Tokens and requests that left here for a candidate after ``at_us``."""
    if not one.seats:
        return load.since(one.pop, at_us)
    tokens, requests = 0, 0
    for seat in one.seats:
        more_tokens, more_requests = load.since(seat.place, at_us)
        tokens += more_tokens
        requests += more_requests
    return tokens, requests


def in_flight(load: Load, one: Candidate) -> int:
    """Tokens on their way from here; to this PoP itself, at the engine that has least."""
    in_flight = load.tokens_in_flight
    if not one.seats:
        return in_flight.get(one.pop, 0)
    return min([in_flight.get(seat.place, 0) for seat in one.seats])


def held(case: Case, one: Candidate, trail: tuple[Candidate | None, int]) -> int:
    """Blocks that a candidate holds: by its digest, or because they went there from here."""
    if not case.prefix:
        return 0
    blocks = trail[1] if trail[0] is one else 0
    if case.signals is None:
        return blocks
    return max(blocks, case.signals.matched(one.pop, case.model, case.prefix, case.now_us))
