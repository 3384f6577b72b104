"""Bodies of Anthropic's `POST /v1/messages`, as far as something is read of them.

An unknown field of the body is refused by name: it may ask for what nobody here would do.
"""

from __future__ import annotations

from typing import Any

import msgspec

RAW: Any = msgspec.field(default_factory=msgspec.Raw)  # Any: a field, not its value
Ignored = msgspec.Raw
"""Taken, and of no effect here: see docs/dialects.md."""


class Source(msgspec.Struct, frozen=True):
    """Where a picture or document is."""

    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None


class Block(msgspec.Struct, frozen=True):
    """One block of a message's content."""

    type: str
    text: str | None = None
    source: Source | None = None
    title: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = RAW
    tool_use_id: str | None = None
    content: msgspec.Raw = RAW
    is_error: bool | None = None


class Turn(msgspec.Struct, frozen=True):
    """One message."""

    role: str
    content: str | list[Block]


class MessagesTool(msgspec.Struct, frozen=True):
    """A tool; ``type`` is there for those that Anthropic runs itself."""

    name: str
    type: str | None = None
    description: str | None = None
    input_schema: msgspec.Raw = RAW
    strict: bool | None = None


class MessagesChoice(msgspec.Struct, frozen=True):
    """Whether, and which, tools are to be used."""

    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Metadata(msgspec.Struct, frozen=True):
    """Who asks, at the client's."""

    user_id: str | None = None


class Thinking(msgspec.Struct, frozen=True):
    """Whether thoughts are shown."""

    type: str


class OutputFormat(msgspec.Struct, frozen=True):
    """A JSON schema that the answer keeps to."""

    type: str
    schema: msgspec.Raw = RAW


class OutputConfig(msgspec.Struct, frozen=True):
    """How the answer is to look."""

    format: OutputFormat | None = None


class MessagesBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/messages`, and its `count_tokens`, which needs no ``max_tokens``."""

    model: str
    messages: list[Turn]
    max_tokens: int | None = None
    system: str | list[Block] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    metadata: Metadata | None = None
    tools: list[MessagesTool] | None = None
    tool_choice: MessagesChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    provider: msgspec.Raw = RAW
    zone: msgspec.Raw = RAW
    models: msgspec.Raw = RAW
    cache_control: Ignored = RAW
    service_tier: Ignored = RAW
    speed: Ignored = RAW
    diagnostics: Ignored = RAW
