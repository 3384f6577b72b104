"""Usage objects of engines -> the one normal form, and back to OpenAI's shape.

OpenAI's ``prompt_tokens`` includes cached tokens and its ``completion_tokens`` includes reasoning;
Anthropic's ``input_tokens`` includes no cached ones; the normal form never overlaps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from selvedge.fabric import Usage

REPORTED_MAX: Final = 2**40
"""What an engine says beyond this is clipped: every sum stays an exact JSON integer."""


Number = int | float | None


class _PromptDetails(msgspec.Struct, frozen=True):
    cached_tokens: Number = None
    cache_write_tokens: Number = None


class _CompletionDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: Number = None


class EngineUsage(msgspec.Struct, frozen=True):
    """``usage`` as engines send it: OpenAI's of either API, Anthropic's, and what engines add."""

    prompt_tokens: Number = None
    completion_tokens: Number = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    reasoning_tokens: Number = None
    """SGLang's place for it; a part of ``completion_tokens`` as well."""
    input_tokens: Number = None
    output_tokens: Number = None
    input_tokens_details: _PromptDetails | None = None
    output_tokens_details: _CompletionDetails | None = None
    cache_read_input_tokens: Number = None
    cache_creation_input_tokens: Number = None

    def normal(self) -> Usage | None:
        """The normal form, None where nothing is counted; impossible details are clipped."""
        if self.prompt_tokens is None and self.completion_tokens is None:
            return self._of_messages_or_responses()
        prompt = _clip(self.prompt_tokens, REPORTED_MAX)
        generated = _clip(self.completion_tokens, REPORTED_MAX)
        inside, beside = self.prompt_tokens_details, self.completion_tokens_details
        thought = beside.reasoning_tokens if beside else self.reasoning_tokens
        written = self.cache_creation_input_tokens
        if inside is None and not thought and not written:
            return Usage(input_uncached=prompt, output=generated, provenance="reported")
        read = inside.cached_tokens if inside else None
        written = inside.cache_write_tokens if inside and not written else written
        return _parted(prompt, generated, (read, written, thought))

    def _of_messages_or_responses(self) -> Usage | None:
        """Anthropic's ``input_tokens`` leave out what is cached, OpenAI's hold it.

        They are told apart by where the cached tokens stand; with none, both mean the same.
        """
        if self.input_tokens is None and self.output_tokens is None:
            return None
        prompt = _clip(self.input_tokens, REPORTED_MAX)
        generated = _clip(self.output_tokens, REPORTED_MAX)
        inside, beside = self.input_tokens_details, self.output_tokens_details
        thought = beside.reasoning_tokens if beside else None
        if inside is not None:
            details = inside.cached_tokens, inside.cache_write_tokens, thought
            return _parted(prompt, generated, details)
        read = _clip(self.cache_read_input_tokens, REPORTED_MAX)
        written = _clip(self.cache_creation_input_tokens, REPORTED_MAX)
        return _parted(prompt + read + written, generated, (read, written, thought))


def _parted(prompt: int, generated: int, details: tuple[Number, Number, Number]) -> Usage:
    """Whole counts in parts that do not overlap: cache read, cache written, reasoning."""
    read = _clip(details[0], prompt)
    written = _clip(details[1], prompt - read)
    thought = _clip(details[2], generated)
    return Usage(
        input_uncached=prompt - read - written,
        cache_read=read,
        cache_write=written,
        output=generated - thought,
        reasoning=thought,
        provenance="reported",
    )


def later(before: EngineUsage | None, now: EngineUsage) -> EngineUsage:
    """What both events say, the later one where both do: Anthropic's end names the output alone."""
    if before is None:
        return now
    told = {name: getattr(now, name) for name in now.__struct_fields__}
    new = {name: value for name, value in told.items() if value is not None}
    return msgspec.structs.replace(before, **new)


class _Holder(msgspec.Struct, frozen=True):
    usage: EngineUsage | None = None


class _Event(msgspec.Struct, frozen=True):
    """Where events of streams hold usage: at the top, in ``message`` or in ``response``."""

    usage: EngineUsage | None = None
    message: _Holder | None = None
    response: _Holder | None = None


_events: Final = msgspec.json.Decoder(_Event)


def usage_of_events(events: Iterable[bytes]) -> Usage | None:
    """The usage that a stream of any API tells, whatever its events are called.

    OpenAI's last chunk; ``response.completed``, ``.incomplete`` and ``.failed``; Anthropic's
    ``message_start`` and ``message_delta``. What is not JSON of such a shape tells nothing.
    """
    found: EngineUsage | None = None
    for data in events:
        try:
            event = _events.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        for told in (event.usage, *(one.usage for one in (event.message, event.response) if one)):
            if told is not None:
                found = later(found, told)
    return found.normal() if found is not None else None


def _clip(count: Number, most: int) -> int:
    if type(count) is int and 0 <= count <= most:
        return count
    return int(min(max(count or 0, 0), most))


def render_usage(usage: Usage) -> dict[str, object]:
    """A usage object in OpenAI's shape."""
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.generated,
        "total_tokens": usage.input + usage.generated,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
