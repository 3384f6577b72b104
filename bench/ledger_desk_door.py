"""The desk as PoPs find it: a control process asked over HTTP, and all the CPU that it spends.

    python -m bench.ledger_desk_door

The fleet of `bench.ledger_desk`, of which as many PoPs as `ASKING` ask at a time; what is measured
is one process: its CPU for each renewal, of the door, the desk, the database and all else in it.
How long an answer takes is told by those who ask as fast as they can, so it is of a desk with no
time to spare.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

import msgspec
import uvloop

from bench.figures import OUT, Figures, circumstances, quantile, write_figures
from bench.ledger_collect import _cpu_s
from bench.ledger_desk import FLEET, POPS, PRIVATE, TENANTS, Asker, name_of, release_of, show
from selvedge.adapters import (
    ChildProcess,
    ClientSettings,
    HttpClient,
    Outgoing,
    pop_public_key,
    seal_release,
    service_key,
    write_atomically,
)
from selvedge.control import Home, free_port
from selvedge.exchange import lease_messages
from selvedge.fabric import Control

ASKING = 256
ROUNDS = 5
READY_S = 60.0


async def start(home: Home, port: int) -> ChildProcess:
    """The control process over a home with the fleet's release."""
    public = pop_public_key(home.control_key())
    release = msgspec.structs.replace(
        release_of(POPS, TENANTS, Random(7)), control=Control(f"http://127.0.0.1:{port}", public)
    )
    home.pepper()
    write_atomically(home.release_file, seal_release(release, home.operator_key()))
    admin = free_port()
    argv = [sys.executable, "-m", "selvedge", "control", "run", "--home", str(home.directory)]
    argv += ["--admin-listen", f"127.0.0.1:{admin}", "--pops-listen", f"127.0.0.1:{port}"]
    child = await ChildProcess.start(
        "control", argv, env=os.environ, log_path=home.directory / "control.log"
    )
    await child.wait_ready(f"http://127.0.0.1:{admin}/healthz", deadline_s=READY_S)
    return child


async def run(directory: Path) -> Figures:
    """All rounds."""
    home, port = Home(directory), free_port()
    child = await start(home, port)
    public = pop_public_key(home.control_key())
    there = lease_messages.CONTROL
    askers = [
        Asker(at, TENANTS, service_key(FLEET, PRIVATE, there, name_of(at), public))
        for at in range(POPS)
    ]
    now_us = time.time_ns() // 1000
    for asker in askers:
        asker.grant_all(now_us)
    client = HttpClient(ClientSettings())
    took_ms: list[float] = []
    cpu_s: list[float] = []
    wall_s: list[float] = []
    try:
        for _ in range(ROUNDS + 1):
            begun, before_s = time.perf_counter(), _cpu_s(child.pid)
            await one_round(client, port, askers, took_ms)
            wall_s.append(time.perf_counter() - begun)
            cpu_s.append(_cpu_s(child.pid) - before_s)
        rss_mib = _rss_mib(child.pid)
    finally:
        await client.close()
        await child.stop()
    count, took_ms = POPS * ROUNDS, took_ms[POPS:]
    return {
        "door_pops": POPS,
        "door_asking": ASKING,
        "door_renewals_per_s": round(count / sum(wall_s[1:])),
        "door_cpu_us": round(sum(cpu_s[1:]) / count * 1e6, 1),
        "door_renewals_per_cpu_s": round(count / sum(cpu_s[1:])),
        "door_renewal_ms_p50": round(quantile(took_ms, 0.5), 1),
        "door_renewal_ms_p99": round(quantile(took_ms, 0.99), 1),
        "door_rss_mib": round(rss_mib, 1),
    }


async def one_round(
    client: HttpClient, port: int, askers: Sequence[Asker], took_ms: list[float]
) -> None:
    """Every PoP renews once."""
    waiting = list(askers)

    async def ask() -> None:
        while waiting:
            asker = waiting.pop()
            body = asker.ask()
            begun = time.perf_counter()
            to = Outgoing("127.0.0.1", port, "POST", lease_messages.TARGET, (), body, None)
            answer = await client.fetch(to, timeout_s=READY_S)
            took_ms.append((time.perf_counter() - begun) * 1000)
            assert answer.status == 200, answer.body
            asker.take(answer.body)

    await asyncio.gather(*(ask() for _ in range(ASKING)))


def _rss_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args(arguments)
    found = circumstances()
    OUT.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="desk-", dir=OUT) as directory,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        figures = runner.run(run(Path(directory)))
    show(figures)
    write_figures("ledger-desk-door", figures | found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
