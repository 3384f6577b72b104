"""Whole answers: what an engine's JSON says of usage, an answer assembled from a stream, errors.

`assemble` makes one ``chat.completion`` or ``text_completion`` of a stream's chunks, for engines
that notice a vanished client only while they stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeGuard

import msgspec

from selvedge.fabric import Ask, Attested, Refused, Route, Usage
from selvedge.fabric.value import Value
from selvedge.wire.engine_shapes import Answer, Counted, Ranking, SpokenAnswer
from selvedge.wire.usage import REPORTED_MAX, EngineUsage, render_usage


class AnswerFacts(Value, frozen=True):
    """What a whole JSON answer says besides its text."""

    usage: Usage | None
    finish_reason: str | None
    text_bytes: int = 0
    """How long the answer is, where its engine counted nothing; else 0."""


_answer_decoder: Final = msgspec.json.Decoder(Answer)
_ranking_decoder: Final = msgspec.json.Decoder(Ranking)
_count_decoder: Final = msgspec.json.Decoder(Counted)
_spoken_decoder: Final = msgspec.json.Decoder(SpokenAnswer)
_encoder: Final = msgspec.json.Encoder()


def read_answer(ask: Ask, body: bytes) -> tuple[AnswerFacts, bytes] | None:
    """Facts and client's bytes of an engine's JSON answer; None where it is not an answer."""
    if ask.route is Route.RERANK:
        return _read_ranking(ask, body)
    if ask.route is Route.COUNT:
        return _read_count(body)
    try:
        answer = _answer_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if ask.route is Route.EMBEDDINGS:
        if not bytes(answer.data).startswith(b"["):
            return None
    elif answer.choices is None:
        return None
    reasons = [one.finish_reason for one in answer.choices or () if one.finish_reason]
    body = _renamed(body, answer.model, ask)
    usage = answer.usage.normal() if answer.usage is not None else None
    spoken = 0 if usage is not None else _spoken(body)
    return AnswerFacts(usage, reasons[-1] if reasons else None, spoken), body


def _renamed(body: bytes, name: str | None, ask: Ask) -> bytes:
    """The answer by the name under which its model was asked for."""
    if name is None or name == ask.model:
        return body
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    fields["model"] = msgspec.Raw(_encoder.encode(ask.model))
    return _encoder.encode(fields)


def _read_ranking(ask: Ask, body: bytes) -> tuple[AnswerFacts, bytes] | None:
    try:
        ranking = _ranking_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if ranking.results is None:
        return None
    read = ranking.counted()
    usage = EngineUsage(prompt_tokens=read).normal() if read is not None else None
    return AnswerFacts(usage, None), _renamed(body, ranking.model, ask)


def _read_count(body: bytes) -> tuple[AnswerFacts, bytes] | None:
    """A count of tokens used none, whoever counted."""
    try:
        counted = _count_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    tokens = counted.count if counted.input_tokens is None else counted.input_tokens
    if tokens is None or not 0 <= tokens <= REPORTED_MAX:
        return None
    return AnswerFacts(Usage(), None), render_count(tokens, estimated=counted.estimated)


def render_count(tokens: int, *, estimated: bool) -> bytes:
    """How many tokens a prompt has, as OpenAI tells it; and whether nobody counted them."""
    told: _Json = {"object": "response.input_tokens", "input_tokens": tokens}
    return _encoder.encode(told | {"estimated": True} if estimated else told)


def _spoken(body: bytes) -> int:
    try:
        return _spoken_decoder.decode(body).bytes()
    except msgspec.ValidationError:
        return 0


_OBJECTS: Final[Mapping[Route, str]] = {
    Route.CHAT: "chat.completion",
    Route.COMPLETIONS: "text_completion",
}
TOOL_CALLS_MAX: Final = 128
# Decoded JSON of engines: its shape is theirs, so its values are Any within this module.
_Json = dict[str, Any]


def assemble(ask: Ask, payloads: list[bytes], usage: Usage) -> bytes:
    """One JSON answer from a stream's chunks (as `StreamScan` gives them) and its usage."""
    chunks: list[_Json] = [msgspec.json.decode(payload) for payload in payloads]
    choices: dict[int, _Json] = {}
    whole: _Json = {}
    for chunk in chunks:
        for piece in chunk.pop("choices", ()):
            index = piece.get("index", 0)
            _fold(choices.setdefault(index, _new_choice(ask.route, index)), piece)
        whole.update((key, value) for key, value in chunk.items() if value is not None)
    whole.update(
        object=_OBJECTS[ask.route],
        model=ask.model,
        choices=[choices[index] for index in sorted(choices)],
        usage=render_usage(usage),
    )
    return _encoder.encode(whole)


def _new_choice(route: Route, index: int) -> _Json:
    choice: _Json = {"index": index, "finish_reason": None, "logprobs": None}
    if route is Route.CHAT:
        choice["message"] = {"role": "assistant", "content": None, "refusal": None}
    else:
        choice["text"] = ""
    return choice


def _fold(choice: _Json, piece: _Json) -> None:
    if piece.get("finish_reason"):
        choice["finish_reason"] = piece["finish_reason"]
    if _is_object(piece.get("logprobs")):
        _fold_lists(choice, piece["logprobs"])
    if "message" in choice:
        _fold_delta(choice["message"], piece.get("delta") or {})
    else:
        choice["text"] += piece.get("text") or ""


def _fold_lists(choice: _Json, logprobs: _Json) -> None:
    held = choice["logprobs"] = choice["logprobs"] or {}
    for key, value in logprobs.items():
        if isinstance(value, list) and isinstance(held.get(key), list):
            held[key] += value
        elif value is not None or key not in held:
            held[key] = value


def _fold_delta(message: _Json, delta: _Json) -> None:
    for key, value in delta.items():
        if key == "tool_calls":
            for call in filter(_is_object, value if isinstance(value, list) else ()):
                _fold_call(message.setdefault("tool_calls", []), call)
        elif key == "role":
            message["role"] = value or message["role"]
        elif isinstance(value, str):
            held = message.get(key)
            message[key] = held + value if isinstance(held, str) else value
        elif value is not None:
            message[key] = value


def _fold_call(calls: list[_Json], piece: _Json) -> None:
    index = piece.get("index")
    index = index if isinstance(index, int) and index >= 0 else len(calls)
    index = min(index, TOOL_CALLS_MAX - 1)
    while len(calls) <= index:
        calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
    call = calls[index]
    call["id"] = piece.get("id") or call["id"]
    call["type"] = piece.get("type") or call["type"]
    function = piece.get("function")
    for key, value in function.items() if _is_object(function) else ():
        if isinstance(value, str):
            call["function"][key] = call["function"].get(key, "") + value


def _is_object(value: object) -> TypeGuard[_Json]:
    return isinstance(value, dict)


def render_error(refused: Refused) -> bytes:
    """A refusal in OpenAI's shape, all four keys present, ``code`` a string."""
    return _encoder.encode(
        {
            "error": {
                "message": refused.message,
                "type": refused.kind.type,
                "param": refused.param,
                "code": refused.code,
            }
        }
    )


def write_attested(attested: Attested) -> bytes:
    """An attestation for the wire between PoPs."""
    return _encoder.encode(attested)


def read_attested(data: bytes) -> Attested | None:
    """An attestation from a peer, or None where the bytes are not one."""
    try:
        found = msgspec.json.decode(data, type=Attested)
        return Attested(found.attestation.copy(), found.mac)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
