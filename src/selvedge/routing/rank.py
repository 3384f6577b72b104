"""Rank the engines a request may reach by predicted time to first token.

First form: predicted TTFT = round trip + prefill of the work already in flight there + prefill of
this prompt. In-flight work is this PoP's own, un-acknowledged; peers' load reports come later and
take the same seat. Tokens are estimated from bytes, never by a tokenizer on the event loop.
The router sees only the allowed set it is given: it cannot name a PoP outside.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from selvedge.fabric import Ask, Engine, PoP, Refused, Release, Route, WanModel
from selvedge.fabric.value import Value
from selvedge.routing.load import Load, place

BYTES_PER_TOKEN: Final = 4
"""English prose at common vocabularies; learned per model later."""
ATTEMPTS_MAX: Final = 3
RETRY_AFTER_MS: Final = 1000


class Attempt(Value, frozen=True):
    """One engine to try. ``engine`` is None where the serving PoP chooses among its own."""

    pop: str
    country: str
    engine: str | None
    ttft_us: int
    reason: str


class Plan(Value, frozen=True):
    """A short, ordered list of attempts, best first; never empty."""

    attempts: tuple[Attempt, ...]

    def __post_init__(self) -> None:
        if not self.attempts:
            raise ValueError("a plan has at least one attempt: otherwise it is a refusal")


class FleetTables:
    """Which engines serve which model, as every PoP sees it. Built per release."""

    __slots__ = ("best", "models", "pops", "served")

    def __init__(self, release: Release) -> None:
        self.pops = {pop.id: pop for pop in release.pops}
        self.models = {model.id: model for model in release.models}
        self.served = {
            served.model
            for pop in release.pops
            for engine in pop.engines
            for served in engine.serves
        }
        self.best = {
            model: {
                pop.id: max(engines, key=lambda engine: engine.prefill_tokens_per_s)
                for pop in release.pops
                if (engines := _serving(pop, model))
            }
            for model in self.served
        }
        """By model, of each PoP the engine that prefills fastest."""


class FleetMap:
    """Distances of one PoP to those with engines, and which serve which model. Per release."""

    __slots__ = ("_best", "_here", "_models", "_own", "_pops", "_rtt_us", "_served", "_wan")

    def __init__(self, release: Release, here: str, tables: FleetTables | None = None) -> None:
        tables = tables or FleetTables(release)
        origin = tables.pops[here]
        wan = WanModel(path_inflation=release.wan.path_inflation, fixed_ms=release.wan.fixed_ms)
        self._wan = wan
        self._pops = tables.pops
        self._here = here
        self._rtt_us = {
            pop: 0 if pop == here else _rtt_us(wan, origin, tables.pops[pop])
            for pops in tables.best.values()
            for pop in pops
        }
        self._models = tables.models
        self._served = tables.served
        self._own = {model: _serving(origin, model) for model in self._served}
        self._best = tables.best

    def rank(
        self, ask: Ask, allowed: Iterable[PoP], load: Load, local_only: bool = False
    ) -> Plan | Refused:
        """The attempts for ``ask`` among ``allowed``, or why there is none.

        An engine that just failed comes last, it is not left out: a plan must not be empty because
        of a guess. ``local_only`` is the serving side of a forwarded request.
        """
        unfit = self._unfit(ask)
        if unfit is not None:
            return unfit
        scored = [
            attempt
            for pop in allowed
            if pop.id == self._here or not local_only
            for attempt in self._attempts_at(pop, ask, load)
        ]
        if not scored:
            return Refused(
                "no_engine_available" if local_only else "residency_model",
                f"Model {ask.model!r} is served, but at no PoP that may process this request.",
                param="model",
                retry_after_ms=RETRY_AFTER_MS if local_only else None,
            )
        if len(scored) > 1:
            scored.sort(key=lambda one: _order(one, load))
        return Plan(tuple(scored[:ATTEMPTS_MAX]))

    def _unfit(self, ask: Ask) -> Refused | None:
        """Why no engine of any PoP could serve this, as a matter of the model."""
        model = self._models.get(ask.model)
        if model is None or ask.model not in self._served:
            words = f"Model {ask.model!r} is not offered; GET /v1/models lists what is."
            return Refused("model_not_found", words, param="model")
        if (model.kind == "embedding") != (ask.route is Route.EMBEDDINGS):
            route = "embeddings" if model.kind == "embedding" else "chat/completions"
            words = f"Model {ask.model!r} is of kind {model.kind!r}; use /v1/{route}."
            return Refused("unsupported_route", words, param="model")
        if ask.dimensions is not None and not model.dimensions:
            words = f"Vectors of model {ask.model!r} have one length; leave 'dimensions' out."
            return Refused("invalid_value", words, param="dimensions")
        if ask.media and not model.media:
            words = f"Model {ask.model!r} takes text alone; leave images and audio out."
            return Refused("invalid_value", words, param="messages")
        return None

    def rtt_us(self, pop_id: str) -> int:
        """Predicted round trip from this PoP, in microseconds; 0 to itself."""
        if pop_id == self._here:
            return 0
        known = self._rtt_us.get(pop_id)
        if known is None:
            return _rtt_us(self._wan, self._pops[self._here], self._pops[pop_id])
        return known

    def _attempts_at(self, pop: PoP, ask: Ask, load: Load) -> Iterable[Attempt]:
        if pop.id == self._here:
            return [
                self._attempt(
                    pop, engine, ask, load.tokens_in_flight.get(place(pop.id, engine.id), 0)
                )
                for engine in self._own[ask.model]
            ]
        best = self._best[ask.model].get(pop.id)
        if best is None:
            return ()
        return (self._attempt(pop, best, ask, load.tokens_in_flight.get(pop.id, 0)),)

    def _attempt(self, pop: PoP, engine: Engine, ask: Ask, waiting_tokens: int) -> Attempt:
        here = pop.id == self._here
        rtt_us = self._rtt_us[pop.id]
        prompt_tokens = prompt_tokens_of(ask)
        prefill_us = prompt_tokens * 1_000_000 // engine.prefill_tokens_per_s
        wait_us = waiting_tokens * 1_000_000 // engine.prefill_tokens_per_s
        return Attempt(
            pop=pop.id,
            country=pop.country,
            engine=engine.id if here else None,
            ttft_us=rtt_us + wait_us + prefill_us,
            reason=f"rtt {rtt_us // 1000} ms + wait {wait_us // 1000} ms"
            f" + prefill {prefill_us // 1000} ms",
        )


def _serving(pop: PoP, model: str) -> tuple[Engine, ...]:
    return tuple(engine for engine in pop.engines if engine.name_of(model) is not None)


def _order(attempt: Attempt, load: Load) -> tuple[bool, int, str]:
    where = place(attempt.pop, attempt.engine)
    return where in load.cooling, attempt.ttft_us, where


def prompt_tokens_of(ask: Ask) -> int:
    """Prompt tokens estimated from the body's bytes."""
    return ask.prompt_bytes // BYTES_PER_TOKEN + 1


def _rtt_us(wan: WanModel, a: PoP, b: PoP) -> int:
    ends = (a.latitude, a.longitude), (b.latitude, b.longitude)
    return round(wan.rtt_ms(*ends) * 1000)
