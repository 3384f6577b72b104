"""Google's generateContent: it takes what its REST reference names, and answers as it does."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from tests.standins.server import Asked, Hold, Told

Json = dict[str, Any]  # Any: JSON

KEY = "AIza-stand-in"
TOKEN = "ya29.stand-in"
STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class _Form(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """A field that Google does not know is a 400 of its own."""


class _Blob(_Form):
    mime_type: str
    data: str


class _FileData(_Form):
    mime_type: str
    file_uri: str


class _FunctionCall(_Form):
    name: str
    args: dict[str, Any]  # Any: JSON
    id: str | None = None


class _FunctionResponse(_Form):
    name: str
    response: dict[str, Any]  # Any: JSON
    id: str | None = None


class _Part(_Form):
    text: str | None = None
    inline_data: _Blob | None = None
    file_data: _FileData | None = None
    function_call: _FunctionCall | None = None
    function_response: _FunctionResponse | None = None
    thought_signature: str | None = None

    def __post_init__(self) -> None:
        named = (
            self.text,
            self.inline_data,
            self.file_data,
            self.function_call,
            self.function_response,
        )
        if sum(one is not None for one in named) != 1:
            raise ValueError("a part has exactly one of its kinds of data")


class _Content(_Form):
    role: Literal["user", "model"]
    parts: list[_Part]


class _System(_Form):
    parts: list[_Part]


class _Declaration(_Form):
    name: str
    description: str | None = None
    parameters_json_schema: dict[str, Any] | None = None  # Any: JSON


class _Tool(_Form):
    function_declarations: list[_Declaration]


class _Calling(_Form):
    mode: Literal["AUTO", "ANY", "NONE"]
    allowed_function_names: list[str] | None = None


class _ToolConfig(_Form):
    function_calling_config: _Calling


class _Thinking(_Form):
    thinking_budget: int | None = None
    thinking_level: Literal["minimal", "low", "medium", "high"] | None = None


class _Generation(_Form):
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    candidate_count: int | None = None
    max_output_tokens: int | None = None
    stop_sequences: list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    response_mime_type: str | None = None
    response_json_schema: dict[str, Any] | None = None  # Any: JSON
    thinking_config: _Thinking | None = None


class _Request(_Form):
    contents: list[_Content]
    system_instruction: _System | None = None
    tools: list[_Tool] | None = None
    tool_config: _ToolConfig | None = None
    generation_config: _Generation | None = None
    safety_settings: list[Json] | None = None
    cached_content: str | None = None
    labels: dict[str, str] | None = None


@dataclass(frozen=True)
class Says:
    """One answer: its parts, and how it counts them."""

    parts: tuple[Json, ...] = ({"text": "Hello "}, {"text": "there."})
    finish: str = "STOP"
    usage: Json = field(
        default_factory=lambda: {
            "promptTokenCount": 25,
            "candidatesTokenCount": 15,
            "totalTokenCount": 40,
        }
    )
    candidates: int = 1

    @property
    def answer(self) -> Json:
        """The answer whole."""
        return self.piece(self.parts, self.finish)

    def piece(self, parts: tuple[Json, ...], finish: str | None, index: int | None = None) -> Json:
        """A piece of it; ``index`` of one candidate, else of all."""
        which = range(self.candidates) if index is None else [index]
        ended = {"finishReason": finish} if finish else {}
        content = {"parts": list(parts), "role": "model"}
        return {
            "candidates": [{"content": content, "index": one, **ended} for one in which],
            "usageMetadata": self.usage,
            "modelVersion": "stand-in",
            "responseId": "rsp1",
        }

    def events(self) -> list[bytes]:
        """The answer as events: a piece a part, the end with the last."""
        last = len(self.parts) - 1
        return [
            event(self.piece((part,), self.finish if at == last else None, index))
            for at, part in enumerate(self.parts)
            for index in range(self.candidates)
        ]


def event(fields: Json) -> bytes:
    """One event as Google frames it."""
    return f"data: {json.dumps(fields)}\r\n\r\n".encode()


def error(status: int, retry: str | None = None, reason: str | None = None) -> Json:
    """An error's object."""
    details = []
    if retry:
        kind = "type.googleapis.com/google.rpc.RetryInfo"
        details.append({"@type": kind, "retryDelay": retry})
    if reason:
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        details.append({"@type": kind, "reason": reason, "domain": "googleapis.com"})
    told = {"code": status, "message": "in Google's words", "status": STATUSES.get(status, "")}
    return {"error": told | ({"details": details} if details else {})}


def fails(status: int, retry: str | None = None) -> Told:
    """An answer that is an error."""
    return Told((json.dumps(error(status, retry), indent=2).encode(),), status)


def tell(asked: Asked, says: Says, *, hold_at: int | None = None) -> Told:
    """The answer to a request that the real one would take."""
    vertex = asked.path.startswith("/v1/projects/")
    proof = asked.headers.get("authorization" if vertex else "x-goog-api-key")
    if proof != (f"Bearer {TOKEN}" if vertex else KEY):
        return fails(401)
    under = "/v1/projects/p/locations/eu/publishers/google" if vertex else "/v1beta"
    check_body(asked.json)
    if asked.target == f"{under}/models/theirs:generateContent":
        return Told((json.dumps(says.answer).encode(),))
    if asked.target != f"{under}/models/theirs:streamGenerateContent?alt=sse":
        return fails(404)
    parts: tuple[bytes | Hold, ...] = tuple(says.events())
    if hold_at is not None:
        parts = (*parts[:hold_at], Hold())
    return Told(parts, kind="text/event-stream")


def check_body(body: Json) -> None:
    """Raises what is no field of Google's, or not of its type; and turns out of turn."""
    found = msgspec.convert(body, _Request)
    roles = [one.role for one in found.contents]
    assert roles[:1] == ["user"], roles
    assert all(one.parts for one in found.contents)
