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
    cached_tokens: int | None = None


class _CompletionDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int | None = None


class EngineUsage(msgspec.Struct, frozen=True):
    """OpenAI's ``usage`` as engines send it."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None

    def normal(self) -> Usage:
        """The normal form; impossible details are clipped to their totals."""
        prompt = min(max(self.prompt_tokens or 0, 0), REPORTED_MAX)
        generated = min(max(self.completion_tokens or 0, 0), REPORTED_MAX)
        inside = self.prompt_tokens_details
        cached = min(max((inside and inside.cached_tokens) or 0, 0), prompt)
        beside = self.completion_tokens_details
        reasoning = min(max((beside and beside.reasoning_tokens) or 0, 0), generated)
        return Usage(
            input_uncached=prompt - cached,
            cache_read=cached,
            output=generated - reasoning,
            reasoning=reasoning,
            provenance="reported",
        )


def render_usage(usage: Usage) -> dict[str, object]:
    """A usage object in OpenAI's shape."""
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.generated,
        "total_tokens": usage.input + usage.generated,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
