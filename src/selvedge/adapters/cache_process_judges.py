"""Whether two answers say the same: asked off the request path, of a judge that a rule names.

`exact` compares words, less what is white space. `embedding` takes answers for the same whose
vectors are alike and whose figures are equal. `engine:MODEL` asks a model, where texts differ and
their figures do not; where it cannot be asked nobody judges, and that is counted: whoever keeps the
model from answering does not get an easier judge.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from selvedge.adapters.answer_store_records import KeptAnswer
from selvedge.adapters.cache_process_engine import Asks, EngineJudges, JudgeCase
from selvedge.adapters.embedder import EmbedQueue
from selvedge.cache import judging
from selvedge.fabric import CacheRule
from selvedge.fabric.value import Value

ALIKE: Final = 0.9
"""The least cosine of two answers that are taken for the same."""
_FIGURE: Final = re.compile(r"\d+(?:[.,:]\d+)*")
_ITEM: Final = re.compile(r"^[ \t]*\d{1,3}[.)][ \t]", re.MULTILINE)


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


class Compared(Value, frozen=True):
    """Two answers, and what they answered; the last four are for a judge that is a model."""

    question: str
    kept: KeptAnswer
    new: KeptAnswer
    before: str = ""
    """The question to which the kept one was given."""
    entry: str = ""
    tag: bytes = b""
    through: Asks | None = None


class Judges:
    """The judges of one process; ``later`` embeds without holding up the look-ups."""

    def __init__(self, later: EmbedQueue | None, engines: EngineJudges) -> None:
        self.asked = 0
        self.unsaid = 0
        """Pairs of which no judge could say anything."""
        self.engines = engines
        self._later = later

    async def same(self, rule: CacheRule, pair: Compared) -> bool | None:
        """Whether the kept answer serves the question as the new one does; None: nobody knows."""
        self.asked += 1
        one, other = answer_text(pair.kept), answer_text(pair.new)
        said = await self._same(rule, pair, one, other) if one and other else None
        self.unsaid += said is None
        return said

    async def _same(self, rule: CacheRule, pair: Compared, one: str, other: str) -> bool | None:
        if "".join(one.split()) == "".join(other.split()):
            return True
        if rule.judge == "exact":
            return False
        model = rule.judge_model
        if model is not None:
            return await self._by_engine(model, rule, pair, (one, other))
        if sorted(_FIGURE.findall(one)) != sorted(_FIGURE.findall(other)):
            return False
        if self._later is None:
            return None
        first, second = await self._later.vector(one), await self._later.vector(other)
        if first is None or second is None:
            return None
        return float(first @ second) >= ALIKE

    async def _by_engine(
        self, model: str, rule: CacheRule, pair: Compared, texts: tuple[str, str]
    ) -> bool | None:
        if _figures(texts[0]) != _figures(texts[1]):
            return False  # no model's word makes two amounts one
        case = JudgeCase(
            model,
            rule.judge_tokens_per_day,
            pair.tag,
            pair.entry,
            pair.new.id,
            judging.Exchange(pair.before, texts[0]),
            judging.Exchange(pair.question, texts[1]),
            pair.through,
        )
        return await self.engines.says_same(case)


def _figures(text: str) -> set[str]:
    """Every figure once, but for the numbers of a list's items."""
    return set(_FIGURE.findall(_ITEM.sub("", text)))
