"""Numbers of `selvedge plan retrofit` that cannot be are refused before anything is reckoned."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from selvedge.cli.plan import plan


@pytest.mark.parametrize(
    ("option", "number"),
    [
        ("--budget-usd", "nan"),
        ("--budget-usd", "-5"),
        ("--adoption", "2"),
        ("--requests-per-day", "inf"),
        ("--last-mile-ms", "-5"),
        ("--path-inflation", "0"),
        ("--prompt-tokens", "0"),
        ("--output-tokens", "-1"),
        ("--near-ms", "-1"),
        ("--survive-ms", "nan"),
        ("--survive-share", "2"),
        ("--site-usd", "-5"),
        ("--per-quarter", "0"),
        ("--seconds", "nan"),
        ("--gap", "-1"),
        ("--sites", "-1"),
    ],
)
def test_a_number_that_cannot_be(tmp_path: Path, option: str, number: str) -> None:
    fleet = str(tmp_path / "none.csv")
    told = CliRunner().invoke(plan, ["retrofit", "--fleet", fleet, "--sites", "3", option, number])
    assert told.exit_code == 2
    assert f"Invalid value for '{option}'" in told.output
