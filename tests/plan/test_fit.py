"""Whether models fit: counted weights, published capacities, remedies, and own config files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from selvedge.cli.plan import plan
from selvedge.plan.fit import (
    FORMATS,
    GIB,
    Asked,
    Serving,
    answer,
    check_published,
    find_architecture,
    find_format,
    find_gpu,
    fit,
    read_architectures,
    read_config,
    read_gpus,
    sheet_of,
    sheet_of_published,
    sheets_of_known,
)
from selvedge.plan.history import BadPlan

QWEN3_32B = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "attention_bias": False,
    "head_dim": 128,
    "hidden_size": 5120,
    "intermediate_size": 25600,
    "max_position_embeddings": 40960,
    "max_window_layers": 64,
    "num_attention_heads": 64,
    "num_hidden_layers": 64,
    "num_key_value_heads": 8,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "vocab_size": 151936,
}


def write(folder: Path, keys: dict[str, object]) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(keys), "utf-8")
    return path


def test_every_row_counts_to_what_the_makers_files_hold() -> None:
    for name, row in read_architectures().items():
        assert row.count().total == row.parameters, name
        assert row.native in FORMATS, name
        assert row.source, name


def test_published_capacities_are_met_within_a_tenth() -> None:
    rows = check_published()
    binding = [one for one in rows if one.theirs.binds]
    assert {one.published for one in binding} == {461_376, 307_328}
    assert all(abs(one.difference) <= 0.10 for one in binding)
    off = [one for one in rows if one.what != "kv_gib" and abs(one.difference) > 0.10]
    assert [one.theirs.model for one in off] == ["qwen3-235b-a22b"]
    assert off[0].theirs.note, "what is far off says why"
    left = [one for one in rows if one.what == "kv_gib"]
    assert all(abs(one.difference) < 1.5 for one in left)
    assert all((one.ours > 0) == (one.published > 0) for one in left), "who starts and who does not"
    assert len(sheet_of_published(rows).rows) == len(rows)


@pytest.mark.parametrize(
    ("model", "form", "gib"),
    [
        ("llama-3.1-8b", "Q4_K_M", 4.58),  # 4.92 GB, as llama.cpp's own file
        ("llama-3.1-8b", "Q8_0", 7.95),  # 8.54 GB
        ("llama-3.1-70b", "Q4_K_M", 39.6),  # 42.5 GB
        ("gpt-oss-120b", "MXFP4", 60.8),
        ("llama-3.1-70b", "INT8", 67.7),
    ],
)
def test_files_are_as_large_as_they_are(model: str, form: str, gib: float) -> None:
    _, architecture = find_architecture(model)
    _, gpu = find_gpu("B200")
    found = fit(architecture, gpu, Serving(quantisation=find_format(form)))
    assert found.weights_bytes_all / GIB == pytest.approx(gib, rel=0.015)


def test_context_takes_what_heads_and_layers_take() -> None:
    _, gpu = find_gpu("H200")
    per_token = {"llama-2-70b": 327_680, "falcon-40b": 122_880, "deepseek-v3": 70_272}
    per_token |= {"gpt-oss-120b": 73_728, "smollm2-135m": 23_040}
    for model, expected in per_token.items():
        _, architecture = find_architecture(model)
        found = fit(architecture, gpu, Serving(quantisation=FORMATS["INT4"]))
        assert found.kv_bytes_per_token == expected, model


def test_heads_are_held_twice_where_gpus_outnumber_them() -> None:
    _, architecture = find_architecture("qwen3-235b-a22b")
    _, gpu = find_gpu("H100")
    four, eight = (
        fit(architecture, gpu, Serving(tp=tp, quantisation=FORMATS["FP8"])) for tp in (4, 8)
    )
    assert eight.kv_bytes_per_token == 2 * four.kv_bytes_per_token
    assert eight.weights_bytes > four.weights_bytes // 2


def test_a_window_bounds_what_a_long_request_holds() -> None:
    _, gpu = find_gpu("L4")
    plain, windowed = (find_architecture(name)[1] for name in ("mistral-7b", "mistral-7b-v0.1"))
    serving = Serving(quantisation=FORMATS["BF16"], context=32768)
    assert fit(windowed, gpu, serving).requests > 5 * fit(plain, gpu, serving).requests
    oss = find_architecture("gpt-oss-20b")[1]
    long = fit(oss, gpu, Serving(quantisation=FORMATS["MXFP4"], context=131_072))
    assert long.fits, "12 of 24 layers keep a window of 128"


def test_what_does_not_fit_says_what_would() -> None:
    found = answer(Asked(model="llama-3.1-70b", gpu="L40S"))
    assert found.why_not.startswith("It does not fit: 131.4 GiB of weights")
    assert found.remedies == (
        "quantise to INT4: --quantisation INT4 --kv fp8",
        "take 4 x L40S: --tp 4",
        "take another GPU: MI300X or B200",
    )
    for quantisation, kv, tp in (("INT4", "fp8", 1), ("BF16", "fp16", 4)):
        asked = Asked(model="llama-3.1-70b", gpu="L40S", quantisation=quantisation, kv=kv, tp=tp)
        assert answer(asked).rows[0].fit.fits, "a remedy is true"


def test_a_context_that_is_too_long_can_be_shorter() -> None:
    asked = Asked(model="llama-3.1-8b", gpu="L4", quantisation="BF16", kv="fp16", context=131_072)
    found = answer(asked)
    assert "131,072 were asked for" in found.why_not
    shorter = next(way for way in found.remedies if "--context" in way)
    context = int(shorter.rpartition(" ")[2])
    again = Asked(model="llama-3.1-8b", gpu="L4", quantisation="BF16", kv="fp16", context=context)
    assert answer(again).rows[0].fit.fits


def test_experts_are_filled_up_where_kernels_want_it() -> None:
    _, architecture = find_architecture("gpt-oss-120b")
    _, gpu = find_gpu("H100")
    native = fit(architecture, gpu, Serving(quantisation=FORMATS["MXFP4"]))
    assert native.weights_bytes_all / GIB == pytest.approx(60.8, abs=0.1)
    assert native.weights_bytes / GIB == pytest.approx(65.97, abs=0.1)
    found = answer(Asked(model="gpt-oss-120b", gpu="H100", quantisation="MXFP4", kv="fp16"))
    assert found.remedies[0].startswith("batch less: --memory 0.95")
    again = Asked(
        model="gpt-oss-120b",
        gpu="H100",
        quantisation="MXFP4",
        memory=0.95,
        batch_tokens=2048,
        sequences=256,
    )
    assert answer(again).rows[0].fit.fits


def test_without_a_gpu_each_is_tried_with_the_fewest() -> None:
    found = answer(Asked(model="llama-3.1-70b", quantisation="BF16"))
    fewest = {row.gpu: row.fit.tp for row in found.rows}
    assert fewest["H100"] == 2
    assert fewest["H200"] == 2
    assert fewest["MI300X"] == 1
    assert all(row.fit.fits for row in found.rows)


def test_an_own_config_is_the_same_as_the_row(tmp_path: Path) -> None:
    path = write(tmp_path, QWEN3_32B)
    _, own = read_config(path)
    assert own.count() == find_architecture("qwen3-32b")[1].count()
    assert read_config(tmp_path)[0] == tmp_path.name
    found = answer(Asked(model=str(path), gpu="H100", tp=2, quantisation="BF16", kv="fp16"))
    assert found.rows[0].fit.kv_tokens == 305_152


def test_kinds_of_layers_are_read(tmp_path: Path) -> None:
    kinds = ["sliding_attention", "full_attention"] * 32
    path = write(tmp_path, QWEN3_32B | {"layer_types": kinds, "sliding_window": 4096})
    _, own = read_config(path)
    assert (own.windowed_layers, own.window) == (32, 4096)
    nested = {"model_type": "x", "text_config": QWEN3_32B}
    assert read_config(write(tmp_path, nested))[1].layers == 64


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_hidden_layers": "64"}, "num_hidden_layers: '64' is not a whole number"),
        ({"hidden_size": -1}, "hidden_size: -1 is not from 1"),
        ({"vocab_size": None}, "vocab_size: is missing; add it"),
        ({"layer_types": ["linear_attention"]}, "'linear_attention' keeps no context"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings: 'no' is not true or false"),
        ({"intermediate_size": None}, "intermediate_size: is missing"),
        ({"num_key_value_heads": 7}, "num_key_value_heads: 7 do not divide the 64"),
        ({"num_key_value_heads": 128}, "num_key_value_heads: 128 do not divide the 64"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers: 1000000000 is not from 1 to 10000"),
        ({"hidden_size": 10**400}, "hidden_size: 10000000000000000000 is not from 1"),
        ({"layer_types": ["full_attention"]}, "layer_types: it is no list of 64 kinds"),
        ({"layer_types": [{}] * 64}, "'{}' keeps no context"),
        ({"num_experts": 4, "num_experts_per_tok": 40}, "num_experts_per_tok: 40 of 4 experts"),
        ({"num_experts": 4, "first_k_dense_replace": 99}, "first_k_dense_replace: 99 exceed"),
        ({"num_experts": 4, "decoder_sparse_step": 2}, "decoder_sparse_step: 2: experts in some"),
        ({"attn_layer_period": 8}, "attn_layer_period: has layers that keep no context"),
        ({"is_encoder_decoder": True}, "is_encoder_decoder: it is no decoder alone"),
    ],
)
def test_a_bad_config_names_the_key(tmp_path: Path, change: dict[str, object], words: str) -> None:
    path = write(tmp_path, QWEN3_32B | change)
    with pytest.raises(BadPlan, match=r"config\.json") as caught:
        read_config(path)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("given", "native"),
    [
        ({"quant_method": "gptq", "bits": 4}, "INT4"),
        ({"quant_method": "gptq", "bits": 8}, "INT8"),
        ({"quant_method": "fp8"}, "FP8"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}},
            },
            "FP8",
        ),
        ("mxfp4", "BF16"),
    ],
)
def test_what_weights_were_released_in_is_read(tmp_path: Path, given: object, native: str) -> None:
    assert (
        read_config(write(tmp_path, QWEN3_32B | {"quantization_config": given}))[1].native == native
    )


def test_a_context_that_is_not_said_is_told(tmp_path: Path) -> None:
    _, own = read_config(write(tmp_path, QWEN3_32B | {"max_position_embeddings": None}))
    assert own.context_tokens_max == 2048
    assert own.source.endswith("(no max_position_embeddings: 2048 taken)")


def test_a_file_that_is_no_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadPlan, match="cannot be read"):
        read_config(tmp_path / "none.json")
    (tmp_path / "config.json").write_text("[1]", "utf-8")
    with pytest.raises(BadPlan, match="no config"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{", "utf-8")
    with pytest.raises(BadPlan, match="is not JSON"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["llama-9"], "known are llama-2-70b"),
        (["qwen3-32b", "--gpu", "H900"], "--gpu: 'H900' is not in the table; known are L4"),
        (["qwen3-32b", "--gpu", "H100", "--tp", "3"], "64 attention heads are split evenly"),
        (["qwen3-32b", "--quantisation", "FP2"], "--quantisation: 'FP2' is none of BF16"),
        (["qwen3-32b", "--gpu", "H100", "--context", "99999999"], "model's 40960 tokens"),
        (["qwen3-32b", "--gpu", "H100", "--memory", "1.5"], "not from 0.1 to 1"),
        ([], "MODEL is missing"),
        (["lama-3.1-8b"], "; did you mean llama-3.1-8b"),
        (["gpt-oss"], "; did you mean gpt-oss-20b or "),
        (["qwen3-32b", "--gpu", "H10"], "; did you mean H100 or "),
        (["qwen3-32b", "--quantisation", "q4"], "; did you mean Q4_K_M."),
        (["qwen3-32b", "--gpu", "H100", "--tp", "0"], "--tp: 0 GPUs cannot share it"),
        (["--list", "qwen3-32b"], "three questions; ask one"),
    ],
)
def test_a_bad_question_names_the_option(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(plan, ["fit", *arguments])
    assert result.exit_code != 0
    assert words in str(result.exception)


def test_the_command_prints_tables_and_json() -> None:
    run = CliRunner().invoke
    shown = run(plan, ["fit", "gpt-oss-120b", "--gpu", "h100"], catch_exceptions=False)
    assert "116.83 billion parameters, released in MXFP4" in shown.output
    told = run(plan, ["fit", "qwen3-32b", "--gpu", "H100", "--tp", "2", "--json"])
    assert json.loads(told.output)["rows"][0]["fit"]["kv_tokens"] == 305_152
    assert "461,376" in run(plan, ["fit", "--published"]).output
    listed = json.loads(run(plan, ["fit", "--list", "--json"]).output)
    assert set(listed) == {"models", "gpus", "quantisations"}
    assert len(sheets_of_known()) == 3
    assert "deepseek-v3" in run(plan, ["fit", "--list"]).output


def test_sizes_beyond_sense_are_refused_at_once(tmp_path: Path) -> None:
    write(tmp_path, QWEN3_32B | {"num_attention_heads": 9973, "num_key_value_heads": 1})
    with pytest.raises(BadPlan, match="9973 attention heads are split evenly: 1"):
        answer(Asked(model=str(tmp_path), gpu="H100", tp=2))
    for option, number in (("--batch-tokens", "999999999"), ("--sequences", "999999999")):
        result = CliRunner().invoke(plan, ["fit", "qwen3-32b", "--gpu", "L4", option, number])
        assert result.exit_code == 2
        assert f"'{option}': {number} is not in the range" in result.output


def test_every_gpu_has_a_dated_price() -> None:
    for name, row in read_gpus().items():
        assert row.price_as_of >= "2025-06", name
        assert row.price_source, name
    empty = answer(Asked(model="llama-3.1-405b", tp=1))
    assert empty.why_not.startswith("It fits on no GPU that is known, 1 of them: raise --tp")
    assert sheet_of(empty).notes[-1] == empty.why_not
    none = answer(Asked(model="llama-3.1-405b", quantisation="BF16", context=131_072, kv="fp8"))
    assert none.rows, "with 16 it does"
