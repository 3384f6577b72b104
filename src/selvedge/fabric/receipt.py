"""The receipt: the one record of a request, and the attestation a serving PoP adds to it.

Proposal 0001 fixes the encoding. All values are strings, booleans, nulls and integers below 2**53,
so that the canonical JSON of RFC 8785 needs no float rules. No prompt and no answer text is ever
in a receipt; personal fields are a commitment here and a ciphertext beside it.
"""

from __future__ import annotations

import enum
from typing import Final, Literal

import msgspec

from selvedge.fabric.policy import Handling
from selvedge.fabric.request import Purpose, Usage


class Outcome(enum.StrEnum):
    """How a request ended."""

    COMPLETE = "complete"
    FAILED = "failed"
    """An engine failed and no other could answer, before or after the first token."""
    CLIENT_GONE = "client_gone"
    REFUSED = "refused"
    INTERRUPTED = "interrupted"
    """The PoP died between intent and record."""


TriedOutcome = Literal["relayed", "failed", "gone", "rejected", "deadline"]


class Tried(msgspec.Struct, frozen=True):
    """One attempt: which PoP (and engine, where this PoP chose it), when, and how it went."""

    pop: str
    country: str
    engine: str | None
    outcome: TriedOutcome
    reason: str
    tokens: int
    started_us: int
    ended_us: int


class Attestation(msgspec.Struct, frozen=True):
    """The serving PoP's own word for one request it processed for a peer."""

    ticket: str
    """SHA-256, in hex, of the ticket as it travelled, which binds tenant, rule and body."""
    request_id: str
    pop: str
    country: str
    entity: str
    engine: str
    model: str
    model_digest: str
    release_hash: str
    outcome: Outcome
    usage: Usage
    started_us: int
    ended_us: int
    v: int = 1


class Attested(msgspec.Struct, frozen=True):
    """An attestation with its MAC (HMAC-SHA-256 under the pairwise key, base64url).

    ``attestation`` is kept as the canonical bytes that were signed: a field that a newer PoP adds
    neither breaks the MAC nor gets lost.
    """

    attestation: msgspec.Raw
    mac: str

    def decode(self) -> Attestation:
        """The attestation; raises `msgspec.MsgspecError` where the bytes are not one."""
        return _attestation_decoder.decode(self.attestation)


_attestation_decoder: Final = msgspec.json.Decoder(Attestation)


class Receipt(msgspec.Struct, frozen=True):
    """Who asked what, where it entered and was processed, under which rule, and how it ended.

    ``seq`` counts the receipts of one tenant in one journal of a PoP, ``worker``, from 1 without
    gaps; 0 means not yet sealed. Times are integer microseconds UTC. ``status`` is the HTTP status
    the client saw, 0 where it saw none.
    """

    id: str
    request_id: str
    tenant: str
    project: str
    key: str
    data_class: str
    route: str
    ingress_pop: str
    ingress_country: str
    rule: str
    zone: str
    release: int
    release_hash: str
    received_us: int
    transit: bool
    """The request entered outside its zone, as its rule allows, and was forwarded."""
    seq: int = 0
    worker: int = 0
    """Number of the journal among those of the PoP; receipts from before workers have none: 0."""
    model: str | None = None
    model_digest: str | None = None
    stream: bool = False
    body_bytes: int = 0
    allowed_pops: int = 0
    planned: tuple[str, ...] = ()
    """PoPs of the whole list of attempts, in order, as written down before the first byte left."""
    planned_in: tuple[str, ...] = ()
    """Their countries."""
    attempts: tuple[Tried, ...] = ()
    served_pop: str | None = None
    served_engine: str | None = None
    served_entity: str | None = None
    processed_in: str | None = None
    cache: str = "off"
    """``miss`` and ``hit`` where its data class has a cache."""
    cache_entry: str | None = None
    """Which kept answer was given; `served_pop` and `processed_in` are of who made it then. Of a
    judgement: which was judged.
    """
    cache_similarity: int | None = None
    """Of its question to this one, in parts per million; of the same question 1,000,000."""
    cache_from: str | None = None
    """The receipt of the request for which it was made; of a judgement, with whose answer it was
    compared.
    """
    outcome: Outcome = Outcome.INTERRUPTED
    status: int = 0
    code: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    first_token_us: int | None = None
    ended_us: int = 0
    attested: Attested | None = None
    personal: str | None = None
    """SHA-256, in hex, of the ciphertext of the personal fields."""
    purpose: Purpose = "request"
    """A client's request, a line of a batch, or the operator's own: a probe, or whether two answers
    of a cache say the same.
    """
    repeats: str | None = None
    """The receipt of the first request under the same `Idempotency-Key`, where this is another."""
    policy: str | None = None
    """`Policy.version` of the release, where its class names a rule of a policy."""
    handling: tuple[Handling, ...] = ()
    """Which handlings its data class asked for, all kept to by whoever processed it."""
    dialect: str | None = None
    """The API in whose form it was asked and answered, where that is not the route's own."""
    v: int = 1


class Personal(msgspec.Struct, frozen=True):
    """The fields that point at a person: encrypted per subject, never in the clear on disk."""

    client_ip: str
    end_user: str | None
    client_request_id: str | None
