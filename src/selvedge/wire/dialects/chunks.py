"""OpenAI's chunks and answers, written from what a provider says.

Most of a chunk is the same in all of a stream, so it is rendered once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from selvedge.fabric import Ask, Usage
from selvedge.wire.sse import DONE
from selvedge.wire.usage import REPORTED_MAX

Json = dict[str, Any]
"""JSON that is to be written: its shape is the provider's or the client's, hence Any."""

_encode: Final = msgspec.json.Encoder().encode
_END: Final = b"}\n\n"


def clipped(count: object) -> int:
    """A count of tokens as a provider says it; what cannot be one is 0, what is absurd the most."""
    if type(count) is float and count == count and abs(count) < REPORTED_MAX:
        count = int(count)
    if type(count) is not int or count < 0:
        return 0
    return min(count, REPORTED_MAX)


def usage_fields(usage: Usage) -> Json:
    """Usage as an engine of ours would say it, so that it is read back to the same."""
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.generated,
        "total_tokens": usage.total,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


class ChunkWriter:
    """Writes the chunks of one stream."""

    __slots__ = ("_content", "_head", "_model", "_now_us")

    def __init__(self, ask: Ask, now_us: int) -> None:
        self._model = ask.model
        self._now_us = now_us
        self.name("chatcmpl")

    def name(self, answer_id: str) -> None:
        """The provider has named its answer."""
        fields = {
            "id": answer_id[:256],
            "object": "chat.completion.chunk",
            "created": self._now_us // 1_000_000,
            "model": self._model,
        }
        self._head = b"data: " + _encode(fields)[:-1]
        self._content = self._head + b',"choices":[{"index":0,"delta":{"content":'

    def text(self, text: str, usage: Usage | None = None) -> bytes:
        """A piece of the answer's text, with the usage so far where the provider tells it."""
        if usage is None:
            return self._content + _encode(text) + b'},"finish_reason":null}]}\n\n'
        told = b'},"finish_reason":null}],"usage":' + _encode(usage_fields(usage))
        return self._content + _encode(text) + told + _END

    def delta(self, delta: Json, index: int = 0, finish: str | None = None) -> bytes:
        """A piece of a choice, or its end."""
        choice = {"index": index, "delta": delta, "finish_reason": finish}
        return self._head + b',"choices":[' + _encode(choice) + b"]" + _END

    def begin(self, prompt: Usage) -> bytes:
        """The role, and how long the prompt is, which is told to nobody but the scanner."""
        choice = {"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}
        total = min(prompt.input, REPORTED_MAX)
        progress = {"total": total, "cache": prompt.cache_read, "processed": total}
        told = _encode({"choices": [choice], "prompt_progress": progress})
        return self._head + b"," + told[1:-1] + _END

    def end(self, usage: Usage | None) -> bytes:
        """The last words: usage where the provider told it, and that this is all."""
        if usage is None:
            return DONE
        told = _encode(usage_fields(usage))
        return self._head + b',"choices":[],"usage":' + told + _END + DONE


def whole_answer(ask: Ask, now_us: int, answer_id: str, choices: list[Json], usage: Usage) -> bytes:
    """One ``chat.completion``."""
    return _encode(
        {
            "id": answer_id[:256] or "chatcmpl",
            "object": "chat.completion",
            "created": now_us // 1_000_000,
            "model": ask.model,
            "choices": choices,
            "usage": usage_fields(usage),
        }
    )


def call_fields(index: int, call_id: str, name: str, arguments: str) -> Json:
    """A tool call as the first delta of it has it; whole where the arguments are."""
    function = {"name": name, "arguments": arguments}
    return {"index": index, "id": call_id, "type": "function", "function": function}


def json_text(raw: msgspec.Raw) -> str:
    """The arguments of a call as text; those of none are an empty object."""
    text = bytes(raw).decode("utf-8", "replace")
    return "{}" if text in ("", "null") else text


def message_of(text: str, calls: list[Json], extras: Mapping[str, object]) -> Json:
    """An assistant's message; without text it is null where there are calls."""
    message: Json = {
        "role": "assistant",
        "content": text if text or not calls else None,
        "refusal": None,
    }
    if calls:
        message["tool_calls"] = [{k: v for k, v in one.items() if k != "index"} for one in calls]
    return message | {name: value for name, value in extras.items() if value}
