"""Child processes: started, waited for and ended by process id, and never left behind.

`die_with_parent` is called by a child in its own first lines; `ChildProcess` is the parent's
side. Both are needed: a parent killed with -9 runs no clean-up of its own.

It refuses to know what the children are: a command line, an environment, a file for their words
and a URL that answers 200 when they are ready are all it takes.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from selvedge.fabric import SelvedgeError

PARENT_VARIABLE = "SELVEDGE_PARENT_PID"
POLL_INTERVAL_MS = 50
PROBE_TIMEOUT_MS = 2_000
LOG_TAIL_BYTES = 2_000
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4


class ChildFailed(SelvedgeError):
    """A child could not start, ended early or was late; the text ends with its last words."""


def die_with_parent() -> None:
    """Have the kernel send this process SIGTERM when the thread that started it ends.

    prctl(2) says nothing about a parent that was gone before the call, so the process compares
    its parent with the one `ChildProcess` wrote into the environment and, where they differ, ends
    itself the same way. Does nothing outside Linux.
    """
    expected = os.environ.pop(PARENT_VARIABLE, None)
    if not sys.platform.startswith("linux"):
        return
    before = str(os.getppid())
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if str(os.getppid()) != (expected or before):
        os.kill(os.getpid(), signal.SIGTERM)


def leave_no_core() -> None:
    """Have the kernel write no image of this process's memory, however it ends.

    The limit alone is not asked where a program takes the images (``core_pattern`` with a pipe), so
    the process is made undumpable too: nobody but root may then look into its memory.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class ChildProcess:
    """One running child. Made by `start`; to be ended by `stop`, which may be called twice."""

    def __init__(
        self, name: str, process: asyncio.subprocess.Process, log_path: Path, log_start: int
    ) -> None:
        self.name = name
        self.log_path = log_path
        self._log_start = log_start
        self._process = process

    @classmethod
    async def start(
        cls, name: str, argv: Sequence[str], *, env: Mapping[str, str], log_path: Path
    ) -> ChildProcess:
        """Run `argv` with exactly `env`, its output appended to `log_path`.

        The child gets a session of its own, so that Ctrl-C reaches the parent alone and the
        parent decides the order of the ending. Call it from a thread that lives as long as the
        child should. Raises ChildFailed if there is no such program.
        """
        log_path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        log_start = os.fstat(descriptor).st_size
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                env={**env, PARENT_VARIABLE: str(os.getpid())},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
            )
        except OSError as error:
            raise ChildFailed(f"{name} cannot start: {argv[0]}: {error.strerror}.") from error
        finally:
            os.close(descriptor)
        return cls(name, process, log_path, log_start)

    @property
    def pid(self) -> int:
        """The process id; after the end it may belong to another process."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative is the number of the signal that ended it."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for the end, by itself or by `stop`, and give the exit code."""
        return await self._process.wait()

    async def wait_ready(self, url: str, *, deadline_s: float) -> None:
        """Return once a GET of `url` (plain http) is answered 200 and the child still runs.

        Raises ChildFailed as soon as the child ends, or when `deadline_s` has passed; the child
        is not stopped by that.
        """
        await self._wait_for(_poll(urlsplit(url)), deadline_s)

    async def wait_said(self, line: str, *, deadline_s: float) -> None:
        """The same for a child without HTTP: return once `line` stands in what it has said."""
        await self._wait_for(self._read_until(line.encode()), deadline_s)

    async def _wait_for(self, sign: Coroutine[None, None, None], deadline_s: float) -> None:
        ended = asyncio.ensure_future(self._process.wait())
        ready = asyncio.ensure_future(sign)
        try:
            await asyncio.wait(
                {ended, ready}, timeout=deadline_s, return_when=asyncio.FIRST_COMPLETED
            )
            if ended.done():
                raise ChildFailed(f"{self.name} ended with code {ended.result()}{self._tail()}")
            if not ready.done():
                raise ChildFailed(f"{self.name} was not ready in {deadline_s:g} s{self._tail()}")
            ready.result()
        finally:
            for task in (ended, ready):
                task.cancel()
            await asyncio.gather(ended, ready, return_exceptions=True)

    async def _read_until(self, line: bytes) -> None:
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            said = b""
            while line not in said.splitlines():
                said += log.read()
                await asyncio.sleep(POLL_INTERVAL_MS / 1_000)

    async def stop(self, *, grace_s: float = 5.0) -> int:
        """Send SIGTERM, and SIGKILL when `grace_s` has passed; return the exit code."""
        started = time.monotonic()
        self._signal(signal.SIGTERM)
        with suppress(TimeoutError):
            remaining_s = max(0.0, grace_s - (time.monotonic() - started))
            async with asyncio.timeout(remaining_s):
                return await self._process.wait()
        self._signal(signal.SIGKILL)
        return await self._process.wait()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _tail(self) -> str:
        """The end of the log, to be put behind a sentence without its full stop."""
        try:
            with self.log_path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(self._log_start, size - LOG_TAIL_BYTES))
                text = file.read().decode(errors="replace").strip()
        except OSError as error:
            return f"; its log {self.log_path} cannot be read ({error.strerror})."
        return f"; its last words: {text}" if text else "; it said nothing."


async def _poll(url: SplitResult) -> None:
    while True:
        if await _answers(url):
            return
        await asyncio.sleep(POLL_INTERVAL_MS / 1_000)


async def _answers(url: SplitResult) -> bool:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_MS / 1_000):
            status_line = await _get(url)
    except (OSError, TimeoutError, asyncio.LimitOverrunError, ValueError):
        return False
    return status_line.split(b" ")[1:2] == [b"200"]


async def _get(url: SplitResult) -> bytes:
    """The status line of a GET."""
    reader, writer = await asyncio.open_connection(url.hostname, url.port or 80)
    try:
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        request = f"GET {target} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: close\r\n\r\n"
        writer.write(request.encode("ascii"))
        return await reader.readline()
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
