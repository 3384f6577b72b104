"""What workers and the cache process say to one another: MessagePack behind its length.

The first frame each way is a `Hello`; ends of different versions part at once, and the worker goes
on without. A frame that is too long, or is none of these, ends the connection: nothing behind it
can be trusted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from selvedge.adapters.answer_store_records import KeptAnswer
from selvedge.fabric import CacheRule

VERSION: Final = 2
FRAME_BYTES_MAX: Final = 96 * 2**20
_LENGTH_BYTES: Final = 4


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """The version of whoever speaks."""

    version: int = VERSION


class ScopeName(msgspec.Struct, frozen=True, array_like=True):
    """`cache.Scope`, as it is sent."""

    tenant: str
    data_class: str
    zone: str
    policy: str


class AskedName(msgspec.Struct, frozen=True, array_like=True):
    """`cache.Asked`, as it is sent."""

    exact: bytes
    bucket: bytes
    text: str
    model: str
    asks: str = ""


class AskRecall(msgspec.Struct, frozen=True, array_like=True, tag="recall"):
    """Is there an answer to a similar question? `SayFound` answers."""

    number: int
    scope: ScopeName
    rule: CacheRule
    asked: AskedName
    now_us: int
    key: str = ""


class SayFound(msgspec.Struct, frozen=True, array_like=True, tag="found"):
    """The entry to serve; "" where there is none, and ``why`` not."""

    number: int
    entry: str = ""
    similarity: float = 0.0
    bound: float = 0.0
    why: str = ""


class TellAnswer(msgspec.Struct, frozen=True, array_like=True, tag="answer"):
    """An answer to keep. Not answered."""

    scope: ScopeName
    rule: CacheRule
    asked: AskedName
    kept: KeptAnswer
    key: str = ""
    trusted: bool = False
    number: int = 0
    """Not 0: `SayDone` once it is on the disk, or could not be."""


class TellHit(msgspec.Struct, frozen=True, array_like=True, tag="hit"):
    """An entry was served. Not answered."""

    scope: ScopeName
    entry: str
    count: int = 1


class AskReport(msgspec.Struct, frozen=True, array_like=True, tag="report"):
    """A tenant says that an entry was wrong for what it was served to. `SayDone` answers."""

    number: int
    tenant: str
    entry: str
    now_us: int


class AskPurge(msgspec.Struct, frozen=True, array_like=True, tag="purge"):
    """Make unfindable; with ``keys`` the tenant's or scope's keys are deleted. `SayDone` answers
    when no worker finds it any more.
    """

    number: int
    now_us: int
    tenant: str | None = None
    scope: ScopeName | None = None
    entry: str | None = None
    surrogate: str | None = None
    model: str | None = None
    keys: bool = False


class AskStats(msgspec.Struct, frozen=True, array_like=True, tag="stats"):
    """What is kept, used and counted; of one tenant, or of all. `SayDone` answers, with JSON."""

    number: int
    tenant: str | None = None


class AskExplain(msgspec.Struct, frozen=True, array_like=True, tag="explain"):
    """What would be said to a request, and why. Changes nothing. `SayDone` answers, with JSON."""

    number: int
    scope: ScopeName
    rule: CacheRule
    asked: AskedName
    now_us: int
    key: str = ""


class AskJudge(msgspec.Struct, frozen=True, array_like=True, tag="ask_judge"):
    """The process asks a worker: put this to a model, for whoever the answer was given to.

    ``answer`` is of those that this worker handed over, ``entry`` what it is compared with.
    `SayJudged` answers.
    """

    number: int
    answer: str
    entry: str
    model: str
    words: tuple[str, str]
    """The system's message and the user's."""
    ms_max: int


class SayJudged(msgspec.Struct, frozen=True, array_like=True, tag="judged"):
    """What the model said; with ``why``, why it said nothing."""

    number: int
    word: str = ""
    why: str = ""
    tokens: int | None = None
    """What it used; None: it is not known."""
    asked: bool = False
    """Whether anything left the PoP."""


class SayDone(msgspec.Struct, frozen=True, array_like=True, tag="done"):
    """``error`` is "" where it was done; else the reason in words."""

    number: int
    body: bytes = b""
    error: str = ""


ToProcess = (
    Hello
    | AskRecall
    | TellAnswer
    | TellHit
    | AskReport
    | AskPurge
    | AskStats
    | AskExplain
    | SayJudged
)
ToWorker = Hello | SayFound | SayDone | AskJudge
_encoder: Final = msgspec.msgpack.Encoder()
to_process: Final = msgspec.msgpack.Decoder(ToProcess)
to_worker: Final = msgspec.msgpack.Decoder(ToWorker)


class BadFrame(Exception):
    """The other end does not speak this."""


def frame(message: msgspec.Struct) -> bytes:
    """A message behind its length."""
    body = _encoder.encode(message)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


class Frames:
    """Bytes as they come, cut into messages' bytes."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that are whole now. Raises `BadFrame` for one that is too long."""
        held = self._held
        held += data
        at = 0
        while len(held) - at >= _LENGTH_BYTES:
            size = int.from_bytes(held[at : at + _LENGTH_BYTES], "big")
            if size > FRAME_BYTES_MAX:
                raise BadFrame(f"a frame of {size} bytes; at most {FRAME_BYTES_MAX}")
            end = at + _LENGTH_BYTES + size
            if len(held) < end:
                break
            yield bytes(held[at + _LENGTH_BYTES : end])
            at = end
        del held[:at]
