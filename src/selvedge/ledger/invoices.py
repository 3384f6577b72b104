"""Invoices: charges of a month as a document whose bytes anyone can make again.

An invoice folds the receipts of its cut and nothing else. A receipt of a month that is closed and
not in its cut is late: the next invoice has it as an adjustment, which is what the closed month
would have come to with it, minus what it came to. So the invoices of a month add up, to the last
micro-dollar, to the fold of its receipts, whenever they were closed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from selvedge.fabric import StoreCorrupt
from selvedge.ledger.amounts import decimal_of, digits_of, grouped, in_currency, percent_of
from selvedge.ledger.charges import Charges, CreditDue, RuleKey, charge, half_up
from selvedge.ledger.monthly_usage import MonthlyUsage, Numbers, Origin, Sort
from selvedge.ledger.months import end_day
from selvedge.ledger.price_book import BadPriceBook, PriceBook
from selvedge.ledger.ranges import Run
from selvedge.ledger.rating import (
    NEURON,
    PER,
    GroupKey,
    Kind,
    LineKey,
    Rated,
    Terms,
    rate,
    terms_of,
)

VERSION: Final = 1
KINDS: Final = tuple(PER)
UNITS: Final = {"requests": "request", "hits": "hit", "neurons": "neuron"}
"""What a line counts; every other kind: tokens."""
_MISSING: Final = ("commitment", "minimum")
_NEURON_DIGITS: Final = len(str(NEURON)) - 1
_PPM_DIGITS: Final = 6
_WORDS: Final = {
    "input": "input tokens",
    "cached": "cached input tokens",
    "cache_write": "input tokens written to the cache",
    "output": "output tokens",
    "requests": "requests",
    "hits": "answers from the cache",
    "neurons": "neurons",
}


class StreamSpan(msgspec.Struct, frozen=True):
    """Receipts of one journal of a PoP that a group folds."""

    pop: str
    worker: int
    first: int
    last: int
    count: int


class InvoiceGroup(msgspec.Struct, frozen=True, kw_only=True):
    """What was summed before it was priced, and whose receipts it is."""

    contract: str
    """The day since which it holds; empty: list terms."""
    project: str
    model: str
    zone: str
    sort: Sort
    book: str
    """``contract`` or ``list``: whose price it is."""
    row_zone: str
    row_since: str
    since: str
    """From this day, and before ``until``, this price held within the month."""
    until: str
    receipts: int
    streams: tuple[StreamSpan, ...]

    @property
    def key(self) -> GroupKey:
        """What it is known by, on every invoice."""
        return GroupKey(*(getattr(self, name) for name in GroupKey._fields))


class InvoiceLine(msgspec.Struct, frozen=True, kw_only=True):
    """One amount. ``quantity`` times ``price_micro_dollars``, for ``per`` of them, rounded once.

    Decimals are exact, and strings. A line of an adjustment has the late quantity, and what the
    month's amount changes by.
    """

    kind: str
    words: str
    amount_micro_dollars: int
    group: int | None = None
    """Which of the bill's groups it counts; None: it follows from the lines above it."""
    unit: str | None = None
    quantity: str | None = None
    price_micro_dollars: str | None = None
    per: int | None = None
    list_micro_dollars: int | None = None
    """What it would be at list prices."""
    contract: str = ""
    of: str = ""
    """A tier's amount, a credit's model."""


class Cut(msgspec.Struct, frozen=True):
    """Numbers of one journal of a PoP: runs, first and last included."""

    pop: str
    worker: int
    runs: tuple[Run, ...]


class DayNeurons(msgspec.Struct, frozen=True):
    """What the daily allowance is taken from."""

    contract: str
    day: str
    neurons: str


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """What receipts of one month come to."""

    month: str
    groups: tuple[InvoiceGroup, ...]
    lines: tuple[InvoiceLine, ...]
    total_micro_dollars: int
    receipts: int
    billed: int
    """How many of the receipts are in some group; the others bill nothing."""
    ends: dict[str, int]
    """How many receipts ended so, by the rows of settlement."""
    neurons: tuple[DayNeurons, ...]
    cut: tuple[Cut, ...]

    @property
    def numbers(self) -> Numbers:
        """The receipts it folds."""
        return Numbers.of_runs((Origin(one.pop, one.worker), one.runs) for one in self.cut)


class Adjustment(msgspec.Struct, frozen=True):
    """What late receipts change a closed month by, and the invoice that closed it."""

    invoice: str
    after: tuple[str, ...]
    """Invoices that had billed receipts of that month before."""
    bill: Bill


class Invoice(msgspec.Struct, frozen=True, kw_only=True):
    """A month of one tenant. ``number`` and ``issued`` (a UTC day) are empty on a draft."""

    v: int = VERSION
    number: str = ""
    issued: str = ""
    tenant: str
    currency: str
    prices_version: int
    prices_hash: str
    bill: Bill
    adjustments: tuple[Adjustment, ...]
    credits: tuple[CreditDue, ...]
    notes: tuple[str, ...]
    total_micro_dollars: int


class Closing(msgspec.Struct, frozen=True):
    """A closed month as its next adjustment sees it: what was billed for it so far."""

    invoice: Invoice
    later: tuple[tuple[str, Bill], ...] = ()
    """Adjustments that other invoices, which are named, made to it."""

    @property
    def month(self) -> str:
        """Of which month."""
        return self.invoice.bill.month

    @property
    def bills(self) -> tuple[Bill, ...]:
        """All that was billed for it."""
        return (self.invoice.bill, *(bill for _, bill in self.later))

    @property
    def numbers(self) -> Numbers:
        """The receipts that were billed."""
        found = Numbers()
        for bill in self.bills:
            found.join(bill.numbers)
        return found


def invoice_number(tenant: str, month: str) -> str:
    """What an invoice is called: there is one of a tenant and month."""
    return f"{tenant}-{month}"


def write_invoice(invoice: Invoice) -> bytes:
    """The canonical bytes: keys sorted, no floats, one line."""
    return msgspec.json.encode(invoice, order="sorted") + b"\n"


def read_invoice(data: bytes) -> Invoice:
    """An invoice from its bytes. Raises `StoreCorrupt`."""
    try:
        return msgspec.json.decode(data, type=Invoice)
    except msgspec.MsgspecError as error:
        raise StoreCorrupt(f"it is no invoice: {error}") from error


def write_book(book: PriceBook) -> bytes:
    """The canonical bytes of a price book."""
    return msgspec.json.encode(book)


def hash_of_book(book: PriceBook) -> str:
    """What an invoice names it by, beside its version."""
    return "sha256:" + hashlib.sha256(write_book(book)).hexdigest()


def make_invoice(
    tenant: str,
    book: PriceBook,
    bill: Bill,
    adjustments: Iterable[Adjustment] = (),
    credits: Iterable[CreditDue] = (),
) -> Invoice:
    """A draft."""
    adjusted = tuple(sorted(adjustments, key=lambda one: one.bill.month))
    total = bill.total_micro_dollars + sum(one.bill.total_micro_dollars for one in adjusted)
    notes = () if bill.receipts else (f"There are no receipts of {bill.month}.",)
    return Invoice(
        tenant=tenant,
        currency=book.currency,
        prices_version=book.version,
        prices_hash=hash_of_book(book),
        bill=bill,
        adjustments=adjusted,
        credits=tuple(sorted(credits)),
        notes=notes,
        total_micro_dollars=total,
    )


def bill_month(
    tenant: str,
    month: str,
    usage: MonthlyUsage,
    book: PriceBook,
    credits: Iterable[CreditDue] = (),
) -> Bill:
    """What a month's receipts come to. Raises `Unpriced`, `BadPriceBook`."""
    terms = terms_of(book, tenant, month)
    rated = rate(usage, book, terms)
    charges = charge(rated, book, terms, credits)
    return _bill(month, usage, rated, charges, _Words(book, terms, credits))


def adjust_month(tenant: str, closing: Closing, late: MonthlyUsage, book: PriceBook) -> Adjustment:
    """What late receipts change a closed month by. Raises `Unpriced`, `BadPriceBook`."""
    terms, credits = terms_of(book, tenant, closing.month), closing.invoice.credits
    before, rated = rated_of(closing.bills), rate(late, book, terms)
    then = charge(before, book, terms, credits)
    _check_terms(tenant, closing, terms, then)
    now = charge(before.plus(rated), book, terms, credits)
    usage = {key: now.usage[key] - then.usage.get(key, 0) for key in rated.quantities}
    rules = {
        key: now.rules.get(key, 0) - then.rules.get(key, 0)
        for key in [*now.rules, *(key for key in then.rules if key not in now.rules)]
    }
    changed = {key: amount for key, amount in rules.items() if amount}
    words = _Words(book, terms, credits, f"late for {closing.month}: ")
    bill = _bill(closing.month, late, rated, Charges(usage, changed), words)
    after = (closing.invoice.number, *sorted(name for name, _ in closing.later))
    return Adjustment(closing.invoice.number, after, bill)


def _check_terms(tenant: str, closing: Closing, terms: Sequence[Terms], then: Charges) -> None:
    """A closed month is adjusted under the contract that closed it. Raises `BadPriceBook`.

    Under another one its commitment would swallow late charges, though nobody has billed it.
    """
    billed: dict[tuple[str, str], int] = {}
    for line in (line for bill in closing.bills for line in bill.lines):
        if line.kind in _MISSING:
            key = (line.contract, line.kind)
            billed[key] = billed.get(key, 0) + line.amount_micro_dollars
    made = {
        (key.contract, key.rule): sum_ for key, sum_ in then.rules.items() if key.rule in _MISSING
    }
    groups = {group.contract for bill in closing.bills for group in bill.groups}
    billed = {key: sum_ for key, sum_ in billed.items() if sum_}
    if groups <= {one.key for one in terms} and billed == made:
        return
    words = (
        f"price book has other terms for {closing.month} than invoice {closing.invoice.number} was "
        "made by, and receipts came late for it; leave the contracts of issued months as they "
        f"were, and let another one begin on {end_day(closing.month)} or later"
    )
    raise BadPriceBook(f"contracts.{tenant}.since", words)


def rated_of(bills: Iterable[Bill]) -> Rated:
    """Quantities that bills tell of, read back."""
    found = Rated()
    for bill in bills:
        for line in bill.lines:
            if line.group is not None:
                key, quantity = line_key(bill, line), quantity_of(line)
                found.quantities[key] = found.quantities.get(key, 0) + quantity
        for one in bill.neurons:
            quantity = digits_of(one.neurons, _NEURON_DIGITS)
            found.count_neurons(one.contract, one.day, quantity)
    return found


def line_key(bill: Bill, line: InvoiceLine) -> LineKey:
    """What a line that counts something is known by, on every invoice."""
    assert line.group is not None, "it counts a group"
    assert line.price_micro_dollars is not None, "what is counted has a price"
    price_ppm = digits_of(line.price_micro_dollars, _PPM_DIGITS)
    kind: Kind = next(one for one in KINDS if one == line.kind)
    return LineKey(bill.groups[line.group].key, kind, price_ppm)


def quantity_of(line: InvoiceLine) -> int:
    """A line's quantity as a whole number: neurons in 10^-12."""
    return digits_of(line.quantity or "0", _NEURON_DIGITS if line.kind == "neurons" else 0)


def _bill(month: str, usage: MonthlyUsage, rated: Rated, charges: Charges, words: _Words) -> Bill:
    keys = sorted(rated.spans)
    places = {key: at for at, key in enumerate(keys)}
    lines = [
        _usage_line(key, places[key.group], rated, amount, words)
        for key, amount in sorted(
            charges.usage.items(), key=lambda one: (one[0].group, KINDS.index(one[0].kind), one[0])
        )
    ]
    lines += [
        InvoiceLine(
            kind=key.rule,
            words=words.of_rule(key),
            amount_micro_dollars=amount,
            contract=key.contract,
            of=key.of,
        )
        for key, amount in charges.rules.items()
    ]
    return Bill(
        month=month,
        groups=tuple(_group(key, rated) for key in keys),
        lines=tuple(lines),
        total_micro_dollars=charges.total,
        receipts=usage.count,
        billed=usage.billed,
        ends=dict(sorted(usage.ends.items())),
        neurons=tuple(
            DayNeurons(contract, day, decimal_of(quantity, _NEURON_DIGITS))
            for (contract, day), quantity in sorted(rated.neurons.items())
        ),
        cut=tuple(Cut(*origin, runs) for origin, runs in usage.numbers.runs()),
    )


def _group(key: GroupKey, rated: Rated) -> InvoiceGroup:
    spans = rated.spans[key]
    since, until = rated.days[key]
    return InvoiceGroup(
        **key._asdict(),
        since=since,
        until=until,
        receipts=sum(one.receipts for one in spans.values()),
        streams=tuple(StreamSpan(*origin, *spans[origin]) for origin in sorted(spans)),
    )


def _usage_line(key: LineKey, group: int, rated: Rated, amount: int, words: _Words) -> InvoiceLine:
    places = _NEURON_DIGITS if key.kind == "neurons" else 0
    return InvoiceLine(
        kind=key.kind,
        words=words.of_usage(key),
        amount_micro_dollars=amount,
        group=group,
        unit=UNITS.get(key.kind, "token"),
        quantity=decimal_of(rated.quantities[key], places),
        price_micro_dollars=decimal_of(key.price_ppm, _PPM_DIGITS),
        per=PER[key.kind],
        list_micro_dollars=half_up(rated.lists[key], key.divisor),
        contract=key.group.contract,
    )


class _Words:
    """What lines are called."""

    def __init__(
        self,
        book: PriceBook,
        terms: Sequence[Terms],
        credits: Iterable[CreditDue],
        prefix: str = "",
    ) -> None:
        self._book = book
        self._contracts = {one.key: one.contract for one in terms}
        self._since = {one.key: one.since for one in terms}
        self._credits = tuple(credits)
        self._prefix = prefix

    def of_usage(self, key: LineKey) -> str:
        """A line that counts."""
        sort = {"batch": ", batch", "cached": ""}.get(key.group.sort, "")
        return f"{self._prefix}{key.group.model}, {_WORDS[key.kind]}{sort}, {key.group.zone or '-'}"

    def of_rule(self, key: RuleKey) -> str:
        """A line that follows."""
        return self._prefix + self._rule(key)

    def _rule(self, key: RuleKey) -> str:
        contract = self._contracts[key.contract]
        if key.rule == "credit":
            since = self._since[key.contract]
            due = next(
                one for one in self._credits if one.model == key.of and one.since in ("", since)
            )
            return f"credit of {percent_of(due.ppm)} of charges of {key.of}: {due.why}"
        if key.rule == "allowance":
            free = self._book.neurons.free_per_day if self._book.neurons is not None else 0
            return f"free neurons, {free:,} a day"
        assert contract is not None, "other rules are a contract's"
        if key.rule == "discount":
            return f"contract discount of {percent_of(contract.discount_ppm)}"
        if key.rule == "tier":
            ppm = next(
                one.discount_ppm for one in contract.tiers if str(one.above_micro_dollars) == key.of
            )
            return f"discount of {percent_of(ppm)} on charges above {self._money(int(key.of))}"
        if key.rule == "commitment":
            return f"missing to the committed {self._money(contract.committed_micro_dollars)}"
        if key.rule == "minimum":
            return f"missing to the minimum of {self._money(contract.minimum_micro_dollars)}"
        return f"service level {contract.sla or 'as agreed'}, monthly fee"

    def _money(self, micro_dollars: int) -> str:
        return f"{grouped(in_currency(micro_dollars))} {self._book.currency}"
