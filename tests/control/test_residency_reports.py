"""Residency reports: what is counted, what is found when somebody lies, what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec
import pytest

from selvedge.adapters import find_parts, lay_down_release, seal_release
from selvedge.control import Home, Reporting, Wish, sources_for_report
from selvedge.fabric import Outcome, SelvedgeError, StoreCorrupt, StoreFailed
from selvedge.ledger import UsageRow
from selvedge.plan import check_report, write_report
from tests.support.residency import (
    SINCE,
    TENANT,
    UNTIL,
    Month,
    fleet_release,
    rewritten,
    served,
)

pytest.importorskip("duckdb")
REFUSED = {
    "outcome": Outcome.REFUSED,
    "status": 429,
    "code": "rate_limit_exceeded",
    "usage": None,
    "planned": (),
    "planned_in": (),
    "attempts": (),
    "served_pop": None,
    "served_engine": None,
    "served_entity": None,
    "processed_in": None,
}


@pytest.fixture
def month(tmp_path: Path) -> Month:
    found = Month(tmp_path / "home")
    found.serve("2026-10-31", 3)
    found.serve("2026-10-31", 2, "cgk")
    for day in ("2026-11-01", "2026-11-15", "2026-11-30"):
        found.serve(day, 7)
        found.serve(day, 4, "cgk")
        found.serve(day, 2, tenant="other", rule="other/standard")
    found.serve("2026-11-20", 5, **REFUSED)
    found.serve("2026-12-01", 3)
    found.collect()
    return found


def is_(row: UsageRow, pop: str, seq: int) -> bool:
    return (row.tenant, row.pop, row.seq) == (TENANT, pop, seq)


def test_a_month_is_counted_and_agrees_with_its_invoice(month: Month) -> None:
    month.issue("2026-10")
    month.issue()
    report = month.report()
    whole = report.completeness
    assert (report.receipts, whole.folded, whole.invoiced) == (38, 38, 38)
    assert (report.exception_count, whole.difference, whole.elsewhere) == (0, 0, 0)
    assert report.outcomes == {"complete": 33, "refused": 5}
    places = [(one.country, one.pop, one.owners, one.receipts) for one in report.places]
    assert places == [("ID", "cgk", (), 12), ("SG", "sin", ("Holding",), 21)]
    assert report.unprocessed == 5
    rule = report.rules[0]
    assert (rule.rule, rule.zone, rule.policy, rule.refused) == (
        "acme/standard",
        "asean",
        "-",
        5,
    )
    assert [(one.code, one.status, one.receipts) for one in report.refusals] == [
        ("rate_limit_exceeded", 429, 5)
    ]
    assert [(one.pop, one.runs) for one in whole.streams] == [
        ("cgk", ((3, 14),)),
        ("sin", ((4, 29),)),
    ]
    assert [(one.number, one.in_period) for one in whole.invoices] == [("acme-2026-11", 38)]
    assert check_report(report) == []


def test_the_same_bytes_come_again_from_parts_logs_and_journals(month: Month) -> None:
    first = write_report(month.report())
    assert first == write_report(month.report())
    for name, journal in month.journals.items():
        directory = month.home.pop(name) / "receipts"
        directory.mkdir(parents=True)
        for number, data in journal.segments.items():
            (directory / f"receipts-{number:08d}.log").write_bytes(data)
    sources = sources_for_report(month.home, [])
    wish = Wish(TENANT, SINCE, UNTIL, "seed:of a test", 5)
    assert write_report(Reporting(month.home, sources).report(wish)) == first


def test_a_receipt_that_was_deleted_is_named(month: Month) -> None:
    month.issue("2026-10")
    month.issue()
    assert month.rewrite(lambda row: [] if is_(row, "sin", 12) else [row]) == 1
    report = month.report()
    whole = report.completeness
    assert report.receipts == 37
    assert whole.differences == {"gap": 1, "invoiced": 1}
    words = [f"{one.kind}: {one.where}: {one.what}" for one in whole.named]
    assert words == [
        "gap: PoP sin, worker 0, number 12: was collected, and is not here any more",
        "invoiced: PoP sin, worker 0, number 12: an issued invoice folds it, and it is not here",
    ]


@pytest.mark.parametrize("seq", [1, 4, 29, 32])
def test_it_is_named_at_the_edges_of_the_period_as_well(month: Month, seq: int) -> None:
    """The first and last of the month are numbers 4 and 29: 1 and 32 are of other months."""
    month.rewrite(lambda row: [] if is_(row, "sin", seq) else [row])
    named = month.report().completeness.named
    of_the_month = seq in (4, 29)
    assert [(one.kind, one.where) for one in named] == (
        [("gap", f"PoP sin, worker 0, number {seq}")] if of_the_month else []
    )


def test_a_receipt_that_was_altered_is_named(month: Month) -> None:
    def change(row: UsageRow) -> list[UsageRow]:
        hit = is_(row, "cgk", 5)
        return [rewritten(row, cleanly=False, ended_us=row.ended_us + 1) if hit else row]

    month.rewrite(change)
    whole = month.report().completeness
    assert whole.differences == {"altered": 1}
    assert whole.named[0].where == "PoP cgk, worker 0, number 5"
    assert whole.named[0].what == "its bytes are not those that were collected"


def test_a_row_that_bills_other_than_its_receipt_says_is_named(month: Month) -> None:
    def change(row: UsageRow) -> list[UsageRow]:
        hit = is_(row, "cgk", 5)
        return [msgspec.structs.replace(row, output=0) if hit else row]

    month.rewrite(change)
    whole = month.report().completeness
    assert whole.differences == {"row": 1}
    assert whole.named[0].what == "output of its row is not what the receipt says"


def test_a_receipt_that_is_there_twice_is_named_and_counted_once(month: Month) -> None:
    month.rewrite(lambda row: [row, row] if is_(row, "sin", 20) else [row])
    report = month.report()
    whole = report.completeness
    assert report.receipts == 38
    assert whole.differences == {"double": 1, "fold": 1}
    assert {one.where for one in whole.named} >= {"PoP sin, worker 0, number 20"}


def test_one_that_is_there_again_at_another_time_is_named(month: Month) -> None:
    late = {"received_us": 1_799_000_000_000_000, "ended_us": 1_799_000_000_000_001}

    def change(row: UsageRow) -> list[UsageRow]:
        return [row, rewritten(row, cleanly=True, **late)] if is_(row, "sin", 20) else [row]

    month.rewrite(change)
    whole = month.report().completeness
    assert whole.differences == {"double": 1}
    assert "received at another time" in whole.named[0].what


@pytest.mark.parametrize("cleanly", [False, True])
def test_one_that_was_moved_to_another_country_is_named(month: Month, cleanly: bool) -> None:
    def change(row: UsageRow) -> list[UsageRow]:
        hit = is_(row, "sin", 9)
        return [rewritten(row, cleanly=cleanly, processed_in="DE") if hit else row]

    month.rewrite(change)
    report = month.report()
    assert report.exceptions == {"place": 1, "zone": 1}
    words = sorted(one.what for one in report.exceptions_named)
    assert words == [
        "processed at PoP 'sin' in DE, which its release has in SG",
        "processed in DE, outside zone 'asean'",
    ]
    assert all("PoP sin, worker 0, number 9" in one.where for one in report.exceptions_named)
    assert report.completeness.differences == ({} if cleanly else {"altered": 1})


def test_one_that_was_moved_out_of_the_month_is_named(month: Month) -> None:
    """Its row lies in another month now: the numbers around it, and the invoice, tell."""
    month.issue("2026-10")
    month.issue()
    out = {"received_us": 1_799_000_000_000_000, "ended_us": 1_799_000_000_000_001}

    def change(row: UsageRow) -> list[UsageRow]:
        return [rewritten(row, cleanly=True, **out)] if is_(row, "sin", 9) else [row]

    month.rewrite(change)
    report = month.report()
    assert report.receipts == 37
    assert report.completeness.differences == {"moved": 1}
    assert report.completeness.named[0].where == "PoP sin, worker 0, number 9"


def test_what_its_release_forbids_is_an_exception(tmp_path: Path) -> None:
    found = Month(tmp_path / "home")
    found.serve("2026-11-01", 1)
    found.serve("2026-11-02", 1, **served("fra", "DE", ingress_country="SG"))
    found.serve("2026-11-03", 1, planned=("sin", "fra"), planned_in=("SG", "DE"))
    found.serve("2026-11-04", 1, ingress_country="DE")
    found.collect()
    report = found.report()
    assert report.exceptions == {"ingress": 1, "place": 1, "zone": 4}
    assert report.completeness.difference == 0


def test_receipts_of_a_release_that_is_not_kept_cannot_be_judged(month: Month) -> None:
    later = fleet_release(version=2)
    lay_down_release(month.home.release_file, seal_release(later, month.home.operator_key()))
    assert month.report().completeness.difference == 0
    kept = sorted((month.home.directory / "releases").iterdir())
    assert [one.name[:8] for one in kept] == ["00000001", "00000002"]
    kept[0].unlink()
    whole = month.report().completeness
    assert whole.differences == {"release": 38}
    assert whole.named[0].where == f"release 1, {month.hash}"


def test_a_kept_release_that_is_damaged_stops_the_report(month: Month) -> None:
    path = next((month.home.directory / "releases").iterdir())
    data = path.read_bytes()
    path.write_bytes(gzip.compress(gzip.decompress(data).replace(b'"SG"', b'"DE"', 1)))
    with pytest.raises(StoreCorrupt, match="is not the release that was published"):
        month.report()
    path.write_bytes(data[:-30])
    with pytest.raises(StoreCorrupt, match="is not the release that was published"):
        month.report()


def test_a_part_that_is_damaged_stops_the_report_by_name(month: Month) -> None:
    path = find_parts(month.where)[0]
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(StoreFailed, match=r"partitions cannot be read.*restore the file"):
        month.report()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tenant": "nobody"}, "tenant 'nobody' has no receipts here, and the release"),
        ({"tenant": "../x"}, "'../x' is no tenant"),
        ({"since": "2026-12-01", "until": "2026-11-01"}, "is not after --from 2026-12-01"),
        ({"since": "2026-11-01", "until": "2026-11-01"}, "is not after --from 2026-11-01"),
        ({"since": "November"}, "--from: 'November' is not a UTC day"),
        ({"until": "2026-02-30"}, "--to: '2026-02-30' is not a UTC day"),
        ({"sample": 0}, "--sample is from 1 to 1000 receipts, not 0"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    month: Month, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(SelvedgeError, match=words):
        month.report(**changes)


def test_a_home_of_nobody_makes_no_report_and_no_key(month: Month, tmp_path: Path) -> None:
    other = Home(tmp_path / "nobody")
    with pytest.raises(SelvedgeError, match="it is not a fabric's home"):
        Reporting(other, sources_for_report(other, [month.where]))
    assert not (other.directory / "operator.key").exists()
    with pytest.raises(SelvedgeError, match="no PoP has receipts under"):
        sources_for_report(other, [])


def test_a_quiet_tenant_has_a_report_of_nothing(month: Month) -> None:
    report = month.report(since="2026-11-02", until="2026-11-03")
    assert (report.receipts, report.completeness.difference, report.places) == (0, 0, ())


def test_numbers_of_another_zone_are_told_and_are_no_gap(tmp_path: Path) -> None:
    found = Month(tmp_path / "home")
    found.serve("2026-11-01", 2)
    found.serve("2026-11-02", 3, zone="eea")
    found.serve("2026-11-03", 2)
    found.collect()
    report = found.report()
    assert (report.receipts, report.completeness.difference) == (4, 0)
    assert report.completeness.elsewhere == 3
    assert any("3 receipts of the tenant are of zones" in one for one in report.notes)
