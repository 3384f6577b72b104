"""Tables of settings: how one is read out of a file, the environment and flags, and shown.

A table is a struct whose fields have a type, a default and a help text; what a field means, and
which values it may have, is its own affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta
from ruamel.yaml.error import YAMLError

from selvedge.adapters import one_line, read_yaml
from selvedge.fabric import BadSetting

T = TypeVar("T", bound=msgspec.Struct)


def load_table(
    table: type[T],
    prefix: str,
    file: Path | None,
    environment: Mapping[str, str],
    flags: Mapping[str, object],
) -> T:
    """The settings of a table; the later of the three win. Raises `BadSetting`.

    Its environment variables begin with ``prefix``.
    """
    values: dict[str, object] = {}
    if file is not None:
        values.update(_from_file(file))
    values.update(_from_environment(table, prefix, environment))
    values.update((name, value) for name, value in flags.items() if value is not None)
    try:
        return msgspec.convert(values, table, strict=False)
    except msgspec.ValidationError as error:
        field, _, why = one_line(error).rpartition(": ")
        raise BadSetting(field or "file", why) from error


def _from_file(file: Path) -> dict[str, object]:
    try:
        found = read_yaml(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadSetting(str(file), f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadSetting(str(file), f"is not UTF-8 at byte {error.start}") from error
    except YAMLError as error:
        raise BadSetting(str(file), one_line(error)) from error
    if not isinstance(found, dict):
        raise BadSetting(str(file), "is not a table of settings")
    return found


def _from_environment(
    table: type[msgspec.Struct], prefix: str, environment: Mapping[str, str]
) -> dict[str, object]:
    known = {field.name: field for field in msgspec.structs.fields(table)}
    found: dict[str, object] = {}
    for name, text in environment.items():
        key = name.removeprefix(prefix).lower()
        if name.startswith(prefix) and key in known:
            is_json = text.startswith(("{", '["'))  # "[::1]:8101" is none
            found[key] = _from_json(name, text) if is_json else text
    return found


def _from_json(name: str, text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise BadSetting(name, f"is not JSON: {error}") from error


def settings_table(table: type[msgspec.Struct]) -> str:
    """The settings of a table in Markdown, for the documentation."""
    rows = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    hints = get_type_hints(table, include_extras=True)
    for field in msgspec.structs.fields(table):
        meta = [arg for arg in get_args(hints[field.name]) if isinstance(arg, Meta)]
        words = next((one.description for one in meta if one.description), "")
        kind = _kind(get_args(hints[field.name])[0])
        required = field.default is msgspec.NODEFAULT and (
            field.default_factory is msgspec.NODEFAULT
        )
        default = "required" if required else _shown(field)
        rows.append(f"| `{field.name}` | {kind} | {default} | {words} |")
    return "\n".join(rows) + "\n"


def _kind(hint: object) -> str:
    if isinstance(hint, UnionType):  # X | None
        hint = get_args(hint)[0]
    if get_origin(hint) is Literal:
        return "word"
    return getattr(hint, "__name__", "table")


def _shown(field: msgspec.structs.FieldInfo) -> str:
    if field.default is msgspec.NODEFAULT:
        return "empty"
    return f"{field.default:,}" if type(field.default) is int else str(field.default).lower()
