"""What providers' statuses and types of error mean. One table for statuses, one for each API.

A client's fault stays one and reaches it with the provider's words; a key that is refused, a model
that is not there, money that is spent are the operator's affair and a failure of the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from selvedge.fabric import Refused
from selvedge.wire.engine_errors import WORDS_MAX

RETRY_AFTER_MS: Final = 1000
_CALLER: Final[Mapping[int, str]] = MappingProxyType(
    {
        400: "engine_rejected",
        413: "request_too_large",
        415: "engine_rejected",
        422: "engine_rejected",
    }
)
_BUSY: Final = frozenset({429, 503, 529})


def by_status(
    status: int, words: str | None, param: str | None = None, retry_after_ms: int | None = None
) -> Refused:
    """The refusal that a status means; ``words`` are the provider's, for who asked."""
    told = (words or f"The provider answered {status}.")[:WORDS_MAX]
    wait_ms = RETRY_AFTER_MS if retry_after_ms is None else retry_after_ms
    if status in _CALLER:
        return Refused(_CALLER[status], told, param=param)
    if status in _BUSY:
        words = f"The provider is busy (status {status})."
        return Refused("no_engine_available", words, retry_after_ms=wait_ms)
    words = f"The provider failed with status {status}."
    return Refused("engine_failed", words, retry_after_ms=wait_ms)


def in_answer(refused: Refused, *, begun: bool) -> Refused:
    """An error within a 200: before anything of the answer it is what it would be without."""
    if not begun:
        return refused
    return Refused(
        "engine_interrupted",
        "The provider reported an error during its answer.",
        retry_after_ms=refused.retry_after_ms or RETRY_AFTER_MS,
    )


def not_json() -> Refused:
    """A 200 that is no answer: HTML, half an object, nothing."""
    words = "The provider's answer is not JSON of its own API."
    return Refused("engine_failed", words, retry_after_ms=RETRY_AFTER_MS)


def empty() -> Refused:
    """A 200 without an answer in it."""
    words = "The provider's answer holds no answer."
    return Refused("engine_failed", words, retry_after_ms=RETRY_AFTER_MS)
