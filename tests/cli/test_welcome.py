"""What `up` tells a second terminal, when a key ends, and when an act was done."""

from __future__ import annotations

from pathlib import Path

import pytest

from selvedge.cli.control import audit_line
from selvedge.cli.tenancy import _cell, moment_words
from selvedge.cli.up import _where
from selvedge.control import DEFAULT_HOME, Home


def test_hints_name_a_home_that_is_not_the_usual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _where(Home(Path(DEFAULT_HOME))) == ""
    assert _where(Home(tmp_path / DEFAULT_HOME)) == ""
    assert _where(Home(tmp_path / "an other")) == " --home 'an other'"


def test_a_key_that_ends_says_when() -> None:
    assert moment_words(1_803_087_071_532_250) == "2027-02-20T01:31Z"
    row = {"removed_us": None, "expires_us": 1_000_000}
    assert _cell("state", row) == "ended 1970-01-01T00:00Z"
    assert _cell("state", {**row, "expires_us": 1 << 53}) == "ends 2255-06-05T23:47Z"
    assert _cell("state", {**row, "expires_us": None}) == "holds"
    assert _cell("state", {**row, "removed_us": 1}) == "revoked"


def test_the_audit_tells_the_time_in_utc() -> None:
    row = {"at_us": 1_803_087_071_032_250, "who": "file", "act": "key.create", "what": "key a"}
    assert audit_line(row) == "2027-02-20T01:31:11.032250Z file key.create key a"
