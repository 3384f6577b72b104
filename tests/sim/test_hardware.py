"""Presets: each has its source, and the numbers that can be checked against it are right."""

from __future__ import annotations

import pytest

from selvedge.sim.engines import Work
from selvedge.sim.hardware import HARDWARE
from selvedge.sim.iterations import Pace
from selvedge.sim.pool import Pool, Timed, round_robin


@pytest.mark.parametrize(
    ("prompt_tokens", "ttft_us"),
    [(100, 23_854), (1000, 38_026), (8000, 172_075), (20_000, 424_410)],
)
def test_the_mocker_s_single_requests(prompt_tokens: int, ttft_us: int) -> None:
    # By `dynamo.replay`, one request of one token; its memory counts in whole blocks of 512.
    pool = Pool(HARDWARE["mocker"].engine, 1)
    run = pool.run([Timed(0, Work(prompt_tokens, 1))], round_robin())
    assert run.served[0].first_us == pytest.approx(ttft_us, rel=0.005)


def test_rates_are_those_of_the_sources() -> None:
    qwen = HARDWARE["qwen3-32b-2xh100"].engine
    assert qwen.prefill_tokens_per_s == pytest.approx(20_480, rel=0.05)
    smol = HARDWARE["smollm2-135m-1-thread"].engine
    assert smol.prefill_tokens_per_s == pytest.approx(100, rel=0.05)
    assert 61 <= 1e6 / smol.timing.decode_us(1, 100) <= 72
    assert 74 <= 8e6 / smol.timing.decode_us(8, 800) <= 81


@pytest.mark.parametrize("name", sorted(HARDWARE))
def test_every_preset_answers_and_says_where_it_comes_from(name: str) -> None:
    hardware = HARDWARE[name]
    assert len(hardware.source) > 50
    run = Pool(hardware.engine, 1).run([Timed(0, Work(1000, 50))], round_robin())
    assert run.refused == 0
    assert 0 < run.served[0].first_us < run.served[0].whole_us


@pytest.mark.parametrize("name", sorted(HARDWARE))
def test_an_engine_at_work_keeps_the_time_of_its_timing(name: str) -> None:
    timing = HARDWARE[name].engine.timing
    pace = Pace(timing)
    for tokens, pairs in ((1, 0), (700, 350_000), (8192, 12)):
        assert pace.prefill_us(tokens, pairs) == timing.prefill_us(tokens, pairs)
    for answers, context in ((1, 1), (2, 9_000), (3, 70), (250, 88_888)):
        assert pace.decode_us(answers, context) == timing.decode_us(answers, context)
    assert pace.first_free == timing.first_free
