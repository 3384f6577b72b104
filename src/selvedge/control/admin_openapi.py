"""The admin API described: OpenAPI 3.1, made of the table of routes and the forms' own types."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from selvedge import __version__
from selvedge.control.admin_errors import ADMIN_ERRORS
from selvedge.control.admin_routes import ADMIN_ROUTES, AdminRoute

Document = dict[str, Any]  # Any: JSON
_TEMPLATE: Final = "#/components/schemas/{name}"
_QUERY: Final = {
    "after": "Cursor: `next` of the page before.",
    "limit": "Rows of a page, from 1 to 1000.",
    "tenant": "Only of this tenant.",
    "what": "Only acts on this, as `key NAME`.",
}


def describe_admin_api() -> Document:
    """The document."""
    types = [one for route in ADMIN_ROUTES for one in (route.answer, route.body) if one is not None]
    schemas, components = msgspec.json.schema_components(types, ref_template=_TEMPLATE)
    at = iter(schemas)
    paths: Document = {}
    for route in ADMIN_ROUTES:
        answer = next(at)
        body = next(at) if route.body is not None else None
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, answer, body)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Selvedge admin API", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": _error()},
            "securitySchemes": {"admin": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"admin": []}],
    }


def _operation(route: AdminRoute, answer: Document, body: Document | None) -> Document:
    names = re.findall(r"\{(\w+)\}", route.path)
    parameters: list[Document] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in names
    ]
    parameters += [
        {"name": name, "in": "query", "description": _QUERY[name], "schema": {"type": "string"}}
        for name in route.query
    ]
    if route.method in ("PUT", "PATCH", "DELETE"):
        words = 'The version that was read, as `"3"`; 412 where it has changed.'
        schema = {"type": "string"}
        parameters.append(
            {"name": "If-Match", "in": "header", "description": words, "schema": schema}
        )
    made: Document = {
        "operationId": route.handler.__name__.strip("_"),
        "summary": route.summary,
        "description": f"Needs {' or '.join(f'`{act}`' for act in route.acts)}.",
        "parameters": parameters,
        "responses": {
            str(route.status): {"description": "Done.", "content": _json(answer)},
            "default": {
                "description": "Refused.",
                "content": _json({"$ref": _TEMPLATE.format(name="Error")}),
            },
        },
    }
    if body is not None:
        made["requestBody"] = {"required": True, "content": _json(body)}
    return made


def _json(schema: Document) -> Document:
    return {"application/json": {"schema": schema}}


def _error() -> Document:
    words = {"type": "string"}
    return {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {
                    "message": words,
                    "type": words,
                    "param": {"type": ["string", "null"]},
                    "code": {"type": "string", "enum": list(ADMIN_ERRORS)},
                },
            }
        },
    }
