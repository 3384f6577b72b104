"""How many PoPs one desk keeps in leases: renewals a second on one core, and how long one takes.

    python -m bench.ledger_desk

Four thousand PoPs hold of the budgets of the tenants that they see, some of them popular with all
of the fleet, and renew all of it once a second of a day that is told, not waited for. A renewal is
what it is in service: the MAC and the decoding of a question, the division of every budget in it,
what was granted written to SQLite on this checkout's file system and synced, the answer sealed.
Questions that wait together are answered together, as at the door. `renewals_per_cpu_s` is of the
thread that answers; a renewal's time is that of the group it was in, disk included.
`bench.ledger_desk_door` asks a control process over HTTP.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Sequence
from itertools import accumulate
from random import Random
from statistics import median
from time import thread_time_ns

import selvedge.ledger.desk
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
from selvedge.adapters import pop_public_key, service_key
from selvedge.control.database import Database
from selvedge.control.lease_desk import LeaseDesk
from selvedge.control.lease_store import SqlGrants
from selvedge.exchange import lease_messages
from selvedge.fabric import Control, DataClass, Limits, PoP, Release, Tenant, Zone
from selvedge.ledger import Grant, Question, Wish
from selvedge.ledger.budgets import DAY, REQUESTS, TOKENS, window_of

POPS = 4_100
TENANTS = 1_000
BUDGETS = 3
SEEN = 8
"""Tenants that a PoP has traffic of."""
GROUP = 64
"""Questions that come while one group is written."""
WARM = 2
SECONDS = 5
START_US = 1_800_000_030_000_000
FLEET = "bench"
PRIVATE = bytes(range(32))
KINDS = {REQUESTS: 1, TOKENS: 1_000, DAY: 1_000_000}
"""Kinds of budgets, and what a request takes of each."""
BARS = {"renewals_per_cpu_s": float(POPS)}


def release_of(pops: int, tenants: int, random: Random) -> Release:
    """A fleet of PoPs with one key, and tenants whose limits are scarce, enough or plenty."""
    public = pop_public_key(PRIVATE)
    seen = [at for one in range(pops) for at in seen_by(one, tenants)]
    return Release(
        fleet=FLEET,
        version=1,
        made_us=1,
        models=(),
        pops=tuple(_pop(at, public) for at in range(pops)),
        zones=(Zone("asean", ("SG",)),),
        tenants=tuple(
            Tenant(
                f"t{at}",
                (DataClass("default", "asean", "in-zone"),),
                _limits((1 + seen.count(at)) * random.choice((10, 30, 90, 1_000))),
            )
            for at in range(tenants)
        ),
        keys=(),
        control=Control("http://127.0.0.1:1", pop_public_key(PRIVATE)),
    )


def _limits(requests: int) -> Limits:
    return Limits(
        requests_per_minute=requests,
        tokens_per_minute=requests * 1_000,
        micro_dollars_per_day=requests * 1_000_000,
    )


def _pop(at: int, public: str) -> PoP:
    return PoP(name_of(at), "Singapore", "SG", 1.3, 103.8, "http://sin", "sin:1", public, "x")


def name_of(at: int) -> str:
    """A PoP's name."""
    return f"pop-{at:04d}"


def seen_by(pop: int, tenants: int) -> list[int]:
    """The tenants that a PoP sees, by a popularity of 1/rank."""
    random = Random(pop)
    weights = list(accumulate(1 / rank for rank in range(1, tenants + 1)))
    found: dict[int, None] = {}
    while len(found) < min(SEEN, tenants):
        found[random.choices(range(tenants), cum_weights=weights)[0]] = None
    return list(found)


class Asker:
    """One PoP: holds what it was granted, and wishes for somewhat more or less each time."""

    def __init__(self, at: int, tenants: int, key: bytes) -> None:
        self.name = name_of(at)
        self.key = key
        self.number = 0
        self.granted: dict[tuple[str, int], Grant] = {}
        self.budgets = [(f"tenant/t{one}", k) for one in seen_by(at, tenants) for k in KINDS]
        self._random = Random(at)
        self._question: Question | None = None

    def grant_all(self, now_us: int) -> None:
        """Grants as long as those that will come, so that what askers keep is there from the
        beginning; they are of no use.
        """
        self.granted = {
            (level, kind): Grant(
                level, kind, window_of(kind, now_us) if kind == DAY else 0, 0, 0, True
            )
            for level, kind in self.budgets
        }

    def ask(self) -> bytes:
        """The next question, sealed."""
        self.number += 1
        rows = [self._row(level, kind) for level, kind in self.budgets]
        nonce = self.number.to_bytes(lease_messages.NONCE_BYTES, "big")
        self._question = Question(self.name, 0, "0123456789abcdef", self.number, nonce, rows)
        return lease_messages.ask(self._question, self.key)

    def _row(self, level: str, kind: int) -> Wish:
        grant = self.granted[level, kind]
        want = self._random.randrange(20, 40) * KINDS[kind]
        least = want // 20
        used = min(grant.amount, want // 2)
        left_ms = max(0, grant.last_ms - 1_000)
        return Wish(level, kind, grant.window, grant.amount, used, want, least, left_ms)

    def take(self, body: bytes) -> None:
        """The answer."""
        assert self._question is not None
        answer = lease_messages.read_answer(body, self.key, self._question)
        self.granted.update({(row.level, row.kind): row for row in answer.rows})


class World:
    """The desk of a fleet, and the fleet."""

    def __init__(self, database: Database, pops: int, tenants: int) -> None:
        self.now_us = START_US
        release = release_of(pops, tenants, Random(7))
        there, public = lease_messages.CONTROL, pop_public_key(PRIVATE)
        self.askers = [
            Asker(at, tenants, service_key(FLEET, PRIVATE, there, name_of(at), public))
            for at in range(pops)
        ]
        for asker in self.askers:
            asker.grant_all(self.now_us)
        self.before_mib = rss_mib()
        self.desk = LeaseDesk(PRIVATE, release, SqlGrants(database), clock=lambda: self.now_us)
        self._random = Random(11)
        self.per_renewal_us: list[float] = []
        self.took_ms: list[float] = []
        self.short = self.granted = 0

    def second(self) -> None:
        """Every PoP renews once, in any order."""
        self._random.shuffle(self.askers)
        groups = [self.askers[at : at + GROUP] for at in range(0, len(self.askers), GROUP)]
        cpu_ns = 0
        for group in groups:
            self.now_us += 1_000_000 // len(groups)
            bodies = [one.ask() for one in group]
            begun, cpu = time.perf_counter(), thread_time_ns()
            answers = self.desk.answer_all(bodies)
            cpu_ns += thread_time_ns() - cpu
            self.took_ms.append((time.perf_counter() - begun) * 1_000)
            for asker, body in zip(group, answers, strict=True):
                assert isinstance(body, bytes), body
                asker.take(body)
                self.granted += len(asker.granted)
                self.short += sum(row.short for row in asker.granted.values())
        self.per_renewal_us.append(cpu_ns / len(self.askers) / 1_000)


def measure(pops: int = POPS, tenants: int = TENANTS, seconds: int = SECONDS) -> Figures:
    """All figures, on the file system of this checkout."""
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="desk-", dir=OUT) as directory:
        database = Database(f"sqlite:///{directory}/control.sqlite")
        database.upgrade()
        world = World(database, pops, tenants)
        for _ in range(WARM):
            world.second()
        gc.collect()
        grown_mib = rss_mib() - world.before_mib
        world.per_renewal_us, world.took_ms = [], []
        world.short = world.granted = 0
        for _ in range(seconds):
            world.second()
        begun = thread_time_ns()
        LeaseDesk(PRIVATE, release_of(pops, tenants, Random(7)), SqlGrants(database))
        restart_ms = (thread_time_ns() - begun) / 1e6
        database.close()
    cost_us = median(world.per_renewal_us)
    return {
        "desk_compiled": not (selvedge.ledger.desk.__file__ or "").endswith(".py"),
        "desk_pops": pops,
        "desk_budgets": tenants * BUDGETS,
        "desk_budgets_per_renewal": SEEN * BUDGETS,
        "desk_short_share": round(world.short / world.granted, 3),
        "renewal_cpu_us": round(cost_us, 1),
        "renewals_per_cpu_s": round(1e6 / cost_us),
        "renewal_group_ms_p50": round(quantile(world.took_ms, 0.5), 2),
        "renewal_group_ms_p99": round(quantile(world.took_ms, 0.99), 2),
        "desk_rss_mib": round(grown_mib, 1),
        "desk_restart_cpu_ms": round(restart_ms),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pops", type=int, default=POPS)
    parser.add_argument("--tenants", type=int, default=TENANTS)
    parser.add_argument("--seconds", type=int, default=SECONDS)
    options = parser.parse_args(arguments)
    found = circumstances()
    figures = measure(options.pops, options.tenants, options.seconds)
    show(figures)
    if (options.pops, options.tenants) == (POPS, TENANTS):
        write_figures("ledger-desk", figures | found)
    return 0


def show(figures: Figures) -> None:
    """Print the figures with their bars."""
    rows = [
        (name, f"{value:,}", bar(float(value) >= BARS[name], f">= {BARS[name]:,.0f}"))
        if name in BARS
        else (name, f"{value:,}", "")
        for name, value in figures.items()
    ]
    print_table("The desk", rows)


if __name__ == "__main__":
    raise SystemExit(main())
