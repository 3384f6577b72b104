"""What engines send, as far as it is looked at: chunks of streams and whole answers.

Structs are in a module of their own, because what decodes them is compiled and they are not.
"""

from __future__ import annotations

import msgspec

from selvedge.wire.usage import EngineUsage


class Delta(msgspec.Struct):
    """What a chunk adds to an answer."""

    role: str | None = None
    content: str | None = None
    tool_calls: msgspec.Raw = msgspec.Raw()
    function_call: msgspec.Raw = msgspec.Raw()
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None

    def carries(self) -> bool:
        """Whether there is anything of the answer in it, beyond the role."""
        return bool(
            self.content
            or self.refusal
            or self.reasoning_content
            or self.reasoning
            or is_present(self.tool_calls)
            or is_present(self.function_call)
        )


class Choice(msgspec.Struct):
    """One choice of a chunk."""

    index: int = 0
    delta: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None

    def calls(self) -> bool:
        """Whether it has a part of a tool call."""
        return self.delta is not None and is_present(self.delta.tool_calls)

    def carries(self) -> bool:
        """Whether there is anything of the answer in it, beyond the role."""
        return bool(self.text) or (self.delta is not None and self.delta.carries())


class Progress(msgspec.Struct):
    """How much of a prompt is read (llama.cpp), in tokens."""

    total: int = 0
    cache: int = 0
    processed: int = 0


class Timings(msgspec.Struct):
    """How long a prompt took to read (llama.cpp): the tokens that no cache held."""

    prompt_n: int = 0
    prompt_ms: int | float = 0


class Chunk(msgspec.Struct):
    """One event of a stream."""

    id: str | None = None
    object: str | None = None
    created: int | float | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    usage: EngineUsage | None = None
    error: msgspec.Raw = msgspec.Raw()
    prompt_progress: Progress | None = None
    timings: msgspec.Raw = msgspec.Raw()
    """llama.cpp's `Timings`, at the end; other engines may mean something else by it."""


def is_present(raw: msgspec.Raw) -> bool:
    """Whether a field is there, and holds something."""
    return bytes(raw) not in (b"", b"null", b"[]", b"{}")


class FinishedChoice(msgspec.Struct):
    """One choice of a whole answer."""

    finish_reason: str | None = None


class Answer(msgspec.Struct):
    """A whole answer."""

    model: str | None = None
    usage: EngineUsage | None = None
    choices: list[FinishedChoice] | None = None
    data: msgspec.Raw = msgspec.Raw()
