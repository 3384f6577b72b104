"""What Anthropic sends, as far as it is looked at. Decoded structs live apart from compiled code.

One flat struct reads every event: a union by type would refuse the types that are new.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from selvedge.fabric import Usage
from selvedge.wire.dialects.chunks import clipped

Number = int | float | None

STATUS_OF: Final[Mapping[str, int]] = MappingProxyType(
    {
        "invalid_request_error": 400,
        "authentication_error": 401,
        "billing_error": 402,
        "permission_error": 403,
        "not_found_error": 404,
        "request_too_large": 413,
        "rate_limit_error": 429,
        "api_error": 500,
        "timeout_error": 504,
        "overloaded_error": 529,
    }
)
"""The status that goes with a type of error, for those that come within a 200."""

FINISH: Final[Mapping[str, str]] = MappingProxyType(
    {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "pause_turn": "stop",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "tool_use": "tool_calls",
        "refusal": "content_filter",
    }
)


class OutputDetails(msgspec.Struct, frozen=True):
    """What output tokens were spent on."""

    thinking_tokens: Number = None


class Counts(msgspec.Struct, frozen=True):
    """`usage`; input tokens leave out what a cache held or took."""

    input_tokens: Number = None
    cache_read_input_tokens: Number = None
    cache_creation_input_tokens: Number = None
    output_tokens: Number = None
    output_tokens_details: OutputDetails | None = None

    def normal(self) -> Usage:
        """The normal form; thinking is a part of the output."""
        generated = clipped(self.output_tokens)
        details = self.output_tokens_details
        thought = min(clipped(details.thinking_tokens) if details else 0, generated)
        return Usage(
            input_uncached=clipped(self.input_tokens),
            cache_read=clipped(self.cache_read_input_tokens),
            cache_write=clipped(self.cache_creation_input_tokens),
            output=generated - thought,
            reasoning=thought,
            provenance="reported",
        )


def later(before: Counts, now: Counts) -> Counts:
    """What both tell, the later one where both do: counts are cumulative."""
    told = {name: getattr(now, name) for name in now.__struct_fields__}
    new = {name: value for name, value in told.items() if value is not None}
    return msgspec.structs.replace(before, **new)


class Block(msgspec.Struct, frozen=True):
    """A block of content, as it begins or whole."""

    type: str = ""
    id: str = ""
    name: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    input: msgspec.Raw = msgspec.Raw()


class Delta(msgspec.Struct, frozen=True):
    """What an event adds to a block, or to the message."""

    type: str = ""
    text: str = ""
    partial_json: str = ""
    thinking: str = ""
    signature: str = ""
    stop_reason: str | None = None


class Message(msgspec.Struct, frozen=True):
    """A message, whole or as it begins."""

    id: str = ""
    type: str = ""
    content: list[Block] | None = None
    stop_reason: str | None = None
    usage: Counts | None = None


class Error(msgspec.Struct, frozen=True):
    """An error."""

    type: str | None = None
    message: str | None = None


class MessageEvent(msgspec.Struct, frozen=True):
    """Any event of a stream."""

    type: str = ""
    index: int = 0
    message: Message | None = None
    content_block: Block | None = None
    delta: Delta | None = None
    usage: Counts | None = None
    error: Error | None = None


class _Refusal(msgspec.Struct, frozen=True):
    error: Error | None = None


events: Final = msgspec.json.Decoder(MessageEvent)
_refusals: Final = msgspec.json.Decoder(_Refusal)
_messages: Final = msgspec.json.Decoder(Message)


def read_error(body: bytes) -> Error | None:
    """The error in a body; None where there is none to be read."""
    try:
        return _refusals.decode(body).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def read_message(body: bytes) -> Message | None:
    """A whole message; None where the body is none."""
    try:
        return _messages.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
