"""A small month from traffic to invoices: both reckonings agree, and what is missing is said."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from rich.console import Console

from bench import month_bill
from bench.month_books import Books
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
REQUESTS = 3_000


def test_invoices_are_the_fold_of_the_receipts(tmp_path: Path) -> None:
    books = Books(tmp_path)
    traffic = arrivals(make_buyers(), shapes(), REQUESTS, 3, (START_US, DAYS))
    play(make_release(), make_scenario(), 3, traffic, books.take, permits=PERMITS)
    books.close()
    (tmp_path / "prices.json").write_bytes(msgspec.json.encode(make_price_book()))
    figures, invoices = month_bill.bill(tmp_path, Console(file=StringIO()))
    assert len(invoices) == 20
    assert figures["month_invoices_in_neurons"] == 10
    assert figures["month_invoiced_receipts"] == books.receipts
    assert figures["month_invoices_micro_dollars"] == figures["month_fold_micro_dollars"]
    assert sum(one.total_micro_dollars for one in invoices.values()) > 0


def test_without_a_month_it_says_so(tmp_path: Path) -> None:
    done = CliRunner().invoke(month_bill.main, ["--directory", str(tmp_path)])
    assert done.exit_code == 0
    assert "skipped: there is no month" in done.output
