"""Invoices from what is on this machine: fold, rate, close; and make a closed one again.

Receipts come from collectors' directories, or from the journals of a home, as `selvedge usage`
reads them. Nothing here decides about money: that is the ledger's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from selvedge.adapters import fold_parts, read_prices
from selvedge.control.accounts import (
    Snapshot,
    is_collector,
    pop_directories,
    rows_of_journals,
)
from selvedge.control.home import Home
from selvedge.control.invoice_store import InvoiceStore, check_tenant, closings_of
from selvedge.fabric import PROBE_TENANT, SelvedgeError, StoreCorrupt
from selvedge.ledger import (
    Adjustment,
    BadPriceBook,
    Bill,
    Closing,
    CreditDue,
    FoldAsked,
    Folded,
    Invoice,
    MonthlyUsage,
    PriceBook,
    Unpriced,
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
    starts_of,
    terms_of,
)


def book_of(home: Home, path: Path | None = None) -> PriceBook:
    """The price book of a file, else the newest that was published. Raises `BadPriceBook`."""
    if path is not None:
        return read_prices(path)
    held = home.prices().newest()
    if held is None:
        words = f"none is published under {home.directory}; 'selvedge price publish', or --prices"
        raise BadPriceBook("price book", words)
    return held.book


class Receipts:
    """Where receipts are on this machine: collectors; journals for what these do not collect."""

    def __init__(self, snapshots: list[Snapshot], pops: list[Path]) -> None:
        self.snapshots = snapshots
        self.pops = pops
        self._collected = {one.zone for one in snapshots} if pops else set[str]()

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
        return cls([Snapshot(one) for one in named], [] if named else pops)

    def fold(self, wish: FoldAsked) -> Folded:
        """Usage by tenant. Raises `DoubleReceipt`."""
        parts = [part for one in self.snapshots for part in one.parts]
        logs = (fold_rows(one.rows_of_log(), wish) for one in self.snapshots)
        journals = fold_rows(self._journals(), wish)
        return join_folds((fold_parts(parts, wish), *logs, journals))

    def rows(self) -> Iterator[UsageRow]:
        """All receipts, one by one."""
        for snapshot in self.snapshots:
            yield from snapshot.rows()
        yield from self._journals()

    def rows_outside_parts(self) -> Iterator[UsageRow]:
        """Receipts that are in no partition: of collectors' logs, and of journals."""
        for snapshot in self.snapshots:
            yield from snapshot.rows_of_log()
        yield from self._journals()

    def _journals(self) -> Iterator[UsageRow]:
        for pop in self.pops:
            yield from (row for row in rows_of_journals(pop) if row.zone not in self._collected)


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
        """Who has receipts in a month, a contract, or late receipts of months that are closed.

        Probes are of no customer.
        """
        first, end = first_day(month), end_day(month)
        agreed = {
            one.tenant
            for one in self._book.contracts
            if one.since < end and first < (one.until or end)
        }
        busy = {*self._month(month), *agreed} - {PROBE_TENANT}
        quiet = [one for one in self.store.tenants() if one not in busy]
        return sorted({*busy, *(one for one in quiet if self._owes(one, month))})

    def _owes(self, tenant: str, month: str) -> bool:
        """Whether there are late receipts, or it cannot be said: one tenant stops no other's."""
        try:
            return bool(self.draft(tenant, month, alone=False).adjustments)
        except SelvedgeError:
            return True  # whoever asks for its invoice is told why

    def _has_agreed(self, tenant: str, month: str) -> bool:
        return any(one.contract is not None for one in terms_of(self._book, tenant, month))

    def draft(self, tenant: str, month: str, *, alone: bool = True) -> Invoice:
        """An invoice as it would be now. Raises `Unpriced`, `BadPriceBook`, `DoubleReceipt`.

        ``alone``: no other tenant will be asked for, and only this one's receipts are read.
        """
        check_tenant(tenant)
        bill = self._bill(tenant, check_month(month), alone=alone)
        closed = [one for one in self.store.closings(tenant) if one.month < month]
        adjustments = [made for one in closed if (made := self._adjust(tenant, one)) is not None]
        return make_invoice(tenant, self._book, bill, adjustments, self._credits.get(tenant, ()))

    def _bill(self, tenant: str, month: str, *, alone: bool) -> Bill:
        usage = self._month(month, tenant if alone else None).get(tenant) or MonthlyUsage()
        credits = self._credits.get(tenant, ())
        try:
            return bill_month(tenant, month, usage, self._book, credits)
        except Unpriced:  # a fold by periods does not know which days it is
            wish = FoldAsked(*month_bounds(month), tenant)
            usage = self._receipts.fold(wish).get(tenant) or MonthlyUsage()
            return bill_month(tenant, month, usage, self._book, credits)

    def _month(self, month: str, tenant: str | None = None) -> Folded:
        wish = FoldAsked(*month_bounds(month), tenant, starts=starts_of(self._book, month, tenant))
        if tenant is not None:
            return self._receipts.fold(wish)
        if month not in self._months:
            self._months[month] = self._receipts.fold(wish)
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
            if not (draft.bill.receipts or draft.adjustments or self._has_agreed(tenant, month)):
                words = (
                    f"tenant {tenant} has no receipts and no contract in {month}; check its name"
                )
                raise SelvedgeError(f"there is nothing to issue: {words}")
            number, day = invoice_number(tenant, month), day_of(now_us)
            issued = msgspec.structs.replace(draft, number=number, issued=day)
            self.store.keep(issued, self._book)
        return issued


def make_again(invoice: Invoice, receipts: Receipts, store: InvoiceStore) -> Invoice:
    """An issued invoice computed anew: its receipts by its cut, its book, what came before it.

    Raises `SelvedgeError` where that is not to be had.
    """
    book, tenant = store.book(invoice.prices_hash), invoice.tenant
    month = invoice.bill.month
    cut = FoldAsked(0, 0, only=invoice.bill.numbers, starts=starts_of(book, month, tenant))
    usage = _of_cut(receipts, tenant, month, cut)
    bill = bill_month(tenant, month, usage, book, invoice.credits)
    closings = {one.invoice.number: one for one in closings_of(store.of_tenant(tenant))}
    adjustments = []
    for one in invoice.adjustments:
        whole = closings.get(one.invoice)
        if whole is None:
            path = store.path(tenant, one.bill.month)
            raise StoreCorrupt(f"{path} is gone, and this invoice adjusts it; restore it")
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
