"""How engines that are met by URL are started, so that a model's settings reach them.

A row per kind of engine, by its profile's name: words of a command line, never run here. Options
are those of vLLM 0.11, SGLang 0.5 and llama.cpp of autumn 2026; a newer engine may call them
otherwise, so whoever starts one reads its help. Adapters (LoRA): vLLM and SGLang serve a model and
its adapters from one process, each by its own name; llama.cpp's server lays an adapter over
everything it serves, so that it takes one process an adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from selvedge.adapters.model_catalogue import QUANTISATIONS
from selvedge.adapters.speculation import NO_SPECULATION, Speculation
from selvedge.fabric import BadSetting, ModelKind


class ToStart(msgspec.Struct, frozen=True, kw_only=True):
    """A model as an engine is to serve it. ``adapters``: names and where their weights lie."""

    name: str
    kind: ModelKind
    context_tokens_max: int
    weights: str | None
    """A repository of weights, or a path."""
    gguf: str | None = None
    """The same for llama.cpp; a path ends in ``.gguf``."""
    quantisation: str = "unknown"
    speculation: Speculation = NO_SPECULATION
    adapters: tuple[tuple[str, str], ...] = ()
    adapter_rank: int = 16
    slots: int = 4
    """Of llama.cpp: requests decoded together, each with the whole context."""
    port: int = 8000


def _vllm(asked: ToStart) -> list[str]:
    argv = ["vllm", "serve", _weights(asked), "--served-model-name", asked.name]
    argv += ["--max-model-len", str(asked.context_tokens_max), "--port", str(asked.port)]
    argv += _GPU_FLAGS.get(asked.quantisation, [])
    speculation = asked.speculation
    if speculation.kind != "none":
        config: dict[str, object] = {"num_speculative_tokens": speculation.draft_tokens}
        if speculation.kind == "ngram":
            config |= {"method": "ngram", "prompt_lookup_max": speculation.lookup_tokens}
            config["prompt_lookup_min"] = speculation.lookup_tokens
        else:
            config |= {"method": "draft_model", "model": speculation.model}
        argv += ["--speculative-config", msgspec.json.encode(config).decode()]
    if asked.adapters:
        argv += ["--enable-lora", "--max-loras", str(len(asked.adapters))]
        argv += ["--max-lora-rank", str(asked.adapter_rank)]
        argv += ["--lora-modules", *_named(asked)]
    return argv


def _sglang(asked: ToStart) -> list[str]:
    argv = ["python", "-m", "sglang.launch_server", "--model-path", _weights(asked)]
    argv += ["--served-model-name", asked.name, "--port", str(asked.port)]
    argv += ["--context-length", str(asked.context_tokens_max)]
    argv += _GPU_FLAGS.get(asked.quantisation, [])
    argv += ["--is-embedding"] if asked.kind == "embedding" else []
    speculation = asked.speculation
    if speculation.kind == "ngram":
        argv += ["--speculative-algorithm", "NGRAM"]
        argv += ["--speculative-num-draft-tokens", str(speculation.draft_tokens)]
        argv += ["--speculative-ngram-max-match-window-size", str(speculation.lookup_tokens)]
    elif speculation.model is not None:
        argv += ["--speculative-algorithm", "STANDALONE", "--speculative-eagle-topk", "1"]
        argv += ["--speculative-draft-model-path", speculation.model]
        argv += ["--speculative-num-steps", str(speculation.draft_tokens)]
        argv += ["--speculative-num-draft-tokens", str(speculation.draft_tokens + 1)]
    if asked.adapters:
        argv += ["--enable-lora", "--max-loras-per-batch", str(len(asked.adapters))]
        argv += ["--lora-paths", *_named(asked)]
    return argv


def _llama_cpp(asked: ToStart) -> list[str]:
    if len(asked.adapters) > 1:
        words = "llama-server lays an adapter over all it serves; start one for each adapter"
        raise BadSetting("adapter", words)
    if asked.gguf is None:
        words = f"no GGUF file of {asked.name!r} is known; name a file or repository of one"
        raise BadSetting("weights", words)
    known = asked.quantisation if asked.quantisation in QUANTISATIONS else None
    is_file = asked.gguf.endswith(".gguf")
    if not is_file and "/" not in asked.gguf:
        words = f"{asked.gguf!r} is neither a GGUF file nor a repository, as OWNER/NAME; name one"
        raise BadSetting("weights", f"{words}, or serve a bundled model as 'embedded' in the file")
    repository = f"{asked.gguf}:{known}" if known is not None else asked.gguf
    argv = ["llama-server", *(["--model", asked.gguf] if is_file else ["-hf", repository])]
    name = asked.adapters[0][0] if asked.adapters else asked.name
    argv += ["--alias", name, "--port", str(asked.port), "--parallel", str(asked.slots)]
    argv += ["--ctx-size", str(asked.context_tokens_max * asked.slots), "--metrics", "--slots"]
    argv += ["--embeddings"] if asked.kind == "embedding" else []
    speculation = asked.speculation
    if speculation.kind == "ngram":
        argv += ["--spec-type", "ngram-simple"]
        argv += ["--spec-ngram-simple-size-n", str(speculation.lookup_tokens)]
        argv += ["--spec-ngram-simple-size-m", str(speculation.draft_tokens)]
    elif speculation.model is not None:
        argv += ["--model-draft", speculation.model]
        argv += ["--spec-draft-n-max", str(speculation.draft_tokens)]
    return [*argv, "--lora", asked.adapters[0][1]] if asked.adapters else argv


_GPU_FLAGS: Final[Mapping[str, list[str]]] = {
    "BF16": ["--dtype", "bfloat16"],
    "F16": ["--dtype", "half"],
    "FP8": ["--quantization", "fp8"],
    "AWQ": ["--quantization", "awq"],
}
"""Of vLLM and SGLang. What is not here is read from the weights themselves."""

WRITTEN_BEFORE: Final = frozenset({"AWQ"})
"""Quantisations that no engine makes while it loads: they have repositories of their own."""

STARTED: Final[Mapping[str, Callable[[ToStart], list[str]]]] = MappingProxyType(
    {"vllm": _vllm, "sglang": _sglang, "llama.cpp": _llama_cpp}
)
"""By the profile that a fleet file names for such an engine."""


def command_for(profile: str, asked: ToStart) -> list[str]:
    """The words of the command. Raises `BadSetting` for what this engine cannot do."""
    quantisation = QUANTISATIONS.get(asked.quantisation)
    reader = "llama.cpp" if profile == "llama.cpp" else "gpu"
    if quantisation is not None and quantisation.engines not in (reader, "both"):
        others = [one.name for one in QUANTISATIONS.values() if one.engines in (reader, "both")]
        words = f"{profile} does not read {quantisation.name}; it reads {', '.join(others)}"
        raise BadSetting("quantisation", words)
    if asked.kind == "embedding" and asked.speculation.kind != "none":
        raise BadSetting("speculation", "embeddings have no next token to guess; leave it out")
    return STARTED[profile](asked)


def _weights(asked: ToStart) -> str:
    if asked.weights is None:
        words = f"no weights of {asked.name!r} are known; name their repository or folder"
        raise BadSetting("weights", words)
    return asked.weights


def _named(asked: ToStart) -> list[str]:
    return [f"{name}={place}" for name, place in asked.adapters]
