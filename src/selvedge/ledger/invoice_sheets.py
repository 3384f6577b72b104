"""Invoices as rows: our own columns, and those of FOCUS 1.2 (FinOps Open Cost and Usage Spec).

Amounts are decimals of the billing currency, exact. A row names the receipts that it folds as
``pop/worker:first-last(count)``, journal by journal; what FOCUS has no column for begins with x_.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from selvedge.ledger.amounts import decimal_of, in_currency
from selvedge.ledger.invoices import Bill, Invoice, InvoiceGroup, InvoiceLine, quantity_of
from selvedge.ledger.months import end_day, first_day

FOCUS_VERSION: Final = "1.2"
_SERVICE: Final = "Selvedge inference"
_METERS: Final = {
    "input": "Input Tokens",
    "cached": "Cached Input Tokens",
    "cache_write": "Cache Write Tokens",
    "output": "Output Tokens",
    "requests": "Requests",
    "hits": "Cached Answers",
    "neurons": "Neurons",
}
_UNITS: Final = {"token": "Tokens", "request": "Requests", "hit": "Requests", "neuron": "Neurons"}
_PURCHASES: Final = ("commitment", "minimum", "sla_fee")


class InvoiceRow(NamedTuple):
    """One line with all that is known about it."""

    invoice: Invoice
    bill: Bill
    adjusts: str
    """The invoice whose month it changes; empty: it is of the invoice's own month."""
    line: InvoiceLine

    @property
    def group(self) -> InvoiceGroup | None:
        """What it counts."""
        return None if self.line.group is None else self.bill.groups[self.line.group]


def rows_of_invoice(invoice: Invoice) -> list[InvoiceRow]:
    """All lines: those of its own month, then adjustments."""
    found = [InvoiceRow(invoice, invoice.bill, "", line) for line in invoice.bill.lines]
    for one in invoice.adjustments:
        found += [InvoiceRow(invoice, one.bill, one.invoice, line) for line in one.bill.lines]
    return found


def streams_in_words(group: InvoiceGroup | None) -> str:
    """The receipts that a group folds."""
    if group is None:
        return ""
    return " ".join(
        f"{one.pop}/{one.worker}:{one.first}-{one.last}({one.count})" for one in group.streams
    )


def csv_of(invoices: Iterable[Invoice]) -> str:
    """Lines of invoices as CSV (RFC 4180), with a header."""
    rows = [_plain(row) for one in invoices for row in rows_of_invoice(one)]
    return _write(_PLAIN, rows)


_PLAIN: Final = (
    *("invoice", "tenant", "month", "of_month", "adjusts", "project", "model", "zone", "sort"),
    *("kind", "words", "unit", "quantity", "price_micro_dollars", "per", "amount_micro_dollars"),
    *("amount", "currency", "list_micro_dollars", "contract", "prices", "since", "until"),
    *("receipts", "streams"),
)


def _plain(row: InvoiceRow) -> dict[str, object]:
    line, group = row.line, row.group
    found: dict[str, object] = {
        "invoice": row.invoice.number or "draft",
        "tenant": row.invoice.tenant,
        "month": row.invoice.bill.month,
        "of_month": row.bill.month,
        "adjusts": row.adjusts,
        "kind": line.kind,
        "words": line.words,
        "unit": line.unit,
        "quantity": line.quantity,
        "price_micro_dollars": line.price_micro_dollars,
        "per": line.per,
        "amount_micro_dollars": line.amount_micro_dollars,
        "amount": in_currency(line.amount_micro_dollars),
        "currency": row.invoice.currency,
        "list_micro_dollars": line.list_micro_dollars,
        "contract": line.contract,
        "streams": streams_in_words(group),
    }
    if group is not None:
        names = ("project", "model", "zone", "sort", "since", "until", "receipts")
        found |= {name: getattr(group, name) for name in names}
        found["prices"] = group.book
    return found


def focus_of(invoices: Iterable[Invoice], provider: str) -> str:
    """Lines of invoices as FOCUS 1.2 has them, as CSV. ``provider`` is who sends the invoice."""
    rows = [_focus(row, provider) for one in invoices for row in rows_of_invoice(one)]
    return _write(FOCUS_COLUMNS, rows)


FOCUS_COLUMNS: Final = (
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingAccountType"),
    *("BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory"),
    *("ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd"),
    *("ChargePeriodStart", "ConsumedQuantity", "ConsumedUnit", "ContractedCost"),
    *("ContractedUnitPrice", "EffectiveCost", "InvoiceId", "InvoiceIssuerName", "ListCost"),
    *("ListUnitPrice", "PricingCategory", "PricingCurrency", "PricingQuantity", "PricingUnit"),
    *("ProviderName", "PublisherName", "RegionId", "RegionName", "ServiceCategory"),
    *("ServiceName", "ServiceSubcategory", "SkuId", "SkuMeter", "SkuPriceId", "SubAccountId"),
    *("SubAccountName", "SubAccountType", "Tags", "x_AdjustedInvoiceId", "x_Receipts"),
    *("x_ReceiptStreams", "x_Sort"),
)


def _focus(row: InvoiceRow, provider: str) -> dict[str, object]:
    line, invoice = row.line, row.invoice
    amount, month = in_currency(line.amount_micro_dollars), invoice.bill.month
    found: dict[str, object] = {
        "BilledCost": amount,
        "BillingAccountId": invoice.tenant,
        "BillingAccountName": invoice.tenant,
        "BillingAccountType": "Tenant",
        "BillingCurrency": invoice.currency,
        "BillingPeriodStart": _time(first_day(month)),
        "BillingPeriodEnd": _time(end_day(month)),
        "ChargeClass": "Correction" if row.adjusts else "",
        "ChargeDescription": line.words,
        "ContractedCost": amount,
        "EffectiveCost": amount,
        "InvoiceId": invoice.number,
        "InvoiceIssuerName": provider,
        "PricingCurrency": invoice.currency,
        "ProviderName": provider,
        "PublisherName": provider,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": _SERVICE,
        "ServiceSubcategory": "Generative AI",
        "Tags": "{}",
        "x_AdjustedInvoiceId": row.adjusts,
    }
    group = row.group
    return found | (_focus_rule(row) if group is None else _focus_usage(row, group))


def _focus_usage(row: InvoiceRow, group: InvoiceGroup) -> dict[str, object]:
    line, unit = row.line, _UNITS[row.line.unit or "token"]
    assert line.list_micro_dollars is not None, "it counts a group"
    price = unit_price(line)
    at_list = line.list_micro_dollars == line.amount_micro_dollars
    return {
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": _time(group.since),
        "ChargePeriodEnd": _time(group.until),
        "ConsumedQuantity": line.quantity,
        "ConsumedUnit": unit,
        "ContractedUnitPrice": price,
        "ListCost": in_currency(line.list_micro_dollars),
        "ListUnitPrice": price if at_list else "",
        "PricingCategory": "Standard",
        "PricingQuantity": _pricing_quantity(line),
        "PricingUnit": unit if line.per == 1 else f"{line.per} {unit}",
        "RegionId": group.zone,
        "RegionName": group.zone,
        "SkuId": f"{group.model}/{line.kind}/{group.sort}",
        "SkuMeter": _METERS[line.kind],
        "SkuPriceId": "/".join(
            (group.model, line.kind, group.sort, group.book, group.row_zone or "*", group.row_since)
        ),
        "SubAccountId": group.project,
        "SubAccountName": group.project,
        "SubAccountType": "Project",
        "x_Receipts": group.receipts,
        "x_ReceiptStreams": streams_in_words(group),
        "x_Sort": group.sort,
    }


def _focus_rule(row: InvoiceRow) -> dict[str, object]:
    line, month = row.line, row.bill.month
    amount = in_currency(line.amount_micro_dollars)
    found: dict[str, object] = {
        "ChargePeriodStart": _time(first_day(month)),
        "ChargePeriodEnd": _time(end_day(month)),
        "ChargeCategory": "Credit",
        "ChargeFrequency": "One-Time",
        "ListCost": amount,
    }
    if line.kind in _PURCHASES:
        sku = f"{line.kind}/{line.contract}"
        found |= {"ChargeCategory": "Purchase", "ChargeFrequency": "Recurring"}
        found |= {"ContractedUnitPrice": amount, "ListUnitPrice": amount}
        found |= {"PricingQuantity": "1", "PricingUnit": "Months", "PricingCategory": "Standard"}
        found |= {"SkuId": sku, "SkuPriceId": sku}
    return found


def _pricing_quantity(line: InvoiceLine) -> str:
    """A quantity in the unit that its price is for."""
    digits = 12 if line.kind == "neurons" else 0
    zeros = len(str(line.per)) - 1
    return decimal_of(quantity_of(line), digits + zeros)


def unit_price(line: InvoiceLine) -> str:
    """A line's price in the currency, for ``per`` of its unit."""
    whole, _, part = (line.price_micro_dollars or "0").partition(".")
    return decimal_of(int(whole + part), 6 + len(part))


def _time(day: str) -> str:
    return f"{day}T00:00:00Z"


def _write(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
