"""Whether two answers say the same: asked off the request path, of a judge that a rule names.

`exact` compares words, less what is white space. `embedding` takes answers for the same whose
vectors are alike and whose figures are equal. `engine:MODEL` asks a model, through a callable that
the process is given; where it has none or it fails, `embedding` judges and that is counted.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from selvedge.adapters.answer_store_records import KeptAnswer
from selvedge.adapters.embedder import EmbedQueue

ALIKE: Final = 0.9
"""The least cosine of two answers that are taken for the same."""
_FIGURE: Final = re.compile(r"\d+(?:[.,:]\d+)*")

EngineJudge = Callable[[str, str, str, str], Awaitable[bool | None]]
"""Model, question, one answer, another: whether both answer it alike; None: it cannot say."""


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    function: _Function | None = None


class _Words(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    delta: _Words | None = None
    message: _Words | None = None
    text: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []


_chunks: Final = msgspec.json.Decoder(_Chunk)


def answer_text(kept: KeptAnswer) -> str:
    """What a kept answer says: its words, then its tool calls. "" where it cannot be read."""
    words: list[str] = []
    calls: list[str] = []
    try:
        for payload in kept.payloads or (kept.body,):
            for choice in _chunks.decode(payload).choices:
                said = choice.delta or choice.message
                if choice.text:
                    words.append(choice.text)
                if said is not None:
                    words.append(said.content or "")
                    for call in said.tool_calls or ():
                        tool = call.function
                        if tool is not None:
                            calls.append(f"{tool.name or ''}{tool.arguments or ''}")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    return "".join(words) + ("\n" + "".join(calls) if calls else "")


class Judges:
    """The judges of one process; ``later`` embeds without holding up the look-ups."""

    def __init__(self, later: EmbedQueue | None, engine: EngineJudge | None = None) -> None:
        self.asked = 0
        self.unsaid = 0
        """Pairs of which no judge could say anything."""
        self.engine_failures = 0
        """Times an engine was to judge and `embedding` did."""
        self._later = later
        self._engine = engine

    async def same(
        self, judge: str, question: str, kept: KeptAnswer, new: KeptAnswer
    ) -> bool | None:
        """Whether the kept answer serves the question as the new one does; None: nobody knows."""
        self.asked += 1
        one, other = answer_text(kept), answer_text(new)
        said = await self._same(judge, question, one, other) if one and other else None
        self.unsaid += said is None
        return said

    async def _same(self, judge: str, question: str, one: str, other: str) -> bool | None:
        if "".join(one.split()) == "".join(other.split()):
            return True
        if judge == "exact":
            return False
        if judge.startswith("engine:"):
            said = await self._by_engine(judge.removeprefix("engine:"), question, one, other)
            if said is not None:
                return said
            self.engine_failures += 1
        if sorted(_FIGURE.findall(one)) != sorted(_FIGURE.findall(other)):
            return False
        if self._later is None:
            return None
        first, second = await self._later.vector(one), await self._later.vector(other)
        if first is None or second is None:
            return None
        return float(first @ second) >= ALIKE

    async def _by_engine(self, model: str, question: str, one: str, other: str) -> bool | None:
        if self._engine is None:
            return None
        try:
            return await self._engine(model, question, one, other)
        except Exception:  # noqa: BLE001 (whatever another's engine does is counted by the caller)
            return None
