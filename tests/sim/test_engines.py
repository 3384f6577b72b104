"""Modelled engines: exact times, worked out by hand.

The model in most tests: prefill 1000 tokens/s, decode 100 tokens/s alone and 150 for two slots
together, so each of two has pace 3/4. `ONE` alone: first token at 100 ms, the eleventh at 200 ms.
"""

from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.sim.clock import Clock
from selvedge.sim.engines import WHOLE, Answering, EngineModel, ModelledEngine, Work

MODEL = EngineModel(
    slots=2,
    in_flight_max=3,
    prefill_tokens_per_s=1000,
    decode_tokens_per_s=100,
    decode_batched_tokens_per_s=150,
)
ONE = Work(100, 11)


class Ear:
    """Writes down what it hears, and when."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.heard: list[tuple[int, str]] = []

    def token(self, count: int) -> None:
        self.heard.append((self.clock.now_us, f"token {count}"))

    def done(self) -> None:
        self.heard.append((self.clock.now_us, "done"))

    def broken(self) -> None:
        self.heard.append((self.clock.now_us, "broken"))


def ask(
    engine: ModelledEngine, clock: Clock, work: Work = ONE, watch: int | None = None
) -> tuple[Answering, Ear]:
    ear = Ear(clock)
    answering = engine.ask(work, watch, ear)
    assert isinstance(answering, Answering)
    return answering, ear


def test_an_answer_alone() -> None:
    clock = Clock()
    answering, ear = ask(ModelledEngine(clock, MODEL), clock, watch=6)
    clock.run_until(99_999)
    assert answering.tokens_at(clock.now_us) == 0
    clock.run_until()
    assert ear.heard == [
        (100_000, "token 1"),
        (150_000, "token 6"),
        (200_000, "token 11"),
        (200_000, "done"),
    ]
    counts = [answering.tokens_at(at) for at in (-1, 99_999, 100_000, 109_999, 110_000, 300_000)]
    assert counts == [0, 0, 1, 1, 2, 11]


def test_two_share_and_a_third_waits() -> None:
    clock = Clock()
    engine = ModelledEngine(clock, MODEL)
    ears = [ask(engine, clock)[1] for _ in range(3)]
    assert engine.in_flight == 3
    assert engine.ask(ONE, None, Ear(clock)) == "busy"
    clock.run_until()
    ends = [(133_334, "token 1"), (266_667, "token 11"), (266_667, "done")]
    assert ears[0].heard == ears[1].heard == ends
    assert ears[2].heard == [(366_667, "token 1"), (466_667, "token 11"), (466_667, "done")]
    assert engine.in_flight == 0


def test_the_pace_changes_when_another_comes() -> None:
    clock = Clock()
    engine = ModelledEngine(clock, MODEL)
    _, first = ask(engine, clock)
    clock.run_until(100_000)
    _, second = ask(engine, clock)
    clock.run_until()
    assert first.heard[-1] == (233_334, "done")
    assert second.heard == [(233_334, "token 1"), (333_334, "token 11"), (333_334, "done")]


def test_cancelling_frees_the_slot_and_the_queue() -> None:
    clock = Clock()
    engine = ModelledEngine(clock, MODEL)
    (one, _), (_, kept), (queued, silent) = (ask(engine, clock) for _ in range(3))
    clock.run_until(100_000)
    queued.cancel()
    one.cancel()
    one.cancel()
    clock.run_until()
    # 75 ms of its work are done at 100 ms, the other 125 ms it has for itself.
    assert kept.heard[-1] == (225_000, "done")
    assert silent.heard == []
    assert one.tokens_at(clock.now_us) == queued.tokens_at(clock.now_us) == 0


def test_a_listener_may_cancel_what_is_due_with_it() -> None:
    clock = Clock()
    engine = ModelledEngine(clock, MODEL)
    other: list[Answering] = []

    class Canceller(Ear):
        def token(self, count: int) -> None:
            super().token(count)
            other[0].cancel()

    engine.ask(ONE, None, Canceller(clock))
    answering, silent = ask(engine, clock)
    other.append(answering)
    clock.run_until()
    assert silent.heard == []
    assert answering.tokens_at(clock.now_us) == 1
    assert engine.in_flight == 0


def test_an_outage_breaks_what_runs_and_refuses_what_comes() -> None:
    clock = Clock()
    engine = ModelledEngine(clock, MODEL)
    answering, ear = ask(engine, clock)
    clock.at(145_000, engine.go_down)
    clock.run_until(150_000)
    assert ear.heard == [(100_000, "token 1"), (145_000, "broken")]
    assert answering.tokens_at(clock.now_us) == 5
    assert engine.ask(ONE, None, ear) == "down"
    engine.go_down()
    engine.come_up()
    assert engine.ask(ONE, None, ear) == "down"
    engine.come_up()
    assert isinstance(engine.ask(ONE, None, ear), Answering)


def test_one_token_is_first_and_last() -> None:
    clock = Clock()
    _, ear = ask(ModelledEngine(clock, MODEL), clock, Work(100, 1), watch=9)
    clock.run_until()
    assert ear.heard == [(100_000, "token 1"), (100_000, "done")]


def test_the_embedded_engine_is_the_default() -> None:
    model = EngineModel()
    assert model.pace(1) == WHOLE
    together = 8 * model.pace(8) * model.decode_tokens_per_s // WHOLE
    assert together in (77, 78)
    assert EngineModel(slots=1).pace(1) == WHOLE


@pytest.mark.parametrize(
    "wrong",
    [{"slots": 0}, {"decode_tokens_per_s": 10**6}, {"decode_batched_tokens_per_s": 1}],
)
def test_impossible_engines_cannot_be_built(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"at least 1|slower"):
        EngineModel(**wrong)
    with pytest.raises(ValueError, match="at least one token"):
        Work(1, 0)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 300), st.integers(1, 300))))
def test_what_is_heard_agrees_with_what_is_counted(
    asked: list[tuple[int, int, int]],
) -> None:
    clock = Clock()
    engine = ModelledEngine(clock, EngineModel(slots=3, in_flight_max=1000))
    answers: list[tuple[Answering, Ear]] = []

    def later(work: Work) -> None:
        answers.append(ask(engine, clock, work))

    for at_us, prompt, output in asked:
        work = Work(prompt, output)
        clock.at(at_us, functools.partial(later, work))
    clock.run_until()
    assert len(answers) == len(asked)
    for answering, ear in answers:
        assert ear.heard[0][1] == "token 1"
        assert ear.heard[-1][1] == "done"
        if clock.now_us - ear.heard[-1][0] < 10**6:
            assert answering.tokens_at(ear.heard[-1][0]) == answering.work.output_tokens
            assert answering.tokens_at(ear.heard[-1][0] - 1) < answering.work.output_tokens
