"""The fold of a residency report: one receipt after the other, in any order, in little memory.

What is counted is in the receipt's own canonical bytes; the columns beside them, by which invoices
are folded, are held against them. A million receipts are a few hundred counters and as many numbers
as masks of sixty-four.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from selvedge.fabric import Outcome, Receipt
from selvedge.ledger import (
    BLOCK,
    DoubleReceipt,
    Numbers,
    Origin,
    Sealed,
    UsageRow,
    digest,
    row_of_receipt,
)
from selvedge.plan.completeness import Findings, where_of
from selvedge.plan.residency_report import (
    ByIngress,
    ByRefusal,
    ByRule,
    ProcessedAt,
    ReleaseUsed,
    SampledReceipt,
    Sent,
)
from selvedge.plan.sampling import Draw

NONE = "-"


class Words(Protocol):
    """A breach: what kind, and what a person reads."""

    @property
    def kind(self) -> str:
        """One of a few."""

    @property
    def words(self) -> str:
        """One sentence."""


class Judged(NamedTuple):
    """What a receipt's release says of it."""

    breaches: Sequence[Words] = ()
    missing: str | None = None
    """The release that is not here to judge it by, in words."""
    owners: tuple[str, ...] = ()
    """Of the entity that processed it, upwards."""


JudgeOf = Callable[[Receipt], Judged]
LeafSink = Callable[[Origin, int, bytes], None]


class ReportAsked(NamedTuple):
    """Whose receipts, of which time (from, below; microseconds)."""

    tenant: str
    since_us: int
    until_us: int


class ResidencyFold:
    """Takes rows, and counts. ``leaf_of`` is told the leaf of each receipt that counts."""

    def __init__(
        self, asked: ReportAsked, judge: JudgeOf, draw: Draw | None, leaf_of: LeafSink
    ) -> None:
        self.asked = asked
        self.receipts = self.unprocessed = self.cached = 0
        self.outcomes: Counter[str] = Counter()
        self.purposes: Counter[str] = Counter()
        self.numbers = Numbers()
        self.findings = Findings()
        self.breaches = Findings()
        self.unjudged: Counter[str] = Counter()
        """Receipts by the release that is not here to judge them by."""
        self._judge = judge
        self._draw = draw
        self._leaf_of = leaf_of
        self._places: dict[tuple[str, str, str, tuple[str, ...]], list[int]] = {}
        self._rules: dict[tuple[str, str, str, tuple[str, ...]], list[int]] = {}
        self._ingress: Counter[tuple[str, str, str]] = Counter()
        self._refusals: Counter[tuple[str, str, int, str]] = Counter()
        self._attempts: Counter[tuple[str, str]] = Counter()
        self._planned: Counter[str] = Counter()
        self._releases: Counter[tuple[int, str]] = Counter()
        self._sampled: dict[tuple[Origin, int], Sealed] = {}

    def take(self, row: UsageRow) -> None:
        """One row that a store has of this tenant and time."""
        origin = Origin(row.pop, row.worker)
        where = where_of(origin, row.seq)
        if row.conflict:
            self.findings.add("conflict", where, "another receipt with this number came first")
            return
        sealed = Sealed(msgspec.Raw(row.receipt.encode()), row.salt)
        try:
            receipt = sealed.decode()
            leaf = sealed.leaf()
            again = row_of_receipt(sealed, receipt)
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
            self.findings.add("damaged", where, f"its receipt cannot be read: {error}")
            return
        try:
            self.numbers.add(origin, row.seq // BLOCK, 1 << row.seq % BLOCK)
        except DoubleReceipt:
            self.findings.add("double", where, f"receipt {receipt.id} is there twice")
            return
        self._check_row(row, again, where)
        self._leaf_of(origin, row.seq, leaf)
        if self._draw is not None and self._draw.offer(origin, row.seq):
            self._sampled[origin, row.seq] = sealed
            if len(self._sampled) > 4 * self._draw.size:
                self._forget()
        self._count(receipt, where)

    def _check_row(self, row: UsageRow, again: UsageRow, where: str) -> None:
        if row == again:
            return
        if digest(row.receipt.encode()).hex() != row.digest:
            words = "its bytes are not those that were collected"
            self.findings.add("altered", where, words)
            return
        names = [one for one in row.__struct_fields__ if getattr(row, one) != getattr(again, one)]
        words = f"{', '.join(names)} of its row is not what the receipt says"
        self.findings.add("row", where, words)

    def _count(self, receipt: Receipt, where: str) -> None:
        self.receipts += 1
        self.outcomes[receipt.outcome.value] += 1
        self.purposes[receipt.purpose] += 1
        judged = self._judge(receipt)
        self._count_place(receipt, judged.owners)
        self._count_rule(receipt)
        self._count_ingress(receipt)
        if receipt.code is not None:
            key = (receipt.outcome.value, receipt.code, receipt.status, receipt.rule)
            self._refusals[key] += 1
        for tried in receipt.attempts:
            self._attempts[tried.country, tried.outcome] += 1
        for country in receipt.planned_in:
            self._planned[country] += 1
        self._releases[receipt.release, receipt.release_hash] += 1
        if judged.missing is not None:
            self.unjudged[judged.missing] += 1
        for breach in judged.breaches:
            self.breaches.add(breach.kind, f"{where}: receipt {receipt.id}", breach.words)

    def _count_place(self, receipt: Receipt, owners: tuple[str, ...]) -> None:
        self.cached += receipt.cache == "hit"
        if receipt.processed_in is None and receipt.served_pop is None:
            self.unprocessed += 1
            return
        key = (
            receipt.processed_in or NONE,
            receipt.served_pop or NONE,
            receipt.served_entity or NONE,
            owners,
        )
        counts = self._places.setdefault(key, [0, 0])
        counts[0] += 1
        counts[1] += receipt.attested is not None

    def _count_rule(self, receipt: Receipt) -> None:
        key = (receipt.rule, receipt.zone or NONE, receipt.policy or NONE, receipt.handling)
        release = receipt.release
        counts = self._rules.setdefault(key, [0, 0, release, release])
        counts[0] += 1
        counts[1] += receipt.outcome is Outcome.REFUSED
        counts[2:] = [min(counts[2], release), max(counts[3], release)]

    def _count_ingress(self, receipt: Receipt) -> None:
        how = "transit" if receipt.transit else "in zone"
        if not receipt.zone:
            how = "refused at the door"
        self._ingress[receipt.ingress_country, receipt.ingress_pop, how] += 1

    def _forget(self) -> None:
        """Receipts that were offered and are not among the smallest any more."""
        assert self._draw is not None, "there is a sample"
        drawn = {(stream, seq) for _, stream, seq in self._draw.drawn}
        self._sampled = {key: one for key, one in self._sampled.items() if key in drawn}

    # What came of it, in order.

    def places(self) -> tuple[ProcessedAt, ...]:
        """Where it was processed."""
        return tuple(ProcessedAt(*key, *counts) for key, counts in sorted(self._places.items()))

    def rules(self) -> tuple[ByRule, ...]:
        """By which rules."""
        return tuple(
            ByRule(*key, receipts, refused, (first, last))
            for key, (receipts, refused, first, last) in sorted(self._rules.items())
        )

    def ingress(self) -> tuple[ByIngress, ...]:
        """Where it came in."""
        return tuple(ByIngress(*key, count) for key, count in sorted(self._ingress.items()))

    def refusals(self) -> tuple[ByRefusal, ...]:
        """What was not served."""
        return tuple(ByRefusal(*key, count) for key, count in sorted(self._refusals.items()))

    def attempts(self) -> tuple[Sent, ...]:
        """Where bytes were sent."""
        return tuple(Sent(*key, count) for key, count in sorted(self._attempts.items()))

    def planned(self) -> tuple[Sent, ...]:
        """Where they might have been sent."""
        return tuple(Sent(one, "planned", count) for one, count in sorted(self._planned.items()))

    def releases(self) -> tuple[ReleaseUsed, ...]:
        """Under which releases."""
        return tuple(ReleaseUsed(*key, count) for key, count in sorted(self._releases.items()))

    def sampled(self) -> tuple[SampledReceipt, ...]:
        """The receipts that were drawn, smallest score first."""
        if self._draw is None:
            return ()
        found = []
        for score, stream, seq in self._draw.drawn:
            origin = Origin(*stream)
            sealed = self._sampled[origin, seq]
            leaf = sealed.leaf().hex()
            found.append(SampledReceipt(score, *stream, seq, leaf, sealed.salt, sealed.receipt))
        return tuple(found)
