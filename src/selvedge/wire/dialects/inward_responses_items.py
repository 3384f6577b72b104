"""The items of an answer of OpenAI's responses, as they grow.

What a model says is a message, what it calls a function call, what it thinks a reasoning item.
Text and thoughts end when something else begins; calls, which may come interleaved, at the end.
"""

from __future__ import annotations

from typing import Final

from selvedge.wire.dialects.inward import Json, Spoken, ToolPiece

TOOL_CALLS_MAX: Final = 128
_PARTS: Final[dict[str, Json]] = {
    "message": {"type": "output_text", "text": "", "annotations": [], "logprobs": []},
    "reasoning": {"type": "reasoning_text", "text": ""},
}
_PREFIXES: Final = {"message": "msg", "reasoning": "rs", "function_call": "fc"}
_TEXT_EVENTS: Final = {"message": "response.output_text", "reasoning": "response.reasoning_text"}


class _Growing:
    """One item: its text or arguments come in pieces."""

    __slots__ = ("at", "item", "kind", "pieces")

    def __init__(self, kind: str, at: int, item: Json) -> None:
        self.kind = kind
        self.at = at
        self.item = item
        self.pieces: list[str] = []


class Items:
    """The output of one answer, and the events that tell of it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._events: list[tuple[str, Json]] = []
        self._items: list[_Growing] = []
        self._open: _Growing | None = None
        self._calls: dict[int, _Growing] = {}
        self._unnamed: dict[int, ToolPiece] = {}

    @property
    def output(self) -> list[Json]:
        """The items as they are now."""
        return [one.item for one in self._items]

    def take_events(self) -> list[tuple[str, Json]]:
        """What has happened since they were taken last."""
        events, self._events = self._events, []
        return events

    def add(self, said: Spoken) -> None:
        """What a chunk, or a whole message, says."""
        if said.thought:
            self._say("reasoning", said.thought)
        if said.text:
            self._say("message", said.text)
        for at, piece in enumerate(said.calls):
            self._call(piece.index if piece.index is not None else at, piece)

    def close(self, *, all_of_them: bool = False) -> None:
        """The text that is open has ended; and with ``all_of_them`` every call."""
        if self._open is not None:
            self._end_text(self._open)
            self._open = None
        if all_of_them:
            for one in self._calls.values():
                self._end_call(one)

    def _say(self, kind: str, text: str) -> None:
        one = self._open
        if one is None or one.kind != kind:
            self.close()
            one = self._open = self._begin_text(kind)
        one.pieces.append(text)
        delta: Json = {**_place(one), "content_index": 0, "delta": text}
        if kind == "message":
            delta["logprobs"] = []
        self._events.append((f"{_TEXT_EVENTS[kind]}.delta", delta))

    def _begin_text(self, kind: str) -> _Growing:
        item: Json = {"id": self._id(kind), "type": kind, "status": "in_progress", "content": []}
        if kind == "message":
            item["role"] = "assistant"
        else:
            item["summary"] = []
        one = self._begin(kind, item)
        begun = {**_place(one), "content_index": 0, "part": _PARTS[kind]}
        self._events.append(("response.content_part.added", begun))
        return one

    def _end_text(self, one: _Growing) -> None:
        text = "".join(one.pieces)
        part = _PARTS[one.kind] | {"text": text}
        where = {**_place(one), "content_index": 0}
        done: Json = {**where, "text": text}
        if one.kind == "message":
            done["logprobs"] = []
        self._events.append((f"{_TEXT_EVENTS[one.kind]}.done", done))
        self._events.append(("response.content_part.done", {**where, "part": part}))
        one.item = one.item | {"status": "completed", "content": [part]}
        self._finish(one)

    def _call(self, index: int, piece: ToolPiece) -> None:
        """A part of a call: its item begins once its name is known."""
        function = piece.function
        one = self._calls.get(index)
        if one is None:
            held = self._unnamed.get(index)
            if held is not None:
                piece = held.with_more(piece)
                function = piece.function
            if function is None or not function.name:
                if len(self._unnamed) < TOOL_CALLS_MAX:
                    self._unnamed[index] = piece
                return
            if len(self._calls) >= TOOL_CALLS_MAX:
                return
            self.close()
            item: Json = {
                "id": self._id("function_call"),
                "type": "function_call",
                "status": "in_progress",
                "arguments": "",
                "call_id": piece.id or f"call_{self._name}_{index}",
                "name": function.name,
            }
            one = self._calls[index] = self._begin("function_call", item)
        text = function.text if function is not None else ""
        if text:
            one.pieces.append(text)
            delta = {**_place(one), "delta": text}
            self._events.append(("response.function_call_arguments.delta", delta))

    def _end_call(self, one: _Growing) -> None:
        text = "".join(one.pieces)
        done = {**_place(one), "arguments": text, "name": one.item["name"]}
        self._events.append(("response.function_call_arguments.done", done))
        one.item = one.item | {"status": "completed", "arguments": text}
        self._finish(one)

    def _begin(self, kind: str, item: Json) -> _Growing:
        one = _Growing(kind, len(self._items), item)
        self._items.append(one)
        added = {"output_index": one.at, "item": item}
        self._events.append(("response.output_item.added", added))
        return one

    def _finish(self, one: _Growing) -> None:
        done = {"output_index": one.at, "item": one.item}
        self._events.append(("response.output_item.done", done))

    def _id(self, kind: str) -> str:
        return f"{_PREFIXES[kind]}_{self._name}_{len(self._items)}"


def _place(one: _Growing) -> Json:
    return {"item_id": one.item["id"], "output_index": one.at}
