"""`selvedge model` and `selvedge engine command`, as a user types them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from selvedge.adapters import read_catalogue
from selvedge.cli.main import commands
from selvedge.fabric import SelvedgeError
from tests.adapters.test_fleet_config import TEXT


def call(*words: str) -> Result:
    done = CliRunner().invoke(commands, list(words))
    if isinstance(done.exception, SelvedgeError):
        raise done.exception
    return done


def test_the_list_names_every_row_and_its_day() -> None:
    catalogue = read_catalogue()
    said = call("model", "list").output
    assert all(name in said for name in catalogue.models)
    assert f"reviewed {catalogue.reviewed}" in said
    assert json.loads(call("model", "list", "--json").output)["models"].keys() == (
        catalogue.models.keys()
    )


def test_a_row_shows_its_sizes() -> None:
    said = call("model", "show", "mixtral-8x7b-instruct").output
    assert "active_parameters: 12,879,925,248" in said
    assert "93.41" in said
    facts = json.loads(call("model", "show", "mistral-7b-instruct", "--json").output)
    assert facts["adapters"] == ["mistral-7b-legal", "mistral-7b-medical", "mistral-7b-support"]
    assert facts["weights_bytes"]["BF16"] == 2 * facts["parameters"]


def test_an_unknown_model_names_the_remedy() -> None:
    for words in (("show", "gpt-9"), ("show", "")):
        with pytest.raises(SelvedgeError, match="'selvedge model list' shows"):
            call("model", *words)
    with pytest.raises(SelvedgeError, match="'selvedge model list' shows"):
        call("engine", "command", "gpt-9", "--profile", "vllm")


def test_a_command_is_one_line_for_a_shell() -> None:
    done = call("engine", "command", "qwen3-8b", "--profile", "vllm", "--speculation", "ngram")
    argv = shlex.split(done.stdout)
    assert argv[:3] == ["vllm", "serve", "Qwen/Qwen3-8B"]
    assert json.loads(argv[argv.index("--speculative-config") + 1])["method"] == "ngram"
    assert "profile: vllm, serves: qwen3-8b" in done.stderr


def test_an_adapter_is_served_beside_its_base() -> None:
    words = ("engine", "command", "mistral-7b-legal", "--profile", "vllm", "--json")
    facts = json.loads(call(*words, "--adapter", "mistral-7b-legal=/w/legal").output)
    assert facts["serves"] == ["mistral-7b-instruct", "mistral-7b-legal"]
    assert facts["argv"][-2:] == ["--lora-modules", "mistral-7b-legal=/w/legal"]
    llama = ("engine", "command", "mistral-7b-legal", "--profile", "llamacpp", "--json")
    facts = json.loads(call(*llama, "--weights", "/w/base.gguf", "--quantisation", "Q8_0").output)
    assert facts["serves"] == ["mistral-7b-legal"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--quantisation", "Q8_0"), "vllm does not read Q8_0"),
        (("--quantisation", "Q4"), "'Q4' is none of BF16, F16, FP8"),
        (("--quantisation", "AWQ"), "written before they are served"),
        (("--adapter", "legal"), "is not NAME=PATH"),
        (("--speculation", "draft"), "names who guesses"),
        (("--speculation", "ngram", "--draft-tokens", "65"), "<= 64"),
    ],
)
def test_what_cannot_be_started_is_said(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(SelvedgeError, match=message):
        call("engine", "command", "mistral-7b-instruct", "--profile", "vllm", *words)


def test_settings_of_a_fleet_file_reach_the_command(tmp_path: Path) -> None:
    models = """
  small:
    catalogue: mistral-7b-instruct
    quantisation: FP8
    context_tokens_max: 8192
    speculation: { kind: ngram, lookup_tokens: 2, draft_tokens: 5 }
  legal: { catalogue: mistral-7b-legal }
"""
    path = tmp_path / "fleet.yaml"
    path.write_text(TEXT.replace("models:\n", f"models:{models}", 1))
    fleet = ("--profile", "sglang", "--fleet", str(path), "--json")
    facts = json.loads(call("engine", "command", "small", *fleet).output)
    said = " ".join(facts["argv"])
    assert "--context-length 8192 --quantization fp8" in said
    assert "NGRAM --speculative-num-draft-tokens 5" in said
    assert "--lora-paths legal=adapters/legal" in said
    assert facts["serves"] == ["small", "legal"]
    with pytest.raises(SelvedgeError, match="has no model 'big'"):
        call("engine", "command", "big", *fleet)
