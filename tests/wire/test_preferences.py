"""OpenRouter's `provider` object and `zone`: read, checked by name, and never told to an engine."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.fabric import Ask, Preferences, Refused, Route
from selvedge.wire import PROFILES, engine_body, parse


def body(**fields: Any) -> bytes:
    messages = [{"role": "user", "content": "hi"}]
    return json.dumps({"model": "chat", "messages": messages, **fields}).encode()


def read(**fields: Any) -> Preferences:
    ask = parse(Route.CHAT, body(**fields))
    assert isinstance(ask, Ask), ask
    assert ask.prefers is not None
    return ask.prefers


def refused(**fields: Any) -> Refused:
    found = parse(Route.CHAT, body(**fields))
    assert isinstance(found, Refused), found
    return found


def test_who_says_nothing_prefers_nothing() -> None:
    ask = parse(Route.CHAT, body())
    assert isinstance(ask, Ask)
    assert ask.prefers is None


def test_all_of_it() -> None:
    found = read(
        zone="eea",
        provider={
            "order": ["OpenAI", "azure"],
            "only": ["openai"],
            "ignore": ["Together"],
            "allow_fallbacks": False,
            "sort": "price",
            "max_price": {"prompt": "0.15", "completion": 0.6, "request": 0},
            "data_collection": "deny",
            "zdr": True,
            "require_parameters": True,
            "quantizations": ["FP8"],
            "zone": "eea",
        },
    )
    assert found == Preferences(
        order=("openai", "azure"),
        only=("openai",),
        ignore=("together",),
        fallbacks=False,
        sort="price",
        prompt_max=150_000,
        completion_max=600_000,
        request_max=0,
        handling=("zero-retention", "no-training"),
        quantisations=("fp8",),
        zone="eea",
    )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"provider": {"sort": "cheap"}}, "provider.sort"),
        ({"provider": {"only": []}}, "provider.only"),
        ({"provider": {"only": [""]}}, "provider.only"),
        ({"provider": {"order": ["x"] * 65}}, "provider.order"),
        ({"provider": {"data_collection": "maybe"}}, "provider.data_collection"),
        ({"provider": {"max_price": {"prompt": -1}}}, "provider.max_price.prompt"),
        ({"provider": {"max_price": {"prompt": "dear"}}}, "provider.max_price.prompt"),
        ({"provider": {"max_price": {"prompt": "NaN"}}}, "provider.max_price.prompt"),
        ({"provider": {"max_price": {"completion": 1e9}}}, "provider.max_price.completion"),
        ({"provider": {"max_price": {"image": 1}}}, "provider.max_price.image"),
        ({"provider": {"experimental": {}}}, "provider.experimental"),
        ({"provider": {"zone": "a"}, "zone": "b"}, "zone"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    found = refused(**fields)
    assert (found.code, found.param) == ("invalid_value", param)
    assert param in found.message


@pytest.mark.parametrize("fields", [{"provider": []}, {"provider": {"only": "x"}}, {"zone": 1}])
def test_what_is_of_the_wrong_type(fields: dict[str, Any]) -> None:
    assert refused(**fields).code == "invalid_type"


@given(st.decimals(0, 1_000, places=9))
def test_a_cap_is_never_more_than_was_said(dollars: Any) -> None:
    found = read(provider={"max_price": {"prompt": str(dollars)}})
    assert found.prompt_max is not None
    assert 0 <= dollars * 1_000_000 - found.prompt_max < 1


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_no_engine_is_told_of_it(profile: str) -> None:
    raw = body(provider={"only": ["x"]}, zone="eea", unknown=1)
    ask = parse(Route.CHAT, raw)
    assert isinstance(ask, Ask)
    sent = json.loads(engine_body(ask, raw, PROFILES[profile], "chat"))
    assert not {"provider", "zone"} & sent.keys()
    assert sent["unknown"] == 1


def test_completions_and_embeddings_have_it_too() -> None:
    for route, field in ((Route.COMPLETIONS, "prompt"), (Route.EMBEDDINGS, "input")):
        raw = json.dumps({"model": "m", field: "x", "provider": {"only": ["a"]}}).encode()
        ask = parse(route, raw)
        assert isinstance(ask, Ask)
        assert ask.prefers == Preferences(only=("a",))
