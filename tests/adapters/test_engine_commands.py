"""How other engines are started: each setting of a model becomes an option of theirs."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from selvedge.adapters import STARTED, Speculation, ToStart, command_for
from selvedge.fabric import BadSetting
from selvedge.wire import PROFILES

MODEL = ToStart(
    name="small", kind="chat", context_tokens_max=4096, weights="maker/small", gguf="maker/small-G"
)
NGRAM = Speculation("ngram", draft_tokens=5, lookup_tokens=4)
DRAFT = Speculation("draft", draft_tokens=5, model="maker/tiny")
ADAPTERS = (("legal", "/adapters/legal"), ("medical", "/adapters/medical"))


def words(profile: str, **changes: Any) -> str:  # Any: fields of ToStart
    return " ".join(command_for(profile, msgspec.structs.replace(MODEL, **changes)))


def test_every_kind_is_a_profile() -> None:
    assert set(STARTED) <= set(PROFILES)


@pytest.mark.parametrize("profile", STARTED)
def test_name_and_context_reach_every_engine(profile: str) -> None:
    said = words(profile, slots=1)
    assert " small " in said
    assert " 4096" in said


@pytest.mark.parametrize(
    ("profile", "quantisation", "option"),
    [
        ("vllm", "FP8", "--quantization fp8"),
        ("vllm", "BF16", "--dtype bfloat16"),
        ("sglang", "AWQ", "--quantization awq"),
        ("llama.cpp", "Q8_0", "-hf maker/small-G:Q8_0"),
    ],
)
def test_quantisation_reaches_the_engine(profile: str, quantisation: str, option: str) -> None:
    assert option in words(profile, quantisation=quantisation)


def test_ngram_speculation_reaches_the_engine() -> None:
    argv = command_for("vllm", msgspec.structs.replace(MODEL, speculation=NGRAM))
    assert json.loads(argv[argv.index("--speculative-config") + 1]) == {
        "method": "ngram",
        "num_speculative_tokens": 5,
        "prompt_lookup_max": 4,
        "prompt_lookup_min": 4,
    }
    assert "--speculative-algorithm NGRAM --speculative-num-draft-tokens 5" in words(
        "sglang", speculation=NGRAM
    )
    assert (
        "--spec-type ngram-simple --spec-ngram-simple-size-n 4 --spec-ngram-simple-size-m 5"
        in words("llama.cpp", speculation=NGRAM)
    )


def test_a_draft_model_reaches_the_engine() -> None:
    argv = command_for("vllm", msgspec.structs.replace(MODEL, speculation=DRAFT))
    config = json.loads(argv[argv.index("--speculative-config") + 1])
    assert (config["method"], config["model"]) == ("draft_model", "maker/tiny")
    assert "--speculative-draft-model-path maker/tiny --speculative-num-steps 5" in words(
        "sglang", speculation=DRAFT
    )
    assert "--model-draft maker/tiny --spec-draft-n-max 5" in words("llama.cpp", speculation=DRAFT)


def test_adapters_share_an_engine_where_it_can() -> None:
    assert words("vllm", adapters=ADAPTERS).endswith(
        "--enable-lora --max-loras 2 --max-lora-rank 16 "
        "--lora-modules legal=/adapters/legal medical=/adapters/medical"
    )
    assert "--max-loras-per-batch 2 --lora-paths legal=/adapters/legal" in words(
        "sglang", adapters=ADAPTERS
    )
    one = words("llama.cpp", adapters=ADAPTERS[:1])
    assert "--alias legal" in one
    assert one.endswith("--lora /adapters/legal")


def test_a_file_is_a_file() -> None:
    assert "--model /w/small.gguf" in words("llama.cpp", gguf="/w/small.gguf", quantisation="Q8_0")


@pytest.mark.parametrize(
    ("profile", "changes", "message"),
    [
        ("vllm", {"quantisation": "Q8_0"}, "vllm does not read Q8_0; it reads BF16"),
        ("llama.cpp", {"quantisation": "AWQ"}, "llama.cpp does not read AWQ"),
        ("llama.cpp", {"adapters": ADAPTERS}, "start one for each adapter"),
        ("llama.cpp", {"gguf": None}, "no GGUF file"),
        ("llama.cpp", {"gguf": "bundled"}, "'bundled' is neither a GGUF file nor a repository"),
        ("vllm", {"weights": None}, "name their repository"),
        ("sglang", {"kind": "embedding", "speculation": NGRAM}, "no next token"),
    ],
)
def test_what_an_engine_cannot_do_is_said(
    profile: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadSetting, match=message):
        words(profile, **changes)
