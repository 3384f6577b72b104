"""When an engine would give a request its first token: its own schedule, played forward.

The oracle's term. Nobody outside a simulation could know it: it takes how long each answer will
be. From the state at the end of the iteration under way, prompts are admitted and computed and
answers end as `batching` would have it, until the last in the queue, which is the one asked about,
is computed. Later arrivals come behind it; all they can do is lengthen steps. Not foreseen:
preemption, and blocks that are evicted, or computed for those before it, meanwhile. It changes
nothing in the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from selvedge.sim.answering import BatchedAnswering
from selvedge.sim.blocks import Blocks
from selvedge.sim.engines import Work
from selvedge.sim.iterations import BatchingModel

NEVER_US: Final = 1 << 50
"""Of a request that never fits."""
Lists: TypeAlias = tuple[
    Sequence[BatchedAnswering], Sequence[BatchedAnswering], Sequence[BatchedAnswering]
]
"""Answers that are decoded, prompts that are computed, and the queue."""


class UnderWay:
    """An engine as it will be at the end of the iteration that it is in."""

    __slots__ = (
        "answers",
        "blocks",
        "held",
        "model",
        "prompts",
        "queue",
        "rest_us",
        "slack",
        "steps",
    )

    def __init__(
        self, model: BatchingModel, blocks: Blocks, then: tuple[int, int, int], lists: Lists
    ) -> None:
        self.model = model
        self.blocks = blocks
        self.rest_us, self.steps, self.held = then
        """Until then; the counter of iterations and the memory held then."""
        self.slack = model.block_tokens // 2
        self.answers, self.prompts, self.queue = lists


def foresee(engine: UnderWay, work: Work) -> int:
    """Microseconds from now to the first token, if this came now."""
    model, blocks = engine.model, engine.blocks
    usable = (work.prompt_tokens - 1) // work.block_tokens if model.prefix_cache else 0
    known = blocks.matched(work.prefix, usable)
    asked = _turn(engine, work, known, work.prompt_tokens, work.output_tokens)
    held, answers, prompts = engine.held, [], []
    for one in engine.answers:
        generated = engine.steps - one.offset
        frees = _frees(engine, one, one.work.prompt_tokens + generated)
        if generated >= one.work.output_tokens or one.stopped:
            held -= frees
            continue
        past, steps = one.work.prompt_tokens + generated, one.work.output_tokens - generated
        answers.append(Turn(past, 0, steps, 0, frees))
    for one in engine.prompts:
        left, steps = one.total - one.computed, one.work.output_tokens - one.generated
        if one.stopped:
            held -= _frees(engine, one, one.total)
        elif left:
            prompts.append(Turn(one.computed, left, steps, 0, _frees(engine, one, one.total)))
        elif steps > 1:
            held += 1
            answers.append(Turn(one.total + 1, 0, steps - 1, 0, _frees(engine, one, one.total + 1)))
        else:
            held -= _frees(engine, one, one.total)
    queue = [
        _turn(
            engine,
            one.work,
            one.computed // one.work.block_tokens,
            one.total,
            one.work.output_tokens - one.generated,
        )
        for one in engine.queue
    ]
    queue.append(asked)
    return Forecast(model, engine.rest_us, held, answers, prompts).first_token_us(queue)


class Turn:
    """One answer, as far as its engine's schedule goes."""

    __slots__ = ("frees", "left", "needs", "past", "steps")

    def __init__(self, past: int, left: int, steps: int, needs: int, frees: int) -> None:
        self.past = past
        """Prompt tokens computed or found."""
        self.left = left
        """Prompt tokens to compute."""
        self.steps = steps
        """Tokens to generate, the first included."""
        self.needs = needs
        """Memory that admission takes."""
        self.frees = frees
        """Memory that its end frees, but for its generated tokens."""


class Forecast:
    """An engine's state at the end of an iteration, to be played forward."""

    __slots__ = ("_answers", "_held", "_model", "_prompts", "_queue", "_us")

    def __init__(
        self, model: BatchingModel, us: int, held: int, answers: list[Turn], prompts: list[Turn]
    ) -> None:
        self._model = model
        self._us = us
        self._held = held
        self._answers = answers
        self._prompts = prompts
        self._queue: list[Turn] = []

    def first_token_us(self, queue: list[Turn]) -> int:
        """From now to the first token of the last one in the queue, which gets a place there."""
        self._queue = queue
        asked = queue[-1]
        us = float(self._us)
        while asked.left:
            self._admit()
            if self._prompts:
                us += self._mixed()
            elif self._answers:
                us += self._decode()
            else:  # It cannot be admitted into an empty engine: it is too large for it.
                return NEVER_US
        return int(us)

    def _admit(self) -> None:
        model, queue = self._model, self._queue
        budget = model.batch_tokens - len(self._answers) - sum(one.left for one in self._prompts)
        while queue and budget > 0:
            one = queue[0]
            room = model.kv_tokens - self._held - len(self._answers)
            if one.needs > room or len(self._answers) + len(self._prompts) >= model.slots:
                return
            del queue[0]
            self._held += one.needs
            self._prompts.append(one)
            budget -= one.left

    def _mixed(self) -> float:
        """One iteration in which prompts are computed."""
        timing = self._model.timing
        budget = self._model.batch_tokens - len(self._answers)
        tokens = pairs = 0
        ready = []
        for one in self._prompts:
            chunk = min(one.left, budget)
            if chunk <= 0:
                break
            pairs += chunk * one.past
            tokens += chunk
            budget -= chunk
            one.past += chunk
            one.left -= chunk
            if not one.left:
                ready.append(one)
        answers = len(self._answers) + (0 if timing.first_free else len(ready))
        cost = timing.prefill_us(tokens, pairs)
        if answers:
            context = sum(one.past for one in self._answers)
            if not timing.first_free:
                context += sum(one.past for one in ready)
            cost += timing.decode_us(answers, context)
        self._step(1)
        for one in ready:
            self._prompts.remove(one)
            one.steps -= 1
            one.past += 1
            self._held += 1
            if one.steps > 0:
                self._answers.append(one)
            else:
                self._held -= one.frees
        return cost

    def _decode(self) -> float:
        """Iterations until an answer ends; ``decode_square`` as at the first of them."""
        timing, answers = self._model.timing, self._answers
        steps = max(1, min(one.steps for one in answers))
        count, context = len(answers), sum(one.past for one in answers)
        cost = timing.decode_us(count, context) * steps
        cost += timing.decode_context * count * steps * (steps - 1) / 2
        self._step(steps)
        return cost

    def _step(self, steps: int) -> None:
        """Every answer has so many tokens more; those that are whole end."""
        for one in self._answers:
            one.past += steps
            one.steps -= steps
            one.frees += steps
        self._held += steps * len(self._answers)
        over = [one for one in self._answers if one.steps <= 0]
        if over:
            self._answers = [one for one in self._answers if one.steps > 0]
            self._held -= sum(one.frees for one in over)


def _turn(engine: UnderWay, work: Work, known: int, total: int, steps: int) -> Turn:
    """One that waits: what is held by others is not needed twice."""
    shared = engine.blocks.pinned(work.prefix, known) * work.block_tokens
    needs = total - shared + engine.slack
    past = min(known * work.block_tokens, total - 1)
    return Turn(past, total - past, steps, needs, needs)


def _frees(engine: UnderWay, one: BatchedAnswering, tokens: int) -> int:
    """What its end frees: all but the blocks that others hold too."""
    work = one.work
    shared = one.pins - engine.blocks.alone(work.prefix, one.pins)
    return tokens + engine.slack - shared * work.block_tokens
