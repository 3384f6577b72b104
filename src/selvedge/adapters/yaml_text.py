"""YAML as people write it: into plain values, and what is wrong with it on one line."""

from __future__ import annotations

import re
from datetime import date
from typing import Final

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from selvedge.fabric import BadRelease

_DAY: Final = re.compile(r"\b[0-9]{4}-[0-9]{2}-[0-9]{2}\b")


def read_yaml(text: str) -> object:
    """YAML 1.2 -> plain values; duplicate keys are errors. Raises `ruamel.yaml.error.YAMLError`."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except ValueError as error:
        where = _strange_day(text)
        raise YAMLError(f"{where}a value is not what its form says: {error}") from error
    except RecursionError as error:
        raise YAMLError("nests too deeply") from error


def _strange_day(text: str) -> str:
    """The line of the first thing that is written as a day and is none: the parser names none."""
    for number, line in enumerate(text.splitlines(), start=1):
        for day in _DAY.findall(line):
            try:
                date.fromisoformat(day)
            except ValueError:
                return f"line {number}: {day}: "
    return ""


def one_line(error: YAMLError | msgspec.ValidationError | BadRelease) -> str:
    """What is wrong and where, on one line."""
    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark
        where = f"line {mark.line + 1}: " if mark is not None else ""
        return f"{where}{(error.problem or 'not YAML').splitlines()[0]}"
    if not isinstance(error, msgspec.ValidationError):
        return str(error).splitlines()[0]
    words, _, at = str(error).partition(" - at `$")
    field = at.rstrip("`").removeprefix(".").replace("[...]", "")
    return f"{field}: {words}" if field else words.splitlines()[0]
