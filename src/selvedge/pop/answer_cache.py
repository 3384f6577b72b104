"""The answer cache as one worker uses it: exact look-ups here, the rest asked of another process.

Whatever fails here is a miss: no request is refused for it. An identical request that runs already
is waited for, in this worker: whoever is first leads, and at its end the others have its answer,
or go on by themselves. What is similar is asked of the cache process, with a deadline; what was
answered is handed to it, and nobody waits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import msgspec

from selvedge.adapters import Entropy, KeptAnswer
from selvedge.cache import Candidate, Scope, cache_status, why_not_kept
from selvedge.exchange import (
    ClientLeft,
    FleetView,
    Judged,
    Kept,
    Recall,
    Recalled,
    Reply,
    Reuse,
    Served,
)
from selvedge.fabric import Head, Price, Receipt, SelvedgeError, Usage
from selvedge.ledger import cost_of
from selvedge.pop.cache_way import Desk, Judges, Link, Similar, Store
from selvedge.pop.clock import now_us
from selvedge.pop.deadlines import Deadline, Deadlines
from selvedge.pop.downstream import Downstream
from selvedge.pop.metrics import CacheCounters
from selvedge.wire import (
    answer_again,
    chunks_again,
    new_answer_id,
    render_done,
    render_stream,
    said,
)

ID_BYTES: Final = 12
LOOK_AGAIN_US: Final = 1_000_000
"""How often who waits for an identical request looks whether it still goes on."""
_COUNTED: Final = ("found", "none", "late", "down", "dropped")
Answer: TypeAlias = tuple[tuple[bytes, ...], bytes]
"""Chunks of a stream, or the JSON of a whole answer; one of them is empty."""
Report: TypeAlias = Callable[[BaseException], None]
log: Final = logging.getLogger("selvedge.cache")
Key: TypeAlias = tuple[Scope, bytes]


class Flight:
    """A request that runs, and those that wait for its answer."""

    __slots__ = ("leader", "waiting")

    def __init__(self, leader: Downstream) -> None:
        self.leader = leader
        self.waiting: dict[Looking, None] = {}


class AnswerCache:
    """One per process, on the event loop's thread."""

    def __init__(self, deadlines: Deadlines, counted: CacheCounters) -> None:
        self.store: Store | None = None
        """None: nothing is found on the disk."""
        self.link: Link | None = None
        """None: nothing similar is looked for, and nothing is kept."""
        self.desk: Desk | None = None
        self.deadlines = deadlines
        self.counted = counted
        self.flights: dict[Key, Flight] = {}
        self.is_reading = False
        """Whether the journals are being read for a report: one at a time."""
        self.opening: Callable[[], tuple[Store, Link, Desk]] | None = None
        """How the way is opened once a class has a cache; None: never."""
        self.judges: Judges | None = None
        """Who asks models whether answers say the same; None: nobody."""
        self._entropy = Entropy()
        self._counted = dict.fromkeys(_COUNTED, 0)

    def opened_by(self, opening: Callable[[], tuple[Store, Link, Desk]], judges: Judges) -> None:
        """How the way is opened, and who asks models, from now on."""
        self.opening, self.judges = opening, judges

    def serve(self, *, wanted: bool) -> None:
        """Have the way open while a class of the release has a cache."""
        if wanted and self.link is None and self.opening is not None:
            try:
                self.store, self.link, self.desk = self.opening()
            except SelvedgeError as error:
                log.error("the cache is not used: %s", error)
                return
            self._counted = dict.fromkeys(_COUNTED, 0)
            if self.judges is not None:
                self.link.judge_by(self.judges)
            self.link.start()
        elif not wanted:
            self.close()

    def close(self) -> None:
        """Let go of the way."""
        self.count()
        link, self.link = self.link, None
        self.store = self.desk = None
        if link is not None:
            link.stop()

    def count(self) -> None:
        """Take what the way has counted since; to be called now and then."""
        if self.link is None:
            return
        for name in _COUNTED:
            now = int(getattr(self.link.counts, name))
            family = self.counted.kept if name == "dropped" else self.counted.similar
            family.labels(name).inc(now - self._counted[name])
            self._counted[name] = now

    def new_id(self) -> str:
        """The id of an answer that is to be kept."""
        return f"ce_{self._entropy.take(ID_BYTES).hex()}"


class Looking:
    """One request's look into the cache. ``tell`` hears what came of it, exactly once.

    `end` is to be called when the request is over.
    """

    __slots__ = (
        "_began_us",
        "_cache",
        "_deadline",
        "_down",
        "_flight",
        "_head",
        "_how",
        "_kept",
        "_leads",
        "_ready",
        "_recall",
        "_tell",
    )

    def __init__(
        self,
        cache: AnswerCache,
        recall: Recall,
        head: Head,
        down: Downstream,
        *,
        tell: Callable[[Reply], None],
    ) -> None:
        self._cache = cache
        self._recall = recall
        self._head = head
        self._down = down
        self._tell: Callable[[Reply], None] | None = tell
        self._flight: Flight | None = None
        self._leads = False
        self._deadline: Deadline | None = None
        self._ready = b""
        self._how = "engine"
        self._kept: KeptAnswer | None = None
        self._began_us = now_us()
        down.on_gone = self.client_left

    # What is recalled.

    def begin(self, report: Report) -> None:
        """Look; what there is at once is told at once."""
        try:
            self._look()
        except Exception as error:  # noqa: BLE001 (counted and logged; it is a miss)
            report(error)
            self.give_up()

    def _look(self) -> None:
        recall, cache = self._recall, self._cache
        if not recall.wish.reuses:
            self._go_on(search=False)
            return
        kept = None
        if cache.store is not None:
            kept = cache.store.get(recall.scope, recall.asked.exact, self._began_us)
        if kept is not None:
            self._give(kept, "exact")
            return
        flight = cache.flights.get((recall.scope, recall.asked.exact))
        if flight is None:
            self._go_on(search=True)
            return
        self._flight = flight
        flight.waiting[self] = None
        self._wait()

    def _wait(self) -> None:
        """Wait on, unless it is too late, or who leads reads slowly."""
        flight, at_us, last_us = self._flight, now_us(), self._head.deadline_us
        if flight is None or flight.leader.paused or at_us >= last_us:
            self.give_up()
            return
        at_us = min(last_us, at_us + LOOK_AGAIN_US)
        self._deadline = self._cache.deadlines.add(at_us, self._wait)

    def client_left(self) -> None:
        """The client hung up: wait no longer."""
        self._leave()
        self._say(ClientLeft(now_us()))

    def give_up(self) -> None:
        """Look no longer: it is a miss."""
        self._leave()
        self._say(Recalled((), now_us()))

    def landed(self, kept: KeptAnswer | None) -> None:
        """Who was waited for has ended."""
        self._leave()
        if kept is not None:
            self._give(kept, "shared")
        else:
            self._go_on(search=True)

    def _leave(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._flight is not None:
            self._flight.waiting.pop(self, None)
            self._flight = None

    def _go_on(self, *, search: bool) -> None:
        """Nobody has the same answer: this request may lead, and something similar may do."""
        recall, cache = self._recall, self._cache
        key, wish, rule = (recall.scope, recall.asked.exact), recall.wish, recall.rule
        if self.keeps and not wish.only_if_cached and key not in cache.flights:
            cache.flights[key] = Flight(self._down)
            self._leads = True
        if not search or rule.semantic is None or not recall.asked.bucket:
            self._say(Recalled((), now_us()))
            return
        if cache.link is None:
            cache.counted.similar.labels("down").inc()
            self._say(Recalled((), now_us()))
            return
        if wish.threshold is not None and rule.semantic == "static":
            # In hundredths, each a route with audits of its own: the story looks at the number.
            rule = msgspec.structs.replace(rule, threshold=int(wish.threshold * 100) / 100)
        cache.link.recall(recall.scope, rule, recall.asked, now_us(), self._similar, key=recall.key)

    def _similar(self, found: Similar | None) -> None:
        if self._tell is None:
            return  # its client has left
        if found is None:
            self._say(Recalled((), now_us()))
            return
        self._give(found.entry, "similar", found.similarity)

    def _give(self, kept: KeptAnswer, how: str, similarity: float = 1.0) -> None:
        """What was found, ready to be sent before it is promised; broken, it is a miss."""
        try:
            self._ready = self._rendered(kept)
        except (msgspec.MsgspecError, TypeError, ValueError, LookupError, AttributeError):
            self._cache.counted.kept.labels("broken").inc()
            self._go_on(search=False)
            return
        self._how = how
        found = candidate(self._recall.scope, kept, similarity, same=how != "similar")
        self._say(Recalled((found,), now_us()))

    def _rendered(self, kept: KeptAnswer) -> bytes:
        ask = self._recall.ask
        new_id = new_answer_id(ask.route, self._head.request_id.removeprefix("req_"))
        if ask.stream:
            chunks = chunks_again(ask, kept.payloads, kept.body, kept.usage, new_id)
            return render_stream(chunks) + render_done()
        return answer_again(ask, kept.payloads, kept.body, kept.usage, new_id)

    def _say(self, reply: Reply) -> None:
        tell, self._tell = self._tell, None
        if tell is not None:
            self._down.on_gone = None
            self._down.cache_us = now_us() - self._began_us
            tell(reply)

    # What is sent.

    def missed(self) -> None:
        """An engine is asked."""
        down = self._down
        if not down.cache_status:
            self._cache.counted.answers.labels("engine").inc()
            down.cache_status = cache_status("uri-miss" if self._recall.wish.reuses else "request")

    def give(self, ending: Reuse) -> Kept | None:
        """Send what was found; the JSON that was sent, None where it was a stream."""
        found, down = ending.found, self._down
        left_s = found.ttl_us // 1_000_000 - ending.age_s
        shared = self._how == "shared"
        status = cache_status("uri-miss" if shared else None, collapsed=shared, ttl_s=left_s)
        similarity = f"{found.similarity:.4f}"
        down.reuse((status, str(ending.age_s), found.id, similarity))
        if self._cache.link is not None and not shared:
            self._cache.link.hit(found.scope, found.id)
        counted = self._cache.counted
        counted.answers.labels(self._how).inc()
        counted.tokens_saved.inc(found.usage.total)
        engine = found.served_engine
        served = Served(found.served_pop, engine, found.country, found.entity, found.model_digest)
        if self._recall.ask.stream:
            down.finish_stream(served, self._ready)
            return None
        down.answer(served, self._ready, None)
        return Kept(self._ready, served, found.finish_reason)

    # What is kept.

    @property
    def keeps(self) -> bool:
        """Whether an engine's answer may be kept, as far as the request says."""
        return self._recall.wish.keeps and self._recall.ask.choices == 1

    @property
    def answer_bytes_max(self) -> int:
        """Of the largest answer that is kept."""
        return self._recall.rule.answer_bytes_max

    def keep(
        self,
        take: Callable[[], Answer | None],
        receipt: Receipt,
        view: FleetView,
        report: Report,
    ) -> None:
        """Hand a whole answer over, whose receipt is written, unless it is not to be kept."""
        try:
            self._kept = self._keep(take(), receipt, view.models[receipt.model or ""].price)
        except Exception as error:  # noqa: BLE001 (counted and logged; it is not kept)
            report(error)

    def _keep(
        self, answer: Answer | None, receipt: Receipt, price: Price | None
    ) -> KeptAnswer | None:
        counted, recall = self._cache.counted.kept, self._recall
        if answer is None:
            counted.labels("large").inc()
            return None
        payloads, body = answer
        if self._is_awaited() and self._is_unfit(payloads, body, receipt.finish_reason):
            counted.labels("unfit").inc()
            return None
        kept = _made(recall, receipt, price, self._cache.new_id())
        kept = msgspec.structs.replace(kept, payloads=payloads, body=body)
        if self._cache.link is None:
            counted.labels("down").inc()
        else:
            counted.labels("handed").inc()
            scope, rule, asked = recall.scope, recall.rule, recall.asked
            if recall.admitted is not None and self._cache.judges is not None:
                judged = Judged(recall.admitted, recall.ask.prefers, receipt.id)
                self._cache.judges.expects(kept.id, judged)
            self._cache.link.remember(scope, rule, asked, kept, key=recall.key)
        return kept

    def _is_awaited(self) -> bool:
        """Whether others wait for this answer. The process asks itself whether it may be kept."""
        if not self._leads:
            return False
        flight = self._cache.flights.get((self._recall.scope, self._recall.asked.exact))
        return flight is not None and bool(flight.waiting)

    def _is_unfit(self, payloads: Sequence[bytes], body: bytes, reason: str | None) -> bool:
        """Whether it is one person's, or of its day: who waited has an answer of their own."""
        asked = self._recall.asked
        return why_not_kept(asked.text or asked.asks, said(payloads, body), reason) is not None

    def end(self) -> None:
        """The request is over; who waited for it has its answer, or goes on."""
        self._leave()
        self._tell = None
        if not self._leads:
            return
        self._leads = False
        flight = self._cache.flights.pop((self._recall.scope, self._recall.asked.exact), None)
        for one in list(flight.waiting) if flight is not None else ():
            one.landed(self._kept)


def _made(recall: Recall, receipt: Receipt, price: Price | None, new_id: str) -> KeptAnswer:
    """What the receipt says of an answer. One without a price is worth its tokens."""
    usage = receipt.usage or Usage()
    return KeptAnswer(
        id=new_id,
        made_us=receipt.ended_us,
        ttl_us=recall.rule.ttl_s * 1_000_000,
        model=recall.asked.model,
        model_digest=receipt.model_digest,
        finish_reason=receipt.finish_reason,
        served_pop=receipt.served_pop or "",
        served_engine=receipt.served_engine or "",
        country=receipt.processed_in or "",
        entity=receipt.served_entity or "",
        usage=usage,
        receipt=receipt.id,
        tags=recall.wish.tags,
        cost_micro=usage.total if price is None else cost_of(price, usage),
    )


def candidate(scope: Scope, kept: KeptAnswer, similarity: float, same: bool) -> Candidate:
    """A kept answer as the story judges it."""
    return Candidate(
        id=kept.id,
        scope=scope,
        model=kept.model,
        model_digest=kept.model_digest or "",
        made_us=kept.made_us,
        ttl_us=kept.ttl_us,
        receipt=kept.receipt,
        finish_reason=kept.finish_reason or "",
        usage=kept.usage,
        served_pop=kept.served_pop,
        served_engine=kept.served_engine or None,
        country=kept.country,
        entity=kept.entity,
        similarity=similarity,
        same=same,
    )
