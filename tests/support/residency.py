"""A month of one fleet's receipts in a home, for tests of the residency report; and ways to lie."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import msgspec

from selvedge.adapters import (
    FolderFiles,
    LogStore,
    PlainFiles,
    find_parts,
    lay_down_release,
    open_release,
    operator_public_key,
    rows_of_parts,
    seal_release,
    write_partitions,
)
from selvedge.control import (
    Home,
    Invoicing,
    LogSources,
    Receipts,
    Reporting,
    Wish,
    collector_directory,
)
from selvedge.fabric import (
    DataClass,
    Entity,
    JurisdictionLog,
    Outcome,
    Receipt,
    Release,
    Tenant,
    Tried,
    Usage,
    jurisdiction_origin,
    pop_origin,
)
from selvedge.ledger import (
    CollectorLog,
    Sealed,
    UsageRow,
    digest,
    end_day,
    row_of_receipt,
    us_of_day,
)
from selvedge.plan import ResidencyReport
from selvedge.tlog import Checkpoint, Signer, heartbeat_entry, sign_checkpoint
from tests.support.fleets import make_pop, make_release
from tests.support.money import MONTH, book, write_part
from tests.support.shipping import Collector as MemoryCollector
from tests.support.shipping import MemoryJournal, Sender

TENANT = "acme"
USED = Usage(input_uncached=1_234, output=77, provenance="reported")
SINCE, UNTIL = f"{MONTH}-01", end_day(MONTH)


def fleet_release(**changes: object) -> Release:
    """SG and ID in zone asean, DE in eea; the entity of Singapore is owned by a holding."""
    one = DataClass("standard", "asean", "in-zone")
    given: dict[str, object] = {
        "version": 1,
        "pops": (make_pop("sin"), make_pop("cgk"), make_pop("fra")),
        "tenants": (Tenant(TENANT, (one,)), Tenant("other", (one,))),
        "keys": (),
        "entities": (
            Entity("Example SG", "SG", parent="Holding"),
            Entity("Holding", "US"),
        ),
    }
    return make_release(**given | changes)


def served(pop: str = "sin", country: str = "SG", **facts: object) -> dict[str, object]:
    """A request that was processed where it came in."""
    tried = Tried(pop, country, f"{pop}-chat", "relayed", "", 0, 1, 2)
    given: dict[str, object] = {
        "model": "small",
        "usage": USED,
        "outcome": Outcome.COMPLETE,
        "status": 200,
        "rule": f"{TENANT}/standard",
        "data_class": "standard",
        "ingress_country": country,
        "planned": (pop,),
        "planned_in": (country,),
        "attempts": (tried,),
        "served_pop": pop,
        "served_engine": f"{pop}-chat",
        "served_entity": f"Example {country}",
        "processed_in": country,
    }
    return given | facts


REFUSED_AT_THE_DOOR: dict[str, object] = {
    "outcome": Outcome.REFUSED,
    "status": 451,
    "code": "residency_ingress",
    "zone": "",
    "usage": None,
    "planned": (),
    "planned_in": (),
    "attempts": (),
    "served_pop": None,
    "served_engine": None,
    "served_entity": None,
    "processed_in": None,
}


class Month:
    """Two PoPs of one zone, their collector, a release, all in one home."""

    def __init__(self, directory: Path, release: Release | None = None) -> None:
        self.home = Home(directory)
        self.release = release or fleet_release()
        lay_down_release(
            self.home.release_file, seal_release(self.release, self.home.operator_key())
        )
        public = operator_public_key(self.home.operator_key())
        self.hash = open_release(self.home.release_file.read_bytes(), public).hash
        self.journals = {name: MemoryJournal(name, 0) for name in ("sin", "cgk")}
        self.where = collector_directory(self.home, "asean")
        self.collector = MemoryCollector.__new__(MemoryCollector)
        self.collector.zone, self.collector.conflicts = "asean", []
        self.collector.deaths = 0
        self.collector.disk = PlainFiles(self.where)  # type: ignore[assignment]  # a real one
        self.collector.log = CollectorLog(self.collector.disk, "asean", bytes_max=9_000)

    def serve(self, day: str, count: int, pop: str = "sin", **facts: object) -> None:
        """So many receipts of a day, written by a PoP."""
        journal = self.journals[pop]
        country = {"sin": "SG", "cgk": "ID"}[pop]
        given = served(pop, country, tenant=TENANT, release=self.release.version) | facts
        tenant, zone = str(given.pop("tenant")), str(given.pop("zone", "asean"))
        given.setdefault("release_hash", self.hash)
        for _ in range(count):
            received = us_of_day(day) + journal.count
            journal.write(tenant, zone, received_us=received, ended_us=received + 9, **given)

    def collect(self) -> None:
        """All of it, to the collector; every segment as parts."""
        senders = [Sender(one, ["asean"], Random(1)) for one in self.journals.values()]
        while any(sender.send(self.collector) for sender in senders):
            pass
        self.collector.log.roll(now=True)
        for segment in self.collector.log.closed:
            write_partitions(self.where, segment)
            self.collector.log.remove(segment)

    @property
    def receipts(self) -> Receipts:
        """As the report reads them."""
        return Receipts.at(self.home, [self.where])

    def issue(self, month: str = MONTH) -> None:
        """The tenant's invoice."""
        desk = Invoicing(self.home, self.receipts, book())
        desk.issue(TENANT, month, us_of_day("2027-02-05"))

    def report(self, logs: LogSources | None = None, **changes: object) -> ResidencyReport:
        """The tenant's report of the month."""
        wish = Wish(TENANT, SINCE, UNTIL, "seed:of a test", 5)._replace(**changes)
        return Reporting(self.home, self.receipts, logs).report(wish)

    def rewrite(self, change: Callable[[UsageRow], list[UsageRow]]) -> int:
        """Somebody with the disk changes rows of parts; how many changed."""
        changed = 0
        for path in find_parts(self.where):
            rows = list(rows_of_parts([path]))
            made = [one for row in rows for one in change(row)]
            if made != rows:
                changed += 1
                number = int(path.stem.removeprefix("part-"))
                path.unlink()
                for day in {one.day for one in made}:
                    write_part(self.where, number, [one for one in made if one.day == day])
        return changed


def rewritten(row: UsageRow, *, cleanly: bool, **facts: object) -> UsageRow:
    """A row with other facts in its receipt; ``cleanly``: its columns and digest say so too."""
    receipt = msgspec.json.decode(row.receipt.encode(), type=Receipt)
    changed = msgspec.structs.replace(receipt, **facts)
    data = msgspec.json.encode(changed, order="sorted")
    if not cleanly:
        return msgspec.structs.replace(row, receipt=data.decode())
    made = row_of_receipt(Sealed(msgspec.Raw(data), row.salt), changed)
    assert made.digest == digest(data).hex()
    return made


def logged_release() -> Release:
    """The same fleet, whose PoPs keep logs, and with a log of the zone's countries."""
    release = fleet_release()
    pops = tuple(
        msgspec.structs.replace(pop, log_keys=(operator_public_key(log_seed(pop.id)),))
        for pop in release.pops
    )
    log = JurisdictionLog(
        id="asean",
        countries=("SG", "ID"),
        url="https://log.example.net",
        public_keys=(operator_public_key(log_seed("asean")),),
    )
    return msgspec.structs.replace(release, pops=pops, logs=(log,))


def log_seed(name: str) -> bytes:
    """The private key of a log."""
    return hashlib.sha256(name.encode()).digest()


def write_logs(
    month: Month, *, seeds: Callable[[str], bytes] = log_seed, twice: int = 0, lost: int = 0
) -> LogSources:
    """Each PoP's log of the month, with a heartbeat an hour, and the zone's log above them;
    receipt number ``twice`` is logged again. Logs of PoPs lack their ``lost`` last entries, which
    were signed once.
    """
    release, folder = month.release, month.home.directory / "logs"
    notes = []
    for pop in month.journals:
        name = pop_origin(release.log_domain, release.fleet, pop, "")
        leaves = [
            (row.ended_us, Sealed(msgspec.Raw(row.receipt.encode()), row.salt).leaf())
            for row in rows_of_parts(find_parts(month.where))
            for _ in range(1 + (row.seq == twice))
            if row.pop == pop
        ]
        hours = range(us_of_day(SINCE), us_of_day(UNTIL), 3_600_000_000)
        beats = [(at_us, heartbeat_entry(at_us)) for at_us in hours]
        entries = [entry for _, entry in sorted([*leaves, *beats])]
        notes.append(_write_log(folder / "pops" / pop, name, seeds(pop), entries))
        if lost:
            shutil.rmtree(folder / "pops" / pop)
            _write_log(folder / "pops" / pop, name, seeds(pop), entries[:-lost])
    name = jurisdiction_origin(release.log_domain, release.fleet, "asean", "")
    _write_log(folder / "asean", name, seeds("asean"), notes)
    return LogSources(folder / "pops", {"asean": str(folder / "asean")})


def _write_log(folder: Path, name: str, seed: bytes, entries: list[bytes]) -> bytes:
    def sign(shard: str, size: int, root: bytes) -> bytes:
        origin = f"{name}{shard}"
        return sign_checkpoint(Checkpoint(origin, size, root), [Signer(origin, seed)])

    store = LogStore(FolderFiles(folder), sign)
    store.open()
    store.begin(MONTH, us_of_day(SINCE))
    store.add(entries)
    note = store.commit(us_of_day(UNTIL)).note.encode()
    store.publish(note)
    return note
