"""Scenario files: found by name or path, read strictly, and what is wrong is named by its line."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
import msgspec.inspect
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from selvedge.adapters import one_line, read_yaml
from selvedge.fabric import BadScenario
from selvedge.sim import (
    Atlas,
    Client,
    Description,
    Site,
    TenantPart,
    ZonePart,
    build,
    check,
    check_policies,
    read_cities,
    read_clients,
)

FILE_BYTES_MAX = 4 * 1024 * 1024
_UNKNOWN = re.compile(r"unknown field `(.+)`")
_SHIPPED = importlib.resources.files("selvedge.sim") / "scenarios"


_TABLES: Sequence[tuple[str, type]] = (
    ("fleet.sites", Site),
    ("zones", ZonePart),
    ("tenants", TenantPart),
)


def names() -> list[str]:
    """The scenarios that come with the package."""
    found = [one.name for one in _SHIPPED.iterdir() if one.name.endswith(".yaml")]
    return sorted(name.removesuffix(".yaml") for name in found)


def read_scenario(name: str) -> Description:
    """A scenario by name, or by the path of its file. Raises `BadScenario`: file, line, remedy."""
    text = _text(name)
    try:
        found = read_yaml(text)
    except YAMLError as error:
        raise BadScenario(name, one_line(error)) from error
    try:
        _check_entries(found)
        description = msgspec.convert(found, Description, strict=True)
        check(description)
        check_policies(description)
    except msgspec.ValidationError as error:
        wrong = _named(error, "", Description)
        raise located(name, text, wrong) from error
    except BadScenario as error:
        raise located(name, text, error) from error
    return description


def _check_entries(found: object) -> None:
    """Find the entry of a table that is wrong: the whole-file error would not name it."""
    for path, kind in _TABLES:
        entries = found
        for part in path.split("."):
            entries = entries.get(part) if isinstance(entries, dict) else None
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            try:
                msgspec.convert(entry, kind, strict=True)
            except msgspec.ValidationError as error:
                raise _named(error, f"{path}.{name}", kind) from error


def _named(error: msgspec.ValidationError, prefix: str, kind: type) -> BadScenario:
    """The field that is wrong, an unknown one by its own name and with those that are known."""
    field, _, words = one_line(error).rpartition(": ")
    unknown = _UNKNOWN.search(words)
    if unknown is not None:
        known = ", ".join(_fields(msgspec.inspect.type_info(kind), field))
        words = f"is an {unknown[0]}; remove it, or take one of {known}"
    parts = [one for one in (prefix, field, unknown[1] if unknown else "") if one]
    words = words.replace("Object missing", "misses").replace("Expected", "is not right: expected")
    return BadScenario(".".join(parts) or "the file", words)


def _fields(kind: msgspec.inspect.Type, path: str) -> list[str]:
    """The names of the fields of what a dotted path leads to."""
    for part in [one for one in path.split(".") if one]:
        if isinstance(kind, msgspec.inspect.StructType):
            kind = next(one.type for one in kind.fields if one.encode_name == part)
        elif isinstance(kind, msgspec.inspect.DictType):
            kind = kind.value_type
        if isinstance(kind, msgspec.inspect.UnionType):
            structs = (msgspec.inspect.StructType, msgspec.inspect.DictType)
            kind = next((one for one in kind.types if isinstance(one, structs)), kind)
    fields = kind.fields if isinstance(kind, msgspec.inspect.StructType) else ()
    return [one.encode_name for one in fields]


def located(name: str, text: str, error: BadScenario) -> BadScenario:
    """The same complaint with file and line."""
    line = line_of(text, error.field)
    return BadScenario(f"{name}, line {line}", f"{error.field} {error.why}")


def make_atlas(name: str, description: Description) -> Atlas:
    """The fleet of a description, ready to run. Raises `BadScenario`: file, line, remedy."""
    try:
        return Atlas(build(description, read_city_table()))
    except BadScenario as error:
        raise located(name, _text(name), error) from error


def read_city_table() -> list[tuple[str, Site]]:
    """The package's city list."""
    return read_cities((_SHIPPED / "cities.csv").read_text("utf-8"))


def read_client_table() -> list[Client]:
    """The package's table of API clients."""
    return read_clients((_SHIPPED / "clients.csv").read_text("utf-8"))


def line_of(text: str, field: str) -> int:
    """The line of a dotted field, or of the innermost part of it that is there."""
    try:
        node: Node | None = YAML(typ="safe", pure=True).compose(text)
    except YAMLError:
        return 1
    line = 1
    for part in [one for one in field.replace("[", ".").replace("]", "").split(".") if one]:
        found = _child(node, part)
        if found is None:
            break
        line, node = found
    return line


def _child(node: Node | None, part: str) -> tuple[int, Node] | None:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if key.value == part:
                return key.start_mark.line + 1, value
    if isinstance(node, SequenceNode) and part.isdigit() and int(part) < len(node.value):
        value = node.value[int(part)]
        return value.start_mark.line + 1, value
    return None


def _text(name: str) -> str:
    path = Path(name)
    try:
        if path.suffix in (".yaml", ".yml") or path.exists():
            if path.stat().st_size > FILE_BYTES_MAX:
                raise BadScenario(name, f"exceeds {FILE_BYTES_MAX} bytes")
            return path.read_text("utf-8")
        return (_SHIPPED / f"{name}.yaml").read_text("utf-8")
    except UnicodeDecodeError as error:
        raise BadScenario(name, f"is not UTF-8 at byte {error.start}") from error
    except OSError as error:
        words = f"is no scenario file, and none of those shipped: {', '.join(names())}"
        raise BadScenario(name, words) from error
