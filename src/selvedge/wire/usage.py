"""Usage objects of engines -> the one normal form, and back to OpenAI's shape.

OpenAI's ``prompt_tokens`` includes cached tokens and its ``completion_tokens`` includes reasoning;
the normal form never overlaps.
"""

from __future__ import annotations

from typing import Final

import msgspec

from selvedge.fabric import Usage

REPORTED_MAX: Final = 2**40
"""What an engine says beyond this is clipped: every sum stays an exact JSON integer."""


class _PromptDetails(msgspec.Struct, frozen=True):
    cached_tokens: int | float | None = None


class _CompletionDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int | float | None = None


class EngineUsage(msgspec.Struct, frozen=True):
    """OpenAI's ``usage`` as engines send it."""

    prompt_tokens: int | float | None = None
    completion_tokens: int | float | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None

    def normal(self) -> Usage | None:
        """The normal form, None where nothing is counted; impossible details are clipped."""
        if self.prompt_tokens is None and self.completion_tokens is None:
            return None
        prompt = _clip(self.prompt_tokens, REPORTED_MAX)
        generated = _clip(self.completion_tokens, REPORTED_MAX)
        inside, beside = self.prompt_tokens_details, self.completion_tokens_details
        if inside is None and beside is None:
            return Usage(input_uncached=prompt, output=generated, provenance="reported")
        cached = _clip(inside.cached_tokens if inside else 0, prompt)
        reasoning = _clip(beside.reasoning_tokens if beside else 0, generated)
        return Usage(
            input_uncached=prompt - cached,
            cache_read=cached,
            output=generated - reasoning,
            reasoning=reasoning,
            provenance="reported",
        )


def _clip(count: int | float | None, most: int) -> int:
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
