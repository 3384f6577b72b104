"""What a PoP's log costs: durable leaves a second, time to a checkpoint, proofs, memory.

`leaves_per_s` is the whole of it, in one thread: journals of real receipts are read, checked and
hashed, their leaves written and synced, signed and published, and the tiles synced as well. In
turns with it, a plain loop writes one leaf and syncs it, again and again (`fsync_loop_per_s`), and
the log alone is given leaves that are ready (`store_leaves_per_s`). `included_ms` is from when a
receipt's write returned, which is before its client has the end of the answer, to when a checkpoint
that covers it is published; the log runs beside as in a PoP, at a steady rate. The log of the last
part has as many leaves as `--leaves` says, and proofs are made from its files.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import resource
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

import click
import uvloop

from bench.figures import (
    OUT,
    Figures,
    as_json,
    bar,
    circumstances,
    print_table,
    quantile,
    rss_mib,
    write_figures,
)
from bench.ledger_collect import make_receipt
from bench.log_proofs import prove, verify_ms
from selvedge.adapters import (
    ClientSettings,
    FolderFiles,
    HttpClient,
    LogStore,
    keep_log_keys,
    read_path,
    segment_path,
)
from selvedge.fabric import PoP, Release
from selvedge.ledger import Intent, SegmentHeader, seal, write_line
from selvedge.pop import Settings
from selvedge.pop.log_keeping import LogKeeping
from selvedge.pop.log_writer import PopLog
from selvedge.tlog import Checkpoint, Signer, sign_checkpoint

POP = "bench"
SLICES = 7
SLICE = 30_000
"""Receipts of a slice: more than the bar asks for in a second."""
SYNC_S = 1.0
CHECKPOINT_S = 1.0
RATE = 1_000
"""Receipts a second, while their way into a checkpoint is timed."""
PACED_S = 25.0
EARLY, LEAVES = 100_000, 10_000_000
BATCH = 20_000
BARS = {
    "leaves_per_s": ("at least", 20_000.0),
    "included_ms_p99": ("at most", 1_500.0),
    "prove_ms_1e7": ("at most", 5.0),
    "verify_ms": ("at most", 2.0),
}


def write_journal(path: Path, pop: str = POP, count: int = SLICE) -> None:
    """A journal as a PoP leaves it: intents and sealed receipts, about 2.9 kB a request."""
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.write(write_line(SegmentHeader(pop, 1, {})))
        for number in range(count):
            file.write(request_lines(number, pop))


def request_lines(number: int, pop: str = POP) -> bytes:
    """What a request leaves in the journal."""
    receipt = make_receipt(pop, number)
    sealed = seal(receipt, number + 1, os.urandom(32), None)
    return write_line(Intent(receipt)) + write_line(sealed)


class Bench:
    """A PoP's disk, with a journal for each slice."""

    def __init__(self, path: Path) -> None:
        self.path = path
        keys = keep_log_keys(path)
        one = PoP(
            id=POP,
            city="Singapore",
            country="SG",
            latitude=1.29,
            longitude=103.85,
            url="http://127.0.0.1:1",
            peer="127.0.0.1:1",
            public_key=base64.b64encode(bytes(32)).decode(),
            log_keys=tuple(keys),
        )
        self.release = Release("bench", 1, 1, (), (one,), (), (), ())
        self.settings = Settings(
            pop=POP,
            listen="127.0.0.1:1",
            state_dir=str(path),
            release_file="none",
            operator_public_key="none",
            pepper_file="none",
        )
        self.source = path / "source" / "receipts-00000001.log"

    def log(self) -> PopLog:
        """The log, open."""
        found = PopLog(self.settings)
        why = found.key(self.release)
        assert why is None, why
        found.open()
        return found

    def add_journal(self, number: int) -> None:
        """Another worker's journal, with the same receipts."""
        receipts = self.path / "workers" / str(number) / "receipts"
        receipts.mkdir(parents=True)
        segment_path(receipts, 1).hardlink_to(self.source)


def throughput(bench: Bench) -> Figures:
    """Slices of the log, of the log alone, and of the plain loop, in turns."""
    write_journal(bench.source)
    log, store = bench.log(), new_store(bench.path / "alone")
    store.open()
    store.begin("2026-11", 1)
    rates, alone, loops, cpu_us, alone_us = [], [], [], [], []
    for number in range(1, SLICES + 1):
        bench.add_journal(number)
        wall_s, cpu_s, leaves = logged(log)
        rates.append(leaves / wall_s)
        cpu_us.append(cpu_s / leaves * 1e6)
        wall_s, cpu_s = stored(store, number)
        alone.append(SLICE / wall_s)
        alone_us.append(cpu_s / SLICE * 1e6)
        loops.append(fsync_loop(bench.path / "loop"))
    return {
        "leaves_per_s": round(median(rates)),
        "leaves_per_s_min": round(min(rates)),
        "leaves_per_s_max": round(max(rates)),
        "cpu_us_per_leaf": round(median(cpu_us), 2),
        "leaves_per_cpu_s": round(1e6 / median(cpu_us)),
        "store_leaves_per_s": round(median(alone)),
        "store_cpu_us_per_leaf": round(median(alone_us), 2),
        "fsync_loop_per_s": round(median(loops)),
        "leaves_over_fsync_loop": round(
            median(r / f for r, f in zip(rates, loops, strict=True)), 1
        ),
    }


def logged(log: PopLog) -> tuple[float, float, int]:
    """Log what is in the journals: seconds by the clock, of CPU, and leaves."""
    log.look()
    log.look()
    size = log.state.size
    begun, worked, due = (
        time.perf_counter(),
        time.process_time(),
        time.perf_counter() + CHECKPOINT_S,
    )
    while True:
        read = log.read()
        if not read or time.perf_counter() >= due:
            log.commit()
            due += CHECKPOINT_S
        if not read:
            break
    log.store.settle(log.store.unsettled)
    return (
        time.perf_counter() - begun,
        time.process_time() - worked,
        log.state.size - size,
    )


def stored(store: LogStore, number: int) -> tuple[float, float]:
    """Leaves that are ready into a log: seconds by the clock and of CPU."""
    leaves = [hashlib.sha256(b"%d %d" % (number, at)).digest() for at in range(SLICE)]
    begun, worked = time.perf_counter(), time.process_time()
    store.add(leaves)
    state = store.commit(time.time_ns() // 1000)
    store.publish(state.note.encode())
    store.settle(store.unsettled)
    return time.perf_counter() - begun, time.process_time() - worked


def new_store(path: Path) -> LogStore:
    """A log of leaves that are ready."""
    seed = os.urandom(32)

    def sign(shard: str, size: int, root: bytes) -> bytes:
        origin = f"bench.invalid/{shard}"
        return sign_checkpoint(Checkpoint(origin, size, root), [Signer(origin, seed)])

    return LogStore(FolderFiles(path), sign)


def fsync_loop(path: Path) -> float:
    """Leaves a second that are written and synced one by one."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        count, begun = 0, time.perf_counter()
        while (took := time.perf_counter() - begun) < SYNC_S:
            os.write(fd, bytes(32))
            os.fdatasync(fd)
            count += 1
    finally:
        os.close(fd)
    return count / took


class Paced:
    """Receipts written at a steady rate, and when the log had published each."""

    def __init__(self, bench: Bench) -> None:
        receipts = bench.path / "receipts"
        receipts.mkdir(exist_ok=True)
        self.file = segment_path(receipts, 1).open("ab", buffering=0)
        self.file.write(write_line(SegmentHeader(POP, 1, {})))
        self.log = bench.log()
        self.written: list[float] = []
        self.covered = 0
        self.took_ms: list[float] = []
        self.cpu_s = 0.0
        self._commit, self._read = self.log.commit, self.log.read
        self.log.commit = self.commit  # type: ignore[method-assign]
        self.log.read = self.read  # type: ignore[method-assign]

    def read(self) -> int:
        """The log's own, with its CPU time taken."""
        begun = time.thread_time()
        found = self._read()
        self.cpu_s += time.thread_time() - begun
        return found

    def commit(self) -> None:
        """The log's own; what it covers has its time."""
        begun, pending = time.thread_time(), self.log.store.pending
        self._commit()
        self.cpu_s += time.thread_time() - begun
        now = time.perf_counter()
        upto = self.covered + pending
        self.took_ms += [(now - at) * 1000 for at in self.written[self.covered : upto]]
        self.covered = upto

    async def write(self) -> None:
        """A request's lines, again and again, each when it is due."""
        begun, number = time.perf_counter(), 0
        while time.perf_counter() - begun < PACED_S:
            due = int((time.perf_counter() - begun) * RATE)
            for at in range(number, due):
                self.file.write(request_lines(at))
                self.written.append(time.perf_counter())
            number = due
            await asyncio.sleep(0.005)


async def _paced(bench: Bench) -> Figures:
    paced = Paced(bench)
    client = HttpClient(ClientSettings())
    keeping = LogKeeping(bench.settings, client, paced.log)
    watching = asyncio.create_task(keeping.watch(lambda: bench.release))
    late_ms: list[float] = []
    ended = asyncio.Event()
    ticking = asyncio.create_task(_tick(late_ms, ended))
    try:
        await paced.write()
        async with asyncio.timeout(30):
            while paced.covered < len(paced.written):  # noqa: ASYNC110 (a thread fills it)
                await asyncio.sleep(0.05)
    finally:
        ended.set()
        watching.cancel()
        await asyncio.gather(watching, ticking, return_exceptions=True)
        await client.close()
    return {
        "included_ms_p50": round(quantile(paced.took_ms, 0.5)),
        "included_ms_p99": round(quantile(paced.took_ms, 0.99)),
        "included_ms_max": round(max(paced.took_ms)),
        "included_receipts": len(paced.took_ms),
        "pop_cpu_us_per_receipt": round(paced.cpu_s / len(paced.took_ms) * 1e6, 1),
        "turn_late_ms_p99": round(quantile(late_ms, 0.99), 2),
    }


async def _tick(late_ms: list[float], ended: asyncio.Event) -> None:
    """How late the loop's turns come, as a request would notice."""
    while not ended.is_set():
        due = time.perf_counter() + 0.001
        await asyncio.sleep(0.001)
        late_ms.append((time.perf_counter() - due) * 1000)


def grown(path: Path, leaves: int) -> Figures:
    """A log of so many leaves, and proofs from its files; memory early and in the end."""
    store = new_store(path)
    store.open()
    store.begin("2026-11", 1)
    early, begun = 0.0, time.perf_counter()
    while store.state.size < leaves:
        size = store.state.size
        store.add([leaf_of(at) for at in range(size, min(leaves, size + BATCH))])
        state = store.commit(time.time_ns() // 1000)
        store.publish(state.note.encode())
        store.settle(store.unsettled)
        if state.size == EARLY:
            early = rss_mib()
    grew = rss_mib() - early
    took_s = time.perf_counter() - begun
    read = read_path(store.files, "2026-11")
    proved = prove(read, leaves, bytes.fromhex(store.state.root), leaf_of)
    opened = time.perf_counter()
    again = new_store(path)
    again.open()
    return {
        "grown_leaves": leaves,
        "grown_leaves_per_s": round(leaves / took_s),
        "memory_mib_1e5": round(early, 1),
        "memory_growth_mib_1e5_to_1e7": round(grew, 1),
        "open_ms": round((time.perf_counter() - opened) * 1000),
        "prove_ms_1e7": round(proved.prove_ms, 2),
        "prove_ms_1e7_p99": round(proved.prove_ms_p99, 2),
        "prove_cpu_ms_1e7_p99": round(proved.prove_cpu_ms_p99, 2),
        "tiles_read": round(proved.tiles_read, 1),
    }


def leaf_of(number: int) -> bytes:
    """The leaf at an index of the grown log."""
    return hashlib.sha256(b"leaf %d" % number).digest()


def measure(leaves: int) -> Figures:
    """All of it."""
    before = circumstances()
    OUT.mkdir(parents=True, exist_ok=True)
    figures: Figures = {}
    with tempfile.TemporaryDirectory(prefix="log-", dir=OUT) as directory:
        path = Path(directory)
        figures |= throughput(Bench(path / "through"))
        shutil.rmtree(path / "through")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            figures |= runner.run(_paced(Bench(path / "paced")))
        figures |= grown(path / "grown", leaves)
    figures["verify_ms"] = round(verify_ms(), 2)
    figures["memory_mib_max"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {**figures, **before}


def is_met(name: str, value: object) -> bool:
    """Whether a figure meets its bar."""
    words, limit = BARS[name]
    assert isinstance(value, int | float), "a bar is a number"
    return value >= limit if words == "at least" else value <= limit


@click.command()
@click.option("--leaves", default=LEAVES, show_default=True, help="Of the log that is grown.")
@click.option("--json", "as_json_", is_flag=True, help="Print the figures as JSON.")
def main(leaves: int, as_json_: bool) -> None:
    """Measure a PoP's log."""
    figures = measure(leaves)
    met = {name: is_met(name, figures[name]) for name in BARS}
    path = write_figures("log", {**figures, "bars_met": all(met.values())})
    if as_json_:
        click.echo(as_json(figures), nl=False)
        return
    rows = []
    for name, value in figures.items():
        words = f"{value:,}" if type(value) is int else str(value)
        said = bar(met[name], f"{BARS[name][0]} {BARS[name][1]:g}") if name in BARS else ""
        rows.append((name, words, said))
    print_table("a PoP's log", rows)
    click.echo(f"written to {os.path.relpath(path)}", err=True)


if __name__ == "__main__":
    main()
