"""Two thousand streams at once, each slow: errors, memory second by second, CPU."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass, field
from statistics import median

from bench.gateway.cases import SMALL, Case, run_load
from bench.gateway.processes import BenchFailed, cpu_s, pinned, rss_bytes
from bench.gateway.targets import Bench, Target, request_file

STREAMS = 2000
GAP_S = 0.25
OPENING_S = 4.0
WARM_S = 1.0
SILENCE_S = 30
# Chunks of each stream: 20 s for a quick look, 2 minutes in the short form, 15 in the long one.
QUICK, SHORT, LONG = 80, 480, 3600


@dataclass(slots=True)
class Crowd:
    """What was seen of one target. ``curve``: seconds, resident bytes of its whole tree."""

    target: str
    errors: int
    not_200: int
    chunks_per_s: float
    cpu_us_per_chunk: float
    cpu_share: float
    delay_p50_us: float
    delay_p99_us: float
    idle_bytes: int
    open_bytes: int
    curve: list[tuple[float, int]] = field(default_factory=list)

    @property
    def kb_per_stream(self) -> float:
        """Memory that an open stream adds to what the warm target holds."""
        return (self.open_bytes - self.idle_bytes) / STREAMS / 1024


def open_crowd(bench: Bench, target: Target, chunks: int) -> Crowd:
    """Warm a fresh target up, then hold the streams open. Raises `BenchFailed`."""
    idle = _warm(bench, target)
    lasts_s = OPENING_S + chunks * GAP_S
    path = request_file(bench, target, f"sse-{chunks}-250000", SMALL)
    argv = [str(bench.tools.load), "streams", str(target.port), str(path), "-o"]
    argv += ["-c", str(STREAMS), "-n", str(chunks), "-t", str(lasts_s * 1.25 + SILENCE_S)]
    argv += ["-s", str(int(OPENING_S * 1e6)), "-i", str(SILENCE_S)]
    before, began = cpu_s(target.pid), time.monotonic()
    curve: list[tuple[float, int]] = []
    with subprocess.Popen(
        pinned(bench.cores.load, argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as load:
        while load.poll() is None:
            curve.append((round(time.monotonic() - began, 2), sum(rss_bytes(target.pid))))
            try:
                load.wait(1.0)
            except subprocess.TimeoutExpired:
                continue
        out, err = load.communicate()
    if load.returncode:
        raise BenchFailed(f"{STREAMS} streams of {target.name}: {err.strip()}")
    spent, took_s = cpu_s(target.pid) - before, time.monotonic() - began
    told = json.loads(out)
    return Crowd(
        target.name,
        errors=told["errors"],
        not_200=told["not_2xx"],
        chunks_per_s=told["chunks_per_s"],
        cpu_us_per_chunk=spent * 1e6 / max(1, told["all_chunks"]),
        cpu_share=spent / took_s,
        delay_p50_us=told["delay_p50_us"],
        delay_p99_us=told["delay_p99_us"],
        idle_bytes=idle,
        open_bytes=max(
            (size for at, size in curve if OPENING_S < at < lasts_s - OPENING_S), default=idle
        ),
        curve=curve,
    )


def _warm(bench: Bench, target: Target) -> int:
    """A second of requests and one of streams; the memory that is resident then, at rest."""
    requests = Case("warm", "", "closed", "json", 64, WARM_S, ())
    streams = Case("warm", "", "streams", "sse-100-0", 16, WARM_S, (), chunks=100)
    for case in (requests, streams):
        run_load(bench, target, case, (0.0, case.seconds))
    time.sleep(WARM_S)
    return int(median(sum(rss_bytes(target.pid)) for _ in range(3)))
