"""Headers in which providers tell their limits, as one value.

OpenAI and Azure: ``x-ratelimit-{limit,remaining,reset}-{requests,tokens}``, resets as Go writes
durations (``1m30.5s``, ``12ms``). Anthropic: ``anthropic-ratelimit-{requests,tokens,input-tokens,
output-tokens}-{limit,remaining,reset}``, resets as RFC 3339 times.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from selvedge.wire.dialects.dialect import Level, Limits
from selvedge.wire.http1_head import Headers
from selvedge.wire.waiting import read_retry_after

COUNT_MAX: Final = 10**15
RESET_US_MAX: Final = 366 * 86_400_000_000
_PIECES: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|us|µs|ns|h|m|s)")
_UNITS_US: Final = {
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1000,
    "us": 1,
    "µs": 1,
    "ns": 0.001,
}


def read_duration_us(text: str) -> int | None:
    """A duration as Go writes it, in microseconds; bare digits are seconds."""
    text = text.strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text):
        return min(int(float(text) * 1_000_000), RESET_US_MAX)
    pieces = _PIECES.findall(text)
    if not pieces or "".join(number + unit for number, unit in pieces) != text:
        return None
    total = sum(float(number) * _UNITS_US[unit] for number, unit in pieces)
    return min(int(total), RESET_US_MAX)


def read_time_us(text: str) -> int | None:
    """A time of RFC 3339, in microseconds UTC."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    if found.tzinfo is None:
        return None
    return int((found - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)


def openai_limits(headers: Headers, now_us: int) -> Limits | None:
    """What OpenAI, Azure and who follows them say."""

    def level(what: str) -> Level | None:
        after_us = read_duration_us(headers.get(f"x-ratelimit-reset-{what}") or "")
        return _level(
            headers.get(f"x-ratelimit-limit-{what}"),
            headers.get(f"x-ratelimit-remaining-{what}"),
            None if after_us is None else now_us + after_us,
        )

    return _limits(Limits(level("requests"), level("tokens"), retry_after_ms=_wait_ms(headers)))


def anthropic_limits(headers: Headers) -> Limits | None:
    """What Anthropic says."""

    def level(what: str) -> Level | None:
        return _level(
            headers.get(f"anthropic-ratelimit-{what}-limit"),
            headers.get(f"anthropic-ratelimit-{what}-remaining"),
            read_time_us(headers.get(f"anthropic-ratelimit-{what}-reset") or ""),
        )

    return _limits(
        Limits(
            level("requests"),
            level("tokens"),
            level("input-tokens"),
            level("output-tokens"),
            _wait_ms(headers),
        )
    )


def waits_only(headers: Headers, wait_ms: int | None = None) -> Limits | None:
    """Of who tells only when to come again: by header, else as found in the body."""
    told_ms = _wait_ms(headers)
    return _limits(Limits(retry_after_ms=wait_ms if told_ms is None else told_ms))


def _wait_ms(headers: Headers) -> int | None:
    return read_retry_after(headers.get("retry-after-ms"), headers.get("retry-after"))


def _limits(found: Limits) -> Limits | None:
    return None if found == Limits() else found


def _level(limit: str | None, remaining: str | None, reset_us: int | None) -> Level | None:
    found = Level(_count(limit), _count(remaining), reset_us)
    return None if found.limit is None and found.remaining is None else found


def _count(text: str | None) -> int | None:
    if text is None or not re.fullmatch(r"[0-9]{1,15}", text.strip()):
        return None
    return min(int(text), COUNT_MAX)
