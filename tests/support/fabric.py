"""A whole fabric as a user runs it: `selvedge up` in a process of its own, and its commands.

    with running_fabric(tmp_path / "home") as fabric:
        told = fabric.command("ask", "Why?", "--json")

Short commands may run in this process (`call`), as `main` runs them, or in one of their own
(`command`). Every process started here carries a mark in its environment, so that `left` can tell
whether one of them is still alive, whoever its parent is by then.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from unittest import mock

import pytest

from selvedge.cli import main

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/three-pops/fleet.yaml"
DEADLINE_S = 120.0
MARK_VARIABLE = "MARK_OF_A_TEST"


@dataclass
class Told:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # Any: JSON
        """The one document on stdout."""
        return json.loads(self.out)


@dataclass
class Site:
    """A home directory, and a mark for all that is started over it."""

    home: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    variables: Mapping[str, str] = field(default_factory=dict)
    """Set beside what its processes get anyway."""

    def argv(self, *words: str) -> list[str]:
        """The command line of one command over this home."""
        return [sys.executable, "-m", "selvedge", *words]

    @property
    def environment(self) -> dict[str, str]:
        """What its processes get."""
        own = {name: value for name, value in os.environ.items() if "SELVEDGE" not in name}
        ours = {"SELVEDGE_HOME": str(self.home), MARK_VARIABLE: self.mark, "COLUMNS": "200"}
        return own | ours | dict(self.variables)

    def command(self, *words: str) -> Told:
        """Run one command to its end. A traceback is never an answer."""
        done = subprocess.run(
            self.argv(*words),
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        return Told(done.returncode, done.stdout, done.stderr)

    def call(self, *words: str) -> Told:
        """Run one command in this process, which costs a hundredth; what it raises fails the test.

        Not for `pop`, which ties its process to the parent's life, nor for what must be killed.
        """
        out, err = io.TextIOWrapper(io.BytesIO()), io.TextIOWrapper(io.BytesIO())
        environment = {"SELVEDGE_HOME": str(self.home), "COLUMNS": "200"}
        code = 0
        with (
            mock.patch.dict(os.environ, environment),
            mock.patch.object(sys, "argv", ["selvedge", *words]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                main()
            except SystemExit as ended:
                code = int(ended.code or 0)
        said = []
        for stream in (out, err):
            stream.flush()
            stream.seek(0)
            said.append(stream.read())
        return Told(code, *said)

    def start(self, *words: str, **streams: Any) -> subprocess.Popen[str]:  # Any: Popen's own
        """Start a command and do not wait."""
        return subprocess.Popen(
            self.argv(*words),
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            text=True,
            **streams,
        )

    def left(self) -> list[int]:
        """Processes that are still alive of all that were started here."""
        mark = f"{MARK_VARIABLE}={self.mark}".encode()
        found = []
        for one in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (one / "environ").read_bytes().split(b"\0"):
                    found.append(int(one.name))
        return found

    def wait_left(self) -> None:
        """Wait until none is left."""
        for pid in self.left():
            wait_gone(pid)
        assert self.left() == []


class Fabric(Site):
    """A running fabric. ``running`` and ``keys`` are what ``selvedge up --json`` said."""

    process: subprocess.Popen[str]
    running: dict[str, Any]
    keys: dict[str, str]

    @property
    def pids(self) -> list[int]:
        """Of everything that `up` started."""
        return list(self.running["processes"].values())

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(DEADLINE_S)


@contextlib.contextmanager
def running_fabric(
    home: Path, config: Path = EXAMPLE, variables: Mapping[str, str] | None = None
) -> Iterator[Fabric]:
    """The fleet of a file on free ports; stopped afterwards, whatever happens.

    `variables` are set in the environment of all its processes.
    """
    fabric = Fabric(home, variables=variables or {})
    home.mkdir(parents=True, exist_ok=True)
    with (home / "up.err").open("wb") as err:
        process = fabric.start(
            "up", str(config), "--any-port", "--json", stdout=subprocess.PIPE, stderr=err
        )
    try:
        fabric.process = process
        assert process.stdout is not None
        line = read_line(process.stdout)
        assert line, (home / "up.err").read_text()
        told = json.loads(line)
        fabric.running, fabric.keys = told["running"], told["keys"]
        yield fabric
    finally:
        end(process)
        fabric.wait_left()


def end(process: subprocess.Popen[str]) -> None:
    """End a process that may have ended, with what is behind its pipes."""
    with process:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def read_line(stream: IO[str]) -> str:
    """The next line, within the deadline; empty at the end."""
    readable, _, _ = select.select([stream], [], [], DEADLINE_S)
    assert readable, "nothing was said in time"
    return stream.readline()


def wait_gone(pid: int) -> None:
    """Wait until a process has ended: its descriptor then becomes readable."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ended, _, _ = select.select([descriptor], [], [], 30)
        assert ended, f"process {pid} lives on"
    finally:
        os.close(descriptor)


def edited_example(path: Path, *changes: tuple[str, str]) -> Path:
    """The example file with some words replaced."""
    text = EXAMPLE.read_text("utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, "utf-8")
    return path


@contextlib.contextmanager
def listening() -> Iterator[int]:
    """A port that is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield int(taken.getsockname()[1])


@contextlib.contextmanager
def tiny_disk(directory: Path, size: str) -> Iterator[Path]:
    """A file system of its own, of `size`; the test is skipped where none can be mounted."""
    directory.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)]
    try:
        mounted = subprocess.run(argv, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("this user cannot mount a file system to fill")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)
