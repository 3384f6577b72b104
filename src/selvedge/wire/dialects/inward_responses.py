"""OpenAI's responses, in from the client and back to it: `POST /v1/responses`.

The body becomes a chat body before anything else sees it; its answer is made of the chat form's,
whole or chunk by chunk. An answer that may be kept is kept by who runs the request: here is only
what there is to keep, and how one goes on from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from selvedge.fabric import Refused, Usage
from selvedge.wire.answers import render_error
from selvedge.wire.dialects.inward import (
    Asked,
    ChatEvents,
    Json,
    NotCarried,
    SpokenChunk,
    encode,
    misread,
    name_of,
    read_count,
    read_whole,
    usage_of,
    wrong,
)
from selvedge.wire.dialects.inward_responses_body import read_messages, read_settings
from selvedge.wire.dialects.inward_responses_items import Items
from selvedge.wire.dialects.inward_responses_shapes import (
    Item,
    KeptResponse,
    ResponsesBody,
    ResponsesEcho,
)

MESSAGES_MAX: Final = 10_000
_PING: Final = b": ping\n\n"
_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
_bodies: Final = msgspec.json.Decoder(ResponsesBody)
_echoes: Final = msgspec.json.Decoder(ResponsesEcho)
_items: Final = msgspec.json.Decoder(list[Item])
_kept: Final = msgspec.json.Decoder(KeptResponse)
_listed: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_outputs: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class ResponsesForm:
    """One request of `POST /v1/responses`. Its answer has an id made of the PoP where it entered,
    and is kept, and of its receipt's.
    """

    def __init__(self, asked: Asked) -> None:
        self._receipt_id = asked.receipt_id
        self._pop = asked.pop
        self._image_urls = asked.image_urls
        self._counts = asked.counts
        self._asked: ResponsesBody | None = None
        self._echo = ResponsesEcho()
        self._chat: Json = {}
        self._stream: _Stream | None = None
        self._answered: Json | None = None
        self.keeps = False

    @property
    def refers(self) -> str | None:
        """The answer that it goes on from."""
        return self._asked.previous_response_id if self._asked is not None else None

    def read(self, body: bytes) -> bytes | Refused:
        """The body in the chat form; else what is wrong with it, by the names its client used."""
        try:
            asked = _bodies.decode(body)
            self._echo = _echoes.decode(body)
            self._chat = read_settings(asked)
            self._asked = asked
            return encode(self._chat | {"messages": self._messages(asked, [])})
        except NotCarried as error:
            return error.refused
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return misread(error)

    def resume(self, before: Sequence[bytes]) -> bytes | Refused:
        """The whole body, with the kept answers that it goes on from, the oldest first."""
        assert self._asked is not None
        history: list[Json] = []
        try:
            for written in before:
                kept = _kept.decode(written)
                output = _outputs.decode(kept.response)["output"]
                for items in (kept.items, output):
                    history += read_messages("input", _items.decode(items), self._image_urls)
            return encode(self._chat | {"messages": self._messages(self._asked, history)})
        except NotCarried as error:
            return error.refused

    def answer(self, body: bytes, first: str | None = None) -> bytes:
        """A whole answer, perhaps given before under the receipt ``first``."""
        if self._counts:
            return encode({"object": "response.input_tokens", **read_count(body)})
        whole = read_whole(body)
        choice = whole.choices[0] if whole.choices else None
        items = Items(name_of(first or self._receipt_id))
        if choice is not None and choice.message is not None:
            items.add(choice.message)
        items.close(all_of_them=True)
        reason = choice.finish_reason if choice is not None else None
        response = self._response(whole, first)
        self._answered = _ended(response, items.output, reason, usage_of(whole))
        return encode(self._answered)

    def feed(self, data: bytes) -> bytes:
        """Some of a stream, cut anywhere: from the chat form into this one. ``[DONE]`` ends it."""
        stream = self._stream
        if stream is None:
            stream = self._stream = _Stream(name_of(self._receipt_id))
        out: list[bytes] = []
        for chunk in stream.chunks.feed(data):
            if not stream.begun:
                out += stream.begin(self._response(chunk, None))
            out += stream.pass_on(chunk)
        if stream.chunks.done:
            out += stream.end()
            self._answered = stream.response
        return b"".join(out)

    def ping(self) -> bytes:
        """What shows that a stream lives."""
        return _PING

    def refusal(self, refused: Refused) -> bytes:
        """An error as the body of an answer."""
        return render_error(_renamed(refused))

    def broken(self, refused: Refused) -> bytes:
        """An error in a stream that has begun, as its end."""
        stream = self._stream or _Stream(name_of(self._receipt_id))
        out: list[bytes] = []
        if not stream.begun:
            model = self._asked.model if self._asked is not None else None
            out += stream.begin(self._response(SpokenChunk(model=model), None))
        return b"".join([*out, stream.fail(refused)])

    def to_keep(self) -> tuple[str, bytes] | None:
        """The id of the answer, and the answer as it is to be kept; None where it is not."""
        asked, answered = self._asked, self._answered
        if answered is None or asked is None or not self._stores:
            return None
        items = self._own_items(asked)
        kept = KeptResponse(msgspec.Raw(encode(answered)), items, asked.previous_response_id)
        return str(answered["id"]), encode(kept)

    @property
    def _stores(self) -> bool:
        return self.keeps and self._asked is not None and self._asked.store is not False

    def _messages(self, asked: ResponsesBody, history: list[Json]) -> list[Json]:
        own = read_messages("input", asked.input, self._image_urls)
        if not own and not history:
            raise wrong("input", "must have at least one message")
        if len(own) + len(history) >= MESSAGES_MAX:
            raise wrong("input", f"must have fewer than {MESSAGES_MAX} messages, history included")
        instructions = asked.instructions
        begin = [{"role": "system", "content": instructions}] if instructions else []
        return [*begin, *history, *own]

    def _own_items(self, asked: ResponsesBody) -> msgspec.Raw:
        if isinstance(asked.input, list):
            return self._echo.input
        content = [{"type": "input_text", "text": asked.input}]
        return msgspec.Raw(encode([{"type": "message", "role": "user", "content": content}]))

    def _response(self, chunk: SpokenChunk, first: str | None) -> Json:
        """The answer as far as its beginning tells it."""
        asked = self._asked
        assert asked is not None
        receipt_id = first or self._receipt_id
        return {
            "id": f"resp_{self._pop}_{name_of(receipt_id)}",
            "object": "response",
            "created_at": int(chunk.created or 0),
            "status": "in_progress",
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "model": chunk.model or asked.model,
            "output": [],
            "parallel_tool_calls": asked.parallel_tool_calls is not False,
            "previous_response_id": asked.previous_response_id,
            "prompt_cache_key": asked.prompt_cache_key,
            "reasoning": {"effort": None, "summary": None},
            "safety_identifier": asked.safety_identifier,
            "service_tier": "default",
            "store": self._stores,
            "temperature": asked.temperature,
            "text": self._echo.text,
            "tool_choice": self._echo.tool_choice,
            "tools": self._echo.tools,
            "top_p": asked.top_p,
            "truncation": "disabled",
            "usage": None,
            "user": asked.user,
            "metadata": asked.metadata or {},
        }


class _Stream:
    """Where a stream is: what has been told of its answer, and the number of the next event."""

    __slots__ = ("_items", "_number", "_reason", "_usage", "begun", "chunks", "response")

    def __init__(self, name: str) -> None:
        self.chunks = ChatEvents()
        self.begun = False
        self.response: Json = {}
        self._items = Items(name)
        self._number = 0
        self._reason: str | None = None
        self._usage: Usage | None = None

    def begin(self, response: Json) -> list[bytes]:
        """The first events."""
        self.begun = True
        self.response = response
        return [
            self._event("response.created", {"response": response}),
            self._event("response.in_progress", {"response": response}),
        ]

    def pass_on(self, chunk: SpokenChunk) -> list[bytes]:
        """What one chunk adds."""
        self._usage = usage_of(chunk) or self._usage
        if not chunk.choices or chunk.choices[0].index:
            return []
        choice = chunk.choices[0]
        self._reason = choice.finish_reason or self._reason
        if choice.delta is not None:
            self._items.add(choice.delta)
        return self._told()

    def end(self) -> list[bytes]:
        """What closes the answer."""
        self._items.close(all_of_them=True)
        out = self._told()
        self.response = _ended(self.response, self._items.output, self._reason, self._usage)
        kind = f"response.{self.response['status']}"
        return [*out, self._event(kind, {"response": self.response})]

    def fail(self, refused: Refused) -> bytes:
        """What breaks it off: an answer that is not whole has no other end."""
        error = {"code": refused.code, "message": refused.message}
        output = self._items.output
        failed = self.response | {"status": "failed", "error": error, "output": output}
        return self._event("response.failed", {"response": failed})

    def _told(self) -> list[bytes]:
        return [self._event(kind, fields) for kind, fields in self._items.take_events()]

    def _event(self, kind: str, fields: Json) -> bytes:
        data = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return b"event: %s\ndata: %s\n\n" % (kind.encode(), encode(data))


def _renamed(refused: Refused) -> Refused:
    """The refusal by this API's name of what an engine, or a model, did not take."""
    if refused.param != "messages":
        return refused
    return msgspec.structs.replace(refused, param="input")


def _ended(response: Json, output: list[Json], reason: str | None, usage: Usage | None) -> Json:
    """The answer with its end."""
    why = _INCOMPLETE.get(reason or "")
    ended = {
        "status": "completed" if why is None else "incomplete",
        "completed_at": None if why is not None else response["created_at"],
        "incomplete_details": None if why is None else {"reason": why},
        "output": output,
        "usage": _usage(usage),
    }
    return response | ended


def _usage(usage: Usage | None) -> Json:
    told = usage or Usage()
    return {
        "input_tokens": told.input,
        "input_tokens_details": {
            "cached_tokens": told.cache_read,
            "cache_write_tokens": told.cache_write,
        },
        "output_tokens": told.generated,
        "output_tokens_details": {"reasoning_tokens": told.reasoning},
        "total_tokens": told.total,
    }


def previous_of(kept: bytes) -> str | None:
    """The answer that a kept one went on from."""
    return _kept.decode(kept).previous


def response_of(kept: bytes) -> bytes:
    """A kept answer as its client got it."""
    return bytes(_kept.decode(kept).response)


def items_of(kept: bytes) -> bytes:
    """The list of the items that a kept answer's own request had."""
    items = _listed.decode(_kept.decode(kept).items)
    rows = [
        {"id": f"item_{at}", "type": "message", "status": "completed", **one}
        for at, one in enumerate(items)
    ]
    first, last = (rows[0]["id"], rows[-1]["id"]) if rows else (None, None)
    page = {"object": "list", "data": rows, "first_id": first, "last_id": last, "has_more": False}
    return encode(page)
