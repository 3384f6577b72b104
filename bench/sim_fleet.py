"""Part `fleet` of the simulator's bench: a million requests on `fleet-4100`, on one core.

Requests are those of the scenario at its own load, as many as asked for; the time is processor time
of the whole run in a process of its own, which builds the fleet too, and memory is its peak.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from bench.figures import Figures
from selvedge.cli.scenario_files import read_scenario
from selvedge.cli.sim_runs import Task, play

MILLION_S_MAX = 180.0
MILLION_GIB_MAX = 4.0
MILLION = 1_000_000
STEPS = (100_000, MILLION)


def fleet(_: Path) -> Figures:
    """The time and memory of 10^5 and 10^6 requests; the growth between them is linear if 1."""
    found = {requests: _measure(requests) for requests in STEPS}
    (small_s, _), (large_s, large_gib) = found[STEPS[0]], found[MILLION]
    return {
        "fleet_1e5_s": round(small_s, 2),
        "fleet_1e6_s": round(large_s, 2),
        "fleet_1e6_gib": round(large_gib, 3),
        "fleet_growth": round(large_s / small_s / (MILLION / STEPS[0]), 3),
    }


def _measure(requests: int) -> tuple[float, float]:
    command = [sys.executable, "-m", "bench.sim_fleet", str(requests)]
    done = subprocess.run(command, check=True, capture_output=True)
    seconds, gib = msgspec.json.decode(done.stdout.splitlines()[-1], type=tuple[float, float])
    return seconds, gib


def main(requests: int) -> None:
    """One run in this process; prints processor seconds and GiB."""
    name = "fleet-4100"
    started = time.process_time()
    outcome = play(Task(name, read_scenario(name), "predictive", 1, {}, requests))
    seconds = time.process_time() - started
    assert len(outcome.rows) == requests, "requests are not conserved"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(msgspec.json.encode((seconds, peak)).decode())


if __name__ == "__main__":
    main(int(sys.argv[1]))
