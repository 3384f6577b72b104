"""Processes of a measurement: pinned to a core, ended by their own id, their CPU and memory read
from /proc over the whole tree."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
END_S_MAX = 10.0


class BenchFailed(Exception):
    """Something that the measurement needs is not there, or did not do its part."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core the server under test has, and which the load and the mock share."""

    server: int
    load: int


def choose_cores() -> Cores:
    """The first two that this process may use. Raises `BenchFailed` on a machine with one."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise BenchFailed("this needs two CPU cores: one for the server, one for load and mock")
    return Cores(usable[0], usable[1])


def stay_off(cores: Cores) -> None:
    """Keep this process off both cores, or, where there is no third, off the server's."""
    rest = os.sched_getaffinity(0) - {cores.server, cores.load}
    os.sched_setaffinity(0, rest or {cores.load})


def pinned(core: int, argv: Sequence[str]) -> list[str]:
    """The command line of a process that stays on one core, with all that it starts."""
    return ["taskset", "-c", str(core), *argv]


@contextlib.contextmanager
def running(
    argv: Sequence[str], core: int, log: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a process group of its own; the group is ended afterwards."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            pinned(core, argv),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            process_group=0,
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its group, and wait for it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(END_S_MAX)
            return
        except subprocess.TimeoutExpired:
            continue


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def cpu_s(pid: int) -> float:
    """User and system time of a tree so far, of children that ended as well."""
    return sum(map(_cpu_s, tree(pid)))


def _cpu_s(pid: int) -> float:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    # Behind the name, which may hold anything: fields 14 to 17 of proc(5).
    fields = stat.rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS_PER_S


def rss_bytes(pid: int) -> list[int]:
    """Resident memory of each process of a tree."""
    found = []
    for one in tree(pid):
        with contextlib.suppress(OSError):
            found.append(int(Path(f"/proc/{one}/statm").read_text().split()[1]) * PAGE_BYTES)
    return found


def core_s(core: int) -> tuple[float, float]:
    """Seconds a core has worked and seconds it has been idle, since the machine started."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *rest = line.split()
        if name == f"cpu{core}":
            ticks = list(map(int, rest[:8]))
            idle = ticks[3] + ticks[4]
            return (sum(ticks) - idle) / TICKS_PER_S, idle / TICKS_PER_S
    return 0.0, 0.0


class Busy:
    """How busy a core was between two moments, 0 to 1."""

    def __init__(self, core: int) -> None:
        self._core = core
        self._before = core_s(core)

    def share(self) -> float:
        """Since this was made."""
        worked, idle = (b - a for a, b in zip(self._before, core_s(self._core), strict=True))
        return worked / (worked + idle) if worked + idle > 0 else 0.0


def wait_until(
    ready: Callable[[], bool], process: subprocess.Popen[bytes], within_s: float
) -> float:
    """Seconds until ``ready()`` is true. Raises `BenchFailed` where it never is."""
    started = time.monotonic()
    while True:
        if ready():
            return time.monotonic() - started
        if process.poll() is not None:
            raise BenchFailed(f"a server ended with {process.returncode} before it served")
        if time.monotonic() - started > within_s:
            raise BenchFailed(f"a server did not serve within {within_s:.0f} s")
        time.sleep(0.005)
