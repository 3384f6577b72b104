"""An attempt at a peer: a real ticket over a link, the peer's own story, and its word back.

The serving PoP runs `exchange.serve_peer` with its own view and ticket book. Both directions of the
link keep bytes in order and take their time; a token that is on the way when the client leaves has
not been delivered.
"""

from __future__ import annotations

from typing import Final

from selvedge.exchange import Deliver, Ending, Job, Refuse, Served
from selvedge.fabric import Attested, Head, Refused, Usage
from selvedge.routing import Attempt
from selvedge.sim.batching import BatchedAnswering
from selvedge.sim.conversation import Caller, Conversation, Wants
from selvedge.sim.engines import Answering
from selvedge.sim.relay import Relaying, World
from selvedge.wire import Ticket, body_hash, holds, issue

_OF_NOTHING: Final = body_hash(b"")


class Forward(Relaying):
    """The ingress's end of a forwarded request."""

    def __init__(
        self, world: World, conversation: Conversation, attempt: Attempt, job: Job
    ) -> None:
        super().__init__(world, conversation, attempt, job)
        here, there = conversation.pop.id, attempt.pop
        self._there_us, self.back_us = world.links.ways_us(here, there)
        self._line: Line | None = Line(self, conversation.caller.wants)
        self._is_cut = False
        self._at_peer: Conversation | None = None
        self._sealed = conversation.caller.wants.sealed
        self.ticket: str | Ticket = ""

    def open(self) -> Refused | None:
        """Send ticket and body."""
        if self.world.links.are_cut(self.conversation.pop.id, self.attempt.pop):
            words = f"PoP {self.attempt.pop!r} cannot be reached."
            return Refused("engine_failed", words, retry_after_ms=1000)
        ticket = self._ticket()
        self.ticket = issue(ticket, self._pair_key()) if self._sealed else ticket
        self.world.clock.after(self._there_us, self._arrive)
        return None

    def cut(self) -> None:
        """Close the connection; the peer learns of it one way later."""
        self._is_cut = True
        self.world.clock.after(self._there_us, self._close)

    def generated(self) -> int:
        """What had left the peer one way ago."""
        answering = self._line.answering if self._line is not None else None
        return answering.tokens_at(self.world.clock.now_us - self.back_us) if answering else 0

    def let_go(self) -> None:
        """The line and the peer's side of it; after a cut the peer has yet to hear of it."""
        if self._is_cut:
            return
        if self._line is not None:
            self._line.answering = None
        self._line = self._at_peer = None

    def hear(self, count: int, served: Served) -> None:
        """A token of the peer's stream has come over the link."""
        self.served = served
        self.token(count)

    def hear_end(self, ending: Ending) -> None:
        """The peer's story ended, one way ago."""
        if self.over:
            return
        match ending:
            case Deliver(attested=attested) if attested is not None:
                self.end(self.relayed(self._take_word(attested), attested))
            case Refuse(refused=refused, attested=attested):
                # Over the wire a peer's word on a broken answer follows its stream, not a status.
                heard = attested if self.delivered() else None
                usage = self._take_word(heard) if heard is not None else None
                self.end(self.failed(refused, heard, usage))
            case _:
                self.break_off(f"PoP {self.attempt.pop!r}")

    def _take_word(self, attested: Attested) -> Usage:
        assert self._at_peer is not None
        word = attested.decode() if self._sealed else self._at_peer.word
        assert word is not None
        assert not self._sealed or holds(attested, self._pair_key()), "a word does not hold"
        assert word.request_id == self.conversation.head.request_id
        self.served = Served(word.pop, word.engine, word.country, word.entity, word.model_digest)
        return word.usage

    def _pair_key(self) -> bytes:
        return self.conversation.view.pair_keys[self.attempt.pop]

    def _arrive(self) -> None:
        head, now_us = self.conversation.head, self.world.clock.now_us
        assert self._line is not None
        at_peer = Head(
            request_id=head.request_id,
            receipt_id=head.receipt_id,
            route=head.route,
            authorization=None,
            content_length=head.content_length,
            received_us=now_us,
            deadline_us=now_us + self._deadline_ms() * 1000,
        )
        self._at_peer = self.world.call(self.attempt.pop, at_peer, self.ticket, self._line)

    def _close(self) -> None:
        assert self._at_peer is not None, "bytes on a link stay in order"
        self._at_peer.leave()
        self._is_cut = False
        self.let_go()

    def _deadline_ms(self) -> int:
        return (self.conversation.head.deadline_us - self._started_us) // 1000

    def _ticket(self) -> Ticket:
        head, job, view = self.conversation.head, self.job, self.conversation.view
        return Ticket(
            id=f"{head.request_id}-{self._started_us}-{self.attempt.pop}",
            request_id=head.request_id,
            ingress=view.here.id,
            serving=self.attempt.pop,
            tenant=job.tenant,
            data_class=job.data_class,
            rule=job.rule,
            allowed=job.allowed,
            release=view.release.version,
            release_hash=view.release_hash,
            route=head.route,
            model=job.ask.model,
            body_sha256=body_hash(job.body) if job.body else _OF_NOTHING,
            deadline_ms=self._deadline_ms(),
            issued_us=self._started_us,
            patience_us=self.attempt.patience_us,
            handling=job.handling,
            zones=job.zones,
        )


class Line(Caller):
    """The ingress as the serving PoP sees it: a caller at the other end of a link."""

    __slots__ = ("_forward", "answering")

    def __init__(self, forward: Forward, wants: Wants) -> None:
        self._forward = forward
        self.wants = wants.at_peer()
        self.answering: Answering | BatchedAnswering | None = None

    def began(self, answering: Answering | BatchedAnswering) -> None:
        """Which answer's tokens are on the line."""
        self.answering = answering

    def hear(self, count: int, served: Served) -> bool:
        """A token enters the link; what the client makes of it shows at the ingress.

        The last one tells the ingress nothing that the end of the answer, right behind, does not.
        """
        if count > 1 and count != self.wants.watch_tokens:
            return False
        forward = self._forward
        forward.world.clock.after(forward.back_us, lambda: forward.hear(count, served))
        return False

    def ended(self, ending: Ending) -> None:
        """The end of the answer enters the link."""
        forward = self._forward
        forward.world.clock.after(forward.back_us, lambda: forward.hear_end(ending))
