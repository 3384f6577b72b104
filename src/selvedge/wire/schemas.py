"""JSON Schemas of what clients send, made from the very structs that read it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from selvedge.wire.dialects.inward_messages_shapes import MessagesBody
from selvedge.wire.dialects.inward_responses_shapes import ResponsesBody
from selvedge.wire.requests import _DECODERS, _RANGES, _ROLES

Schema = dict[str, Any]  # Any: JSON Schema is JSON


_DIALECTS: Final = {
    "/v1/messages": MessagesBody,
    "/v1/messages/count_tokens": MessagesBody,
    "/v1/responses": ResponsesBody,
    "/v1/responses/input_tokens": ResponsesBody,
}


def body_schemas(ref_template: str) -> tuple[dict[str, Schema], dict[str, Schema]]:
    """A schema for the body at each path, and the components that they refer to."""
    routes = [*(route.value for route in _DECODERS), *_DIALECTS]
    types = [*(decoder.type for decoder in _DECODERS.values()), *_DIALECTS.values()]
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
