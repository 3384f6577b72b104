"""Iterations of an engine that batches: what one costs, and how long k of them take together.

All costs are microseconds as floating-point numbers, of which only sums and products are taken (the
same on every machine); moments are integers, rounded up. It refuses to know what is in a batch.
"""

from __future__ import annotations

from math import ceil
from typing import TypeAlias

from selvedge.fabric.value import Value
from selvedge.sim.engines import SECOND_US

Costs: TypeAlias = tuple[float, float, float]
"""The cost of the i-th iteration of a span, from 0: constant + linear·i + square·i²."""


class Timing(Value, frozen=True):
    """What an iteration costs, in microseconds. What it did not do, it does not pay for.

    With P prompt tokens of which each also looks at C tokens before its chunk (``pairs`` = sum of
    P·C), and N answers that get a token, with M tokens of context between them:
    ``prefill + prefill_token·P + prefill_square·P² + prefill_pair·pairs`` if P > 0, and
    ``decode + decode_answer·N + decode_context·M + decode_square·M²`` if N > 0.

    Where measured, ``decode_steps`` gives ``decode + decode_answer·N`` for N = 1, 2, ..., up to its
    length: engines on CPUs change their way of computing between one answer and two. With
    ``first_free``, the answers that get their first token do not count as N: their prompts paid.
    """

    prefill: float
    prefill_token: float
    decode: float
    decode_answer: float = 0.0
    decode_context: float = 0.0
    decode_square: float = 0.0
    prefill_square: float = 0.0
    prefill_pair: float = 0.0
    decode_steps: tuple[float, ...] = ()
    first_free: bool = False

    def prefill_us(self, tokens: int, pairs: int = 0) -> float:
        """The part of an iteration that is due to its prompts."""
        per_token = self.prefill_token + self.prefill_square * tokens
        return self.prefill + per_token * tokens + self.prefill_pair * pairs

    def decode_us(self, answers: int, context: int) -> float:
        """The part of an iteration that is due to the answers that get a token."""
        per_context = self.decode_context + self.decode_square * context
        if answers <= len(self.decode_steps):
            return self.decode_steps[answers - 1] + per_context * context
        return self.decode + self.decode_answer * answers + per_context * context


class Pace:
    """A timing at work: fields of a struct are not fields of a compiled class, these are."""

    __slots__ = (
        "_decode",
        "_decode_answer",
        "_decode_steps",
        "_prefill",
        "_prefill_pair",
        "_prefill_square",
        "_prefill_token",
        "decode_context",
        "decode_square",
        "first_free",
    )

    def __init__(self, timing: Timing) -> None:
        self._prefill: float = timing.prefill
        self._prefill_token: float = timing.prefill_token
        self._prefill_square: float = timing.prefill_square
        self._prefill_pair: float = timing.prefill_pair
        self._decode: float = timing.decode
        self._decode_answer: float = timing.decode_answer
        self._decode_steps: list[float] = list(timing.decode_steps)
        self.decode_context: float = timing.decode_context
        self.decode_square: float = timing.decode_square
        self.first_free: bool = timing.first_free

    def prefill_us(self, tokens: int, pairs: int = 0) -> float:
        """As `Timing.prefill_us`."""
        per_token = self._prefill_token + self._prefill_square * tokens
        return self._prefill + per_token * tokens + self._prefill_pair * pairs

    def decode_us(self, answers: int, context: int) -> float:
        """As `Timing.decode_us`."""
        per_context = self.decode_context + self.decode_square * context
        if answers <= len(self._decode_steps):
            return self._decode_steps[answers - 1] + per_context * context
        return self._decode + self._decode_answer * answers + per_context * context


class BatchingModel(Value, frozen=True):
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


class Span:
    """Iterations under way: ``steps`` of them, all alike but for the context that grows."""

    __slots__ = ("before", "constant", "end_us", "linear", "square", "start_us", "steps")

    def __init__(self, start_us: int, before: int, steps: int, costs: Costs) -> None:
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
