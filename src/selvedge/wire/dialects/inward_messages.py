"""Anthropic's messages, in from the client and back to it: `POST /v1/messages`.

The body becomes a chat body before anything else sees it; its answer is made of the chat form's,
whole or chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from selvedge.fabric import Refused, Usage
from selvedge.wire.dialects.inward import (
    Asked,
    ChatEvents,
    Json,
    NotCarried,
    Spoken,
    SpokenChunk,
    ToolPiece,
    encode,
    event,
    misread,
    missing,
    name_of,
    read_count,
    read_whole,
    usage_of,
)
from selvedge.wire.dialects.inward_messages_body import read_chat
from selvedge.wire.dialects.inward_messages_shapes import MessagesBody

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    451: "permission_error",
    500: "api_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
TOOL_CALLS_MAX: Final = 128
_PING: Final = event("ping", {})
_bodies: Final = msgspec.json.Decoder(MessagesBody)


class MessagesForm:
    """One request of `POST /v1/messages`; what it makes has an id made of its receipt's."""

    def __init__(self, asked: Asked) -> None:
        self._receipt_id = asked.receipt_id
        self._request_id = asked.request_id
        self._image_urls = asked.image_urls
        self._counts = asked.counts
        self._stops: tuple[str, ...] = ()
        self._thinks = False
        self._stream: _Stream | None = None
        self.keeps = False

    @property
    def refers(self) -> str | None:
        """Nothing: each request has all of its messages."""
        return None

    def resume(self, before: Sequence[bytes]) -> bytes | Refused:
        """Nobody asks for it: see `refers`."""
        raise TypeError("a body of messages is whole")

    def to_keep(self) -> tuple[str, bytes] | None:
        """Nothing: no request refers to another's answer."""
        return None

    def read(self, body: bytes) -> bytes | Refused:
        """The body in the chat form; else what is wrong with it, by the names its client used."""
        try:
            asked = _bodies.decode(body)
            if asked.max_tokens is None and not self._counts:
                raise missing("max_tokens")
            chat = read_chat(asked, self._image_urls)
        except NotCarried as error:
            return error.refused
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return misread(error)
        self._stops = tuple(asked.stop_sequences or ())
        self._thinks = asked.thinking is not None and asked.thinking.type != "disabled"
        return encode(chat)

    def answer(self, body: bytes, first: str | None = None) -> bytes:
        """A whole answer, perhaps given before under the receipt ``first``."""
        if self._counts:
            return encode(read_count(body))
        whole = read_whole(body)
        choice = whole.choices[0] if whole.choices else None
        said = choice.message if choice is not None else None
        reason, stopped_by = None, None
        if choice is not None:
            reason, stopped_by = choice.finish_reason, choice.stopped_by
        message = self._message(whole, first or self._receipt_id)
        name, thinks = name_of(first or self._receipt_id), self._thinks
        message["content"] = [] if said is None else _blocks_of(name, said, thinks=thinks)
        message |= stop_of(reason, stopped_by, self._stops)
        message["usage"] = render_usage(usage_of(whole))
        return encode(message)

    def feed(self, data: bytes) -> bytes:
        """Some of a stream, cut anywhere: from the chat form into this one. ``[DONE]`` ends it."""
        stream = self._stream
        if stream is None:
            stream = self._stream = _Stream(
                name_of(self._receipt_id), self._stops, thinks=self._thinks
            )
        out: list[bytes] = []
        for chunk in stream.chunks.feed(data):
            if not stream.begun:
                stream.begun = True
                out.append(
                    event("message_start", {"message": self._message(chunk, self._receipt_id)})
                )
            out += stream.pass_on(chunk)
        if stream.chunks.done:
            out += stream.end()
        return b"".join(out)

    def ping(self) -> bytes:
        """What shows that a stream lives."""
        return _PING

    def refusal(self, refused: Refused) -> bytes:
        """An error as the body of an answer."""
        return encode({"type": "error", **self._error(refused)})

    def broken(self, refused: Refused) -> bytes:
        """An error in a stream that has begun, as its end."""
        return event("error", self._error(refused))

    def _error(self, refused: Refused) -> Json:
        status = refused.kind.status
        details: Json = {"error_code": refused.code, "param": refused.param}
        error = {
            "type": _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error"),
            "message": refused.message,
            "details": details,
        }
        return {"error": error, "request_id": self._request_id}

    def _message(self, chunk: SpokenChunk, receipt_id: str) -> Json:
        return {
            "id": f"msg_{name_of(receipt_id)}",
            "type": "message",
            "role": "assistant",
            "model": chunk.model or "",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": render_usage(usage_of(chunk)),
        }


class _Stream:
    """Where a stream is: which block is open, and what is known of its end."""

    __slots__ = (
        "_blocks",
        "_calls",
        "_name",
        "_open",
        "_reason",
        "_stopped_by",
        "_stops",
        "_thinks",
        "_unnamed",
        "_usage",
        "begun",
        "chunks",
    )

    def __init__(self, name: str, stops: tuple[str, ...], *, thinks: bool) -> None:
        self._name = name
        self.chunks = ChatEvents()
        self.begun = False
        self._stops = stops
        self._thinks = thinks
        self._blocks = 0
        self._open = ""
        self._calls: dict[int, int] = {}
        self._unnamed: dict[int, ToolPiece] = {}
        self._reason: str | None = None
        self._stopped_by: str | None = None
        self._usage: Usage | None = None

    def pass_on(self, chunk: SpokenChunk) -> list[bytes]:
        """What one chunk adds."""
        self._usage = usage_of(chunk) or self._usage
        if not chunk.choices or chunk.choices[0].index:
            return []
        choice = chunk.choices[0]
        self._reason = choice.finish_reason or self._reason
        self._stopped_by = choice.stopped_by or self._stopped_by
        said, out = choice.delta, list[bytes]()
        if said is None:
            return out
        if said.thought and self._thinks:
            out += self._open_as("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            out.append(self._delta({"type": "thinking_delta", "thinking": said.thought}))
        text = said.text
        if text:
            out += self._open_as("text", {"type": "text", "text": ""})
            out.append(self._delta({"type": "text_delta", "text": text}))
        for at, piece in enumerate(said.calls):
            out += self._call(piece.index if piece.index is not None else at, piece)
        return out

    def end(self) -> list[bytes]:
        """What closes the message."""
        delta = stop_of(self._reason, self._stopped_by, self._stops)
        usage = render_usage(self._usage)
        return [
            *self._close(),
            event("message_delta", {"delta": delta, "usage": usage}),
            event("message_stop", {}),
        ]

    def _call(self, index: int, piece: ToolPiece) -> list[bytes]:
        """A part of a tool call: its block begins once its name is known."""
        at = self._calls.get(index)
        out: list[bytes] = []
        if at is None:
            held = self._unnamed.get(index)
            piece = piece if held is None else held.with_more(piece)
            if piece.function is None or not piece.function.name:
                if len(self._unnamed) < TOOL_CALLS_MAX:
                    self._unnamed[index] = piece
                return out
            if len(self._calls) >= TOOL_CALLS_MAX:
                return out
            call_id = piece.id or f"toolu_{self._name}_{index}"
            begin = {"type": "tool_use", "id": call_id, "name": piece.function.name, "input": {}}
            out = self._open_as(f"call {index}", begin)
            at = self._calls[index] = self._blocks - 1
        text = piece.function.text if piece.function is not None else ""
        if text:
            delta = {"type": "input_json_delta", "partial_json": text}
            out.append(event("content_block_delta", {"index": at, "delta": delta}))
        return out

    def _open_as(self, kind: str, block: Json) -> list[bytes]:
        if self._open == kind:
            return []
        out = self._close()
        self._open = kind
        out.append(event("content_block_start", {"index": self._blocks, "content_block": block}))
        self._blocks += 1
        return out

    def _delta(self, delta: Json) -> bytes:
        return event("content_block_delta", {"index": self._blocks - 1, "delta": delta})

    def _close(self) -> list[bytes]:
        if not self._open:
            return []
        self._open = ""
        return [event("content_block_stop", {"index": self._blocks - 1})]


def _blocks_of(name: str, said: Spoken, *, thinks: bool) -> list[Json]:
    """A whole message as blocks."""
    blocks: list[Json] = []
    if said.thought and thinks:
        blocks.append({"type": "thinking", "thinking": said.thought, "signature": ""})
    text = said.text
    if text:
        blocks.append({"type": "text", "text": text})
    for at, call in enumerate(said.calls):
        if call.function is not None:
            use: Json = {"type": "tool_use", "id": call.id or f"toolu_{name}_{at}"}
            use |= {"name": call.function.name or "", "input": _object(call.function.text)}
            blocks.append(use)
    return blocks


def _object(text: str) -> msgspec.Raw | Json:
    """Arguments as the object they are; what is none is told as Anthropic tells it."""
    try:
        if isinstance(msgspec.json.decode(text or "{}"), dict):
            return msgspec.Raw((text or "{}").encode())
    except (msgspec.MsgspecError, RecursionError):
        pass
    return {"INVALID_JSON": text}


def stop_of(reason: str | None, stopped_by: str | None, stops: tuple[str, ...]) -> Json:
    """Why an answer ended; which text of ``stop_sequences`` it was where the engine tells."""
    if reason in (None, "stop") and stopped_by is not None and stopped_by in stops:
        return {"stop_reason": "stop_sequence", "stop_sequence": stopped_by}
    return {"stop_reason": _REASONS.get(reason or "stop", "end_turn"), "stop_sequence": None}


def render_usage(usage: Usage | None) -> Json:
    """Tokens as Anthropic counts them: what a cache held stands beside the input."""
    told = usage or Usage()
    return {
        "input_tokens": told.input_uncached,
        "cache_creation_input_tokens": told.cache_write,
        "cache_read_input_tokens": told.cache_read,
        "output_tokens": told.generated,
    }
