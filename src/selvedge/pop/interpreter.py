"""Commands of the exchange, carried out with sockets and a disk.

The story decides, this room acts: one method a command, one table that finds it. Some commands are
answered at once, the others when a body, an engine or a disk has answered: the story rests until
then, and no task waits for it. This is one of three interpreters: the simulator and the tests have
their own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

from selvedge.exchange import (
    Attest,
    BodyRead,
    BodyRefused,
    Claim,
    ClientLeft,
    Command,
    Deliver,
    Ended,
    Ending,
    Failed,
    FleetView,
    Intend,
    Job,
    Kept,
    NotWritten,
    ReadBody,
    Recall,
    Record,
    Refuse,
    Relay,
    Relayed,
    Remember,
    Replay,
    Reply,
    Resume,
    Reuse,
    Served,
    Story,
    Tally,
    Vouched,
    Written,
    cools,
    spends,
    take_word,
)
from selvedge.fabric import Ask, Engine, Head, Place, Refused, Route, StoreFailed, Usage
from selvedge.pop.abroad import Abroad, dialect_of, has_own_way
from selvedge.pop.answer_cache import Looking
from selvedge.pop.asked_form import asked_form
from selvedge.pop.bodies import body_refusal
from selvedge.pop.capture import Captured
from selvedge.pop.clock import now_us
from selvedge.pop.deadlines import Deadline
from selvedge.pop.downstream import Downstream
from selvedge.pop.http_server import BodyFault, ClientGone, Inbound
from selvedge.pop.relay import Relaying
from selvedge.pop.state import PopState
from selvedge.pop.ticketing import ticket_of
from selvedge.routing import Attempt, place, prompt_tokens_of
from selvedge.wire import (
    PROFILES,
    attest,
    engine_body,
)

TICKET_HEADER: Final = "selvedge-ticket"


class Interpreter:
    """Runs one story to its ending and sends that ending."""

    def __init__(
        self, state: PopState, view: FleetView, inbound: Inbound, head: Head, *, for_peer: bool
    ) -> None:
        self._state = state
        self._view = view
        self._inbound = inbound
        self._head = head
        self._form = asked_form(head, state, for_peer=for_peer)
        form = self._form.form if self._form is not None else None
        self._down = Downstream(inbound, head, state.templates, for_peer=for_peer, form=form)
        self._relaying: Relaying | None = None
        self._asked: Ask | None = None
        self._held_bytes = 0
        self._written_ticket = ""
        self._story: Story
        self._deadline: Deadline | None = None
        self._claim: Claim | None = None
        self._spent = False
        self._kept: Kept | None = None
        self._looking: Looking | None = None
        self._to_keep = False
        self._abroad: Abroad | None = None
        self._done = False
        self.is_clients = True
        """Metrics of requests count it; a judgement has a count of its own."""

    def run(self, story: Story) -> None:
        """Carry out the story's commands until it ends, then send its ending."""
        self._story = story
        self._go_on(None)

    def _go_on(self, reply: Reply | None) -> None:
        """Give the story its reply, and act on what it says until it has to wait."""
        if self._done:
            return
        try:
            command = self._story.send(reply)  # type: ignore[arg-type]  # None begins it
            while True:
                act = _AT_ONCE.get(type(command))
                if act is None:
                    _LATER[type(command)](self, command)
                    return
                command = self._story.send(act(self, command))
        except StopIteration as end:
            self._end(end.value)
        except Exception as error:  # noqa: BLE001 (counted, logged, and answered with a 500)
            self._break_off(error)

    def _end(self, ending: Ending) -> None:
        try:
            self._send(ending)
        except Exception as error:  # noqa: BLE001 (as above)
            self._break_off(error)
        else:
            self._let_go()
            self._inbound.settle()

    def _break_off(self, error: Exception) -> None:
        """A fault of ours: nothing of the request runs on, and it is settled once."""
        if self._done:
            self._inbound.report(error)
            return
        self._done = True
        with contextlib.suppress(ValueError):  # it runs: what broke off is the story itself
            self._story.close()  # gives back what it holds; dropped, a compiled one would not
        if self._relaying is not None:
            self._relaying.client_left()  # stops the engine, and gives back what the relay holds
        self._let_go()
        self._inbound.fault(error)

    def _let_go(self) -> None:
        self._done = True
        self._state.bodies.give_back(self._held_bytes)
        self._held_bytes = 0
        self._state.metrics.running.dec()
        self._state.gate.left()
        if self._claim is not None:
            self._state.answered.end(self._claim, spent=self._spent, kept=self._kept)
            self._claim = self._kept = None
        if self._looking is not None:
            self._looking.end()
            self._looking = None
        # Whatever refers to each other parts here, so that no garbage collector has to find it.
        self._relaying = self._deadline = None
        self._down.let_go()

    def _send(self, ending: Ending) -> None:
        match ending:
            case Deliver(attested) if self._relaying is not None:
                if self._claim is not None:
                    self._kept = self._relaying.whole_answer()
                self._relaying.deliver(attested)
            case Replay(kept, first):
                self._down.answer_again(kept, first)
            case Reuse(levels=levels) if self._looking is not None:
                if levels:
                    self._down.quotas, self._down.levels = self._view.quotas, levels
                self._down.under = (ending.policy, ending.handling)
                self._kept = self._looking.give(ending)
            case Refuse(refused, receipt, attested, levels):
                if levels:
                    self._down.quotas, self._down.levels = self._view.quotas, levels
                self._down.refuse(refused, receipt=receipt, attested=attested)
            case _:
                self._down.drop()

    def _read_body(self, command: ReadBody) -> None:
        if self._form is not None:
            self._form.begin(command)
            self._down.on_formed = self._form.keep_answer
        size = self._head.content_length
        reserve = command.bytes_max if size is None else min(size, command.bytes_max)
        if not self._state.bodies.take(reserve):
            words = "The bodies held at once reached bodies_bytes_max; retry."
            refused = Refused("overloaded", words, retry_after_ms=1000)
            self._go_on(BodyRefused(refused, now_us()))
            return
        self._held_bytes = reserve
        if not self._inbound.body_complete:
            self._state.reading.add(self)
            self._deadline = self._state.deadlines.add(self._head.deadline_us, self._body_too_late)
        self._inbound.want_body(command.bytes_max, self._take_body)

    def _body_too_late(self) -> None:
        words = "The request's deadline passed while its body was read."
        self.end_reading(Refused("deadline_exceeded", words))

    def end_reading(self, refused: Refused) -> None:
        """Wait for the body no longer."""
        self._inbound.want_no_body()
        self._state.reading.discard(self)
        if self._deadline is not None:
            self._deadline.cancel()
        self._go_on(BodyRefused(refused, now_us()))

    def _take_body(self, came: bytes | BodyFault) -> None:
        self._state.reading.discard(self)
        if self._deadline is not None:
            self._deadline.cancel()
        if isinstance(came, bytes):
            form = self._form
            self._go_on(BodyRead(came, now_us()) if form is None else form.translated(came))
        elif isinstance(came, ClientGone):
            self._go_on(ClientLeft(now_us()))
        else:
            bytes_max = self._state.settings.body_bytes_max
            self._go_on(BodyRefused(body_refusal(came, bytes_max), now_us()))

    def _resume(self, command: Resume) -> Reply:
        assert self._form is not None
        return self._form.resumed(command)

    def _relay(self, command: Relay) -> None:
        (attempt,) = command.attempts
        engine = self._engine(attempt)
        abroad: Abroad | None = None
        if attempt.pop in self._view.providers or (engine and has_own_way(engine, command.job)):
            abroad = Abroad(self._state, self._view)
        self._abroad = abroad
        self._ask(command)

    def _ask(self, command: Relay) -> None:
        (attempt,) = command.attempts
        abroad = self._abroad
        job = command.job
        self._asked = job.ask
        shadow = self._state.shadow
        shadow.left -= 1
        if shadow.left <= 0:
            named = (job.tenant, job.data_class)
            shadow.take(self._view, named, attempt.pop, job.head.received_us)
        if job.levels:
            self._down.quotas, self._down.levels = self._view.quotas, job.levels
        if not job.for_peer:
            self._down.under = (job.policy, job.handling)
        if self._looking is not None:
            self._looking.missed()
        self._down.relay_started_us = now_us()
        where = place(attempt.pop, attempt.engine)
        tokens = prompt_tokens_of(job.ask, self._state.load.view.bytes_per_token)

        def ended(reply: Ended) -> None:
            try:
                if self._deadline is not None:
                    self._deadline.cancel()
                self._state.streams.forget(relaying)
                for pool in relaying.pools:
                    self._state.shares.give_back(pool, job.tenant)
                self._state.load.leave(where, tokens)
                if isinstance(reply, Relayed) and attempt.pop == self._view.here.id:
                    self._learn_engine(attempt.engine or "", relaying, job)
                if abroad is not None and abroad.turns(reply, attempt, relaying):
                    self._ask(command)
                    return
                after = self._after(reply, attempt, where, crowded=relaying.crowded)
            except Exception as error:  # noqa: BLE001 (as in `_go_on`)
                self._break_off(error)
            else:
                self._go_on(after)

        relaying = self._relaying = self._new_relaying(attempt, job, ended, tokens)
        relaying.is_abroad = attempt.pop in self._view.providers
        if self._looking is not None and self._looking.keeps:
            relaying.captured = Captured(self._looking.answer_bytes_max)
        self._state.load.enter(where, tokens, self._down.relay_started_us)
        if not self._state.streams.watch(relaying, self._down.relay_started_us):
            return
        self._deadline = self._state.deadlines.add(self._head.deadline_us, relaying.deadline_passed)
        if self._down.gone:
            relaying.client_left()
            return
        try:
            self._begin(relaying, attempt, job)
        except Exception as error:  # noqa: BLE001 (counted and logged; the next attempt may do)
            self._inbound.report(error)
            words = "A fault of ours kept the request from its engine."
            relaying.refuse(Refused("engine_failed", words, retry_after_ms=1000))

    def _after(self, ended: Ended, attempt: Attempt, where: str, *, crowded: bool) -> Ended:
        """What an attempt's end means to the PoP; from a peer, its attested word."""
        spares = self._abroad is not None and self._abroad.spares
        if isinstance(ended, Failed):
            self._state.metrics.attempts_failed.labels(ended.refused.code).inc()
            if cools(ended) and not crowded and not spares:
                cooling_us = self._state.settings.cooling_ms * 1000
                self._state.load.fail(where, ended.at_us, cooling_us, ended.told_ms)
        elif isinstance(ended, Relayed):
            self._state.load.mend(where)
            if self._view.providers:
                self._learn_pace(attempt, ended)
            if ended.usage is not None and ended.usage.provenance == "reported":
                self._learn(ended.usage)
        if attempt.pop in self._view.providers:
            return ended if self._abroad is None else self._abroad.meant(ended)
        if attempt.pop == self._view.here.id:
            return ended
        peer, pair_key = self._view.pops[attempt.pop], self._view.pair_keys[attempt.pop]
        return take_word(ended, self._written_ticket, pair_key, peer, self._head.request_id)

    def _learn_pace(self, attempt: Attempt, ended: Relayed) -> None:
        """How soon a site began, and how quickly it went on; and how far a provider is away then,
        where nobody stated it.
        """
        first_us = ended.first_token_us
        if first_us is not None and ended.usage is not None and self._asked is not None:
            rest_us = ended.at_us - first_us if self._asked.stream else 0
            tokens = ended.usage.generated
            paces = self._state.paces
            paces.learn(attempt.pop, first_us - ended.started_us, tokens, rest_us)
            provider, delay_us = self._view.providers.get(attempt.pop), paces.delay_us(attempt.pop)
            engine = self._engine(attempt)
            if provider is None or provider.rtt_ms is not None or not delay_us or engine is None:
                return
            prompt = prompt_tokens_of(self._asked, self._state.load.view.bytes_per_token)
            reading_us = prompt * 1_000_000 // engine.prefill_tokens_per_s
            self._view.routes.learn_distance(attempt.pop, max(0, int(delay_us) - reading_us))

    def _learn(self, usage: Usage) -> None:
        """What the engine counted tells how many bytes a token of its model has."""
        ask = self._asked
        if ask is not None and ask.choices == 1 and not ask.media:
            self._state.load.learn(ask.model, ask.prompt_bytes, usage.input)

    def _learn_engine(self, engine: str, relaying: Relaying, job: Job) -> None:
        """An engine here has answered: what it holds now, and how quickly it reads prompts."""
        own, ask = self._state.own, job.ask
        tokens, taken_us = relaying.prompt_timing()
        if tokens:
            own.learn_rate(engine, tokens, taken_us)
        if ask.prefix and job.scope:
            own.hold(engine, ask.model, job.scope, ask.prefix)

    def _new_relaying(
        self, attempt: Attempt, job: Job, on_end: Callable[[Ended], None], prompt_tokens: int
    ) -> Relaying:
        model = self._view.models[job.ask.model]
        served = Served(
            pop=attempt.pop,
            engine=attempt.engine,
            country=attempt.country,
            entity=self._site(attempt.pop).entity,
            model_digest=model.digest,
        )
        engine = self._engine(attempt)
        return Relaying(
            job,
            served,
            self._down,
            on_end,
            profile=PROFILES[engine.profile] if engine is not None else None,
            answer_bytes_max=self._state.settings.answer_bytes_max,
            prompt_tokens=prompt_tokens,
            dialect=dialect_of(engine) if engine is not None else None,
        )

    def _engine(self, attempt: Attempt) -> Engine | None:
        """The engine that an attempt asks from here; None where the attempt goes to a peer."""
        if attempt.pop == self._view.here.id and attempt.engine is not None:
            return self._view.engines[attempt.engine]
        provider = self._view.providers.get(attempt.pop)
        if provider is None or attempt.engine is None:
            return None
        return next(one for one in provider.engines if one.id == attempt.engine)

    def _site(self, name: str) -> Place:
        provider = self._view.providers.get(name)
        return provider if provider is not None else self._view.pops[name]

    def _begin(self, relaying: Relaying, attempt: Attempt, job: Job) -> None:
        engine = self._engine(attempt)
        if engine is None:
            way = self._state.peer_way(attempt.pop, job.ask.route, self._view)
            if isinstance(way, Refused):
                relaying.refuse(way)
                return
            self._written_ticket = ticket_of(self._view, self._head, attempt, job)
            ticket = (TICKET_HEADER, self._written_ticket)
            relaying.begin(self._state.client.post(way, job.body, relaying, [ticket]))
            return
        if job.ask.route is Route.COUNT and not PROFILES[engine.profile].count_path:
            here = self._view.here
            digest = self._view.models[job.ask.model].digest
            relaying.estimate(Served(here.id, None, here.country, here.entity, digest))
            return
        where = place(attempt.pop, attempt.engine)
        if self._state.load.requests(where) > engine.in_flight_max:
            words = f"Engine {engine.id!r} is at its in_flight_max, {engine.in_flight_max}."
            relaying.refuse(Refused("no_engine_available", words, retry_after_ms=1000))
            return
        if not self._state.shares.take(where, job.tenant, engine.in_flight_max, now_us()):
            words = f"Engine {engine.id!r} has no slot of its in_flight_max, {engine.in_flight_max}"
            words += ", for this key now."
            relaying.crowded = self._state.shares.total(where) < engine.in_flight_max
            relaying.refuse(Refused("no_engine_available", words, retry_after_ms=1000))
            return
        relaying.pools.append(where)
        name = engine.name_of(job.ask.model) or job.ask.model
        keeps = bool(job.scope)  # else nothing of it may stay here, at an engine neither
        if self._abroad is not None:
            self._abroad.begin(relaying, attempt, engine, job, keeps)
            return
        body = engine_body(job.ask, job.body, PROFILES[engine.profile], name, keeps=keeps)
        way = self._state.engine_way(engine, job.ask.route)
        relaying.begin(self._state.client.post(way, body, relaying))

    def _hold_key(self, command: Claim) -> Reply:
        claimed = self._state.answered.claim(command, now_us())
        if claimed.state == "first":
            self._claim = command
        return claimed

    def _recall(self, command: Recall) -> None:
        cache, report = self._state.cache, self._inbound.report
        self._looking = Looking(cache, command, self._head, self._down, tell=self._go_on)
        self._looking.begin(report)

    def _remember(self, _: Remember) -> Reply:
        self._to_keep = True  # once its receipt is written
        return Written(now_us())

    def _intend(self, command: Intend) -> None:
        self._state.book.intend(command.receipt, command.personal, self._written)

    def _record(self, command: Record) -> None:
        def recorded(error: StoreFailed | None) -> None:
            if error is None:
                if self.is_clients:
                    self._state.metrics.recorded(command.receipt)
                self._spent = self._claim is not None and spends(command.receipt)
                if self._to_keep and self._looking is not None and self._relaying is not None:
                    self._looking.keep(
                        self._relaying.to_keep, command.receipt, self._view, self._inbound.report
                    )
            self._written(error)

        self._state.book.record(command.receipt, command.personal, recorded)

    def _attest(self, command: Attest) -> None:
        attested = attest(command.attestation, self._view.pair_keys[command.ingress])

        def vouched(error: StoreFailed | None) -> None:
            if error is None:
                self._go_on(Vouched(attested, now_us()))
            else:
                self._written(error)

        self._state.book.attest(attested, vouched)
        self._state.metrics.peers_served.labels(command.attestation.outcome.value).inc()

    def _written(self, error: StoreFailed | None) -> None:
        if error is None:
            self._state.metrics.open_intents.set(self._state.book.open_intents)
            self._go_on(Written(now_us()))
            return
        self._state.metrics.store_failures.inc()
        self._go_on(NotWritten(str(error), now_us()))

    def _tally(self, command: Tally) -> Reply:
        self._state.tally(command.code)
        return Written(now_us())


_AT_ONCE: Final[dict[type[Command], Callable[..., Reply]]] = {
    Claim: Interpreter._hold_key,
    Remember: Interpreter._remember,
    Resume: Interpreter._resume,
    Tally: Interpreter._tally,
}
_LATER: Final[dict[type[Command], Callable[..., None]]] = {
    ReadBody: Interpreter._read_body,
    Recall: Interpreter._recall,
    Intend: Interpreter._intend,
    Relay: Interpreter._relay,
    Record: Interpreter._record,
    Attest: Interpreter._attest,
}
