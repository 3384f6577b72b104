"""Anthropic's answers in OpenAI's form: events as they come, or one message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from selvedge.fabric import Ask, Refused
from selvedge.wire.dialects.anthropic_shapes import (
    FINISH,
    STATUS_OF,
    Block,
    Counts,
    Error,
    MessageEvent,
    events,
    later,
    read_error,
    read_message,
)
from selvedge.wire.dialects.chunks import (
    ChunkWriter,
    Json,
    call_fields,
    json_text,
    message_of,
    whole_answer,
)
from selvedge.wire.dialects.faults import by_status, empty, in_answer, not_json
from selvedge.wire.sse import EventTooLarge, SseReader


class AnthropicTranslator:
    """One answer. Text and thinking go on at once, a call's arguments as they are written."""

    __slots__ = (
        "_ask",
        "_begun",
        "_block",
        "_call",
        "_ended",
        "_filled",
        "_finished",
        "_now_us",
        "_reader",
        "_thought",
        "_usage",
        "_writer",
        "fault",
    )

    def __init__(self, ask: Ask, now_us: int) -> None:
        self._ask = ask
        self._now_us = now_us
        self._reader = SseReader()
        self._writer = ChunkWriter(ask, now_us)
        self._usage = Counts()
        self._block = Block()
        self._call = -1
        self._filled = False
        self._thought: list[str] = []
        self._begun = False
        self._finished = False
        self._ended = False
        self.fault: Refused | None = None

    def feed(self, data: bytes) -> bytes:
        """Bytes of the stream; what they complete, as chunks."""
        try:
            found = self._reader.feed(data)
        except EventTooLarge:
            self.fault = in_answer(not_json(), begun=self._begun)
            return b""
        return b"".join([self._one(event.data) for event in found])

    def close(self) -> bytes:
        """The stream is over."""
        rest = b"".join([self._one(event.data) for event in self._reader.close()])
        return rest + self._end() if self._finished else rest

    def whole(self, body: bytes) -> bytes | Refused:
        """One message as one ``chat.completion``."""
        message = read_message(body)
        if message is None:
            return not_json()
        if message.type != "message":
            error = read_error(body)
            return not_json() if error is None else _refusal(error)
        if message.content is None or (not message.content and message.stop_reason is None):
            return empty()
        text = "".join(one.text for one in message.content if one.type == "text")
        thought = "".join(one.thinking for one in message.content)
        calls = [one for one in message.content if one.type == "tool_use"]
        written = [
            call_fields(at, one.id, one.name, json_text(one.input)) for at, one in enumerate(calls)
        ]
        signed = [kept for kept in map(_signed, message.content) if kept]
        said = message_of(text, written, {"reasoning_content": thought, "thinking_blocks": signed})
        choice = {
            "index": 0,
            "message": said,
            "finish_reason": FINISH.get(message.stop_reason or "", "stop"),
            "logprobs": None,
        }
        usage = (message.usage or Counts()).normal()
        return whole_answer(self._ask, self._now_us, message.id, [choice], usage)

    def _one(self, data: bytes) -> bytes:
        if self._ended or self.fault is not None:
            return b""
        try:
            event = events.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self.fault = in_answer(not_json(), begun=self._begun)
            return b""
        read = _READ.get(event.type)
        return read(self, event) if read is not None else b""

    def _start(self, event: MessageEvent) -> bytes:
        message = event.message
        if message is None:
            return b""
        if message.id:
            self._writer.name(message.id)
        if message.usage is not None:
            self._usage = later(self._usage, message.usage)
        return self._writer.begin(self._usage.normal())

    def _block_start(self, event: MessageEvent) -> bytes:
        block = self._block = event.content_block or Block()
        self._filled = False
        self._thought = [block.thinking] if block.thinking else []
        if block.type == "tool_use":
            self._call += 1
            self._begun = True
            call = call_fields(self._call, block.id, block.name, "")
            return self._writer.delta({"tool_calls": [call]})
        if block.text:
            self._begun = True
            return self._writer.text(block.text)
        return b""

    def _block_delta(self, event: MessageEvent) -> bytes:
        delta = event.delta
        if delta is None:
            return b""
        if delta.text:
            self._begun = True
            return self._writer.text(delta.text)
        if delta.partial_json:
            return self._arguments(delta.partial_json)
        if delta.thinking:
            self._begun = True
            self._thought.append(delta.thinking)
            return self._writer.delta({"reasoning_content": delta.thinking})
        if delta.signature:
            self._block = msgspec.structs.replace(
                self._block, signature=self._block.signature + delta.signature
            )
        return b""

    def _arguments(self, text: str) -> bytes:
        if self._block.type != "tool_use":
            return b""  # of a tool that Anthropic itself runs
        self._filled = True
        piece = {"index": self._call, "function": {"arguments": text}}
        return self._writer.delta({"tool_calls": [piece]})

    def _block_stop(self, _: MessageEvent) -> bytes:
        block, self._block = self._block, Block()
        if block.type == "tool_use" and not self._filled:
            # A call without arguments: clients parse them, and no text is no JSON.
            self._block = block
            written = self._arguments(json_text(block.input))
            self._block = Block()
            return written
        kept = _signed(msgspec.structs.replace(block, thinking="".join(self._thought)))
        self._thought = []
        return self._writer.delta({"thinking_blocks": [kept]}) if kept else b""

    def _message_delta(self, event: MessageEvent) -> bytes:
        if event.usage is not None:
            self._usage = later(self._usage, event.usage)
        reason = event.delta.stop_reason if event.delta is not None else None
        if reason is None or self._finished:
            return b""
        self._begun = self._finished = True
        return self._writer.delta({}, finish=FINISH.get(reason, "stop"))

    def _stop(self, _: MessageEvent) -> bytes:
        return self._end() if self._finished else b""

    def _end(self) -> bytes:
        if self._ended:
            return b""
        self._ended = True
        told = self._usage != Counts()
        return self._writer.end(self._usage.normal() if told else None)

    def _error(self, event: MessageEvent) -> bytes:
        self.fault = in_answer(_refusal(event.error or Error()), begun=self._begun)
        return b""


def _refusal(error: Error) -> Refused:
    return by_status(STATUS_OF.get(error.type or "", 500), error.message)


def _signed(block: Block) -> Json | None:
    """Thinking that may be given back, which a conversation with tools has to."""
    if block.type == "redacted_thinking" and block.data:
        return {"type": "redacted_thinking", "data": block.data}
    if block.type == "thinking" and block.signature:
        return {"type": "thinking", "thinking": block.thinking, "signature": block.signature}
    return None


_READ: Final[dict[str, Callable[[AnthropicTranslator, MessageEvent], bytes]]] = {
    "message_start": AnthropicTranslator._start,
    "content_block_start": AnthropicTranslator._block_start,
    "content_block_delta": AnthropicTranslator._block_delta,
    "content_block_stop": AnthropicTranslator._block_stop,
    "message_delta": AnthropicTranslator._message_delta,
    "message_stop": AnthropicTranslator._stop,
    "error": AnthropicTranslator._error,
}
