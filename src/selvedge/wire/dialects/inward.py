"""What a PoP needs of another API's form, and what those forms have in common.

A request in another form is translated where it comes in, and its answer where it goes out: the
story, receipts, the cache and the settlement between them know the chat form alone. A form is pure
and lives as long as one request. It refuses to know who asks, who answers and where.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from selvedge.fabric import Refused, Usage
from selvedge.wire.engine_shapes import Counted
from selvedge.wire.media import ImageUrls, is_harmless_url
from selvedge.wire.sse import DONE, SseReader
from selvedge.wire.usage import EngineUsage

Json = dict[str, Any]  # Any: JSON on its way from one form to the other
_DONE: Final = DONE[6:-2]
_FIELD_PATH: Final = re.compile(r" - at `\$\.?([^`]*)`")
_NAMED: Final = re.compile(r"(missing required|contains unknown) field `([^`]*)`")
encode: Final = msgspec.json.Encoder().encode


class Form(Protocol):
    """One request in another form, from its body to the end of its answer."""

    keeps: bool
    """Whether its answer may be kept, here, for its client: set before its body is read."""

    @property
    def refers(self) -> str | None:
        """The kept answer that it goes on from: what `read` gave is not whole without it."""

    def read(self, body: bytes) -> bytes | Refused:
        """The body in the chat form; else what is wrong with it, by the names its client used."""

    def resume(self, before: Sequence[bytes]) -> bytes | Refused:
        """The whole body in the chat form: ``before`` are the kept answers that it goes on from,
        the oldest first.
        """

    def to_keep(self) -> tuple[str, bytes] | None:
        """The id of its answer, and the answer as it is to be kept; None where it is not."""

    def answer(self, body: bytes, first: str | None = None) -> bytes:
        """A whole answer: from the chat form into this one. ``first`` is the receipt of the request
        to which it was given first, where it is given again: it has the same ids.
        """

    def feed(self, data: bytes) -> bytes:
        """Some of a stream, cut anywhere: from the chat form into this one. ``[DONE]`` ends it."""

    def ping(self) -> bytes:
        """What shows that a stream lives."""

    def refusal(self, refused: Refused) -> bytes:
        """An error as the body of an answer."""

    def broken(self, refused: Refused) -> bytes:
        """An error in a stream that has begun, as its end."""


class Asked(msgspec.Struct, frozen=True):
    """What a form has to know of a request before its body."""

    receipt_id: str
    """Of which the ids of what is made for it are made."""
    request_id: str
    pop: str = ""
    """Where it entered."""
    image_urls: ImageUrls = "data-only"
    counts: bool = False
    """It asks how many tokens its prompt has, and for no answer."""


class NotCarried(Exception):
    """A body that cannot be translated, with the refusal; it never leaves a form's `read`."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.message)
        self.refused = refused


def wrong(field: str, rule: str) -> NotCarried:
    """A field with a value that is out of its range."""
    return NotCarried(Refused("invalid_value", f"Field {field!r} {rule}.", param=field))


def missing(field: str) -> NotCarried:
    """A field that has to be there."""
    return NotCarried(Refused("missing_field", f"Field {field!r} is required.", param=field))


def misread(error: Exception) -> Refused:
    """What is wrong with a body that its decoder did not take."""
    if isinstance(error, UnicodeDecodeError):
        words = f"The body is not UTF-8 at byte {error.start}; encode it so."
        return Refused("invalid_json", words)
    if isinstance(error, RecursionError):
        return Refused("invalid_json", "The body is nested too deeply; flatten it.")
    words = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return Refused("invalid_json", f"The body is not valid JSON: {words}.")
    at = _FIELD_PATH.search(words)
    path = at.group(1) if at else ""
    named = _NAMED.search(words)
    if named is None:
        what = _FIELD_PATH.sub("", words)
        field = f"Field {path!r}" if path else "The body"
        return Refused("invalid_type", f"{field} is of the wrong type: {what}.", param=path or None)
    field = ".".join(filter(None, (path, named.group(2))))
    if named.group(1) == "missing required":
        return missing(field).refused
    return wrong(field, "is not carried here; leave it out (docs/dialects.md)").refused


def check_url(field: str, url: str, image_urls: ImageUrls) -> str:
    """A picture's address, which an engine here may be asked to fetch. Raises `NotCarried`."""
    if not is_harmless_url(url, image_urls):
        allowed = "data: URL" if image_urls == "data-only" else "data: or https: URL with a name"
        raise wrong(field, f"is not a {allowed}; send the picture itself (setting 'image_urls')")
    return url


def read_count(body: bytes) -> Json:
    """What a count of tokens says, in any form's words."""
    counted = _counts.decode(body)
    told: Json = {"input_tokens": counted.input_tokens}
    return told | {"estimated": True} if counted.estimated else told


class ChatEvents:
    """The chunks of a chat stream, as its bytes come: cut anywhere, with what is not ours."""

    __slots__ = ("_reader", "done")

    def __init__(self) -> None:
        self._reader = SseReader()
        self.done = False

    def feed(self, data: bytes) -> list[SpokenChunk]:
        """The chunks that these bytes complete; ``done`` is set once ``[DONE]`` has come."""
        chunks: list[SpokenChunk] = []
        for event in self._reader.feed(data):
            if event.data == _DONE:
                self.done = True
            elif not event.name:
                chunks.append(_chunks.decode(event.data))
        return chunks


class CallPiece(msgspec.Struct, frozen=True):
    """A part of a function's name or arguments."""

    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw()

    @property
    def text(self) -> str:
        """Arguments as text; some engines send the object itself."""
        written = bytes(self.arguments)
        if written.startswith(b'"'):
            return str(msgspec.json.decode(written))
        return written.decode() if written != b"null" else ""


class ToolPiece(msgspec.Struct, frozen=True):
    """A part of a tool call."""

    index: int | None = None
    id: str | None = None
    function: CallPiece | None = None

    def with_more(self, more: ToolPiece) -> ToolPiece:
        """This part, and one of the same call that came after it."""
        parts = [one for one in (self.function, more.function) if one is not None]
        text = "".join(one.text for one in parts)
        function = CallPiece("".join(one.name or "" for one in parts), msgspec.Raw(encode(text)))
        return ToolPiece(self.index, self.id or more.id, function)


class SpokenPart(msgspec.Struct, frozen=True):
    """A part of a message, where an engine sends a list."""

    text: str | None = None


class Spoken(msgspec.Struct, frozen=True):
    """What a chunk, or a whole message, says."""

    content: str | list[SpokenPart] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: msgspec.Raw = msgspec.Raw()

    @property
    def text(self) -> str:
        """What it says, be it that it says no."""
        said = self.content
        if isinstance(said, list):
            said = "".join(one.text or "" for one in said)
        return said or self.refusal or ""

    @property
    def calls(self) -> list[ToolPiece]:
        """Calls of tools, or parts of them; what is not of their shape is no call."""
        if len(self.tool_calls) == 0:
            return []
        try:
            return _calls.decode(self.tool_calls) or []
        except msgspec.MsgspecError:
            return []

    @property
    def thought(self) -> str:
        """What it says to itself, under either of the names that engines use."""
        return self.reasoning_content or self.reasoning or ""


class SpokenChoice(msgspec.Struct, frozen=True):
    """The one choice that the other forms know."""

    index: int = 0
    delta: Spoken | None = None
    message: Spoken | None = None
    finish_reason: str | None = None
    stop_reason: msgspec.Raw = msgspec.Raw()
    """vLLM's word for what stopped it: a text of `stop`, a number of a token, or null."""

    @property
    def stopped_by(self) -> str | None:
        """The text of `stop` that ended it, where the engine tells."""
        if not bytes(self.stop_reason).startswith(b'"'):
            return None
        return str(msgspec.json.decode(self.stop_reason))


class SpokenChunk(msgspec.Struct, frozen=True):
    """One chunk of a stream, or a whole answer."""

    id: str | None = None
    created: int | float | None = None
    model: str | None = None
    choices: list[SpokenChoice] = []
    usage: EngineUsage | None = None


_chunks: Final = msgspec.json.Decoder(SpokenChunk)
_counts: Final = msgspec.json.Decoder(Counted)
_calls: Final = msgspec.json.Decoder(list[ToolPiece] | None)


def read_whole(body: bytes) -> SpokenChunk:
    """A whole answer of the chat form."""
    return _chunks.decode(body)


def usage_of(chunk: SpokenChunk) -> Usage | None:
    """What a chunk says of tokens."""
    return chunk.usage.normal() if chunk.usage is not None else None


def name_of(receipt_id: str) -> str:
    """What tells a request from all others, for the ids of what is made for it."""
    return receipt_id.partition("_")[2]


def event(kind: str, fields: Json) -> bytes:
    """One typed event, as Anthropic and OpenAI's newer API frame theirs."""
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), encode({"type": kind, **fields}))
