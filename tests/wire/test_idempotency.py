"""`Idempotency-Key`: bare or quoted, and what is no key."""

from __future__ import annotations

import pytest

from selvedge.fabric import Refused
from selvedge.wire import read_idempotency_key


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ('"8e03978e"', "8e03978e"),
        ("  x ", "x"),
        ("k" * 255, "k" * 255),
        ('a"b', 'a"b'),
    ],
)
def test_a_key(written: str, key: str) -> None:
    assert read_idempotency_key(written) == key


@pytest.mark.parametrize(
    "written", ["", '""', "k" * 256, "two words", "ü", "a\x00b", "a\tb", '"a b"']
)
def test_no_key(written: str) -> None:
    refused = read_idempotency_key(written)
    assert isinstance(refused, Refused)
    assert (refused.code, refused.param) == ("invalid_header", "idempotency-key")
    assert "255" in refused.message
