"""Engines that are asked in a form and with a key of their own: a PoP's, and a provider's.

One request's dealings with them: which key of a provider it is asked with, what came of that key,
and whether the same is asked again with another one. Each key is tried once for one attempt.
"""

from __future__ import annotations

import msgspec

from selvedge.adapters import authority_of
from selvedge.exchange import Ended, Failed, FleetView, Job
from selvedge.fabric import Engine, Provider, Refused, Route
from selvedge.ledger import sent_secret
from selvedge.pop.clock import now_us
from selvedge.pop.provider_keys import Taken
from selvedge.pop.relay import Relaying
from selvedge.pop.state import PopState
from selvedge.routing import Attempt, place
from selvedge.wire import DIALECTS, PROFILES, Dialect, Order

_OF_A_KEY = frozenset({401, 403, 429})
"""Statuses by which a provider speaks of a key, not of itself."""


def dialect_of(engine: Engine) -> Dialect | None:
    """The dialect of a provider; None where the engine is asked as its client asked us."""
    profile = PROFILES[engine.profile]
    return None if profile.dialect == "openai" else DIALECTS[profile.dialect]


def has_own_way(engine: Engine, job: Job) -> bool:
    """Whether an engine of ours is asked elsewhere than where its client asked us."""
    return job.ask.route is Route.RERANK or dialect_of(engine) is not None


class Abroad:
    """What one request has to do with keys and dialects."""

    def __init__(self, state: PopState, view: FleetView) -> None:
        self._state = state
        self._view = view
        self._taken: Taken | None = None
        self._tried = 0
        self._passed, self._status = "", 0
        self.spares = False
        """Whether the last failure was a key's: its provider is not to be left alone for it."""

    def begin(
        self, relaying: Relaying, attempt: Attempt, engine: Engine, job: Job, keeps: bool
    ) -> None:
        """Ask an engine in its dialect: path, headers and body are the dialect's word."""
        secret = self._secret(attempt, engine, job)
        if isinstance(secret, Refused):
            relaying.refuse(secret)
            return
        dialect = dialect_of(engine) or DIALECTS["openai"]
        keeps = keeps and self._may_keep(attempt, job)
        made = dialect.request(self._order(engine, job, secret, keeps=keeps))
        if isinstance(made, Refused):
            relaying.refuse(made)
            return
        way = self._state.provider_way(engine, made.target)
        relaying.begin(self._state.client.post(way, made.body, relaying, made.headers))

    def turns(self, ended: Ended, attempt: Attempt, relaying: Relaying) -> bool:
        """Learn what came of a provider's key; whether to ask the same with another one now."""
        taken, self._taken = self._taken, None
        self.spares = False
        provider = self._view.providers.get(attempt.pop)
        if taken is None or provider is None:
            return False
        if taken.passed:
            self._passed, self._status = taken.provider, relaying.status
            self.spares = relaying.status in _OF_A_KEY
            return False
        told_ms = ended.told_ms if isinstance(ended, Failed) else None
        keys, limits = self._state.provider_keys, relaying.limits()
        if not keys.heard(taken, relaying.status, ended.at_us, told_ms, limits):
            return False
        self._state.metrics.key_refusals.labels(str(relaying.status)).inc()
        self.spares = True
        self._tried += 1
        if keys.has_another(provider, ended.at_us):
            return self._tried < len(provider.keys) and not ended.begun
        where = place(attempt.pop, attempt.engine)
        self._state.load.cool(where, keys.free_at_us(provider, ended.at_us))
        return False

    def _secret(self, attempt: Attempt, engine: Engine, job: Job) -> str | Refused:
        """What the engine is asked with; of a provider the next of its keys that does not rest.

        A key that is passed is asked with at its own provider alone.
        """
        provider = self._view.providers.get(attempt.pop)
        if provider is None:
            return self._state.engine_keys.get(engine.api_key_env or "", "")
        if job.passes_to == provider.id:
            sent = sent_secret(job.head.authorization)
            self._taken = Taken(provider.id, None, sent, passed=True)
            return sent
        at_us, keys = now_us(), self._state.provider_keys
        self._taken = keys.take(provider, at_us)
        return self._taken.secret if self._taken is not None else self._resting(provider, at_us)

    def meant(self, ended: Ended) -> Ended:
        """What an ending means to a client whose own key was passed: the provider's word on it."""
        if not self.spares or not self._passed or not isinstance(ended, Failed) or ended.tokens:
            return ended
        place, told_ms = self._passed, ended.told_ms or 1000
        refused = Refused("invalid_api_key", f"Provider {place!r} does not accept this key.")
        if self._status == 429:
            words = f"Provider {place!r} limits this key; retry."
            refused = Refused("rate_limit_exceeded", words, retry_after_ms=told_ms)
        return msgspec.structs.replace(ended, refused=refused)

    def _resting(self, provider: Provider, at_us: int) -> Refused:
        free_us = self._state.provider_keys.free_at_us(provider, at_us)
        words = f"Every key of provider {provider.id!r} that this PoP holds rests after a refusal."
        wait_ms = max(1, (free_us - at_us) // 1000)
        return Refused("no_engine_available", words, retry_after_ms=wait_ms)

    def _may_keep(self, attempt: Attempt, job: Job) -> bool:
        """Whether a provider may keep anything of it: where its rule lets something be cached."""
        if attempt.pop not in self._view.providers:
            return True
        rules = self._view.rules
        rule = rules.rule(job.tenant, job.data_class, job.head.received_us)
        return rule is not None and rules.holds(rule.cache, attempt.pop)

    def _order(self, engine: Engine, job: Job, secret: str, *, keeps: bool) -> Order:
        target = self._state.target_of(engine)
        return Order(
            ask=job.ask,
            body=job.body,
            name=engine.name_of(job.ask.model) or job.ask.model,
            profile=PROFILES[engine.profile],
            now_us=now_us(),
            secret=secret,
            base=target.path,
            host=authority_of(target.origin),
            options=target.options,
            context_tokens_max=self._view.models[job.ask.model].context_tokens_max,
            keeps=keeps,
        )
