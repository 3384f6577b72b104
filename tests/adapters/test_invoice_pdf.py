"""A PDF of an invoice: whole, the same bytes each time, and with all that the invoice says."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from selvedge.adapters import draw_invoice
from selvedge.ledger import (
    Closing,
    Contract,
    Invoice,
    MonthlyUsage,
    adjust_month,
    bill_month,
    make_invoice,
)
from tests.support.money import MONTH, TENANT, book, fold_plainly, row, sold

pytest.importorskip("reportlab")


def invoice(count: int = 40) -> Invoice:
    """A discount, two prices in a month, and a month before that has late receipts."""
    terms = Contract(tenant=TENANT, discount_ppm=50_000, committed_micro_dollars=90_000)
    rows = [row(f"model-{one}-of-a-name-that-is-wider-than-its-column") for one in range(count)]
    prices = book(row(until="2026-11-16"), row(since="2026-11-16"), *rows, contract=terms)
    earlier = bill_month(TENANT, "2026-10", MonthlyUsage(), prices)
    closed = msgspec.structs.replace(make_invoice(TENANT, prices, earlier), number="acme-2026-10")
    late = adjust_month(TENANT, Closing(closed), fold_plainly([sold(1, "2026-10-31")]), prices)
    receipts = [sold(2), sold(3, "2026-11-20")]
    receipts += [sold(one + 4, model=rows[one].model) for one in range(count)]
    bill = bill_month(TENANT, MONTH, fold_plainly(receipts), prices)
    made = make_invoice(TENANT, prices, bill, [late])
    return msgspec.structs.replace(made, number="acme-2026-11", issued="2026-12-01")


def test_the_same_invoice_is_the_same_bytes() -> None:
    data = draw_invoice(invoice(), "Nord")
    assert data == draw_invoice(invoice(), "Nord")
    assert data != draw_invoice(invoice(), "Süd")
    assert data.startswith(b"%PDF-")
    assert re.search(rb"/CreationDate \(D:20000101000000", data)


def test_it_says_what_the_invoice_says_on_numbered_pages(tmp_path: Path) -> None:
    tool = shutil.which("pdftotext")
    if tool is None:
        pytest.skip("pdftotext (poppler-utils) is not here")
    path = tmp_path / "invoice.pdf"
    path.write_bytes(draw_invoice(invoice(), "Nord Łódź"))
    shown = subprocess.run(
        [tool, "-layout", str(path), "-"], check=True, capture_output=True, text=True
    ).stdout
    made = invoice()
    whole, part = divmod(made.total_micro_dollars, 1_000_000)
    for words in (
        "Invoice",
        "acme-2026-11",
        f"USD {whole}.{part:06d}",
        "Contract discount of 5 %",
        "Adjustment of 2026-10, invoice acme-2026-10",
        "2026-11-16 to 2026-11-30",
        "sin/0: 2-2 (1)",
        "42 in all",
        "Nord ?ód?",
    ):
        assert words in shown, words
    pages = re.findall(r"· .* (\d+) ?/ ?(\d+)$", shown, re.MULTILINE)
    assert [int(at) for at, _ in pages] == list(range(1, int(pages[0][1]) + 1))
    assert len(pages) > 3


def test_a_draft_without_receipts_is_one_page() -> None:
    prices = book()
    made = make_invoice(TENANT, prices, bill_month(TENANT, MONTH, MonthlyUsage(), prices))
    assert draw_invoice(made, "Nord").count(b"/Type /Page\n") == 1
