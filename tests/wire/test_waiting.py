"""`Prefer: wait` and `Retry-After`."""

from __future__ import annotations

import pytest

from selvedge.wire import read_retry_after, read_wait_ms


@pytest.mark.parametrize(
    ("prefer", "wait_ms"),
    [
        (None, None),
        ("", None),
        ("wait=0", 0),
        ("wait=10", 10_000),
        ("respond-async, Wait = 5 ; x=1", 5_000),
        ('wait="3"', 3_000),
        ("wait=2, wait=9", 2_000),
        ("wait=soon", None),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("wait=²", None),
        ("wait=9999999999", None),
        ("wait=99999999", 86_400_000),
        ("await=3", None),
    ],
)
def test_what_is_malformed_is_ignored(prefer: str | None, wait_ms: int | None) -> None:
    assert read_wait_ms(prefer) == wait_ms


def test_milliseconds_before_seconds() -> None:
    assert read_retry_after("250", "9") == 250
    assert read_retry_after(None, "9") == 9_000
    assert read_retry_after("x", "9") == 9_000
    assert read_retry_after(None, "Wed, 21 Oct 2026 07:28:00 GMT") is None
    assert read_retry_after(None, None) is None
