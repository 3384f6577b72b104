"""The fields of request bodies that decide something; all others pass unread.

Structs are in a module of their own, because what decodes them is compiled and they are not.
"""

from __future__ import annotations

import msgspec


class StreamOptions(msgspec.Struct, frozen=True):
    """What a client wants of a stream."""

    include_usage: bool | None = None


class Part(msgspec.Struct, frozen=True):
    """One part of a message."""

    type: str


class Message(msgspec.Struct, frozen=True):
    """One message of a conversation."""

    role: str
    content: str | list[Part] | None = None


class Function(msgspec.Struct, frozen=True):
    """A function that a model may call."""

    name: str
    parameters: dict[str, msgspec.Raw] | None = None


class Tool(msgspec.Struct, frozen=True):
    """A tool that a model may use."""

    type: str
    function: Function | None = None


Price = int | float | str | None


class MaxPrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Dollars per million tokens, and per request."""

    prompt: Price = None
    completion: Price = None
    request: Price = None


class ProviderObject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """OpenRouter's `provider`: who may answer, in which order, at what price."""

    order: list[str] | None = None
    only: list[str] | None = None
    ignore: list[str] | None = None
    allow_fallbacks: bool | None = None
    sort: str | None = None
    max_price: MaxPrice | None = None
    data_collection: str | None = None
    zdr: bool | None = None
    require_parameters: bool | None = None
    quantizations: list[str] | None = None
    zone: str | None = None


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """What chats and completions have in common."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    top_logprobs: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    user: str | None = None
    prompt_cache_key: str | None = None
    provider: ProviderObject | None = None
    zone: str | None = None


class ChatBody(Generation, frozen=True, kw_only=True):
    """`POST /v1/chat/completions`."""

    messages: list[Message]
    tools: list[Tool] | None = None


class CompletionBody(Generation, frozen=True, kw_only=True):
    """`POST /v1/completions`."""

    prompt: str | list[str | int | list[int]]


class EmbeddingBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/embeddings`."""

    model: str
    input: str | list[str | int | list[int]]
    encoding_format: str | None = None
    dimensions: int | None = None
    user: str | None = None
    provider: ProviderObject | None = None
    zone: str | None = None


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text to be ranked, as Jina and Cohere's first version write it."""

    text: str


class RerankBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/rerank`, as Cohere, Jina, vLLM and llama.cpp have it."""

    model: str
    query: str
    documents: list[str | Document]
    top_n: int | None = None
    return_documents: bool | None = None
    max_tokens_per_doc: int | None = None
    user: str | None = None
    provider: ProviderObject | None = None
    zone: str | None = None


class Prompted(msgspec.Struct, frozen=True):
    """What an engine reads first, as it is written: for fingerprints."""

    tools: msgspec.Raw = msgspec.Raw()
    messages: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()


Body = ChatBody | CompletionBody | EmbeddingBody | RerankBody
