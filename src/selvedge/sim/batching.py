"""Engines that batch continuously, as vLLM and its kin do, in virtual time.

An engine works in *iterations*. Each gives every answer under way one token, and spends what is
left of its token budget on prompts, in chunks, first come first served. Its length is a `Timing` of
what it did. A prompt is admitted when a slot and the memory for all of it are free; the leading
blocks that are in memory already are not computed again (`blocks`). When answers grow beyond the
memory, the one admitted last is preempted: it waits in front, and is recomputed.

Nothing happens token by token. While no prompt is computed, the length of the next k iterations
together is a closed form (a cubic in k, for memory that grows by one token per answer and step), so
that they are one event; who asks, cancels or looks in between finds the step by bisection. One
counter of steps serves all answers: what an answer has is the counter less where it began.

Left out: blocks of generated text are not kept for the next turn, speculative decoding, swapping to
host memory. It refuses to know PoPs, links and clients.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import Literal

from selvedge.routing import ModelReport
from selvedge.sim.answering import NOT_DECODING
from selvedge.sim.answering import BatchedAnswering as BatchedAnswering
from selvedge.sim.blocks import Blocks
from selvedge.sim.clock import Clock, Timer
from selvedge.sim.engines import REMEMBERED_US, Listener, Work
from selvedge.sim.forecast import UnderWay, foresee
from selvedge.sim.iterations import BatchingModel as BatchingModel
from selvedge.sim.iterations import Costs, Pace, Span
from selvedge.sim.iterations import Timing as Timing


class BatchingEngine:
    """Memory, slots, the queue before them, and the iterations in which they advance."""

    __slots__ = (
        "_alarm",
        "_busy",
        "_chunks",
        "_clock",
        "_context",
        "_count",
        "_downs",
        "_due",
        "_full",
        "_full_us",
        "_kv_tokens",
        "_leaving",
        "_logged",
        "_order",
        "_pace",
        "_past",
        "_prefilling",
        "_queue",
        "_rate",
        "_residence_us",
        "_running",
        "_slack",
        "_slots",
        "_span",
        "_steps",
        "_waiting_tokens",
        "blocks",
        "cached_tokens",
        "model",
        "preemptions",
        "prompt_tokens",
    )

    def __init__(self, clock: Clock, model: BatchingModel) -> None:
        self.model = model
        self.blocks = Blocks(model.kv_tokens)
        self.preemptions = 0
        self.prompt_tokens = 0
        """Of prompts admitted, with what preemption made them compute again."""
        self.cached_tokens = 0
        """Of these, found in memory."""
        self._clock = clock
        self._rate = model.prefill_tokens_per_s
        self._slack = model.block_tokens // 2
        # Read out once: fields of a struct are not fields of a compiled class.
        self._slots: int = model.slots
        self._full: int = model.batch_tokens
        self._kv_tokens: int = model.kv_tokens
        self._full_us: float = model.timing.prefill_us(model.batch_tokens)
        self._pace = Pace(model.timing)
        self._running: dict[BatchedAnswering, None] = {}
        self._prefilling: dict[BatchedAnswering, None] = {}
        self._queue: deque[BatchedAnswering] = deque()
        self._chunks: list[tuple[BatchedAnswering, int]] = []
        self._leaving: list[BatchedAnswering] = []
        self._due: list[tuple[int, int, int, int, BatchedAnswering]] = []
        self._past: deque[Span] = deque()
        self._logged = 0, 0
        self._span: Span | None = None
        self._alarm: Timer | None = None
        self._busy = False
        self._context = 0
        self._count = 0
        self._downs = 0
        self._order = 0
        self._steps = 0
        self._waiting_tokens = 0
        self._residence_us = 0

    @property
    def in_flight(self) -> int:
        """Answers in slots and in the queue."""
        return self._count

    @property
    def now_us(self) -> int:
        """The virtual moment."""
        return self._clock.now_us

    @property
    def context(self) -> int:
        """Tokens of prompt and answer, of all answers that are decoded, at the last event."""
        return self._context

    def report(self) -> ModelReport:
        """What routing hears of it. Tokens of the queue count as uncached as when they came."""
        running, rate = len(self._running), self._rate
        if running:
            step_us = self._full_us + self._pace.decode_us(running, self._context)
            rate = max(1, int(self._full * 1e6 / step_us))
        return ModelReport(
            waiting_tokens=self._waiting_tokens,
            running=running,
            slots=self._slots,
            kv_free=self.blocks.free,
            prefill_tokens_per_s=rate,
            kv_tokens=self._kv_tokens,
            kv_wanted=sum([one.total - one.computed for one in self._queue]),
            residence_ms=self._residence_us // 1000,
        )

    def predict_us(self, work: Work) -> int:
        """Time to the first token if this came now, from exact state: prompts come in their order.

        Not foreseen: waiting for a slot or for memory, and answers that end meanwhile.
        """
        now_us, timing, full = self._clock.now_us, self.model.timing, self.model.batch_tokens
        usable = (work.prompt_tokens - 1) // work.block_tokens
        known = self.blocks.matched(work.prefix, usable) if self.model.prefix_cache else 0
        tokens = self._waiting_tokens + work.prompt_tokens - known * work.block_tokens
        rest_us = 0
        if self._span is not None:
            done = self._span.done_by(now_us)
            rest_us = max(0, self._span.end_of(done + 1) - now_us)
        whole, last = divmod(tokens, full)
        us = whole * timing.prefill_us(full) + (timing.prefill_us(last) if last else 0.0)
        answers, context = len(self._running), self._context
        if not timing.first_free:
            answers, context = answers + 1, context + work.prompt_tokens
        step_us = timing.decode_us(answers, context) if answers else 0.0
        return rest_us + int(us + step_us * (whole + (last > 0)))

    def forecast_us(self, work: Work) -> int:
        """Time to the first token if this came now, by its schedule played forward (`forecast`)."""
        then = 0, self._steps, self.blocks.held
        if self._span is not None:
            done = self._span.done_by(self._clock.now_us) + 1
            rest_us = max(0, self._span.end_of(done) - self._clock.now_us)
            held = self.blocks.held + done * len(self._running)
            then = rest_us, self._steps + done, held
        lists = list(self._running), list(self._prefilling), list(self._queue)
        return foresee(UnderWay(self.model, self.blocks, then, lists), work)

    def metrics(self) -> tuple[int, float]:
        """Requests that wait and the share of memory held, as its metrics page shows them.

        An engine renews these between iterations: while it computes prompts, which may take a
        second, they are as before them. This is how balancers that poll come to herd.
        """
        waiting, held = self._logged if self._chunks else (len(self._queue), self.blocks.held)
        return waiting, min(1.0, held / self.blocks.capacity)

    def matched(self, prefix: tuple[int, ...]) -> int:
        """How many leading blocks of a prompt are in memory."""
        return self.blocks.matched(prefix, len(prefix))

    def digest_blocks(self) -> list[object]:
        """Every block in memory, by name."""
        return self.blocks.names()

    def block_changes(self) -> tuple[set[object], set[object]]:
        """Blocks that came and went since this was last asked."""
        return self.blocks.changes()

    def ask(
        self, work: Work, watch: int | None, listener: Listener
    ) -> BatchedAnswering | Literal["down", "busy"]:
        """Start or queue an answer; the listener also hears of its token number ``watch``.

        An answer that could never fit into the memory finds the engine busy at any time.
        """
        if self._downs:
            return "down"
        size = work.prompt_tokens + work.output_tokens + self._slack
        if self._count >= self.model.in_flight_max or size > self.model.kv_tokens:
            return "busy"
        answering = BatchedAnswering(self, work, watch, listener)
        if self.model.prefix_cache:
            answering.usable = (answering.prompt_tokens - 1) // answering.block_tokens
        known = self.blocks.matched(answering.prefix, answering.usable)
        answering.computed = known * answering.block_tokens
        self._waiting_tokens += answering.prompt_tokens - answering.computed
        self._count += 1
        self._queue.append(answering)
        if self._span is None:
            if not self._busy:
                self._start()
        elif len(self._queue) == 1 and self._span.steps > 1 and self._fits(answering, known):
            self._cut(self._span)
        return answering

    def cancel(self, answering: BatchedAnswering) -> None:
        """Free the slot, or the place in the queue, of an answer that nobody waits for."""
        if answering.stopped:
            return
        self._stop(answering)
        if self._span is None and not self._busy:
            self._start()

    def go_down(self) -> None:
        """Break every answer, lose the memory, and refuse whoever asks, until all `come_up`."""
        self._downs += 1
        broken = [*self._running, *self._prefilling, *self._queue]
        broken = [answering for answering in broken if not answering.stopped]
        for answering in broken:
            self._settle(answering)
        self._running.clear()
        self._prefilling.clear()
        self._queue.clear()
        self._chunks.clear()
        self._leaving.clear()
        self._due.clear()
        self.blocks.clear()
        if self._span is not None:
            self._steps += self._span.done_by(self._clock.now_us)
            self._cut_past(self._span)
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._span = None
        self._context = self._count = self._waiting_tokens = 0
        for answering in broken:
            answering.listener.broken()

    def come_up(self) -> None:
        """Answer again, where no other outage lasts."""
        self._downs -= 1

    def steps_at(self, at_us: int) -> int:
        """The counter of iterations at a moment; before all memory, at its oldest."""
        for span in reversed(self._past):
            if span.start_us <= at_us:
                return span.before + span.done_by(at_us)
        return self._past[0].before if self._past else self._steps

    def _settle(self, answering: BatchedAnswering) -> None:
        """It stops here: what it has is what it had."""
        if answering.offset != NOT_DECODING:
            answering.generated = answering.tokens_at(self._clock.now_us)
        answering.stopped = True

    def _stop(self, answering: BatchedAnswering) -> None:
        """Take it out now, or at the end of the iteration under way where it takes part."""
        self._settle(answering)
        self._count -= 1
        if answering not in self._running and answering not in self._prefilling:
            self._queue.remove(answering)
            self._waiting_tokens -= answering.total - answering.computed
        elif self._span is None:
            self._forget(answering)
        else:
            self._leaving.append(answering)
            if self._span.steps > 1:
                self._cut(self._span)

    def _forget(self, answering: BatchedAnswering) -> None:
        """Its slot and its memory are free; its prompt's blocks stay for whoever comes."""
        tokens = answering.total
        if answering in self._running:
            del self._running[answering]
            grown = answering.prompt_tokens + self._steps - answering.offset
            self._context -= grown
            tokens = grown
        else:
            del self._prefilling[answering]
            self._waiting_tokens -= answering.total - answering.computed
        pins, block_tokens = answering.pins, answering.block_tokens
        self.blocks.held -= tokens + self._slack - pins * block_tokens
        self.blocks.release(answering.prefix, pins, block_tokens)

    def _cut(self, span: Span) -> None:
        """End the span with the iteration that is under way."""
        span.steps = min(span.steps, span.done_by(self._clock.now_us) + 1)
        span.end_us = span.end_of(span.steps)
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._clock.at(max(span.end_us, self._clock.now_us), self._ring)

    def _cut_past(self, span: Span) -> None:
        """What a span that broke off has done is all it did."""
        span.steps = span.done_by(self._clock.now_us)
        span.end_us = self._clock.now_us

    def _fits(self, answering: BatchedAnswering, known: int) -> bool:
        """Whether a slot, and the memory for all but ``known`` blocks of its prompt, are free."""
        if len(self._running) + len(self._prefilling) >= self._slots:
            return False
        blocks = self.blocks
        shared = blocks.pinned(answering.prefix, known) * answering.block_tokens
        room = blocks.capacity - blocks.held - len(self._running)
        return answering.total - shared + self._slack <= room

    def _start(self) -> None:
        """Begin the next iterations, at the end of the last."""
        if self._downs:
            return
        self._logged = len(self._queue), self.blocks.held
        budget = self._full - len(self._running)
        preempted = self._make_room()
        tokens = pairs = 0
        for answering in self._prefilling:
            if budget <= 0:
                break
            chunk = self._compute(answering, budget)
            budget -= chunk
            tokens += chunk
            pairs += chunk * (answering.computed - chunk)
        while self._queue and budget > 0 and not preempted:
            answering = self._queue[0]
            known = self.blocks.matched(answering.prefix, answering.usable)
            if not self._fits(answering, known):
                break
            self._queue.popleft()
            self._admit(answering, known)
            chunk = self._compute(answering, budget)
            budget -= chunk
            tokens += chunk
            pairs += chunk * (answering.computed - chunk)
        self.blocks.evict()
        if tokens:
            self._begin(1, self._mixed_us(tokens, pairs))
        elif self._running:
            self._begin(*self._decoding())

    def _make_room(self) -> bool:
        """Preempt the newest until every answer's next token has a place."""
        preempted = False
        while self.blocks.held + len(self._running) > self.blocks.capacity:
            among = self._prefilling or self._running
            self._preempt(next(reversed(among)))
            preempted = True
        return preempted

    def _preempt(self, answering: BatchedAnswering) -> None:
        """Its memory is taken, and it waits in front of all others."""
        if answering in self._running:
            answering.generated = self._steps - answering.offset
        self._forget(answering)
        answering.total = answering.prompt_tokens + answering.generated
        answering.offset = NOT_DECODING
        answering.epoch += 1
        answering.pins = answering.computed = 0
        self.preemptions += 1
        self._waiting_tokens += answering.total
        self._queue.appendleft(answering)

    def _admit(self, answering: BatchedAnswering, known: int) -> None:
        """Give it a slot, the memory of its prompt, and what of it is here already."""
        blocks = self.blocks
        cached = known * answering.block_tokens
        blocks.take(answering.prefix, known, answering.block_tokens)
        blocks.held += answering.total - cached + self._slack
        self._waiting_tokens += answering.computed - cached
        answering.pins = known
        answering.computed = cached
        if answering.cached_tokens is None:
            answering.cached_tokens = cached
        self.prompt_tokens += answering.total
        self.cached_tokens += cached
        answering.admitted_us = self._clock.now_us
        self._prefilling[answering] = None

    def _compute(self, answering: BatchedAnswering, budget: int) -> int:
        """Put as much of a prompt as fits into this iteration, and name its blocks."""
        prefix, block_tokens = answering.prefix, answering.block_tokens
        chunk = min(answering.total - answering.computed, budget)
        answering.computed += chunk
        self._waiting_tokens -= chunk
        full = min(answering.computed // block_tokens, answering.usable, len(prefix))
        if full > answering.pins:
            self.blocks.keep(prefix, answering.pins, full, block_tokens)
            answering.pins = full
        self._chunks.append((answering, chunk))
        return chunk

    def _mixed_us(self, tokens: int, pairs: int) -> Costs:
        """The cost of one iteration in which prompts are computed."""
        pace = self._pace
        cost = pace.prefill_us(tokens, pairs)
        ready: list[BatchedAnswering] = []
        if not pace.first_free:
            ready = [one for one, _ in self._chunks if one.computed == one.total]
        answers = len(self._running) + len(ready)
        if answers:
            context = self._context + sum(one.total for one in ready)
            cost += pace.decode_us(answers, context)
        return cost, 0.0, 0.0

    def _decoding(self) -> tuple[int, Costs]:
        """Iterations until something ends, and their costs as a polynomial of the step."""
        due, pace, answers = self._due, self._pace, len(self._running)
        while due[0][4].stopped or due[0][3] != due[0][4].epoch:
            heapq.heappop(due)
        room = (self.blocks.capacity - self.blocks.held) // answers
        steps = max(1, min(due[0][0] - self._steps, room))
        square = pace.decode_square * answers * answers
        slope = pace.decode_context + 2 * pace.decode_square * self._context
        return steps, (pace.decode_us(answers, self._context), slope * answers, square)

    def _begin(self, steps: int, costs: Costs) -> None:
        span = Span(self._clock.now_us, self._steps, steps, costs)
        past = self._past
        past.append(span)
        oldest_us = span.start_us - REMEMBERED_US
        while past[0].end_us < oldest_us:
            past.popleft()
        self._span = span
        self._alarm = self._clock.at(span.end_us, self._ring)

    def _ring(self) -> None:
        """Iterations are over: tell who has waited for a token. They may ask and cancel here."""
        span = self._span
        assert span is not None
        self._span = self._alarm = None
        self._steps += span.steps
        grown = span.steps * len(self._running)
        self._context += grown
        self.blocks.held += grown
        self._join()
        for answering in self._leaving:
            self._forget(answering)
        self._leaving.clear()
        self._busy = True
        for count, answering in self._come():
            if answering.stopped:
                continue
            answering.listener.token(count)
            if count == answering.output_tokens and not answering.stopped:
                self._learn(self._clock.now_us - answering.admitted_us)
                self._stop(answering)
                answering.listener.done()
        self._busy = False
        if self._span is None:
            self._start()

    def _learn(self, residence_us: int) -> None:
        """An answer is whole, and held its memory for so long."""
        known = self._residence_us or residence_us
        self._residence_us = known + (residence_us - known) // 16

    def _join(self) -> None:
        """Prompts that are computed become answers with a token."""
        for answering, _ in self._chunks:
            if answering.computed == answering.total and not answering.stopped:
                del self._prefilling[answering]
                self._running[answering] = None
                answering.offset = self._steps - 1 - answering.generated
                self._context += answering.total + 1
                self.blocks.held += 1
                self._remind(answering)
        self._chunks.clear()

    def _remind(self, answering: BatchedAnswering) -> None:
        """Note the steps at which its listener is to hear of a token."""
        last = answering.output_tokens
        for count in {1, min(answering.watch or last, last), last}:
            if count > answering.generated:
                self._order += 1
                at = answering.offset + count
                entry = (at, self._order, count, answering.epoch, answering)
                heapq.heappush(self._due, entry)

    def _come(self) -> list[tuple[int, BatchedAnswering]]:
        """What is due by now, in order."""
        came: list[tuple[int, BatchedAnswering]] = []
        due = self._due
        while due and due[0][0] <= self._steps:
            _, _, count, epoch, answering = heapq.heappop(due)
            if epoch == answering.epoch:
                came.append((count, answering))
        return came
