"""Settings of a model in a fleet file are options of the engine that `selvedge up` starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from selvedge.adapters import FleetConfig, forgets
from selvedge.adapters.embedded_engine import EngineSettings, parse
from selvedge.control.local import embedded_argv
from tests.adapters.test_model_catalogue import config_of

MODEL = {"catalogue": "smollm2-135m-instruct", "weights": "smollm2-135m-instruct"}


def settings_of(config: FleetConfig, tmp_path: Path) -> EngineSettings:
    engine = config.pops["sin"].engines["sin-chat"].embedded
    assert engine is not None
    return parse(embedded_argv(config, engine, 9000, tmp_path)[3:])


def with_model(**settings: Any) -> FleetConfig:  # Any: what a YAML file holds
    return config_of(**{"smollm2-135m-instruct": MODEL | settings})


def test_what_is_not_said_is_the_catalogues(tmp_path: Path) -> None:
    found = settings_of(with_model(), tmp_path)
    assert (found.quantisation, found.speculation, found.context_per_slot) == ("Q4_1", "none", 8192)


def test_quantisation_and_ngrams_reach_the_engine(tmp_path: Path) -> None:
    speculation = {"kind": "ngram", "lookup_tokens": 2, "draft_tokens": 5}
    found = settings_of(with_model(quantisation="Q8_0", speculation=speculation), tmp_path)
    assert (found.quantisation, found.speculation) == ("Q8_0", "ngram")
    assert (found.lookup_tokens, found.draft_tokens, found.draft_model) == (2, 5, None)


def test_a_draft_model_reaches_the_engine(tmp_path: Path) -> None:
    speculation = {"kind": "draft", "model": "/w/tiny.gguf", "draft_tokens": 4}
    found = settings_of(with_model(speculation=speculation), tmp_path)
    assert (found.speculation, found.draft_model) == ("draft", "/w/tiny.gguf")


@pytest.mark.parametrize("kind", ["none", "ngram"])
def test_the_engine_refuses_what_it_does_not_take(kind: str) -> None:
    argv = ["--model", "m", "--alias", "m", "--port", "9000", "--speculation", kind]
    with pytest.raises(Exception, match="needs --draft-model"):
        parse([*argv, "--draft-model", "/w/tiny.gguf"])


@pytest.mark.parametrize("said", [None, True, False])
@pytest.mark.parametrize("asked", [False, True])
def test_zero_retention_reaches_the_engine_and_is_what_it_honours(
    said: bool | None, asked: bool, tmp_path: Path
) -> None:
    config = with_model()
    sin = config.pops["sin"]
    one = sin.engines["sin-chat"]
    assert one.embedded is not None
    embedded = msgspec.structs.replace(one.embedded, zero_retention=said)
    engines = sin.engines | {"sin-chat": msgspec.structs.replace(one, embedded=embedded)}
    pops = config.pops | {"sin": msgspec.structs.replace(sin, engines=engines)}
    if asked:
        (name, tenant), *_ = config.tenants.items()
        classes = {
            each: msgspec.structs.replace(rule, handling=["zero-retention"])
            for each, rule in tenant.classes.items()
        }
        changed = msgspec.structs.replace(tenant, classes=classes)
        config = msgspec.structs.replace(config, tenants=config.tenants | {name: changed})
    config = msgspec.structs.replace(config, pops=pops)
    forgets_all = asked if said is None else said
    assert settings_of(config, tmp_path).zero_retention is forgets_all
    assert forgets(config, embedded) is forgets_all
