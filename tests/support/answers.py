"""A scripted answer as bytes: JSON, or the events of a stream. Pure."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from math import sqrt
from typing import Any, Literal

from tests.support.script import Answer, Cut, Received, Script, Status

CREATED_S = 1_700_000_000
PRELUDE = -1

Json = Mapping[str, Any]  # Any: JSON


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a request shapes its answer. Hashable: the events of equal requests are kept."""

    chat: bool
    stream: bool
    model: str
    usage: bool
    counts: str
    n: int
    logprobs: bool
    tokens_max: int | None
    prefix: str

    @staticmethod
    def of(received: Received) -> Asked:
        body = received.json if isinstance(received.json, dict) else {}
        messages = body.get("messages")
        last = messages[-1] if isinstance(messages, list) and messages else {}
        assistant = isinstance(last, dict) and last.get("role") == "assistant"
        prefix = last.get("content") if assistant else ""
        return Asked(
            chat=received.path.endswith("/chat/completions"),
            stream=body.get("stream") is True,
            model=str(body.get("model", "scripted")),
            usage=bool((body.get("stream_options") or {}).get("include_usage")),
            counts=counting(body),
            n=int(body.get("n") or 1),
            logprobs=body.get("logprobs") not in (None, False),
            tokens_max=body.get("max_completion_tokens") or body.get("max_tokens"),
            prefix=prefix if isinstance(prefix, str) else "",
        )


def counting(body: Json) -> str:
    """How an engine is asked to count as it goes: by `timings`, by `usage`, or not."""
    if body.get("timings_per_token") is True:
        return "timings"
    return "usage" if (body.get("stream_options") or {}).get("continuous_usage_stats") else ""


@dataclass(frozen=True, slots=True)
class Step:
    """One event, and how many tokens go out before it: PRELUDE is held by no gate."""

    position: int
    data: bytes


@functools.lru_cache(maxsize=256)
def stream(answer: Answer, asked: Asked) -> tuple[Step, ...]:
    """The events of a streamed answer; those of its end have the position after the last token."""
    return tuple(Writer(answer, asked).steps())


@functools.lru_cache(maxsize=256)
def whole(answer: Answer, asked: Asked) -> bytes:
    """The body of an answer that is not streamed."""
    return Writer(answer, asked).whole()


@functools.lru_cache(maxsize=256)
def tokens_in(answer: Answer, asked: Asked) -> int:
    """How many tokens (deltas, those of tool calls included) the answer sends."""
    return len(Writer(answer, asked).deltas)


class Writer:
    """Writes one answer to one kind of request."""

    def __init__(self, answer: Answer, asked: Asked) -> None:
        self.answer = answer
        self.asked = asked
        self.finish = answer.finish
        self.logprobs = asked.logprobs if answer.logprobs is None else answer.logprobs
        self.choices = range(asked.n if answer.n is None else answer.n)
        self.tokens = list(answer.tokens)
        if answer.continues:
            self.tokens = list(without_prefix(self.tokens, asked.prefix))
        self.deltas: list[Json] = [{"content": token} for token in self.tokens]
        self.deltas += [delta for at in range(len(answer.tool_calls)) for delta in self.call(at)]
        if answer.obeys_max and asked.tokens_max and len(self.deltas) > asked.tokens_max:
            self.deltas = self.deltas[: asked.tokens_max]
            self.tokens = self.tokens[: asked.tokens_max]
            self.finish = "length"

    def call(self, at: int) -> Iterator[Json]:
        call = self.answer.tool_calls[at]
        function = {"name": call.name, "arguments": ""}
        first = {"index": at, "id": call.id, "type": "function", "function": function}
        yield {"tool_calls": [first]}
        for start in range(0, len(call.arguments), 8):
            arguments = {"arguments": call.arguments[start : start + 8]}
            yield {"tool_calls": [{"index": at, "function": arguments}]}

    def steps(self) -> Iterator[Step]:
        answer, end = self.answer, len(self.deltas)
        every: dict[str, Json] = {"usage": self.usage(0)} if answer.usage == "every" else {}
        if answer.llama:
            progress = {"total": answer.prompt_tokens, "cache": 0, "processed": 0, "time_ms": 0}
            role = {"role": "assistant", "content": None}
            yield Step(PRELUDE, self.event(role, 0, {"prompt_progress": progress}))
        if answer.role_first and self.asked.chat:
            for index in self.choices:
                role = {"role": "assistant", "content": ""}
                yield Step(PRELUDE, self.event(role, index, every))
        for position, delta in enumerate(self.deltas):
            if answer.usage == "every":
                every = {"usage": self.usage(position + 1)}
            elif self.asked.counts == ("timings" if answer.llama else "usage"):
                every = self.counted(position + 1)
            for index in self.choices:
                yield Step(position, self.event(delta, index, every, position))
        if answer.stray:
            yield Step(end, answer.stray)
        for _ in range(answer.terminals):
            for index in self.choices:
                yield Step(end, self.terminal(index))
        if answer.usage in ("separate", "every") or (answer.usage == "asked" and self.asked.usage):
            yield Step(end, self.encode(self.envelope([], usage=self.usage(end))))
        if answer.done:
            yield Step(end, done(answer))

    def terminal(self, index: int) -> bytes:
        extras: dict[str, Json] = {}
        end = len(self.deltas)
        if index == self.choices[-1]:
            if self.answer.usage == "terminal":
                extras["usage"] = self.usage(end)
            if self.answer.llama:
                prompt_n = self.answer.prompt_tokens
                extras["timings"] = {"prompt_n": prompt_n, "predicted_n": end, "predicted_ms": 1.0}
        return self.event({}, index, extras, finish=self.finish)

    def event(
        self,
        delta: Json,
        index: int,
        extras: dict[str, Json],
        position: int | None = None,
        finish: str | None = None,
    ) -> bytes:
        choice: dict[str, Any] = {"index": index, "finish_reason": finish}  # Any: JSON
        if self.asked.chat:
            choice["delta"] = delta
        else:
            choice["text"] = delta.get("content") or ""
        if self.logprobs and position is not None:
            choice["logprobs"] = self.probabilities(position, position + 1)
        return self.encode(self.envelope([choice], **extras))

    def envelope(self, choices: list[dict[str, Any]], **extras: Json) -> Json:  # Any: JSON
        kind = "chat.completion" if self.asked.chat else "text_completion"
        if self.asked.chat and self.asked.stream:
            kind += ".chunk"
        model = self.answer.model or self.asked.model
        named = {"id": self.answer.id, "object": kind, "created": CREATED_S, "model": model}
        return {**named, "choices": choices, **extras}

    def encode(self, value: Json) -> bytes:
        return encode(self.answer, value)

    def usage(self, tokens: int) -> Json:
        answer = self.answer
        completion = answer.completion_tokens
        completion = tokens * len(self.choices) if completion is None else completion
        total = answer.prompt_tokens + completion
        counted: dict[str, Any] = {  # Any: JSON
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": total,
        }
        if answer.cached_tokens is not None:
            counted["prompt_tokens_details"] = {"cached_tokens": answer.cached_tokens}
        return counted

    def counted(self, chunks: int) -> dict[str, Json]:
        """What has gone out of one choice by now: llama.cpp's way, or vLLM's."""
        tokens, prompt = chunks * self.answer.speculates, self.answer.prompt_tokens
        if self.answer.llama:
            timings = {"cache_n": 0, "prompt_n": prompt, "prompt_ms": 1.0, "predicted_n": tokens}
            return {"timings": timings}
        total = prompt + tokens
        usage = {"prompt_tokens": prompt, "total_tokens": total, "completion_tokens": tokens}
        return {"usage": usage}

    def probabilities(self, start: int, stop: int) -> Json:
        """Log probabilities of some tokens: minus a tenth for the first, and so on."""
        chosen = [(at, self.tokens[at]) for at in range(start, min(stop, len(self.tokens)))]
        if not self.asked.chat:
            values = [-(at + 1) / 10 for at, _ in chosen]
            return {"tokens": [token for _, token in chosen], "token_logprobs": values}
        content = [
            {
                "token": token,
                "logprob": -(at + 1) / 10,
                "bytes": list(token.encode()),
                "top_logprobs": [],
            }
            for at, token in chosen
        ]
        return {"content": content, "refusal": None}

    def whole(self) -> bytes:
        text, end = "".join(self.tokens), len(self.deltas)
        calls = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in self.answer.tool_calls
        ]
        choices = []
        for index in self.choices:
            choice: dict[str, Any] = {"index": index, "finish_reason": self.finish}  # Any: JSON
            if self.asked.chat:
                choice["message"] = {"role": "assistant", "content": text}
                if calls:
                    choice["message"] |= {"content": text or None, "tool_calls": calls}
            else:
                choice["text"] = text
            if self.logprobs:
                choice["logprobs"] = self.probabilities(0, end)
            choices.append(choice)
        extras = {} if self.answer.usage == "none" else {"usage": self.usage(end)}
        return dump(self.answer, self.envelope(choices, **extras))


def without_prefix(tokens: list[str], prefix: str) -> Iterator[str]:
    for token in tokens:
        if token and prefix.startswith(token):
            prefix = prefix[len(token) :]
        else:
            yield token


def dump(answer: Answer, value: Json) -> bytes:
    return json.dumps(value, ensure_ascii=answer.escaped, separators=(",", ":")).encode()


def encode(answer: Answer, value: Json) -> bytes:
    return frame(answer, dump(answer, value))


def done(answer: Answer) -> bytes:
    return frame(answer, b"[DONE]")


def frame(answer: Answer, data: bytes) -> bytes:
    eol = answer.eol.encode()
    comment = b": keep-alive" + eol + eol if answer.comments else b""
    return comment + (b"data: " if answer.space else b"data:") + data + eol + eol


def error_event(answer: Answer, cut: Cut) -> bytes:
    error = {"message": cut.message, "type": "server_error", "code": 500}
    return encode(answer, {"error": error})


def error(status: Status) -> tuple[bytes, str]:
    """The body of an error and its content type."""
    if status.shape == "text":
        return status.message.encode(), "text/plain"
    kind = "server_error" if status.code >= 500 else "invalid_request_error"
    inner: dict[str, Any] = {"message": status.message, "type": kind}  # Any: JSON
    if status.shape == "llama":
        inner = {"code": status.code, **inner}
    else:
        inner |= {"param": None, "code": None}
    return json.dumps({"error": inner}).encode(), "application/json"


Framing = Literal["chunked", "length", "close"]


def head(code: int, kind: str, fields: list[tuple[str, str]]) -> bytes:
    """A response head with its content type first."""
    lines = [f"HTTP/1.1 {code} {HTTPStatus(code).phrase}", f"content-type: {kind}"]
    lines += [f"{name}: {value}" for name, value in fields]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def embeddings(body: Any, dimensions: int) -> Json:  # Any: JSON
    """Deterministic vectors of length one: texts that share words are close to each other."""
    given = body.get("input", "")
    texts = given if isinstance(given, list) else [given]
    packed = body.get("encoding_format") == "base64"
    data = []
    for index, text in enumerate(texts):
        vector = embed(str(text), dimensions)
        value = base64.b64encode(struct.pack(f"<{dimensions}f", *vector)).decode()
        data.append(
            {"object": "embedding", "index": index, "embedding": value if packed else vector}
        )
    tokens = sum(len(str(text).split()) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    model = body.get("model", "scripted")
    return {"object": "list", "data": data, "model": model, "usage": usage}


def embed(text: str, dimensions: int) -> list[float]:
    sums = [1e-6] * dimensions
    for word in text.lower().split():
        digest = hashlib.shake_128(word.encode()).digest(dimensions)
        sums = [total + (byte - 127.5) for total, byte in zip(sums, digest, strict=True)]
    length = sqrt(sum(value * value for value in sums))
    return [value / length for value in sums]


def grouped(steps: tuple[Step, ...], answer: Answer) -> Iterator[tuple[Step, ...]]:
    """Events that go out in one write: `join` of them, and never across a cut."""
    group: list[Step] = []
    for step in steps:
        edge = answer.cut is not None and step.position >= answer.cut.after
        if group and (len(group) == answer.join or edge):
            yield tuple(group)
            group = []
        group.append(step)
    if group:
        yield tuple(group)


def default(script: Script, received: Received) -> tuple[int, bytes]:
    """What the engine says where the script says nothing."""
    match received.method, received.path:
        case "GET", "/health":
            return 200, b'{"status":"ok"}'
        case "GET", "/v1/models":
            models = [{"id": name, "object": "model", "owned_by": "test"} for name in script.models]
            return 200, json.dumps({"object": "list", "data": models}).encode()
        case "POST", "/v1/embeddings":
            return 200, json.dumps(embeddings(received.json, script.dimensions)).encode()
    body, _ = error(Status(404, f"no such route: {received.method} {received.path}"))
    return 404, body
