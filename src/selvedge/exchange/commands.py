"""The ports of the story: what it asks of the world, and what the world may answer.

Commands are imperative, replies past tense. The PoP interprets commands with sockets and disks,
the simulator with a virtual clock, a test with a script. Every reply carries ``at_us``, the moment
it was known (integer microseconds UTC): the story has no clock of its own. A client that hangs up
and a deadline that passes are replies like any other, never exceptions thrown into the generator.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from selvedge.cache import Asked, Candidate, Scope
from selvedge.fabric import (
    Ask,
    Attestation,
    Attested,
    CacheRule,
    CacheWish,
    Handling,
    Head,
    Personal,
    Receipt,
    Refused,
    Usage,
)
from selvedge.ledger import Admitted, Level
from selvedge.routing import Attempt


class ReadBody(msgspec.Struct, frozen=True):
    """Read the body, at most ``bytes_max``. -> `BodyRead`, `BodyRefused` or `ClientLeft`."""

    bytes_max: int
    keep: Scope | None = None
    """Where the answer may be kept for its client, should it ask for that."""


class Resume(msgspec.Struct, frozen=True):
    """The whole body of a request that goes on from kept answers. -> `BodyRead`, `BodyRefused`."""

    scope: Scope
    response_id: str


class Claim(msgspec.Struct, frozen=True):
    """Hold an `Idempotency-Key` for this request until its end. -> `Claimed`.

    ``key`` is tenant, project and the client's word; ``fingerprint`` is of route and body.
    ``keeps``: the answer may be kept here, to be given again.
    """

    key: tuple[str, str, str]
    fingerprint: bytes
    receipt: str
    keeps: bool


class Recall(msgspec.Struct, frozen=True):
    """Search kept answers, in this scope only. -> `Recalled`, or `ClientLeft` where that waited.

    Until its end this request may answer others that ask the same in the same scope meanwhile.
    """

    scope: Scope
    rule: CacheRule
    wish: CacheWish
    asked: Asked
    ask: Ask
    key: str = ""
    """The id of the API key that asks."""
    admitted: Admitted | None = None
    """Where a model judges the class's answers: for whom it may be asked."""


class Intend(msgspec.Struct, frozen=True):
    """Write down, before the first byte leaves, the receipt that stands if we die now.

    -> `Written` or `NotWritten`.
    """

    receipt: Receipt
    personal: Personal


class Job(msgspec.Struct, frozen=True):
    """What a relay needs besides the attempts; the same for every attempt of one request."""

    head: Head
    ask: Ask
    body: bytes
    tenant: str
    data_class: str
    rule: str
    allowed: tuple[str, ...]
    for_peer: bool = False
    levels: tuple[Level, ...] = ()
    """Those of the key that have limits: the answer says what is left of them here."""
    handling: tuple[Handling, ...] = ()
    """What the data class asks of whoever processes it."""
    policy: str | None = None
    """The version of the policy that decided."""
    zones: tuple[str, ...] = ()
    """Those that the key is narrowed to."""
    passes_to: str | None = None
    """The provider that is asked with what the client sent, instead of a secret of ours."""
    scope: str = ""
    """Within which the prefix of its prompt may be told of; empty: it is not kept here."""


class Relay(msgspec.Struct, frozen=True):
    """Ask an engine (or its PoP) and pump its answer to the client; hold back the answer's end.

    One attempt a command for now; several with ``hedge_after_ms`` are a race, run by the shell.
    -> `Relayed`, `Failed` or `Gone`.
    """

    attempts: tuple[Attempt, ...]
    job: Job
    hedge_after_ms: int | None = None


class Remember(msgspec.Struct, frozen=True):
    """Keep the answer just given for who asks so again, once its receipt is written.

    -> `Written` or `NotWritten`; neither matters.
    """

    recall: Recall


class Record(msgspec.Struct, frozen=True):
    """Seal and write the receipt. -> `Written` or `NotWritten`."""

    receipt: Receipt
    personal: Personal


class Attest(msgspec.Struct, frozen=True):
    """Write down and sign what this PoP did for a peer. -> `Vouched` or `NotWritten`."""

    attestation: Attestation
    ingress: str


class Tally(msgspec.Struct, frozen=True):
    """Count a refusal that has no receipt, because nobody is known to have asked. -> `Written`."""

    code: str


Command: TypeAlias = (
    ReadBody | Resume | Claim | Recall | Intend | Relay | Remember | Record | Attest | Tally
)


class BodyRead(msgspec.Struct, frozen=True):
    """The whole body. ``ask`` where the shell knows its facts already: it is not parsed again."""

    body: bytes
    at_us: int
    ask: Ask | None = None
    written: bytes = b""
    """The client's own bytes, where it asks in another form than the route's."""
    refers: str | None = None
    """The answer that it goes on from; ``body`` is not whole without it."""


class BodyRefused(msgspec.Struct, frozen=True):
    """The body is too large, too slow, malformed, or there is no room for it now."""

    refused: Refused
    at_us: int


class ClientLeft(msgspec.Struct, frozen=True):
    """The client hung up before anything was asked for it."""

    at_us: int


class Recalled(msgspec.Struct, frozen=True):
    """Kept answers that may fit, best first."""

    candidates: tuple[Candidate, ...]
    at_us: int


class Written(msgspec.Struct, frozen=True):
    """``write(2)`` has returned: it survives ``kill -9``."""

    at_us: int


class NotWritten(msgspec.Struct, frozen=True):
    """The write failed, or may have."""

    reason: str
    at_us: int


class Vouched(msgspec.Struct, frozen=True):
    """The attestation with its MAC, written down."""

    attested: Attested
    at_us: int


class Served(msgspec.Struct, frozen=True):
    """Who answered: known from the start of an answer."""

    pop: str
    engine: str | None
    country: str
    entity: str
    model_digest: str | None


class Kept(msgspec.Struct, frozen=True):
    """A whole JSON answer as its client got it."""

    body: bytes
    served: Served
    finish_reason: str | None


class Claimed(msgspec.Struct, frozen=True):
    """Whose a key is: this request's (``first``), or that of the receipt it names.

    ``running``: that one has not ended. ``other``: it asked something else. ``finished``: it has
    been answered; ``kept`` is its answer, where that is kept. ``full``: too many run to hold it.
    """

    state: Literal["first", "running", "other", "finished", "full"]
    at_us: int
    first: str | None = None
    kept: Kept | None = None


class _Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended. ``tokens`` counts what had reached the client by then, not what was
    generated: 0 for an answer that is not streamed.
    """

    started_us: int
    at_us: int
    tokens: int = 0
    first_token_us: int | None = None
    served: Served | None = None
    usage: Usage | None = None
    attested: Attested | None = None
    begun: bool = False
    """A response with status 200 had begun, perhaps without a token: it was kept alive."""


class Relayed(_Ended, frozen=True, kw_only=True):
    """The engine's answer is complete; its end is held back until the receipt is written."""

    finish_reason: str | None


class Failed(_Ended, frozen=True, kw_only=True):
    """The engine, the way to it, or the deadline failed."""

    refused: Refused
    told_ms: int | None = None
    """When to come back, in its own words (Retry-After)."""


class Gone(_Ended, frozen=True, kw_only=True):
    """The client hung up; the engine has been cancelled."""


Ended: TypeAlias = Relayed | Failed | Gone
Reply: TypeAlias = (
    BodyRead
    | BodyRefused
    | ClientLeft
    | Claimed
    | Recalled
    | Written
    | NotWritten
    | Vouched
    | Relayed
    | Failed
    | Gone
)


def cools(ended: Ended) -> bool:
    """Whether an ending says that the engine or PoP is unwell.

    A deadline does not: it is the client's number, and one impatient client could otherwise cool
    an engine for all. Nor does who is only busier than was thought.
    """
    return (
        isinstance(ended, Failed)
        and ended.tokens == 0
        and ended.refused.kind.fault in ("engine", "capacity")
        and ended.refused.code not in ("deadline_exceeded", "engine_busy")
    )


class Deliver(msgspec.Struct, frozen=True):
    """Send what `Relay` held back: the last chunk and ``[DONE]``, or the whole JSON answer."""

    attested: Attested | None = None


class Refuse(msgspec.Struct, frozen=True):
    """Send this refusal: as the response, or in-band where a stream has begun."""

    refused: Refused
    receipt: bool = True
    """Whether a receipt was written, whose id the response names."""
    attested: Attested | None = None
    """For a peer whose stream has begun: this PoP's word on the broken answer."""
    levels: tuple[Level, ...] = ()
    """Where a limit refused: the levels of the key that have any."""


class Drop(msgspec.Struct, frozen=True):
    """Send nothing more and close: the client has left, or its receipt could not be written."""


class Replay(msgspec.Struct, frozen=True):
    """Send an answer that was given before; ``first`` is the receipt that bills it."""

    kept: Kept
    first: str


class Reuse(msgspec.Struct, frozen=True):
    """Send the kept answer that `Recall` found: as a stream or whole, as this client asked."""

    found: Candidate
    age_s: int
    levels: tuple[Level, ...] = ()
    policy: str | None = None
    handling: tuple[Handling, ...] = ()


Ending: TypeAlias = Deliver | Refuse | Drop | Replay | Reuse
