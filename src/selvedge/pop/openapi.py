"""`GET /openapi.json`: the PoP's routes as an OpenAPI 3.1 document, made from our own tables.

Statuses and codes come from `REFUSALS`, bodies from the structs that read them, so the document
cannot promise what the code does not do. Answers of engines are described as far as we vouch for
them: the rest of OpenAI's objects passes through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec

from selvedge.fabric import DIALECT_PATHS, REFUSALS, Route
from selvedge.pop.cache_pages import (
    PURGE_PATH,
    REPORT_PATH,
    STATS_PATH,
    PurgeBody,
    ReportBody,
)
from selvedge.wire import body_schemas

Json = dict[str, Any]  # Any: JSON

_JSON: Final = "application/json"
_COMPONENT: Final = "#/components/schemas/{name}"
_TEXT: Final[Mapping[str, Any]] = {"type": "string"}

# Statuses a route can answer with, beside its success. 411 to 431 and 501, 505 are HTTP's own.
_HTTP: Final = (400, 408, 413, 414, 431, 501, 505, 500)
_WORK: Final = tuple(
    sorted({row.status for row in REFUSALS.values()} - {405, 404} | {404, 405, *_HTTP})
)
_PAGE: Final = (405, *_HTTP)
_CACHE: Final = (401, 503, *_PAGE)
_LIST: Final = (401, 403, 451, 503, *_PAGE)

_SUMMARIES: Final = {
    Route.CHAT: "Answer a conversation, whole or as a stream.",
    Route.COMPLETIONS: "Go on with a text, whole or as a stream.",
    Route.EMBEDDINGS: "Turn texts into vectors.",
    Route.RERANK: "Rank texts by how well they answer a query.",
    Route.COUNT: "Count the tokens of a conversation.",
    "/v1/messages": "Answer Anthropic's messages, whole or as a stream.",
    "/v1/messages/count_tokens": "Count the tokens of Anthropic's messages.",
    "/v1/responses": "Answer OpenAI's responses, whole or as a stream.",
    "/v1/responses/input_tokens": "Count the tokens of an input of OpenAI's responses.",
}
_OBJECTS: Final = {
    Route.CHAT: ("chat.completion", "choices"),
    Route.COMPLETIONS: ("text_completion", "choices"),
    Route.EMBEDDINGS: ("list", "data"),
    Route.RERANK: ("ranking", "results"),
    Route.COUNT: ("response.input_tokens", "input_tokens"),
    "/v1/messages": ("message", "content"),
    "/v1/messages/count_tokens": ("response.input_tokens", "input_tokens"),
    "/v1/responses": ("response", "output"),
    "/v1/responses/input_tokens": ("response.input_tokens", "input_tokens"),
}
_STREAMED: Final = (Route.CHAT, Route.COMPLETIONS, "/v1/messages", "/v1/responses")
_KEPT: Final = (401, 403, 404, 421, 451, 503, 405, *_HTTP)
_SENT: Final = {
    "selvedge-deadline-ms": "Deadline of this request in milliseconds; at most `deadline_ms_max`.",
    "prefer": "`wait=N` (RFC 7240): refuse where the predicted wait is over N seconds; 0: if busy.",
    "idempotency-key": "A word for this request: sent again under it, it is not answered twice.",
    "cache-control": "`no-cache`, `no-store`, `max-age`, `min-fresh`, `only-if-cached` (RFC 9111).",
    "selvedge-cache-threshold": "The least similarity, 0 to 1, of a kept answer that will do.",
    "selvedge-cache-tags": "Names, separated by commas, under which the answer can be purged.",
    "x-client-request-id": "An id of the client's own, kept with the receipt, encrypted.",
}
_HEADERS: Final = {
    "x-request-id": "Id of this request at this PoP.",
    "selvedge-pop": "The PoP that was asked.",
    "selvedge-receipt": "Id of the receipt.",
    "selvedge-repeats": "Receipt of the first request under this Idempotency-Key.",
    "selvedge-served-by": "PoP and engine that answered.",
    "selvedge-processed-in": "Country in which it was processed.",
    "selvedge-policy": "Version of the residency policy that decided, where one did.",
    "selvedge-handling": "What the data class asks of the engine, where it asks for anything.",
    "cache-status": "Whether a kept answer was given (RFC 9211); where its class has a cache.",
    "age": "Seconds since a kept answer was made.",
    "selvedge-cache-entry": "Id of the kept answer that was given.",
    "selvedge-cache-similarity": "Of its question to this one, 0 to 1.",
    "server-timing": "Milliseconds at the PoP, on the way and at the engine (W3C).",
    "openai-processing-ms": "Milliseconds until the answer began.",
    "x-ratelimit-limit-requests": "This PoP's share of the key's tightest limit a minute.",
    "x-ratelimit-remaining-requests": "What is left of it.",
    "x-ratelimit-reset-requests": "When the minute is over, as `28m0.747s`.",
    "x-ratelimit-limit-tokens": "The same of tokens.",
    "x-ratelimit-remaining-tokens": "The same of tokens.",
    "x-ratelimit-reset-tokens": "The same of tokens.",
}
_RETRY: Final = {
    "x-should-retry": "Whether an unchanged retry can help.",
    "retry-after-ms": "When it may help.",
    "retry-after": "The same in seconds.",
    "selvedge-rule": "The residency rule that refused.",
    "www-authenticate": "`Bearer`.",
}


def render_openapi(version: str) -> bytes:
    """The document as JSON."""
    bodies, components = body_schemas(_COMPONENT)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Selvedge",
            "version": version,
            "summary": "OpenAI's API at a point of presence.",
            "description": "`docs/errors.md` explains each error code.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"key": []}],
        "paths": {
            **{path: {"post": _work(path, body)} for path, body in bodies.items()},
            **_pages(),
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {**components, **_answers()},
        },
    }
    return msgspec.json.encode(document)


def _work(route: str, body: Json) -> Json:
    content = {_JSON: {"schema": _ref(_OBJECTS[route][0])}}
    if route in _STREAMED:
        content["text/event-stream"] = {"schema": dict(_TEXT)}
    success = {"description": "The answer.", "headers": _headers(_HEADERS), "content": content}
    return {
        "operationId": _OPERATIONS.get(route) or Route(route).name.lower(),
        "summary": _SUMMARIES[route],
        "parameters": [
            {"name": name, "in": "header", "description": words, "schema": dict(_TEXT)}
            for name, words in _SENT.items()
        ],
        "requestBody": {"required": True, "content": {_JSON: {"schema": body}}},
        "responses": {"200": success, **_errors(_WORK, _error_of(route))},
    }


def _error_of(path: str) -> str:
    asked = DIALECT_PATHS.get(path)
    return "AnthropicError" if asked is not None and asked[1] == "anthropic" else "Error"


_OPERATIONS: Final = {path: path.removeprefix("/v1/").replace("/", "_") for path in DIALECT_PATHS}


def _pages() -> Json:
    model = {"name": "id", "in": "path", "required": True, "schema": dict(_TEXT)}
    ready = {"503": _json("Not ready, and why.", {"$ref": _name("Status")})}
    plain = {"text/plain": {"schema": dict(_TEXT)}}
    return {
        "/v1/models": _get("List the models that this key can reach.", _ref("models"), _LIST),
        "/v1/models/{id}": {
            **_get("One model.", _ref("model"), (404, *_LIST)),
            "parameters": [model],
        },
        STATS_PATH: _get("What this PoP's cache keeps for this tenant.", {"type": "object"}, _LIST),
        REPORT_PATH: _post("Say that a kept answer was wrong for its question.", "ReportBody"),
        PURGE_PATH: _post("Have this tenant's kept answers found no more.", "PurgeBody"),
        **_kept(),
        "/healthz": _get("Whether the process lives.", _ref("Status"), _PAGE, open_to_all=True),
        "/readyz": _get(
            "Whether it can serve.", _ref("Status"), _PAGE, open_to_all=True, more=ready
        ),
        "/health": _get("What serves here.", {"type": "object"}, _PAGE, open_to_all=True),
        "/metrics": {
            "get": {
                "summary": "Prometheus metrics.",
                "security": [],
                "responses": {
                    "200": {"description": "Metrics.", "content": plain},
                    **_errors(_PAGE),
                },
            }
        },
        "/openapi.json": _get("This document.", {"type": "object"}, _PAGE, open_to_all=True),
    }


def _kept() -> Json:
    """Answers that are kept for their clients."""
    named = {"name": "id", "in": "path", "required": True, "schema": dict(_TEXT)}
    delete = _get("Delete a kept answer.", _ref("deleted"), _KEPT)["get"]
    return {
        "/v1/responses/{id}": {
            **_get("A kept answer.", _ref("response"), _KEPT),
            "delete": delete,
            "parameters": [named],
        },
        "/v1/responses/{id}/input_items": {
            **_get("The items that its request had.", _ref("list"), _KEPT),
            "parameters": [named],
        },
    }


def _get(
    summary: str,
    schema: Json,
    statuses: Iterable[int],
    *,
    open_to_all: bool = False,
    more: Json | None = None,
) -> Json:
    operation: Json = {
        "summary": summary,
        "responses": {"200": _json("The answer.", schema), **_errors(statuses), **(more or {})},
    }
    if open_to_all:
        operation["security"] = []
    return {"get": operation}


def _post(summary: str, body: str) -> Json:
    return {
        "post": {
            "summary": summary,
            "requestBody": {"required": True, "content": {_JSON: {"schema": _ref(body)}}},
            "responses": {"200": _json("It is done.", {"type": "object"}), **_errors(_CACHE)},
        }
    }


def _errors(statuses: Iterable[int], shape: str = "Error") -> Json:
    return {
        str(status): {
            "description": f"{HTTPStatus(status).phrase}: {_codes(status)}.",
            "headers": _headers(_RETRY),
            "content": {_JSON: {"schema": {"$ref": _name(shape)}}},
        }
        for status in sorted(set(statuses))
    }


def _codes(status: int) -> str:
    found = [f"`{row.code}`" for row in REFUSALS.values() if row.status == status]
    return ", ".join(found) or "HTTP/1.1 itself was not kept to"


def _json(words: str, schema: Json) -> Json:
    return {"description": words, "content": {_JSON: {"schema": schema}}}


def _headers(table: Mapping[str, str]) -> Json:
    return {
        name: {"description": words, "required": False, "schema": dict(_TEXT)}
        for name, words in table.items()
    }


def _name(name: str) -> str:
    return _COMPONENT.format(name=name)


def _ref(name: str) -> Json:
    return {"$ref": _name(name)}


def _answers() -> Json:
    model = _object(("id", "object", "created", "owned_by"), created={"type": "integer"})
    error = _object(("message", "type", "param", "code"), param={"type": ["string", "null"]})
    answers: Json = {
        "Error": {**_object(("error",), error=error), "additionalProperties": False},
        "Status": _object(("status",)),
        "model": model,
        "models": _object(("object", "data"), data={"type": "array", "items": _ref("model")}),
    }
    _, forms = msgspec.json.schema_components([ReportBody, PurgeBody], ref_template=_COMPONENT)
    answers |= forms
    for route, (name, items) in _OBJECTS.items():
        named = (items,) if route is Route.RERANK else ("object", items)
        answers[name] = _object(named, **{items: {"type": "array"}})
    told = _object(("type", "message", "details"), details={"type": "object"})
    asked = {"type": ["string", "null"]}
    answers["AnthropicError"] = _object(("type", "error", "request_id"), error=told)
    answers["AnthropicError"]["properties"]["request_id"] = asked
    answers["message"] = _object(("id", "type", "role", "content"), content={"type": "array"})
    answers["response.input_tokens"] = _object(("input_tokens",), input_tokens={"type": "integer"})
    answers["deleted"] = _object(("id", "object", "deleted"), deleted={"type": "boolean"})
    return answers


def _object(required: tuple[str, ...], **properties: Json) -> Json:
    """An object of strings, but for the properties that are told."""
    found: Json = {name: properties.get(name, dict(_TEXT)) for name in required}
    return {"type": "object", "required": list(required), "properties": found}
