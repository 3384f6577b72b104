"""JSON Schemas of what clients send, made from the very structs that read it."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from selvedge.fabric import Route
from selvedge.wire.requests import _DECODERS, _RANGES, _ROLES

Schema = dict[str, Any]  # Any: JSON Schema is JSON


def body_schemas(ref_template: str) -> tuple[dict[Route, Schema], dict[str, Schema]]:
    """A schema for each route's body, and the components that they refer to."""
    routes = list(_DECODERS)
    types = [_DECODERS[route].type for route in routes]
    found, components = msgspec.json.schema_components(types, ref_template=ref_template)
    named = {_public(name): one for name, one in components.items()}
    for one in named.values():
        _limit(one.get("properties", {}))
    named["Message"]["properties"]["role"]["enum"] = list(_ROLES)
    bodies = dict(zip(routes, found, strict=True))
    return _renamed(bodies), _renamed(named)


def _public(name: str) -> str:
    return name.removeprefix("_")


def _limit(properties: Schema) -> None:
    for name, low, high in _RANGES:
        for one in properties.get(name, {}).get("anyOf", ()):
            if one.get("type") in ("integer", "number"):
                one.update(minimum=low, maximum=high)


def _renamed(value: Any) -> Any:  # Any: JSON
    """References without the underscore of our private names, titles too."""
    if isinstance(value, dict):
        return {
            key: one.replace("/_", "/").removeprefix("_")
            if key in ("$ref", "title") and isinstance(one, str)
            else _renamed(one)
            for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [_renamed(one) for one in cast(list[Any], value)]
    return value
