"""What a scripted engine is told to do: one `Reply` for each request.

Values only, no socket; `tests/support/scripted_engine.py` acts on them. Nothing here waits for the
clock unless `delay_ms` or `first_ms` say so: a test holds tokens back with a `Gate`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

GENERATION_PATHS = ("/v1/chat/completions", "/v1/completions")

Headers = tuple[tuple[str, str], ...]


class Gate:
    """Lets tokens through one by one, as a test says. Closed at first.

    The end of an answer (terminal chunk, usage, `[DONE]`) counts as one more token.
    """

    def __init__(self, allowed: int = 0) -> None:
        self.allowed: float = allowed
        self._moved = asyncio.Event()

    def let(self, count: int = 1) -> None:
        """Lets `count` more through."""
        self.allowed += count
        self._moved.set()

    def open(self) -> None:
        """Lets everything through from now on."""
        self.let(1 << 60)

    async def passed(self, position: int) -> None:
        """Returns when the token at `position` (from 0) may go out."""
        while self.allowed <= position:
            self._moved.clear()
            await self._moved.wait()


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One tool call of an answer. When streamed, arguments go in pieces of eight characters."""

    name: str
    arguments: str = "{}"
    id: str = "call_1"


@dataclass(frozen=True, slots=True)
class Cut:
    """How an answer breaks off once `after` tokens are out (0: after the head, before any token).

    `reset` is a TCP RST, `close` an orderly FIN in mid-answer, `hang` silence on an open
    connection, `error` an in-band error event (a plain answer becomes a 500).
    """

    how: Literal["reset", "close", "hang", "error"]
    after: int = 0
    message: str = "the engine broke"


@dataclass(frozen=True, slots=True)
class Answer:
    """A completion, streamed or not as the request asks, and every way it may be framed."""

    tokens: tuple[str, ...] = ("Hello", ",", " world", "!")
    _: KW_ONLY
    tool_calls: tuple[ToolCall, ...] = ()
    finish: str | None = "stop"  # "" and None are what broken engines send
    n: int | None = None  # None: as many choices as the request asks for
    logprobs: bool | None = None  # None: as the request asks
    model: str | None = None  # None: the request's
    id: str = "chatcmpl-scripted"
    obeys_max: bool = True  # stop at max_tokens with finish "length"
    continues: bool = False  # leave out the tokens with which the last assistant message begins

    usage: Literal["asked", "separate", "terminal", "every", "none"] = "asked"
    prompt_tokens: int = 7
    completion_tokens: int | None = None  # None: as many as there are
    cached_tokens: int | None = None
    speculates: int = 1  # tokens that a chunk counts for, where it is asked to count as it goes

    role_first: bool = True  # a first chunk with the role and no token
    terminals: int = 1  # chunks with a finish reason: 0 missing, 2 duplicate
    done: bool = True  # `data: [DONE]`
    llama: bool = False  # llama.cpp's `prompt_progress` and `timings`
    comments: bool = False  # a comment before each event
    stray: bytes = b""  # put as it is before the terminal chunk, such as a bare JSON line
    eol: Literal["\n", "\r\n", "\r"] = "\n"
    space: bool = True  # `data: {` rather than `data:{`
    escaped: bool = False  # \\uXXXX for everything but ASCII

    piece: int | None = None  # bytes for each TCP write
    splits: tuple[int, ...] = ()  # offsets in the body at which a new TCP write begins
    join: int = 1  # events for each TCP write
    framing: Literal["chunked", "length", "close"] | None = (
        None  # None: stream chunked, else length
    )
    headers: Headers = ()
    keep_alive: bool = True

    gate: Gate | None = None
    first_ms: float = 0
    delay_ms: float = 0
    cut: Cut | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """An error instead of an answer: OpenAI's shape, llama.cpp's (an integer code), or text."""

    code: int
    message: str = "scripted"
    shape: Literal["openai", "llama", "text"] = "openai"
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Drop:
    """Closes the connection (FIN) after the request, before any byte of an answer."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Resets the connection (RST) after the request, before any byte of an answer."""


@dataclass(frozen=True, slots=True)
class Hang:
    """Reads the request and never answers."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes as they are, head included: for what no honest engine sends."""

    data: bytes
    close: bool = True


Reply = Answer | Status | Drop | Reset | Hang | Raw


@dataclass(slots=True)
class Received:
    """One request as it came in, and how it went. `outcome` ends as complete, aborted or cut."""

    index: int
    connection: int
    method: str
    path: str
    headers: dict[str, str]  # lower-case names; the last of each
    head: bytes
    body: bytes
    tokens_sent: int = 0
    outcome: Literal["open", "complete", "aborted", "cut"] = "open"
    _json: Any = field(default=None, repr=False)  # Any: JSON

    @property
    def json(self) -> Any:
        """The body as JSON; an empty object if it is none."""
        if self._json is None:
            try:
                self._json = json.loads(self.body)
            except ValueError:
                self._json = {}
        return self._json


class Script:
    """Decides the reply to each request for a completion.

    The first gets the first reply, and so on; the last reply repeats. `choose` decides instead,
    from the request. `on` replaces what the engine says at other paths, such as `/health`.
    """

    def __init__(
        self,
        *replies: Reply,
        choose: Callable[[Received], Reply] | None = None,
        on: Mapping[str, Reply] | None = None,
        models: tuple[str, ...] = ("scripted",),
        dimensions: int = 32,
    ) -> None:
        self.replies = list(replies) or [Answer()]
        self.choose = choose
        self.on = dict(on or {})
        self.models = models
        self.dimensions = dimensions

    def reply(self, received: Received) -> Reply | None:
        """What to do; None leaves it to the engine's own answer at that path."""
        if received.path in self.on:
            return self.on[received.path]
        if received.path not in GENERATION_PATHS or received.method != "POST":
            return None
        if self.choose is not None:
            return self.choose(received)
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
