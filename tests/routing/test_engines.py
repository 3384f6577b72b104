"""The second level, and how it takes its seat in the order of PoPs."""

from __future__ import annotations

import msgspec

from selvedge.fabric import Ask, Engine, Refused, Route, Served
from selvedge.routing import EngineState, FleetMap, Load, LoadBook, Plan, make_policy
from tests.support.boards import Said, model_report
from tests.support.fleets import IDLE, make_pop, make_release

ASK = Ask(Route.CHAT, "chat", prompt_bytes=3996, prefix=(1, 2, 3))  # 1,000 tokens
NAMES = ("a", "b", "c")


def engine(name: str, rate: int = 1000) -> Engine:
    serves = (Served("chat", "c"),)
    return Engine(name, "http://127.0.0.1:1", "openai", serves, prefill_tokens_per_s=rate)


SIN = msgspec.structs.replace(make_pop("sin"), engines=tuple(map(engine, NAMES)))
FRA = msgspec.structs.replace(make_pop("fra"), engines=(engine("a"),))
RELEASE = make_release(pops=(SIN, FRA))


class States:
    """`EngineStates` from a table."""

    def __init__(self, **states: EngineState) -> None:
        self._states = states

    def state(self, name: str, model: str, prefix: tuple[int, ...]) -> EngineState | None:
        """Whatever was said."""
        return self._states.get(name)


def plan(load: Load = IDLE, states: States | None = None, local_only: bool = True) -> Plan:
    found = FleetMap(RELEASE, "sin").rank(ASK, RELEASE.pops, load, local_only, states=states)
    assert isinstance(found, Plan)
    return found


def engines(made: Plan) -> list[str | None]:
    return [one.engine if one.pop == "sin" else one.pop for one in made.attempts]


def test_the_soonest_by_own_work_in_flight() -> None:
    book = LoadBook()
    book.enter("sin/a", 500)
    book.enter("sin/b", 100)
    assert engines(plan(book.view)) == ["c", "b", "a"]


def test_exact_state_counts_what_waits_what_runs_and_what_is_held() -> None:
    busy = EngineState("a", model_report(waiting_tokens=400, rate=1000))
    full = EngineState("b", model_report(running=8, slots=8, rate=1000))
    warm = EngineState("c", model_report(waiting_tokens=300, rate=1000), matched=3)
    made = plan(states=States(a=busy, b=full, c=warm))
    assert engines(made) == ["c", "a", "b"]
    first, second, third = made.attempts
    assert (first.ttft_us, first.wait_us) == (300_000 + 1_000_000 - 768_000, 300_000)
    assert first.reason == "rtt 0 ms + wait 300 ms + prefill 232 ms (768 tokens held)"
    assert second.ttft_us == 1_400_000
    assert third.wait_us == 5_000_000 // 8


def test_who_says_nothing_is_judged_by_what_was_sent() -> None:
    busy = EngineState("a", model_report(waiting_tokens=400, rate=1000))
    book = LoadBook()
    book.enter("sin/b", 700)
    assert engines(plan(book.view, States(a=busy))) == ["c", "a", "b"]


def test_who_cools_comes_last() -> None:
    assert engines(plan(Load({}, frozenset({"sin/a"})))) == ["b", "c", "a"]


def test_the_best_engine_takes_the_pops_seat_and_the_others_find_theirs() -> None:
    book = LoadBook()
    book.enter("sin/b", 100_000)
    assert engines(plan(book.view, local_only=False)) == ["a", "c", "fra"]
    book.enter("sin/c", 100_000)
    assert engines(plan(book.view, local_only=False)) == ["a", "fra", "b"]
    book.cool("sin/a", 1)
    assert engines(plan(book.view, local_only=False)) == ["fra", "b", "c"]


def test_a_plan_may_refuse_to_wait() -> None:
    signals = Said()
    signals.say("sin", model_report(waiting_tokens=5_000, rate=1000), at_us=1)
    signals.say("fra", model_report(waiting_tokens=4_000, rate=1000), at_us=1)
    routes = FleetMap(RELEASE, "sin")
    book = LoadBook()
    for name in NAMES:
        book.enter(f"sin/{name}", 9_000)

    def ask(wait_ms_max: int) -> Plan | Refused:
        return routes.rank(
            ASK, RELEASE.pops, book.view, now_us=1, signals=signals, wait_ms_max=wait_ms_max
        )

    refused = ask(0)
    assert isinstance(refused, Refused)
    assert refused.code == "no_engine_available"
    assert "Prefer: wait" in refused.message
    assert refused.retry_after_ms is not None
    assert 3_000 < refused.retry_after_ms <= 4_000
    found = ask(4_500)
    assert isinstance(found, Plan)
    assert engines(found) == ["fra"]


def test_no_headroom_anywhere_is_a_refusal_and_never_a_pop_outside() -> None:
    signals = Said()
    for pop in ("sin", "fra"):
        signals.say(pop, at_us=1, reserve=0.0)
    found = FleetMap(RELEASE, "sin").rank(ASK, RELEASE.pops, IDLE, now_us=1, signals=signals)
    assert isinstance(found, Refused)
    assert (found.code, found.retry_after_ms) == ("no_engine_available", 1000)


def test_any_policy_takes_the_seat() -> None:
    for name in ("nearest", "least-load", "gorgo"):
        routes = FleetMap(RELEASE, "sin", make_policy(name, "sin"))
        found = routes.rank(ASK, RELEASE.pops, IDLE, now_us=1, signals=Said())
        assert isinstance(found, Plan)
        assert engines(found)[0] == "a"
