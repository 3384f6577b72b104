"""Ranking: the soonest first, only what is allowed, and a reason where there is nothing."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.fabric import Ask, Engine, Model, Refused, Release, Route, Served, WanModel
from selvedge.routing import Attempt, FleetMap, Load, Plan, place, prompt_tokens_of
from tests.support.fleets import IDLE, make_pop, make_release

RELEASE = make_release()
ASK = Ask(Route.CHAT, "chat", prompt_bytes=400)


def ranked(
    allowed: list[str], here: str = "sin", load: Load = IDLE, ask: Ask = ASK
) -> list[tuple[str, str | None]]:
    plan = FleetMap(RELEASE, here).rank(ask, [RELEASE.pop(one) for one in allowed], load)
    assert isinstance(plan, Plan)
    return [(one.pop, one.engine) for one in plan.attempts]


def refusal(release: Release, ask: Ask, allowed: list[str], local_only: bool = False) -> Refused:
    pops = [release.pop(one) for one in allowed]
    plan = FleetMap(release, "sin").rank(ask, pops, IDLE, local_only=local_only)
    assert isinstance(plan, Refused)
    return plan


def test_the_nearest_first_and_peers_choose_their_own_engine() -> None:
    assert ranked(["fra", "sin", "cgk"]) == [("sin", "sin-chat"), ("fra", None)]
    assert ranked(["fra", "sin", "cgk"], here="cgk") == [("sin", None), ("fra", None)]
    assert ranked(["fra"]) == [("fra", None)]


def test_the_prediction_and_its_words() -> None:
    load = Load({"sin/sin-chat": 20, "fra": 50}, frozenset())
    plan = FleetMap(RELEASE, "sin").rank(ASK, RELEASE.pops, load)
    assert isinstance(plan, Plan)
    here, there = plan.attempts
    assert here == Attempt(
        "sin", "SG", "sin-chat", 1_210_000, "rtt 0 ms + wait 200 ms + prefill 1010 ms", 200_000
    )
    sites = (RELEASE.pop("sin"), RELEASE.pop("fra"))
    ends = [(site.latitude, site.longitude) for site in sites]
    rtt_us = round(WanModel().rtt_ms(*ends) * 1000)
    assert there == Attempt(
        "fra",
        "DE",
        None,
        rtt_us + 1_510_000,
        f"rtt {rtt_us // 1000} ms + wait 500 ms + prefill 1010 ms",
        500_000,
    )


def test_a_busy_engine_gives_way_to_a_far_one() -> None:
    busy = Load({"sin/sin-chat": 1000}, frozenset())
    assert ranked(["sin", "fra"], load=busy) == [("fra", None), ("sin", "sin-chat")]


def test_who_just_failed_comes_last_and_is_not_left_out() -> None:
    cooling = Load({}, frozenset({"sin/sin-chat"}))
    assert ranked(["sin", "fra"], load=cooling) == [("fra", None), ("sin", "sin-chat")]
    assert ranked(["sin"], load=cooling) == [("sin", "sin-chat")]
    everyone = Load({}, frozenset({"sin/sin-chat", "fra"}))
    assert ranked(["sin", "fra"], load=everyone) == [("sin", "sin-chat"), ("fra", None)]


def test_at_most_three_and_the_best_engine_of_a_peer() -> None:
    def engine(number: int) -> Engine:
        rate = 100 * number
        return Engine(
            f"e{number}", "http://h", "openai", (Served("chat", "c"),), prefill_tokens_per_s=rate
        )

    many = tuple(engine(number) for number in range(1, 6))
    sin = msgspec.structs.replace(make_pop("sin"), engines=many)
    fra = msgspec.structs.replace(make_pop("fra"), engines=many)
    release = make_release(pops=(sin, fra))
    plan = FleetMap(release, "sin").rank(ASK, release.pops, IDLE)
    assert isinstance(plan, Plan)
    assert [one.engine for one in plan.attempts] == ["e5", "e4", "e3"]
    plan = FleetMap(release, "sin").rank(ASK, [fra], IDLE)
    assert isinstance(plan, Plan)
    (only,) = plan.attempts
    assert only.ttft_us - FleetMap(release, "sin").rtt_us("fra") == 101 * 1_000_000 // 500


def test_local_only_is_the_serving_side() -> None:
    plan = FleetMap(RELEASE, "sin").rank(ASK, RELEASE.pops, IDLE, local_only=True)
    assert isinstance(plan, Plan)
    assert [one.pop for one in plan.attempts] == ["sin"]
    refused = refusal(RELEASE, ASK, ["fra"], local_only=True)
    assert (refused.code, refused.retry_after_ms) == ("no_engine_available", 1000)


@pytest.mark.parametrize(
    ("ask", "code", "param"),
    [
        (Ask(Route.CHAT, "unknown"), "model_not_found", "model"),
        (Ask(Route.CHAT, "embed"), "unsupported_route", "model"),
        (Ask(Route.COMPLETIONS, "embed"), "unsupported_route", "model"),
        (Ask(Route.EMBEDDINGS, "chat"), "unsupported_route", "model"),
        (Ask(Route.CHAT, "chat", media=True), "invalid_value", "messages"),
        (Ask(Route.EMBEDDINGS, "embed", dimensions=8), "invalid_value", "dimensions"),
    ],
)
def test_a_model_that_does_not_fit(ask: Ask, code: str, param: str) -> None:
    refused = refusal(RELEASE, ask, ["sin", "fra"])
    assert (refused.code, refused.param) == (code, param)


def test_a_model_that_shortens_its_vectors() -> None:
    models = (RELEASE.models[0], msgspec.structs.replace(RELEASE.models[1], dimensions=True))
    release = make_release(models=models)
    ask = Ask(Route.EMBEDDINGS, "embed", dimensions=8)
    assert isinstance(FleetMap(release, "sin").rank(ask, release.pops, IDLE), Plan)


def test_a_model_that_takes_media() -> None:
    models = (Model("chat", "chat", "unknown", "F16", 10, media=True), RELEASE.models[1])
    release = make_release(models=models)
    ask = Ask(Route.CHAT, "chat", media=True)
    assert isinstance(FleetMap(release, "sin").rank(ask, release.pops, IDLE), Plan)


def test_each_route_has_its_engine() -> None:
    assert ranked(["sin"], ask=Ask(Route.EMBEDDINGS, "embed")) == [("sin", "sin-embed")]
    assert ranked(["sin"], ask=Ask(Route.COMPLETIONS, "chat")) == [("sin", "sin-chat")]


def test_served_but_not_where_it_may_be() -> None:
    refused = refusal(RELEASE, ASK, ["cgk"])
    assert (refused.code, refused.kind.status) == ("residency_model", 451)
    assert refusal(RELEASE, ASK, []).code == "residency_model"


@given(
    st.sets(st.sampled_from(["sin", "fra", "cgk"])),
    st.sampled_from(["sin", "fra", "cgk"]),
    st.dictionaries(st.sampled_from(["sin", "fra", "sin/sin-chat"]), st.integers(0, 10**6)),
    st.sets(st.sampled_from(["sin", "fra", "sin/sin-chat"])),
)
def test_never_a_pop_outside(
    allowed: set[str], here: str, tokens: dict[str, int], cooling: set[str]
) -> None:
    pops = [pop for pop in RELEASE.pops if pop.id in allowed]
    plan = FleetMap(RELEASE, here).rank(ASK, pops, Load(tokens, cooling))
    if isinstance(plan, Plan):
        assert {one.pop for one in plan.attempts} <= allowed
        assert all((one.engine is not None) == (one.pop == here) for one in plan.attempts)
    else:
        assert not allowed & {"sin", "fra"}


def test_places_and_estimates() -> None:
    assert (place("sin", "e"), place("sin", None)) == ("sin/e", "sin")
    assert prompt_tokens_of(ASK) == 101
    assert prompt_tokens_of(Ask(Route.CHAT, "chat")) == 1
    distances = FleetMap(RELEASE, "sin")
    assert distances.rtt_us("sin") == 0
    assert 14_000 < distances.rtt_us("cgk") < 18_000 < distances.rtt_us("fra")


def test_an_empty_plan_cannot_exist() -> None:
    with pytest.raises(ValueError, match="at least one attempt"):
        Plan(())
    assert Plan((Attempt("sin", "SG", None, 1, ""),)).attempts
