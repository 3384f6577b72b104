"""What comes from elsewhere is shown, and gives no orders."""

from __future__ import annotations

import json

import pytest

from selvedge.cli.terminal import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc é 漢", "a\tb\nc é 漢"),
        ("\x1b[31mred", "\\u001b[31mred"),
        ("\x1b]0;title\x07", "\\u001b]0;title\\u0007"),
        ("\x9b31m", "\\u009b31m"),
        ("a\rb", "a\\u000db"),
        ("\x00\x7f", "\\u0000\\u007f"),
        ("user\u202egpj.exe", "user\\u202egpj.exe"),
        ("\u2066x\u2069\ufeff", "\\u2066x\\u2069\\ufeff"),
    ],
)
def test_orders_are_spelled_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_json_stays_the_same_json() -> None:
    value = {"a": "\x9b\u202e\x7f \x1b"}
    assert json.loads(printable(json.dumps(value, ensure_ascii=False))) == value
