"""Real engines for tests: one process each, on a free port, ended by its process id.

Starting one costs a second and 350 MB, so a fixture should hold one for a whole module.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_S_MAX = 60.0


@dataclass(frozen=True, slots=True)
class RunningEngine:
    """An engine that answers at `url`; what it says goes to `log`."""

    url: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path


def free_port() -> int:
    """A loopback port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def launch(log: Path, *options: str) -> subprocess.Popen[bytes]:
    """An engine process with `options`, not waited for."""
    argv = [sys.executable, "-m", "selvedge.adapters.embedded_engine", *options]
    with log.open("ab") as file:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file)


@contextmanager
def running_engine(
    directory: Path, *options: str, model: str = "smollm2-135m-instruct", alias: str = "small"
) -> Iterator[RunningEngine]:
    """A healthy engine inside the block; `directory` takes its log."""
    port = free_port()
    log = directory / f"engine-{port}.log"
    process = launch(log, "--model", model, "--alias", alias, "--port", str(port), *options)
    try:
        engine = RunningEngine(f"http://127.0.0.1:{port}", port, process, log)
        _wait_until_healthy(engine)
        yield engine
    finally:
        end(process)


def end(process: subprocess.Popen[bytes], *, grace_s: float = 10.0) -> int:
    """SIGTERM, then SIGKILL; the exit code."""
    if process.poll() is None:
        os.kill(process.pid, signal.SIGTERM)
    try:
        return process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _wait_until_healthy(engine: RunningEngine) -> None:
    deadline = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline:
        if engine.process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{engine.url}/health", timeout=5):
                return
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"the engine is not healthy: {engine.log.read_text()!r}")
