"""What Bedrock sends, as far as it is looked at. Decoded structs live apart from compiled code."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from selvedge.fabric import Refused, Usage
from selvedge.fabric.value import Value
from selvedge.wire.dialects.chunks import clipped
from selvedge.wire.dialects.faults import by_status

Number = int | float | None

STATUS_OF: Final[Mapping[str, int]] = MappingProxyType(
    {
        "validationexception": 400,
        "accessdeniedexception": 403,
        "expiredtokenexception": 403,
        "invalidsignatureexception": 403,
        "unrecognizedclientexception": 403,
        "resourcenotfoundexception": 404,
        # A quota of the operator's account, which AWS calls the client's bad request.
        "servicequotaexceededexception": 429,
        "throttlingexception": 429,
        "modelnotreadyexception": 503,
        "serviceunavailableexception": 503,
        "internalserverexception": 500,
        "modelerrorexception": 500,
        "modelstreamerrorexception": 500,
        "modeltimeoutexception": 504,
    }
)
FINISH: Final[Mapping[str, str]] = MappingProxyType(
    {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "tool_use": "tool_calls",
        "guardrail_intervened": "content_filter",
        "content_filtered": "content_filter",
    }
)
BROKEN: Final = frozenset({"malformed_model_output", "malformed_tool_use"})
"""The model lost its way: no answer, and another engine may give one."""


class Counts(msgspec.Struct, frozen=True, rename="camel"):
    """`usage`; input tokens leave out what a cache held or took."""

    input_tokens: Number = None
    output_tokens: Number = None
    cache_read_input_tokens: Number = None
    cache_write_input_tokens: Number = None

    def normal(self) -> Usage:
        """The normal form."""
        return Usage(
            input_uncached=clipped(self.input_tokens),
            cache_read=clipped(self.cache_read_input_tokens),
            cache_write=clipped(self.cache_write_input_tokens),
            output=clipped(self.output_tokens),
            provenance="reported",
        )


class ToolUse(msgspec.Struct, frozen=True, rename="camel"):
    """A call: as it begins, its next piece (a text), or whole (an object)."""

    tool_use_id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw()


class ReasoningText(msgspec.Struct, frozen=True):
    """What a model thought, and the signature with which it may be given back."""

    text: str = ""
    signature: str = ""


class Reasoning(msgspec.Struct, frozen=True, rename="camel"):
    """Thinking, whole (`reasoningText`) or a piece of it."""

    reasoning_text: ReasoningText | None = None
    text: str = ""
    signature: str = ""
    redacted_content: str = ""


class Block(msgspec.Struct, frozen=True, rename="camel"):
    """A block of content: as it begins, a piece of it, or whole."""

    text: str = ""
    tool_use: ToolUse | None = None
    reasoning_content: Reasoning | None = None


class ConverseEvent(msgspec.Struct, frozen=True, rename="camel"):
    """The payload of any event: which it is, its header says."""

    content_block_index: int = 0
    start: Block | None = None
    delta: Block | None = None
    stop_reason: str | None = None
    usage: Counts | None = None


class Message(msgspec.Struct, frozen=True):
    """What a model said."""

    content: list[Block] | None = None


class Output(msgspec.Struct, frozen=True):
    """Where a whole answer has it."""

    message: Message | None = None


class Answer(msgspec.Struct, frozen=True, rename="camel"):
    """A whole answer."""

    output: Output | None = None
    stop_reason: str | None = None
    usage: Counts | None = None


class _Refusal(msgspec.Struct, frozen=True):
    type: str | None = msgspec.field(default=None, name="__type")
    message: str | None = None
    message_too: str | None = msgspec.field(default=None, name="Message")


class Error(Value, frozen=True):
    """An error: its type, where the body says it, and its words."""

    kind: str = ""
    words: str | None = None


events: Final = msgspec.json.Decoder(ConverseEvent)
answers: Final = msgspec.json.Decoder(Answer)
texts: Final = msgspec.json.Decoder(str)
_refusals: Final = msgspec.json.Decoder(_Refusal)


def read_error(body: bytes) -> Error:
    """The error in a body, as far as it can be read."""
    try:
        found = _refusals.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Error()
    return Error(found.type or "", found.message or found.message_too)


def refusal_of(kind: str, words: str | None, status: int = 500) -> Refused:
    """What an error of this type means: the name alone, without namespace and address."""
    name = kind.rpartition("#")[2].partition(":")[0].casefold()
    return by_status(STATUS_OF.get(name, status), words)
