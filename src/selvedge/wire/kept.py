"""Answers that are given again: how they are kept, and how they are told a second time.

A stream is kept as its chunks, without what only its first client had asked for (`usage`); a whole
answer as its JSON. Either is given again as the next client asks: the chunks as they were, a whole
answer's text in one chunk between the role's and the terminal one. The answer's id is new each
time, because clients keep answers under it; `created` and the ids of tool calls stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from selvedge.fabric import Ask, Route, Usage
from selvedge.wire.answers import assemble
from selvedge.wire.usage import render_usage

_NO_USAGE: Final = b',"usage":null}'
_OBJECTS: Final = {
    Route.CHAT: "chat.completion.chunk",
    Route.COMPLETIONS: "text_completion",
}
_PREFIXES: Final = {Route.CHAT: "chatcmpl-", Route.COMPLETIONS: "cmpl-"}


class _Named(msgspec.Struct, frozen=True):
    """What every chunk says of the answer it is of."""

    id: str = ""
    created: int = 0


# JSON of engines: its shape is theirs, so its values are Any within this module.
_Json = dict[str, Any]


class _Whole(msgspec.Struct, frozen=True):
    id: str = ""
    created: int = 0
    choices: list[_Json] = []


class _Spoken(msgspec.Struct, frozen=True):
    content: str | None = None


class _SpokenChoice(msgspec.Struct, frozen=True):
    delta: _Spoken | None = None
    message: _Spoken | None = None
    text: str | None = None


class _SpokenChunk(msgspec.Struct, frozen=True):
    choices: list[_SpokenChoice] = []


_named: Final = msgspec.json.Decoder(_Named)
_whole: Final = msgspec.json.Decoder(_Whole)
_spoken: Final = msgspec.json.Decoder(_SpokenChunk)
_encode: Final = msgspec.json.Encoder().encode


def new_answer_id(route: Route, word: str) -> str:
    """The id of an answer of this route, made of a word that is new."""
    return _PREFIXES.get(route, "") + word


def as_kept(payloads: Sequence[bytes], *, had_usage: bool) -> tuple[bytes, ...]:
    """The chunks of a stream as `StreamScan` gave them, less what it added for its client."""
    if not had_usage:
        return tuple(payloads)
    return tuple(
        one.removesuffix(_NO_USAGE) + b"}" if one.endswith(_NO_USAGE) else one for one in payloads
    )


def said(payloads: Sequence[bytes], body: bytes = b"") -> str:
    """The text of a kept answer's only choice. Raises `msgspec.MsgspecError` where it is none."""
    parts = []
    for chunk in (body,) if body else payloads:
        for choice in _spoken.decode(chunk).choices:
            told = choice.delta or choice.message
            parts.append((told.content if told is not None else choice.text) or "")
    return "".join(parts)


def chunks_again(
    ask: Ask, payloads: Sequence[bytes], body: bytes, usage: Usage, new_id: str
) -> list[bytes]:
    """The payloads of a stream that gives a kept answer to this client, without the ``[DONE]``.

    Raises `msgspec.MsgspecError` where what was kept is not an answer.
    """
    named = _named.decode(body or payloads[0])
    if body:
        payloads = _as_stream(ask, body)
    if not ask.include_usage:
        return [_renamed(one, named.id, new_id) for one in payloads]
    last = {
        "id": new_id,
        "object": _OBJECTS.get(ask.route, ""),
        "created": named.created,
        "model": ask.model,
        "choices": [],
        "usage": render_usage(usage),
    }
    told = [_renamed(one, named.id, new_id).rstrip()[:-1] + _NO_USAGE for one in payloads]
    return [*told, _encode(last)]


def answer_again(
    ask: Ask, payloads: Sequence[bytes], body: bytes, usage: Usage, new_id: str
) -> bytes:
    """A kept answer as one JSON. Raises `msgspec.MsgspecError` or ValueError where it is none."""
    if not body:
        body = assemble(ask, list(payloads), usage)
    whole = _whole.decode(body)
    if not whole.choices:
        raise ValueError("a kept answer has a choice")
    return _renamed(body, whole.id, new_id)


def _renamed(data: bytes, old: str, new: str) -> bytes:
    """The bytes under a new id. Inside a string the quotes would be escaped: it is the field."""
    if not old:
        return data
    was, now = _encode(old), _encode(new)
    return data.replace(b'"id":' + was, b'"id":' + now).replace(b'"id": ' + was, b'"id": ' + now)


def _as_stream(ask: Ask, body: bytes) -> list[bytes]:
    """The chunks of an answer that was given whole."""
    whole = _whole.decode(body)
    told: list[bytes] = []
    for choice in whole.choices:
        index = choice.get("index", 0)
        pieces = _deltas(choice) if ask.route is Route.CHAT else _texts(choice)
        for piece in pieces:
            chunk = {
                "id": whole.id,
                "object": _OBJECTS.get(ask.route, ""),
                "created": whole.created,
                "model": ask.model,
                "choices": [{"index": index, **piece}],
            }
            told.append(_encode(chunk))
    return told


def _deltas(choice: _Json) -> list[_Json]:
    message = choice.get("message") or {}
    deltas: list[_Json] = [{"role": message.get("role") or "assistant", "content": ""}]
    for key, value in message.items():
        if key == "tool_calls":
            deltas += [{"tool_calls": [{"index": at, **one}]} for at, one in enumerate(value or ())]
        elif key != "role" and value not in (None, ""):
            deltas.append({key: value})
    pieces: list[_Json] = [{"delta": one, "finish_reason": None} for one in deltas]
    if choice.get("logprobs") is not None:
        pieces[-1]["logprobs"] = choice["logprobs"]
    return [*pieces, {"delta": {}, "finish_reason": choice.get("finish_reason")}]


def _texts(choice: _Json) -> list[_Json]:
    logprobs = choice.get("logprobs")
    text = {"text": choice.get("text") or "", "logprobs": logprobs, "finish_reason": None}
    return [text, {"text": "", "logprobs": None, "finish_reason": choice.get("finish_reason")}]
