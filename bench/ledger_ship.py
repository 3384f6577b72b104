"""What shipping costs the process that serves: turns of its loop while a day is caught up with.

A PoP's journal of many receipts is shipped by `Shipping`, in this process's event loop and at the
default rate, to a real collector. A ticker asks for the loop's next turn every millisecond, as a
request would; its delay, with shipping and without, is what a request would notice. Beside other
work the delay is mostly that work's: so the CPU time of a read, and of sealing a batch, is taken as
well.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path

import uvloop

from bench.figures import OUT, Figures, quantile
from bench.ledger_collect import READY_S, ZONE, Bench, make_receipt
from selvedge.adapters import (
    ClientSettings,
    FileJournal,
    HttpClient,
    open_release,
    operator_public_key,
    segment_path,
)
from selvedge.exchange import collection
from selvedge.ledger import BEGINNING, Intent, SegmentHeader, Shipper, seal, write_line
from selvedge.pop import Settings
from selvedge.pop.shipping import Shipping

POP = "pop-0"
RECEIPTS = 12_000
TICK_S = 0.001
IDLE_S = 3.0


def write_journal(directory: Path) -> int:
    """A journal as a PoP leaves it; its bytes."""
    directory.mkdir(parents=True)
    parts = [write_line(SegmentHeader(POP, 1, {}))]
    seqs: dict[str, int] = {}
    for number in range(RECEIPTS):
        receipt = make_receipt(POP, number)
        seqs[receipt.tenant] = seq = seqs.get(receipt.tenant, 0) + 1
        parts.append(write_line(Intent(receipt)))
        parts.append(write_line(seal(receipt, seq, os.urandom(32), None)))
    return segment_path(directory, 1).write_bytes(b"".join(parts))


def turns(directory: Path) -> Figures:
    """CPU time of the two things that shipping does at a time, over a whole journal."""
    journal = FileJournal(directory)
    journal.look()
    journal.look()
    shipper = Shipper(ZONE, 0)
    shipper.take(BEGINNING)
    reads_ms: list[float] = []
    seals_ms: list[float] = []
    while True:
        begun = time.thread_time()
        read = shipper.read(journal)
        reads_ms.append((time.thread_time() - begun) * 1000)
        if read and not shipper.full:
            continue
        if not shipper.due:
            break
        begun = time.thread_time()
        batch = shipper.batch
        collection.ship(collection.Shipment(POP, ZONE, bytes(16), batch), bytes(32))
        seals_ms.append((time.thread_time() - begun) * 1000)
        shipper.take(batch.end)
    spent_ms = sum(reads_ms) + sum(seals_ms)
    return {
        "ship_cpu_us_per_receipt": round(spent_ms / RECEIPTS * 1000, 1),
        "ship_read_cpu_ms_p99": round(quantile(reads_ms, 0.99), 2),
        "ship_seal_cpu_ms_p99": round(quantile(seals_ms, 0.99), 2),
    }


async def tick(delays_ms: list[float], until: asyncio.Event) -> None:
    """Note how late each turn comes, until told to stop."""
    while not until.is_set():
        due = time.perf_counter() + TICK_S
        await asyncio.sleep(TICK_S)
        delays_ms.append((time.perf_counter() - due) * 1000)


async def _measure(bench: Bench) -> Figures:
    bench.lay_down()
    child = await bench.start()
    client = HttpClient(ClientSettings())
    try:
        return await _ship(bench, client)
    finally:
        await client.close()
        await child.stop()


async def _ship(bench: Bench, client: HttpClient) -> Figures:
    state = bench.directory / "pop"
    size = await asyncio.to_thread(write_journal, state / "receipts")
    public = operator_public_key(bench.operator)
    release = open_release((bench.directory / "release.json").read_bytes(), public).release
    settings = Settings(
        pop=POP,
        listen="127.0.0.1:1",
        state_dir=str(state),
        release_file="none",
        operator_public_key=public,
        pepper_file="none",
    )
    shipping = Shipping(settings, client, bench.pop_keys[POP], lambda: release)
    idle_ms, busy_ms = await _quiet(), list[float]()
    ended = asyncio.Event()
    ticking = asyncio.create_task(tick(busy_ms, ended))
    begun = time.perf_counter()
    for _ in range(2):  # what is seen at one look is shipped after the next
        await shipping.turn()
        tasks = [one.task for one in shipping.routes.values() if one.task is not None]
        async with asyncio.timeout(10 * READY_S):
            await asyncio.gather(*tasks)
    took_s = time.perf_counter() - begun
    ended.set()
    await ticking
    shipped = shipping.routes[ZONE].shipped
    assert shipped == RECEIPTS, f"{shipped} of {RECEIPTS} are shipped"
    return {
        "ship_receipts_per_s": round(shipped / took_s),
        "ship_bytes_per_s": round(size / took_s),
        **turns(state / "receipts"),
        "turn_late_ms_p99_shipping": round(quantile(busy_ms, 0.99), 2),
        "turn_late_ms_p99_idle": round(quantile(idle_ms, 0.99), 2),
    }


async def _quiet() -> list[float]:
    delays_ms: list[float] = []
    ended = asyncio.Event()
    asyncio.get_running_loop().call_later(IDLE_S, ended.set)
    await tick(delays_ms, ended)
    return delays_ms


def ship_figures() -> Figures:
    """What a PoP's loop notices of shipping."""
    OUT.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="ship-", dir=OUT) as directory,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(_measure(Bench(Path(directory), batches_each=1)))


if __name__ == "__main__":
    for name, value in ship_figures().items():
        print(f"{name:<32} {value}")
