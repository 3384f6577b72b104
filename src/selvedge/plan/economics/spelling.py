"""What is wrong with how a file is written, in the words of one who writes it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec
from ruamel.yaml.error import YAMLError

from selvedge.adapters import one_line
from selvedge.plan.fit import nearest

_KINDS: Final = {
    "float | object": "a number, or value with low and high",
    "object": "fields below it",
    "array": "a list",
    "float": "a number",
    "int": "a whole number",
    "str": "text",
    "bool": "true or false",
    "null": "nothing",
}
_EXPECTED: Final = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `([^`]+)`")
_MISSING: Final = re.compile(r"Object missing required field `([^`]+)`")


def spelled(error: YAMLError | msgspec.ValidationError, fields: Iterable[str]) -> str:
    """One line: where, what is wanted and what is there; an unknown field with its nearest."""
    text = one_line(error)
    text = _EXPECTED.sub(lambda one: f"it wants {_kind(one[1])}, and has {_kind(one[2])}", text)
    text = _UNKNOWN.sub(lambda one: f"unknown field {one[1][:80]!r}{nearest(one[1], fields)}", text)
    return _MISSING.sub(r"field '\1' is missing", text)


def _kind(name: str) -> str:
    bare = name.removesuffix(" | null")
    words = _KINDS.get(bare, bare)
    return words if bare == name else f"{words} (or nothing)"
