"""Part `fleet` of the simulator's bench: a million requests on `fleet-4100`, on one core.

Requests are those of the scenario at its own load, as many as asked for; the time is processor time
of the whole run in a process of its own, which builds the fleet too, and memory is its peak. That
the sources, not compiled, give the same rows is seen on a few of them.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from bench.figures import Figures
from selvedge.cli.scenario_files import read_scenario
from selvedge.cli.sim_runs import Task, play

MILLION_S_MAX = 180.0
MILLION_GIB_MAX = 4.0
MILLION = 1_000_000
STEPS = (100_000, MILLION)
FEW = 2_000
SOURCES = str(Path(__file__).resolve().parent.parent / "src")


def fleet(_: Path) -> Figures:
    """The time and memory of 10^5 and 10^6 requests; the growth between them is linear if 1."""
    ours, sources = _measure(FEW), _measure(FEW, {**os.environ, "PYTHONPATH": SOURCES})
    assert ours[2] == sources[2], "compiled and interpreted runs differ"
    small, large = (_measure(requests) for requests in STEPS)
    return {
        "fleet_1e5_s": round(small[0], 2),
        "fleet_1e6_s": round(large[0], 2),
        "fleet_1e6_gib": round(large[1], 3),
        "fleet_growth": round(large[0] / small[0] / (MILLION / STEPS[0]), 3),
    }


def _measure(
    requests: int, environment: Mapping[str, str] | None = None
) -> tuple[float, float, str]:
    command = [sys.executable, "-m", "bench.sim_fleet", str(requests)]
    done = subprocess.run(command, check=True, capture_output=True, env=environment)
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=tuple[float, float, str])


def main(requests: int) -> None:
    """One run in this process; prints processor seconds, GiB, and the digest of its rows."""
    name = "fleet-4100"
    started = time.process_time()
    outcome = play(Task(name, read_scenario(name), "predictive", 1, {}, requests))
    seconds = time.process_time() - started
    assert len(outcome.rows) == requests, "requests are not conserved"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(msgspec.json.encode((seconds, peak, outcome.summary.digest)).decode())


if __name__ == "__main__":
    main(int(sys.argv[1]))
