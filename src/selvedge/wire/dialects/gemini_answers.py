"""Google's answers in OpenAI's form: pieces as they come, or one whole."""

from __future__ import annotations

from typing import Final

import msgspec

from selvedge.fabric import Ask, Refused
from selvedge.wire.dialects.chunks import (
    ChunkWriter,
    Json,
    call_fields,
    json_text,
    message_of,
    whole_answer,
)
from selvedge.wire.dialects.faults import empty, in_answer, not_json
from selvedge.wire.dialects.gemini_shapes import (
    BROKEN,
    FINISH,
    Answer,
    Candidate,
    Counts,
    Part,
    answers,
    read_error,
    refusal_of,
    refusal_of_prompt,
)
from selvedge.wire.sse import EventTooLarge, SseReader

CANDIDATES_MAX: Final = 16


class GeminiTranslator:
    """One answer of one or more candidates. Every piece tells the usage so far."""

    __slots__ = (
        "_ask",
        "_begun",
        "_called",
        "_finished",
        "_id",
        "_now_us",
        "_reader",
        "_usage",
        "_writer",
        "fault",
    )

    def __init__(self, ask: Ask, now_us: int) -> None:
        self._ask = ask
        self._now_us = now_us
        self._reader = SseReader()
        self._writer = ChunkWriter(ask, now_us)
        self._id = ""
        self._usage: Counts | None = None
        self._called: dict[int, int] = {}
        self._finished: set[int] = set()
        self._begun = False
        self.fault: Refused | None = None

    def feed(self, data: bytes) -> bytes:
        """Bytes of the stream; what they complete, as chunks."""
        try:
            found = self._reader.feed(data)
        except EventTooLarge:
            self._fail(not_json())
            return b""
        return b"".join([self._one(event.data) for event in found])

    def close(self) -> bytes:
        """The stream is over: Google says no more than that it has finished."""
        rest = b"".join([self._one(event.data) for event in self._reader.close()])
        if self.fault is not None or len(self._finished) < self._ask.choices:
            return rest
        usage = self._usage.normal() if self._usage is not None else None
        return rest + self._writer.end(usage)

    def whole(self, body: bytes) -> bytes | Refused:
        """One answer as one ``chat.completion``."""
        try:
            answer = answers.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            error = read_error(body)
            return not_json() if error is None else refusal_of(error)
        refused = _why_none(answer)
        if refused is not None:
            return refused
        self._id = answer.response_id
        found = [one for one in answer.candidates or () if _is_good(one)]
        if not found:
            return empty()
        choices = [self._choice(one) for one in found]
        usage = (answer.usage_metadata or Counts()).normal()
        return whole_answer(self._ask, self._now_us, self._id, choices, usage)

    def _choice(self, candidate: Candidate) -> Json:
        parts = _parts(candidate)
        text = "".join(one.text for one in parts if not one.thought)
        thought = "".join(one.text for one in parts if one.thought)
        calls = [self._call(candidate.index, one) for one in parts if one.function_call]
        return {
            "index": candidate.index,
            "message": message_of(text, calls, {"reasoning_content": thought}),
            "finish_reason": _finish(candidate.finish_reason, called=bool(calls)),
            "logprobs": None,
        }

    def _one(self, data: bytes) -> bytes:
        if self.fault is not None:
            return b""
        try:
            answer = answers.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            error = read_error(data)
            self._fail(not_json() if error is None else refusal_of(error))
            return b""
        refused = _why_none(answer)
        if refused is not None:
            self._fail(refused)
            return b""
        if answer.response_id and not self._id:
            self._id = answer.response_id
            self._writer.name(self._id)
        counts = answer.usage_metadata
        if counts is not None:
            self._usage = counts
        return b"".join(map(self._piece, answer.candidates or ()))

    def _piece(self, candidate: Candidate) -> bytes:
        index = candidate.index
        if not 0 <= index < CANDIDATES_MAX or index in self._finished:
            return b""
        out = [self._part(index, one) for one in _parts(candidate)]
        if any(out):
            self._begun = True
        if candidate.finish_reason in BROKEN:
            self._fail(empty())
        elif candidate.finish_reason:
            self._begun = True
            self._finished.add(index)
            finish = _finish(candidate.finish_reason, called=index in self._called)
            out.append(self._writer.delta({}, index, finish))
        return b"".join(out)

    def _part(self, index: int, part: Part) -> bytes:
        if part.function_call is not None:
            return self._writer.delta({"tool_calls": [self._call(index, part)]}, index)
        if not part.text:
            return b""
        if part.thought:
            return self._writer.delta({"reasoning_content": part.text}, index)
        usage = self._usage.normal() if self._usage is not None else None
        if index == 0:
            return self._writer.text(part.text, usage)
        return self._writer.delta({"content": part.text}, index)

    def _call(self, index: int, part: Part) -> Json:
        """A call, whole, with the signature that has to come back with it."""
        call = part.function_call
        assert call is not None
        at = self._called.get(index, -1) + 1
        self._called[index] = at
        call_id = call.id or f"call_{self._id or self._now_us}_{index}_{at}"
        fields = call_fields(at, call_id[:256], call.name, json_text(call.args))
        if part.thought_signature:
            fields["extra_content"] = {"google": {"thought_signature": part.thought_signature}}
        return fields

    def _fail(self, refused: Refused) -> None:
        self.fault = in_answer(refused, begun=self._begun)


def _parts(candidate: Candidate) -> list[Part]:
    return candidate.content.parts or [] if candidate.content is not None else []


def _finish(reason: str | None, *, called: bool) -> str:
    found = FINISH.get(reason or "", "stop")
    return "tool_calls" if found == "stop" and called else found


def _is_good(candidate: Candidate) -> bool:
    return candidate.finish_reason not in BROKEN and (
        bool(_parts(candidate)) or candidate.finish_reason is not None
    )


def _why_none(answer: Answer) -> Refused | None:
    """Why there is no answer in it, where it says so."""
    if answer.error is not None:
        return refusal_of(answer.error)
    feedback = answer.prompt_feedback
    if feedback is not None and feedback.block_reason and not answer.candidates:
        return refusal_of_prompt(feedback.block_reason)
    return None
