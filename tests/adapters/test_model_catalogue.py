"""The catalogue of models: its rows hold together, and a fleet file takes from them."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest

from selvedge.adapters import BUNDLED, QUANTISATIONS, Speculation, read_catalogue, read_yaml
from selvedge.adapters.fleet_config import FleetConfig, check_config
from selvedge.adapters.model_catalogue import fill_models
from selvedge.fabric import BadRelease
from tests.adapters.test_fleet_config import TEXT, release_of

CATALOGUE = read_catalogue()
BEGINNING = (
    *("llama-2-70b-chat", "mistral-7b-instruct", "mixtral-8x7b-instruct", "falcon-40b-instruct"),
    *("mistral-7b-legal", "mistral-7b-medical", "mistral-7b-support"),
)


def filled(models: dict[str, Any]) -> dict[str, Any]:  # Any: what a YAML file holds
    found: dict[str, Any] = {"models": copy.deepcopy(models)}
    fill_models(found)
    return dict(found["models"])


def config_of(**models: dict[str, Any]) -> FleetConfig:
    """The example with these models besides, served by a URL."""
    data: Any = read_yaml(TEXT)
    data["models"] |= models
    served = {name: name for name in models}
    engine = {"url": "http://10.0.0.7:8000", "profile": "vllm", "serves": served}
    data["pops"]["sin"]["engines"]["gpu"] = engine
    fill_models(data)
    config = msgspec.convert(data, FleetConfig)
    check_config(config)
    return config


def test_the_market_began_with_seven_kinds() -> None:
    assert list(CATALOGUE.models)[: len(BEGINNING)] == list(BEGINNING)
    assert sum(CATALOGUE.models[name].base is not None for name in BEGINNING) == 3


@pytest.mark.parametrize("name", CATALOGUE.models)
def test_a_row_holds_together(name: str) -> None:
    row = CATALOGUE.models[name]
    assert row.parameters > 0
    assert row.context_tokens_max > 0
    assert row.licence
    assert set(row.quantisations) <= QUANTISATIONS.keys()
    assert (row.active_parameters or 1) < row.parameters
    assert len({row.layers is None, row.kv_heads is None, row.head_dim is None}) == 1
    if row.base is None:
        assert row.source, "somebody wrote the weights"
        assert row.quantisations
    else:
        assert CATALOGUE.models[row.base].base is None
        assert row.kind == CATALOGUE.models[row.base].kind
        assert row.context_tokens_max == CATALOGUE.models[row.base].context_tokens_max
    if row.bundled is not None:
        assert row.quantisations[0] == BUNDLED[row.bundled].quantisation


def test_sizes_are_parameters_times_bits() -> None:
    row = CATALOGUE.models["mistral-7b-instruct"]
    assert row.weights_bytes("BF16") == row.parameters * 2
    assert row.weights_bytes("Q8_0") == row.parameters * 17 // 16
    assert row.kv_bytes_per_token == 2 * 32 * 8 * 128 * 2
    assert CATALOGUE.models["gpt-oss-20b"].kv_bytes_per_token is None
    assert CATALOGUE.adapters_of("mistral-7b-instruct") == list(BEGINNING[4:])


def test_a_fleet_file_takes_what_it_does_not_say() -> None:
    found = filled({"m": {"catalogue": "mistral-7b-instruct"}})["m"]
    assert found == {
        "catalogue": "mistral-7b-instruct",
        "kind": "chat",
        "context_tokens_max": 32_768,
        "quantisation": "BF16",
    }


def test_what_a_fleet_file_says_goes_before() -> None:
    own = {"catalogue": "mistral-7b-instruct", "context_tokens_max": 8192, "quantisation": "FP8"}
    assert filled({"m": own})["m"] == {**own, "kind": "chat"}
    assert filled({"m": {"kind": "chat"}})["m"] == {"kind": "chat"}
    assert filled({"m": 7})["m"] == 7


def test_an_adapter_finds_its_base() -> None:
    config = config_of(
        small={"catalogue": "mistral-7b-instruct", "speculation": {"kind": "ngram"}},
        legal={"catalogue": "mistral-7b-legal", "digest": f"sha256:{'22' * 32}"},
    )
    assert config.models["small"].speculation == Speculation("ngram")
    release = release_of(config)
    models = {model.id: model for model in release.models}
    assert (models["legal"].base, models["small"].base) == ("small", None)
    assert models["legal"].digest != models["small"].digest


@pytest.mark.parametrize(
    ("models", "field", "words"),
    [
        ({"m": {"catalogue": "gpt-9"}}, "models.m.catalogue", "'selvedge model list'"),
        (
            {"m": {"catalogue": "falcon-40b-instruct", "quantisation": "FP8"}},
            "models.m.quantisation",
            "BF16, Q8_0, Q4_K_M",
        ),
        (
            {"m": {"catalogue": "mistral-7b-legal"}},
            "models.m.base",
            "add a model with 'catalogue: mistral-7b-instruct'",
        ),
        (
            {"m": {"kind": "chat", "context_tokens_max": 64, "base": "nobody"}},
            "models.m.base",
            "not under models",
        ),
        (
            {
                "a": {"catalogue": "mistral-7b-instruct"},
                "b": {"catalogue": "mistral-7b-legal"},
                "c": {"catalogue": "mistral-7b-medical", "base": "b"},
            },
            "models.c.base",
            "an adapter itself",
        ),
        (
            {
                "a": {"catalogue": "mistral-7b-instruct"},
                "b": {"catalogue": "mistral-7b-legal", "weights": "legal.gguf"},
            },
            "models.b.weights",
            "by the url",
        ),
    ],
)
def test_what_does_not_hold_is_named(models: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(BadRelease) as caught:
        config_of(**models)
    assert caught.value.field == field
    assert words in str(caught.value)


def test_who_guesses_is_named() -> None:
    with pytest.raises(msgspec.ValidationError, match="give it with kind 'draft'"):
        msgspec.convert({"kind": "draft"}, Speculation)
    with pytest.raises(msgspec.ValidationError, match="only there"):
        msgspec.convert({"kind": "ngram", "model": "m"}, Speculation)
    with pytest.raises(msgspec.ValidationError, match="<= 64"):
        msgspec.convert({"kind": "ngram", "draft_tokens": 65}, Speculation)
