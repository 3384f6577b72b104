"""Limits, projects, scopes and prices in the operator's file, and what is wrong with them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from selvedge.adapters import FleetConfig, read_config
from selvedge.adapters.fleet_config import check_config
from selvedge.fabric import LIMIT_MAX, BadRelease, Control, Limits, Price, Project
from tests.adapters.test_fleet_config import DATA, PUBLIC, release_of

CHAT = "smollm2-135m-instruct"
TENANT, KEY = next(iter(DATA["tenants"])), next(iter(DATA["keys"]))


def written(**changes: Any) -> dict[str, Any]:
    """The example with entries of its first tenant, key and model changed."""
    data = copy.deepcopy(DATA)
    data["tenants"][TENANT].update(changes.get("tenant", {}))
    data["keys"][KEY].update(changes.get("key", {}))
    data["models"][CHAT].update(changes.get("model", {}))
    return data


def test_all_of_it_comes_to_the_release() -> None:
    data = written(
        tenant={
            "limits": {"tokens_per_minute": 7, "micro_dollars_per_month": 9},
            "projects": {"web": {"limits": {"concurrent_requests": 3}}, "batch": {}},
        },
        key={
            "project": "web",
            "expires_us": 5,
            "models": [CHAT],
            "routes": ["/v1/chat/completions"],
            "zones": [next(iter(DATA["zones"]))],
            "limits": {"requests_per_minute": 0},
        },
        model={"price": {"input": 20, "output": 80, "cached": 5}},
    )
    release = release_of(msgspec.convert(data, FleetConfig))
    tenant = next(one for one in release.tenants if one.id == TENANT)
    assert tenant.limits == Limits(tokens_per_minute=7, micro_dollars_per_month=9)
    assert release.projects == (
        Project("web", TENANT, Limits(concurrent_requests=3)),
        Project("batch", TENANT),
    )
    key = next(one for one in release.keys if one.id == KEY)
    assert (key.expires_us, key.models, key.routes) == (5, (CHAT,), ("/v1/chat/completions",))
    assert (key.project, key.limits) == ("web", Limits(requests_per_minute=0))
    assert key.zones == (next(iter(DATA["zones"])),)
    assert release.models[0].price == Price(20, 80, 5)
    assert (release.control, release.collectors) == (None, ())


def test_a_control_plane_is_a_fact() -> None:
    control = Control("https://control.example.net:8191", PUBLIC)
    release = release_of(msgspec.convert(DATA, FleetConfig), control=control)
    assert release.control == control


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"tenant": {"limits": {"requests_per_minute": -1}}},
            f"tenants.{TENANT}.limits.requests_per_minute: is from 0 to {LIMIT_MAX}, or left out",
        ),
        (
            {"key": {"limits": {"micro_dollars_per_day": LIMIT_MAX + 1}}},
            f"keys.{KEY}.limits.micro_dollars_per_day: is from 0 to {LIMIT_MAX}, or left out",
        ),
        (
            {"tenant": {"projects": {"web": {"limits": {"tokens_per_minute": 2**70}}}}},
            f"projects.{TENANT}/web.limits.tokens_per_minute: is from 0 to",
        ),
        (
            {"tenant": {"limits": {"tokens_per_hour": 3}}},
            f"tenants.{TENANT}.limits: Object contains unknown field `tokens_per_hour`",
        ),
        (
            {"tenant": {"projects": {"web": {"limits": {"tokens_per_minute": "many"}}}}},
            f"tenants.{TENANT}.projects.web.limits.tokens_per_minute: Expected",
        ),
        ({"model": {"price": {"input": -3, "output": 1}}}, f"models.{CHAT}.price.input: is from 0"),
        ({"model": {"price": {"input": 3}}}, f"models.{CHAT}.price: Object missing required field"),
        ({"key": {"models": ["gpt"]}}, f"keys.{KEY}.models: 'gpt' is not under models"),
        ({"key": {"zones": ["moon"]}}, f"keys.{KEY}.zones: 'moon' is not under zones"),
        ({"key": {"routes": ["/v1/chat"]}}, f"keys.{KEY}.routes: '/v1/chat' is not of"),
        ({"key": {"expires_us": 0}}, f"keys.{KEY}.expires_us: Expected `int` >= 1"),
    ],
)
def test_what_is_wrong_names_field_and_limit(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(json.dumps(written(**changes)), "utf-8")
    with pytest.raises(BadRelease) as caught:
        read_config(file)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_the_example_still_holds() -> None:
    check_config(msgspec.convert(DATA, FleetConfig))
