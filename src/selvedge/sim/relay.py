"""One attempt, from `Relay` to the reply: what every attempt has, and the one at a local engine.

An attempt ends once, by the first of: the answer's end, its failure, the deadline, the client.
Tokens are counted as the client got them: of an answer that is not streamed it gets none before the
end, which is held back for the receipt.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import msgspec

from selvedge.exchange import Ended, Failed, Gone, Job, Relayed, Served, cools
from selvedge.fabric import Attested, Head, Refused, Usage
from selvedge.routing import Attempt, place, prompt_tokens_of
from selvedge.sim.batching import BatchedAnswering, BatchingEngine
from selvedge.sim.border import Border
from selvedge.sim.clock import Clock, Timer
from selvedge.sim.conversation import Caller, Conversation
from selvedge.sim.engines import Answering, ModelledEngine, Work
from selvedge.sim.links import Links
from selvedge.wire import Ticket


class World(ABC):
    """What an attempt needs of the interpreter."""

    clock: Clock
    links: Links
    border: Border

    @abstractmethod
    def resume(self, conversation: Conversation, reply: Ended) -> None:
        """Go on with the story."""

    @abstractmethod
    def engine(self, pop: str, engine: str) -> ModelledEngine | BatchingEngine:
        """The engine of that name at that PoP."""

    @abstractmethod
    def call(self, pop: str, head: Head, ticket: str | Ticket, caller: Caller) -> Conversation:
        """Let a request arrive at a peer."""


class Relaying(ABC):
    """One attempt under way. `begin` returns the reply where there is one at once."""

    def __init__(
        self, world: World, conversation: Conversation, attempt: Attempt, job: Job
    ) -> None:
        self.world = world
        self.conversation = conversation
        self.attempt = attempt
        self.job = job
        self.over = False
        self.served: Served | None = None
        self._started_us = world.clock.now_us
        self._first_token_us: int | None = None
        self._timers: list[Timer] = []
        self._place = place(attempt.pop, attempt.engine)
        self._tokens = prompt_tokens_of(job.ask)

    @abstractmethod
    def open(self) -> Refused | None:
        """Let the bytes go; a refusal where nobody takes them."""

    @abstractmethod
    def cut(self) -> None:
        """Stop what runs for this attempt elsewhere."""

    @abstractmethod
    def generated(self) -> int:
        """Tokens that have come here from the engine by now."""

    @abstractmethod
    def let_go(self) -> None:
        """Hold nothing that holds this attempt: what is over is gone at once, without a search."""

    def begin(self) -> Ended | None:
        """Start; a deadline that has passed and a client that has left start nothing."""
        clock, wants = self.world.clock, self.conversation.caller.wants
        deadline_us, leaves_us = self.conversation.head.deadline_us, wants.leaves_us
        if deadline_us <= clock.now_us:
            return self.failed(_too_late())
        if leaves_us is not None and leaves_us <= clock.now_us:
            return self._gone()
        self._cross()
        self.conversation.pop.load.enter(self._place, self._tokens, clock.now_us)
        refused = self.open()
        if refused is not None:
            return self._left(self.failed(refused))
        self._timers.append(clock.at(deadline_us, self._miss_deadline))
        if leaves_us is not None:
            self._timers.append(clock.at(leaves_us, self.leave))
        self.conversation.relay = self
        return None

    def _cross(self) -> None:
        """Tell the witness where bytes go from here, and by which releases."""
        talk, attempt = self.conversation, self.attempt
        wants, engine = talk.caller.wants, attempt.engine
        served = (talk.view.release_hash, talk.head.received_us)
        self.world.border.cross(
            wants.key, wants.ingress, attempt.pop, engine, asked=wants.asked, served=served
        )

    def token(self, count: int) -> None:
        """A token that is waited for has come from the engine."""
        if self.over:
            return
        if self._first_token_us is None:
            self._first_token_us = self.world.clock.now_us
        assert self.served is not None
        if self.job.ask.stream and self.conversation.caller.hear(count, self.served):
            self.leave()

    def leave(self) -> None:
        """The client hangs up: what runs for it is stopped."""
        self.cut()
        self.end(self._gone())

    def end(self, ended: Ended) -> None:
        """The attempt is over, and the story goes on."""
        self.world.resume(self.conversation, self._left(ended))

    def delivered(self) -> int:
        """Tokens the client has got by now."""
        streamed = self.job.ask.stream and self._first_token_us is not None
        return self.generated() if streamed else 0

    def relayed(self, usage: Usage, attested: Attested | None = None) -> Relayed:
        """The reply for an answer that is complete."""
        asked_max = self.job.ask.output_tokens_max
        return Relayed(
            started_us=self._started_us,
            at_us=self.world.clock.now_us,
            tokens=self.delivered(),
            first_token_us=self._first_token_us,
            served=self.served,
            usage=usage,
            attested=attested,
            finish_reason="length" if asked_max and usage.output >= asked_max else "stop",
        )

    def failed(
        self, refused: Refused, attested: Attested | None = None, usage: Usage | None = None
    ) -> Failed:
        """The reply for an attempt that did not hold."""
        tokens = self.delivered()
        return Failed(
            started_us=self._started_us,
            at_us=self.world.clock.now_us,
            tokens=tokens,
            first_token_us=self._first_token_us,
            served=self.served,
            usage=usage or self._counted(tokens),
            attested=attested,
            refused=refused,
        )

    def break_off(self, who: str) -> None:
        """The answer ended without its end: before the first token, or in the midst of it."""
        code = "engine_interrupted" if self.delivered() else "engine_failed"
        self.end(self.failed(Refused(code, f"{who} broke off.", retry_after_ms=1000)))

    def _gone(self) -> Gone:
        tokens = self.delivered()
        return Gone(
            started_us=self._started_us,
            at_us=self.world.clock.now_us,
            tokens=tokens,
            first_token_us=self._first_token_us,
            served=self.served,
            usage=self._counted(tokens),
        )

    def _counted(self, tokens: int) -> Usage | None:
        """What was delivered is billed, by our own count."""
        prompt_tokens = self.conversation.caller.wants.work.prompt_tokens
        return Usage(input_uncached=prompt_tokens, output=tokens) if tokens else None

    def _miss_deadline(self) -> None:
        self.cut()
        self.end(self.failed(_too_late()))

    def _left(self, ended: Ended) -> Ended:
        self.over = True
        self.conversation.relay = None
        for timer in self._timers:
            timer.cancel()
        load = self.conversation.pop.load
        load.leave(self._place, self._tokens)
        if cools(ended):
            load.fail(self._place, ended.at_us)
        elif isinstance(ended, Relayed):
            load.mend(self._place)
        self._timers.clear()
        self.let_go()
        return ended


class LocalRelay(Relaying):
    """An attempt at an engine of the PoP's own; the engine's listener."""

    _answering: Answering | BatchedAnswering | None = None

    def open(self) -> Refused | None:
        """Ask the engine."""
        assert self.attempt.engine is not None
        wants, ask = self.conversation.caller.wants, self.job.ask
        work = _within(wants.work, ask.output_tokens_max)
        engine = self.world.engine(self.attempt.pop, self.attempt.engine)
        taken = engine.ask(work, wants.watch_tokens if ask.stream else None, self)
        if taken == "down":
            return Refused("engine_failed", "The engine refuses connections.", retry_after_ms=1000)
        if taken == "busy":
            return Refused("no_engine_available", "The engine is busy.", retry_after_ms=1000)
        self._answering = taken
        self.conversation.caller.began(taken)
        return None

    def token(self, count: int) -> None:
        """The engine's answer has begun, or has come as far as was asked."""
        if self.served is None:
            self.served = self.place()
        super().token(count)

    def place(self) -> Served:
        """Who answers."""
        view, pop = self.conversation.view, self.attempt.pop
        site = view.providers.get(pop) or view.here
        digest = view.models[self.job.ask.model].digest
        return Served(site.id, self.attempt.engine, site.country, site.entity, digest)

    def done(self) -> None:
        """The engine's answer is complete."""
        assert self._answering is not None
        work = self._answering.work
        cached = 0
        if isinstance(self._answering, BatchedAnswering):
            cached = self._answering.cached_tokens or 0
        usage = Usage(
            work.prompt_tokens - cached,
            cache_read=cached,
            output=work.output_tokens,
            provenance="reported",
        )
        self.end(self.relayed(usage))

    def broken(self) -> None:
        """The engine went down."""
        self.break_off("The engine")

    def cut(self) -> None:
        """Free the engine's slot."""
        assert self._answering is not None
        self._answering.cancel()

    def generated(self) -> int:
        """The engine is here: what it has generated has come."""
        return self._answering.tokens_at(self.world.clock.now_us) if self._answering else 0

    def let_go(self) -> None:
        """The answer has this as its listener."""
        self._answering = None


def _within(work: Work, output_tokens_max: int | None) -> Work:
    """What the engine will do: a client may have asked for fewer tokens."""
    if output_tokens_max is None or output_tokens_max >= work.output_tokens:
        return work
    return msgspec.structs.replace(work, output_tokens=max(output_tokens_max, 1))


def _too_late() -> Refused:
    return Refused("deadline_exceeded", "The request's deadline passed.")
