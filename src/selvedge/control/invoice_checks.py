"""Issued invoices held against receipts: made again from their cuts, and by a plain fold.

Two ways to the same money. The first makes each invoice again as it was made, and compares bytes.
The second takes every receipt by itself, settles it anew, and asks whether what the invoices of a
month add up to is what its receipts come to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from selvedge.control.invoice_store import InvoiceStore
from selvedge.control.invoicing import Receipts, make_again
from selvedge.fabric import SelvedgeError
from selvedge.ledger import (
    Bill,
    Closing,
    Invoice,
    MonthlyUsage,
    Origin,
    Sealed,
    bill_month,
    in_currency,
    month_bounds,
    write_invoice,
)

NAMED_MAX: Final = 20
"""Differing rows of one invoice that are named."""


class InvoiceFinding(NamedTuple):
    """What differs of one invoice."""

    number: str
    what: str


class InvoicesChecked(NamedTuple):
    """How many invoices hold, how many could not be looked at, and what differs."""

    checked: int
    unchecked: int
    """None of the receipts in their cuts are here any more."""
    findings: list[InvoiceFinding]


def check_invoices(store: InvoiceStore, receipts: Receipts) -> InvoicesChecked:
    """Hold every issued invoice against the receipts."""
    findings: list[InvoiceFinding] = []
    checked = unchecked = 0
    for tenant in store.tenants():
        try:
            closings = store.closings(tenant)
            usages = _plain(tenant, closings, receipts)
        except SelvedgeError as error:
            findings.append(InvoiceFinding(f"those of {tenant}", str(error)))
            continue
        for closing in closings:
            usage = usages[closing.month]
            if closing.numbers.count and not usage.count:
                unchecked += 1
                continue
            checked += 1
            number = closing.invoice.number
            words = [*_again(closing.invoice, store, receipts), *_added_up(closing, usage, store)]
            findings += [InvoiceFinding(number, one) for one in words]
    return InvoicesChecked(checked, unchecked, findings)


def _again(invoice: Invoice, store: InvoiceStore, receipts: Receipts) -> Iterator[str]:
    """Made again it has the same bytes; or what differs."""
    try:
        made = make_again(invoice, receipts, store)
    except SelvedgeError as error:
        yield f"it cannot be made again: {error}"
        return
    if write_invoice(made) == write_invoice(invoice):
        return
    issued, again = _facts(invoice), _facts(made)
    names = [name for name in {**issued, **again} if issued.get(name) != again.get(name)]
    for name in names[:NAMED_MAX]:
        yield f"{name}: issued {issued.get(name, 'none')}, receipts say {again.get(name, 'none')}"
    if len(names) > NAMED_MAX:
        yield f"and {len(names) - NAMED_MAX} rows more"
    if not names:
        yield "its bytes are not those that its receipts make"


def _facts(invoice: Invoice) -> dict[str, str]:
    """An invoice as rows that have names."""
    found = {"total": in_currency(invoice.total_micro_dollars)}
    for bill in (invoice.bill, *(one.bill for one in invoice.adjustments)):
        found[f"receipts of {bill.month}"] = str(bill.receipts)
        found |= {f"{bill.month} {end}": str(count) for end, count in bill.ends.items()}
        found |= _lines(bill)
        for group in bill.groups:
            name = f"{bill.month} {group.project} {group.model} {group.zone} {group.sort}"
            found[f"receipts of {name} since {group.since}"] = str(group.streams)
    return found


def _lines(bill: Bill) -> dict[str, str]:
    found = {}
    for line in bill.lines:
        name = f"{bill.month} {line.words}"
        if line.group is not None:
            group = bill.groups[line.group]
            name += f", project {group.project}, since {group.since}, {group.book}"
        found[name] = f"{in_currency(line.amount_micro_dollars)} of {line.quantity or '-'}"
    return found


def _plain(
    tenant: str, closings: Iterable[Closing], receipts: Receipts
) -> Mapping[str, MonthlyUsage]:
    """Receipts of each closed month that its invoices name, taken one by one."""
    asked = [(month_bounds(one.month), one.numbers, MonthlyUsage(), one) for one in closings]
    for row in receipts.rows():
        if row.tenant != tenant or row.conflict:
            continue
        key = (Origin(row.pop, row.worker), row.seq)
        for (since, until), numbers, usage, _ in asked:
            if since <= row.received_us < until and key in numbers:
                sealed = Sealed(msgspec.Raw(row.receipt.encode()), row.salt)
                usage.add_receipt(sealed.decode())
    return {closing.month: usage for _, _, usage, closing in asked}


def _added_up(closing: Closing, usage: MonthlyUsage, store: InvoiceStore) -> list[str]:
    try:
        return list(_sum(closing, usage, store))
    except SelvedgeError as error:
        return [f"its receipts cannot be rated: {error}"]


def _sum(closing: Closing, usage: MonthlyUsage, store: InvoiceStore) -> Iterator[str]:
    """A month's invoices add up to the fold of its receipts, if all were made by one book."""
    numbers = closing.numbers
    if usage.count != numbers.count:
        yield f"{numbers.count - usage.count} of its {numbers.count} receipts are not here"
        return
    names = {closing.invoice.number, *(name for name, _ in closing.later)}
    tenant = closing.invoice.tenant
    hashes = {one.prices_hash for one in store.of_tenant(tenant) if one.number in names}
    if len(hashes) > 1:
        return
    book = store.book(closing.invoice.prices_hash)
    bill = bill_month(tenant, closing.month, usage, book, closing.invoice.credits)
    total = sum(one.total_micro_dollars for one in closing.bills)
    if total != bill.total_micro_dollars:
        billed, due = in_currency(total), in_currency(bill.total_micro_dollars)
        yield f"invoices of {closing.month} add up to {billed}, its receipts come to {due}"
