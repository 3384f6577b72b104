"""What the cache has saved, from the receipts of this machine, at the prices that hold."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from selvedge.adapters import rows_between
from selvedge.control.home import Home
from selvedge.control.invoicing import Receipts
from selvedge.fabric import Price, Receipt, Release
from selvedge.ledger import (
    PPM,
    MonthlyUsage,
    PriceBook,
    Saved,
    SavingsFold,
    Sums,
    Unpriced,
    bill_month,
    cost_ppm,
)

_decode = msgspec.json.Decoder(Receipt).decode


def saved_of(
    home: Home, receipts: Receipts, span: tuple[int, int], tenant: str | None
) -> list[Saved]:
    """By tenant, model and month, of what was received in the span (microseconds).

    Money is by the price book that was published last, before discounts and minimums; without one
    by the release's prices. Costs are those that the release's engines name.
    """
    fold = SavingsFold()
    since_us, until_us = span
    for snapshot in receipts.snapshots:
        for row in rows_between(snapshot.parts, since_us, until_us, tenant):
            if not row.conflict:
                fold.take(_decode(row.receipt))
    for row in receipts.rows_outside_parts():
        inside = since_us <= row.received_us < until_us and tenant in (None, row.tenant)
        if inside and not row.conflict:
            fold.take(_decode(row.receipt))
    release = home.release()
    held = home.prices().newest()
    biller = _ByBook(held.book) if held is not None else _ByRelease(release)
    return list(fold.rows(biller, _costs(release)))


class _ByBook:
    """Bills as invoices do."""

    def __init__(self, book: PriceBook) -> None:
        self._book = book

    def __call__(self, tenant: str, month: str, usage: MonthlyUsage) -> int | None:
        try:
            bill = bill_month(tenant, month, usage, self._book)
        except Unpriced:
            return None
        return sum(line.amount_micro_dollars for line in bill.lines if line.group is not None)


class _ByRelease:
    """Bills at a release's prices, where there is no book: a hit costs nothing."""

    def __init__(self, release: Release | None) -> None:
        models = release.models if release is not None else ()
        self._prices = {one.id: one.price for one in models}

    def __call__(self, tenant: str, month: str, usage: MonthlyUsage) -> int | None:
        whole = 0
        for atom, counts in usage.atoms.items():
            price = self._prices.get(atom.model)
            if price is None:
                return None
            sums = Sums(
                counts.requests, counts.input, counts.cached, counts.cache_write, counts.output
            )
            whole += cost_ppm(price, sums, counts.requests)
        return whole // PPM


def _costs(release: Release | None) -> Mapping[str, Price]:
    sites = release.sites if release is not None else ()
    return {
        f"{site.id}/{engine.id}": engine.cost
        for site in sites
        for engine in site.engines
        if engine.cost is not None
    }
