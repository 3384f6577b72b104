"""A second reckoning of a month, in fractions, receipt by receipt; it shares no code with ours.

It asks `settle` what a receipt bills, and nothing else of the ledger.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime
from fractions import Fraction
from math import floor

from selvedge.fabric import Receipt
from selvedge.ledger import Contract, PriceBook, PriceRow, settle

MILLION = 1_000_000


def nearest(amount: Fraction) -> int:
    """Half up, away from zero."""
    size = floor(abs(amount) + Fraction(1, 2))
    return size if amount >= 0 else -size


def day(receipt: Receipt) -> str:
    return datetime.fromtimestamp(receipt.received_us / 1e6, UTC).date().isoformat()


def holds(since: str, until: str | None, on: str) -> bool:
    begun = date.fromisoformat(since) <= date.fromisoformat(on)
    return begun and (until is None or date.fromisoformat(on) < date.fromisoformat(until))


def row_of(book: PriceBook, contract: Contract | None, receipt: Receipt) -> tuple[str, PriceRow]:
    shelves = [("list", book.prices)]
    if contract is not None:
        shelves.insert(0, ("contract", contract.prices))
    for shelf, rows in shelves:
        for zone in (receipt.zone, None):
            for row in rows:
                fits = row.model == receipt.model and row.zone == zone
                if fits and holds(row.since, row.until, day(receipt)):
                    return shelf, row
    raise LookupError(receipt.model)


class Month:
    """Sums of a month's receipts, each with its price, to be rounded once."""

    def __init__(self, book: PriceBook, tenant: str) -> None:
        self.book = book
        self.contract = next((one for one in book.contracts if one.tenant == tenant), None)
        self.lines: dict[tuple[object, ...], Fraction] = defaultdict(Fraction)
        self.neurons: dict[str, Fraction] = defaultdict(Fraction)

    def take(self, receipt: Receipt) -> None:
        settlement = settle(receipt)
        billed, hit = settlement.billed, settlement.row == "cache_hit"
        if not hit and billed.input + billed.generated == 0:
            return
        shelf, row = row_of(self.book, self.contract, receipt)
        sort = {"cache_hit": "hit", "batch_line": "batch"}.get(settlement.row, "")
        keep = Fraction(MILLION - (row.batch_discount_ppm if sort == "batch" else 0), MILLION)
        where = (receipt.project, receipt.model, receipt.zone, sort, shelf, row.zone, row.since)
        if hit:
            self.lines[*where, "hit", row.cache_hit] += row.cache_hit
            return
        self.lines[*where, "request", row.request * keep] += row.request * keep
        if self.contract is not None and self.contract.unit == "neurons":
            prompt, answer = row.neurons_input or 0, row.neurons_output or 0
            used = keep * Fraction(billed.input * prompt + billed.generated * answer, MILLION)
            self.neurons[day(receipt)] += used
            self.lines[*where, "neurons", 0] += used * self._neuron()
            return
        for name, count, price in (
            ("input", billed.input_uncached, row.input),
            ("read", billed.cache_read, row.input if row.cached is None else row.cached),
            (
                "write",
                billed.cache_write,
                row.input if row.cache_write is None else row.cache_write,
            ),
            ("output", billed.output + billed.reasoning, row.output),
        ):
            self.lines[*where, name, price * keep] += Fraction(count * price, MILLION) * keep

    def _neuron(self) -> Fraction:
        assert self.book.neurons is not None
        return Fraction(self.book.neurons.micro_dollars_per_1000, 1000)

    def total(self) -> int:
        amount = sum(nearest(line) for line in self.lines.values())
        if self.neurons:
            assert self.book.neurons is not None
            free = self.book.neurons.free_per_day
            given = sum((min(one, Fraction(free)) for one in self.neurons.values()), Fraction())
            amount -= nearest(given * self._neuron())
        if self.contract is None:
            return amount
        amount -= nearest(Fraction(amount * self.contract.discount_ppm, MILLION))
        return amount + self._terms(self.contract, amount)

    def _terms(self, contract: Contract, amount: int) -> int:
        off = 0
        for at, tier in enumerate(contract.tiers):
            above = tier.above_micro_dollars
            most = amount
            if at + 1 < len(contract.tiers):
                most = min(amount, contract.tiers[at + 1].above_micro_dollars)
            if most > above:
                off += nearest(Fraction((most - above) * tier.discount_ppm, MILLION))
        charged = amount - off
        charged = max(charged, contract.committed_micro_dollars, contract.minimum_micro_dollars)
        return charged - amount + contract.sla_fee_micro_dollars


def total_of(receipts: Iterable[Receipt], book: PriceBook, tenant: str) -> int:
    """What a month's receipts come to, in micro-dollars."""
    month = Month(book, tenant)
    for one in receipts:
        month.take(one)
    return month.total()
