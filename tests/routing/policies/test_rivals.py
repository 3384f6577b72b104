"""Every row of the table: what all promise, and the one thing that makes each itself."""

from __future__ import annotations

import pytest

from selvedge.fabric import Ask, Route
from selvedge.routing import POLICIES, Attempt, Candidate, Load, LoadBook, make_policy
from tests.support.boards import Said, model_report
from tests.support.fleets import IDLE

NOW_US = 1_000_000
PREFIX = tuple(range(1, 11))
ASK = Ask(Route.CHAT, "chat", prompt_bytes=10_236, prefix=PREFIX)  # 2,560 tokens, ten blocks


def near(count: int = 5, step_us: int = 10_000) -> list[Candidate]:
    return [Candidate(f"p{at}", "SG", at * step_us, 10_000) for at in range(count)]


def said(**waiting: int) -> Said:
    signals = Said()
    for at in range(5):
        load = model_report(waiting_tokens=waiting.get(f"p{at}", 0))
        signals.say(f"p{at}", load, at_us=NOW_US)
    return signals


def order(
    name: str,
    signals: Said | None,
    settings: dict[str, float] | None = None,
    ask: Ask = ASK,
    load: Load = IDLE,
) -> list[Attempt]:
    return make_policy(name, "t", settings).order(ask, near(), signals, load, NOW_US)


def first(name: str, signals: Said | None, settings: dict[str, float] | None = None) -> str:
    return order(name, signals, settings)[0].pop


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_policy_names_candidates_once_and_few(name: str, count: int) -> None:
    for signals in (None, said(), Said()):
        for ask in (ASK, Ask(Route.CHAT, "chat")):
            policy = make_policy(name, "t")
            for _ in range(4):
                found = [one.pop for one in policy.order(ask, near(count), signals, IDLE, NOW_US)]
                assert 0 < len(found) == len(set(found)) == min(3, count)
                assert set(found) <= {f"p{at}" for at in range(count)}


@pytest.mark.parametrize("name", POLICIES)
def test_the_same_seed_says_the_same(name: str) -> None:
    ones = [order(name, said(p1=500)) for _ in range(2)]
    assert ones[0] == ones[1]


@pytest.mark.parametrize("name", POLICIES)
def test_every_combination_of_a_grid_can_be_made(name: str) -> None:
    row = POLICIES[name]
    tuned = row.tuned()
    assert tuned
    for knobs in tuned:
        row.make(knobs, "t")
    assert len(set(tuned)) == len(tuned)


def test_the_published_rivals_and_the_one_with_fresh_state() -> None:
    rivals = {row.name for row in POLICIES.values() if row.published}
    assert rivals == {"lmetric", "skywalker", "gorgo", "sticky"}
    assert [row.name for row in POLICIES.values() if row.fresh] == ["oracle"]


def test_an_unknown_policy_or_knob() -> None:
    with pytest.raises(KeyError):
        make_policy("best", "t")
    with pytest.raises(TypeError, match="wrong"):
        make_policy("gorgo", "t", {"wrong": 1})


def test_turns_and_lots() -> None:
    policy = make_policy("round-robin", "t")
    turns = [policy.order(ASK, near(), None, IDLE, NOW_US)[0].pop for _ in range(10)]
    assert sorted(turns) == sorted([f"p{at}" for at in range(5)] * 2)
    lots = make_policy("random", "t")
    seen = {lots.order(ASK, near(), None, IDLE, NOW_US)[0].pop for _ in range(100)}
    assert len(seen) == 5


def test_nearest_and_least_load() -> None:
    busy = said(p0=9_000, p1=100, p2=50, p3=80, p4=70)
    assert first("nearest", busy) == "p0"
    assert first("least-load", busy) == "p2"
    book = LoadBook()
    book.enter("p2", 1_000, NOW_US + 1)
    assert order("least-load", busy, load=book.view)[0].pop == "p4"
    pair = order("power-of-two", busy)[:2]
    assert pair[0].pop != "p0"


def test_chwbl_passes_on_what_is_over_its_bound() -> None:
    owner = first("chwbl", said())
    assert first("chwbl", said(**{owner: 50_000})) != owner
    assert first("chwbl", said(**{owner: 50_000}), {"load_factor": 100}) == owner
    assert first("chwbl", said(), {"nearest": 1}) == "p0"


def test_lmetric_multiplies() -> None:
    signals = said()
    signals.say("p0", model_report(running=9), at_us=NOW_US)
    assert first("lmetric", signals) == "p1"
    signals.held["p4"] = 10
    assert first("lmetric", signals) == "p4"
    assert first("lmetric", said(), {"rtt_weight": 0}) == "p0"


def test_skywalker_leaves_only_when_all_local_are_busy() -> None:
    local = {"local_rtt_us": 15_000.0}
    assert first("skywalker", said(p0=5), local) == "p1"
    assert first("skywalker", said(p0=5, p1=5), local) == "p2"
    assert first("skywalker", said(p0=5, p1=3, p2=1, p3=1, p4=1), local) == "p1"
    held = said()
    held.held["p1"] = 6
    assert first("skywalker", held, local) == "p1"
    held.held["p1"] = 5
    assert first("skywalker", held, local) == "p0", "not more than half"
    held.held = {"p4": 10}
    assert first("skywalker", held, local) == "p0", "a far prefix is ignored"


def test_gorgo_sums_and_its_first_version_does_not_see_the_peers_queue() -> None:
    assert first("gorgo", said(p0=200, p1=50)) == "p1"
    assert first("gorgo", said(p0=200, p1=5_000, p2=5_000, p3=5_000, p4=5_000)) == "p0"
    assert first("gorgo-v1", said(p0=200, p1=5_000, p2=5_000, p3=5_000, p4=5_000)) == "p1"
    held = said()
    held.held["p3"] = 10
    assert first("gorgo", held) == "p3"
    assert first("gorgo", held, {"rtt_weight": 100}) == "p0"


def test_sticky_until_saturated() -> None:
    held = said(p4=900)
    held.held["p4"] = 10
    held.held["p3"] = 7
    assert first("sticky", held) == "p4", "least uncached"
    held = said(p4=9_000)
    held.held["p4"] = 10
    assert order("sticky", held)[0].reason.startswith("sticky")
    assert first("sticky", held, {"tau_s": 0.5}) == "p0"


def test_the_scorers_know_what_their_names_say() -> None:
    signals = said(p4=100)
    signals.held["p4"] = 10
    assert first("llm-d-precise", signals) == "p4"
    assert first("llm-d-estimated", signals) != "p4"
    assert first("llm-d-load", signals) != "p4"
    policy = make_policy("llm-d-estimated", "t")
    candidates = near()
    sent = policy.order(ASK, candidates, said(), IDLE, NOW_US)[0].pop
    busy = said(**{sent: 100})
    assert policy.order(ASK, candidates, busy, IDLE, NOW_US)[0].pop == sent


def test_cache_aware_has_two_regimes() -> None:
    signals = said(p4=100)
    signals.held["p4"] = 10
    assert first("cache-aware", signals) == "p4"
    signals = said(p4=200_000)
    signals.held["p4"] = 10
    assert first("cache-aware", signals) == "p0"


def test_the_oracle_takes_the_least_of_everything() -> None:
    signals = said(p0=1_000, p1=1_000, p2=10, p3=0, p4=0)
    assert first("oracle", signals) == "p2"
    signals.say("p2", model_report(running=64), at_us=NOW_US)
    assert first("oracle", signals) == "p3"
    signals.held["p4"] = 10
    assert first("oracle", signals) == "p4"


class Foretold(Said):
    """Signals that know what is to come."""

    def __init__(self, times_us: dict[str, int]) -> None:
        super().__init__()
        self.times_us = times_us

    def first_token_us(self, pop: str, ask: Ask, tokens: int) -> int:
        return self.times_us[pop]


def test_the_oracle_believes_the_schedule_and_not_the_sum() -> None:
    signals = Foretold({"p0": 9_000_000, "p1": 2_000_000, "p2": 3_000_000})
    candidates = near(3)
    for one in candidates:
        signals.say(one.pop, at_us=1_000_000)
    policy = make_policy("oracle", "t", {"crowd_us": 0})
    found = policy.order(ASK, candidates, signals, IDLE, 1_000_000)
    assert [one.pop for one in found] == ["p1", "p2", "p0"]
