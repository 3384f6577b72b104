"""Ours: the least predicted time to first token, kept where the prefix is, spread where it is even.

    cost = round trip + wait + slot + memory + prefill + crowd + price

- wait: reported tokens, less what the PoP has done since, plus what left here since, over its rate;
- slot: where all slots run, the time until one ends;
- memory: where less is free than is wanted, the time until answers that end have freed it;
- prefill: the prompt without what is held there, over the rate;
- crowd: for each answer that runs and for memory that gets scarce: both slow steps, evict prefixes
  that others would find, and tell of arrivals unreported yet;
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
from selvedge.routing.attempts import Attempt, Candidate, Draws, Outlook, fold, mix
from selvedge.routing.engines import is_cooling, words
from selvedge.routing.load import Load
from selvedge.routing.sight import Case, sent_since
from selvedge.routing.signals import Signals
from selvedge.routing.told import Told
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
    """Candidates that are always looked at."""
    digests: int = 48
    """Among how many nearest digests are asked, where none so far claims half of the prefix."""
    owners: int = 12
    """Among how many nearest a prefix has its rendezvous owner."""
    looks_max: int = 64
    """Candidates looked at in all: farther ones only while their round trip is below the best."""
    stale_us: int = 15_000_000
    """A report older than this is not believed."""
    patience_us: int = 30_000
    """What a PoP may take beyond the next choice, by its own word, before it sends back; below 0:
    it is not asked."""
    prior_us: int = 300_000
    """The wait assumed where nothing is known, though others report."""
    drain: float = 0.8
    """Share of its rate at which a PoP's reported wait shrinks: others send meanwhile."""
    answer_us: int = 5_000_000
    """How long an answer holds its slot and its memory, where a report does not say."""
    crowd_share: float = 0.1
    """What each answer that runs adds, as a share of what this prompt takes where nothing is held:
    it slows steps, and tells of arrivals not yet reported, whose prompts are as this one."""
    crowd_us: int = 30_000
    """The most that each answer that runs adds."""
    harm: float = 2.0
    """How much the time counts that those wait who come while this prompt is computed."""
    queue_harm: float = 1.0
    """The same of those who come while the queue before it lasts: it keeps an overload from
    scattering prefixes, which would make it last."""
    crowd_kv_us: int = 0
    """What memory adds that is half used; nine times that where nine tenths are."""
    kv_low: float = 0.02
    """Share of free KV blocks below which none is free for one more, where tokens are unknown."""
    reserve_low: float = 0.2
    """The content reserve below which headroom has a price."""
    price_us: int = 50_000
    """Its price at half of ``reserve_low``."""


class Predictive:
    """The policy that is used unless a release or a scenario names another."""

    def __init__(self, knobs: PredictiveKnobs | None = None, seed: str = "") -> None:
        known = knobs or PredictiveKnobs()
        # Read out once: fields of a struct are not fields of a compiled class.
        self._tau_us: int = known.tau_us
        self._band_us: int = known.band_us
        self._band_permille = int(known.band_share * 1000)
        self._nearest: int = known.nearest
        self._owners: int = known.owners
        self._looks_max: int = known.looks_max
        self._stale_us: int = known.stale_us
        self._patience_us: int = known.patience_us
        self._prior_us: int = known.prior_us
        self._drain_permille = int(known.drain * 1000)
        self._answer_us: int = known.answer_us
        self._crowd_us: int = known.crowd_us
        self._crowd_permille = int(known.crowd_share * 1000)
        self._harm_permille = int(known.harm * 1000)
        self._queue_harm_permille = int(known.queue_harm * 1000)
        self._crowd_kv_us: int = known.crowd_kv_us
        self._digests: int = known.digests
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
            self._trail.mark(case.prefix, chosen, now_us)
        second, third = _next_two(scored, chosen)
        attempts = [self._attempt(case, chosen, why, second)]
        if second is not None:
            attempts.append(self._attempt(case, second, "next", third))
        if third is not None:
            attempts.append(self._attempt(case, third, "next", None))
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
    ) -> list[Candidate]:
        """The nearest, the owner, who was sent this prefix, and the farther that could still win.

        A farther candidate costs at least its round trip and the whole prefill, and they come in
        that order: the look ends where these alone are more than the best so far and its band. So
        the best of all is found, though few are looked at.
        """
        trailed, trail_blocks = self._trail.find(case.prefix)
        asks_digests = case.signals is not None and bool(case.prefix)
        half = len(case.prefix) // 2
        digests = 0
        if asks_digests:
            digests = self._nearest if trail_blocks > half else self._digests
        scored: list[Candidate] = []
        best, limit, looks = _NEVER, _NEVER, 0
        whole = case.tokens * 1_000_000
        awaited = int(trailed is not None) + int(owner is not None)
        nearest, looks_max = self._nearest, self._looks_max
        for at in range(len(shortlist)):
            one = shortlist[at]
            is_trailed = one is trailed
            blocks = trail_blocks if is_trailed else 0
            if at < digests and one.rtt_us < limit:
                claimed = case.claimed(one)
                if claimed > blocks:
                    blocks = claimed
                if blocks > half:  # Farther ones would be a little warmer at best.
                    digests = nearest
            if is_trailed or one is owner:
                awaited -= int(is_trailed) + int(one is owner)
            elif (
                at >= nearest
                and not blocks
                and (looks >= looks_max or one.rtt_us + whole // _rate(one) > limit)
            ):
                if not awaited and (at + 1 >= digests or one.rtt_us >= limit):
                    break
                continue
            looks += 1
            cost = self._score(case, one, blocks)
            if cost < _NEVER:
                scored.append(one)
                if cost < best:
                    best, limit = cost, self._band(cost)
        return scored

    def _band(self, least: int) -> int:
        """Up to what cost another is the same, as far as is known."""
        return least + self._band_us + least * self._band_permille // 1000

    def _score(self, case: Case, one: Candidate, blocks: int) -> int:
        """Fill in a candidate's outlook; its cost."""
        look = one.outlook
        look.blocks = blocks
        look.crowd = 0
        uncached = case.uncached(blocks)
        price = 0
        is_fresh = False
        told: Told | None = None
        if case.signals is not None:
            told = case.signals.told(one.pop, case.model, case.now_us)
            if told is not look.told:
                look.told = told
                look.price = self._price(told.reserve) if told is not None else 0
            if told is not None:
                is_fresh = case.now_us - told.at_us <= self._stale_us
                price = look.price if is_fresh else 0
            else:
                report = case.signals.report(one.pop, case.now_us)
                if report is not None and case.now_us - report.at_us <= self._stale_us:
                    price = self._price(report.reserve)
        if told is not None and is_fresh:
            self._predict(case, one, told, uncached)
        else:
            self._guess(case, one, uncached)
        look.ttft = one.rtt_us + look.wait + look.prefill
        look.cost = _NEVER if price >= _NEVER else look.ttft + look.crowd + price
        return look.cost

    def _predict(self, case: Case, one: Candidate, told: Told, uncached: int) -> None:
        """From a report: what waited, less what was done since, plus what left here since."""
        look = one.outlook
        way_us = one.rtt_us // 2
        waiting, running, sent = told.waiting, told.running, 0
        residence_us = told.residence_us or self._answer_us
        rate = told.rate
        sent_us = told.at_us - way_us
        if one.seats:
            sent, requests = sent_since(case.load, one, sent_us)
            waiting += sent
            running += requests
        else:
            entered = case.entered.get(one.pop)
            if entered is not None and entered.newest_us > sent_us:
                sent, requests = entered.since(sent_us)
                waiting += sent
                running += requests
        if waiting:
            age_us = case.now_us - told.at_us
            waiting -= rate * self._drain_permille * (age_us + way_us) // 1_000_000_000
        look.wait = waiting * 1_000_000 // rate if waiting > 0 else 0
        share_us = case.tokens * self._crowd_permille * 1000 // rate
        look.crowd = running * min(self._crowd_us, share_us)
        over = running + 1 - told.slots
        if told.kv_tokens:
            self._weigh_memory(case, look, told, sent)
        elif over <= 0 and running and told.kv_free_share <= self._kv_low:
            over = 1
        if over > 0:
            look.wait += over * residence_us // max(1, min(told.slots, running))
        look.prefill = prefill = uncached * 1_000_000 // rate
        delayed = self._harm_permille * prefill // 2 + self._queue_harm_permille * look.wait
        look.crowd += running * prefill // 1000 * delayed // residence_us

    def _weigh_memory(self, case: Case, look: Outlook, told: Told, sent: int) -> None:
        """Memory: what answers free until there is enough, and what scarcity costs.

        They free all they hold in the time that one is resident, so lack x residence / held.
        """
        free = told.kv_free - sent - case.tokens
        if free < 0 and told.kv_held > 0:
            look.wait += -free * (told.residence_us or self._answer_us) // told.kv_held
        if self._crowd_kv_us:
            left = max(free, told.kv_tokens // 50)
            look.crowd += self._crowd_kv_us * max(0, told.kv_tokens - left) // left

    def _guess(self, case: Case, one: Candidate, uncached: int) -> None:
        """No report, or too old a one: own work in flight, and a prior for what others sent."""
        look, in_flight = one.outlook, case.load.tokens_in_flight
        if not one.seats:
            look.wait = in_flight.get(one.pop, 0) * 1_000_000 // one.rate
            if case.signals is not None:
                look.wait += self._prior_us
            look.prefill = uncached * 1_000_000 // one.rate
            return
        best, cooling = _NEVER, case.load.cooling
        all_cool = bool(cooling) and is_cooling(case.load, one)
        for seat in one.seats:
            if cooling and not all_cool and seat.place in cooling:
                continue
            wait = in_flight.get(seat.place, 0) * 1_000_000 // seat.rate
            prefill = uncached * 1_000_000 // seat.rate
            if wait + prefill < best:
                best, look.wait, look.prefill = wait + prefill, wait, prefill

    def _price(self, reserve: float) -> int:
        """Hyperbolic, as a queue's wait is in its slack: 0 at ``reserve_low``, then without bound.

        At half of it, ``price_us``; at a tenth, nine times that; at zero the PoP is not asked.
        """
        if reserve >= self._reserve_low:
            return 0
        if reserve <= 0:
            return _NEVER
        return int(self._price_us * (self._reserve_low / reserve - 1))

    def _choose(self, scored: list[Candidate], owner: Candidate | None) -> tuple[Candidate, str]:
        """The best; but a warm one if it costs little more, and by lot among near-equals."""
        best, warm = scored[0], scored[0]
        least, most = best.outlook.cost, warm.outlook.blocks
        for one in scored:
            look = one.outlook
            if look.cost < least:
                best, least = one, look.cost
            if look.blocks > most or (look.blocks == most and look.cost < warm.outlook.cost):
                warm, most = one, look.blocks
        if most > 0 and warm.outlook.cost <= least + self._tau_us:
            return warm, "warm"
        limit = self._band(least)
        near = [one for one in scored if one.outlook.cost <= limit]
        if len(near) == 1:
            return best, "best"
        for one in near:
            if one is owner:
                return one, "owner"
        first = self._draws.below(len(near))
        second = self._draws.below(len(near) - 1)
        if second >= first:
            second += 1
        one, other = near[first], near[second]
        return (one if one.outlook.cost <= other.outlook.cost else other), "of two"

    def _attempt(self, case: Case, one: Candidate, why: str, other: Candidate | None) -> Attempt:
        """``other`` is asked next: what it would take is what this one may take."""
        look = one.outlook
        cached = case.tokens - case.uncached(look.blocks) if look.blocks else 0
        said = words(one.rtt_us, look.wait, look.prefill, cached)
        if look.crowd:
            said += f" + crowd {look.crowd // 1000} ms"
        price = look.cost - look.ttft - look.crowd
        if price:
            said += f" + headroom price {price // 1000} ms"
        if case.signals is not None:
            said = f"{why}: {said}"
        patience = 0
        if other is not None and case.signals is not None and self._patience_us >= 0:
            # Until it costs as much as the next would.
            more = max(0, other.outlook.cost - look.cost)
            patience = look.ttft - one.rtt_us + more + self._patience_us
        return Attempt(one.pop, one.country, None, look.ttft, said, look.wait, patience)


def _rate(one: Candidate) -> int:
    """Prompt tokens a second, as last reported, else as the release says."""
    told = one.outlook.told
    return told.rate if told is not None else one.rate


def _next_two(
    scored: list[Candidate], chosen: Candidate
) -> tuple[Candidate | None, Candidate | None]:
    """The two that cost least after the chosen one."""
    second: Candidate | None = None
    third: Candidate | None = None
    least, next_least = _NEVER, _NEVER
    for one in scored:
        cost = one.outlook.cost
        if one is chosen or cost >= next_least:
            continue
        if cost < least:
            third, next_least = second, least
            second, least = one, cost
        else:
            third, next_least = one, cost
    return second, third
