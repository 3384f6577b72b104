"""The second level: which engine of this PoP, with exact state.

A PoP knows its own engines as no ingress can: what waits, what runs, which blocks are held. The
form is that of the first level (predicted time to first token), without round trip, age or price.
"""

from __future__ import annotations

from typing import Final

from selvedge.routing.attempts import Attempt, Candidate, Seat
from selvedge.routing.load import Load
from selvedge.routing.sight import Case
from selvedge.routing.signals import EngineStates, ModelReport

ANSWER_US: Final = 5_000_000


def rank_engines(case: Case, here: Candidate, states: EngineStates | None) -> list[Attempt]:
    """A PoP's own engines, or a provider's, for a request, the soonest first; who cools comes last.

    ``states`` are of engines here.
    """
    found = [_attempt(case, here, seat, states) for seat in here.seats]
    if len(found) > 1:
        cooling = case.load.cooling
        places = {seat.engine: seat.place for seat in here.seats}
        keyed = [
            (places[one.engine or ""] in cooling, one.ttft_us, at) for at, one in enumerate(found)
        ]
        keyed.sort()
        found = [found[at] for _, _, at in keyed]
    return found


def is_cooling(load: Load, one: Candidate) -> bool:
    """Whether a PoP is to be left alone: itself, or every engine of this PoP."""
    if not one.seats:
        return one.pop in load.cooling
    return all(seat.place in load.cooling for seat in one.seats)


def slots_us(report: ModelReport) -> int:
    """Predicted wait for a slot: nothing while one is free and, where only its share is known, so
    is memory.

    All run alike, so one of ``n`` answers ends every ``ANSWER_US / n``; each that is already over
    the slots waits for one such end, and so does this one.
    """
    over = report.running + 1 - report.slots
    if over <= 0:
        if report.kv_free > 0 or not report.running or report.kv_tokens:
            return 0
        over = 1
    return over * ANSWER_US // max(1, min(report.slots, report.running))


def memory_us(report: ModelReport, tokens: int) -> int:
    """Predicted wait for memory: answers free all they hold in the time that one stays."""
    free = int(report.kv_tokens * report.kv_free)
    lack, held = report.kv_wanted + tokens - free, report.kv_tokens - free
    if not report.kv_tokens or lack <= 0 or held <= 0:
        return 0
    return lack * (report.residence_ms * 1000 or ANSWER_US) // held


def _attempt(case: Case, here: Candidate, seat: Seat, states: EngineStates | None) -> Attempt:
    waiting, rate, slots, blocks = case.load.tokens_in_flight.get(seat.place, 0), seat.rate, 0, 0
    state = states.state(seat.engine, case.model, case.prefix) if states is not None else None
    if state is not None:
        waiting, rate = state.load.waiting_tokens, state.load.prefill_tokens_per_s
        slots = slots_us(state.load) + memory_us(state.load, case.tokens)
        blocks = state.matched
    wait_us = waiting * 1_000_000 // rate + slots
    prefill_us = case.uncached(blocks) * 1_000_000 // rate
    return Attempt(
        here.pop,
        here.country,
        seat.engine,
        here.rtt_us + wait_us + prefill_us,
        words(here.rtt_us, wait_us, prefill_us, case.tokens - case.uncached(blocks)),
        wait_us,
    )


def words(rtt_us: int, wait_us: int, prefill_us: int, cached: int) -> str:
    """A prediction in words."""
    said = f"rtt {rtt_us // 1000} ms + wait {wait_us // 1000} ms + prefill {prefill_us // 1000} ms"
    return f"{said} ({cached} tokens held)" if cached > 0 else said
