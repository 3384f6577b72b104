"""Engines that batch: exact times by hand, a token-by-token twin, and what must balance.

Costs are whole microseconds, so that the closed form and the twin cannot differ by rounding.
"""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.sim.batching import BatchedAnswering, BatchingEngine, BatchingModel, Timing
from selvedge.sim.clock import Clock
from selvedge.sim.engines import Work

TIMING = Timing(
    prefill=100, prefill_token=10, decode=1000, decode_answer=100, decode_context=1, prefill_pair=2
)
MODEL = BatchingModel(TIMING, kv_tokens=10_000, slots=4, batch_tokens=100, block_tokens=1)


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
    engine: BatchingEngine, clock: Clock, work: Work, watch: int | None = None
) -> tuple[BatchedAnswering, Ear]:
    ear = Ear(clock)
    answering = engine.ask(work, watch, ear)
    assert isinstance(answering, BatchedAnswering)
    return answering, ear


def is_empty(engine: BatchingEngine) -> bool:
    report = engine.report()
    counts = (engine.in_flight, report.waiting_tokens, report.running, engine.blocks.held)
    return counts == (0, 0, 0, 0) and report.kv_free == 1.0


def test_an_answer_alone() -> None:
    clock = Clock()
    engine = BatchingEngine(clock, MODEL)
    answering, ear = ask(engine, clock, Work(50, 4), watch=2)
    clock.run_until()
    # 100 + 50*10 of prefill and 1000 + 100 + 50 of decoding, then steps at contexts 51, 52, 53
    assert ear.heard == [
        (1750, "token 1"),
        (1750 + 1151, "token 2"),
        (1750 + 1151 + 1152 + 1153, "token 4"),
        (1750 + 1151 + 1152 + 1153, "done"),
    ]
    assert answering.tokens_at(clock.now_us) == 4
    assert [answering.tokens_at(at) for at in (0, 1749, 1750, 2900, 2901)] == [0, 0, 1, 1, 2]
    assert is_empty(engine)


def test_a_long_prompt_comes_in_chunks_and_looks_back() -> None:
    clock = Clock()
    _, ear = ask(BatchingEngine(clock, MODEL), clock, Work(250, 1))
    clock.run_until()
    chunks = (100 + 1000) + (100 + 1000 + 2 * 100 * 100) + (100 + 500 + 2 * 50 * 200)
    assert ear.heard == [(chunks + 1350, "token 1"), (chunks + 1350, "done")]


def test_a_newcomer_joins_at_the_end_of_the_step_under_way() -> None:
    clock = Clock()
    engine = BatchingEngine(clock, MODEL)
    _, first = ask(engine, clock, Work(50, 10))
    clock.run_until(1750 + 10)
    _, second = ask(engine, clock, Work(20, 1))
    clock.run_until()
    joined = 1750 + 1151
    assert second.heard[0] == (joined + 100 + 200 + 1000 + 200 + 52 + 20, "token 1")
    assert first.heard[-1][1] == "done"
    assert is_empty(engine)


def test_a_prefix_in_memory_is_not_computed_again() -> None:
    clock = Clock()
    engine = BatchingEngine(clock, MODEL)
    work = Work(40, 1, prefix=(1, 2, 3, 4), block_tokens=10)
    first, _ = ask(engine, clock, work)
    clock.run_until()
    assert (first.cached_tokens, engine.matched((1, 2, 9)), engine.matched((2,))) == (0, 2, 1)
    second, ear = ask(engine, clock, work)
    asked_us = clock.now_us
    clock.run_until()
    # Three blocks: the prompt's last token is computed even where its block is known.
    assert second.cached_tokens == 30
    assert ear.heard[0][0] == asked_us + 100 + 10 * 10 + 2 * 10 * 30 + 1140
    assert sorted(engine.digest_blocks()) == [1, 2, 3]
    assert is_empty(engine)


def test_kept_blocks_go_when_the_room_is_needed_the_oldest_first() -> None:
    clock = Clock()
    engine = BatchingEngine(clock, BatchingModel(TIMING, 100, 4, 100, 1))
    for name in (1, 2):
        ask(engine, clock, Work(31, 1, (name, name + 10, name + 20), 10))
        clock.run_until()
    ask(engine, clock, Work(51, 1, (3, 13, 23, 33, 43), 10))
    clock.run_until()
    assert engine.matched((1, 11, 21)) == 1  # the end of the oldest went first
    assert engine.matched((2, 12, 22)) == 3


def test_without_memory_the_newest_is_preempted_and_recomputed() -> None:
    clock = Clock()
    engine = BatchingEngine(clock, BatchingModel(TIMING, 120, 4, 100, 1))
    first, one = ask(engine, clock, Work(40, 30))
    second, two = ask(engine, clock, Work(40, 30))
    clock.run_until()
    assert engine.preemptions == 1
    assert one.heard[-1][0] < two.heard[-1][0]
    assert [words for _, words in two.heard] == ["token 1", "token 30", "done"]
    assert first.generated == second.generated == 30
    assert is_empty(engine)


def test_slots_and_the_queue_are_bounded() -> None:
    clock = Clock()
    model = BatchingModel(TIMING, 10_000, slots=1, batch_tokens=100, in_flight_max=2)
    engine = BatchingEngine(clock, model)
    ask(engine, clock, Work(10, 3))
    ask(engine, clock, Work(10, 3))
    assert engine.report().waiting_tokens == 10
    assert engine.ask(Work(10, 3), None, Ear(clock)) == "busy"
    assert BatchingEngine(clock, model).ask(Work(9_000, 1_000), None, Ear(clock)) == "busy"
    clock.run_until()
    assert is_empty(engine)


def test_metrics_are_as_before_while_a_prompt_is_computed() -> None:
    clock = Clock()
    engine = BatchingEngine(clock, MODEL)
    ask(engine, clock, Work(90, 50))
    ask(engine, clock, Work(90, 5))
    assert engine.metrics() == (1, 0.0)
    clock.run_until(100_000)
    assert engine.metrics()[0] == 0


def test_an_outage_breaks_answers_and_empties_the_memory() -> None:
    clock = Clock()
    engine = BatchingEngine(clock, MODEL)
    answering, ear = ask(engine, clock, Work(31, 50, (1, 2, 3), 10))
    ask(engine, clock, Work(90, 50))
    clock.run_until(30_000)
    had = answering.tokens_at(clock.now_us)
    engine.go_down()
    assert ear.heard[-1] == (30_000, "broken")
    assert 0 < had == answering.tokens_at(clock.now_us)
    assert engine.ask(Work(1, 1), None, Ear(clock)) == "down"
    engine.come_up()
    assert engine.matched((1,)) == 0
    assert is_empty(engine)
    _, again = ask(engine, clock, Work(50, 4))
    clock.run_until()
    assert again.heard[0] == (31_750, "token 1")


def test_the_prediction_of_an_idle_engine_is_exact() -> None:
    clock = Clock()
    model = BatchingModel(Timing(100, 10, 1000, 100), 10_000, 4, 100, 1)
    engine = BatchingEngine(clock, model)
    predicted = engine.predict_us(Work(250, 2))
    _, ear = ask(engine, clock, Work(250, 2))
    clock.run_until()
    # Steps that only compute prompts cost no decoding, which the prediction includes.
    assert predicted - 2 * 1100 == ear.heard[0][0]


def test_a_report_says_what_memory_there_is_and_what_is_wanted() -> None:
    clock = Clock()
    model = BatchingModel(TIMING, kv_tokens=400, slots=4, batch_tokens=100, block_tokens=1)
    engine = BatchingEngine(clock, model)
    ask(engine, clock, Work(300, 11))
    idle = engine.report()
    assert (idle.kv_tokens, idle.kv_wanted, idle.residence_ms) == (400, 0, 0)
    ask(engine, clock, Work(150, 2))
    assert engine.report().kv_wanted == 150
    while engine.report().running == 0:
        clock.run_until(clock.now_us + 100)
    # A full iteration beside one answer: 100 + 1,000 for its prompts, 1,100 + 301 for the answer.
    assert engine.report().prefill_tokens_per_s == 100 * 1_000_000 // 2_501
    clock.run_until()
    assert engine.report().kv_wanted == 0
    # 605,300 us of prefill (with pairs), then ten steps of 1,100 and the context.
    assert engine.report().residence_ms > 0


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"slots": 0}, "slots"),
        ({"kv_tokens": 0}, "kv_tokens"),
        ({"batch_tokens": 4}, "batch_tokens is above slots"),
        ({"timing": Timing(1, 0, 1)}, "prefill_token"),
    ],
)
def test_impossible_models_are_refused(wrong: dict[str, object], words: str) -> None:
    fields: dict[str, object] = {"timing": TIMING, "kv_tokens": 10, "slots": 4}
    with pytest.raises(ValueError, match=words):
        BatchingModel(**{**fields, **wrong})  # type: ignore[arg-type]


def twin(model: BatchingModel, asked: list[tuple[int, Work]]) -> list[tuple[int, int]]:
    """First token and end of every request, token by token, one iteration at a time; no prefix."""
    timing = model.timing
    waiting, prefilling, running = deque[int](), list[int](), list[int]()
    left = {number: work.prompt_tokens for number, (_, work) in enumerate(asked)}
    made = dict.fromkeys(left, 0)
    first, ended = dict[int, int](), dict[int, int]()
    coming = deque(enumerate(asked))
    now = 0
    while coming or waiting or prefilling or running:
        if not (waiting or prefilling or running):
            now = max(now, coming[0][1][0])
        while coming and coming[0][1][0] <= now:
            waiting.append(coming.popleft()[0])
        budget, cost, ready = model.batch_tokens - len(running), 0.0, list[int]()
        tokens = pairs = 0
        while waiting and len(running) + len(prefilling) < model.slots:
            if budget <= sum(left[one] for one in prefilling):
                break
            prefilling.append(waiting.popleft())
        for one in list(prefilling):
            chunk = min(left[one], budget)
            pairs += chunk * (asked[one][1].prompt_tokens - left[one])
            left[one] -= chunk
            budget -= chunk
            tokens += chunk
            if not left[one]:
                prefilling.remove(one)
                ready.append(one)
        if tokens:
            cost += timing.prefill_us(tokens, pairs)
        running_now = running + ready
        if running_now:
            context = sum(asked[one][1].prompt_tokens + made[one] for one in running_now)
            cost += timing.decode_us(len(running_now), context)
        now += int(cost)
        for one in running_now:
            made[one] += 1
            first.setdefault(one, now)
            if made[one] == asked[one][1].output_tokens:
                ended[one] = now
        running = [one for one in running_now if one not in ended]
    return [(first[one], ended[one]) for one in range(len(asked))]


works = st.builds(Work, st.integers(1, 260), st.integers(1, 40))
# No two at one moment: of two that find an engine idle, the first starts it alone.
loads = st.lists(
    st.tuples(st.integers(0, 20_000), works), min_size=1, max_size=12, unique_by=lambda one: one[0]
)


@given(loads)
def test_the_closed_form_is_what_single_steps_give(load: list[tuple[int, Work]]) -> None:
    # Odd moments: no arrival falls on the very end of a step, where either order is right.
    timing = Timing(100, 10, 1000, 100, 2, 0, 0, 2)
    model = BatchingModel(timing, 1_000_000, slots=4, batch_tokens=100)
    asked = sorted(((2 * at + 1, work) for at, work in load), key=lambda one: one[0])
    asked[0] = (0, asked[0][1])
    clock = Clock()
    engine = BatchingEngine(clock, model)
    ears = []
    for at, work in asked:
        clock.run_until(at)
        ears.append(ask(engine, clock, work)[1])
    clock.run_until()
    expected = twin(model, asked)
    assert [(ear.heard[0][0], ear.heard[-1][0]) for ear in ears] == expected
    assert is_empty(engine)


@given(
    st.lists(
        st.tuples(st.integers(0, 3_000), st.sampled_from("aaaaacdu"), works, st.integers(0, 2)),
        max_size=40,
    ),
    st.integers(310, 900),
)
def test_nothing_is_lost_or_left_behind(
    script: list[tuple[int, str, Work, int]], kv_tokens: int
) -> None:
    clock = Clock()
    engine = BatchingEngine(clock, BatchingModel(TIMING, kv_tokens, 4, 100, 1, 20))
    asked: list[tuple[BatchedAnswering, Ear]] = []
    cancelled = downs = 0
    for delay, what, work, group in script:
        clock.run_until(clock.now_us + delay)
        if what == "a" and not downs:
            named = Work(
                work.prompt_tokens, work.output_tokens, tuple(range(group * 99, group * 99 + 50)), 7
            )
            ear = Ear(clock)
            answering = engine.ask(named, 3, ear)
            if isinstance(answering, BatchedAnswering):
                asked.append((answering, ear))
        elif what == "c" and asked:
            answering = asked[group % len(asked)][0]
            cancelled += not answering.stopped
            answering.cancel()
        elif what == "d":
            engine.go_down()
            downs += 1
        elif what == "u" and downs:
            engine.come_up()
            downs -= 1
        assert engine.blocks.held <= kv_tokens + 4
    for _ in range(downs):
        engine.come_up()
    clock.run_until()
    last = [ear.heard[-1][1] if ear.heard else "" for _, ear in asked]
    assert len(asked) == last.count("done") + last.count("broken") + cancelled
    assert is_empty(engine)
    assert len(engine.digest_blocks()) * 7 <= kv_tokens
    for answering, ear in asked:
        if ear.heard and ear.heard[-1][1] == "done":
            assert answering.tokens_at(clock.now_us) == answering.work.output_tokens
