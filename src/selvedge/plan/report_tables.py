"""A residency report as tables of words: the same rows for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from selvedge.ledger import Run
from selvedge.plan.residency_report import (
    ByRule,
    Completeness,
    LogSeen,
    ProcessedAt,
    ResidencyReport,
)

RUNS_SHOWN = 8
_Row = tuple[str, ...]


class ReportTable(NamedTuple):
    """Words by row; the last ``figures`` columns are figures. ``shares`` are widths, of 100."""

    title: str
    head: _Row
    rows: list[_Row]
    figures: int
    shares: tuple[int, ...]


def tables_of(report: ResidencyReport) -> Iterator[ReportTable]:
    """Where requests were and by which rules, and what was refused."""
    yield ReportTable(
        "Where requests were processed, and by whom",
        ("country", "PoP", "operated by", "owned by", "attested", "requests"),
        [_place(one) for one in report.places],
        2,
        (10, 18, 25, 23, 12, 12),
    )
    yield ReportTable(
        "By which rules",
        ("rule", "zone", "policy, handling", "releases", "refused", "requests"),
        [_rule(one) for one in report.rules],
        2,
        (25, 14, 29, 10, 10, 12),
    )
    yield ReportTable(
        "Where requests came in",
        ("country", "PoP", "how", "requests"),
        [(one.country, one.pop, one.how, f"{one.receipts:,}") for one in report.ingress],
        1,
        (14, 35, 36, 15),
    )
    yield ReportTable(
        "Requests that were not served, by the reason given",
        ("outcome", "status and code", "rule", "requests"),
        [
            (one.outcome, f"{one.status} {one.code}", one.rule, f"{one.receipts:,}")
            for one in report.refusals
        ],
        1,
        (14, 41, 32, 13),
    )
    sent = (*report.planned, *report.attempts)
    yield ReportTable(
        "Countries that requests might have gone to (planned), and went to",
        ("country", "how it ended", "attempts"),
        [(one.country, one.outcome, f"{one.count:,}") for one in sent],
        1,
        (24, 52, 24),
    )


def tables_of_completeness(whole: Completeness) -> Iterator[ReportTable]:
    """What was compared."""
    leaves = "not read" if whole.leaves is None else f"{whole.leaves:,}"
    yield ReportTable(
        "Completeness",
        ("counted", "receipts"),
        [
            ("receipts in this report", f"{whole.receipts:,}"),
            ("their leaves in transparency logs", leaves),
            ("folded by the fold that invoices are made of", f"{whole.folded:,}"),
            ("of these in issued invoices", f"{whole.invoiced:,}"),
            ("of zones whose receipts were not read", f"{whole.elsewhere:,}"),
        ],
        1,
        (80, 20),
    )
    yield ReportTable(
        "Numbers of receipts, by journal",
        ("PoP", "worker", "numbers", "receipts"),
        [(one.pop, str(one.worker), _runs(one.runs), _count(one.runs)) for one in whole.streams],
        1,
        (22, 9, 56, 13),
    )
    yield ReportTable(
        "Transparency logs",
        ("log", "entries", "root", "heartbeats", "longest gap", "leaves"),
        [_log(one) for one in whole.logs],
        3,
        (34, 11, 22, 11, 11, 11),
    )
    yield ReportTable(
        "Issued invoices",
        ("invoice", "SHA-256", "receipts", "of this period"),
        [
            (one.number, one.sha256, f"{one.receipts:,}", f"{one.in_period:,}")
            for one in whole.invoices
        ],
        2,
        (21, 53, 12, 14),
    )


def _place(one: ProcessedAt) -> _Row:
    owners = ", ".join(one.owners) or "-"
    return (one.country, one.pop, one.entity, owners, f"{one.attested:,}", f"{one.receipts:,}")


def _rule(one: ByRule) -> _Row:
    decided = ", ".join((one.policy, *one.handling))
    releases = "-".join(map(str, sorted(set(one.releases))))
    return (one.rule, one.zone, decided, releases, f"{one.refused:,}", f"{one.receipts:,}")


def _log(one: LogSeen) -> _Row:
    gap = f"{one.longest_gap_us / 1e6:,.0f} s"
    counts = (f"{one.heartbeats:,}", gap, f"{one.leaves:,}")
    return (one.origin, f"{one.size:,}", f"{one.root[:16]}...", *counts)


def _count(runs: tuple[Run, ...]) -> str:
    return f"{sum(last - first + 1 for first, last in runs):,}"


def _runs(runs: tuple[Run, ...]) -> str:
    words = ", ".join(f"{first}-{last}" for first, last in runs[:RUNS_SHOWN])
    left = len(runs) - RUNS_SHOWN
    return words + (f" and {left} runs more" if left > 0 else "")
