"""Timing fitted to an engine that runs: least squares over a handful of timed requests.

Two kinds of requests are enough, because an iteration's cost is a sum (`iterations.Timing`).
Prompts of several lengths with one token of answer, alone: time to first token over 1, P and P².
Short prompts with longer answers, several at once, for every number of slots: the time of a step
while all are decoded; and one after a long prompt, for what context costs. Errors count relative to
what was measured, so that a short prompt weighs as much as a long one; a coefficient that comes out
negative is noise, and the fit is made without it.

Whoever may open sockets measures; here are the sums, and the prediction of a run that was held
back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from selvedge.fabric import SelvedgeError
from selvedge.sim.batching import BatchingModel, Timing
from selvedge.sim.engines import Work
from selvedge.sim.pool import Pool, Served, Timed, round_robin

TTFT_ERROR_MAX: Final = 0.10
STEP_ERROR_MAX: Final = 0.05


class CannotFit(SelvedgeError):
    """Measurements from which no timing follows; the text says what is missing."""


class Observed(msgspec.Struct, frozen=True):
    """One request as its client timed it, in microseconds; the first two from its own sending."""

    first_us: int
    whole_us: int
    prompt_tokens: int
    output_tokens: int
    sent_us: int = 0

    @property
    def step_us(self) -> float:
        """Time per token after the first."""
        return (self.whole_us - self.first_us) / max(1, self.output_tokens - 1)


class Together(msgspec.Struct, frozen=True):
    """Answers that were decoded at the same time: how many, their context, and one's step."""

    answers: int
    context: int
    step_us: float


class Shape(msgspec.Struct, frozen=True):
    """What is known of the engine without measuring."""

    slots: int
    context_tokens: int
    """Of each slot."""
    batch_tokens: int


class Held(msgspec.Struct, frozen=True):
    """The run that was held back: measured, and as the fitted model predicts it."""

    ttft_us: float
    ttft_predicted_us: float
    step_us: float
    step_predicted_us: float

    @property
    def ttft_error(self) -> float:
        """Of the mean time to first token, relative."""
        return self.ttft_predicted_us / self.ttft_us - 1

    @property
    def step_error(self) -> float:
        """Of the mean time per token, relative."""
        return self.step_predicted_us / self.step_us - 1

    @property
    def met(self) -> bool:
        """Whether both are within the bars."""
        return abs(self.ttft_error) <= TTFT_ERROR_MAX and abs(self.step_error) <= STEP_ERROR_MAX


def fit_model(
    prompts: Sequence[Observed], groups: Sequence[Together], shape: Shape
) -> BatchingModel:
    """The engine as numbers. Raises `CannotFit`."""
    numbers = sorted({one.answers for one in groups})
    if len({one.prompt_tokens for one in prompts}) < 2 or numbers[:1] != [1]:
        raise CannotFit("measure prompts of two lengths, and answers alone and together.")
    whole = max(one.prompt_tokens for one in prompts) <= shape.batch_tokens
    prefill = least_squares(
        [_prompt_row(one.prompt_tokens, whole) for one in prompts],
        [float(one.first_us) for one in prompts],
    )
    decode = least_squares(
        [(*(float(one.answers == number) for number in numbers), one.context) for one in groups],
        [one.step_us for one in groups],
    )
    if prefill[1] <= 0 or min(decode[:-1]) <= 0:
        raise CannotFit("time does not grow with the tokens; measure again on a quiet machine.")
    steps = interpolated(dict(zip(numbers, decode[:-1], strict=True)))
    slope = max(0.0, (steps[-1] - steps[0]) / max(1, len(steps) - 1))
    timing = Timing(
        prefill=prefill[0],
        prefill_token=prefill[1],
        prefill_square=prefill[2],
        prefill_pair=2 * prefill[2],
        decode=max(1.0, steps[-1] - slope * len(steps)),
        decode_answer=slope,
        decode_context=decode[-1],
        decode_steps=steps,
        first_free=True,
    )
    return BatchingModel(
        timing=timing,
        kv_tokens=shape.slots * shape.context_tokens,
        slots=shape.slots,
        batch_tokens=max(shape.batch_tokens, shape.slots + 1),
        block_tokens=1,
        prefix_cache=False,
    )


def together(moments: Sequence[Sequence[int]], context: int) -> Together:
    """Answers that began at about one time, each as the moments of its tokens.

    Only the time in which all were decoded counts: from the last first token to the first last one.
    """
    from_us = max(each[0] for each in moments)
    until_us = min(each[-1] for each in moments)
    inside = [[at for at in each if from_us <= at <= until_us] for each in moments]
    spans = [(each[-1] - each[0], len(each) - 1) for each in inside if len(each) > 1]
    if not spans:
        raise CannotFit("answers that were to be decoded together were not; ask for longer ones.")
    step_us = sum(us for us, _ in spans) / sum(steps for _, steps in spans)
    return Together(len(moments), context, step_us)


def interpolated(known: Mapping[int, float]) -> tuple[float, ...]:
    """Values for 1, 2, ... up to the last that is known, on straight lines between those known."""
    numbers = sorted(known)
    values = []
    for number in range(1, numbers[-1] + 1):
        low = max(one for one in numbers if one <= number)
        high = min(one for one in numbers if one >= number)
        part = (number - low) / (high - low) if high > low else 0.0
        values.append(known[low] + part * (known[high] - known[low]))
    return tuple(values)


def _prompt_row(tokens: int, whole: bool) -> tuple[float, float, float]:
    """The cost of an iteration shows in prompts of one; in chunks it is one with the tokens'."""
    return float(whole), float(tokens), float(tokens) ** 2


def judge(model: BatchingModel, runs: Sequence[Sequence[Observed]]) -> Held:
    """Runs that the fit has not seen, each from idle, measured against their prediction."""
    asked = [one for run in runs for one in run]
    served = [one for run in runs for one in _predict(model, run)]
    longer = [one for one in asked if one.output_tokens > 1]
    steps = [one.step_us for one in served if one.work.output_tokens > 1]
    return Held(
        ttft_us=sum(one.first_us for one in asked) / len(asked),
        ttft_predicted_us=sum(one.first_us for one in served) / len(served),
        step_us=sum(one.step_us for one in longer) / len(longer),
        step_predicted_us=sum(steps) / len(steps),
    )


def _predict(model: BatchingModel, asked: Sequence[Observed]) -> list[Served]:
    """The same requests at the same moments, on the model."""
    ordered = sorted(asked, key=lambda one: one.sent_us)
    start_us = ordered[0].sent_us
    timed = [
        Timed(one.sent_us - start_us, Work(one.prompt_tokens, one.output_tokens)) for one in ordered
    ]
    return Pool(model, 1).run(timed, round_robin()).served


def pause_us(model: BatchingModel, prompt_tokens: int, output_tokens: int, load: float) -> float:
    """The mean time between such requests at which the engine is busy for so much of it."""
    timing, slots = model.timing, model.slots
    decode_us = output_tokens * timing.decode_us(slots, slots * prompt_tokens) / slots
    return (timing.prefill_us(prompt_tokens) + decode_us) / load


def least_squares(rows: Sequence[Sequence[float]], values: Sequence[float]) -> list[float]:
    """Coefficients of the least relative squared error, none of them negative.

    A column that comes out negative, or that the others give already, gets 0 and the rest is fitted
    again.
    """
    columns = list(range(len(rows[0])))
    while columns:
        scaled = [
            [row[at] / value for at in columns] for row, value in zip(rows, values, strict=True)
        ]
        found = _solve(scaled)
        worst = min(range(len(columns)), key=lambda at: found[at])
        if found[worst] >= 0:
            break
        del columns[worst]
    result = [0.0] * len(rows[0])
    for at, column in enumerate(columns):
        result[column] = found[at]
    return result


def _solve(rows: Sequence[Sequence[float]]) -> list[float]:
    """Normal equations of rows · x = 1, by elimination; -1 in a column that says nothing new."""
    size = len(rows[0])
    matrix = [
        [sum(row[i] * row[j] for row in rows) for j in range(size)] + [sum(row[i] for row in rows)]
        for i in range(size)
    ]
    scale = [matrix[i][i] or 1.0 for i in range(size)]
    for i in range(size):
        if matrix[i][i] <= 1e-9 * scale[i]:
            return [-1.0 if j == i else 0.0 for j in range(size)]
        for k in range(i + 1, size):
            factor = matrix[k][i] / matrix[i][i]
            matrix[k] = [a - factor * b for a, b in zip(matrix[k], matrix[i], strict=True)]
    found = [0.0] * size
    for i in reversed(range(size)):
        known = sum(matrix[i][j] * found[j] for j in range(i + 1, size))
        found[i] = (matrix[i][size] - known) / matrix[i][i]
    return found
