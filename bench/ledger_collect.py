"""How fast a collector takes receipts, and how long an acknowledgement takes beside the bare disk.

A collector in a process of its own, on one core, takes sealed batches of real receipts over HTTP
from as many PoPs as ask at once; each answer has been written and synced. It is asked in turns, as
fast as it answers (`receipts_per_s`; what waits then is the queue that the PoPs make themselves:
`ack_ms_p99_full`), and as many times a second as the bar asks for, where an answer's time counts
from when its batch was due (`ack_ms_p99`). Between turns the same file system is asked for bare
write-and-sync pairs of the same size: a disk that others use as well has no one figure. What is
measured is one process's work: `receipts_per_cpu_s` are receipts over the CPU time it spent.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import click
import msgspec
import uvloop

from bench.figures import (
    OUT,
    Figures,
    as_json,
    bar,
    circumstances,
    print_table,
    quantile,
    write_figures,
)
from selvedge.adapters import (
    ChildProcess,
    ClientSettings,
    HttpClient,
    Outgoing,
    keep_secret,
    operator_public_key,
    pop_public_key,
    seal_release,
    service_key,
    write_atomically,
)
from selvedge.control import free_port
from selvedge.exchange import collection
from selvedge.fabric import Collector, Outcome, PoP, Receipt, Release, Tried, Usage, Zone
from selvedge.ledger import BEGINNING, Batch, seal, write_line

ZONE = "asean"
FLEET = "bench"
POPS = 5
BATCH = 85
"""Receipts: about 120 kB."""
SLICE = 6
"""Batches of each PoP between two looks at the bare disk."""
SLICES = 48
"""Every other one is paced."""
SYNCS = 30
"""Bare write-and-sync pairs after each slice."""
RECEIPTS_PER_S_MIN = 20_000
WORDS = {
    "receipts_per_s": f"at least {RECEIPTS_PER_S_MIN:,}",
    "ack_ms_p99": f"at {RECEIPTS_PER_S_MIN:,}/s, at most 3 x disk_fsync_ms_p99 + 5",
}
READY_S = 30.0


def make_receipt(pop: str, number: int) -> Receipt:
    """A receipt as a streamed answer of another PoP leaves it, about 1.4 kB."""
    at_us = 1_800_000_000_000_000 + number * 1_000
    tried = Tried("fra", "DE", "gpu-1", "relayed", "", 180, at_us + 900, at_us + 900_000)
    return Receipt(
        id=f"rcpt_{pop}{number:024x}",
        request_id=f"req_{pop}{number:024x}",
        tenant=f"tenant-{number % 16}",
        project="default",
        key="key-one",
        data_class="standard",
        route="/v1/chat/completions",
        ingress_pop=pop,
        ingress_country="SG",
        rule="tenant/standard",
        zone=ZONE,
        release=7,
        release_hash="sha256:" + "ab" * 32,
        received_us=at_us,
        transit=False,
        model="llama-3.1-8b-instruct",
        model_digest="sha256:" + "cd" * 32,
        stream=True,
        body_bytes=2_000,
        allowed_pops=12,
        planned=("fra", "sin", "cgk"),
        planned_in=("DE", "SG", "ID"),
        attempts=(tried,),
        served_pop="fra",
        served_engine="gpu-1",
        served_entity="Example Edge Germany",
        processed_in="DE",
        outcome=Outcome.COMPLETE,
        status=200,
        finish_reason="stop",
        usage=Usage(420, 80, 0, 180, 0, "reported"),
        first_token_us=at_us + 80_000,
        ended_us=at_us + 900_000,
        personal="ef" * 32,
    )


def batches(pop: str, key: bytes, count: int) -> Iterator[bytes]:
    """Sealed shipments of one PoP, one behind the other, and empty-handed before them."""
    seqs: dict[str, int] = {}
    start, number = BEGINNING, 0
    for at in range(count):
        lines = []
        for _ in range(BATCH):
            receipt = make_receipt(pop, number)
            number += 1
            seqs[receipt.tenant] = seq = seqs.get(receipt.tenant, 0) + 1
            lines.append(write_line(seal(receipt, seq, os.urandom(32), None)))
        end = (1, (at + 1) * 500_000)
        batch = Batch(0, start, end, b"".join(lines), {})
        nonce = os.urandom(collection.NONCE_BYTES)
        yield collection.ship(collection.Shipment(pop, ZONE, nonce, batch), key)
        start = end


class Bench:
    """One collector, its PoPs' shipments, and a file beside its log."""

    def __init__(self, directory: Path, batches_each: int = SLICE * SLICES) -> None:
        self.directory = directory
        self._batches_each = batches_each
        self.pop_keys = {f"pop-{at}": os.urandom(32) for at in range(POPS)}
        self.port = free_port()
        self.acks_ms: list[float] = []
        """Paced."""
        self.full_ms: list[float] = []
        self.syncs_ms: list[float] = []
        self.rates: list[float] = []
        self.bytes_a_batch = 0

    def lay_down(self) -> dict[str, list[bytes]]:
        """The release, and what each PoP will send."""
        private = keep_secret(self.directory / "collector.key", os.urandom(32))
        self.operator = keep_secret(self.directory / "operator.key", os.urandom(32))
        pop_keys = self.pop_keys
        collector = Collector(ZONE, f"http://127.0.0.1:{self.port}", pop_public_key(private))
        release = Release(
            fleet=FLEET,
            version=1,
            made_us=1,
            models=(),
            pops=tuple(_pop(name, key) for name, key in pop_keys.items()),
            zones=(Zone(ZONE, ("SG",)),),
            tenants=(),
            keys=(),
            collectors=(collector,),
        )
        write_atomically(self.directory / "release.json", seal_release(release, self.operator))
        there = collection.name_of(ZONE)
        found = {}
        for name, own in pop_keys.items():
            key = service_key(FLEET, own, name, there, collector.public_key)
            found[name] = list(batches(name, key, self._batches_each))
        self.bytes_a_batch = len(found["pop-0"][0])
        return found

    async def start(self) -> ChildProcess:
        """The collector: one process, which is one core's work."""
        argv = [sys.executable, "-m", "selvedge", "collector", "--zone", ZONE]
        argv += ["--listen", f"127.0.0.1:{self.port}", "--directory", str(self.directory / "log")]
        argv += ["--release-file", str(self.directory / "release.json")]
        argv += ["--key-file", str(self.directory / "collector.key"), "--log-level", "warning"]
        argv += ["--operator-public-key", operator_public_key(self.operator)]
        argv += ["--segment-bytes-max", str(2**40)]  # partitions are written by another process
        child = await ChildProcess.start(
            "collector", argv, env=os.environ, log_path=self.directory / "collector.log"
        )
        await child.wait_ready(f"http://127.0.0.1:{self.port}/healthz", deadline_s=READY_S)
        return child

    async def load(self, client: HttpClient, shipments: dict[str, list[bytes]], at: int) -> None:
        """One slice: all PoPs at once, each one batch behind the other."""
        started = time.perf_counter()
        part = slice(at * SLICE, (at + 1) * SLICE)
        each = [waiting[part] for waiting in shipments.values()]
        if at % 2:
            gap_s = BATCH / RECEIPTS_PER_S_MIN
            plans = (self._send(client, one, started + of * gap_s) for of, one in enumerate(each))
            await asyncio.gather(*plans)
            return
        await asyncio.gather(*(self._send(client, one) for one in each))
        self.rates.append(POPS * SLICE * BATCH / (time.perf_counter() - started))

    async def _send(
        self, client: HttpClient, waiting: list[bytes], first_s: float | None = None
    ) -> None:
        """The batches of one PoP: each when it is due, or when the one before it is answered."""
        for number, body in enumerate(waiting):
            due_s = time.perf_counter()
            if first_s is not None:
                due_s = first_s + number * POPS * BATCH / RECEIPTS_PER_S_MIN
                await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            to = Outgoing("127.0.0.1", self.port, "POST", collection.TARGET, (), body, None)
            answer = await client.fetch(to, timeout_s=READY_S)
            took_ms = (time.perf_counter() - due_s) * 1000
            (self.full_ms if first_s is None else self.acks_ms).append(took_ms)
            assert answer.status == 200, answer.body

    def sync_bare(self) -> None:
        """Write as much as a batch and sync, again and again, in a file of its own."""
        path = self.directory / "bare"
        data = os.urandom(self.bytes_a_batch)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            for _ in range(SYNCS):
                begun = time.perf_counter()
                os.write(fd, data)
                os.fdatasync(fd)
                self.syncs_ms.append((time.perf_counter() - begun) * 1000)
        finally:
            os.close(fd)

    async def run(self) -> Figures:
        """All slices."""
        shipments = self.lay_down()
        child = await self.start()
        client = HttpClient(ClientSettings())
        try:
            before_s = _cpu_s(child.pid)
            for at in range(SLICES):
                await self.load(client, shipments, at)
                await asyncio.to_thread(self.sync_bare)
            cpu_s = _cpu_s(child.pid) - before_s
            status = await client.fetch(Outgoing("127.0.0.1", self.port, "GET", "/status"))
            facts = msgspec.json.decode(status.body)
        finally:
            await client.close()
            await child.stop()
        count = POPS * SLICE * SLICES * BATCH
        held = int(facts["held"])
        assert held == count, f"{held} of {count} receipts are held"
        return {
            "receipts": count,
            "receipts_per_s": round(median(self.rates)),
            "receipts_per_cpu_s": round(count / cpu_s),
            "cpu_us_per_receipt": round(cpu_s / count * 1e6, 2),
            "batch_bytes": self.bytes_a_batch,
            "batches_per_group": round(POPS * SLICE * SLICES / int(facts["groups"]), 2),
            "ack_ms_p50": round(quantile(self.acks_ms, 0.5), 2),
            "ack_ms_p99": round(quantile(self.acks_ms, 0.99), 2),
            "ack_ms_p99_full": round(quantile(self.full_ms, 0.99), 2),
            "disk_fsync_ms_p50": round(quantile(self.syncs_ms, 0.5), 2),
            "disk_fsync_ms_p99": round(quantile(self.syncs_ms, 0.99), 2),
        }


def _pop(name: str, private: bytes) -> PoP:
    return PoP(
        id=name,
        city="Singapore",
        country="SG",
        latitude=1.29,
        longitude=103.85,
        url="http://127.0.0.1:1",
        peer="127.0.0.1:1",
        public_key=pop_public_key(private),
    )


def _cpu_s(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def collect_figures() -> Figures:
    """The figures of collection, measured on the file system of this checkout."""
    OUT.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="collect-", dir=OUT) as directory,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(Bench(Path(directory)).run())


def bars(figures: Figures) -> dict[str, bool]:
    """Whether each bar was met."""
    longest_ms = 3 * float(figures["disk_fsync_ms_p99"]) + 5
    return {
        "receipts_per_s": float(figures["receipts_per_s"]) >= RECEIPTS_PER_S_MIN,
        "ack_ms_p99": float(figures["ack_ms_p99"]) <= longest_ms,
    }


@click.command()
@click.option("--json", "as_json_", is_flag=True, help="Print the figures as JSON.")
def main(as_json_: bool) -> None:
    """Measure a collector: receipts a second on one core, and acknowledgements."""
    before = circumstances()
    figures = collect_figures()
    met = bars(figures)
    write_figures("ledger-collect", {**figures, **before, "bars_met": all(met.values())})
    if as_json_:
        click.echo(as_json(figures), nl=False)
    else:
        rows = [
            (name, f"{value:,}", bar(met[name], WORDS[name]) if name in met else "")
            for name, value in figures.items()
        ]
        print_table("collection", rows)
    sys.exit(0 if all(met.values()) else 1)


if __name__ == "__main__":
    main()
