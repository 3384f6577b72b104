"""Own engines: what is under way here, what left since, and the engine's own word."""

from __future__ import annotations

import msgspec
import pytest

from selvedge.fabric import Ask, Engine, Route, Served
from selvedge.routing import ANSWERS, UNTOLD, LoadBook, ModelReport, OwnEngines, Underway
from selvedge.routing.own import PROMPT_TOKENS, WORD_US_MAX

SECOND_US = 1_000_000
NOW_US = 1_000 * SECOND_US
ASK = Ask(Route.CHAT, "chat", prompt_bytes=3996, prefix=(1, 2, 3))  # 1,000 tokens


def engine(name: str, rate: int = 1000, slots: int = 4) -> Engine:
    serves = (Served("chat", "c"),)
    return Engine(
        name, "http://127.0.0.1:1", "vllm", serves, in_flight_max=slots, prefill_tokens_per_s=rate
    )


class Pop:
    """The engines of one PoP, its book of load, and a clock that stands."""

    def __init__(self, *engines: Engine) -> None:
        self.now_us = NOW_US
        self.load = LoadBook()
        self.own = OwnEngines("sin", self.load, lambda: self.now_us)
        self.own.serve(engines or (engine("a"),))

    def state(self, name: str = "a", prefix: tuple[int, ...] = ()) -> ModelReport:
        found = self.own.state(name, "chat", prefix)
        assert found is not None
        return found.load

    def brief(self) -> tuple[int, int, int]:
        load = self.state()
        return load.waiting_tokens, load.running, load.prefill_tokens_per_s


def test_before_any_survey_it_is_what_is_on_its_way() -> None:
    pop = Pop()
    assert pop.brief() == (0, 0, 1000)
    pop.load.enter("sin/a", 500, NOW_US)
    assert pop.brief() == (500, 1, 1000)
    assert pop.own.state("b", "chat", ()) is None


def test_an_answer_that_has_begun_waits_no_more() -> None:
    pop = Pop()
    for _ in range(3):
        pop.load.enter("sin/a", 1000, NOW_US - 5)
    found = [Underway("a", ASK, ANSWERS), Underway("a", ASK, UNTOLD), Underway("a", ASK, 300)]
    pop.own.survey([*found, Underway("gone", ASK, 1)], NOW_US)
    assert pop.brief() == (1300, 3, 1000)
    pop.now_us += SECOND_US // 2
    assert pop.brief() == (800, 3, 1000), "it has read on"
    pop.load.enter("sin/a", 200, pop.now_us)
    pop.load.enter("sin/a", 200, pop.now_us)
    assert pop.brief() == (1200, 4, 1000), "and no more run than have slots"
    pop.now_us = NOW_US - SECOND_US
    assert pop.brief()[0] == 1700, "a clock that was set back undoes nothing"


def test_what_is_held_need_not_be_read() -> None:
    pop = Pop()
    pop.own.hold("a", "chat", "eea", (1, 2))
    pop.own.hold("gone", "chat", "eea", (1, 2))
    pop.own.survey([Underway("a", ASK, UNTOLD)], NOW_US)
    assert pop.brief()[0] == 1000 - 2 * 256
    found = pop.own.state("a", "chat", (1, 2, 3))
    assert found is not None
    assert found.matched == 2
    other = pop.own.state("a", "other", (1, 2, 3))
    assert other is not None
    assert other.matched == 0
    assert pop.own.held_blocks("a") == 2


def test_requests_of_others_are_counted_by_the_engines_word() -> None:
    pop = Pop()
    pop.own.told("a", NOW_US, running=4, waiting=6, slots=8, kv_free=0.25)
    pop.own.told("gone", NOW_US, running=4, waiting=6)
    pop.own.survey([], NOW_US)
    load = pop.state()
    assert (load.waiting_tokens, load.running) == (6 * PROMPT_TOKENS, 8)
    assert (load.slots, load.kv_free) == (8, 0.25)
    pop.load.enter("sin/a", 1000, NOW_US - 5)
    pop.own.survey([Underway("a", ASK, UNTOLD)], NOW_US)
    assert pop.state().waiting_tokens == 1000 + 9 * 1000, "others are taken to be like ours"
    pop.now_us += WORD_US_MAX + 1
    pop.own.survey([Underway("a", ASK, UNTOLD)], pop.now_us)
    assert pop.state().waiting_tokens == 1000, "its word is too old"


def test_memory_is_told_where_the_engine_says_all_of_it() -> None:
    pop = Pop()
    pop.own.told("a", NOW_US, running=1, waiting=2, kv_free=0.5, room_tokens=10_000)
    pop.own.survey([], NOW_US)
    load = pop.state()
    assert (load.kv_free, load.kv_tokens, load.kv_wanted) == (0.5, 10_000, 2 * PROMPT_TOKENS)
    pop = Pop()
    pop.own.told("a", NOW_US, running=1, waiting=0, slots=2, room_tokens=10_000)
    pop.own.survey([], NOW_US)
    assert pop.state().kv_tokens == 0, "how much of it is free is not known"


def test_requests_of_other_workers_are_counted_as_ours_are() -> None:
    pop = Pop()
    for _ in range(4):
        pop.load.enter("sin/a", 100, NOW_US - 5)
    pop.own.survey([Underway("a", ASK, ANSWERS), Underway("a", ASK, 60)], NOW_US)
    assert pop.brief() == (60 + 100, 4, 1000)


def test_rates_are_learned_from_timings_of_some_length() -> None:
    pop = Pop()
    pop.own.learn_rate("a", 31, 1)
    pop.own.learn_rate("a", 1000, 0)
    pop.own.learn_rate("gone", 1000, SECOND_US)
    assert pop.own.rate("a") == 1000
    pop.own.learn_rate("a", 2000, SECOND_US)
    assert pop.own.rate("a") == 1100
    for _ in range(100):
        pop.own.learn_rate("a", 10**9, 1)
    assert pop.own.rate("a") <= 10_000_000
    for _ in range(400):
        pop.own.learn_rate("a", 32, 10**15)
    assert pop.own.rate("a") == 1


def test_a_report_is_of_the_engine_with_the_least_before_it() -> None:
    pop = Pop(engine("a", rate=100), engine("b", rate=1000))
    asks = [Underway("a", ASK, 200), Underway("b", ASK, 1000)]
    pop.own.survey(asks, NOW_US)
    assert pop.own.reports(NOW_US)["chat"].waiting_tokens == 1000, "it takes half as long"
    pop.own.survey([asks[0]], NOW_US)
    assert pop.own.reports(NOW_US)["chat"].waiting_tokens == 0


@pytest.mark.parametrize("change", ["same", "rate", "gone"])
def test_a_release_that_leaves_an_engine_alone_leaves_its_book(change: str) -> None:
    pop = Pop()
    pop.own.hold("a", "chat", "eea", (1, 2))
    before = pop.own.publications
    faster = msgspec.structs.replace(engine("a"), prefill_tokens_per_s=2)
    pop.own.serve({"same": [engine("a")], "rate": [faster], "gone": [engine("b")]}[change])
    kept = pop.own.state("a", "chat", (1, 2))
    if change == "same":
        assert kept is not None
        assert kept.matched == 2
        assert pop.own.publications is before
    else:
        assert kept is None or kept.matched == 0
        assert pop.own.publications is not before


def test_room_is_the_engines_word() -> None:
    pop = Pop()
    pop.own.hold("a", "chat", "eea", tuple(range(20)))
    pop.own.told("a", NOW_US, running=0, waiting=0, room_tokens=256 * 10)
    assert pop.own.held_blocks("a") == 10
    pop.own.turn(NOW_US)
    (delta,) = pop.own.publications.since(frozenset({"eea"}), {})
    assert len(delta.shorts) == 40
