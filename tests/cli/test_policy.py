"""``selvedge policy``: what it shows, what it finds, and words for what cannot be asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from selvedge.cli.main import commands
from selvedge.fabric import BadRelease, SelvedgeError
from tests.support.residency import Month

FLEET = Path(__file__).parent.parent.parent / "examples" / "residency" / "fleet.yaml"
CEDAR = FLEET.with_name("policies.cedar")
DAY = "2026-11-22"
CASES = """\
published: 2026-11-22
cases:
  - { class: asean/standard, site: sin, act: [enter, process, cache], expect: allow }
  - { class: asean/standard, site: cgk, act: cache, expect: deny, note: Singapore alone }
  - { class: [asean/standard, asean/sealed], country: DE, act: process, expect: deny }
"""


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(commands, ["policy", *map(str, args)])


def changed(directory: Path, **swaps: str) -> Path:
    """The example with words swapped in its fleet file (``fleet``) and in its policies."""
    path = directory / "fleet.yaml"
    fleet, cedar = FLEET.read_text(), CEDAR.read_text()
    for old, new in swaps.items():
        old = old.replace("__", " ")
        assert old in fleet or old in cedar, old
        fleet, cedar = fleet.replace(old, new), cedar.replace(old, new)
    path.write_text(fleet)
    (directory / "policies.cedar").write_text(cedar)
    return path


def narrow(result: Result, width: int = 100) -> bool:
    return max(map(len, result.output.splitlines())) <= width


def test_a_fleet_is_checked_and_shown(tmp_path: Path) -> None:
    checked = run("check", FLEET, "--published", DAY)
    assert checked.exit_code == 0
    assert "5 classes, 2 rules, policy 2026-11-22/" in checked.output
    facts = json.loads(run("check", FLEET, "--published", DAY, "--json").output)
    assert (facts["classes"], facts["rules"], facts["remarks"]) == (5, 2, [])
    shown = run("show", FLEET, "--published", DAY)
    assert "forbid asean-only-cache: asean-only" in shown.output
    assert "what is allowed changes on 2027-12-27" in shown.output
    rows = json.loads(run("show", FLEET, "--published", DAY, "--json").output)["classes"]
    standard = next(one for one in rows if one["class"] == "asean/standard")
    assert standard["pops"] == {
        "entry": 2,
        "enter": 2,
        "process": 2,
        "cache": 1,
        "log": 2,
        "receipts": 2,
        "keys": 2,
    }
    later = run("show", FLEET, "--published", DAY, "--day", "2028-01-01", "--json")
    rows = json.loads(later.output)["classes"]
    assert next(one for one in rows if one["class"] == "asean/standard")["pops"]["enter"] == 0


def test_a_policy_that_does_not_hold_is_one_line(tmp_path: Path) -> None:
    path = changed(tmp_path, **{"resource.groups": "resource.grops"})
    done = run("check", path)
    assert isinstance(done.exception, BadRelease)
    assert "grops" in str(done.exception)
    stranded = changed(tmp_path, **{'"EEA"': '"GCC"'})
    done = run("check", stranded)
    assert "publish with --force" in str(done.exception)
    forced = run("check", stranded, "--force")
    assert forced.exit_code == 0
    assert "remark: tenants.eea.classes.strict.policy" in forced.output


def test_cases_hold_or_are_named(tmp_path: Path) -> None:
    cases = tmp_path / "cases.yaml"
    cases.write_text(CASES)
    done = run("test", cases, "--fleet", FLEET)
    assert (done.exit_code, done.output) == (0, "6 cases: all hold\n")
    shown = run("test", cases, "--fleet", FLEET, "-v")
    assert shown.output.count("process") >= 3
    assert narrow(shown)
    cases.write_text(CASES.replace("expect: deny, note", "expect: allow, note"))
    failed = run("test", cases, "--fleet", FLEET)
    assert failed.exit_code == 1
    assert "6 cases: 1 do not hold" in failed.output
    facts = json.loads(run("test", cases, "--fleet", FLEET, "--json").output)
    assert (facts["cases"], facts["failed"]) == (6, 1)
    wrong = next(one for one in facts["results"] if one["found"] != one["expected"])
    assert (wrong["case"], wrong["site"], wrong["act"], wrong["note"]) == (
        2,
        "cgk",
        "cache",
        "Singapore alone",
    )
    assert wrong["why"] == "rule 'asean-only' does not permit cache at cgk"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{ class: asean/standart, site: sin, act: enter, expect: deny }", "did you mean 'asean/s"),
        ("{ class: asean/standard, site: sim, act: enter, expect: deny }", "did you mean 'sin'?"),
        ("{ class: asean/standard, country: FR, act: enter, expect: deny }", "is in 'FR'"),
        (
            "{ class: asean/standard, site: sin, act: eat, expect: deny }",
            "enum value 'eat'",
        ),
        ("{ class: asean/standard, site: sin, act: enter, expect: maybe }", "'maybe'"),
        ("{ class: asean/standard, act: enter, expect: deny }", "name 'site' or 'country'"),
        ("{ klass: asean/standard, site: sin, act: enter, expect: deny }", "klass"),
    ],
)
def test_a_case_that_cannot_be_asked_is_named(tmp_path: Path, row: str, words: str) -> None:
    cases = tmp_path / "cases.yaml"
    cases.write_text(f"published: {DAY}\ncases:\n  - {row}\n")
    done = run("test", cases, "--fleet", FLEET)
    assert isinstance(done.exception, BadRelease)
    assert words in str(done.exception)
    assert str(cases) in str(done.exception)


def test_a_file_without_cases_is_refused(tmp_path: Path) -> None:
    cases = tmp_path / "cases.yaml"
    cases.write_text("cases: []\n")
    assert "has no cases" in str(run("test", cases, "--fleet", FLEET).exception)
    assert "cannot be read" in str(run("test", tmp_path / "gone", "--fleet", FLEET).exception)


def test_it_is_explained_by_fences_clauses_and_rows() -> None:
    options = ("--fleet", FLEET, "--day", DAY, "--published", DAY)
    done = run("explain", "asean/standard", "cgk", *options)
    assert done.exit_code == 0
    assert "owned by Example Edge Holding (SG)" in done.output
    assert "reached from ID, SG" in done.output
    assert "forbidden" in done.output
    assert "ID is in ASEAN" in done.output
    assert "https://asean.org/member-states/" in done.output
    assert narrow(done)
    one = json.loads(run("explain", "asean/standard", "cgk", *options, "--json").output)
    acts = {found["act"]: found for found in one["acts"]}
    assert (acts["cache"]["allowed"], acts["process"]["allowed"]) == (False, True)
    assert acts["cache"]["clauses"]["forbids"] == ["asean-only-cache"]
    assert acts["process"]["clauses"]["permits"] == ["asean-only"]
    home = json.loads(
        run("explain", "eea/strict", "fra", *options, "--act", "process", "--json").output
    )
    assert [found["act"] for found in home["acts"]] == ["process"]
    assert any("EEA through EU" in found["what"] for found in home["rows"])
    plain = run("explain", "free/standard", "sin", *options)
    assert "policy none" in plain.output


def test_what_cannot_be_explained_is_said(tmp_path: Path) -> None:
    done = run("explain", "asean/standart", "sin", "--fleet", FLEET)
    assert "did you mean 'asean/standard'?" in str(done.exception)
    done = run("explain", "asean/standard", "sim", "--fleet", FLEET)
    assert "did you mean 'sin'?" in str(done.exception)
    done = run("explain", "asean/standard", "sin", "--home", tmp_path / "gone")
    assert "no release serves from" in str(done.exception)
    done = run("explain", "asean/standard", "sin", "--fleet", FLEET, "--day", "tomorrow")
    assert done.exit_code == 2
    assert "is not a UTC day" in done.output


def test_a_change_is_told_by_country(tmp_path: Path) -> None:
    after = changed(tmp_path, **{"scope: geo, groups: [ASEAN]": "countries: [SG]"})
    done = run("diff", FLEET, after)
    assert done.exit_code == 0
    assert "asean/sealed and 1 more" in done.output
    assert "not any more" in done.output
    facts = json.loads(run("diff", FLEET, after, "--json").output)
    found = {(one["act"], one["country"], one["now"]) for one in facts["changes"]}
    assert ("process", "ID", False) in found
    assert {one["country"] for one in facts["changes"]} == {"ID"}
    back = json.loads(run("diff", after, FLEET, "--json").output)
    assert all(one["now"] for one in back["changes"])
    assert "nothing is allowed otherwise" in run("diff", FLEET, FLEET).output


def test_a_change_is_asked_about_receipts(tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    month = Month(tmp_path / "home")
    month.serve("2026-11-03", 4, model="chat", tenant="acme")
    month.serve("2026-11-03", 3, "cgk", model="chat")
    month.collect()
    fleet, rule = tmp_path / "fleet.yaml", "{ zone: asean, ingress: in-zone }"
    fleet.write_text(
        FLEET.read_text()
        .replace("policies: policies.cedar", "")
        .replace(", policy: asean-only", "")
        .replace(", policy: eu-only", "")
        .replace("scope: geo, groups: [ASEAN]", "countries: [ID]")
        .replace(
            "tenants:\n",
            f"tenants:\n  acme: {{ classes: {{ standard: {rule} }} }}\n",
        )
    )
    span = ("--from", "2026-11-01", "--to", "2026-12-01", "--home", month.home.directory)
    options = (*span, "--collected", month.where)
    done = run("simulate", fleet, *options)
    assert done.exit_code == 0, done.exception
    assert "7 receipts" in done.output
    assert "would have been refused" in done.output
    assert "no price book is published" in done.output
    facts = json.loads(run("simulate", fleet, *options, "--json").output)
    assert facts["fates"] == {"refused": 4, "unserved": 3}
    row = next(one for one in facts["affected"] if one["fate"] == "refused")
    assert (row["country"], row["pop"], row["receipts"]) == ("SG", "sin", 4)
    assert len(row["examples"]) == 3
    serving = run("simulate", month.home.release_file, *options, "--tenant", "acme", "--json")
    assert json.loads(serving.output)["fates"] == {"same": 7}
    wrong = run("simulate", fleet, *options[2:], "--from", "2026-12-02")
    assert wrong.exit_code == 2
    assert "is not before" in wrong.output
    nobody = run("simulate", fleet, "--home", tmp_path / "gone")
    assert isinstance(nobody.exception, SelvedgeError)
