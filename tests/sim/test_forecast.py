"""What an engine will do, played forward: exact where nothing is preempted, and without a trace."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.sim.batching import BatchingEngine, BatchingModel, Timing
from selvedge.sim.clock import Clock
from selvedge.sim.engines import Work

TIMING = Timing(
    prefill=100, prefill_token=10, decode=1000, decode_answer=100, decode_context=1, prefill_pair=2
)
ROOMY = BatchingModel(TIMING, kv_tokens=100_000, slots=3, batch_tokens=100, block_tokens=10)


class Ear:
    """Notes the moment of the first token."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.first_us = -1

    def token(self, count: int) -> None:
        if count == 1:
            self.first_us = self.clock.now_us

    def done(self) -> None:
        """Nothing."""

    def broken(self) -> None:
        """Nothing."""


Coming = list[tuple[int, int, int, int]]
COMING = st.lists(
    st.tuples(st.integers(0, 40_000), st.integers(1, 250), st.integers(1, 40), st.just(0)),
    max_size=8,
)


def engine_after(model: BatchingModel, coming: Coming) -> tuple[Clock, BatchingEngine]:
    """An engine that was asked these: (after so long, prompt, answer, whose prefix; 0: its own)."""
    clock = Clock()
    engine = BatchingEngine(clock, model)
    for at, (after_us, prompt, output, whose) in enumerate(coming):
        clock.run_until(clock.now_us + after_us)
        engine.ask(work_of(prompt, output, whose or at + 10), None, Ear(clock))
    return clock, engine


def work_of(prompt: int, output: int, whose: int) -> Work:
    prefix = tuple(range(whose * 1000, whose * 1000 + prompt // 10))
    return Work(prompt, output, prefix, 10)


def foretold_and_found(model: BatchingModel, coming: Coming, work: Work) -> tuple[int, int]:
    clock, engine = engine_after(model, coming)
    before = engine.report(), engine.blocks.held
    foretold = engine.forecast_us(work)
    assert (engine.report(), engine.blocks.held) == before
    ear, at_us = Ear(clock), clock.now_us
    engine.ask(work, None, ear)
    clock.run_until()
    return foretold, ear.first_us - at_us


@settings(max_examples=100, deadline=None)
@given(COMING, st.integers(1, 250))
def test_it_is_exact_for_whoever_comes_last(coming: Coming, prompt: int) -> None:
    foretold, found = foretold_and_found(ROOMY, coming, work_of(prompt, 5, 99))
    assert abs(foretold - found) <= 2 * (len(coming) + 2), "but for rounding at each event"


def test_it_knows_what_is_held() -> None:
    foretold, found = foretold_and_found(ROOMY, [(0, 200, 5, 7)], work_of(250, 5, 7))
    cold, _ = foretold_and_found(ROOMY, [(0, 200, 5, 7)], work_of(250, 5, 8))
    assert foretold > found, "blocks that are computed before it gets there are not foreseen"
    late = [(0, 200, 5, 7), (5_000, 1, 1, 0)]
    foretold, found = foretold_and_found(ROOMY, late, work_of(250, 5, 7))
    assert abs(foretold - found) <= 6
    assert foretold < cold


def test_it_waits_for_memory_that_an_answer_will_free() -> None:
    """300 of 400 are held until an answer of 20 tokens ends; only then are 200 more free."""
    tight = BatchingModel(TIMING, kv_tokens=400, slots=4, batch_tokens=1000, block_tokens=10)
    work = Work(200, 3)
    foretold, found = foretold_and_found(tight, [(0, 300, 20, 0)], work)
    alone, _ = foretold_and_found(tight, [], work)
    assert abs(foretold - found) <= 4
    assert foretold > alone + 19 * 1_000, "nineteen more steps"


def test_what_can_never_fit_never_comes() -> None:
    _, engine = engine_after(ROOMY, [])
    assert engine.forecast_us(Work(200_000, 1)) > 10**12
