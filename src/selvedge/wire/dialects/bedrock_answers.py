"""Bedrock's answers in OpenAI's form: an event stream as it comes, or one answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from selvedge.fabric import Ask, Refused
from selvedge.wire.dialects.bedrock_shapes import (
    BROKEN,
    FINISH,
    ConverseEvent,
    Counts,
    Reasoning,
    answers,
    events,
    read_error,
    refusal_of,
    texts,
)
from selvedge.wire.dialects.chunks import (
    ChunkWriter,
    Json,
    call_fields,
    json_text,
    message_of,
    whole_answer,
)
from selvedge.wire.dialects.event_stream import BrokenStream, EventStreamReader, Message
from selvedge.wire.dialects.faults import empty, in_answer, not_json

THOUGHTS_MAX: Final = 64


class BedrockTranslator:
    """One answer. Usage comes after the end, in an event of its own."""

    __slots__ = (
        "_ask",
        "_begun",
        "_calls",
        "_ended",
        "_filled",
        "_finished",
        "_now_us",
        "_reader",
        "_signatures",
        "_thoughts",
        "_usage",
        "_writer",
        "fault",
    )

    def __init__(self, ask: Ask, now_us: int) -> None:
        self._ask = ask
        self._now_us = now_us
        self._reader = EventStreamReader()
        self._writer = ChunkWriter(ask, now_us)
        self._calls: dict[int, int] = {}
        self._filled: set[int] = set()
        self._thoughts: dict[int, list[str]] = {}
        self._signatures: dict[int, str] = {}
        self._usage: Counts | None = None
        self._begun = False
        self._finished = False
        self._ended = False
        self.fault: Refused | None = None

    def feed(self, data: bytes) -> bytes:
        """Bytes of the stream; what they complete, as chunks."""
        if self.fault is not None:
            return b""
        try:
            found = self._reader.feed(data)
        except BrokenStream:
            self._fail(not_json())
            return b""
        return b"".join(map(self._one, found))

    def close(self) -> bytes:
        """The stream is over."""
        return self._end() if self._finished else b""

    def whole(self, body: bytes) -> bytes | Refused:
        """One answer as one ``chat.completion``."""
        try:
            answer = answers.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return not_json()
        message = answer.output.message if answer.output is not None else None
        if message is None or message.content is None:
            error = read_error(body)
            return refusal_of(error.kind, error.words) if error.kind else empty()
        if answer.stop_reason in BROKEN or not (message.content or answer.stop_reason):
            return empty()
        calls = [one.tool_use for one in message.content if one.tool_use is not None]
        written = [
            call_fields(at, one.tool_use_id, one.name, json_text(one.input))
            for at, one in enumerate(calls)
        ]
        thoughts = [one.reasoning_content for one in message.content if one.reasoning_content]
        thought = "".join(one.reasoning_text.text for one in thoughts if one.reasoning_text)
        signed = [kept for kept in map(_signed_whole, thoughts) if kept]
        text = "".join(one.text for one in message.content)
        extras = {"reasoning_content": thought, "thinking_blocks": signed}
        choice = {
            "index": 0,
            "message": message_of(text, written, extras),
            "finish_reason": FINISH.get(answer.stop_reason or "", "stop"),
            "logprobs": None,
        }
        usage = (answer.usage or Counts()).normal()
        return whole_answer(self._ask, self._now_us, "", [choice], usage)

    def _one(self, message: Message) -> bytes:
        if self._ended or self.fault is not None:
            return b""
        kind = message.headers.get(":message-type", "")
        if kind != "event":
            name = message.headers.get(":exception-type" if kind == "exception" else ":error-code")
            self._fail(refusal_of(name or "", read_error(message.payload).words))
            return b""
        read = _READ.get(message.headers.get(":event-type", ""))
        if read is None:
            return b""
        try:
            return read(self, events.decode(message.payload))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._fail(not_json())
            return b""

    def _block_start(self, event: ConverseEvent) -> bytes:
        use = event.start.tool_use if event.start is not None else None
        if use is None:
            return b""
        self._begun = True
        at = self._calls[event.content_block_index] = len(self._calls)
        return self._writer.delta({"tool_calls": [call_fields(at, use.tool_use_id, use.name, "")]})

    def _block_delta(self, event: ConverseEvent) -> bytes:
        delta = event.delta
        if delta is None:
            return b""
        if delta.text:
            self._begun = True
            return self._writer.text(delta.text)
        if delta.tool_use is not None:
            piece = bytes(delta.tool_use.input)
            text = texts.decode(piece) if piece else ""
            return self._arguments(event.content_block_index, text) if text else b""
        if delta.reasoning_content is not None:
            return self._think(event.content_block_index, delta.reasoning_content)
        return b""

    def _arguments(self, index: int, text: str) -> bytes:
        at = self._calls.get(index)
        if at is None:
            return b""
        self._filled.add(index)
        return self._writer.delta({"tool_calls": [{"index": at, "function": {"arguments": text}}]})

    def _think(self, index: int, piece: Reasoning) -> bytes:
        if piece.signature and len(self._signatures) < THOUGHTS_MAX:
            self._signatures[index] = self._signatures.get(index, "") + piece.signature
        if piece.redacted_content:
            kept = {"type": "redacted_thinking", "data": piece.redacted_content}
            return self._writer.delta({"thinking_blocks": [kept]})
        if not piece.text:
            return b""
        self._begun = True
        self._thoughts.setdefault(index, []).append(piece.text)
        return self._writer.delta({"reasoning_content": piece.text})

    def _block_stop(self, event: ConverseEvent) -> bytes:
        index = event.content_block_index
        if index in self._calls and index not in self._filled:
            return self._arguments(index, "{}")
        thought = "".join(self._thoughts.pop(index, ()))
        signature = self._signatures.pop(index, "")
        if not signature:
            return b""
        kept = {"type": "thinking", "thinking": thought, "signature": signature}
        return self._writer.delta({"thinking_blocks": [kept]})

    def _stop(self, event: ConverseEvent) -> bytes:
        if self._finished:
            return b""
        if event.stop_reason in BROKEN:
            self._fail(empty())
            return b""
        self._begun = self._finished = True
        return self._writer.delta({}, finish=FINISH.get(event.stop_reason or "", "stop"))

    def _metadata(self, event: ConverseEvent) -> bytes:
        self._usage = event.usage
        return self._end() if self._finished else b""

    def _end(self) -> bytes:
        if self._ended:
            return b""
        self._ended = True
        return self._writer.end(self._usage.normal() if self._usage is not None else None)

    def _fail(self, refused: Refused) -> None:
        self.fault = in_answer(refused, begun=self._begun)


def _signed_whole(thought: Reasoning) -> Json | None:
    if thought.redacted_content:
        return {"type": "redacted_thinking", "data": thought.redacted_content}
    told = thought.reasoning_text
    if told is None or not told.signature:
        return None
    return {"type": "thinking", "thinking": told.text, "signature": told.signature}


_READ: Final[dict[str, Callable[[BedrockTranslator, ConverseEvent], bytes]]] = {
    "contentBlockStart": BedrockTranslator._block_start,
    "contentBlockDelta": BedrockTranslator._block_delta,
    "contentBlockStop": BedrockTranslator._block_stop,
    "messageStop": BedrockTranslator._stop,
    "metadata": BedrockTranslator._metadata,
}
