"""The loads of a run as a table, and one run of the load generator against one target."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.gateway.processes import BenchFailed, Busy, cpu_s, pinned
from bench.gateway.targets import Bench, Target, request_file

SMALL, MIDDLE, LARGE = 500, 10_000, 400_000
WITH_HEADROOM = ("direct", "nginx", "selvedge", "portkey", "litellm")
LIMIT = ("direct", "nginx", "selvedge")
PROXIES = ("nginx", "selvedge")
LOAD_S_EXTRA = 60.0
# Where an answer takes a second, a load of two seconds says little.
SLOW = {"litellm": 2.2, "portkey": 1.25}


@dataclass(frozen=True, slots=True)
class Case:
    """One load. ``part`` is its name for ``--only``; ``targets`` whom the short form asks.

    ``rate_of``: an open loop at this share of what the target itself did at saturation.
    ``warm_s``: how long the load runs before what is measured.
    """

    name: str
    part: str
    mode: str
    model: str
    connections: int
    seconds: float
    targets: tuple[str, ...]
    body_bytes: int = SMALL
    chunks: int = 0
    spread_us: int = 0
    rate_of: float = 0.0
    warm_s: float = 0.3


def closed(body: int, label: str, connections: int, targets: tuple[str, ...]) -> Case:
    """A closed loop of JSON answers."""
    name = f"rps_{label}_c{connections}"
    return Case(name, "rps", "closed", "json", connections, 1.7, targets, body_bytes=body)


def short_cases() -> list[Case]:
    """What the short form measures in each round."""
    return [
        closed(SMALL, "0.5kb", 64, (*WITH_HEADROOM, "selvedge-interpreted")),
        closed(SMALL, "0.5kb", 16, WITH_HEADROOM),
        closed(SMALL, "0.5kb", 1, WITH_HEADROOM),
        closed(MIDDLE, "10kb", 16, LIMIT),
        closed(LARGE, "400kb", 16, LIMIT),
        *(open_loop(share, PROXIES) for share in (0.25, 0.5, 0.75)),
        *stream_cases(),
    ]


def open_loop(share: float, targets: tuple[str, ...]) -> Case:
    """A constant rate, as a share of the target's own saturation."""
    name = f"open_{share * 100:.0f}"
    return Case(name, "open", "open", "json", 64, 1.7, targets, rate_of=share, warm_s=0.5)


def stream_cases() -> list[Case]:
    """Streams: at saturation, two hundred of one chunk per 25 ms, sixty-four of one per 5 ms."""
    itl = ("direct", "nginx", "selvedge", "portkey")
    return [
        Case("sse", "sse", "streams", "sse-100-0", 16, 2.0, WITH_HEADROOM, chunks=100),
        Case("sse_by_4", "sse", "streams", "sse-100-0-4", 16, 2.0, LIMIT, chunks=100),
        Case(
            "itl", "itl", "streams", "sse-40-25000", 200, 2.5, itl, chunks=40, spread_us=1_000_000
        ),
        Case(
            "paced", "paced", "streams", "sse-200-5000", 64, 2.0, LIMIT, chunks=200, spread_us=5_000
        ),
    ]


def long_cases() -> list[Case]:
    """The whole grid, for every target that can bear it."""
    grid = [
        closed(body, label, connections, WITH_HEADROOM)
        for body, label in ((SMALL, "0.5kb"), (MIDDLE, "10kb"), (LARGE, "400kb"))
        for connections in (64, 16, 1)
    ]
    rates = [open_loop(share, WITH_HEADROOM[1:]) for share in (0.25, 0.5, 0.75)]
    return [*grid, *rates, *stream_cases()]


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one load against one target."""

    case: str
    target: str
    round: int
    load: Mapping[str, float]
    cpu_s: float
    server_busy: float
    load_busy: float

    @property
    def server_cpu(self) -> float:
        """The part of its core's time that the target itself used."""
        return self.cpu_s / self.load["took_s"]

    @property
    def cpu_us_per_request(self) -> float:
        """CPU of the target's whole tree."""
        return self.cpu_s * 1e6 / max(1.0, self.load["all_requests"])

    @property
    def cpu_us_per_chunk(self) -> float:
        """CPU of the target's whole tree."""
        return self.cpu_s * 1e6 / max(1.0, self.load["all_chunks"])


def run_load(
    bench: Bench, target: Target, case: Case, times_s: tuple[float, float], rate: float = 0
) -> Any:
    """The load generator's figures; ``times_s`` are those of warming up and of measuring.

    Any: JSON. Raises `BenchFailed`.
    """
    warm_s, seconds = times_s
    path = request_file(bench, target, case.model, case.body_bytes)
    argv = [str(bench.tools.load), case.mode, str(target.port), str(path)]
    argv += ["-c", str(case.connections), "-w", str(warm_s), "-t", str(seconds)]
    argv += ["-n", str(case.chunks), "-r", str(rate or 1), "-s", str(case.spread_us)]
    try:
        done = subprocess.run(
            pinned(bench.cores.load, argv),
            capture_output=True,
            text=True,
            check=False,
            timeout=warm_s + seconds + LOAD_S_EXTRA,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchFailed(f"{case.name} of {target.name}: the load never ended") from error
    if done.returncode:
        raise BenchFailed(f"{case.name} of {target.name}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def measure(
    bench: Bench, target: Target, case: Case, round_: int, *, rate: float = 0, scale: float = 1
) -> Sample:
    """One run: its first seconds warm up, its last answers are waited for.

    CPU is read over the whole of it, and divided by all that was answered.
    """
    slow = SLOW.get(target.name, 1.0)
    seconds, warm_s = case.seconds * scale * slow, case.warm_s * slow
    server, load = Busy(bench.cores.server), Busy(bench.cores.load)
    before, began = cpu_s(target.pid), time.monotonic()
    figures = run_load(bench, target, case, (warm_s, seconds), rate)
    spent = cpu_s(target.pid) - before
    figures["took_s"] = time.monotonic() - began
    return Sample(case.name, target.name, round_, figures, spent, server.share(), load.share())
