"""Bodies of OpenAI's `POST /v1/responses`, as far as something is read of them.

An unknown field of the body is refused by name: it may ask for what nobody here would do.
"""

from __future__ import annotations

from typing import Any

import msgspec

RAW: Any = msgspec.field(default_factory=msgspec.Raw)  # Any: a field, not its value
Ignored = msgspec.Raw
"""Taken, and of no effect here: see docs/dialects.md."""


class InputPart(msgspec.Struct, frozen=True):
    """One part of an item's content."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None


class Item(msgspec.Struct, frozen=True):
    """One item of an input, or of an output that comes back: a message where it names no type."""

    type: str = "message"
    role: str | None = None
    content: str | list[InputPart] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[InputPart] | None = None


class ResponsesTool(msgspec.Struct, frozen=True):
    """A tool."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: msgspec.Raw = RAW
    strict: bool | None = None


class ResponsesChoice(msgspec.Struct, frozen=True):
    """The tool that is to be used."""

    type: str
    name: str | None = None


class TextFormat(msgspec.Struct, frozen=True):
    """What kind of text the answer is to be."""

    type: str
    name: str | None = None
    description: str | None = None
    schema: msgspec.Raw = RAW
    strict: bool | None = None


class TextConfig(msgspec.Struct, frozen=True):
    """How the answer is to look."""

    format: TextFormat | None = None


class ResponsesBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/responses`."""

    model: str
    input: str | list[Item]
    instructions: str | None = None
    max_output_tokens: int | None = None
    stream: bool | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    tools: list[ResponsesTool] | None = None
    tool_choice: str | ResponsesChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    background: bool | None = None
    include: list[str] | None = None
    provider: msgspec.Raw = RAW
    zone: msgspec.Raw = RAW
    models: msgspec.Raw = RAW
    reasoning: Ignored = RAW
    truncation: Ignored = RAW
    service_tier: Ignored = RAW
    stream_options: Ignored = RAW
    max_tool_calls: Ignored = RAW
    prompt_cache_retention: Ignored = RAW
    prompt_cache_options: Ignored = RAW


class ResponsesEcho(msgspec.Struct, frozen=True):
    """What an answer repeats of its request, as it was written."""

    tools: msgspec.Raw = msgspec.Raw(b"[]")
    tool_choice: msgspec.Raw = msgspec.Raw(b'"auto"')
    text: msgspec.Raw = msgspec.Raw(b'{"format":{"type":"text"}}')
    input: msgspec.Raw = msgspec.Raw(b'""')


class KeptResponse(msgspec.Struct, frozen=True):
    """An answer as a PoP keeps it for its client: to be read again, and to be gone on from."""

    response: msgspec.Raw
    items: msgspec.Raw
    """Those of its own request; what went before is of the answer it went on from."""
    previous: str | None = None
    v: int = 1
