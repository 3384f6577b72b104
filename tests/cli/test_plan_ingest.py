"""`selvedge plan ingest`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from selvedge.cli.plan import plan


def run(*words: object) -> Result:
    return CliRunner().invoke(plan, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture
def files(tmp_path: Path) -> list[object]:
    (tmp_path / "fleet.csv").write_text("pop,country,timezone\nfra,DE,Europe/Berlin\n")
    (tmp_path / "load.csv").write_text("pop,at_s,out_bytes\nfra,1767225600,7\nxxx,1767225600,7\n")
    return [tmp_path / "data", tmp_path / "load.csv", "--fleet", tmp_path / "fleet.csv"]


def test_what_happened_is_told(files: list[object]) -> None:
    done = run("ingest", *files, "--form", "csv")
    assert done.exit_code == 0
    assert "2 rows, 1 readings kept" in done.output
    assert "has 1 samples" in done.output
    assert "1 PoPs are not in the fleet file" in done.output
    assert "Read before, the same" in run("ingest", *files, "--form", "csv").output


def test_as_json(files: list[object]) -> None:
    done = run("ingest", *files, "--form", "csv", "--json")
    account = json.loads(done.stdout)
    assert account["samples"] == 1
    assert account["findings"] == {"unknown_pop": 1}


def test_an_unknown_form_names_those_that_are_known(files: list[object]) -> None:
    done = run("ingest", *files, "--form", "list")
    assert done.exit_code == 1
    assert "snmp" in done.output
    assert "prometheus" in done.output


def test_a_file_that_cannot_be_read_makes_the_command_fail(files: list[object]) -> None:
    done = run("ingest", *files, "nowhere.csv", "--form", "csv")
    assert done.exit_code == 1
    assert "Not read: nowhere.csv" in done.output
    assert "has 1 samples" in done.output


def test_a_mapping_without_a_unit_is_one_sentence(files: list[object], tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("columns: {out_bytes: {column: x}}")
    done = run("ingest", *files, "--form", "csv", "--mapping", tmp_path / "m.yaml")
    assert done.exit_code == 1
    assert "has no unit, and none is assumed" in done.output


def test_without_the_extra_one_sentence_says_what_to_install(
    files: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selvedge.cli.plan.find_spec", lambda name: None)
    done = run("ingest", *files, "--form", "csv")
    assert done.exit_code == 1
    assert "pip install 'selvedge[plan]'" in done.output
    assert run("--help").exit_code == 0
