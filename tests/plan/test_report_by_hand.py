"""The check in docs/residency-report.md holds, with tools of others, what we sign and no more."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from selvedge.adapters import operator_public_key
from selvedge.plan import sign_report
from tests.support.residency import Month

pytest.importorskip("duckdb")
DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "residency-report.md"
KEY = bytes(range(32))


def script() -> str:
    blocks = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    return next(one for one in blocks if "openssl" in one)


def check(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", script()], cwd=directory, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_the_documented_check_takes_ours_and_refuses_others(tmp_path: Path) -> None:
    month = Month(tmp_path / "home")
    month.serve("2026-11-03", 30)
    month.serve("2026-11-04", 12, "cgk")
    month.collect()
    data = sign_report(month.report(), KEY, operator_public_key(KEY))
    path = tmp_path / "report.json"
    path.write_bytes(data)
    done = check(tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{operator_public_key(KEY)} 42 receipts, exceptions: 0" in done.stdout
    assert "5 sampled receipts are those that the seed draws" in done.stdout
    for old, new in (
        (b'"tenant":"acme"', b'"tenant":"acmx"'),
        (b'"seed:of a test"', b'"seed:of a tess"'),
        (b'"signature":"', b'"signature":"AAAA'),
    ):
        assert old in data
        path.write_bytes(data.replace(old, new, 1))
        assert check(tmp_path).returncode != 0
