"""Rank the engines a request may reach by what a policy predicts.

`FleetMap` is a release as one PoP sees it: distances, who serves which model, and the shortlist of
candidates of each allowed set, built once. A policy (a row of `policies.POLICIES`) orders the PoPs;
which engine of this PoP is asked is the second level (`engines`), with exact state. The router sees
only the allowed set it is given: it cannot name a PoP outside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from selvedge.fabric import Ask, Handling, ModelKind, Place, Refused, Release, Route
from selvedge.routing.attempts import ATTEMPTS_MAX, Attempt, Candidate, Plan, Seat
from selvedge.routing.catalogue import LISTS_MAX, NOBODY, Catalogue, Offer
from selvedge.routing.engines import is_cooling, rank_engines
from selvedge.routing.load import Load, place
from selvedge.routing.policies.predictive import Predictive
from selvedge.routing.policy import Policy
from selvedge.routing.sight import Case
from selvedge.routing.signals import EngineStates, Signals

RETRY_AFTER_MS: Final = 1000
RETRY_AFTER_MS_MAX: Final = 60_000
LAST_TIER: Final = 1 << 30
RTT_STEP_US: Final = 5_000
_ROUTES: Final[Mapping[ModelKind, tuple[Route, ...]]] = {
    "chat": (Route.CHAT, Route.COMPLETIONS, Route.COUNT),
    "embedding": (Route.EMBEDDINGS,),
    "rerank": (Route.RERANK,),
}


class FleetMap:
    """Distances of one PoP to others, and which engines serve which model. Built per release."""

    def __init__(
        self,
        release: Release,
        here: str,
        policy: Policy | None = None,
        catalogue: Catalogue | None = None,
    ) -> None:
        self._catalogue = catalogue or Catalogue(release)
        if here not in self._catalogue.pops:
            raise KeyError(here)
        self._here = here
        self._providers = self._catalogue.providers
        self._policy: Policy = policy or Predictive(seed=here)
        seen = self._catalogue.seen_from(here)
        self._candidates = seen.candidates
        self._lists = seen.lists

    def rank(
        self,
        ask: Ask,
        allowed: Iterable[Place],
        load: Load,
        local_only: bool = False,
        *,
        now_us: int = 0,
        signals: Signals | None = None,
        states: EngineStates | None = None,
        wait_ms_max: int | None = None,
        patience_us: int = 0,
        handling: tuple[Handling, ...] = (),
        barred: frozenset[str] = NOBODY,
        tiers: Mapping[str, int] | None = None,
    ) -> Plan | Refused:
        """The attempts for ``ask`` among ``allowed``, or why there is none.

        Who just failed comes last, it is not left out: a plan must not be empty because of a
        guess. ``local_only`` is the serving side of a forwarded request, and ``patience_us`` the
        ingress's (`Attempt.patience_us`). An engine that does not honour all of ``handling`` is no
        candidate, nor is one of ``barred`` (``site/engine``). Lower tiers come first.
        """
        unfit = self._unfit(ask)
        if unfit is not None:
            return unfit
        model = ask.model
        if handling or barred:
            model = self._catalogue.kept_to(model, handling, barred)
        found: list[Attempt] = []
        here: Candidate | None
        if local_only:
            here = self._here_among(model, allowed)
            if here is not None:
                found = rank_engines(Case(ask, signals, load, now_us), here, states)
        else:
            shortlist = self._shortlist(model, allowed)
            if not shortlist:
                return self._nowhere(ask.model, allowed, handling)
            if tiers is None:
                found = self._order(ask, shortlist, signals, load, now_us)
            else:
                found = self._in_tiers(Case(ask, signals, load, now_us), shortlist, tiers)
            at = _at(found, self._here)
            if at >= 0:
                here = self._candidates[model][self._here]
                engines = rank_engines(Case(ask, signals, load, now_us), here, states)
                found = self._seat(found, at, engines, load)
            if self._providers:
                found = self._seat_providers(found, model, Case(ask, signals, load, now_us))
        if not found and local_only:
            return self._none_here(ask.model, allowed, handling)
        if not found:
            words = f"No PoP that may process this request has room for model {ask.model!r} now."
            return Refused("no_engine_available", words, "model", RETRY_AFTER_MS)
        if patience_us > 0 and found[0].ttft_us > patience_us:
            return _busier(found[0].ttft_us, patience_us)
        if wait_ms_max is not None:
            return _soon(found, wait_ms_max)
        return Plan(tuple(found[:ATTEMPTS_MAX]))

    def offered(self, model: str) -> Mapping[str, Offer]:
        """The sites that serve a model, by id, with their engines that do."""
        return self._catalogue.serving.get(model, {})

    def learn_distance(self, site: str, rtt_us: int) -> None:
        """A provider is so far away, as its answers show. A small difference changes nothing."""
        seen = self._catalogue.seen_from(self._here)
        known = self.rtt_us(site)
        if abs(rtt_us - known) > max(known // 5, RTT_STEP_US):
            seen.rtt_us[site] = rtt_us
            # Their order and their distances are made again when they are next asked for.
            seen.candidates.clear()
            seen.lists.clear()

    def rtt_us(self, pop_id: str) -> int:
        """Predicted round trip from this PoP, in microseconds; 0 to itself."""
        return self._catalogue.rtt_us(self._here, pop_id)

    def _unfit(self, ask: Ask) -> Refused | None:
        """Why no engine of any PoP could serve this, as a matter of the model."""
        model = self._catalogue.models.get(ask.model)
        if model is None or ask.model not in self._catalogue.serving:
            words = f"Model {ask.model!r} is not offered; GET /v1/models lists what is."
            return Refused("model_not_found", words, param="model")
        if ask.route not in _ROUTES[model.kind]:
            route = _ROUTES[model.kind][0].value.removeprefix("/v1/")
            words = f"Model {ask.model!r} is of kind {model.kind!r}; use /v1/{route}."
            return Refused("unsupported_route", words, param="model")
        if ask.dimensions is not None and not model.dimensions:
            words = f"Vectors of model {ask.model!r} have one length; leave 'dimensions' out."
            return Refused("invalid_value", words, param="dimensions")
        if ask.media and not model.media:
            words = f"Model {ask.model!r} takes text alone; leave images and audio out."
            return Refused("invalid_value", words, param="messages")
        return None

    def _shortlist(self, model: str, allowed: Iterable[Place]) -> list[Candidate]:
        """The allowed PoPs that serve the model, nearest first."""
        if not isinstance(allowed, tuple):
            return self._list(model, allowed)
        known = self._lists.get(id(allowed))
        if known is None:
            if len(self._lists) >= LISTS_MAX:
                self._lists.clear()
            known = self._lists[id(allowed)] = allowed, {}
        found = known[1].get(model)
        if found is None:
            found = known[1][model] = self._list(model, allowed)
        return found

    def _nowhere(
        self, model: str, allowed: Iterable[Place], handling: tuple[Handling, ...]
    ) -> Refused:
        """Why a model that is served has no candidate."""
        if handling and self._shortlist(model, allowed):
            return _unkept(model, handling)
        words = f"Model {model!r} is served, but at no PoP that may process this request."
        return Refused("residency_model", words, param="model")

    def _none_here(
        self, model: str, allowed: Iterable[Place], handling: tuple[Handling, ...]
    ) -> Refused:
        """Why a model has no engine of this PoP."""
        if handling and self._here_among(model, allowed) is not None:
            return _unkept(model, handling)
        words = f"No engine of this PoP serves model {model!r}."
        return Refused("no_engine_available", words, "model", RETRY_AFTER_MS)

    def _list(self, model: str, allowed: Iterable[Place]) -> list[Candidate]:
        made = self._candidates.setdefault(model, {})
        found = []
        for offer in self._catalogue.offers(model, allowed):
            one = self._candidate(offer, made)
            found.append((one.rtt_us, one.pop))
        found.sort()
        return [made[pop] for _, pop in found]

    def _candidate(self, offer: Offer, made: dict[str, Candidate]) -> Candidate:
        """One that was made before, or a new one."""
        pop = offer.pop
        one = made.get(pop.id)
        if one is None:
            seats: tuple[Seat, ...] = ()
            if pop.id == self._here or pop.id in self._providers:
                seats = tuple(
                    Seat(one.id, place(pop.id, one.id), one.prefill_tokens_per_s)
                    for one in offer.engines
                )
            rtt_us = self.rtt_us(pop.id) + offer.handicap_us
            rate, seed = offer.rate, offer.seed
            one = Candidate(pop.id, pop.country, rtt_us, rate, seats=seats, seed=seed)
            made[pop.id] = one
        return one

    def _order(
        self,
        ask: Ask,
        shortlist: list[Candidate],
        signals: Signals | None,
        load: Load,
        now_us: int,
    ) -> list[Attempt]:
        """The policy's word; who cools is asked only where the others are too few."""
        policy = self._policy
        if not load.cooling:
            return policy.order(ask, shortlist, signals, load, now_us)
        fit = [one for one in shortlist if not is_cooling(load, one)]
        found: list[Attempt] = []
        if fit:
            found = policy.order(ask, fit, signals, load, now_us)
        if len(fit) < len(shortlist) and len(found) < ATTEMPTS_MAX:
            cools = [one for one in shortlist if is_cooling(load, one)]
            found = found + policy.order(ask, cools, signals, load, now_us)
        return found

    def _in_tiers(
        self, case: Case, shortlist: list[Candidate], tiers: Mapping[str, int]
    ) -> list[Attempt]:
        """Tier after tier, each in the policy's order; who cools comes after all who do not."""
        found: list[Attempt] = []
        for cools in (False, True):
            by_tier: dict[int, list[Candidate]] = {}
            for one in shortlist:
                if is_cooling(case.load, one) == cools:
                    by_tier.setdefault(tiers.get(one.pop, LAST_TIER), []).append(one)
            for tier in sorted(by_tier):
                if len(found) < ATTEMPTS_MAX:
                    there, now_us = by_tier[tier], case.now_us
                    found += self._policy.order(case.ask, there, case.signals, case.load, now_us)
        return found

    def _here_among(self, model: str, allowed: Iterable[Place]) -> Candidate | None:
        """This PoP, where it is allowed and serves the model."""
        offer = self._catalogue.serving[model].get(self._here)
        if offer is not None:
            for pop in allowed:
                if pop.id == self._here:
                    return self._candidate(offer, self._candidates.setdefault(model, {}))
        return None

    def _seat_providers(self, found: list[Attempt], model: str, case: Case) -> list[Attempt]:
        """Every provider's seat for its best engine, as `_seat` does for this PoP."""
        for provider in self._providers:
            at = _at(found, provider)
            if at >= 0:
                engines = rank_engines(case, self._candidates[model][provider], None)
                found = self._seat(found, at, engines, case.load)
        return found

    def _seat(
        self, found: list[Attempt], at: int, engines: list[Attempt], load: Load
    ) -> list[Attempt]:
        """A site's seat in the order for its best engine; its others where their time puts them.

        The policy's word stays with the reason.
        """
        why, said, _ = found[at].reason.partition(": ")
        best = engines[0]
        if said:
            best = msgspec.structs.replace(best, reason=f"{why}: {best.reason}")
        found[at] = best
        last: list[Attempt] = []
        for number in range(1, len(engines)):
            one = engines[number]
            if place(one.pop, one.engine) in load.cooling:
                last.append(one)
                continue
            at += 1
            while at < len(found) and found[at].ttft_us < one.ttft_us:
                at += 1
            found.insert(at, one)
        return found + last if last else found


def _at(found: list[Attempt], pop: str) -> int:
    """Where a PoP is in the order; -1 where it is not."""
    for at in range(len(found)):
        if found[at].pop == pop:
            return at
    return -1


def _unkept(model: str, handling: tuple[Handling, ...]) -> Refused:
    words = f"No engine that may process this request honours {' and '.join(handling)} for model "
    words += f"{model!r}; ask for another model, or use a key of another data class."
    return Refused("residency_handling", words, param="model")


def _soon(found: list[Attempt], wait_ms_max: int) -> Plan | Refused:
    soon = [one for one in found if one.wait_us <= wait_ms_max * 1000]
    return Plan(tuple(soon[:ATTEMPTS_MAX])) if soon else _too_busy(found, wait_ms_max)


def _too_busy(found: list[Attempt], wait_ms_max: int) -> Refused:
    least_ms = min(one.wait_us for one in found) // 1000
    words = f"The shortest predicted wait is {least_ms} ms, and the request waits at most "
    words += f"{wait_ms_max} ms (Prefer: wait); retry, or wait longer."
    later_ms = min(max(least_ms - wait_ms_max, RETRY_AFTER_MS), RETRY_AFTER_MS_MAX)
    return Refused("no_engine_available", words, retry_after_ms=later_ms)


def _busier(ttft_us: int, patience_us: int) -> Refused:
    words = f"The first token is {ttft_us // 1000} ms away here, and worth waiting for at most "
    words += f"{patience_us // 1000} ms: another PoP is expected to be sooner."
    return Refused("engine_busy", words, retry_after_ms=RETRY_AFTER_MS)
