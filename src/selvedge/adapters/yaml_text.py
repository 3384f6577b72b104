"""YAML as people write it: into plain values, and what is wrong with it on one line."""

from __future__ import annotations

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from selvedge.fabric import BadRelease


def read_yaml(text: str) -> object:
    """YAML 1.2 -> plain values; duplicate keys are errors. Raises `ruamel.yaml.error.YAMLError`."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except ValueError as error:
        raise YAMLError(f"a value is not what its form says: {error}") from error
    except RecursionError as error:
        raise YAMLError("nests too deeply") from error


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
