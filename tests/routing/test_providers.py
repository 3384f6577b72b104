"""Providers among the candidates: ranked by predicted time, their engine chosen here."""

from __future__ import annotations

from typing import Any

import pytest

from selvedge.fabric import Ask, Engine, Release, Route, Served
from selvedge.routing import FleetMap, LoadBook, Plan
from tests.support.fleets import make_provider, make_release

ASK = Ask(Route.CHAT, "chat", prompt_bytes=400)


def engine(name: str, **changes: Any) -> Engine:
    fields = {"prefill_tokens_per_s": 10_000} | changes
    return Engine(name, "http://127.0.0.1:9", "openai", (Served("chat", "gpt"),), **fields)


def ranked(release: Release, load: LoadBook | None = None, **asked: Any) -> list[tuple[str, Any]]:
    book = load or LoadBook()
    plan = FleetMap(release, "cgk").rank(ASK, release.sites, book.view, **asked)
    assert isinstance(plan, Plan), plan
    return [(one.pop, one.engine) for one in plan.attempts]


def test_the_nearest_in_time_comes_first_and_its_engine_is_chosen_here() -> None:
    near = make_provider("near", "US", rtt_ms=20, engines=(engine("a"), engine("b")))
    found = ranked(make_release(providers=(near,)))
    assert found == [("near", "a"), ("near", "b"), ("sin", None)], "its others where time puts them"


def test_a_handicap_keeps_it_for_when_it_is_worth_it() -> None:
    near = make_provider("near", "US", rtt_ms=20, engines=(engine("a"),), handicap_ms=2_000)
    release = make_release(providers=(near,))
    assert [pop for pop, _ in ranked(release)] == ["sin", "fra", "near"]
    load = LoadBook()
    load.enter("sin", 1_000_000)
    load.enter("fra", 1_000_000)
    assert ranked(release, load)[0] == ("near", "a")


def test_distance_is_stated_or_by_coordinates_or_assumed() -> None:
    tokyo = {"latitude": 35.68, "longitude": 139.69}
    release = make_release(
        providers=(
            make_provider("said", "US", rtt_ms=7, **tokyo),
            make_provider("tokyo", "JP", **tokyo),
            make_provider("unsaid", "US"),
        )
    )
    routes = FleetMap(release, "cgk")
    assert routes.rtt_us("said") == 7_000
    assert routes.rtt_us("unsaid") == 60_000
    assert 60_000 < routes.rtt_us("tokyo") < 120_000


def test_an_engine_that_cools_comes_last() -> None:
    near = make_provider("near", "US", rtt_ms=20, engines=(engine("a"), engine("b")))
    release, load = make_release(providers=(near,)), LoadBook()
    load.cool("near/a", 10)
    assert ranked(release, load)[0] == ("near", "b")
    load.cool("near/b", 10)
    assert [pop for pop, _ in ranked(release, load)][:2] == ["sin", "fra"]


def test_only_engines_that_honour_a_handling_are_asked() -> None:
    kept = engine("kept", honours=("no-training",), prefill_tokens_per_s=1_000)
    near = make_provider("near", "US", rtt_ms=20, engines=(engine("a"), kept))
    found = ranked(make_release(providers=(near,)), handling=("no-training",))
    assert found == [("near", "kept")]


@pytest.mark.parametrize("local_only", [True])
def test_a_forwarded_request_goes_to_no_provider(local_only: bool) -> None:
    near = make_provider("near", "US", rtt_ms=1)
    release = make_release(providers=(near,))
    plan = FleetMap(release, "sin").rank(ASK, release.sites, LoadBook().view, local_only=local_only)
    assert isinstance(plan, Plan)
    assert [one.pop for one in plan.attempts] == ["sin"]


def test_a_distance_that_nobody_stated_is_learned() -> None:
    release = make_release(providers=(make_provider("far", "US", engines=(engine("a"),)),))
    routes = FleetMap(release, "sin")
    asked = (release.sites, LoadBook().view)
    first = routes.rank(ASK, *asked)
    assert isinstance(first, Plan)
    assert first.attempts[0].pop == "far", "60 ms are assumed"
    routes.learn_distance("far", 62_000)
    assert routes.rtt_us("far") == 60_000, "which is close enough"
    routes.learn_distance("far", 2_500_000)
    then = routes.rank(ASK, *asked)
    assert isinstance(then, Plan)
    assert then.attempts[0].pop == "sin"
    assert routes.rtt_us("far") == 2_500_000
