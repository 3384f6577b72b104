"""Anthropic's Messages API: it takes what its own package's types take, and answers as it does."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from anthropic.types.message_create_params import (
    MessageCreateParamsNonStreaming,
    MessageCreateParamsStreaming,
)
from pydantic import TypeAdapter

from tests.standins.server import Asked, Hold, Told

Json = dict[str, Any]  # Any: JSON

KEY = "sk-ant-stand-in"
SAMPLING = {"temperature", "top_p", "top_k"}
"""What older models take; the package has dropped it, as its newest models have."""
KINDS = {
    True: TypeAdapter[Any](MessageCreateParamsStreaming),
    False: TypeAdapter[Any](MessageCreateParamsNonStreaming),
}
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
LIMITS = {
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "49",
    "anthropic-ratelimit-requests-reset": "2026-11-22T07:30:00Z",
    "anthropic-ratelimit-input-tokens-limit": "40000",
    "anthropic-ratelimit-input-tokens-remaining": "39000",
    "anthropic-ratelimit-input-tokens-reset": "2026-11-22T07:30:01Z",
}


@dataclass(frozen=True)
class Says:
    """One answer: blocks of content, and how it counts them."""

    blocks: tuple[Json, ...] = ({"type": "text", "text": "Hello there."},)
    stop: str = "end_turn"
    usage: Json = field(default_factory=lambda: {"input_tokens": 25, "output_tokens": 15})

    @property
    def message(self) -> Json:
        """The answer as one message."""
        return {
            "id": "msg_01",
            "type": "message",
            "role": "assistant",
            "model": "claude-stand-in",
            "content": list(self.blocks),
            "stop_reason": self.stop,
            "stop_sequence": None,
            "usage": self.usage,
        }

    def events(self, piece: int = 6) -> list[bytes]:
        """The answer as events, texts in pieces."""
        start = self.message | {"content": [], "stop_reason": None}
        first = self.usage | {"output_tokens": 1}
        found = [event("message_start", message=start | {"usage": first}), event("ping")]
        for index, block in enumerate(self.blocks):
            found += block_events(index, block, piece)
        delta = {"stop_reason": self.stop, "stop_sequence": None}
        last = {k: v for k, v in self.usage.items() if k.startswith("output")}
        found.append(event("message_delta", delta=delta, usage=last))
        return [*found, event("message_stop")]


def event(kind: str, **fields: Any) -> bytes:  # Any: JSON
    """One event as it goes on the wire."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def block_events(index: int, block: Json, piece: int) -> list[bytes]:
    """A block: its beginning, its pieces, its end."""
    name, kind = {
        "text": ("text", "text_delta"),
        "thinking": ("thinking", "thinking_delta"),
        "tool_use": ("input", "input_json_delta"),
    }.get(block["type"], ("", ""))
    empty = (
        block
        | ({name: {} if name == "input" else ""} if name else {})
        | ({"signature": ""} if "signature" in block else {})
    )
    found = [event("content_block_start", index=index, content_block=empty)]
    text = json.dumps(block["input"]) if name == "input" else block.get(name, "")
    field_of = "partial_json" if name == "input" else name
    pieces = [text[at : at + piece] for at in range(0, len(text), piece)]
    if name == "input":
        pieces = ["", *pieces] if block["input"] else [""]
    for one in pieces:
        delta = {"type": kind, field_of: one}
        found.append(event("content_block_delta", index=index, delta=delta))
    if "signature" in block:
        delta = {"type": "signature_delta", "signature": block["signature"]}
        found.append(event("content_block_delta", index=index, delta=delta))
    return [*found, event("content_block_stop", index=index)]


def error(status: int, message: str = "in the provider's words") -> bytes:
    """The body of an error."""
    told = {"type": TYPES[status], "message": message}
    return json.dumps({"type": "error", "error": told, "request_id": "req_1"}).encode()


def fails(status: int, **headers: str) -> Told:
    """An answer that is an error."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Told((error(status),), status, named)


def tell(asked: Asked, says: Says, *, hold_at: int | None = None) -> Told:
    """The answer to a request that the real one would take; `hold_at`: silent from that event."""
    wrong = check(asked)
    if wrong is not None:
        return wrong
    if not asked.json.get("stream"):
        return Told((json.dumps(says.message).encode(),), headers=LIMITS)
    parts: tuple[bytes | Hold, ...] = tuple(says.events())
    if hold_at is not None:
        parts = (*parts[:hold_at], Hold())
    return Told(parts, headers=LIMITS, kind="text/event-stream; charset=utf-8")


def check(asked: Asked) -> Told | None:
    """The error of a request that Anthropic would refuse."""
    if asked.headers.get("x-api-key") != KEY or "authorization" in asked.headers:
        return fails(401)
    if asked.path != "/v1/messages" or asked.headers.get("anthropic-version") != "2023-06-01":
        return fails(404)
    check_body(asked.json)
    return None


def check_body(body: Json) -> None:
    """Raises what its package's types find wrong, and what is no field of its API."""
    kind = KINDS[bool(body.get("stream"))]
    form = MessageCreateParamsStreaming if body.get("stream") else MessageCreateParamsNonStreaming
    unknown = set(body) - set(get_type_hints(form)) - SAMPLING
    assert not unknown, unknown
    exhaust(kind.validate_python(body))
    roles = [one["role"] for one in body["messages"]]
    assert roles[:1] == ["user"], roles
    for one in body["messages"]:
        for block in one["content"]:
            assert block != {"type": "text", "text": ""}, "text content blocks must be non-empty"


def exhaust(value: object) -> None:
    """Iterables are checked as they are read."""
    if isinstance(value, dict):
        for one in value.values():
            exhaust(one)
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for one in value:
            exhaust(one)
