"""A stream on its way through a PoP: read once, made regular, counted.

What comes out is exactly OpenAI's framing whatever the engine's habits: nothing before the first
token, one terminal chunk per choice, the usage chunk only for clients that asked, ``[DONE]`` when
the story says so. Chunks pass as the engine's bytes; they are rebuilt only where they break a rule.
This module refuses to know sockets and time.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from selvedge.fabric import Ask, Attested, Refused, Route, Usage
from selvedge.wire.answers import read_attested
from selvedge.wire.continuous import Told, read_timings, usage_so_far
from selvedge.wire.engine_errors import refusal_of_event
from selvedge.wire.engine_shapes import Choice, Chunk, Progress, is_present
from selvedge.wire.sse import DONE, Event, EventTooLarge, SseReader, frame
from selvedge.wire.usage import REPORTED_MAX, render_usage

ATTESTED_EVENT: Final = b"selvedge.attested"
HELD_BYTES_MAX: Final = 1024 * 1024
TIMING_MS_MAX: Final = 3_600_000
_EMPTY_REASON: Final = re.compile(rb'"finish_reason"\s*:\s*""')
_LAST_FIELD: Final = re.compile(rb',"[a-z]+":\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}\}')
"""The last field of an object, itself an object with no more than one level inside."""


_chunk_decoder: Final = msgspec.json.Decoder(Chunk)
_dict_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_pieces_decoder: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_encoder: Final = msgspec.json.Encoder()


class StreamScan:
    """Reads one engine's (or peer's) stream and gives what may be delivered of it.

    ``tokens`` counts chunks that carried a part of the answer, ``finish_reason`` is that of the
    last choice to finish, ``fault`` is set once the stream cannot be trusted any more.
    ``prompt_tokens`` is an estimate, for engines that do not count.
    """

    __slots__ = (
        "_ask",
        "_called",
        "_final",
        "_finished",
        "_from_peer",
        "_held",
        "_held_bytes",
        "_last",
        "_progress",
        "_prompt_tokens",
        "_reader",
        "_released",
        "_timings",
        "_to_peer",
        "_told",
        "_usages",
        "_with_role",
        "attested",
        "done",
        "fault",
        "finish_reason",
        "started",
        "tokens",
    )

    def __init__(
        self, ask: Ask, *, from_peer: bool = False, to_peer: bool = False, prompt_tokens: int = 0
    ) -> None:
        self._ask = ask
        self._prompt_tokens = prompt_tokens
        self._from_peer = from_peer
        self._to_peer = to_peer
        self._reader = SseReader()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._finished: set[int] = set()
        self._last = Chunk()
        self._usages: list[Usage] = []
        self._final: Usage | None = None
        self._told: dict[int, Told] = {}
        self._progress = Progress()
        self._timings = b""
        self._called = False
        self._released = False
        self._with_role: set[int] = set()
        self.started = False
        self.done = False
        self.tokens = 0
        self.finish_reason: str | None = None
        self.fault: Refused | None = None
        self.attested: Attested | None = None

    @property
    def whole(self) -> bool:
        """Whether the engine said that the answer is complete."""
        finished = len(self._finished)
        ended = self.done and (self.tokens > 0 or finished > 0)
        return self.fault is None and (ended or finished >= self._ask.choices)

    @property
    def ended_by_word(self) -> bool:
        """Whether the engine said why each choice ended; where not, `tail` says it was whole."""
        return len(self._finished) >= self._ask.choices

    @property
    def prompt_left(self) -> int | None:
        """Prompt tokens yet to be read, by the engine's word on its progress; None without one."""
        told = self._progress
        return max(0, told.total - max(told.cache, told.processed)) if told.total > 0 else None

    @property
    def usage(self) -> Usage | None:
        """What the engine says: of the whole answer, else of what has come; None where nothing."""
        final = self._final
        if final is not None and self._ask.choices == 1:
            return final
        # Of several choices the word on one may come while others are still answered.
        so_far = usage_so_far(self._told)
        if final is None or (so_far is not None and so_far.generated > final.generated):
            return so_far
        return final

    def prompt_timing(self) -> tuple[int, int]:
        """Prompt tokens that the engine read, and microseconds it took; zeros where untold."""
        told = read_timings(self._timings) if self._timings else None
        if told is None or not 0 < told.prompt_ms < TIMING_MS_MAX:
            return 0, 0
        return min(max(told.prompt_n, 0), REPORTED_MAX), int(told.prompt_ms * 1000)

    def feed(self, data: bytes) -> list[bytes]:
        """Payloads (chunks without framing) that may be delivered now; none before a token."""
        try:
            events = self._reader.feed(data)
        except EventTooLarge as error:
            self.fault = Refused("engine_interrupted", f"The engine's stream broke: {error}.")
            return []
        return self._take(events)

    def close(self) -> list[bytes]:
        """The engine closed its stream: what it left unfinished, and whether that is a fault."""
        ready = self._take(self._reader.close())
        if not self.whole and self.fault is None:
            self.fault = Refused(
                "engine_interrupted", "The engine's stream ended before the answer was complete."
            )
        return ready

    def tail(self) -> list[bytes]:
        """Payloads that close a whole stream: missing terminal chunks, usage where asked."""
        ready = [
            self._terminal(index)
            for index in range(self._ask.choices)
            if index not in self._finished
        ]
        if self._ask.include_usage:
            ready.append(self._skeleton([], self.usage or self.counted()))
        return ready

    def counted(self) -> Usage:
        """Usage where the engine gives none: chunks delivered, and the prompt by its progress, or
        by the estimate."""
        total = min(max(self._progress.total, 0), REPORTED_MAX)
        if total == 0 and self.tokens > 0 and self._prompt_tokens > 0:
            return Usage(self._prompt_tokens, output=self.tokens, provenance="estimated")
        cached = min(max(self._progress.cache, 0), total)
        return Usage(total - cached, cached, output=self.tokens, provenance="counted")

    def _take(self, events: list[Event]) -> list[bytes]:
        ready: list[bytes] = []
        for event in events:
            if self.done or self.fault is not None:
                break
            payload = self._one(event)
            if payload is not None:
                ready.append(payload)
        if not self.started:
            return self._hold(ready)
        if not self._released:
            self._released = True
            ready = self._roles() + self._held + ready
            self._held = []
        return ready

    def _roles(self) -> list[bytes]:
        """The first delta carries the role: for choices of an engine that never says it."""
        if self._ask.route is not Route.CHAT:
            return []
        missing = [index for index in range(self._ask.choices) if index not in self._with_role]
        delta = {"role": "assistant", "content": ""}
        return [
            self._skeleton([{"index": index, "delta": delta, "finish_reason": None}], None)
            for index in missing
        ]

    def _hold(self, ready: list[bytes]) -> list[bytes]:
        self._held += ready
        self._held_bytes += sum(map(len, ready))
        if self._held_bytes > HELD_BYTES_MAX:
            self.fault = Refused("engine_failed", "The engine sent chunks without any answer.")
        return []

    def _one(self, event: Event) -> bytes | None:
        """The payload to deliver for one event, if any; what it says is noted."""
        if event.data == b"[DONE]":
            self.done = True
            self.started = self.started or self.whole
            return None
        try:
            if self._from_peer and event.name == ATTESTED_EVENT:
                self.attested = read_attested(event.data)
                return None
            chunk = _chunk_decoder.decode(event.data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self.fault = Refused("engine_interrupted", "The engine sent a chunk that is not JSON.")
            return None
        data = self._noted(chunk, event.data)
        if self._is_plain(chunk, data):
            self._last = chunk
            self.tokens += 1
            return data
        if is_present(chunk.error) or chunk.object == "error":
            self.fault = refusal_of_event(event.data, started=self.started, ours=self._from_peer)
            return None
        if not chunk.choices:
            return None
        return self._deliverable(chunk, chunk.choices, data)

    def _noted(self, chunk: Chunk, data: bytes) -> bytes:
        """The chunk without what it says of usage, which is noted, where it is quickly cut off."""
        timings = bytes(chunk.timings)
        if timings:
            self._timings = timings
        choices = chunk.choices or []
        if len(choices) != 1:
            self._count(chunk, choices)
            return data
        if chunk.usage is None and not timings:
            return data
        one = choices[0]
        if 0 <= one.index < self._ask.choices:
            self._told[one.index] = timings if chunk.usage is None else chunk.usage
        if one.finish_reason:
            return data
        at = data.rfind(b',"timings":{' if chunk.usage is None else b',"usage":{')
        if at < 0 or (data.find(b"}", at) + 2 != len(data) and not _LAST_FIELD.fullmatch(data, at)):
            return data
        return data[:at] + b"}"

    def _is_plain(self, chunk: Chunk, data: bytes) -> bool:
        """Whether it is what most chunks are: one more piece of text, to be passed on as it is."""
        choices = chunk.choices
        if choices is None or len(choices) != 1 or not self.started or self._finished:
            return False
        one = choices[0]
        return (
            one.delta is not None
            and bool(one.delta.content)
            and one.delta.role is None
            and one.finish_reason is None
            and not bytes(one.delta.tool_calls)
            and chunk.model == self._ask.model
            and chunk.prompt_progress is None
            and not bytes(chunk.error)
            and chunk.object != "error"
            and not self._ask.include_usage
            and b'"usage"' not in data
            and b'"timings":' not in data
        )

    def _count(self, chunk: Chunk, choices: list[Choice]) -> None:
        """One usage is the answer's; llama.cpp gives one a choice, the prompt in each."""
        usage = chunk.usage.normal() if chunk.usage is not None else None
        if usage is None:
            return
        if self._ask.choices > 1 and not any(not one.finish_reason for one in choices):
            self._usages.append(usage)
        self._final = usage
        if len(self._usages) == self._ask.choices > 1:
            self._final = msgspec.structs.replace(
                self._usages[0],
                output=sum(one.output for one in self._usages),
                reasoning=sum(one.reasoning for one in self._usages),
            )

    def _deliverable(self, chunk: Chunk, choices: list[Choice], data: bytes) -> bytes | None:
        self._last = chunk
        carries = any(choice.carries() for choice in choices)
        if carries:
            self.tokens += 1
            self._called = self._called or any(choice.calls() for choice in choices)
        elif chunk.prompt_progress is not None:
            self._progress = chunk.prompt_progress
            return None
        for one in choices:
            if one.delta is not None and one.delta.role:
                self._with_role.add(one.index)
        over = {one.index for one in choices} & self._finished
        for choice in choices:
            if choice.finish_reason and choice.index not in over:
                self._finished.add(choice.index)
                self.finish_reason = choice.finish_reason
        if carries or self._finished:
            self.started = True
        kept = _finished_once(choices, over, data) if over else data
        return self._regular(chunk, kept) if kept else None

    def _regular(self, chunk: Chunk, data: bytes) -> bytes:
        """The chunk's own bytes, mended only where they would break a client."""
        if chunk.model is not None and chunk.model != self._ask.model:
            old, new = _encoder.encode(chunk.model), _encoder.encode(self._ask.model)
            data = data.replace(b'"model":' + old, b'"model":' + new, 1)
            data = data.replace(b'"model": ' + old, b'"model":' + new, 1)
            if b'"model":' + new not in data:
                fields = _dict_decoder.decode(data)
                data = _encoder.encode(fields | {"model": msgspec.Raw(new)})
        if any(one.finish_reason == "" for one in chunk.choices or ()):
            data = _EMPTY_REASON.sub(b'"finish_reason":null', data)
        running = b'"timings":' in data and not any(
            one.finish_reason for one in chunk.choices or ()
        )
        if running or chunk.prompt_progress is not None or b'"usage"' in data:
            fields = _dict_decoder.decode(data)
            fields.pop("usage", None)
            fields.pop("prompt_progress", None)
            if running:
                fields.pop("timings", None)
            data = _encoder.encode(fields)
        if self._ask.include_usage:
            data = data.rstrip()[:-1] + b',"usage":' + self._usage_by_now(chunk) + b"}"
        return data

    def _usage_by_now(self, chunk: Chunk) -> bytes:
        """Null to clients, as OpenAI has it; a peer is told what the engine has told by now."""
        told = self._told.get(chunk.choices[0].index) if self._to_peer and chunk.choices else None
        usage = usage_so_far({0: told}) if told is not None else None
        return _encoder.encode(render_usage(usage)) if usage is not None else b"null"

    def _terminal(self, index: int) -> bytes:
        reason = "tool_calls" if self._called else "stop"
        self.finish_reason = self.finish_reason or reason
        body: dict[str, object] = {"index": index, "finish_reason": reason}
        if self._ask.route is Route.CHAT:
            body["delta"] = {}
        else:
            body["text"] = ""
        return self._skeleton([body], None)

    def _skeleton(self, choices: list[dict[str, object]], usage: Usage | None) -> bytes:
        chunk: dict[str, object] = {
            "id": self._last.id or "",
            "object": _OBJECTS[self._ask.route],
            "created": self._last.created or 0,
            "model": self._ask.model,
            "choices": choices,
        }
        if self._ask.include_usage:
            chunk["usage"] = render_usage(usage) if usage is not None else None
        return _encoder.encode(chunk)


_OBJECTS: Final = {
    Route.CHAT: "chat.completion.chunk",
    Route.COMPLETIONS: "text_completion",
    Route.EMBEDDINGS: "list",
}


def _finished_once(choices: list[Choice], over: set[int], data: bytes) -> bytes | None:
    """The chunk without what ends a choice again; what it still says of the answer stays."""
    fields = _dict_decoder.decode(data)
    kept = []
    for choice, piece in zip(choices, _pieces_decoder.decode(fields["choices"]), strict=True):
        if choice.index in over:
            piece["finish_reason"] = msgspec.Raw(b"null")
        if choice.index not in over or choice.carries():
            kept.append(piece)
    if not kept:
        return None
    return _encoder.encode(fields | {"choices": msgspec.Raw(_encoder.encode(kept))})


def render_stream(payloads: list[bytes]) -> bytes:
    """Chunks as they go on the wire."""
    return b"".join(map(frame, payloads))


def render_attested(attested: Attested | None) -> bytes:
    """An attestation as an event between PoPs; nothing where there is none."""
    if attested is None:
        return b""
    return b"event: " + ATTESTED_EVENT + b"\n" + frame(_encoder.encode(attested))


def render_done(attested: Attested | None = None) -> bytes:
    """The end of a whole stream; a peer is also given the attestation, before ``[DONE]``."""
    return render_attested(attested) + DONE
