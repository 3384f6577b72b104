"""The kill loop with everything of the ledger: PoP, collectors and control process die by kill -9.

Beside the PoP's lives, the control process has lives of its own, each of which ends at a moment of
one kind: at any time, before it is ready, in the middle of an admin act, in the middle of a write
of its store, in the middle of a grant of leases. Meanwhile administrators make and revoke keys, and
a client looks whether what they were told holds at the PoP. At the end nothing is lost or double,
no limit was overspent, and every act that was acknowledged is in the store and in its audit.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from random import Random

import msgspec

from bench.clients import Client
from bench.collect_loop import CollectLoop
from bench.control_plane import ControlPlane, list_all
from bench.figures import Figures
from bench.kill_loop import KillLoopFailed, Plan, Result, _count_faults
from bench.line import Heard, open_line
from bench.register import HeldKey, Register, audit_register
from bench.registrar import Registrar
from bench.spending import Spent, Watched, spending
from selvedge.adapters import ChildProcess, FleetConfig
from selvedge.control.accounts import journal_lines
from selvedge.control.lease_store import SqlGrants
from selvedge.control.process import open_store
from selvedge.fabric import Price
from selvedge.ledger import Sealed, read_line

TENANTS = ("warp", "weft")
MOMENTS = {"any": 3, "young": 2, "act": 4, "write": 3, "lease": 3}
LIFE_S_MAX = 3.0
YOUNG_S_MAX = 1.5
ACT_MS_MAX = 25.0
WRITE_S_MAX = 2.0
LEASED_SHARE = 0.6
"""Of the PoP's lives that are asked anything, these go on until leases are used."""
LEASE_S_MAX = 6.0
CONTROL_SHARE = 2 / 3
"""Deaths of the control process, at least, for each of the PoP."""
KNOWN_S = 2.0
"""So long after an act a PoP knows of it (docs/control.md)."""
SETTLED_S_MAX = 20.0
PROBE_PAUSE_S = 0.02
PRICE = Price(1_000_000, 1_000_000)
ONE_MAX = 40
WATCHED = (
    Watched("narrow", "requests", 40, 1),
    Watched("sip", "tokens", 1_000, ONE_MAX),
    Watched("purse", "money", 3_000, ONE_MAX),
)
_TAKEN = re.compile(rb'^selvedge_lease_questions_total\{[^}]*"taken"[^}]*\} [1-9]', re.M)
_LIMITS = {
    "narrow": {"requests_per_minute": 40},
    "sip": {"tokens_per_minute": 1_000},
    "purse": {"micro_dollars_per_day": 3_000},
}


class LedgerLoop(CollectLoop):
    """Runs a plan in a directory. ``database`` is the store's URL; None: SQLite in the home."""

    def _begin(self) -> None:
        super()._begin()
        self.plane = ControlPlane(self._home, self.database)
        self.register = Register()
        self.moments: Counter[str] = Counter()
        self.came_back: list[str] = []
        self.not_admitted: list[str] = []
        self.probes = 0
        self.lives: list[list[int]] = []
        self.acts: dict[str, list[str]] = {}
        self.spent: Mapping[str, Spent] = {}
        self.leased = 0
        self.lives_leased = 0
        self._control_rng = Random(f"{self._plan.seed}/control")
        self._control_up = asyncio.Event()
        self._sent = asyncio.Event()
        self._may_act = asyncio.Event()
        self._last = False
        self._tasks: list[asyncio.Task[None]] = []
        self._registrars: list[Registrar] = []

    database: str | None = None

    async def collect(self) -> Result:
        """The whole loop. Raises `KillLoopFailed`; leaves no process behind."""
        try:
            return await super().collect()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self.plane.stop()

    # What is laid down.

    def _config(self, engine_port: int, listen: str) -> FleetConfig:
        values = msgspec.to_builtins(super()._config(engine_port, listen))
        for model in values["models"].values():
            model["price"] = {"input": PRICE.input, "output": PRICE.output}
        for at, (name, limits) in enumerate(_LIMITS.items()):
            tenant = TENANTS[at % len(TENANTS)]
            values["keys"][name] = {"tenant": tenant, "class": "standard", "limits": limits}
        return msgspec.convert(values, FleetConfig)

    def _publish(self, config: FleetConfig, listen: Mapping[str, str]) -> None:
        self.plane.publish(config, listen, self._collectors)

    def _more_settings(self) -> Mapping[str, object]:
        return {"lease_away": "micro", "ship_batch_max": 100}

    def _lay_down(self, engine_port: int) -> Mapping[str, str]:
        """Keys that are soon used up are asked with less often."""
        keys = super()._lay_down(engine_port)
        return {**keys, **{f"{one}/{at}": keys[one] for one in TENANTS for at in range(3)}}

    # The control process and its lives.

    async def _round(self) -> None:
        if not self._tasks:
            self._begin_acting()
        for task in self._tasks:
            if task.done():
                task.result()  # raises what ended it
        await super()._round()

    def _begin_acting(self) -> None:
        events = (self._control_up, self._sent)
        self._registrars = [
            Registrar(self.plane, list(TENANTS), self.register, Random(seed), events)
            for seed in (f"{self._plan.seed}/registrar/{at}" for at in range(2))
        ]
        works = [one.run() for one in self._registrars]
        works += [self._controls(), self._probe(Random(f"{self._plan.seed}/probe"))]
        self._tasks = [asyncio.create_task(work) for work in works]

    async def _controls(self) -> None:
        while not self._last:
            await self._control_life()

    async def _control_life(self) -> None:
        rng = self._control_rng
        moment = rng.choices(list(MOMENTS), list(MOMENTS.values()))[0]
        await self.plane.start()
        try:
            if moment == "young":
                await asyncio.sleep(rng.uniform(0, YOUNG_S_MAX))
            else:
                await self.plane.ready()
                self._control_up.set()
                await self._until(moment)
        finally:
            killed = await self.plane.kill()
            self._control_up.clear()
        if not killed:
            raise KillLoopFailed(f"the control process ended by itself; see {self.plane.log}")
        self.moments[moment] += 1

    async def _until(self, moment: str) -> None:
        """Return at the moment at which a life is to end."""
        rng = self._control_rng
        await asyncio.sleep(rng.uniform(0, LIFE_S_MAX))
        if moment == "act":
            self._sent.clear()
            await self._bounded(self._sent.wait())
            await asyncio.sleep(rng.uniform(0, ACT_MS_MAX) / 1000)
        elif moment in ("write", "lease"):
            if moment == "lease":
                self._control_up.clear()  # then nothing writes but grants, and releases
            await asyncio.to_thread(_spin_until_written, self._home.directory)

    @staticmethod
    async def _bounded(wait: object) -> None:
        assert asyncio.iscoroutine(wait)
        try:
            async with asyncio.timeout(WRITE_S_MAX):
                await wait
        except TimeoutError:
            return

    # The PoP's lives.

    async def _start_pop(self, segment_bytes: int) -> tuple[ChildProcess, float]:
        self.lives.append([_now_us(), 2**62])
        return await super()._start_pop(segment_bytes)

    async def _until_goal(self, pop: ChildProcess) -> None:
        await super()._until_goal(pop)
        if self._last or self._rng.random() > LEASED_SHARE:
            return
        late = time.monotonic() + LEASE_S_MAX
        while not await self._has_lease():
            if time.monotonic() > late:
                return
            await asyncio.sleep(0.05)
        self.lives_leased += 1
        await asyncio.sleep(self._rng.uniform(0, 1))

    async def _has_lease(self) -> bool:
        """Whether this life of the PoP was granted anything."""
        heard = await self._get("/metrics", "")
        return _TAKEN.search(heard.raw) is not None if heard is not None else False

    async def _probe(self, rng: Random) -> None:
        """Ask the PoP, again and again, with keys that were made and revoked long enough ago."""
        while True:
            await asyncio.sleep(PROBE_PAUSE_S)
            await self._up.wait()
            late = time.monotonic() - KNOWN_S
            held = rng.choice((self.register.living, self.register.revoked))()
            old = [one for one in held if (one.revoked_s or one.made_s or late) < late]
            if old:
                await self._probe_one(rng.choice(old[-50:]))

    async def _probe_one(self, held: HeldKey) -> None:
        is_revoked = held.revoked_s is not None
        status = await self._status(held)
        if status == 0 or held.revoke_sent != is_revoked:
            return  # the PoP died, or somebody has begun to revoke it
        self.probes += 1
        if is_revoked and status == 200:
            self.came_back.append(f"{held.id} was admitted after it was revoked")
        if not is_revoked and status == 401:
            self.not_admitted.append(f"{held.id} was refused though it was made")

    async def _status(self, held: HeldKey) -> int:
        """How the PoP answers a key; 0 where it does not."""
        heard = await self._get("/v1/models", f"authorization: Bearer {held.secret}\r\n")
        return heard.status if heard is not None else 0

    async def _get(self, path: str, more: str) -> Heard | None:
        """A whole answer of the PoP's; None where there is none."""
        head = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{self._port}\r\n{more}"
        try:
            line = await open_line(self._port)
        except OSError:
            return None
        heard = await line.ask(f"{head}connection: close\r\n\r\n".encode())
        line.close()
        return heard if heard.whole else None

    # The end.

    async def _last_life(self, clients: list[Client], tasks: list[asyncio.Task[None]]) -> None:
        while self.moments.total() < int(self._plan.rounds * CONTROL_SHARE):
            await self._round()
        self._last = True
        await self._tasks[len(self._registrars)]
        for one in self._registrars:
            one.stopping = True
        await self.plane.start()
        await self.plane.ready()
        self._control_up.set()
        await asyncio.gather(*self._tasks[: len(self._registrars)])
        await super()._last_life(clients, tasks)

    async def _settle(self) -> None:
        await super()._settle()
        keys = await list_all(self.plane, "/keys")
        lines = await list_all(self.plane, "/audit")
        self.acts = audit_register(self.register, keys, lines)
        self.acts["keys_came_back"] += self.came_back
        self.acts["keys_lost"] += self.not_admitted
        for kind, held, wanted in (
            ("keys_lost", self.register.living(), 200),
            ("keys_came_back", self.register.revoked(), 401),
        ):
            self.acts[kind] += await self._unlike(held, wanted)
        self.leased = await asyncio.to_thread(self._count_leases)

    async def _unlike(self, held: list[HeldKey], wanted: int) -> list[str]:
        """Keys that the PoP answers otherwise, when it has had its time."""
        late = time.monotonic() + SETTLED_S_MAX
        while True:
            wrong = [one for one in held if await self._status(one) != wanted]
            if not wrong or time.monotonic() > late:
                return [f"{one.id} is not answered {wanted}" for one in wrong]
            held = wrong
            await asyncio.sleep(0.25)

    def _count_leases(self) -> int:
        """Holders that the store knows a grant of."""
        database = open_store(self.plane.settings).database
        try:
            return len({row.holder for row in SqlGrants(database).load()})
        finally:
            database.close()

    def account(self, result: Result) -> None:
        """Read the journals once more, for what was spent. After the last process has ended."""
        for one, other in pairwise(self.lives):
            one[1] = other[0]
        lines = map(read_line, (line[:-1] for line in journal_lines(self._home.pop("sin"))))
        receipts = (one.decode() for one in lines if isinstance(one, Sealed))
        lives = [(one, other) for one, other in self.lives]
        self.spent = spending(receipts, WATCHED, lives, PRICE, result.plan.workers)

    def figures(self, result: Result) -> Figures:
        """All of it as flat numbers."""
        figures = super().figures(result)
        register, deaths = self.register, self.moments.total()
        faults = _count_faults(self.plane.log)
        figures["rounds"] = len(self.lives) - 1
        figures["control_deaths"] = deaths
        figures["deaths"] = len(self.lives) - 1 + self.collector_deaths + deaths
        figures |= {f"control_deaths_{one}": self.moments[one] for one in MOMENTS}
        figures |= {
            "acts": register.sent,
            "acts_acknowledged": len(register.done),
            "acts_unanswered": register.unanswered,
            "acts_away": register.away,
            "acts_refused": len(register.refused),
            "keys_living": len(register.living()),
            "keys_revoked": len(register.revoked()),
            "key_probes": self.probes,
            "lives_leased": self.lives_leased,
            "holders_leased": self.leased,
            "control_faults": faults,
        }
        figures |= {name: len(found) for name, found in self.acts.items()}
        for key, spent in self.spent.items():
            figures[f"{key}_admitted"] = spent.admitted
            figures[f"{key}_windows"] = spent.windows
            figures[f"{key}_most"] = spent.most
            figures[f"{key}_bound"] = spent.bound
        figures["drafts_left"] = len([*self._home.directory.rglob(".*.json.*")])
        figures["overspent"] = sum(len(one.over) for one in self.spent.values())
        return figures


BARS = (
    "keys_lost",
    "keys_came_back",
    "acts_without_audit",
    "acts_halved",
    "stamps_out_of_order",
    "acts_refused",
    "control_faults",
    "overspent",
)


async def measure_ledger(loop: LedgerLoop) -> tuple[Figures, bool]:
    """Figures, and whether every bar was met."""
    result = await loop.collect()
    await asyncio.to_thread(loop.account, result)
    found = loop.reconciled
    assert found is not None, "the last life settles"
    figures = loop.figures(result)
    whole = found.journalled == found.collected + found.waiting
    met = result.holds and found.difference == 0 and whole
    return figures, met and not any(figures[one] for one in BARS)


def wrongs(loop: LedgerLoop) -> dict[str, list[str]]:
    """What should not be, by kind, in words."""
    over = [one for spent in loop.spent.values() for one in spent.over]
    return {**loop.acts, "overspent": over, "refused": loop.register.refused}


def _now_us() -> int:
    return time.time_ns() // 1000


def _spin_until_written(home: Path) -> None:
    """Return at the next write of the embedded store, or after a while."""
    path = home / "control.sqlite-wal"
    before, late = _mark(path), time.perf_counter() + WRITE_S_MAX
    while time.perf_counter() < late and _mark(path) == before:
        time.sleep(0.0002)


def _mark(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return (0, 0)
    return stat.st_mtime_ns, stat.st_size


__all__ = ["BARS", "LedgerLoop", "Plan", "measure_ledger", "wrongs"]
