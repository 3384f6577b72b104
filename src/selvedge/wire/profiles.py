"""How engines differ, as a table: a new kind of engine is a new row.

Everything an engine may need that OpenAI's API does not say is a field here; no code elsewhere
asks for an engine by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec


class Profile(msgspec.Struct, frozen=True):
    """One kind of engine.

    ``always_stream``: the engine notices a vanished client only while it streams, so it is asked
    for a stream even where our client wants one JSON answer, which is then assembled.
    ``stream_extras``: top-level fields added to streaming requests, as raw JSON.
    ``caller_words``: parts of messages by which the engine says that an input is too long, where it
    gives no code to tell it by.
    ``forgets``: top-level fields by which it is told to keep nothing of a request, as raw JSON.
    ``usage_in_stream``: understands ``stream_options.include_usage``.
    ``usage_options``: more of ``stream_options``, as raw JSON, by which it counts as it answers.
    ``count_path``: where it tells how many tokens a chat's prompt has; empty where it does not.
    ``load_path``: where it says how loaded it is, beside ``/v1``; empty where it does not.
    ``load_names``: its Prometheus names for that, by ours; none: llama.cpp's list of slots.
    ``dialect``: whose API it speaks: a row of `wire.dialects.table`.
    ``reranks``: the path of its `rerank`, beside the URL; empty where it has none.
    ``strips``: top-level fields that are said to the fabric, and that it would refuse to read.
    """

    name: str
    always_stream: bool = False
    stream_extras: Mapping[str, bytes] = {}
    forgets: Mapping[str, bytes] = {}
    usage_in_stream: bool = True
    usage_options: Mapping[str, bytes] = {}
    caller_words: tuple[str, ...] = ()
    count_path: str = ""
    load_path: str = ""
    load_names: Mapping[str, tuple[str, ...]] = {}
    meaning: str = ""
    dialect: str = "openai"
    reranks: str = ""
    strips: tuple[str, ...] = ()


_FABRICS: Final = ("provider", "zone", "models")
_STORES_NOT: Final[Mapping[str, bytes]] = {"store": b"false"}
_IN_EVERY_CHUNK: Final[Mapping[str, bytes]] = {"continuous_usage_stats": b"true"}


def _engines() -> tuple[Profile, ...]:
    return (
        Profile(
            "llama.cpp",
            always_stream=True,
            # A progress event per prompt batch: the only moment at which the server looks whether
            # its client is still there before the first token. And its count with every chunk.
            stream_extras={"return_progress": b"true", "timings_per_token": b"true"},
            forgets={"cache_prompt": b"false"},
            # An embedding input over the context is a 500 without a code.
            caller_words=("is too large to process",),
            count_path="/v1/chat/completions/input_tokens",
            load_path="/slots",
            reranks="/v1/rerank",
            meaning="llama.cpp's server, embedded (xllamacpp) or `llama-server`",
        ),
        Profile(
            "openai",
            reranks="/v1/rerank",
            meaning="any server that speaks the OpenAI API as OpenAI documents it",
        ),
        Profile(
            "vllm",
            usage_options=_IN_EVERY_CHUNK,
            count_path="/tokenize",
            load_path="/metrics",
            load_names={
                "running": ("vllm:num_requests_running",),
                "waiting": ("vllm:num_requests_waiting",),
                # The second is what it was called before V1.
                "kv_used": ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
                "cache_config": ("vllm:cache_config_info",),
            },
            reranks="/v1/rerank",
            meaning="vLLM",
        ),
        Profile("sglang", usage_options=_IN_EVERY_CHUNK, reranks="/v1/rerank", meaning="SGLang"),
        Profile("tgi", meaning="Hugging Face Text Generation Inference"),
        Profile("ollama", meaning="Ollama's OpenAI-compatible API"),
    )


def _providers() -> tuple[Profile, ...]:
    return (
        Profile(
            "cohere",
            reranks="/v2/rerank",
            strips=_FABRICS,
            meaning="Cohere, for rerank; its chat is at its compatibility URL, as openai-api",
        ),
        Profile(
            "openai-api",
            forgets=_STORES_NOT,
            strips=_FABRICS,
            meaning="OpenAI itself, and providers that refuse fields they do not know",
        ),
        Profile(
            "azure",
            dialect="azure",
            forgets=_STORES_NOT,
            strips=_FABRICS,
            meaning="Azure OpenAI; a model's name there is its deployment",
        ),
        Profile("anthropic", dialect="anthropic", meaning="Anthropic's Messages API"),
        Profile("bedrock", dialect="bedrock", meaning="Amazon Bedrock's Converse"),
        Profile("gemini", dialect="gemini", meaning="Google's Gemini API, with its API key"),
        Profile("vertex", dialect="vertex", meaning="Google Vertex AI, in the URL's location"),
    )


PROFILES: Final[Mapping[str, Profile]] = MappingProxyType(
    {row.name: row for row in (*_engines(), *_providers())}
)
