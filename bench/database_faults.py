"""What clients notice while the control plane's database is stopped, killed, slow, full or locked.

Slices with the fault and without it take turns, and in each a client asks the engine directly and
through the PoP, in turns. What the PoP adds is a difference of like quantiles within a slice, and
what is compared are the medians of slices: nothing may differ. Meanwhile an administrator goes on,
and must be answered in time. Afterwards every receipt is at the collector, once.
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from random import Random
from statistics import median

from bench.clients import PATH
from bench.control_plane import json_of, list_all
from bench.database_rig import MODEL, POP, Fault, PostgresStore, Rig, RigFailed, SqliteStore
from bench.figures import Figures, quantile
from bench.line import Heard, Line, open_line, post
from bench.overload import build
from bench.register import Register, audit_register
from bench.registrar import Registrar
from selvedge.control import Reconciled, reconcile, usage_of
from selvedge.control.accounts import journal_lines
from selvedge.control.home_collectors import collector_directories
from selvedge.ledger import UsageAsked, receipts_of

CYCLES = 3
SLICES = 2 * CYCLES * 6
"""Four faults of PostgreSQL, two of SQLite."""
LONG_S = 40.0
"""The last slice of the first fault: longer than a lease of 30 seconds, and renewals in between."""
PAUSE_S = 0.008
SHARE_MIN = 3_500
"""Of a minute's requests; a slice asks with each key for less in a minute. A share that is not yet
what the traffic needs grows by asking the desk, which nobody can while its database is away.
"""
METRICS = b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
ADMIN_PAUSE_S = 0.5
ADMIN_MS_MAX = 6_000.0
"""`database_ms_max` is 2,000, and the API's own slack 500; the rest is what a busy machine adds."""
CAUGHT_UP_S_MAX = 60.0
LEASED_S_MAX = 120.0
P50_RATIO_MAX = 1.15
P99_RATIO_MAX = 1.35
CPU_RATIO_MAX = 1.1
BODY = (
    b'{"model":"%s","messages":[{"role":"user","content":"Say it again."}],"max_tokens":16}'
    % MODEL.encode()
)


@dataclass(slots=True)
class Slice:
    """Times of one slice, in microseconds."""

    direct: list[float] = field(default_factory=list)
    through: list[float] = field(default_factory=list)
    cpu_us: float = 0.0
    """What the PoP's process spent, for each request: nobody else on the machine adds to it."""

    def added(self, part: float) -> float:
        """What the PoP adds at a quantile."""
        return quantile(self.through, part) - quantile(self.direct, part)


@dataclass(slots=True)
class Seen:
    """All that one store's faults showed, by fault: slices without it and with it."""

    healthy: dict[str, list[Slice]] = field(default_factory=dict)
    faulty: dict[str, list[Slice]] = field(default_factory=dict)
    back_s: dict[str, float] = field(default_factory=dict)
    caught_up_s: dict[str, float] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    revoked_refused: int = 0
    revoked_admitted: int = 0
    admin_away: Counter[str] = field(default_factory=Counter)
    admin_ms_max: float = 0.0
    acts: int = 0
    wrong: dict[str, list[str]] = field(default_factory=dict)
    lost: int = 0
    double: int = 0
    usage_differs: int = 0
    difference: int = 0
    leases: dict[str, int] = field(default_factory=dict)


class DatabaseFaults:
    """Runs the faults of one store over a rig that has started."""

    def __init__(self, rig: Rig, faults: list[Fault], seconds: float, seed: int) -> None:
        self._rig = rig
        self._faults = faults
        self._seconds = seconds
        self._register = Register()
        self._up, self._sent = asyncio.Event(), asyncio.Event()
        self._up.set()
        self._registrar = Registrar(
            rig.plane, ["warp"], self._register, Random(seed), (self._up, self._sent)
        )
        self._registrar.pause_s = ADMIN_PAUSE_S
        self._heard: dict[str, int] = {}
        self._lines: dict[int, Line] = {}
        self._revoked = ""
        self.seen = Seen()

    async def run(self, on_slice: Callable[[], None]) -> Seen:
        """All faults, one after another."""
        await self._revoke_one()
        acting = asyncio.create_task(self._registrar.run())
        try:
            await self._until_leased()
            for fault in self._faults:
                await self._try(fault, on_slice)
        finally:
            self._registrar.stopping = True
            await acting
        await self._close()
        return self.seen

    async def _until_leased(self) -> None:
        """Ask as fast as it goes, until every limit's share is more than a slice will need."""
        late = time.monotonic() + LEASED_S_MAX
        shares = [0]
        while min(shares) < SHARE_MIN:
            if time.monotonic() > late:
                raise RigFailed(f"the PoP's shares are {shares}, where {SHARE_MIN} are needed")
            answers = [await self._through(key) for key in self._rig.keys.values()]
            told = [one.header("x-ratelimit-limit-requests") for one in answers]
            shares = [int(one) for one in told if one is not None] or [0]

    async def _through(self, key: str) -> Heard:
        """One request at the PoP, whose receipt is remembered."""
        heard = await self._ask(self._rig.port, post(PATH, self._rig.port, BODY, key))
        receipt = heard.header("selvedge-receipt")
        if receipt is not None:
            self._heard[receipt] = heard.status
        return heard

    async def _try(self, fault: Fault, on_slice: Callable[[], None]) -> None:
        seen, name = self.seen, fault.name
        healthy, faulty = seen.healthy.setdefault(name, []), seen.faulty.setdefault(name, [])
        for at in range(CYCLES):
            healthy.append(await self._slice("healthy", self._seconds))
            on_slice()
            is_long = fault is self._faults[0] and at == CYCLES - 1
            away = self._register.away
            await fault.begin()
            try:
                length_s = max(LONG_S, self._seconds) if is_long else self._seconds
                faulty.append(await self._slice(name, length_s))
            finally:
                await fault.end()
            on_slice()
            seen.admin_away[name] += self._register.away - away
            seen.back_s[name] = max(seen.back_s.get(name, 0.0), await self._rig.until_back())
        seen.caught_up_s[name] = await self._until_caught_up()

    async def _slice(self, name: str, seconds: float) -> Slice:
        """Ask for a while: the engine, then the PoP, by each key in turn."""
        rig, seen, into = self._rig, self.seen, Slice()
        direct = post(PATH, rig.engine_port, BODY)
        late, spent_us = time.monotonic() + seconds, _cpu_us(rig.pop_pid)
        for at, key in enumerate(cycle(rig.keys)):
            if time.monotonic() > late:
                into.cpu_us = (_cpu_us(rig.pop_pid) - spent_us) / len(into.through)
                return into
            into.direct.append(_took_us(await self._ask(rig.engine_port, direct)))
            heard = await self._through(rig.keys[key])
            into.through.append(_took_us(heard))
            seen.asked += 1
            if heard.status != 200:
                seen.errors[f"{heard.status} of {key}, {name}"] += 1
            if at % 100 == 0:
                refused = await self._through(self._revoked)
                seen.revoked_refused += refused.status == 401
                seen.revoked_admitted += refused.status != 401
            await asyncio.sleep(PAUSE_S)
        raise AssertionError("cycle does not end")

    async def _ask(self, port: int, request: bytes) -> Heard:
        line = self._lines.get(port)
        if line is None or not line.is_open:
            line = self._lines[port] = await open_line(port)
        return await line.ask(request)

    async def _revoke_one(self) -> None:
        """A key that was made, was admitted, and is revoked now."""
        body = {"id": "revoked", "tenant": "warp", "class": "standard"}
        made = json_of(await self._rig.plane.ask("POST", "/keys", body))
        assert isinstance(made, dict)
        self._revoked = made["secret"]
        for wanted in (200, 401):
            late = time.monotonic() + CAUGHT_UP_S_MAX
            while (heard := await self._through(self._revoked)).status != wanted:
                assert time.monotonic() < late, f"{heard.status} where {wanted} was due"
                await asyncio.sleep(0.05)
            if wanted == 200:
                await self._rig.plane.ask("DELETE", "/keys/revoked")

    async def _until_caught_up(self) -> float:
        """Seconds until nothing differs between the journal and the collector."""
        started = time.monotonic()
        while (await self._reconcile()).difference:
            if time.monotonic() - started > CAUGHT_UP_S_MAX:
                break
            await asyncio.sleep(0.1)
        return time.monotonic() - started

    async def _reconcile(self) -> Reconciled:
        return await asyncio.to_thread(reconcile, self._rig.home)

    async def _close(self) -> None:
        """The books, when nobody asks any more."""
        seen, register = self.seen, self._register
        await self._until_caught_up()
        found = await self._reconcile()
        seen.difference, seen.double = found.difference, found.doubles
        seen.acts, seen.admin_ms_max = register.sent, max(register.took_ms, default=0.0)
        keys = await list_all(self._rig.plane, "/keys")
        lines = await list_all(self._rig.plane, "/audit")
        seen.wrong = {**audit_register(register, keys, lines), "refused": register.refused}
        home = self._rig.home
        sealed = receipts_of(journal_lines(home.pop(POP)))
        seen.lost = len(self._heard.keys() - {one.decode().id for one in sealed})
        usage = usage_of(home, collector_directories(home), UsageAsked(by=("outcome",)))
        answered = sum(status == 200 for status in self._heard.values())
        seen.usage_differs = abs(usage[("complete",)].receipts - answered)
        page = (await self._ask(self._rig.port, METRICS)).raw.decode()
        found_leases = re.findall(
            r'^selvedge_lease_questions_total\{.*?"(\w+)".*\} (\d+)', page, re.M
        )
        seen.leases = {ending: int(count) for ending, count in found_leases}


async def measure_faults(
    kind: str, directory: Path, seconds: float, seed: int, on_slice: Callable[[], None]
) -> tuple[Seen, str]:
    """One store's faults; and why one of them was left out, where it was."""
    store = PostgresStore() if kind == "postgresql" else SqliteStore(directory)
    try:
        rig = Rig(directory, build("mock"), store.url)
        try:
            await rig.start()
            _on_cores(rig)
            seen = await DatabaseFaults(rig, store.faults(rig), seconds, seed).run(on_slice)
        finally:
            await rig.stop()
        return seen, store.why_not
    finally:
        await asyncio.to_thread(store.close)


def _on_cores(rig: Rig) -> None:
    """The PoP has a core of its own, where there are two."""
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(rig.pop_pid, {0})


def figures_of(kind: str, seen: Seen, why_not: str) -> Figures:
    """Flat figures of one store."""
    figures: Figures = {
        "requests": seen.asked,
        "errors": seen.errors.total(),
        "revoked_refused": seen.revoked_refused,
        "revoked_admitted": seen.revoked_admitted,
    }
    for name, faulty in seen.faulty.items():
        for words, part in (("p50", 0.5), ("p99", 0.99)):
            without = median(one.added(part) for one in seen.healthy[name])
            with_it = median(one.added(part) for one in faulty)
            figures[f"{name}_added_us_{words}_healthy"] = round(without, 1)
            figures[f"{name}_added_us_{words}"] = round(with_it, 1)
            figures[f"{name}_ratio_{words}"] = round(with_it / without, 3)
        without = median(one.cpu_us for one in seen.healthy[name])
        with_it = median(one.cpu_us for one in faulty)
        figures[f"{name}_cpu_us_healthy"] = round(without, 1)
        figures[f"{name}_cpu_us"] = round(with_it, 1)
        figures[f"{name}_ratio_cpu"] = round(with_it / without, 3)
        figures[f"{name}_admin_503"] = seen.admin_away[name]
        figures[f"{name}_back_s"] = round(seen.back_s[name], 2)
        figures[f"{name}_caught_up_s"] = round(seen.caught_up_s[name], 2)
    for words, part in (("p50", 0.5), ("p99", 0.99)):
        figures[f"ratio_{words}"] = round(_ratio(seen, part), 3)
    figures["ratio_cpu"] = round(
        median(one.cpu_us for slices in seen.faulty.values() for one in slices)
        / median(one.cpu_us for slices in seen.healthy.values() for one in slices),
        3,
    )
    figures |= {
        "acts": seen.acts,
        "admin_ms_max": round(seen.admin_ms_max, 1),
        **{name: len(found) for name, found in seen.wrong.items()},
        **{f"leases_{ending}": count for ending, count in seen.leases.items()},
        "lost": seen.lost,
        "double": seen.double,
        "usage_differs": seen.usage_differs,
        "reconcile_difference": seen.difference,
    }
    if why_not:
        figures["full_left_out"] = why_not
    return {f"{kind}_{name}": value for name, value in figures.items()}


def _ratio(seen: Seen, part: float) -> float:
    """Over all faults: what the PoP adds with one, by what it adds without."""
    healthy = [one.added(part) for slices in seen.healthy.values() for one in slices]
    faulty = [one.added(part) for slices in seen.faulty.values() for one in slices]
    return median(faulty) / median(healthy)


NONE = (
    *("errors", "revoked_admitted", "lost", "double", "usage_differs", "reconcile_difference"),
    *("keys_lost", "keys_came_back", "acts_without_audit", "acts_halved", "refused"),
)


def bars(kind: str, figures: Figures) -> Mapping[str, bool]:
    """Which bars were met."""
    met = {f"{kind}_{name}": figures[f"{kind}_{name}"] == 0 for name in NONE}
    limits = {"p50": P50_RATIO_MAX, "p99": P99_RATIO_MAX, "cpu": CPU_RATIO_MAX}
    for name, limit in ((f"ratio_{one}", most) for one, most in limits.items()):
        met[f"{kind}_{name}"] = float(figures[f"{kind}_{name}"]) <= limit
    met[f"{kind}_admin_ms_max"] = float(figures[f"{kind}_admin_ms_max"]) <= ADMIN_MS_MAX
    return met


def _cpu_us(pid: int) -> float:
    """What a process has spent so far, of all its threads."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(one.read_text().split()[0]) for one in tasks) / 1000


def _took_us(heard: Heard) -> float:
    return (heard.ended_ns - heard.sent_ns) / 1000 if heard.parts else 0.0


async def measure(
    seconds: float, seed: int, keep: Path | None, on_slice: Callable[[], None]
) -> tuple[Figures, dict[str, bool]]:
    """Both stores, one after another: the figures, and which bars were met."""
    figures: Figures = {}
    met: dict[str, bool] = {}
    for kind in ("postgresql", "sqlite"):
        with tempfile.TemporaryDirectory(prefix="selvedge-torture-") as directory:
            where = keep / kind if keep is not None else Path(directory)
            found = figures_of(kind, *await measure_faults(kind, where, seconds, seed, on_slice))
        figures |= found
        met |= bars(kind, found)
    return figures, met
