"""What the ledger costs a request, and what it keeps in memory.

    make bench-ledger

`admit_us_p99`: key, scope, early look, estimate and reservation under five limits at each of three
levels (key, project, tenant), as the story asks for them, CPU taken one by one; leases are renewed
beside it as a worker's task does, by a desk that has plenty and grants what is wished for.
`record_us`: CPU of one request's intent and receipt in a book on this checkout's file system,
sixteen requests a write. `rss_growth_mib_1e6_requests`: how much a process grows in a million
requests of a hundred thousand keys that have limits of their own, a thousand requests a second of
the day, from when every key has been used. Then a collector is measured as in `ledger_collect`,
and the desk of 4,100 PoPs as in `ledger_desk`. Writes `bench/out/ledger.json`.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from statistics import median
from time import thread_time_ns

import msgspec

import selvedge.ledger.holder
from bench.figures import (
    OUT,
    Figures,
    bar,
    circumstances,
    print_table,
    quantile,
    rss_mib,
    write_figures,
)
from bench.ledger_collect import WORDS, collect_figures
from bench.ledger_collect import bars as collect_bars
from bench.ledger_desk import BARS as DESK_BARS
from bench.ledger_desk import measure as measure_desk
from selvedge.adapters import FileAppender, ReceiptBook, Vault
from selvedge.exchange import FleetView, Secrets, compile_view
from selvedge.exchange.quota import Taken, spent, take
from selvedge.fabric import (
    Ask,
    DataClass,
    Engine,
    Key,
    Limits,
    Model,
    Outcome,
    Personal,
    PoP,
    Price,
    Project,
    Receipt,
    Refused,
    Release,
    Route,
    Served,
    Tenant,
    Tried,
    Usage,
    Zone,
)
from selvedge.ledger import Away, Grant, Holder, hash_secret, write_key
from selvedge.routing import Load

KEYS = 100_000
PROJECTS = 1_000
TENANTS = 100
REQUESTS = 1_000_000
TIMED = 20_000
ROUNDS = 5
GATHERED = 16
RECORDED = 16_000
STEP_US = 1_000
"""A thousand requests a second of the day."""
TURN_US = 100_000
START_US = 1_800_000_000_000_000
PEPPER = b"bench"
MODEL = "chat"
MANY = 10**9
ALL = Limits(MANY, MANY, MANY, MANY, MANY)
BARS = {"admit_us_p99": 15.0, "record_us": 15.0, "rss_growth_mib_1e6_requests": 16.0}


def release_of(keys: int) -> Release:
    """One PoP; tenants, projects and keys with limits of their own, at each level all five."""
    engine = Engine("e", "http://127.0.0.1:1", "vllm", (Served(MODEL, MODEL),))
    public = "A" * 43 + "="
    here = PoP("sin", "Singapore", "SG", 1.3, 103.8, "http://sin", "sin:1", public, "x", (engine,))
    secret = hash_secret(PEPPER, "k0", "secret")
    return Release(
        fleet="bench",
        version=1,
        made_us=0,
        models=(Model(MODEL, "chat", "unknown", "F16", 131_072, price=Price(20, 80, 5)),),
        pops=(here,),
        zones=(Zone("asean", ("SG",)),),
        tenants=tuple(
            Tenant(f"t{at}", (DataClass("default", "asean", "in-zone"),), ALL)
            for at in range(TENANTS)
        ),
        projects=tuple(Project(f"p{at}", f"t{at % TENANTS}", ALL) for at in range(PROJECTS)),
        keys=tuple(
            Key(
                f"k{at}",
                f"t{at % TENANTS}",
                "default",
                hash_secret(PEPPER, f"k{at}", "secret") if at else secret,
                f"p{at % PROJECTS}",
                models=(MODEL,),
                routes=(Route.CHAT.value,),
                limits=ALL,
            )
            for at in range(keys)
        ),
    )


class Worker:
    """One worker's view and holder, with the day it lives in."""

    def __init__(self, keys: int) -> None:
        self.holder = Holder(Away())
        secrets = Secrets(PEPPER, {})
        load = Load({}, frozenset())
        release = release_of(keys)
        view = compile_view(release, "ab" * 32, "sin", secrets, load, quotas=self.holder)
        self.holder.serve(is_leased=True)
        self.view: FleetView = view
        self.keys = [f"Bearer {write_key(f'k{at}', 'secret')}" for at in range(keys)]
        self.now_us = START_US
        self.ask = Ask(Route.CHAT, MODEL, prompt_bytes=500, output_tokens_max=64)
        self._asked_us = 0

    def admit(self, key: str) -> Taken | Refused | None:
        """All that the story asks of the ledger before it relays."""
        view, at_us = self.view, self.now_us
        admitted = view.keyring.admit(key, at_us)
        if isinstance(admitted, Refused):
            return admitted
        barred = admitted.bars(Route.CHAT) or spent(view, admitted, at_us)
        return barred or take(view, admitted, self.ask, at_us)

    def renew(self) -> None:
        """As the worker's task, ten times a second; the desk grants what is wished for."""
        if self.now_us - self._asked_us < TURN_US:
            return
        self._asked_us = self.now_us
        while True:
            rows = self.holder.turn(self.now_us)
            if not rows:
                return
            granted = [
                Grant(row.level, row.kind, 1 if row.kind > 2 else 0, row.wish + 64, 600_000, False)
                for row in rows
            ]
            self.holder.take(self.holder.number, granted)


def admit_ns(worker: Worker, random: Random, count: int) -> tuple[list[int], int]:
    """CPU of each admission in nanoseconds, and how many were refused.

    Its thread's time: a core that others use as well is taken away for milliseconds.
    """
    took: list[int] = []
    refused = 0
    receipt = receipt_of(0)
    for _ in range(count):
        worker.now_us += STEP_US
        worker.renew()
        key = worker.keys[random.randrange(len(worker.keys))]
        begun = thread_time_ns()
        taken = worker.admit(key)
        took.append(thread_time_ns() - begun)
        if isinstance(taken, Taken):
            taken.settle(msgspec.structs.replace(receipt, ended_us=worker.now_us))
        else:
            refused += 1
    return took, refused


def receipt_of(number: int) -> Receipt:
    """A request that was answered."""
    tried = Tried("sin", "SG", "e", "relayed", "first", 64, START_US + 300, START_US + 9_000)
    return Receipt(
        id=f"rcpt_{number:032x}",
        request_id=f"req_{number:032x}",
        tenant="t0",
        project="p0",
        key="k0",
        data_class="default",
        route=Route.CHAT.value,
        ingress_pop="sin",
        ingress_country="SG",
        rule="t0/default",
        zone="asean",
        release=1,
        release_hash="ab" * 32,
        received_us=START_US,
        transit=False,
        model=MODEL,
        body_bytes=500,
        allowed_pops=1,
        planned=("sin",),
        planned_in=("SG",),
        attempts=(tried,),
        served_pop="sin",
        served_engine="e",
        processed_in="SG",
        outcome=Outcome.COMPLETE,
        status=200,
        finish_reason="stop",
        usage=Usage(120, output=64, provenance="reported"),
        first_token_us=START_US + 4_000,
        ended_us=START_US + 9_000,
    )


def record_us(directory: Path) -> float:
    """CPU of one request's intent and receipt, in microseconds, of the thread that serves."""
    vault = Vault(directory / "subjects.jsonl")
    appender = FileAppender(directory / "receipts", 5, 64 * 1024 * 1024, before_sync=vault.sync)
    found = appender.open()
    waiting: list[Callable[[], None]] = []
    book = ReceiptBook("sin", appender, vault, found, schedule=waiting.append)
    personal = Personal("203.0.113.9", None, None)
    failed: list[BaseException] = []

    def then(error: BaseException | None) -> None:
        if error is not None:
            failed.append(error)

    def flush() -> None:
        while waiting:
            waiting.pop()()

    per_request: list[float] = []
    for begin in range(0, RECORDED, GATHERED):
        receipts = [receipt_of(begin + at) for at in range(GATHERED)]
        begun = thread_time_ns()
        for receipt in receipts:
            book.intend(receipt, personal, then)
        flush()
        for receipt in receipts:
            book.record(receipt, personal, then)
        flush()
        per_request.append((thread_time_ns() - begun) / GATHERED)
    book.close()
    if failed:
        raise RuntimeError(f"receipts could not be written: {failed[0]}")
    return median(per_request) / 1000


def measure(rounds: int, keys: int, requests: int) -> Figures:
    """All figures."""
    random = Random(5)
    before = rss_mib()
    worker = Worker(keys)
    released = rss_mib()
    for key in worker.keys:
        worker.now_us += STEP_US
        worker.renew()
        taken = worker.admit(key)
        if isinstance(taken, Taken):
            taken.settle(msgspec.structs.replace(receipt_of(0), ended_us=worker.now_us))
    gc.collect()
    used = rss_mib()
    gc.disable()
    played = [admit_ns(worker, random, TIMED) for _ in range(rounds)]
    gc.enable()
    took = [one for one, _ in played]
    admit_ns(worker, random, requests)
    gc.collect()
    grown = rss_mib()
    with tempfile.TemporaryDirectory(prefix="ledger-", dir=OUT) as directory:
        record = record_us(Path(directory))

    def over(part: float) -> float:
        return round(median(quantile(one, part) for one in took) / 1000, 2)

    return {
        "compiled": not (selvedge.ledger.holder.__file__ or "").endswith(".py"),
        "keys": keys,
        "budgets_per_request": 15,
        "admit_us_p50": over(0.5),
        "admit_us_p99": over(0.99),
        "admit_refused": sum(refused for _, refused in played),
        "record_us": round(record, 2),
        "levels_in_use": len(worker.holder),
        "rss_mib_of_the_release": round(released - before, 1),
        "rss_mib_of_all_keys_in_use": round(used - released, 1),
        "rss_growth_mib_1e6_requests": round(grown - used, 1),
    }


def show(figures: Figures) -> None:
    """Print the figures with their bars."""
    collected = collect_bars(figures)
    met = {name: bar(collected[name], WORDS[name]) for name in collected}
    met |= {name: bar(float(figures[name]) <= most, f"<= {most}") for name, most in BARS.items()}
    met |= {
        name: bar(float(figures[name]) >= least, f">= {least:,.0f}")
        for name, least in DESK_BARS.items()
    }
    rows = [(name, str(value), met.get(name, "")) for name, value in figures.items()]
    print_table("The ledger", rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--keys", type=int, default=KEYS)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    options = parser.parse_args(arguments)
    OUT.mkdir(parents=True, exist_ok=True)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    figures = circumstances() | measure(options.rounds, options.keys, options.requests)
    os.sched_setaffinity(0, cores)  # the collector is a process of its own, on a core of its own
    figures |= collect_figures()
    figures |= measure_desk()
    show(figures)
    if (options.keys, options.requests) == (KEYS, REQUESTS):
        write_figures("ledger", figures)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
