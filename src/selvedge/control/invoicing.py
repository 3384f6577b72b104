"""Invoices from what is on this machine: fold, rate, close; and make a closed one again.

Receipts come from collectors' directories, or from the journals of a home, as `selvedge usage`
reads them. Nothing here decides about money: that is the ledger's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
from ruamel.yaml.error import YAMLError

from selvedge.adapters import fold_parts, one_line, read_yaml
from selvedge.control.accounts import (
    Snapshot,
    is_collector,
    pop_directories,
    rows_of_journals,
)
from selvedge.control.home import Home
from selvedge.control.invoice_store import InvoiceStore, check_tenant, closings_of
from selvedge.fabric import SelvedgeError
from selvedge.ledger import (
    Adjustment,
    BadPriceBook,
    Closing,
    CreditDue,
    FoldAsked,
    Folded,
    Invoice,
    MonthlyUsage,
    PriceBook,
    UsageRow,
    adjust_month,
    bill_month,
    check_month,
    day_of,
    end_day,
    first_day,
    fold_rows,
    invoice_number,
    join_folds,
    make_invoice,
    month_bounds,
)


def read_book(path: Path) -> PriceBook:
    """A price book as people write it: YAML, or JSON. Raises `BadPriceBook`."""
    try:
        return msgspec.convert(read_yaml(path.read_text("utf-8")), PriceBook)
    except OSError as error:
        raise BadPriceBook(str(path), f"cannot be read: {error.strerror}") from error
    except (YAMLError, msgspec.ValidationError) as error:
        raise BadPriceBook(str(path), one_line(error)) from error


class Receipts:
    """Where a tenant's receipts are on this machine: collectors that are named, else journals."""

    def __init__(self, snapshots: list[Snapshot], pops: list[Path]) -> None:
        self.snapshots = snapshots
        self.pops = [] if snapshots else pops

    @classmethod
    def at(cls, home: Home, collected: Iterable[Path]) -> Receipts:
        """As `selvedge usage` looks for them. Raises `SelvedgeError` where there are none."""
        named = list(collected)
        for directory in named:
            if not is_collector(directory):
                raise SelvedgeError(f"{directory} is no collector's directory: it has no segment")
        pops = pop_directories(home)
        if not named and not pops:
            raise SelvedgeError(
                f"no PoP has receipts under {home.directory}; give its --home, or --collected DIR"
            )
        return cls([Snapshot(one) for one in named], pops)

    def fold(self, wish: FoldAsked) -> Folded:
        """Usage by tenant. Raises `DoubleReceipt`."""
        parts = [part for one in self.snapshots for part in one.parts]
        logs = (fold_rows(one.rows_of_log(), wish) for one in self.snapshots)
        journals = (fold_rows(rows_of_journals(one), wish) for one in self.pops)
        return join_folds((fold_parts(parts, wish), *logs, *journals))

    def rows(self) -> Iterator[UsageRow]:
        """All receipts, one by one."""
        for snapshot in self.snapshots:
            yield from snapshot.rows()
        for pop in self.pops:
            yield from rows_of_journals(pop)


class Invoicing:
    """Drafts and issues invoices of one home by one price book."""

    def __init__(
        self,
        home: Home,
        receipts: Receipts,
        book: PriceBook,
        credits: Mapping[str, tuple[CreditDue, ...]] | None = None,
    ) -> None:
        self.store = InvoiceStore(home)
        self._receipts = receipts
        self._book = book
        self._credits = credits or {}
        self._months: dict[str, Folded] = {}

    def tenants(self, month: str) -> list[str]:
        """Who has receipts in a month, a contract, or closed months that may have late ones."""
        first, end = first_day(month), end_day(month)
        agreed = {
            one.tenant
            for one in self._book.contracts
            if one.since < end and first < (one.until or end)
        }
        return sorted({*self._month(month), *agreed, *self.store.tenants()})

    def draft(self, tenant: str, month: str, *, alone: bool = True) -> Invoice:
        """An invoice as it would be now. Raises `Unpriced`, `BadPriceBook`, `DoubleReceipt`.

        ``alone``: no other tenant will be asked for, and only this one's receipts are read.
        """
        check_tenant(tenant)
        usage = self._month(check_month(month), tenant if alone else None).get(tenant)
        credits = self._credits.get(tenant, ())
        bill = bill_month(tenant, month, usage or MonthlyUsage(), self._book, credits)
        closed = [one for one in self.store.closings(tenant) if one.month < month]
        adjustments = [made for one in closed if (made := self._adjust(tenant, one)) is not None]
        return make_invoice(tenant, self._book, bill, adjustments, credits)

    def _month(self, month: str, tenant: str | None = None) -> Folded:
        if tenant is not None:
            return self._receipts.fold(FoldAsked(*month_bounds(month), tenant))
        if month not in self._months:
            self._months[month] = self._receipts.fold(FoldAsked(*month_bounds(month)))
        return self._months[month]

    def _adjust(self, tenant: str, closing: Closing) -> Adjustment | None:
        wish = FoldAsked(*month_bounds(closing.month), tenant, without=closing.numbers)
        late = self._receipts.fold(wish).get(tenant)
        return None if late is None else adjust_month(tenant, closing, late, self._book)

    def issue(self, tenant: str, month: str, now_us: int, *, alone: bool = True) -> Invoice:
        """Close a month and keep its invoice. Raises `SelvedgeError` where it cannot be closed."""
        if now_us < month_bounds(check_month(month))[1]:
            raise SelvedgeError(f"{month} is not over; issue it from {end_day(month)} on, UTC")
        with self.store.issuing():
            if self.store.read(tenant, month) is not None:
                path = self.store.path(tenant, month)
                raise SelvedgeError(f"{path} is issued: it stays as it is; leave out --issue")
            draft = self.draft(tenant, month, alone=alone)
            number, day = invoice_number(tenant, month), day_of(now_us)
            issued = msgspec.structs.replace(draft, number=number, issued=day)
            self.store.keep(issued, self._book)
        return issued


def make_again(invoice: Invoice, receipts: Receipts, store: InvoiceStore) -> Invoice:
    """An issued invoice computed anew: its receipts by its cut, its book, what came before it.

    Raises `SelvedgeError` where that is not to be had.
    """
    book, tenant = store.book(invoice.prices_hash), invoice.tenant
    usage = _of_cut(
        receipts, tenant, invoice.bill.month, FoldAsked(0, 0, only=invoice.bill.numbers)
    )
    bill = bill_month(tenant, invoice.bill.month, usage, book, invoice.credits)
    closings = {one.invoice.number: one for one in closings_of(store.of_tenant(tenant))}
    adjustments = []
    for one in invoice.adjustments:
        whole = closings[one.invoice]
        later = tuple((name, made) for name, made in whole.later if name in one.after)
        wish = FoldAsked(0, 0, only=one.bill.numbers)
        late = _of_cut(receipts, tenant, one.bill.month, wish)
        adjustments.append(adjust_month(tenant, Closing(whole.invoice, later), late, book))
    made = make_invoice(tenant, book, bill, adjustments, invoice.credits)
    return msgspec.structs.replace(made, number=invoice.number, issued=invoice.issued)


def _of_cut(receipts: Receipts, tenant: str, month: str, wish: FoldAsked) -> MonthlyUsage:
    since, until = month_bounds(month)
    asked = wish._replace(since_us=since, until_us=until, tenant=tenant)
    return receipts.fold(asked).get(tenant) or MonthlyUsage()
