"""The fit gives back the timing that made the measurements, and says when it cannot."""

from __future__ import annotations

from random import Random

import pytest

from selvedge.sim.batching import BatchingModel, Timing
from selvedge.sim.calibrate import (
    CannotFit,
    Held,
    Observed,
    Shape,
    Together,
    fit_model,
    interpolated,
    judge,
    least_squares,
    pause_us,
    together,
)
from selvedge.sim.engines import Work
from selvedge.sim.pool import Pool, Timed, round_robin

SHAPE = Shape(slots=4, context_tokens=2048, batch_tokens=64)
TRUE = Timing(
    prefill=0,
    prefill_token=6_500,
    decode=3_000,
    decode_answer=11_000,
    decode_context=8,
    prefill_square=0.5,
    prefill_pair=1.0,
    decode_steps=(13_000, 29_000, 44_000, 50_000),
    first_free=True,
)
MODEL = BatchingModel(TRUE, 8192, slots=4, batch_tokens=64, block_tokens=1, prefix_cache=False)


def measured(works: list[tuple[int, Work]]) -> list[Observed]:
    """What a client would see of the true engine."""
    run = Pool(MODEL, 1).run([Timed(at, work) for at, work in works], round_robin())
    return [
        Observed(
            one.first_us, one.whole_us, one.work.prompt_tokens, one.work.output_tokens, one.at_us
        )
        for one in run.served
    ]


def groups() -> list[Together]:
    return [
        Together(number, context, TRUE.decode_us(number, context))
        for number in (1, 2, 3, 4)
        for context in (40 * number, 300 * number)
    ]


def prompts() -> list[Observed]:
    return [one for tokens in (20, 60, 130, 300) for one in measured([(0, Work(tokens, 1))])]


def test_the_fit_predicts_a_run_it_has_not_seen() -> None:
    model = fit_model(prompts(), groups(), SHAPE)
    assert model.timing.decode_steps == pytest.approx(TRUE.decode_steps)
    assert model.timing.prefill_token == pytest.approx(TRUE.prefill_token, rel=1e-3)
    rng = Random(4)
    asked = [(at * 700_000, Work(rng.randint(15, 300), rng.randint(10, 60))) for at in range(12)]
    held = judge(model, [measured(asked)])
    assert held.met
    assert abs(held.ttft_error) < 0.01
    assert abs(held.step_error) < 0.01


def test_the_cost_of_an_iteration_is_found_where_prompts_are_not_cut() -> None:
    whole = [Observed(5_000 + 10 * tokens, 9_000, tokens, 1) for tokens in (20, 100, 300)]
    model = fit_model(whole, groups(), Shape(4, 2048, 8192))
    assert model.timing.prefill == pytest.approx(5_000)
    assert model.timing.prefill_token == pytest.approx(10)
    # A second of work of 5 ms + 200 * 10 us and 8 steps of a quarter of (50 + 4 * 1.6) ms each
    assert pause_us(model, 200, 8, 0.5) == pytest.approx(2 * (7_000 + 2 * 56_400), rel=0.01)


def test_bars_of_a_run_that_was_held_back() -> None:
    assert Held(100, 109, 100, 96).met
    assert not Held(100, 111, 100, 100).met
    assert not Held(100, 100, 100, 94).met


def test_noise_does_not_become_a_negative_cost() -> None:
    rows = [(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]
    assert least_squares(rows, [10, 20, 31]) == pytest.approx([0, 10.1], abs=0.2)
    assert least_squares([(1.0, 2.0), (2.0, 4.0)], [1, 2]) == pytest.approx([1, 0])


def test_numbers_between_lie_on_a_line() -> None:
    assert interpolated({1: 10.0, 2: 12.0, 4: 20.0}) == (10.0, 12.0, 16.0, 20.0)


def test_only_the_time_together_counts() -> None:
    moments = [[0, 10, 100, 130, 160], [100, 130, 160, 190]]
    assert together(moments, 50) == Together(2, 50, 30.0)
    with pytest.raises(CannotFit, match="ask for longer"):
        together([[0, 10], [20, 30]], 5)


def test_too_few_measurements_are_refused() -> None:
    with pytest.raises(CannotFit, match="two lengths"):
        fit_model(prompts()[:1], groups(), SHAPE)
    with pytest.raises(CannotFit, match="alone and together"):
        fit_model(prompts(), groups()[2:], SHAPE)
