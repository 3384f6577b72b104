"""OpenAI's API as Azure serves it: a deployment in the path, a version in the query, `api-key`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.standins.server import Asked, Hold, Told

Json = dict[str, Any]  # Any: JSON

KEY = "azure-stand-in"
TARGETS = {
    "/openai/deployments/theirs/chat/completions?api-version=2024-10-21",
    "/openai/v1/chat/completions",
}
CODES = {
    400: "content_filter",
    401: "401",
    403: "AccessDenied",
    404: "DeploymentNotFound",
    413: "RequestEntityTooLarge",
    429: "429",
    500: "InternalServerError",
    503: "ServiceUnavailable",
}
LIMITS = {
    "x-ratelimit-limit-requests": "100",
    "x-ratelimit-remaining-requests": "99",
    "x-ratelimit-reset-requests": "6m0s",
    "x-ratelimit-limit-tokens": "40000",
    "x-ratelimit-remaining-tokens": "39000",
    "x-ratelimit-reset-tokens": "12ms",
}


@dataclass(frozen=True)
class Says:
    """One answer."""

    pieces: tuple[str, ...] = ("Hello ", "there.")
    calls: tuple[Json, ...] = ()
    usage: Json = field(
        default_factory=lambda: {
            "prompt_tokens": 25,
            "completion_tokens": 15,
            "total_tokens": 40,
        }
    )

    @property
    def finish(self) -> str:
        """How it ends."""
        return "tool_calls" if self.calls else "stop"

    @property
    def answer(self) -> Json:
        """The answer whole."""
        message = {"role": "assistant", "content": "".join(self.pieces) or None}
        if self.calls:
            message["tool_calls"] = list(self.calls)
        choice = {"index": 0, "message": message, "finish_reason": self.finish}
        return envelope("chat.completion", choices=[choice], usage=self.usage)

    def events(self) -> list[bytes]:
        """The answer as events; Azure's first tells what its filter thought of the prompt."""
        filtered = [{"prompt_index": 0, "content_filter_results": {}}]
        found = [event(chunk(choices=[], prompt_filter_results=filtered))]
        deltas: list[Json] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": piece} for piece in self.pieces]
        deltas += [{"tool_calls": [{"index": at, **call}]} for at, call in enumerate(self.calls)]
        for delta in deltas:
            choice = {"index": 0, "delta": delta, "finish_reason": None}
            found.append(event(chunk(choices=[choice | {"content_filter_results": {}}])))
        last = {"index": 0, "delta": {}, "finish_reason": self.finish}
        found.append(event(chunk(choices=[last])))
        found.append(event(chunk(choices=[], usage=self.usage)))
        return [*found, b"data: [DONE]\n\n"]


def envelope(kind: str, **fields: Any) -> Json:  # Any: JSON
    """What every answer has."""
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": "gpt-stand-in", **fields}


def chunk(**fields: Any) -> Json:  # Any: JSON
    """A piece of a stream."""
    return envelope("chat.completion.chunk", **fields)


def event(fields: Json) -> bytes:
    """One event."""
    return f"data: {json.dumps(fields)}\n\n".encode()


def error(status: int) -> bytes:
    """The body of an error."""
    told = {"message": "in Azure's words", "type": None, "param": None, "code": CODES[status]}
    return json.dumps({"error": told}).encode()


def fails(status: int, **headers: str) -> Told:
    """An answer that is an error."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Told((error(status),), status, named)


def tell(asked: Asked, says: Says, *, hold_at: int | None = None) -> Told:
    """The answer to a request that the real one would take."""
    if asked.headers.get("api-key") != KEY or "authorization" in asked.headers:
        return fails(401)
    if asked.target not in TARGETS:
        return fails(404)
    assert asked.json["model"] == "theirs"
    assert not {"provider", "zone", "models"} & set(asked.json)
    if not asked.json.get("stream"):
        return Told((json.dumps(says.answer).encode(),), headers=LIMITS)
    assert asked.json["stream_options"] == {"include_usage": True}
    parts: tuple[bytes | Hold, ...] = tuple(says.events())
    if hold_at is not None:
        parts = (*parts[:hold_at], Hold())
    return Told(parts, headers=LIMITS, kind="text/event-stream")
