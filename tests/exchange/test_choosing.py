"""What a client says of who may answer: it narrows what residency allows, and never widens it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.exchange.choosing import narrow
from selvedge.exchange.planning import plan_of
from selvedge.exchange.view import FleetView
from selvedge.fabric import Ask, Engine, Model, Preferences, Price, Refused, Release, Route, Served
from selvedge.ledger import Admitted
from selvedge.residency import Allowed
from selvedge.routing import Paces, Plan
from tests.support.fleets import NOW_US, make_head, make_pop, make_provider, make_release, make_view

ADMITTED = Admitted("k", "free", "default", "default")
ASK = Ask(Route.CHAT, "chat", prompt_bytes=400)


def api(cost: Price | None = None, *, name: str = "api", **changes: Any) -> Engine:
    fields = {"prefill_tokens_per_s": 10_000} | changes
    return Engine(name, "http://127.0.0.1:9", "openai", (Served("chat", "g"),), cost=cost, **fields)


def fleet() -> Release:
    """Two PoPs with an engine each, three providers: cheap far away, dear near by, one unpriced."""
    pops = tuple(
        msgspec.structs.replace(
            one,
            engines=tuple(
                msgspec.structs.replace(each, cost=Price(500_000, 1_000_000))
                for each in one.engines
            ),
        )
        for one in (make_pop("sin"), make_pop("fra"))
    )
    return make_release(
        pops=(*pops, make_pop("cgk", engines=False)),
        providers=(
            make_provider("cheap", "DE", engines=(api(Price(100_000, 200_000)),), rtt_ms=200),
            make_provider("dear", "US", engines=(api(Price(5_000_000, 9_000_000)),), rtt_ms=1),
            make_provider("unsaid", "FR", engines=(api(),), rtt_ms=2, entity="Mistral"),
        ),
    )


def planned(view: FleetView, **prefers: Any) -> list[str] | Refused:
    ask = msgspec.structs.replace(ASK, prefers=Preferences(**prefers))
    assert ask.prefers is not None
    allowed = view.rules.allowed("free", "default", view.here.id, NOW_US)
    assert isinstance(allowed, Allowed)
    narrowed = narrow(view, allowed, ask.prefers)
    if isinstance(narrowed, Refused):
        return narrowed
    plan = plan_of(make_head(), ask, view, narrowed, admitted=ADMITTED, at_us=NOW_US)
    return [one.pop for one in plan.attempts] if isinstance(plan, Plan) else plan


@pytest.mark.parametrize(
    ("prefers", "sites"),
    [
        ({}, ["dear", "unsaid", "cheap"]),
        ({"only": ("cheap",)}, ["cheap"]),
        ({"only": ("mistral",)}, ["unsaid"]),
        ({"only": ("own",)}, ["sin", "fra"]),
        ({"ignore": ("dear", "own")}, ["unsaid", "cheap"]),
        ({"order": ("fra", "cheap")}, ["fra", "cheap", "dear"]),
        ({"order": ("fra", "cheap"), "fallbacks": False}, ["fra", "cheap"]),
        ({"fallbacks": False}, ["dear"]),
        ({"sort": "price"}, ["cheap", "sin", "fra"]),
        ({"sort": "price", "ignore": ("own",)}, ["cheap", "dear", "unsaid"]),
        ({"sort": "price", "order": ("dear",)}, ["dear", "cheap", "sin"]),
        ({"prompt_max": 500_000}, ["cheap", "sin", "fra"]),
        ({"prompt_max": 499_999}, ["cheap"]),
        ({"completion_max": 999_999}, ["cheap"]),
        ({"zone": "eea"}, ["unsaid", "cheap", "fra"]),
        ({"zone": "eea", "sort": "price"}, ["cheap", "fra", "unsaid"]),
        ({"zone": "asean"}, ["sin"]),
    ],
)
def test_who_is_left_and_in_which_order(prefers: dict[str, Any], sites: list[str]) -> None:
    assert planned(make_view("cgk", fleet()), **prefers) == sites


@pytest.mark.parametrize(
    ("prefers", "words"),
    [
        ({"only": ("nobody",)}, "only took sin, fra, cheap, dear, unsaid"),
        ({"only": ("cheap",), "ignore": ("cheap",)}, "unsaid; ignore took cheap"),
        ({"prompt_max": 1}, "max_price took sin, fra, cheap, dear, unsaid"),
        ({"quantisations": ("int8",)}, "quantizations took all, it is 'Q4_K_M'"),
        ({"order": ("nobody",), "fallbacks": False}, "order without allow_fallbacks took sin"),
    ],
)
def test_when_nobody_is_left_each_filter_is_named(prefers: dict[str, Any], words: str) -> None:
    found = planned(make_view("cgk", fleet()), **prefers)
    assert isinstance(found, Refused)
    assert (found.code, found.kind.status) == ("no_provider_left", 400)
    assert words in found.message


def test_a_zone_that_is_none_or_leaves_none() -> None:
    view = make_view("cgk", fleet())
    found = planned(view, zone="atlantis")
    assert isinstance(found, Refused)
    assert (found.code, found.param) == ("invalid_value", "zone")
    allowed = view.rules.allowed("asean", "default", "cgk", NOW_US)
    assert isinstance(allowed, Allowed)
    none = narrow(view, allowed, Preferences(zone="eea"))
    assert isinstance(none, Refused)
    assert none.code == "no_provider_left"


def test_handling_that_is_asked_for_is_kept_to() -> None:
    view = make_view("cgk", fleet())
    found = planned(view, handling=("no-training",))
    assert isinstance(found, Refused)
    assert found.code == "residency_handling"
    kept = api(honours=("no-training",))
    strict = msgspec.structs.replace(
        fleet(), providers=(make_provider("x", "US", engines=(kept,)),)
    )
    assert planned(make_view("cgk", strict), handling=("no-training",)) == ["x"]


def test_a_zone_of_the_request_has_a_cache_of_its_own() -> None:
    from selvedge.exchange.view import prefix_scope  # noqa: PLC0415

    view = make_view("cgk", fleet())
    allowed = view.rules.allowed("free", "default", "cgk", NOW_US)
    assert isinstance(allowed, Allowed)
    narrowed = narrow(view, allowed, Preferences(zone="eea"))
    assert isinstance(narrowed, Allowed)
    assert prefix_scope(narrowed.rule) != prefix_scope(allowed.rule)
    assert not view.rules.holds(narrowed.rule.cache, "cgk"), "nothing of it is kept outside"
    assert set(narrowed.rule.pops) == {"fra"}, "a ticket names PoPs inside alone"


def test_throughput_and_latency_go_by_what_was_seen_here() -> None:
    paces = Paces()
    paces.learn("cheap", 900_000, 100, 1_000_000)
    paces.learn("dear", 200_000, 100, 4_000_000)
    paces.learn("sin", 100_000, 100, 9_000_000)
    view = msgspec.structs.replace(make_view("cgk", fleet()), paces=paces)
    assert planned(view, sort="throughput") == ["cheap", "dear", "sin"]
    assert planned(view, sort="latency") == ["sin", "dear", "cheap"]


def test_a_pop_that_chooses_its_engine_itself_is_as_dear_as_its_dearest() -> None:
    release = fleet()
    sin = msgspec.structs.replace(
        release.pops[0],
        engines=(api(Price(1, 1), name="a"), api(Price(800_000, 1), name="b")),
    )
    release = msgspec.structs.replace(release, pops=(sin, *release.pops[1:]))
    assert planned(make_view("cgk", release), prompt_max=500_000) == ["cheap", "fra"]
    view = make_view("sin", release)
    assert planned(view, prompt_max=500_000)[0] == "sin"  # type: ignore[index]
    allowed = view.rules.allowed("free", "default", "sin", NOW_US)
    assert isinstance(allowed, Allowed)
    ask = msgspec.structs.replace(ASK, prefers=Preferences(prompt_max=500_000))
    plan = plan_of(make_head(), ask, view, allowed, admitted=ADMITTED, at_us=NOW_US)
    assert isinstance(plan, Plan)
    assert plan.attempts[0].engine == "a"
    assert "b" not in {one.engine for one in plan.attempts}, "here the engine is chosen"


def test_the_price_of_a_model_stands_where_no_engine_has_one() -> None:
    release = fleet()
    priced = Model("chat", "chat", "unknown", "Q4", 4096, price=Price(300_000, 300_000))
    release = msgspec.structs.replace(release, models=(priced, *release.models[1:]))
    assert planned(make_view("cgk", release), prompt_max=300_000) == ["unsaid", "cheap"]


names = st.sampled_from(["cheap", "dear", "unsaid", "sin", "fra", "own", "mistral", "nobody"])
many = st.lists(names, max_size=3).map(tuple)
caps = st.none() | st.integers(0, 6_000_000)


@settings(max_examples=300, deadline=None)
@given(
    st.builds(
        Preferences,
        order=many,
        only=many,
        ignore=many,
        fallbacks=st.booleans(),
        sort=st.sampled_from([None, "price", "throughput", "latency"]),
        prompt_max=caps,
        completion_max=caps,
        zone=st.sampled_from([None, "eea", "asean", "world"]),
    ),
    st.sampled_from([("eea", "transit"), ("asean", "default"), ("free", "default")]),
)
def test_it_narrows_and_never_widens(prefers: Preferences, named: tuple[str, str]) -> None:
    release = fleet()
    view = make_view("cgk", release)
    allowed = view.rules.allowed(*named, "cgk", NOW_US)
    assert isinstance(allowed, Allowed)
    narrowed = narrow(view, allowed, prefers)
    if isinstance(narrowed, Refused):
        return
    assert not narrowed.bits & ~allowed.bits
    ask = msgspec.structs.replace(ASK, prefers=prefers)
    plan = plan_of(make_head(), ask, view, narrowed, admitted=ADMITTED, at_us=NOW_US)
    if not isinstance(plan, Plan):
        return
    sites = {one.id: one for one in release.sites}
    zones = {one.id: set(one.countries) for one in release.zones}
    for attempt in plan.attempts:
        site = sites[attempt.pop]
        assert view.rules.holds(allowed.bits, site.id)
        assert prefers.zone is None or site.country in zones[prefers.zone]
        known = {site.id, site.entity.lower(), *(("own",) if site.id in view.pops else ())}
        assert not prefers.only or known & set(prefers.only)
        assert not known & set(prefers.ignore)
        cost = next(one.cost for one in site.engines if one.name_of("chat"))
        if prefers.prompt_max is not None:
            assert cost is not None
            assert cost.input <= prefers.prompt_max
        if prefers.completion_max is not None:
            assert cost is not None
            assert cost.output <= prefers.completion_max
