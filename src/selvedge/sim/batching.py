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
from math import ceil
from typing import Final, Literal

import msgspec

from selvedge.sim.blocks import Blocks
from selvedge.sim.clock import Clock, Timer
from selvedge.sim.engines import REMEMBERED_US, SECOND_US, Listener, Work

_NOT_DECODING: Final = 1 << 62


class Timing(msgspec.Struct, frozen=True):
    """What an iteration costs, in microseconds. What it did not do, it does not pay for.

    With P prompt tokens of which each also looks at C tokens before its chunk (``pairs`` = sum of
    P·C), and N answers that get a token, with M tokens of context between them:
    ``prefill + prefill_token·P + prefill_square·P² + prefill_pair·pairs`` if P > 0, and
    ``decode + decode_answer·N + decode_context·M + decode_square·M²`` if N > 0.
    """

    prefill: float
    prefill_token: float
    decode: float
    decode_answer: float = 0.0
    decode_context: float = 0.0
    decode_square: float = 0.0
    prefill_square: float = 0.0
    prefill_pair: float = 0.0

    def prefill_us(self, tokens: int, pairs: int = 0) -> float:
        """The part of an iteration that is due to its prompts."""
        per_token = self.prefill_token + self.prefill_square * tokens
        return self.prefill + per_token * tokens + self.prefill_pair * pairs

    def decode_us(self, answers: int, context: int) -> float:
        """The part of an iteration that is due to the answers that get a token."""
        per_context = self.decode_context + self.decode_square * context
        return self.decode + self.decode_answer * answers + per_context * context


class BatchingModel(msgspec.Struct, frozen=True):
    """An engine as numbers: memory in tokens, slots, the budget of an iteration, its timing."""

    timing: Timing
    kv_tokens: int
    slots: int = 256
    batch_tokens: int = 8192
    block_tokens: int = 16
    in_flight_max: int = 1024
    prefix_cache: bool = True

    def __post_init__(self) -> None:
        if min(self.kv_tokens, self.slots, self.block_tokens, self.in_flight_max) < 1:
            raise ValueError("kv_tokens, slots, block_tokens and in_flight_max are at least 1")
        if self.batch_tokens <= self.slots:
            raise ValueError("batch_tokens is above slots: prompts need room in an iteration")
        if self.timing.prefill_token <= 0 or self.timing.decode <= 0:
            raise ValueError("timing.prefill_token and timing.decode are above 0")

    @property
    def prefill_tokens_per_s(self) -> int:
        """Prompt tokens computed in a second of full iterations with nothing else to do."""
        full = self.batch_tokens
        return max(1, int(full * SECOND_US / self.timing.prefill_us(full)))


class EngineReport(msgspec.Struct, frozen=True):
    """What an engine says of itself: the fields of routing's report of a model at a PoP."""

    waiting_tokens: int
    running: int
    slots: int
    kv_free: float
    prefill_tokens_per_s: int


class BatchedAnswering:
    """One answer at one engine: waiting, prefilled, decoded, or stopped."""

    __slots__ = (
        "_engine",
        "cached_tokens",
        "computed",
        "epoch",
        "generated",
        "listener",
        "offset",
        "pins",
        "stopped",
        "total",
        "usable",
        "watch",
        "work",
    )

    def __init__(
        self, engine: BatchingEngine, work: Work, watch: int | None, listener: Listener
    ) -> None:
        self._engine = engine
        self.work = work
        self.watch = watch
        self.listener = listener
        self.usable = 0
        """How many of the prompt's blocks may be found in memory: not those of its last token."""
        self.cached_tokens: int | None = None
        """Prompt tokens found in memory when it was first admitted; None while it waits."""
        self.computed = 0
        self.total = work.prompt_tokens
        """Tokens to compute before the next is generated; more than the prompt after preemption."""
        self.pins = 0
        self.generated = 0
        self.offset = _NOT_DECODING
        """The engine's step before its first token; far ahead where it is not decoding."""
        self.epoch = 0
        self.stopped = False

    def cancel(self) -> None:
        """Free the slot, or the place in the queue: nobody waits for it."""
        self._engine.cancel(self)

    def tokens_at(self, at_us: int) -> int:
        """Tokens generated by ``at_us``, which is now or at most `REMEMBERED_US` ago."""
        if self.stopped or self.offset == _NOT_DECODING:
            limit = self.generated
        else:
            limit = self.work.output_tokens
        if self.offset == _NOT_DECODING:
            return limit
        return max(0, min(limit, self._engine.steps_at(at_us) - self.offset))


class _Span:
    """Iterations under way: ``steps`` of them, all alike but for the context that grows."""

    __slots__ = ("before", "constant", "end_us", "linear", "square", "start_us", "steps")

    def __init__(
        self, start_us: int, before: int, steps: int, costs: tuple[float, float, float]
    ) -> None:
        self.start_us = start_us
        self.before = before
        self.constant, self.linear, self.square = costs
        self.steps = steps
        self.end_us = self.end_of(steps)

    def end_of(self, steps: int) -> int:
        """The moment at which so many iterations are over, rounded up."""
        last = steps - 1
        spent = self.constant + self.linear * last / 2 + self.square * last * (2 * steps - 1) / 6
        return self.start_us + ceil(steps * spent)

    def done_by(self, at_us: int) -> int:
        """How many iterations are over at a moment."""
        if at_us >= self.end_us:
            return self.steps
        low, high = 0, self.steps
        while high - low > 1:
            middle = (low + high) // 2
            if self.end_of(middle) <= at_us:
                low = middle
            else:
                high = middle
        return low


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
        "_leaving",
        "_logged",
        "_order",
        "_past",
        "_prefilling",
        "_queue",
        "_rate",
        "_running",
        "_slack",
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
        self._running: dict[BatchedAnswering, None] = {}
        self._prefilling: dict[BatchedAnswering, None] = {}
        self._queue: deque[BatchedAnswering] = deque()
        self._chunks: list[tuple[BatchedAnswering, int]] = []
        self._leaving: list[BatchedAnswering] = []
        self._due: list[tuple[int, int, int, int, BatchedAnswering]] = []
        self._past: deque[_Span] = deque()
        self._logged = 0, 0
        self._span: _Span | None = None
        self._alarm: Timer | None = None
        self._busy = False
        self._context = 0
        self._count = 0
        self._downs = 0
        self._order = 0
        self._steps = 0
        self._waiting_tokens = 0

    @property
    def in_flight(self) -> int:
        """Answers in slots and in the queue."""
        return self._count

    def report(self) -> EngineReport:
        """What routing hears of it. Tokens of the queue count as uncached as when they came."""
        return EngineReport(
            waiting_tokens=self._waiting_tokens,
            running=len(self._running),
            slots=self.model.slots,
            kv_free=self.blocks.free,
            prefill_tokens_per_s=self._rate,
        )

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

    def digest_blocks(self) -> list[int]:
        """Every block in memory, by name."""
        return self.blocks.names()

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
            answering.usable = (work.prompt_tokens - 1) // work.block_tokens
        known = self.blocks.matched(work.prefix, answering.usable)
        answering.computed = known * work.block_tokens
        self._waiting_tokens += work.prompt_tokens - answering.computed
        self._count += 1
        self._queue.append(answering)
        if self._span is None:
            if not self._busy:
                self._start()
        elif len(self._queue) == 1 and self._span.steps > 1 and self._fits(answering):
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
        if answering.offset != _NOT_DECODING:
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
        work = answering.work
        tokens = answering.total
        if answering in self._running:
            del self._running[answering]
            grown = work.prompt_tokens + self._steps - answering.offset
            self._context -= grown
            tokens = grown
        else:
            del self._prefilling[answering]
            self._waiting_tokens -= answering.total - answering.computed
        self.blocks.held -= tokens + self._slack - answering.pins * work.block_tokens
        self.blocks.release(work.prefix, answering.pins, work.block_tokens)

    def _cut(self, span: _Span) -> None:
        """End the span with the iteration that is under way."""
        span.steps = min(span.steps, span.done_by(self._clock.now_us) + 1)
        span.end_us = span.end_of(span.steps)
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._clock.at(max(span.end_us, self._clock.now_us), self._ring)

    def _cut_past(self, span: _Span) -> None:
        """What a span that broke off has done is all it did."""
        span.steps = span.done_by(self._clock.now_us)
        span.end_us = self._clock.now_us

    def _fits(self, answering: BatchedAnswering) -> bool:
        """Whether a slot, and the memory for all its prompt, are free."""
        if len(self._running) + len(self._prefilling) >= self.model.slots:
            return False
        work, blocks = answering.work, self.blocks
        known = blocks.matched(work.prefix, answering.usable)
        shared = blocks.pinned(work.prefix, known) * work.block_tokens
        room = blocks.capacity - blocks.held - len(self._running)
        return answering.total - shared + self._slack <= room

    def _start(self) -> None:
        """Begin the next iterations, at the end of the last."""
        if self._downs:
            return
        self._logged = len(self._queue), self.blocks.held
        budget = self.model.batch_tokens - len(self._running)
        preempted = self._make_room()
        tokens = pairs = 0
        for answering in self._prefilling:
            if budget <= 0:
                break
            chunk = self._compute(answering, budget)
            budget -= chunk
            tokens += chunk
            pairs += chunk * (answering.computed - chunk)
        while self._queue and budget > 0 and not preempted and self._fits(self._queue[0]):
            answering = self._queue.popleft()
            self._admit(answering)
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
        answering.total = answering.work.prompt_tokens + answering.generated
        answering.offset = _NOT_DECODING
        answering.epoch += 1
        answering.pins = answering.computed = 0
        self.preemptions += 1
        self._waiting_tokens += answering.total
        self._queue.appendleft(answering)

    def _admit(self, answering: BatchedAnswering) -> None:
        """Give it a slot, the memory of its prompt, and what of it is here already."""
        work, blocks = answering.work, self.blocks
        known = blocks.matched(work.prefix, answering.usable)
        cached = known * work.block_tokens
        blocks.take(work.prefix, known, work.block_tokens)
        blocks.held += answering.total - cached + self._slack
        self._waiting_tokens += answering.computed - cached
        answering.pins = known
        answering.computed = cached
        if answering.cached_tokens is None:
            answering.cached_tokens = cached
        self.prompt_tokens += answering.total
        self.cached_tokens += cached
        self._prefilling[answering] = None

    def _compute(self, answering: BatchedAnswering, budget: int) -> int:
        """Put as much of a prompt as fits into this iteration, and name its blocks."""
        work = answering.work
        chunk = min(answering.total - answering.computed, budget)
        answering.computed += chunk
        self._waiting_tokens -= chunk
        full = min(answering.computed // work.block_tokens, answering.usable, len(work.prefix))
        if full > answering.pins:
            self.blocks.keep(work.prefix, answering.pins, full, work.block_tokens)
            answering.pins = full
        self._chunks.append((answering, chunk))
        return chunk

    def _mixed_us(self, tokens: int, pairs: int) -> tuple[float, float, float]:
        """The cost of one iteration in which prompts are computed."""
        timing = self.model.timing
        cost = timing.prefill_us(tokens, pairs)
        ready = [one for one, _ in self._chunks if one.computed == one.total]
        answers = len(self._running) + len(ready)
        if answers:
            context = self._context + sum(one.total for one in ready)
            cost += timing.decode_us(answers, context)
        return cost, 0.0, 0.0

    def _decoding(self) -> tuple[int, tuple[float, float, float]]:
        """Iterations until something ends, and their costs as a polynomial of the step."""
        due, timing, answers = self._due, self.model.timing, len(self._running)
        while due[0][4].stopped or due[0][3] != due[0][4].epoch:
            heapq.heappop(due)
        room = (self.blocks.capacity - self.blocks.held) // answers
        steps = max(1, min(due[0][0] - self._steps, room))
        square = timing.decode_square * answers * answers
        slope = timing.decode_context + 2 * timing.decode_square * self._context
        return steps, (timing.decode_us(answers, self._context), slope * answers, square)

    def _begin(self, steps: int, costs: tuple[float, float, float]) -> None:
        span = _Span(self._clock.now_us, self._steps, steps, costs)
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
            if count == answering.work.output_tokens and not answering.stopped:
                self._stop(answering)
                answering.listener.done()
        self._busy = False
        if self._span is None:
            self._start()

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
        last = answering.work.output_tokens
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
