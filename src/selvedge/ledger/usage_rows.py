"""A receipt as a row of usage, settled; and usage as a fold over rows, in any order.

The one place where collection meets settlement: what is billed is `settle`'s word, here and in
partitions alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from selvedge.fabric import Receipt
from selvedge.ledger.collected import digest
from selvedge.ledger.records import Sealed
from selvedge.ledger.settlement import Sums, settle

_DAY_US: Final = 86_400_000_000
GROUPS: Final = (
    "tenant",
    "project",
    "key",
    "data_class",
    "model",
    "zone",
    "day",
    "hour",
    "pop",
    "served_pop",
    "processed_in",
    "outcome",
    "settled_by",
)
"""What usage can be told by."""
NONE: Final = "-"
UNCOUNTED: Final = "judge"
"""How a receipt settles that is nobody's usage: its tenant did not ask."""


class UsageRow(msgspec.Struct, frozen=True):
    """What is asked for often, what is billed, and the receipt itself.

    ``conflict``: another receipt with the same key came first; this one counts for nothing.
    """

    day: str
    zone: str
    tenant: str
    project: str
    key: str
    data_class: str
    pop: str
    worker: int
    seq: int
    id: str
    route: str
    model: str | None
    outcome: str
    code: str | None
    status: int
    served_pop: str | None
    served_engine: str | None
    processed_in: str | None
    received_us: int
    ended_us: int
    settled_by: str
    input_uncached: int
    cache_read: int
    cache_write: int
    output: int
    reasoning: int
    exact: int
    conflict: bool
    digest: str
    receipt: str
    salt: str
    purpose: str = "request"
    """Here and below: not in parts that an earlier version wrote; readers ask the receipt there."""
    ended_as: str = ""
    """The settlement's row by how it ended, whatever its purpose."""
    stream: bool = False
    first_token_us: int | None = None
    made: int = 0
    """Tokens that the engine generated, billed or not."""

    @property
    def hour(self) -> str:
        """The UTC hour in which it was received, as 2026-11-07T10."""
        return hour_of(self.received_us)

    @property
    def sums(self) -> Sums:
        """What it bills."""
        return Sums(
            1,
            self.input_uncached,
            self.cache_read,
            self.cache_write,
            self.output,
            self.reasoning,
            self.exact,
        )


class UsageAsked(msgspec.Struct, frozen=True):
    """Which usage: told by these groups, of a time (from, below; microseconds) and a tenant."""

    by: tuple[str, ...] = ("tenant",)
    since_us: int = 0
    until_us: int = 2**62
    tenant: str | None = None

    def takes(self, row: UsageRow) -> bool:
        """Whether this row counts."""
        return (
            not row.conflict
            and row.settled_by != UNCOUNTED
            and self.since_us <= row.received_us < self.until_us
            and self.tenant in (None, row.tenant)
        )

    def key(self, row: UsageRow) -> tuple[str, ...]:
        """The group of a row."""
        return tuple(getattr(row, name) or NONE for name in self.by)


UsageTable = Mapping[tuple[str, ...], Sums]


def day_of(received_us: int) -> str:
    """The UTC day of a moment."""
    return datetime.fromtimestamp(received_us // _DAY_US * 86_400, UTC).date().isoformat()


def hour_of(received_us: int) -> str:
    """The UTC hour of a moment, as 2026-11-07T10."""
    return datetime.fromtimestamp(received_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H")


def row_of_receipt(sealed: Sealed, receipt: Receipt, *, conflict: bool = False) -> UsageRow:
    """A receipt as a row."""
    settlement = settle(receipt)
    billed = settlement.billed
    every = billed.input + billed.generated
    canonical = bytes(sealed.receipt)
    return UsageRow(
        day=day_of(receipt.received_us),
        zone=receipt.zone,
        tenant=receipt.tenant,
        project=receipt.project,
        key=receipt.key,
        data_class=receipt.data_class,
        pop=receipt.ingress_pop,
        worker=receipt.worker,
        seq=receipt.seq,
        id=receipt.id,
        route=receipt.route,
        model=receipt.model,
        outcome=receipt.outcome.value,
        code=receipt.code,
        status=receipt.status,
        served_pop=receipt.served_pop,
        served_engine=receipt.served_engine,
        processed_in=receipt.processed_in,
        received_us=receipt.received_us,
        ended_us=receipt.ended_us,
        settled_by=settlement.row,
        input_uncached=billed.input_uncached,
        cache_read=billed.cache_read,
        cache_write=billed.cache_write,
        output=billed.output,
        reasoning=billed.reasoning,
        exact=every if billed.provenance == "reported" else 0,
        conflict=conflict,
        digest=digest(canonical).hex(),
        receipt=canonical.decode(),
        salt=sealed.salt,
        purpose=receipt.purpose,
        ended_as=settlement.row if receipt.purpose == "request" else _ended_as(receipt),
        stream=receipt.stream,
        first_token_us=receipt.first_token_us,
        made=_made(receipt),
    )


def _made(receipt: Receipt) -> int:
    """What an engine generated for this request: for a kept answer nothing."""
    if receipt.usage is None or receipt.cache == "hit":
        return 0
    return receipt.usage.generated


def _ended_as(receipt: Receipt) -> str:
    return settle(msgspec.structs.replace(receipt, purpose="request")).row


def fold(rows: Iterable[UsageRow], wish: UsageAsked) -> dict[tuple[str, ...], Sums]:
    """Usage by group."""
    found: dict[tuple[str, ...], Sums] = {}
    for row in rows:
        if wish.takes(row):
            key = wish.key(row)
            found[key] = found.get(key, Sums()) + row.sums
    return found


def join(tables: Iterable[UsageTable]) -> dict[tuple[str, ...], Sums]:
    """Usage of several sources together."""
    found: dict[tuple[str, ...], Sums] = {}
    for table in tables:
        for key, sums in table.items():
            found[key] = found.get(key, Sums()) + sums
    return found
