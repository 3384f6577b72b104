"""Drafts, issued invoices and late receipts, over logs, parts and journals; and reconciliation."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random

import msgspec
import pytest
from click.testing import CliRunner

from selvedge.adapters import PlainFiles, has_reportlab, write_partitions
from selvedge.cli.main import commands
from selvedge.control import (
    Home,
    Invoicing,
    Receipts,
    book_of,
    collector_directory,
    reconcile,
)
from selvedge.fabric import PROBE_TENANT, Outcome, SelvedgeError, StoreCorrupt, StoreFailed, Usage
from selvedge.ledger import (
    BadPriceBook,
    CollectorLog,
    Contract,
    PriceBook,
    end_day,
    hash_of_book,
    us_of_day,
    write_book,
    write_invoice,
)
from tests.support.money import MONTH, TENANT, book, row
from tests.support.shipping import Collector as MemoryCollector
from tests.support.shipping import MemoryJournal, Sender

NOW = us_of_day("2027-01-05")
USED = Usage(input_uncached=1_234, output=77, provenance="reported")


class Fleet:
    """One PoP's journal and its zone's collector, in a home; receipts are added as they come."""

    def __init__(self, directory: Path) -> None:
        self.home = Home(directory)
        self.journal = MemoryJournal("sin", 0)
        self.where = collector_directory(self.home, "asean")
        self.collector = MemoryCollector.__new__(MemoryCollector)
        self.collector.zone, self.collector.conflicts = "asean", []
        self.collector.deaths = 0
        self.collector.disk = PlainFiles(self.where)  # type: ignore[assignment]  # a real one
        self.collector.log = CollectorLog(self.collector.disk, "asean", bytes_max=12_000)

    def serve(self, day: str, count: int, tenant: str = TENANT, **facts: object) -> None:
        """So many receipts of a day, written by the PoP."""
        for _ in range(count):
            received = us_of_day(day) + self.journal.count
            given = {"model": "small", "usage": USED, "outcome": Outcome.COMPLETE} | facts
            self.journal.write(tenant, "asean", received_us=received, **given)

    def collect(self) -> None:
        """All of it, to the collector; the older segments as parts."""
        directory = self.home.pop("sin") / "receipts"
        directory.mkdir(parents=True, exist_ok=True)
        for number, data in self.journal.segments.items():
            (directory / f"receipts-{number:08d}.log").write_bytes(data)
        sender = Sender(self.journal, ["asean"], Random(1))
        while sender.send(self.collector):
            pass
        for segment in self.collector.log.closed[:-1]:
            write_partitions(self.where, segment)
            self.collector.log.remove(segment)

    def desk(self, prices: PriceBook, *, journals: bool = False) -> Invoicing:
        collected = [] if journals else [self.where]
        return Invoicing(self.home, Receipts.at(self.home, collected), prices)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    found = Fleet(tmp_path / "home")
    for day in ("2026-11-01", "2026-11-12", "2026-11-30"):
        found.serve(day, 9)
        found.serve(day, 2, "other")
    found.serve("2026-12-01", 3)
    found.collect()
    return found


def test_logs_parts_and_journals_make_the_same_bytes(fleet: Fleet) -> None:
    assert list(fleet.where.glob("partitions/*/*/*.parquet"))
    drafts = {
        write_invoice(fleet.desk(book(), journals=one).draft(TENANT, MONTH, alone=alone))
        for one in (False, True)
        for alone in (False, True)
    }
    assert len(drafts) == 1
    assert json.loads(drafts.pop())["bill"]["receipts"] == 27
    assert fleet.desk(book()).tenants(MONTH) == [TENANT, "other"]


def test_an_issued_invoice_is_never_rewritten(fleet: Fleet) -> None:
    desk = fleet.desk(book())
    with pytest.raises(SelvedgeError, match="2026-11 is not over; issue it from 2026-12-01 on"):
        desk.issue(TENANT, MONTH, us_of_day(end_day(MONTH)) - 1)
    issued = desk.issue(TENANT, MONTH, NOW)
    assert (issued.number, issued.issued) == ("acme-2026-11", "2027-01-05")
    path = desk.store.path(TENANT, MONTH)
    assert path.read_bytes() == write_invoice(issued)
    with pytest.raises(SelvedgeError, match="is issued: it stays as it is"):
        desk.issue(TENANT, MONTH, NOW)
    with pytest.raises(StoreFailed, match="is there already, and is never rewritten"):
        desk.store.keep(issued, book())
    assert not list(path.parent.glob(".*"))
    with pytest.raises(SelvedgeError, match="tenant acmee has no receipts and no contract in"):
        desk.issue("acmee", MONTH, NOW)
    assert desk.store.read("acmee", MONTH) is None


def test_what_a_process_left_when_it_died_between_link_and_unlink_is_not_written_through(
    fleet: Fleet,
) -> None:
    desk = fleet.desk(book())
    issued = desk.issue(TENANT, MONTH, NOW)
    path = desk.store.path(TENANT, MONTH)
    os.link(path, path.with_name(f".{path.name}.{os.getpid()}"))
    with pytest.raises(StoreFailed, match="is there already, and is never rewritten"):
        desk.store.keep(msgspec.structs.replace(issued, issued="2027-01-06"), book())
    assert path.read_bytes() == write_invoice(issued)
    assert not list(path.parent.glob(".*"))


def test_late_receipts_are_in_the_next_invoice_and_all_reconciles(fleet: Fleet) -> None:
    prices = book(row(until="2026-11-12"), row(since="2026-11-12", input=77_777))
    fleet.desk(prices).issue(TENANT, MONTH, NOW)
    fleet.serve("2026-11-03", 2)
    fleet.serve("2026-11-29", 1)
    fleet.collect()
    assert fleet.desk(prices).store.read(TENANT, MONTH) is not None
    december = fleet.desk(prices).issue(TENANT, "2026-12", NOW)
    late = december.adjustments[0]
    assert (late.invoice, late.bill.month, late.bill.receipts) == ("acme-2026-11", MONTH, 3)
    assert december.bill.receipts == 3
    fleet.serve("2026-11-04", 1)
    fleet.collect()
    january = fleet.desk(prices).draft(TENANT, "2027-01")
    assert january.notes == ("There are no receipts of 2027-01.",)
    assert [one.bill.receipts for one in january.adjustments] == [1]
    assert january.adjustments[0].after == ("acme-2026-11", "acme-2026-12")

    found = reconcile(fleet.home)
    assert (found.difference, found.invoices, found.invoices_unchecked) == (0, 2, 0)
    assert reconcile(fleet.home, [fleet.where]).difference == 0


def test_a_tenant_without_anything_new_has_no_invoice_and_one_with_late_receipts_has(
    fleet: Fleet,
) -> None:
    for tenant in (TENANT, "other"):
        fleet.desk(book()).issue(tenant, MONTH, NOW)
    assert fleet.desk(book()).tenants("2026-12") == [TENANT]
    assert fleet.desk(book()).tenants("2027-01") == []
    fleet.serve("2026-11-03", 1, "other")
    fleet.collect()
    assert fleet.desk(book()).tenants("2027-01") == ["other"]


def test_an_invoice_whose_lines_were_changed_is_named_line_by_line(fleet: Fleet) -> None:
    desk = fleet.desk(book())
    issued = desk.issue(TENANT, MONTH, NOW)
    first, *lines = issued.bill.lines
    dearer = msgspec.structs.replace(first, amount_micro_dollars=first.amount_micro_dollars + 1)
    bill = msgspec.structs.replace(
        issued.bill,
        lines=(dearer, *lines),
        total_micro_dollars=issued.bill.total_micro_dollars + 1,
    )
    total = issued.total_micro_dollars + 1
    wrong = msgspec.structs.replace(issued, bill=bill, total_micro_dollars=total)
    path = desk.store.path(TENANT, MONTH)
    path.unlink()
    path.write_bytes(write_invoice(wrong))
    found = [one for one in reconcile(fleet.home).findings if one.kind == "invoice"]
    assert [one.where for one in found] == ["acme-2026-11"] * 3
    words = "; ".join(one.what for one in found)
    assert "total: issued" in words
    assert "2026-11 small, input tokens, asean, project default, since 2026-11-01, list" in words
    assert "invoices of 2026-11 add up to" in words

    path.write_bytes(write_invoice(wrong)[:-9])
    found = [one for one in reconcile(fleet.home).findings if one.kind == "invoice"]
    assert [one.where for one in found] == ["those of acme"]
    path.write_bytes(b" " + write_invoice(issued))
    with pytest.raises(StoreCorrupt, match="is not as it was issued"):
        desk.store.read(TENANT, MONTH)


def of_invoices(fleet: Fleet) -> list[str]:
    found = reconcile(fleet.home).findings
    return [one.what for one in found if one.kind == "invoice"]


def test_receipts_that_are_gone_are_counted(fleet: Fleet) -> None:
    fleet.desk(book()).issue(TENANT, MONTH, NOW)
    for path in fleet.where.glob("partitions/*/day=2026-11-01/*.parquet"):
        path.unlink()
    words = of_invoices(fleet)
    assert "receipts of 2026-11: issued 27, receipts say 18" in words
    assert "9 of its 27 receipts are not here" in words
    for path in fleet.where.glob("collected-*.log"):
        path.unlink()
    for path in fleet.where.glob("partitions/*/*/*.parquet"):
        path.unlink()
    (fleet.where / "partitions").rename(fleet.home.directory / "elsewhere")
    for path in (fleet.home.pop("sin") / "receipts").glob("*.log"):
        path.unlink()
    found = reconcile(fleet.home)
    assert (found.invoices, found.invoices_unchecked, found.difference) == (0, 1, 0)


def test_an_invoice_whose_adjusted_one_is_gone_is_named(fleet: Fleet) -> None:
    fleet.desk(book()).issue(TENANT, MONTH, NOW)
    fleet.serve("2026-11-03", 1)
    fleet.collect()
    fleet.desk(book()).issue(TENANT, "2026-12", NOW)
    fleet.desk(book()).store.path(TENANT, MONTH).unlink()
    assert any(
        "2026-11.json is gone, and this invoice adjusts it" in one for one in of_invoices(fleet)
    )


def test_probes_are_nobodys_invoice(fleet: Fleet) -> None:
    fleet.serve("2026-11-03", 1, PROBE_TENANT, purpose="probe")
    fleet.collect()
    assert fleet.desk(book()).tenants(MONTH) == [TENANT, "other"]


def test_receipts_of_a_zone_without_a_collector_are_found_in_journals(fleet: Fleet) -> None:
    """Refused before a rule was found: of no zone, and never collected."""
    refused = {"outcome": Outcome.REFUSED, "usage": None, "code": "model_not_found"}
    fleet.journal.write(TENANT, "", received_us=us_of_day("2026-11-02"), **refused)
    fleet.collect()
    issued = fleet.desk(book(), journals=True).issue(TENANT, MONTH, NOW)
    assert issued.bill.ends == {"complete": 27, "refused_caller": 1}
    assert of_invoices(fleet) == []
    assert fleet.desk(book()).draft(TENANT, "2026-12").adjustments == ()


def test_a_price_book_that_is_gone_is_named(fleet: Fleet) -> None:
    desk = fleet.desk(book())
    desk.issue(TENANT, MONTH, NOW)
    books = desk.store.directory / "_prices"
    kept = next(books.iterdir())
    kept.rename(kept.with_suffix(".old"))
    assert all("is gone: invoices were made by it; restore it" in one for one in of_invoices(fleet))
    kept.write_bytes(write_book(book(row())))
    assert all("is another book than its name says" in one for one in of_invoices(fleet))
    kept.write_bytes(b"{}")
    assert all("is no price book" in one for one in of_invoices(fleet))
    assert of_invoices(fleet)


def test_the_published_book_counts_and_another_is_for_drafts(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with pytest.raises(BadPriceBook, match="none is published under"):
        book_of(home)
    home.prices().keep(book(), home.operator_key())
    assert book_of(home) == book()
    path = tmp_path / "prices.yaml"
    path.write_text("version: 3\nprices:\n- {model: small, input: 1, output: 2}\n")
    assert book_of(home, path).version == 3
    held = home.prices().newest()
    assert held is not None
    assert held.hash == hash_of_book(book())


def test_places_that_are_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(SelvedgeError, match="is no tenant"):
        Invoicing(Home(tmp_path), Receipts([], []), book()).draft("../x", MONTH)
    with pytest.raises(SelvedgeError, match="no PoP has receipts"):
        Receipts.at(Home(tmp_path), [])
    with pytest.raises(SelvedgeError, match="is no collector's directory"):
        Receipts.at(Home(tmp_path), [tmp_path])


def invoke(fleet: Fleet, prices: PriceBook, *arguments: str) -> tuple[int, str, str]:
    fleet.home.prices().keep(prices, fleet.home.operator_key())
    argv = ["invoice", *arguments, "--home", str(fleet.home.directory)]
    found = CliRunner().invoke(commands, [*argv, "--collected", str(fleet.where)])
    error = str(found.exception) if isinstance(found.exception, SelvedgeError) else found.stderr
    return found.exit_code, found.stdout, error


def test_the_command_prints_a_table_json_csv_and_focus(fleet: Fleet) -> None:
    prices = book(contract=Contract(tenant=TENANT, discount_ppm=50_000))
    code, shown, _ = invoke(fleet, prices, TENANT, "--month", MONTH)
    assert code == 0
    assert "acme, 2026-11: draft; 27 receipts, 27 billed" in shown
    assert "contract discount of 5" in shown, "a long term takes a second line"
    assert " / 1M " in shown
    assert "sin/0:1-27(27)" in shown
    as_json = json.loads(invoke(fleet, prices, TENANT, "--month", MONTH, "--json")[1])
    assert as_json["bill"]["cut"] == [{"pop": "sin", "worker": 0, "runs": [[1, 27]]}]
    rows = invoke(fleet, prices, TENANT, "--month", MONTH, "--csv")[1].splitlines()
    assert rows[0].startswith("invoice,tenant,month,of_month,adjusts,project,model,zone,sort,kind")
    assert len(rows) == 4
    every = invoke(fleet, prices, "--all", "--month", MONTH, "--focus", "--provider", "Nord")[1]
    assert every.splitlines()[0].startswith("BilledCost,BillingAccountId,")
    assert {line.split(",")[1] for line in every.splitlines()[1:]} == {TENANT, "other"}


def test_a_draft_of_nobody_asks_for_the_name(fleet: Fleet) -> None:
    code, shown, error = invoke(fleet, book(), "nobody", "--month", MONTH)
    assert (code, "nobody, 2026-11: draft; 0 receipts" in shown) == (0, True)
    assert (
        error
        == "selvedge: tenant nobody: no receipts and no contract in 2026-11; is it its name?\n"
    )
    assert invoke(fleet, book(), TENANT, "--month", MONTH)[2] == ""


def test_a_pdf_is_written_or_what_it_needs_is_named(fleet: Fleet, tmp_path: Path) -> None:
    path = tmp_path / "invoice.pdf"
    code, _, error = invoke(fleet, book(), TENANT, "--month", MONTH, "--pdf", str(path))
    if has_reportlab():
        assert (code, path.read_bytes()[:5]) == (0, b"%PDF-")
    else:
        assert (code, path.exists()) == (1, False)
        assert "a PDF needs ReportLab" in error


def test_all_tenants_are_invoiced_and_one_that_cannot_be_is_named(fleet: Fleet) -> None:
    fleet.serve("2026-11-20", 1, "other", model="new")
    fleet.collect()
    code, shown, error = invoke(fleet, book(), "--all", "--month", MONTH, "--json")
    assert (code, len(shown.splitlines())) == (1, 1)
    assert "other: usage without a price: model new in zone asean has no price" in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((TENANT, "--all", "--month", MONTH), "name one tenant, or --all"),
        (("--month", MONTH), "name one tenant, or --all"),
        (("--all", "--month", MONTH, "--pdf", "x.pdf"), "--pdf is of one tenant"),
        ((TENANT, "--month", MONTH, "--csv", "--json"), "give one of --json"),
        ((TENANT, "--month", "11/2026"), "is no month"),
        ((TENANT, "--month", "9998-11", "--issue"), "is not over"),
        ((TENANT, "--month", MONTH, "--issue", "--prices", "x"), "--prices is for drafts"),
    ],
)
def test_what_cannot_be_asked_is_named(
    fleet: Fleet, arguments: tuple[str, ...], words: str
) -> None:
    code, _, error = invoke(fleet, book(), *arguments)
    assert code == 1
    assert words in error
