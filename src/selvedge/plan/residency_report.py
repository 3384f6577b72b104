"""The residency report of one tenant: nouns, and the canonical bytes that are signed.

A report says where a tenant's requests were, by which rules, what was refused, what should not have
happened, and whether anything is missing. Nothing of the moment in which it is made is in it: the
same receipts, logs and invoices make the same bytes. Days are UTC's, and half open.
"""

from __future__ import annotations

from typing import Final

import msgspec

from selvedge.fabric import StoreCorrupt

VERSION: Final = 1
NO_PROOF: Final = msgspec.Raw(b"null")
NAMED_MAX: Final = 200
"""So many breaches and differences of one kind are named; all are counted."""


class ProcessedAt(msgspec.Struct, frozen=True, order=True):
    """Where requests were processed, and by whom. ``owners``: parents of the entity, upwards."""

    country: str
    pop: str
    entity: str
    owners: tuple[str, ...]
    receipts: int
    attested: int
    """Of which the serving PoP itself said so, being another than the ingress."""


class ByRule(msgspec.Struct, frozen=True, order=True):
    """Receipts under one rule as one version of the policy had it."""

    rule: str
    zone: str
    policy: str
    """Version of the policy; ``-`` where the zone alone decides."""
    handling: tuple[str, ...]
    receipts: int
    refused: int
    releases: tuple[int, int]
    """The first and the last."""


class ByIngress(msgspec.Struct, frozen=True, order=True):
    """Where requests came in."""

    country: str
    pop: str
    how: str
    """``in zone``, ``transit``, or ``refused at the door``: before its zone was looked at."""
    receipts: int


class ByRefusal(msgspec.Struct, frozen=True, order=True):
    """Requests that were not served, by the reason that the client was told."""

    outcome: str
    code: str
    status: int
    rule: str
    receipts: int


class Sent(msgspec.Struct, frozen=True, order=True):
    """Attempts by country and how they ended; or, with outcome ``planned``, those written down."""

    country: str
    outcome: str
    count: int


class ReleaseUsed(msgspec.Struct, frozen=True, order=True):
    """A release that receipts name."""

    version: int
    hash: str
    receipts: int


class Named(msgspec.Struct, frozen=True, order=True):
    """One thing that should be nothing: what, of which receipt or stream, in words."""

    kind: str
    where: str
    what: str
    count: int = 1


class StreamRuns(msgspec.Struct, frozen=True, order=True):
    """The numbers of one journal of a PoP that the report counts: runs, both ends included."""

    pop: str
    worker: int
    runs: tuple[tuple[int, int], ...]


class InvoiceSeen(msgspec.Struct, frozen=True, order=True):
    """An issued invoice that folds receipts of the period."""

    number: str
    sha256: str
    receipts: int
    in_period: int


class LogSeen(msgspec.Struct, frozen=True, order=True):
    """A PoP's log that was read whole, and recomputed to the root that is signed."""

    origin: str
    pop: str
    size: int
    root: str
    checkpoint: str
    leaves: int
    """Of the period's receipts of this tenant."""
    others: int
    """Leaves of other receipts."""
    heartbeats: int
    first_us: int
    last_us: int
    longest_gap_us: int
    silence_count: int
    """How often it said nothing for longer than a log that lives does."""
    silences: tuple[tuple[int, int], ...]
    """From and until when, microseconds; the first of them."""


class Completeness(msgspec.Struct, frozen=True):
    """Three counts that must be the same, and what differs."""

    receipts: int
    leaves: int | None
    """None: no logs were read."""
    folded: int
    """By the fold that invoices are made of."""
    invoiced: int
    """In invoices that were issued."""
    elsewhere: int
    """Numbers that PoPs say went to zones whose receipts were not read: they are not in here."""
    streams: tuple[StreamRuns, ...]
    invoices: tuple[InvoiceSeen, ...]
    logs: tuple[LogSeen, ...]
    differences: dict[str, int]
    named: tuple[Named, ...]

    @property
    def difference(self) -> int:
        """How much differs in all."""
        return sum(self.differences.values())


class SampledReceipt(msgspec.Struct, frozen=True):
    """A receipt that was drawn: with its salt, anybody can recompute its leaf."""

    score: str
    pop: str
    worker: int
    seq: int
    leaf: str
    salt: str
    receipt: msgspec.Raw
    proof: msgspec.Raw = NO_PROOF
    """A bundle as `selvedge audit prove` makes it; null: no logs were read."""

    @property
    def is_proved(self) -> bool:
        """Whether it has one."""
        return bytes(self.proof) != bytes(NO_PROOF)


class Sample(msgspec.Struct, frozen=True):
    """What was drawn, and how."""

    rule: str
    seed: str
    asked: int
    drawn: tuple[SampledReceipt, ...]


class ResidencyReport(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    v: int = VERSION
    fleet: str
    tenant: str
    since: str
    until: str
    """The first day after."""
    receipts: int
    outcomes: dict[str, int]
    purposes: dict[str, int]
    places: tuple[ProcessedAt, ...]
    unprocessed: int
    """Receipts of requests that nobody processed."""
    cached: int
    """Answered from the cache of the PoP where they came in."""
    rules: tuple[ByRule, ...]
    ingress: tuple[ByIngress, ...]
    refusals: tuple[ByRefusal, ...]
    attempts: tuple[Sent, ...]
    planned: tuple[Sent, ...]
    releases: tuple[ReleaseUsed, ...]
    exceptions: dict[str, int]
    exceptions_named: tuple[Named, ...]
    completeness: Completeness
    sample: Sample | None
    notes: tuple[str, ...]

    @property
    def exception_count(self) -> int:
        """How many breaches there are in all; it must be 0."""
        return sum(self.exceptions.values())


def write_report(report: ResidencyReport) -> bytes:
    """The canonical bytes: keys sorted, no floats, no spaces (RFC 8785)."""
    return msgspec.json.encode(report, order="sorted")


def read_report(data: bytes) -> ResidencyReport:
    """A report from its bytes. Raises `StoreCorrupt`."""
    try:
        found = msgspec.json.decode(data, type=ResidencyReport)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreCorrupt(f"it is no residency report: {error}") from error
    if found.v != VERSION:
        raise StoreCorrupt(f"it has version {found.v}, this program reads {VERSION}")
    return found
