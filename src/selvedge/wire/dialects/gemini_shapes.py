"""What Google sends, as far as it is looked at. Decoded structs live apart from compiled code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from selvedge.fabric import Refused, Usage
from selvedge.wire.dialects.chunks import clipped
from selvedge.wire.dialects.faults import by_status
from selvedge.wire.dialects.rate_limits import read_duration_us

Number = int | float | None

STATUS_OF: Final[Mapping[str, int]] = MappingProxyType(
    {
        "INVALID_ARGUMENT": 400,
        "OUT_OF_RANGE": 400,
        "UNAUTHENTICATED": 401,
        "PERMISSION_DENIED": 403,
        # Billing is off, or the place is not served: nothing that a client could mend.
        "FAILED_PRECONDITION": 403,
        "NOT_FOUND": 404,
        "RESOURCE_EXHAUSTED": 429,
        "CANCELLED": 500,
        "INTERNAL": 500,
        "UNKNOWN": 500,
        "UNAVAILABLE": 503,
        "DEADLINE_EXCEEDED": 504,
    }
)
KEY_REASONS: Final = frozenset({"API_KEY_INVALID", "API_KEY_EXPIRED", "API_KEY_SERVICE_BLOCKED"})
"""Google calls a bad key a bad request; it is the operator's, not the client's."""

FINISH: Final[Mapping[str, str]] = MappingProxyType(
    {
        "STOP": "stop",
        "MAX_TOKENS": "length",
        "SAFETY": "content_filter",
        "RECITATION": "content_filter",
        "LANGUAGE": "content_filter",
        "BLOCKLIST": "content_filter",
        "PROHIBITED_CONTENT": "content_filter",
        "SPII": "content_filter",
        "IMAGE_SAFETY": "content_filter",
        "IMAGE_PROHIBITED_CONTENT": "content_filter",
        "IMAGE_RECITATION": "content_filter",
        "MODEL_ARMOR": "content_filter",
    }
)
BROKEN: Final = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_RESPONSE",
    }
)
"""The model lost its way: no answer, and another engine may give one."""
_NAME: Final = re.compile(r"[A-Z_]{1,64}")


class Counts(msgspec.Struct, frozen=True):
    """`usageMetadata`; the prompt holds what is cached, the candidates hold no thoughts."""

    prompt: Number = msgspec.field(default=None, name="promptTokenCount")
    tool_prompt: Number = msgspec.field(default=None, name="toolUsePromptTokenCount")
    cached: Number = msgspec.field(default=None, name="cachedContentTokenCount")
    candidates: Number = msgspec.field(default=None, name="candidatesTokenCount")
    thoughts: Number = msgspec.field(default=None, name="thoughtsTokenCount")

    def normal(self) -> Usage:
        """The normal form."""
        prompt = clipped(self.prompt)
        cached = min(clipped(self.cached), prompt)
        return Usage(
            input_uncached=prompt - cached + clipped(self.tool_prompt),
            cache_read=cached,
            output=clipped(self.candidates),
            reasoning=clipped(self.thoughts),
            provenance="reported",
        )


class FunctionCall(msgspec.Struct, frozen=True):
    """A call, whole: its arguments come at once."""

    name: str = ""
    id: str = ""
    args: msgspec.Raw = msgspec.Raw()


class Part(msgspec.Struct, frozen=True, rename="camel"):
    """A piece of an answer."""

    text: str = ""
    thought: bool = False
    thought_signature: str = ""
    function_call: FunctionCall | None = None


class Content(msgspec.Struct, frozen=True):
    """What a candidate says."""

    parts: list[Part] | None = None


class Candidate(msgspec.Struct, frozen=True, rename="camel"):
    """One of the answers."""

    content: Content | None = None
    finish_reason: str | None = None
    index: int = 0


class Feedback(msgspec.Struct, frozen=True, rename="camel"):
    """What Google thinks of the prompt."""

    block_reason: str | None = None


class Detail(msgspec.Struct, frozen=True, rename="camel"):
    """A detail of an error: of many kinds, told apart by which fields they have."""

    retry_delay: str | None = None
    reason: str | None = None


class Error(msgspec.Struct, frozen=True):
    """An error."""

    code: int | None = None
    message: str | None = None
    status: str | None = None
    details: list[Detail] | None = None


class Answer(msgspec.Struct, frozen=True, rename="camel"):
    """A whole answer, or a piece of one: they look alike."""

    candidates: list[Candidate] | None = None
    usage_metadata: Counts | None = None
    prompt_feedback: Feedback | None = None
    response_id: str = ""
    error: Error | None = None


class _Refusal(msgspec.Struct, frozen=True):
    error: Error | None = None


answers: Final = msgspec.json.Decoder(Answer)
_refusals: Final[msgspec.json.Decoder[_Refusal | list[_Refusal]]] = msgspec.json.Decoder(
    _Refusal | list[_Refusal]
)


def read_error(body: bytes) -> Error | None:
    """The error in a body, which a stream wraps in a list; None where none can be read."""
    try:
        found = _refusals.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(found, list):
        return found[0].error if found else None
    return found.error


def refusal_of(error: Error | None, status: int = 500) -> Refused:
    """What an error means."""
    if error is None:
        return by_status(status, None)
    if KEY_REASONS & {one.reason for one in error.details or ()}:
        return by_status(401, None)
    known = STATUS_OF.get(error.status or "", error.code or status)
    return by_status(known, error.message, retry_after_ms=retry_ms_of(error))


def refusal_of_prompt(reason: str) -> Refused:
    """A prompt that was blocked: a word of Google's closed list, never its text."""
    shown = reason if _NAME.fullmatch(reason) else "OTHER"
    words = f"The provider blocked the prompt (blockReason {shown}); change it."
    return Refused("engine_rejected", words, param="messages")


def retry_ms_of(error: Error | None) -> int | None:
    """When to come again, as google.rpc.RetryInfo says it."""
    for one in error.details or () if error is not None else ():
        if one.retry_delay:
            told_us = read_duration_us(one.retry_delay)
            if told_us is not None:
                return told_us // 1000
    return None
