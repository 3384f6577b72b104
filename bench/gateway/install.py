"""What the measurement compares with and measures by, each in a place of its own below bench/out:
C programs compiled here, nginx and Node from apt, others' gateways in environments of their own."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figures import OUT
from bench.gateway.processes import BenchFailed

HERE = Path(__file__).parent
ENVIRONMENTS = OUT / "gateway-env"
APT = {"gcc": "gcc libc6-dev", "nginx": "nginx-light", "node": "nodejs", "npm": "npm"}
LITELLM = "litellm[proxy]==1.106.2"
# Its package.json has an older Hono server: with a newer one every stream through Portkey ends in
# 500 (Portkey-AI/gateway, issue 1389).
PORTKEY = "@portkey-ai/gateway@1.15.2"
PY_SPY = "py-spy==0.4.3"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Tools:
    """Programs of a run."""

    mock: Path
    load: Path
    nginx: str

    @staticmethod
    def environment(name: str) -> Path:
        """Where a gateway of others is installed."""
        return ENVIRONMENTS / name


def install(targets: Iterable[str], *, profile: bool, say: Say) -> Tools:
    """Everything that these targets need; what is there already costs nothing.

    Raises `BenchFailed` with what to do where something cannot be installed.
    """
    names = set(targets)
    apt = ["gcc"] + ["nginx"] * ("nginx" in names) + ["node", "npm"] * ("portkey" in names)
    _apt([one for one in apt if shutil.which(one) is None], say)
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    mock, load = (_compiled(name) for name in ("mock", "load"))
    if "litellm" in names:
        _venv("litellm", LITELLM, say)
    if "portkey" in names:
        _portkey(ENVIRONMENTS / "portkey", say)
    if profile:
        try:
            _venv("py-spy", PY_SPY, say)
        except BenchFailed:
            say("py-spy cannot be installed; stacks are sampled by signal")
    return Tools(mock, load, shutil.which("nginx") or "nginx")


def _compiled(name: str) -> Path:
    """A C program of this directory, newer than its sources."""
    source, program = HERE / f"{name}.c", ENVIRONMENTS / name
    newest = max(one.stat().st_mtime for one in HERE.glob("*.[ch]"))
    if not program.exists() or program.stat().st_mtime < newest:
        _run(["gcc", "-O2", "-Wall", "-o", str(program), str(source)])
    return program


def _apt(missing: Sequence[str], say: Say) -> None:
    if not missing:
        return
    packages = " ".join(APT[one] for one in missing).split()
    words = " ".join(packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise BenchFailed(f"{', '.join(missing)} is missing; run `sudo apt-get install {words}`")
    say(f"apt-get install {words}")
    _run(["apt-get", "install", "-y", "--no-install-recommends", *packages])


def _venv(name: str, requirement: str, say: Say) -> None:
    place = ENVIRONMENTS / name
    make = [sys.executable, "-m", "venv", str(place)]
    pip = [str(place / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    _once(place, requirement, [make, [*pip, requirement]], say)


def _portkey(place: Path, say: Say) -> None:
    package = HERE / "portkey.json"
    requirement = f"{PORTKEY} {hashlib.sha256(package.read_bytes()).hexdigest()[:12]}"
    npm = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(place)]
    copy = ["cp", str(package), str(place / "package.json")]
    _once(place, requirement, [copy, npm], say)


def _once(place: Path, requirement: str, steps: Sequence[Sequence[str]], say: Say) -> None:
    """Run the steps unless this very requirement was installed here before."""
    stamp = place / "installed"
    if stamp.exists() and stamp.read_text() == f"{requirement}\n{place}\n":
        return
    say(f"installing {requirement} (once)")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for argv in steps:
        _run(argv)
    stamp.write_text(f"{requirement}\n{place}\n")


def _run(argv: Sequence[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = (done.stdout + done.stderr)[-1500:]
        raise BenchFailed(f"{' '.join(argv[:4])} ... failed with {done.returncode}:\n{tail}")


def versions(targets: Iterable[str]) -> dict[str, str]:
    """What was compared with."""
    names = set(targets)
    pinned = {"litellm": LITELLM, "portkey": PORTKEY}
    found = {name: words for name, words in pinned.items() if name in names}
    for name, argv in (("nginx", ["nginx", "-v"]), ("portkey", ["node", "--version"])):
        if name in names:
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            words = (done.stdout + done.stderr).strip()
            found[name] = f"{found[name]}, node {words}" if name in found else words
    return found
