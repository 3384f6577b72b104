"""How long to wait, as headers say it: a client's `Prefer: wait`, an engine's `Retry-After`."""

from __future__ import annotations

from typing import Final

WAIT_S_MAX: Final = 86_400


def read_wait_ms(prefer: str | None) -> int | None:
    """`Prefer: wait=N` (RFC 7240 section 4.3), in milliseconds.

    As the RFC has it: the first one counts, other preferences and what is malformed are ignored.
    """
    for preference in (prefer or "").split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            return _whole(value.strip().strip('"'), 1000)
    return None


def read_retry_after(after_ms: str | None, after_s: str | None) -> int | None:
    """`retry-after-ms`, else `Retry-After` in seconds, in milliseconds; dates are not read."""
    found = _whole(after_ms.strip(), 1) if after_ms else None
    return _whole(after_s.strip(), 1000) if found is None and after_s else found


def _whole(digits: str, each_ms: int) -> int | None:
    if not digits.isascii() or not digits.isdigit() or len(digits) > 9:
        return None
    return min(int(digits) * each_ms, WAIT_S_MAX * 1000)
