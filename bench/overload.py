"""Overload: from half to three times what one PoP can do, offered in an open loop.

The load generator and the mock engine are those of `bench/gateway` (C, one thread each). Goodput is
what the PoP itself counts as complete within the window, not what drains afterwards. While it is
flooded, `/healthz` is asked again and again. Then fairness: a modest tenant alone, and beside one
that offers twice the peak.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from bench.charts import Chart, Line, render
from bench.figures import OUT, Figures
from bench.line import Line as HttpLine
from bench.line import open_line, post
from bench.one_pop import MODEL, OnePop

SOURCES = Path(__file__).parent / "gateway"
IMAGE = Path(__file__).parent.parent / "docs" / "img" / "overload.svg"
PATH = "/v1/chat/completions"
LOADS = (0.5, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0)
CONNECTIONS = 1_000
CYCLES = 3
MODEST = 0.1
FLOOD = 2.0
GOODPUT_MIN = 0.9
P99_TIMES, P99_PLUS_MS = 2.0, 5.0
HEALTH_EVERY_S = 0.05
_COMPLETE = re.compile(rb'^selvedge_requests_total\{[^}]*outcome="complete"[^}]*\} (\S+)', re.M)
_SHED = re.compile(rb"^selvedge_requests_shed_total\{[^}]*\} (\S+)", re.M)


class OverloadFailed(Exception):
    """The measurement itself could not be made."""


@dataclass(frozen=True, slots=True)
class Point:
    """One offered load, as a multiple of the peak; rates per second, times in milliseconds."""

    load: float
    offered: float
    goodput: float
    shed: float
    p50_ms: float
    p99_ms: float
    peak: float = 0.0


@dataclass(slots=True)
class Found:
    """All that was measured."""

    peak: float = 0.0
    points: list[Point] = field(default_factory=list)
    health_asked: int = 0
    health_failed: int = 0
    alone_p99_ms: float = 0.0
    beside_p99_ms: float = 0.0
    modest_refused: int = 0

    def figures(self) -> Figures:
        """Flat figures."""
        figures: Figures = {"peak_rps": round(self.peak, 1)}
        for point in self.points:
            name = f"{point.load:g}x".replace(".", "_")
            figures[f"goodput_{name}"] = round(point.goodput / point.peak, 3)
            figures[f"shed_{name}"] = round(point.shed / point.peak, 3)
            figures[f"p50_ms_{name}"] = round(point.p50_ms, 2)
            figures[f"p99_ms_{name}"] = round(point.p99_ms, 2)
        figures["healthz_asked"] = self.health_asked
        figures["healthz_failed"] = self.health_failed
        figures["modest_p99_ms_alone"] = round(self.alone_p99_ms, 2)
        figures["modest_p99_ms_flooded"] = round(self.beside_p99_ms, 2)
        figures["modest_refused"] = self.modest_refused
        return figures


def bars(figures: Mapping[str, object]) -> dict[str, bool]:
    """Which bars were met."""
    allowed_ms = P99_TIMES * float(str(figures["modest_p99_ms_alone"])) + P99_PLUS_MS
    return {
        "goodput_2x": float(str(figures["goodput_2x"])) >= GOODPUT_MIN,
        "healthz_failed": figures["healthz_failed"] == 0,
        "modest_p99_ms_flooded": float(str(figures["modest_p99_ms_flooded"])) <= allowed_ms,
    }


def chart(found: Found) -> str:
    """The curves: rates over the load, and times over it."""
    points = found.points
    rates = Chart(
        "Offered load against goodput (multiples of the peak)",
        "offered / peak",
        "",
        [
            Line("offered", [(one.load, one.load) for one in points]),
            Line("goodput", [(one.load, one.goodput / (one.peak or 1.0)) for one in points]),
            Line("shed", [(one.load, one.shed / (one.peak or 1.0)) for one in points]),
        ],
        top=3.0,
    )
    times = Chart(
        "Latency of what was served, from when it was due",
        "offered / peak",
        "ms",
        [
            Line("p50", [(one.load, one.p50_ms) for one in points]),
            Line("p99", [(one.load, one.p99_ms) for one in points]),
        ],
    )
    return render([rates, times])


def _middle(points: Sequence[Point]) -> Point:
    """Of points of one load: by goodput as a part of the peak beside it."""
    return sorted(points, key=lambda one: one.goodput / one.peak)[len(points) // 2]


def build(name: str, out: Path = OUT) -> Path:
    """A program of `bench/gateway`, compiled. Raises `OverloadFailed` without a compiler."""
    source, program = SOURCES / f"{name}.c", out / name
    out.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(["cc", "-O2", "-o", str(program), str(source)], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise OverloadFailed(f"{source} cannot be compiled ({error}); install gcc") from error
    return program


class Overload:
    """Runs one measurement. ``seconds`` is the length of each point."""

    def __init__(self, directory: Path, seconds: float) -> None:
        self._directory = directory
        self._seconds = seconds
        self._load = build("load")
        self._rig = OnePop(directory, build("mock"), ("warp", "weft"))
        self._requests: dict[str, Path] = {}
        self._line: HttpLine | None = None

    async def run(self, loads: Sequence[float] = LOADS) -> Found:
        """Peak, curve, fairness."""
        found = Found()
        await self._rig.start()
        try:
            self._lay_down()
            watching = asyncio.create_task(self._watch_health(found))
            found.peak = await self._peak()
            found.points = await self._points(loads, found.peak)
            await self._fairness(found)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        finally:
            await self._rig.stop()
        return found

    def _lay_down(self) -> None:
        message = {"role": "user", "content": "x" * 430}
        body = json.dumps({"model": MODEL, "messages": [message]}).encode()
        for tenant, key in self._rig.keys.items():
            file = self._requests[tenant] = self._directory / f"{tenant}.http"
            file.write_bytes(post(PATH, self._rig.port, body, key))

    async def _peak(self) -> float:
        return max([await self._closed(connections) for connections in (32, 64, 64)])

    async def _closed(self, connections: int) -> float:
        before, began = await self._counts(), time.perf_counter()
        await self._offer("warp", "closed", "-c", connections, "-t", self._seconds)
        complete = (await self._counts())[0] - before[0]
        return complete / (time.perf_counter() - began)

    async def _points(self, loads: Sequence[float], peak: float) -> list[Point]:
        """Every load some times, in turns; each beside a peak of its own, before and after it, for
        the speed of a virtual machine changes within a minute. Medians.
        """
        found: dict[float, list[Point]] = {load: [] for load in loads}
        now = peak
        for _ in range(CYCLES):
            for load in loads:
                before = now
                point = await self._point(load, before)
                now = await self._closed(64)
                found[load].append(replace(point, peak=(before + now) / 2))
        return [_middle(points) for points in found.values()]

    async def _point(self, load: float, peak: float) -> Point:
        """The first half second is not measured: pressure needs a moment to be seen."""
        rate = load * peak
        options = ("-c", CONNECTIONS, "-r", rate, "-w", 0.5, "-t", self._seconds, "-i", 5)
        running = asyncio.create_task(self._offer("warp", "open", *options))
        await asyncio.sleep(0.5)
        before, began = await self._counts(), time.perf_counter()
        await asyncio.sleep(self._seconds)
        after, took_s = await self._counts(), time.perf_counter() - began
        heard = await running
        complete, shed = ((b - a) / took_s for a, b in zip(before, after, strict=True))
        return Point(load, rate, complete, shed, *_times_ms(heard))

    async def _fairness(self, found: Found) -> None:
        """A modest tenant alone and beside a flood, some times in turns. Medians."""
        alone_ms, beside_ms = [], []
        for _ in range(CYCLES):
            found.peak = await self._peak()
            rate, seconds = MODEST * found.peak, self._seconds * 2
            modest = ("weft", "open", "-c", 64, "-r", rate, "-w", 0.5, "-t", seconds, "-i", 5)
            alone_ms.append(_times_ms(await self._offer(*modest))[1])
            flood = ("-c", CONNECTIONS, "-r", FLOOD * found.peak, "-t", seconds + 2, "-i", 5)
            flooding = asyncio.create_task(self._offer("warp", "open", *flood))
            await asyncio.sleep(1)
            beside = await self._offer(*modest)
            await flooding
            beside_ms.append(_times_ms(beside)[1])
            found.modest_refused += int(beside["not_2xx"])
        found.alone_p99_ms, found.beside_p99_ms = median(alone_ms), median(beside_ms)

    async def _offer(self, tenant: str, mode: str, *options: object) -> dict[str, float]:
        argv = [mode, self._rig.port, self._requests[tenant], *options]
        child = await asyncio.create_subprocess_exec(
            str(self._load), *map(str, argv), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await child.communicate()
        if child.returncode != 0:
            raise OverloadFailed(f"the load generator ended with code {child.returncode}")
        heard: dict[str, float] = json.loads(out)
        return heard

    async def _counts(self) -> tuple[float, float]:
        """Complete and shed so far, by the PoP's own metrics."""
        if self._line is None or not self._line.is_open:
            self._line = await open_line(self._rig.port)
        text = (await self._line.ask(b"GET /metrics HTTP/1.1\r\nhost: pop\r\n\r\n")).raw
        complete, shed = (sum(map(float, one.findall(text))) for one in (_COMPLETE, _SHED))
        return complete, shed

    async def _watch_health(self, found: Found) -> None:
        line = await open_line(self._rig.port)
        while True:
            heard = await line.ask(b"GET /healthz HTTP/1.1\r\nhost: pop\r\n\r\n")
            found.health_asked += 1
            found.health_failed += heard.status != 200
            await asyncio.sleep(HEALTH_EVERY_S)


def _times_ms(heard: Mapping[str, float]) -> tuple[float, float]:
    return heard["latency_p50_us"] / 1000, heard["latency_p99_us"] / 1000


async def measure(seconds: float) -> Found:
    """In a temporary directory; the chart is written too."""
    cores = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory(prefix="selvedge-overload-") as directory:
        try:
            found = await Overload(Path(directory), seconds).run()
        finally:
            os.sched_setaffinity(0, cores)
    IMAGE.parent.mkdir(parents=True, exist_ok=True)
    IMAGE.write_text(chart(found), encoding="utf-8")
    return found
