"""The script of docs/audit.md verifies our bundles with a shell, and refuses changed ones."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.tlog.worlds import World

DOCUMENT = Path(__file__).parents[2] / "docs" / "audit.md"
TOOLS = ("sh", "sha256sum", "basenc", "openssl", "python3")


@pytest.fixture(scope="module")
def script() -> str:
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not on this machine: {', '.join(missing)}")
    (found,) = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    return str(found)


def run(script: str, folder: Path, bundle: bytes) -> tuple[int, str]:
    (folder / "bundle.json").write_bytes(bundle)
    ran = subprocess.run(
        ["sh", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60
    )
    return ran.returncode, ran.stdout + ran.stderr


def test_a_good_bundle_is_verified_by_hand(script: str, tmp_path: Path) -> None:
    world = World()
    code, said = run(script, tmp_path, world.prove("sg", 17))
    assert code == 0, said
    lines = said.splitlines()
    assert lines[1] == f"entry 17 of {lines[1].split()[3]} in {world.pops['sg'].origin}"
    assert lines[3] == f"signed by {world.pops['sg'].signer.verifier.text}"
    assert "2026" in lines[5]
    assert lines[6] == f"signed by {world.witnesses[0].verifier.text}"


@pytest.mark.parametrize(
    ("field", "old", "new"),
    [
        ("salt", "=", "A="),
        ("receipt", "acm", "acn"),
        ("pop", "index 17", "index 18"),
        ("pop", "/pop/", "/pup/"),
        ("jurisdiction", "index 2", "index 3"),
        ("jurisdiction", "2026-11\n", "2026-12\n"),
        ("jurisdiction", "w0.example/w ", "w0.example/w A"),
    ],
)
def test_a_changed_bundle_is_refused_by_hand(
    script: str, tmp_path: Path, field: str, old: str, new: str
) -> None:
    bundle = json.loads(World().prove("sg", 17))
    value = json.dumps(bundle[field], ensure_ascii=False)
    bent = value.replace(json.dumps(old)[1:-1], json.dumps(new)[1:-1], 1)
    assert bent != value
    code, said = run(script, tmp_path, json.dumps({**bundle, field: json.loads(bent)}).encode())
    assert code != 0, said
