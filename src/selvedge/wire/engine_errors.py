"""Errors of engines -> refusals of ours. Engines disagree on shape, status and type of ``code``.

A client's fault stays a client's fault (4xx) and reaches the client with the engine's words; all
else is the engine's fault and is retried elsewhere. Nothing here quotes more than `WORDS_MAX`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from selvedge.fabric import REFUSALS, Refused

WORDS_MAX: Final = 500


class _Error(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: str | int | None = None
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


class _Envelope(msgspec.Struct):
    error: _Error | str | None = None
    message: str | None = None
    detail: str | None = None


_decoder: Final = msgspec.json.Decoder(_Envelope)

# What a peer says of its own release may be otherwise at the next: no fault of the client's.
_BY_RELEASE: Final = frozenset({"model_not_found", "unsupported_route", "residency_model"})
_CONTEXT_CODES: Final = frozenset({"context_length_exceeded", "exceed_context_size_error"})
# Statuses by which an engine says that the request itself is at fault.
_CALLER_STATUSES: Final = frozenset({400, 413, 415, 422, 501})
_BUSY_STATUSES: Final = frozenset({429, 503})
_CODES: Final[Mapping[int, str]] = MappingProxyType({413: "request_too_large"})


def refusal_of_answer(
    status: int,
    body: bytes,
    *,
    ours: bool = False,
    abroad: bool = False,
    caller_words: tuple[str, ...] = (),
) -> Refused:
    """What an engine's non-2xx answer means to the client; ``ours`` where a PoP gave it.

    ``caller_words`` are the engine profile's: words by which it says that an input is too long.
    ``abroad``: of its limits a provider tells whose account it is, which is its holder's affair.
    """
    error = _read(body)
    own = _own(error) if ours else None
    if own is not None:
        return own
    too_long = {str(error.type), str(error.code)} & _CONTEXT_CODES
    if too_long or any(one in (error.message or "") for one in caller_words):
        return _too_long(error)
    words = (error.message or f"The engine answered {status}.")[:WORDS_MAX]
    if status in _CALLER_STATUSES:
        return Refused(_CODES.get(status, "engine_rejected"), words, param=error.param)
    if status in _BUSY_STATUSES:
        words = f"The engine is busy{f' (status {status}).' if abroad else f': {words}'}"
        return Refused("no_engine_available", words, retry_after_ms=1000)
    return Refused("engine_failed", f"The engine failed with status {status}.", retry_after_ms=1000)


def _too_long(error: _Error) -> Refused:
    """In our words: the engine's remedy is for its operator."""
    counts = ""
    if error.n_prompt_tokens and error.n_ctx:
        counts = f" It has {error.n_prompt_tokens} tokens; the model takes {error.n_ctx}."
    words = f"The input is longer than the model's context.{counts} Send less."
    return Refused("context_length_exceeded", words, param="messages")


def refusal_of_event(data: bytes, *, started: bool, ours: bool = False) -> Refused:
    """What an in-band error event means; before the first token it may be the client's fault."""
    error = _read(data)
    own = _own(error) if ours else None
    if own is not None:
        return own
    status = error.code if isinstance(error.code, int) else None
    if not started and (status is not None or {str(error.type), str(error.code)} & _CONTEXT_CODES):
        return refusal_of_answer(status or 400, data)
    code = "engine_interrupted" if started else "engine_failed"
    return Refused(code, "The engine reported an error during its answer.", retry_after_ms=1000)


def _own(error: _Error) -> Refused | None:
    if not isinstance(error.code, str) or error.code not in REFUSALS:
        return None
    words = (error.message or "")[:WORDS_MAX]
    code = "engine_failed" if error.code in _BY_RELEASE else error.code
    return Refused(code, words, error.param, retry_after_ms=1000)


def is_callers_fault(refused: Refused) -> bool:
    """Whether another engine would refuse the same request as well."""
    return refused.kind.fault == "caller"


def _read(body: bytes) -> _Error:
    try:
        envelope = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Error()
    if isinstance(envelope.error, _Error):
        return envelope.error
    return _Error(message=envelope.error or envelope.message or envelope.detail)
