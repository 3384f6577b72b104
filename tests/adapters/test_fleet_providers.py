"""Providers in a fleet file: what they become, and errors with field and remedy."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from selvedge.adapters import FleetConfig, read_config, stand_in_release
from selvedge.fabric import BadRelease, Price
from tests.adapters.test_fleet_config import DATA, NOW_US

MODEL = "smollm2-135m-instruct"
ENGINE: dict[str, Any] = {
    "url": "https://api.example.com/v1",
    "serves": {MODEL: "theirs-2026"},
    "cost": {"input": 150_000, "output": 600_000},
}
PROVIDER: dict[str, Any] = {
    "country": "US",
    "entity": "Example Inc",
    "keys": ["openai-1", "OPENAI_API_KEY"],
    "honours": ["no-training"],
    "engines": {"api": ENGINE},
}


def written(directory: Path, **sections: Any) -> Path:
    path = directory / "fleet.yaml"
    path.write_text(json.dumps(copy.deepcopy(DATA) | sections))
    return path


def read(directory: Path, changes: dict[str, Any], **sections: Any) -> FleetConfig:
    made = copy.deepcopy(PROVIDER)
    for dotted, value in changes.items():
        *path, last = dotted.split(".")
        place = made
        for one in path:
            place = place[one]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return read_config(written(directory, providers={"openai-us": made}, **sections))


def test_what_they_become(tmp_path: Path) -> None:
    found = read(tmp_path, {"rtt_ms": 90, "handicap_ms": 500})
    (one,) = stand_in_release(found, NOW_US).providers
    assert (one.id, one.country, one.entity) == ("openai-us", "US", "Example Inc")
    assert (one.rtt_ms, one.handicap_ms, one.keys) == (90, 500, ("openai-1", "OPENAI_API_KEY"))
    (engine,) = one.engines
    assert engine.name_of(MODEL) == "theirs-2026"
    assert engine.cost == Price(150_000, 600_000)
    assert engine.honours == ("no-training",)
    assert engine.prefill_tokens_per_s == 10_000


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"country": "Atlantis"}, "providers.openai-us.country: 'Atlantis' is not an ISO"),
        ({"country": None}, "providers.openai-us"),
        ({"region": "us"}, "providers.openai-us"),
        ({"engines": {}}, "providers.openai-us.engines: a provider has at least one engine"),
        ({"engines.api.url": None}, "providers.openai-us.engines.api.url: is required"),
        ({"engines.api.url": "api"}, "providers.openai-us.engines.api.url: 'api' is not an http"),
        ({"engines.api.url": "http://api.example.com"}, "would be told its key in plaintext; use"),
        ({"engines.api.profile": "nope"}, "providers.openai-us.engines.api.profile: is one of"),
        ({"engines.api.serves": {}}, "engines.api.serves: name at least one model"),
        ({"engines.api.serves": {"x": "y"}}, "serves 'x', which is not under models"),
        ({"engines.api.api_key_env": "K"}, "named by providers.openai-us.keys; move it there"),
        ({"engines.api.embedded": {"model": MODEL}}, "an embedded engine is a PoP's"),
        ({"engines.api.cost": {"input": -1, "output": 0}}, "api.cost.input: is from 0 to"),
        ({"keys": ["Mixed"]}, "'Mixed' is no name of a secret"),
        ({"honours": ["kindness"]}, "providers.openai-us.honours"),
        ({"rtt_ms": 700_000}, "providers.openai-us.rtt_ms: is from 0 to 600000 ms"),
    ],
)
def test_what_does_not_hold(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRelease) as raised:
        read(tmp_path, changes)
    assert words in str(raised.value)
    assert str(raised.value).count("\n") == 0


def test_a_provider_is_no_pop(tmp_path: Path) -> None:
    with pytest.raises(BadRelease, match="'sin' appears twice"):
        read_config(written(tmp_path, providers={"sin": PROVIDER}))


def test_keys_that_are_passed(tmp_path: Path) -> None:
    keys = copy.deepcopy(DATA["keys"])
    keys["acme"] = {"tenant": "free", "class": "standard", "passes_to": "openai-us"}
    found = read(tmp_path, {}, keys=keys)
    (key,) = [one for one in stand_in_release(found, NOW_US).keys if one.id == "acme"]
    assert (key.passes_to, key.falls_back) == ("openai-us", False)
    keys["acme"]["passes_to"] = "nobody"
    with pytest.raises(BadRelease, match=r"keys.acme.passes_to: 'nobody' is not under providers"):
        read(tmp_path, {}, keys=keys)
