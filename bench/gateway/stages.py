"""Where the CPU of a request goes: samples of the running PoP's stacks, folded into stages.

A sample belongs to the innermost frame that the table names; what no row names (a codec, a header
renderer) belongs to whoever called it. Shares are scaled by the CPU measured without the sampler.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from bench.gateway.cases import Case, run_load
from bench.gateway.processes import BenchFailed, pinned
from bench.gateway.targets import Bench, Target

RATE_HZ: Final = 500
LEAD_S: Final = 0.5
WRITTEN_S_MAX: Final = 10.0
SAMPLER: Final = Path(__file__).parent / "sampler"

CLIENT_IN: Final = "http, client to us"
CLIENT_OUT: Final = "http, us to client"
ENGINE_OUT: Final = "http, us to engine"
ENGINE_IN: Final = "http, engine to us"
LOOP: Final = "loop and system calls"
HTTP: Final = (CLIENT_IN, CLIENT_OUT, ENGINE_OUT, ENGINE_IN, LOOP)
OTHER: Final = "other"

# File, function, stage; the first that matches. Functions left empty are all of the file's.
ROWS: Final = (
    (r"adapters/(journal_store|receipt_book|vault)", "", "intend and record"),
    (r"ledger/(journal|receipts)", "", "intend and record"),
    (r"pop/metrics|prometheus_client/", "", "metrics"),
    (r"selvedge/ledger/", "", "admit"),
    (r"selvedge/residency/", "", "allowed set"),
    (r"selvedge/cache/", "", "cache key"),
    (r"selvedge/routing/", "", "route"),
    (r"wire/requests", r"engine_body|_with_usage", ENGINE_OUT),
    (r"wire/requests", "", "parse"),
    (r"wire/(answers|stream|sse|usage)|pop/(relay|downstream)", "", "read and render the answer"),
    (r"wire/continuous", "", "read and render the answer"),
    (r"adapters/http_client", r"send|_start|_dial|_place|carry|bind|retry", ENGINE_OUT),
    (r"adapters/http_client", "", ENGINE_IN),
    (r"pop/http_(server|inbound)", r"write|start|end|_part|_send|respond|_framing", CLIENT_OUT),
    (r"pop/http_(server|inbound)", r"_keeps|_finish|finished", CLIENT_OUT),
    (r"pop/http_", "", CLIENT_IN),
    (r"pop/interpreter", r"_post|_begin", ENGINE_OUT),
    (r"selvedge/(exchange|pop)/", "", "the story and its shell"),
    (r"asyncio/|uvloop|selvedge/cli/", "", LOOP),
)
_ROWS: Final = tuple((re.compile(file), re.compile(name), stage) for file, name, stage in ROWS)
_FRAME: Final = re.compile(r"(?P<name>.+) \((?P<file>[^)]*?)(:\d+)?\)$")

# Design section 1, in microseconds of a non-stream request of 0.5 KB.
BUDGET: Final[Mapping[str, float]] = MappingProxyType(
    {
        "http, both sides": 40,
        "parse": 8,
        "admit": 8,
        "allowed set": 1,
        "cache key": 8,
        "route": 15,
        "intend and record": 15,
        "metrics": 5,
        "sum": 100,
    }
)


def stage_of(stack: str) -> str:
    """The stage of one stack, ``outermost;...;innermost`` with frames ``name (file:line)``."""
    for frame in reversed(stack.split(";")):
        found = _FRAME.match(frame)
        if found is None:
            continue
        file, name = found["file"], found["name"].rpartition(".")[2]
        for of_file, of_name, stage in _ROWS:
            if of_file.search(file) and (not of_name.pattern or of_name.fullmatch(name)):
                return stage
    return OTHER


def fold_stacks(lines: Iterable[str]) -> Counter[str]:
    """Samples of each stage; a line is a stack and its count."""
    found: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.strip().rpartition(" ")
        # The syncing thread waits for the disk, which a sampler takes for work.
        if stack and count.isdigit() and "_sync_loop" not in stack:
            found[stage_of(stack)] += int(count)
    return found


def scaled(samples: Counter[str], cpu_us: float) -> dict[str, float]:
    """Microseconds of each stage, in the order of the table, that sum to ``cpu_us``."""
    order = [*HTTP, *(stage for _, _, stage in ROWS), OTHER]
    total = sum(samples.values()) or 1
    return {stage: samples[stage] / total * cpu_us for stage in dict.fromkeys(order)}


def beside_budget(stages: Mapping[str, float]) -> dict[str, tuple[float, float | None]]:
    """Stages and their budget, with the sums that the budget names."""
    http = sum(stages.get(one, 0.0) for one in HTTP)
    rows: dict[str, tuple[float, float | None]] = {}
    for stage, us in stages.items():
        rows[stage] = (us, BUDGET.get(stage))
        if stage == LOOP:
            rows["http, both sides"] = (http, BUDGET["http, both sides"])
    rows["sum"] = (sum(stages.values()), BUDGET["sum"])
    return rows


Look = Callable[[float, Path], None]


def sample_stacks(
    bench: Bench, target: Target, case: Case, seconds: float, look: Look
) -> list[str]:
    """Stacks of the target under a load. Raises `BenchFailed` where ``look`` cannot look."""
    out = bench.directory / f"stacks-{case.name}-{time.monotonic_ns()}"
    under = replace(case, chunks=0)
    times_s = (0.0, seconds + 2 * LEAD_S + 1)
    load = threading.Thread(target=run_load, args=(bench, target, under, times_s))
    load.start()
    time.sleep(LEAD_S)
    try:
        look(seconds, out)
    finally:
        load.join()
    return out.read_text("utf-8").splitlines()


def by_py_spy(bench: Bench, target: Target) -> Look:
    """From outside, without touching the process."""

    def look(seconds: float, out: Path) -> None:
        spy = bench.tools.environment("py-spy") / "bin" / "py-spy"
        argv = [str(spy), "record", "-p", str(target.pid), "-r", str(RATE_HZ), "-f", "raw"]
        argv += ["-d", str(max(1, round(seconds))), "-o", str(out)]
        argv = pinned(bench.cores.load, argv)
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode or not out.exists():
            raise BenchFailed(f"py-spy cannot look at the PoP: {done.stderr.strip()[-500:]}")

    return look


def sampler_env(path: Path) -> dict[str, str]:
    """What puts our own sampler into a PoP that is started with it."""
    return {"PYTHONPATH": str(SAMPLER), "BENCH_STACKS": str(path)}


def by_signal(target: Target, path: Path) -> Look:
    """From inside, by CPU time, where another process may not look; ``path`` is where it writes."""

    def look(seconds: float, out: Path) -> None:
        os.kill(target.pid, signal.SIGUSR1)
        time.sleep(seconds)
        os.kill(target.pid, signal.SIGUSR2)
        until = time.monotonic() + WRITTEN_S_MAX
        while not path.exists():
            if time.monotonic() > until:
                raise BenchFailed("the PoP wrote no stacks")
            time.sleep(0.01)
        path.rename(out)

    return look
