"""Residency reports held against transparency logs: what the logs find that the disk could hide."""

from __future__ import annotations

from pathlib import Path

import pytest

from selvedge.control import LogSources
from selvedge.fabric import BadProof
from selvedge.ledger import UsageRow
from selvedge.plan import check_report, write_report
from selvedge.tlog import parse_trust, release_policy, verify_bundle
from tests.support.residency import (
    TENANT,
    Month,
    fleet_release,
    log_seed,
    logged_release,
    rewritten,
    write_logs,
)

pytest.importorskip("duckdb")


@pytest.fixture
def month(tmp_path: Path) -> Month:
    found = Month(tmp_path / "home", logged_release())
    for day in ("2026-11-01", "2026-11-15", "2026-11-30"):
        found.serve(day, 7)
        found.serve(day, 4, "cgk")
        found.serve(day, 2, tenant="other", rule="other/standard")
    found.collect()
    return found


def test_every_receipt_is_a_leaf_and_the_sample_is_proved(month: Month) -> None:
    report = month.report(write_logs(month))
    whole = report.completeness
    assert (whole.receipts, whole.leaves, whole.folded, whole.difference) == (33, 33, 33, 0)
    assert [(one.pop, one.leaves, one.others) for one in whole.logs] == [
        ("cgk", 12, 0),
        ("sin", 21, 6),
    ]
    assert report.sample is not None
    assert len(report.sample.drawn) == 5
    release = logged_release()
    trust = parse_trust(release_policy([release], "asean"))
    for one in report.sample.drawn:
        assert one.is_proved
        found = verify_bundle(bytes(one.proof) + b"\n", trust)
        assert all(finding.good for finding in found), found[-1].text
    assert check_report(report) == []
    assert write_report(report) == write_report(month.report(write_logs_again(month)))


def write_logs_again(month: Month) -> LogSources:
    """Where they lie already."""
    folder = month.home.directory / "logs"
    return LogSources(folder / "pops", {"asean": str(folder / "asean")})


def test_a_lie_that_agrees_with_itself_is_in_no_log(month: Month) -> None:
    """Receipt, row and digest are changed together: only the log knows better."""
    logs = write_logs(month)

    def change(row: UsageRow) -> list[UsageRow]:
        hit = (row.tenant, row.pop, row.seq) == (TENANT, "sin", 9)
        return [rewritten(row, cleanly=True, model="large") if hit else row]

    month.rewrite(change)
    assert month.report().completeness.difference == 0
    whole = month.report(logs).completeness
    assert whole.differences["leaf"] == 1
    leaf = next(one for one in whole.named if one.kind == "leaf")
    assert (leaf.where, leaf.what) == ("PoP sin, worker 0, number 9", "its leaf is in no log")
    assert (whole.receipts, whole.leaves) == (33, 32)


def test_a_receipt_that_is_logged_twice_is_named(month: Month) -> None:
    whole = month.report(write_logs(month, twice=5)).completeness
    assert whole.differences == {"leaf": 2}
    assert whole.named[0].what == "its leaf is logged 2 times"


def test_a_log_signed_by_a_stranger_stops_the_report(month: Month) -> None:
    logs = write_logs(month, seeds=lambda name: log_seed(f"other {name}"))
    with pytest.raises(BadProof, match="pop/cgk/2026-11: note: is signed by none of the keys"):
        month.report(logs)


@pytest.mark.parametrize("name", ["tile/entries/000", "tile/0/000", "tile/1/000.p/2"])
def test_a_file_of_a_log_that_is_damaged_stops_the_report_by_name(month: Month, name: str) -> None:
    logs = write_logs(month)
    assert logs.folder is not None
    path = logs.folder / "sin" / "public" / "2026-11" / name
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadProof, match=name.replace(".", r"\.") if "entries" not in name else "."):
        month.report(logs)


def test_a_log_that_was_set_back_is_named_by_what_its_jurisdiction_knows(month: Month) -> None:
    """Nothing of the period's receipts is lost with it: heartbeats alone."""
    whole = month.report(write_logs(month, lost=2)).completeness
    assert whole.differences == {"log": 2, "proof": 5}  # nor does it lead to what is witnessed
    named = [one for one in whole.named if one.kind == "log"]
    assert [one.where for one in named] == ["PoP cgk", "PoP sin"]
    assert named[0].what == (
        "its log 2026-11 ends at 730, and its jurisdiction's knows it at 732: it was set back"
    )


def test_a_pop_without_a_log_is_named_with_all_its_receipts(month: Month) -> None:
    logs = write_logs(month)
    assert logs.folder is not None
    (logs.folder / "sin").rename(logs.folder / "away")
    whole = month.report(logs).completeness
    assert whole.differences == {"leaf": 21, "log": 1, "proof": len(month_drawn(month, "sin"))}
    assert (whole.receipts, whole.leaves) == (33, 12)


def month_drawn(month: Month, pop: str) -> list[int]:
    sample = month.report().sample
    assert sample is not None
    return [one.seq for one in sample.drawn if one.pop == pop]


def test_a_fleet_without_logs_says_so(tmp_path: Path) -> None:
    found = Month(tmp_path / "home", fleet_release())
    found.serve("2026-11-01", 2)
    found.collect()
    report = found.report()
    assert report.completeness.leaves is None
    assert any("No transparency log was read" in one for one in report.notes)
    whole = found.report(LogSources()).completeness
    assert whole.differences == {"leaf": 2, "log": 1, "proof": 2}
