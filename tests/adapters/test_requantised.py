"""Weights in another quantisation: the same numbers within its step, and the same words beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selvedge.adapters import ModelUnavailable, model_path
from selvedge.adapters.requantised import KINDS, Unwritable, rewrite

gguf = pytest.importorskip("gguf")
ROWS, COLUMNS = 64, 96
Array = Any  # of gguf, which is imported late


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small file with a matrix in Q4_1, a norm, and words of every shape."""
    path = tmp_path / "source.gguf"
    writer = gguf.GGUFWriter(path=None, arch="llama")
    writer.add_name("tiny")
    writer.add_uint32("llama.block_count", 1)
    writer.add_token_list(["a", "Ġb", "ü"])
    writer.add_float32("llama.rope.freq_base", 10000.0)
    writer.add_bool("tokenizer.ggml.add_bos_token", False)
    rng = np.random.default_rng(1)
    numbers = rng.normal(size=(ROWS, COLUMNS)).astype(np.float32)
    kind = gguf.GGMLQuantizationType.Q4_1
    writer.add_tensor("blk.0.attn_q.weight", gguf.quantize(numbers, kind), raw_dtype=kind)
    writer.add_tensor("blk.0.attn_norm.weight", np.ones(COLUMNS, dtype=np.float32))
    writer.write_header_to_file(path=path)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def matrix(path: Path) -> tuple[str, Array]:
    tensor = gguf.GGUFReader(path).tensors[0]
    return tensor.tensor_type.name, gguf.dequantize(tensor.data, tensor.tensor_type)


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_stay_within_the_step_of_their_kind(
    kind: str, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target.gguf"
    rewrite(source, target, kind, was="Q4_1")
    _, before = matrix(source)
    name, after = matrix(target)
    assert name == kind
    largest = np.abs(before).max()
    step = {"Q8_0": largest / 127, "Q4_1": 2 * largest / 15, "Q4_0": largest / 7}[kind]
    assert np.abs(after - before).max() <= step


def test_words_and_other_tensors_are_the_same(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.gguf"
    rewrite(source, target, "Q8_0", was="Q4_1")
    old, new = gguf.GGUFReader(source), gguf.GGUFReader(target)
    own = {"general.file_type"}
    assert old.fields.keys() - own == new.fields.keys() - own
    for name in old.fields.keys() - own:
        if not name.startswith("GGUF."):
            assert old.fields[name].contents() == new.fields[name].contents()
    assert [one.name for one in old.tensors] == [one.name for one in new.tensors]
    assert new.tensors[1].data.tobytes() == old.tensors[1].data.tobytes()


def test_the_same_source_gives_the_same_file(source: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        rewrite(source, tmp_path / name, "Q4_0", was="Q4_1")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_another_kind_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(Unwritable, match="only as Q4_0, Q4_1, Q8_0"):
        rewrite(source, tmp_path / "target", "Q2_K", was="Q4_1")
    (tmp_path / "no.gguf").write_bytes(b"GGUF is not this")
    with pytest.raises(Unwritable):
        rewrite(tmp_path / "no.gguf", tmp_path / "target", "Q8_0", was="Q4_1")


def test_a_bundled_model_in_its_own_quantisation_is_the_wheels(tmp_path: Path) -> None:
    plain = model_path("smollm2-135m-instruct", tmp_path)
    assert model_path("smollm2-135m-instruct", tmp_path, "Q4_1") == plain
    assert model_path("smollm2-135m-instruct", tmp_path, "unknown") == plain
    assert not list(tmp_path.glob("*.gguf"))


def test_a_bundled_model_in_another_is_made_once(tmp_path: Path) -> None:
    path = model_path("smollm2-135m-instruct", tmp_path, "Q4_0")
    made = path.stat()
    assert path.parent == tmp_path
    assert "Q4_0" in path.name
    assert made.st_size < model_path("smollm2-135m-instruct", tmp_path).stat().st_size
    assert model_path("smollm2-135m-instruct", tmp_path, "Q4_0").stat().st_ino == made.st_ino


@pytest.mark.parametrize(
    ("model", "quantisation", "words"),
    [
        ("smollm2-135m-instruct", "Q2_K", "can be made Q4_0, Q4_1, Q8_0"),
        ("all-minilm-l6-v2", "Q8_0", "is served as F16 and not as Q8_0"),
    ],
)
def test_what_cannot_be_made_is_said(
    model: str, quantisation: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelUnavailable, match=words):
        model_path(model, tmp_path, quantisation)
