"""What a journal owes its clients after every kind of death: the books are balanced here. Pure.

A receipt is lost if a client was told of it and it is not there, double if it is there twice; a
number is a gap if it does not follow the one before it of its tenant. An intent without a receipt,
and a segment header that disagrees with the lines before it, are faults too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from selvedge.fabric import Outcome, Receipt, StoreCorrupt
from selvedge.ledger import Intent, Sealed, SegmentHeader, read_line


@dataclass(slots=True)
class Told:
    """What clients know. Acknowledged: receipt id -> status, of answers whose end they have seen.

    ``heard``: ids of answers whose head they have seen, ended or not.
    """

    acknowledged: dict[str, int] = field(default_factory=dict)
    heard: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Audit:
    """Counts over a whole journal; every ``list`` holds what should not exist."""

    intents: int = 0
    receipts: int = 0
    segments: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    double: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)
    contradicted: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    @property
    def faults(self) -> dict[str, list[str]]:
        """What should not exist, by kind."""
        return {
            "lost": self.lost,
            "double": self.double,
            "gaps": self.gaps,
            "unsettled": self.unsettled,
            "contradicted": self.contradicted,
            "damaged": self.damaged,
        }

    @property
    def holds(self) -> bool:
        """Whether the books are balanced."""
        return not any(self.faults.values())


class _Reading:
    """The fold over one PoP's journals, each one's lines oldest first."""

    def __init__(self) -> None:
        self.audit = Audit()
        self.open: set[str] = set()
        self.seqs: dict[str, int] = {}
        self.segments = 0
        self.outcomes: dict[str, tuple[Outcome, int]] = {}
        self.requests: set[str] = set()

    def journal(self, lines: Iterable[bytes]) -> None:
        """One journal: numbers and open intents are its own, receipts are the PoP's."""
        self.open, self.seqs, self.segments = set(), {}, 0
        for line in lines:
            self.line(line)
        self.audit.unsettled += sorted(self.open)

    def line(self, line: bytes) -> None:
        try:
            if not line.endswith(b"\n"):
                raise StoreCorrupt("a line without its end")
            record = read_line(line[:-1])
        except StoreCorrupt as error:
            self.audit.damaged.append(f"{error}: {line[:60]!r}")
            return
        match record:
            case SegmentHeader():
                self._header(record)
            case Intent():
                self.audit.intents += 1
                if record.receipt.id in self.open or record.receipt.id in self.outcomes:
                    self.audit.double.append(f"intent {record.receipt.id}")
                self.open.add(record.receipt.id)
            case Sealed():
                self._receipt(record.decode())
            case _:
                pass

    def _header(self, header: SegmentHeader) -> None:
        self.audit.segments += 1
        self.segments += 1
        wrong = [
            words
            for words, one, other in (
                ("number", header.segment, self.segments),
                ("seqs", header.seqs, self.seqs),
                ("open", {intent.receipt.id for intent in header.open}, self.open),
            )
            if one != other
        ]
        self.audit.damaged += [f"header {header.segment}: {words}" for words in wrong]

    def _receipt(self, receipt: Receipt) -> None:
        audit = self.audit
        audit.receipts += 1
        audit.outcomes[receipt.outcome.value] += 1
        if receipt.id in self.outcomes or receipt.request_id in self.requests:
            audit.double.append(receipt.id)
        expected = self.seqs.get(receipt.tenant, 0) + 1
        if receipt.seq != expected:
            audit.gaps.append(f"{receipt.tenant}: {receipt.seq} where {expected} was due")
        self.seqs[receipt.tenant] = receipt.seq
        self.outcomes[receipt.id] = (receipt.outcome, receipt.status)
        self.requests.add(receipt.request_id)
        self.open.discard(receipt.id)


def audit(lines: Iterable[bytes], told: Told) -> Audit:
    """Read a whole journal, closed by now, and compare it with what clients were told."""
    return audit_all([lines], told)


def audit_all(journals: Iterable[Iterable[bytes]], told: Told) -> Audit:
    """The same for all journals of a PoP, one for each worker that ran at once."""
    reading = _Reading()
    for lines in journals:
        reading.journal(lines)
    found = reading.audit
    found.lost += sorted((told.heard | told.acknowledged.keys()) - reading.outcomes.keys())
    found.contradicted += _contradicted(told.acknowledged, reading.outcomes)
    return found


def _contradicted(
    acknowledged: Mapping[str, int], outcomes: Mapping[str, tuple[Outcome, int]]
) -> list[str]:
    """Acknowledged answers whose receipts say something else than the client was told."""
    wrong = []
    for receipt_id, status in acknowledged.items():
        outcome, written = outcomes.get(receipt_id, (None, status))
        if outcome is None:
            continue
        if written != status or (outcome is Outcome.COMPLETE) != (status == 200):
            wrong.append(f"{receipt_id}: told {status}, written {outcome} {written}")
    return wrong
