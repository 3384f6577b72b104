"""Usage that engines tell while they answer, choice by choice.

A chunk is not a token: under speculation one chunk brings several, and half a character brings
none. So a client that hangs up after k tokens is billed by the last count of the engine itself that
came with what it got: vLLM's and SGLang's `usage` in every chunk (`continuous_usage_stats`), or
llama.cpp's `timings` (`timings_per_token`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from selvedge.fabric import Usage
from selvedge.wire.engine_shapes import Timings
from selvedge.wire.usage import REPORTED_MAX, EngineUsage

Told: TypeAlias = EngineUsage | bytes
"""A `usage` object, or llama.cpp's `timings` as they came: most are never looked at."""

_timings: Final = msgspec.json.Decoder(Timings)


def read_timings(data: bytes) -> Timings | None:
    """llama.cpp's timings; None where the bytes are something else."""
    try:
        return _timings.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def usage_so_far(told: Mapping[int, Told]) -> Usage | None:
    """The last words on each choice together: one prompt, and what every choice has generated."""
    found = [one for one in map(_usage_of, told.values()) if one is not None]
    if not found:
        return None
    return msgspec.structs.replace(
        found[0],
        output=sum(one.output for one in found),
        reasoning=sum(one.reasoning for one in found),
    )


def _usage_of(told: Told) -> Usage | None:
    if isinstance(told, EngineUsage):
        return told.normal()
    timings = read_timings(told)
    if timings is None or timings.predicted_n < 1:
        return None  # Before the first token they tell a part of the prompt.
    return Usage(
        input_uncached=min(max(timings.prompt_n, 0), REPORTED_MAX),
        cache_read=min(max(timings.cache_n, 0), REPORTED_MAX),
        output=min(timings.predicted_n, REPORTED_MAX),
        provenance="reported",
    )
