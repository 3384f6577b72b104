"""A small month from traffic to residency reports: receipts, invoices and leaves are as many."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from rich.console import Console

from bench import month_audit
from bench.month_books import Books
from bench.month_logs import Pace
from bench.month_traffic import arrivals
from bench.month_world import (
    DAYS,
    PERMITS,
    START_US,
    make_buyers,
    make_price_book,
    make_release,
    make_scenario,
)
from selvedge.sim import play
from tests.test_bench_month import shapes

pytest.importorskip("duckdb")
REQUESTS = 1_500


def test_reports_invoices_and_logs_agree(tmp_path: Path) -> None:
    books = Books(tmp_path)
    traffic = arrivals(make_buyers(), shapes(), REQUESTS, 3, (START_US, DAYS))
    play(make_release(), make_scenario(), 3, traffic, books.take, permits=PERMITS)
    books.close()
    (tmp_path / "prices.json").write_bytes(msgspec.json.encode(make_price_book()))
    console, pace = Console(file=StringIO()), Pace(3_600_000_000, 15 * 86_400_000_000)
    figures, reports = month_audit.audit(tmp_path, console, pace)
    assert figures["audit_reports"] == 20
    for name in ("receipts", "folded_by_invoices", "in_issued_invoices", "leaves"):
        assert figures[f"audit_{name}"] == books.receipts
    assert figures["audit_log_leaves_of_others"] == 0
    assert figures["audit_difference"] == figures["audit_exceptions"] == 0
    assert figures["audit_proofs_verified"] == figures["audit_sampled"]
    policies = {one.policy for report in reports.values() for one in report.rules}
    assert policies == {"-", make_release().policy.version}  # type: ignore[union-attr]
    handled = {one.handling for report in reports.values() for one in report.rules}
    assert len(handled) == 4


def test_without_a_month_it_says_so(tmp_path: Path) -> None:
    done = CliRunner().invoke(month_audit.main, ["--directory", str(tmp_path)])
    assert done.exit_code == 0
    assert "skipped: there is no month" in done.output
