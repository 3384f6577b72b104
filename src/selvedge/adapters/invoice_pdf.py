"""An invoice as a PDF, drawn by ReportLab (extra ``control``): the same bytes for the same invoice.

Nothing of the moment goes into the file: its dates are fixed and its id is a hash of what it holds.
The fonts are those that every reader has, so letters outside Latin-1 are shown as ``?``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

from selvedge.adapters.pdf_pages import (
    BAND,
    INK,
    PALE,
    RULE,
    Titles,
    build_pdf,
    check_reportlab,
    latin,
)
from selvedge.ledger import (
    Bill,
    Invoice,
    InvoiceLine,
    decimal_of,
    end_day,
    first_day,
    grouped,
    last_day,
    unit_price,
)

WIDTHS: Final = (122, 44, 96, 26, 76, 69, 72)
STREAMS_MAX: Final = 1_500
"""So many rows of journals are named in the appendix; more are in the JSON and CSV."""
_KINDS: Final = {
    "input": "input tokens",
    "cached": "cached input tokens",
    "cache_write": "cache write tokens",
    "output": "output tokens",
    "requests": "requests",
    "hits": "cached answers",
    "neurons": "neurons",
}
_PER: Final = {1: " each", 1_000: " / 1,000", 1_000_000: " / 1M"}


class _Cells(NamedTuple):
    """Rows of a table, and which of them are headings within it, and sums."""

    rows: list[list[str]]
    bands: list[int]
    sums: list[int]


def draw_invoice(invoice: Invoice, provider: str) -> bytes:
    """The PDF. ``provider`` is who sends the invoice. Raises `SelvedgeError` without ReportLab."""
    check_reportlab()
    name = invoice.number or "Draft"
    shown = invoice.number or f"draft of {invoice.bill.month}"
    titles = Titles(
        title=f"Invoice {name}",
        author=provider,
        subject=f"{invoice.tenant}, {invoice.bill.month}",
        foot=f"{provider}  ·  {invoice.tenant}  ·  {shown}",
    )
    return build_pdf(titles, _story(invoice, provider))


def _story(invoice: Invoice, provider: str) -> list[Any]:  # Any: ReportLab's flowables
    from reportlab.platypus import PageBreak, Paragraph, Spacer  # noqa: PLC0415

    text, heading = _styles()
    found: list[Any] = [*_head(invoice, provider), Spacer(1, 14)]
    found += [Paragraph(latin(one), text) for one in invoice.notes]
    if invoice.bill.lines or invoice.adjustments:
        found.append(_lines_table(_summary(invoice)))
    found += [Spacer(1, 4), _total_table(invoice)]
    if invoice.bill.lines:
        found += [Spacer(1, 14), Paragraph(f"Usage and terms of {invoice.bill.month}", heading)]
        found.append(_lines_table(_cells(invoice.bill)))
    for one in invoice.adjustments:
        words = f"Adjustment of {one.bill.month}, invoice {one.invoice}: receipts that came late"
        found += [Spacer(1, 12), Paragraph(latin(words), heading)]
        found.append(_lines_table(_cells(one.bill)))
    bills = [invoice.bill, *(one.bill for one in invoice.adjustments)]
    if any(bill.receipts for bill in bills):
        found += [PageBreak(), Paragraph("Receipts", heading), Paragraph(latin(_RECEIPTS), text)]
        found += [part for bill in bills for part in _receipts(bill, (text, heading))]
    return found


_RECEIPTS: Final = (
    "Every line folds receipts, and each PoP numbers a tenant's receipts in each of its journals "
    "without gaps. The number in the column # of a line is that of its group below."
)


def _styles() -> tuple[Any, Any]:  # Any: ReportLab's styles
    from reportlab.lib.colors import HexColor  # noqa: PLC0415
    from reportlab.lib.styles import ParagraphStyle  # noqa: PLC0415

    text = ParagraphStyle(
        "text",
        fontName="Helvetica",
        fontSize=8,
        leading=11,
        leftIndent=-3,
        textColor=HexColor(INK),
        spaceAfter=6,
    )
    heading = ParagraphStyle(
        "heading",
        parent=text,
        fontName="Helvetica-Bold",
        fontSize=9.5,
        leading=13,
        spaceBefore=8,
        spaceAfter=4,
        keepWithNext=1,
    )
    return text, heading


def _head(invoice: Invoice, provider: str) -> list[Any]:  # Any: flowables
    from reportlab.lib.colors import HexColor  # noqa: PLC0415
    from reportlab.platypus import Spacer, Table  # noqa: PLC0415

    bill = invoice.bill
    title = "Invoice" if invoice.number else "Draft invoice"
    total = f"{invoice.currency} {_amount(invoice.total_micro_dollars)}"
    top = Table([[title, latin(provider)]], colWidths=[303, 202])
    top.setStyle(
        [
            ("FONT", (0, 0), (0, 0), "Helvetica-Bold", 20),
            ("FONT", (1, 0), (1, 0), "Helvetica-Bold", 11),
            ("ALIGN", (1, 0), (1, 0), "RIGHT"),
            ("VALIGN", (0, 0), (-1, -1), "BOTTOM"),
            ("TEXTCOLOR", (0, 0), (-1, -1), HexColor(INK)),
            ("LEFTPADDING", (0, 0), (-1, -1), 0),
            ("RIGHTPADDING", (0, 0), (-1, -1), 0),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 10),
            ("LINEBELOW", (0, 0), (-1, -1), 1.2, HexColor(INK)),
        ]
    )
    book = f"version {invoice.prices_version}, {invoice.prices_hash[:23]}..."
    facts = [
        ("Tenant", invoice.tenant, "Number", invoice.number or "none: a draft"),
        ("Period", f"{_period(bill.month)}, UTC", "Issued", invoice.issued or "not issued"),
        ("Receipts", f"{bill.receipts:,}, of which {bill.billed:,} are billed", "Total", total),
        ("Price book", book, "Currency", invoice.currency),
    ]
    table = Table([[latin(one) for one in row] for row in facts], colWidths=[58, 245, 52, 150])
    table.setStyle(
        [
            ("FONT", (0, 0), (-1, -1), "Helvetica", 8.5),
            ("FONT", (3, 2), (3, 2), "Helvetica-Bold", 8.5),
            ("TEXTCOLOR", (0, 0), (-1, -1), HexColor(INK)),
            ("TEXTCOLOR", (0, 0), (0, -1), HexColor(PALE)),
            ("TEXTCOLOR", (2, 0), (2, -1), HexColor(PALE)),
            ("LEFTPADDING", (0, 0), (0, -1), 0),
            ("TOPPADDING", (0, 0), (-1, -1), 2),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
        ]
    )
    return [top, Spacer(1, 8), table]


def _period(month: str) -> str:
    return f"{first_day(month)} to {last_day(end_day(month))}"


def _summary(invoice: Invoice) -> _Cells:
    """What the total is made of: projects, terms, adjustments."""
    found = _Cells([["Summary", *[""] * 5, "Amount"]], [], [])
    projects: dict[str, int] = {}
    for line in invoice.bill.lines:
        if line.group is not None:
            project = invoice.bill.groups[line.group].project
            projects[project] = projects.get(project, 0) + line.amount_micro_dollars
    for project, amount in sorted(projects.items()):
        _row(found, f"Usage of project {project}", amount)
    for line in invoice.bill.lines:
        if line.group is None:
            _row(found, _sentence(line.words), line.amount_micro_dollars)
    for one in invoice.adjustments:
        words = f"Adjustment of {one.bill.month}, invoice {one.invoice}: late receipts"
        _row(found, words, one.bill.total_micro_dollars)
    return found


def _cells(bill: Bill) -> _Cells:
    """The lines of a bill, by project; of an adjustment also those that follow from them."""
    found = _Cells([["Model", "Zone", "What", "#", "Quantity", "Price", "Amount"]], [], [])
    counted = [line for line in bill.lines if line.group is not None]
    for project, lines in groupby(counted, key=lambda line: bill.groups[line.group or 0].project):
        found.bands.append(len(found.rows))
        found.rows.append([f"Project {project}"] + [""] * 6)
        subtotal = 0
        for line in lines:
            found.rows.append(_usage_cells(bill, line))
            subtotal += line.amount_micro_dollars
        _sum(found, f"Project {project}, together", subtotal)
    rules = [line for line in bill.lines if line.group is None]
    if rules:
        found.bands.append(len(found.rows))
        found.rows.append(["Terms"] + [""] * 6)
        for line in rules:
            _row(found, _sentence(line.words), line.amount_micro_dollars)
    _sum(found, f"{bill.month}, together", bill.total_micro_dollars)
    return found


def _sum(cells: _Cells, words: str, amount: int) -> None:
    cells.sums.append(len(cells.rows))
    _row(cells, words, amount)


def _row(cells: _Cells, words: str, amount: int) -> None:
    cells.rows.append([latin(words), *[""] * 5, _amount(amount)])


def _usage_cells(bill: Bill, line: InvoiceLine) -> list[str]:
    group = bill.groups[line.group or 0]
    what = _KINDS[line.kind] + (", batch" if group.sort == "batch" else "")
    if (group.since, group.until) != (first_day(bill.month), end_day(bill.month)):
        what += f"\n{group.since} to {last_day(group.until)}"
    price = unit_price(line) + _PER.get(line.per or 1, f" / {line.per}")
    row = [group.model, group.zone or "-", what, str((line.group or 0) + 1)]
    amount = _amount(line.amount_micro_dollars)
    return [*map(latin, row), grouped(line.quantity or "0"), price, amount]


def _lines_table(cells: _Cells) -> Any:  # Any: a flowable
    from reportlab.lib.colors import HexColor  # noqa: PLC0415
    from reportlab.platypus import LongTable  # noqa: PLC0415

    table = LongTable(_wrapped(cells.rows), colWidths=WIDTHS, repeatRows=1)
    style: list[Any] = [  # Any: ReportLab's commands
        ("FONT", (0, 0), (-1, -1), "Helvetica", 7.5),
        ("FONT", (0, 0), (-1, 0), "Helvetica-Bold", 7.5),
        ("TEXTCOLOR", (0, 0), (-1, -1), HexColor(INK)),
        ("TEXTCOLOR", (0, 0), (-1, 0), HexColor(PALE)),
        ("LINEBELOW", (0, 0), (-1, 0), 0.8, HexColor(INK)),
        ("LINEBELOW", (0, 1), (-1, -1), 0.25, HexColor(RULE)),
        ("ALIGN", (3, 0), (-1, -1), "RIGHT"),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("TOPPADDING", (0, 0), (-1, -1), 2.2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2.8),
        ("LEFTPADDING", (0, 0), (-1, -1), 3),
        ("RIGHTPADDING", (0, 0), (-1, -1), 3),
    ]
    for at in cells.bands:
        style += [
            ("BACKGROUND", (0, at), (-1, at), HexColor(BAND)),
            ("FONT", (0, at), (-1, at), "Helvetica-Bold", 7.5),
        ]
    for at in cells.sums:
        style.append(("FONT", (0, at), (-1, at), "Helvetica-Bold", 7.5))
    table.setStyle(style)
    return table


def _wrapped(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Names that are wider than their column go on in the next line."""
    found = []
    for row in rows:
        alone = not any(row[1:-1])
        cells = row if alone else [_broken(one, at) for at, one in enumerate(row)]
        found.append(list(cells))
    return found


def _broken(words: str, at: int) -> str:
    from reportlab.pdfbase.pdfmetrics import stringWidth  # noqa: PLC0415

    lines, room = [""], WIDTHS[at] - 6
    for letter in words:
        if letter == "\n" or stringWidth(lines[-1] + letter, "Helvetica", 7.5) > room:
            lines.append("")
        lines[-1] += "" if letter == "\n" else letter
    return "\n".join(lines)


def _total_table(invoice: Invoice) -> Any:  # Any: a flowable
    from reportlab.lib.colors import HexColor  # noqa: PLC0415
    from reportlab.platypus import Table  # noqa: PLC0415

    total = f"{invoice.currency} {_amount(invoice.total_micro_dollars)}"
    table = Table([["Total", total]], colWidths=[303, 202])
    table.setStyle(
        [
            ("FONT", (0, 0), (-1, -1), "Helvetica-Bold", 12),
            ("TEXTCOLOR", (0, 0), (-1, -1), HexColor(INK)),
            ("ALIGN", (1, 0), (1, 0), "RIGHT"),
            ("LINEABOVE", (0, 0), (-1, 0), 1.2, HexColor(INK)),
            ("LEFTPADDING", (0, 0), (-1, -1), 3),
            ("RIGHTPADDING", (0, 0), (-1, -1), 3),
        ]
    )
    return table


def _receipts(bill: Bill, styles: tuple[Any, Any]) -> Iterator[Any]:  # Any: flowables and styles
    """Which receipts a bill folds: how they ended, by group, by journal."""
    from reportlab.platypus import Paragraph  # noqa: PLC0415

    text, heading = styles
    ends = ", ".join(f"{name} {count:,}" for name, count in bill.ends.items())
    yield Paragraph(latin(f"{bill.month}: receipts by end and group"), heading)
    yield Paragraph(latin(f"{bill.receipts:,} in all. By how they ended: {ends or 'none'}."), text)
    yield _plain_table(("#", "Receipts", "PoP/worker: first-last (count)"), _groups(bill))
    journals = [
        (f"{one.pop}/{one.worker}", f"{_count(one.runs):,}", _runs(one.runs)) for one in bill.cut
    ]
    yield Paragraph(latin(f"{bill.month}: all receipts, by journal"), heading)
    yield _plain_table(("PoP/worker", "Receipts", "Numbers"), journals)


def _groups(bill: Bill) -> Iterator[tuple[str, str, str]]:
    named = sum(len(group.streams) for group in bill.groups) <= STREAMS_MAX
    for at, group in enumerate(bill.groups, 1):
        words = f"of {len(group.streams)} journals, which the JSON and the CSV name"
        if named or len(group.streams) == 1:
            words = ", ".join(
                f"{one.pop}/{one.worker}: {one.first}-{one.last} ({one.count})"
                for one in group.streams
            )
        yield str(at), f"{group.receipts:,}", words


def _count(runs: Iterable[tuple[int, int]]) -> int:
    return sum(last - first + 1 for first, last in runs)


def _runs(runs: Sequence[tuple[int, int]], shown: int = 12) -> str:
    words = ", ".join(f"{first}-{last}" for first, last in runs[:shown])
    return words + (f" and {len(runs) - shown} runs more" if len(runs) > shown else "")


def _plain_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Any:  # Any: a flowable
    from reportlab.lib.colors import HexColor  # noqa: PLC0415
    from reportlab.platypus import LongTable, Paragraph  # noqa: PLC0415

    text, _ = _styles()
    text.fontSize, text.leading, text.spaceAfter, text.leftIndent = 7, 9, 0, 0
    cells = [[*map(latin, row[:-1]), Paragraph(latin(row[-1]), text)] for row in rows]
    table = LongTable([list(head), *cells], colWidths=[90, 60, 355], repeatRows=1)
    table.setStyle(
        [
            ("FONT", (0, 0), (-1, -1), "Helvetica", 7),
            ("FONT", (0, 0), (-1, 0), "Helvetica-Bold", 7),
            ("TEXTCOLOR", (0, 0), (-1, -1), HexColor(INK)),
            ("TEXTCOLOR", (0, 0), (-1, 0), HexColor(PALE)),
            ("ALIGN", (1, 0), (1, -1), "RIGHT"),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LINEBELOW", (0, 0), (-1, -1), 0.25, HexColor(RULE)),
            ("TOPPADDING", (0, 0), (-1, -1), 1.5),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
            ("LEFTPADDING", (0, 0), (-1, -1), 3),
        ]
    )
    return table


def _amount(micro_dollars: int) -> str:
    return grouped(decimal_of(micro_dollars, 6, 6))


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]
