"""``selvedge audit residency`` and ``check``: files, exit codes, and words for what cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from selvedge.adapters import has_reportlab
from selvedge.cli.main import commands
from selvedge.fabric import SelvedgeError
from tests.support.residency import TENANT, Month, fleet_release, logged_release, write_logs

pytest.importorskip("duckdb")
DAYS = ("--from", "2026-11-01", "--to", "2026-12-01")


@pytest.fixture
def month(tmp_path: Path) -> Month:
    found = Month(tmp_path / "home", logged_release())
    found.serve("2026-11-03", 9)
    found.serve("2026-11-04", 5, "cgk")
    found.collect()
    return found


def run(month: Month, *args: str, collected: bool = True) -> Result:
    given = ["audit", *args, "--home", str(month.home.directory)]
    if collected:
        given += ["--collected", str(month.where)]
    return CliRunner().invoke(commands, given)


def test_a_report_is_shown_written_drawn_and_checked(month: Month, tmp_path: Path) -> None:
    logs = write_logs(month)
    out, pdf = tmp_path / "report.json", tmp_path / "report.pdf"
    place = f"asean={logs.homes['asean']}"
    options = ["--pop-logs", str(logs.folder), "--log", place, "--seed", "words of the auditor"]
    if has_reportlab():
        options += ["--pdf", str(pdf)]
    done = run(month, "residency", TENANT, *DAYS, "--out", str(out), *options)
    assert done.exit_code == 0, done.output
    assert "their leaves in transparency logs" in done.output
    assert "exceptions: 0" in done.output
    assert "differences: 0" in done.output
    assert max(map(len, done.output.splitlines())) <= 100
    assert not has_reportlab() or pdf.read_bytes().startswith(b"%PDF-")
    as_json = run(month, "residency", TENANT, *DAYS, *options[:6], "--json")
    assert as_json.output.encode() == out.read_bytes()
    assert json.loads(as_json.output)["report"]["completeness"]["leaves"] == 14

    checked = run(month, "check", str(out), collected=False)
    assert checked.exit_code == 0
    assert "the key that was asked for" in checked.output
    facts = json.loads(run(month, "check", str(out), "--json", collected=False).output)
    assert (facts["exceptions"], facts["difference"], facts["wrong"]) == (0, 0, [])
    elsewhere = CliRunner().invoke(
        commands, ["audit", "check", str(out), "--home", str(tmp_path / "nobody")]
    )
    assert "as the file says; compare it, or give --key" in elsewhere.output


def test_the_exit_code_says_when_something_is_not_as_it_should_be(month: Month) -> None:
    month.rewrite(lambda row: [] if (row.pop, row.seq) == ("sin", 4) else [row])
    done = run(month, "residency", TENANT, *DAYS, "--no-logs")
    assert done.exit_code == 3
    assert "differences: 1 (gap 1)" in done.output
    assert "gap: PoP sin, worker 0, number 4: was collected" in done.output
    assert "No transparency log was read" in done.output


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("residency", "nobody", *DAYS, "--no-logs"), "tenant 'nobody' has no receipts here"),
        (
            ("residency", TENANT, "--from", "2026-12-01", "--to", "2026-11-01"),
            "is not after --from 2026-12-01",
        ),
        (("residency", TENANT, *DAYS, "--beacon", "x"), "'x' is not ROUND:HEX"),
        (
            ("residency", TENANT, *DAYS, "--seed", "a", "--beacon", "b"),
            "give --seed or --beacon, not both",
        ),
        (("residency", TENANT, *DAYS, "--log", "x", "--pop-logs", "."), "--log 'x' is not ID=DIR"),
    ],
)
def test_what_cannot_be_is_said(month: Month, args: tuple[str, ...], words: str) -> None:
    done = run(month, *args)
    assert isinstance(done.exception, SelvedgeError)
    assert words in str(done.exception)


def test_a_report_that_is_not_the_operators_is_refused(month: Month, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    run(month, "residency", TENANT, *DAYS, "--no-logs", "--out", str(out))
    other = Month(tmp_path / "other", fleet_release())
    done = run(other, "check", str(out), collected=False)
    assert isinstance(done.exception, SelvedgeError)
    assert "is signed by key" in str(done.exception)
    out.write_bytes(out.read_bytes().replace(b"acme", b"acmx"))
    done = run(month, "check", str(out), collected=False)
    assert "its signature is not that of key" in str(done.exception)
    done = run(month, "check", str(tmp_path / "gone"), collected=False)
    assert "cannot be read: No such file" in str(done.exception)
