"""Ours: the least predicted time to first token, kept where the prefix is, spread where it is even.

    cost = round trip + wait + slot + prefill + price

- wait: reported tokens, less what the PoP has done since, plus what left here since, over its rate;
- slot: where all slots run, the time until one ends;
- prefill: the prompt without what is held there, over the rate;
- price: of the content's headroom, a time that grows without bound as the reserve goes to zero.

A warm PoP is left only where it costs more than ``tau_us`` beyond the best. Among those that cost
nearly the same, the rendezvous owner of the prefix takes it, else the better of two drawn: a
thousand ingresses that read the same report must not all go to the same PoP. The formulas and what
they rest on are in docs/routing.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from selvedge.fabric import Ask
from selvedge.fabric.value import Value
from selvedge.routing.attempts import ATTEMPTS_MAX, Attempt, Candidate, Draws, fold, mix
from selvedge.routing.engines import words
from selvedge.routing.load import Load
from selvedge.routing.sight import Case, sent_since
from selvedge.routing.signals import Signals
from selvedge.routing.trail import Trail

_NEVER: Final = 1 << 60


class PredictiveKnobs(Value, frozen=True):
    """What may be tuned. Times are microseconds."""

    tau_us: int = 30_000
    """How much more a warm PoP may cost than the best."""
    band_us: int = 4_000
    band_share: float = 0.05
    """Costs within this of the best are the same, as far as is known."""
    nearest: int = 12
    """Candidates that are always looked at; digests come from no farther."""
    owners: int = 12
    """Among how many nearest a prefix has its rendezvous owner."""
    looks_max: int = 64
    """Candidates looked at in all: farther ones only while their round trip is below the best."""
    stale_us: int = 15_000_000
    """A report older than this is not believed."""
    prior_us: int = 300_000
    """The wait assumed where nothing is known, though others report."""
    drain: float = 0.8
    """Share of its rate at which a PoP's reported wait shrinks: others send meanwhile."""
    answer_us: int = 5_000_000
    """How long an answer holds its slot."""
    kv_low: float = 0.02
    """Share of free KV blocks below which none is free for one more."""
    reserve_low: float = 0.2
    """The content reserve below which headroom has a price."""
    price_us: int = 50_000
    """Its price at half of ``reserve_low``."""


class _Scored:
    """A candidate and what it is predicted to cost."""

    __slots__ = ("blocks", "candidate", "cost", "prefill", "price", "ttft", "wait")

    def __init__(self, candidate: Candidate, blocks: int) -> None:
        self.candidate = candidate
        self.blocks = blocks
        self.wait = 0
        self.prefill = 0
        self.ttft = 0
        self.price = 0
        self.cost = _NEVER


class Predictive:
    """The policy that is used unless a release or a scenario names another."""

    def __init__(self, knobs: PredictiveKnobs | None = None, seed: str = "") -> None:
        known = knobs or PredictiveKnobs()
        # Read out once: fields of a struct are not fields of a compiled class.
        self._tau_us: int = known.tau_us
        self._band_us: int = known.band_us
        self._band_share: float = known.band_share
        self._nearest: int = known.nearest
        self._owners: int = known.owners
        self._looks_max: int = known.looks_max
        self._stale_us: int = known.stale_us
        self._prior_us: int = known.prior_us
        self._drain: float = known.drain
        self._answer_us: int = known.answer_us
        self._kv_low: float = known.kv_low
        self._reserve_low: float = known.reserve_low
        self._price_us: int = known.price_us
        self._draws = Draws(f"predictive/{seed}")
        self._trail = Trail()

    def order(
        self,
        facts: Ask,
        shortlist: Sequence[Candidate],
        signals: Signals | None,
        load: Load,
        now_us: int,
    ) -> list[Attempt]:
        """The best of the shortlist, which is sorted by round trip; none has headroom: none."""
        case = Case(facts, signals, load, now_us)
        owner = self._owner(case, shortlist)
        scored = self._score_all(case, shortlist, owner)
        if not scored:
            return []
        chosen, why = self._choose(scored, owner)
        if case.prefix:
            self._trail.mark(case.prefix, chosen.candidate.pop, now_us)
        if len(scored) > 1:
            scored.sort(key=_cost)
        attempts = [self._attempt(case, chosen, why)]
        for one in scored:
            if len(attempts) == ATTEMPTS_MAX:
                break
            if one is not chosen:
                attempts.append(self._attempt(case, one, "next"))
        return attempts

    def _owner(self, case: Case, shortlist: Sequence[Candidate]) -> Candidate | None:
        """The rendezvous owner (highest random weight) of the prefix's first block."""
        if not case.prefix:
            return None
        block = fold(case.prefix[0])
        owner: Candidate | None = None
        most = -1
        for at in range(min(self._owners, len(shortlist))):
            one = shortlist[at]
            weight = mix(one.seed, block)
            if weight > most:
                owner, most = one, weight
        return owner

    def _score_all(
        self, case: Case, shortlist: Sequence[Candidate], owner: Candidate | None
    ) -> list[_Scored]:
        """The nearest, the owner, who was sent this prefix, and the farther that could still win.

        A candidate costs at least its round trip, and they come in that order: the look ends where
        the round trip alone is more than the best so far. So the best of all is found, though few
        are looked at.
        """
        trail_pop, trail_blocks = "", 0
        if case.prefix:
            trail_pop, trail_blocks = self._trail.find(case.prefix)
        signals, prefix = case.signals, case.prefix
        asks_digests = signals is not None and bool(prefix)
        scored: list[_Scored] = []
        best, looks = _NEVER, 0
        awaited = int(bool(trail_pop)) + int(owner is not None)
        for at in range(len(shortlist)):
            candidate = shortlist[at]
            trailed = bool(trail_pop) and candidate.pop == trail_pop
            near = at < self._nearest
            if trailed or candidate is owner:
                awaited -= int(trailed) + int(candidate is owner)
            elif not near and (looks >= self._looks_max or candidate.rtt_us >= best):
                if not awaited:
                    break
                continue
            looks += 1
            blocks = trail_blocks if trailed else 0
            if asks_digests and near and signals is not None:
                claimed: int = signals.matched(candidate.pop, case.model, prefix, case.now_us)
                blocks = max(blocks, claimed)
            one = _Scored(candidate, blocks)
            self._score(case, one)
            if one.cost < _NEVER:
                scored.append(one)
                best = min(best, one.cost)
        return scored

    def _score(self, case: Case, one: _Scored) -> None:
        candidate, signals = one.candidate, case.signals
        uncached = case.uncached(one.blocks)
        report = signals.report(candidate.pop, case.now_us) if signals is not None else None
        of_model = None
        at_us, age_us = 0, 0
        if report is not None:
            at_us = report.at_us
            age_us = case.now_us - at_us
            if age_us <= self._stale_us:
                of_model = report.models.get(case.model)
                reserve: float = report.reserve
                if reserve < self._reserve_low:
                    one.price = self._price(reserve)
        if of_model is None:
            self._guess(case, one, uncached)
        else:
            rate: int = of_model.prefill_tokens_per_s
            waiting: int = of_model.waiting_tokens
            done = int(rate * self._drain * (age_us + candidate.rtt_us // 2) / 1e6)
            tokens, requests = sent_since(case.load, candidate, at_us - candidate.rtt_us // 2)
            running: int = of_model.running
            slots: int = of_model.slots
            kv_free: float = of_model.kv_free
            one.wait = max(0, waiting + tokens - done) * 1_000_000 // rate
            one.wait += self._slots_us(running + requests, slots, kv_free)
            one.prefill = uncached * 1_000_000 // rate
        one.ttft = candidate.rtt_us + one.wait + one.prefill
        one.cost = min(_NEVER, one.ttft + one.price)

    def _guess(self, case: Case, one: _Scored, uncached: int) -> None:
        """No report, or too old a one: own work in flight, and a prior for what others sent."""
        candidate, in_flight = one.candidate, case.load.tokens_in_flight
        if not candidate.seats:
            one.wait = in_flight.get(candidate.pop, 0) * 1_000_000 // candidate.rate
            if case.signals is not None:
                one.wait += self._prior_us
            one.prefill = uncached * 1_000_000 // candidate.rate
            return
        best = _NEVER
        for seat in candidate.seats:
            wait = in_flight.get(seat.place, 0) * 1_000_000 // seat.rate
            prefill = uncached * 1_000_000 // seat.rate
            if wait + prefill < best:
                best, one.wait, one.prefill = wait + prefill, wait, prefill

    def _slots_us(self, running: int, slots: int, kv_free: float) -> int:
        """As `engines.slots_us`, of a whole PoP."""
        over = running + 1 - slots
        if over <= 0:
            if kv_free > self._kv_low or not running:
                return 0
            over = 1
        return over * self._answer_us // max(1, min(slots, running))

    def _price(self, reserve: float) -> int:
        """Hyperbolic, as a queue's wait is in its slack: 0 at ``reserve_low``, then without bound.

        At half of it, ``price_us``; at a tenth, nine times that; at zero the PoP is not asked.
        """
        if reserve <= 0:
            return _NEVER
        return int(self._price_us * (self._reserve_low / reserve - 1))

    def _choose(self, scored: list[_Scored], owner: Candidate | None) -> tuple[_Scored, str]:
        """The best; but a warm one if it costs little more, and by lot among near-equals."""
        best, warm = scored[0], scored[0]
        for one in scored:
            if one.cost < best.cost:
                best = one
            if one.blocks > warm.blocks or (one.blocks == warm.blocks and one.cost < warm.cost):
                warm = one
        if warm.blocks > 0 and warm.cost <= best.cost + self._tau_us:
            return warm, "warm"
        limit = best.cost + self._band_us + int(best.cost * self._band_share)
        near = [one for one in scored if one.cost <= limit]
        if len(near) == 1:
            return best, "best"
        for one in near:
            if one.candidate is owner:
                return one, "owner"
        first = self._draws.below(len(near))
        second = self._draws.below(len(near) - 1)
        second += second >= first
        one, other = near[first], near[second]
        return (one if one.cost <= other.cost else other), "of two"

    def _attempt(self, case: Case, one: _Scored, why: str) -> Attempt:
        candidate = one.candidate
        cached = case.tokens - case.uncached(one.blocks) if one.blocks else 0
        said = words(candidate.rtt_us, one.wait, one.prefill, cached)
        if one.price:
            said += f" + headroom price {one.price // 1000} ms"
        if case.signals is not None:
            said = f"{why}: {said}"
        return Attempt(candidate.pop, candidate.country, None, one.ttft, said, one.wait)


def _cost(one: _Scored) -> int:
    return one.cost
