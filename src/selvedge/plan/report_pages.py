"""A residency report as pages for people: what happened, what should be nothing, how to check it.

The signed JSON is the report; this is a picture of it, and names its hash and signature. The same
report makes the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from selvedge.adapters import PageFacts, PageHeading, PageTable, PageText, Titles, draw_pages
from selvedge.plan.report_tables import ReportTable, tables_of, tables_of_completeness
from selvedge.plan.residency_report import Named, ResidencyReport
from selvedge.plan.signed_reports import SignedReport

ROWS_MAX: Final = 200
"""Rows of one table; the JSON has all."""
_CHECK: Final = (
    "The JSON file is the report. Its envelope has the report's exact bytes, their SHA-256, and an "
    "Ed25519 signature over the line 'selvedge/residency-report/v1' and those bytes. "
    "'selvedge audit check FILE' checks the signature, adds the tables up and draws the sample "
    "again; docs/residency-report.md does the same with other people's tools. Each sampled receipt "
    "is proved by itself: its bytes and salt give its leaf, and the proof leads from there to a "
    "checkpoint that the log, and its witnesses, have signed."
)
_OUTSIDE: Final = "planned, sent, processed or handled other than its rule allows"

Element = PageHeading | PageText | PageFacts | PageTable


def draw_report(report: ResidencyReport, signed: SignedReport, provider: str) -> bytes:
    """The PDF. Raises `SelvedgeError` without ReportLab."""
    days = f"{report.since} to {report.until}"
    titles = Titles(
        title="Residency report",
        author=provider,
        subject=f"{report.tenant}, {days}",
        foot=f"{provider}  ·  {report.tenant}  ·  {days}  ·  {signed.hash[:23]}",
    )
    return draw_pages(titles, pages_of(report, signed))


def pages_of(report: ResidencyReport, signed: SignedReport) -> Iterator[Element]:
    """Everything that is on them, in order."""
    yield _head(report, signed)
    yield from map(PageText, _summary(report))
    for table in tables_of(report):
        yield PageHeading(table.title)
        yield _drawn(table) if table.rows else PageText("None.")
    yield PageHeading("Exceptions")
    yield PageText(_verdict(report.exception_count, f"times a request was {_OUTSIDE}"))
    if report.exceptions_named:
        yield _named(report.exceptions_named)
    yield from _completeness(report)
    yield from _sample(report)
    yield PageHeading("What this report does not say")
    yield from map(PageText, report.notes)
    yield PageHeading("How to check it")
    yield PageText(_CHECK)


def _head(report: ResidencyReport, signed: SignedReport) -> PageFacts:
    rows = (
        ("Tenant", f"{report.tenant}, fleet {report.fleet}"),
        ("Period", f"{report.since} to before {report.until}, UTC"),
        ("Receipts", f"{report.receipts:,}"),
        ("Exceptions", f"{report.exception_count:,}"),
        ("Differences", f"{report.completeness.difference:,}"),
        ("Report", signed.hash),
        ("Signed by", f"Ed25519 key {signed.key}"),
        ("Signature", signed.signature),
    )
    return PageFacts(rows, ("Receipts", "Exceptions", "Differences"))


def _summary(report: ResidencyReport) -> Iterator[str]:
    countries: dict[str, int] = {}
    for place in report.places:
        countries[place.country] = countries.get(place.country, 0) + place.receipts
    processed = ", ".join(f"{country} {count:,}" for country, count in sorted(countries.items()))
    yield (
        f"{report.receipts:,} requests of tenant {report.tenant} have a receipt in this period. "
        f"They were processed in: {processed or 'no country'}. {report.unprocessed:,} were "
        f"processed by nobody, of which {report.cached:,} were answered from a cache."
    )
    attested = sum(place.attested for place in report.places)
    yield (
        f"{attested:,} were processed at another PoP than the one they came in at; there the "
        "country is that PoP's own word."
    )


def _verdict(count: int, words: str) -> str:
    return f"{count:,} {words}." if count else f"None: 0 {words}."


def _drawn(table: ReportTable) -> PageTable:
    return PageTable(table.head, list(_cut(table.rows)), table.figures, table.shares)


def _cut(rows: Iterable[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    for at, row in enumerate(rows):
        if at == ROWS_MAX:
            yield ("and more: see the JSON", *[""] * (len(row) - 1))
            return
        yield row


def _named(found: Iterable[Named]) -> PageTable:
    rows = list(_cut((one.kind, one.where, one.what, f"{one.count:,}") for one in found))
    return PageTable(("kind", "where", "what", "count"), rows, 1, (11, 34, 46, 9))


def _completeness(report: ResidencyReport) -> Iterator[Element]:
    whole = report.completeness
    for at, table in enumerate(tables_of_completeness(whole)):
        if table.rows:
            yield PageHeading(table.title)
            yield _drawn(table)
        if at == 0:
            yield PageText(_verdict(whole.difference, "differences between these counts"))
            if whole.named:
                yield _named(whole.named)


def _sample(report: ResidencyReport) -> Iterator[Element]:
    if report.sample is None:
        return
    yield PageHeading("Sample")
    yield PageText(f"Seed: {report.sample.seed}. Rule: {report.sample.rule}.")
    rows = [
        (f"{one.pop}/{one.worker}/{one.seq}", one.leaf, "proved" if one.is_proved else "not read")
        for one in report.sample.drawn
    ]
    yield PageTable(("PoP/worker/number", "leaf", "proof"), list(_cut(rows)), 1, (24, 62, 14))
