"""JSON Schemas of what clients send, made from the very structs that read it."""

from __future__ import annotations

from typing import Any

import msgspec

from selvedge.fabric import Route
from selvedge.wire.requests import _DECODERS, _RANGES, _ROLES

Schema = dict[str, Any]  # Any: JSON Schema is JSON


def body_schemas(ref_template: str) -> tuple[dict[Route, Schema], dict[str, Schema]]:
    """A schema for each route's body, and the components that they refer to."""
    routes = list(_DECODERS)
    types = [_DECODERS[route].type for route in routes]
    found, components = msgspec.json.schema_components(types, ref_template=ref_template)
    for one in components.values():
        _limit(one.get("properties", {}))
    components["Message"]["properties"]["role"]["enum"] = list(_ROLES)
    return dict(zip(routes, found, strict=True)), components


def _limit(properties: Schema) -> None:
    for name, low, high in _RANGES:
        for one in properties.get(name, {}).get("anyOf", ()):
            if one.get("type") in ("integer", "number"):
                one.update(minimum=low, maximum=high)
