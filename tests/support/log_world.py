"""PoPs' logs, the log of their jurisdiction and its witnesses, over sockets; a second at a time."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from selvedge.adapters import (
    ClientSettings,
    HttpClient,
    keep_log_keys,
    keep_secret,
    operator_public_key,
    published,
    read_path,
    seal_release,
    write_atomically,
)
from selvedge.control import LogSettings, WitnessSettings, free_port
from selvedge.control.log_process import LogProcess
from selvedge.control.witness import KEY_FILE, WitnessProcess
from selvedge.fabric import JurisdictionLog, Release, StoreCorrupt, StoreFailed, Witness, Zone
from selvedge.pop.log_keeping import LogKeeping
from selvedge.tlog import (
    COSIGNATURE,
    Signer,
    TileTree,
    Verifier,
    open_checkpoint,
    read_checkpoint,
    verified,
)
from selvedge.tlog.notes import ED25519
from tests.support.log_pops import DOMAIN, NOVEMBER_US, LogPlace, raw_of

LOG = "asean"
PUMPS_MAX = 200


class LogWorld:
    """Folders and keys. Processes are begun and ended by ``running`` and by `begin_log`."""

    def __init__(
        self,
        path: Path,
        pops: tuple[str, ...] = ("sin", "cgk"),
        witnesses: int = 2,
        quorum: int | None = None,
    ) -> None:
        self.path = path
        self.operator = keep_secret(path / "operator.key", os.urandom(32))
        self.ports = {name: free_port() for name in ("log", *map(str, range(witnesses)))}
        self.log_folder = path / "jurisdiction"
        self.log_keys = tuple(keep_log_keys(self.log_folder))
        self.witness_keys = [self._witness_key(at) for at in range(witnesses)]
        named = tuple(
            Witness(key, f"http://127.0.0.1:{self.ports[str(at)]}")
            for at, key in enumerate(self.witness_keys)
        )
        url = f"http://127.0.0.1:{self.ports['log']}"
        asked = witnesses if quorum is None else quorum
        self.own = JurisdictionLog(LOG, ("ID", "SG"), url, self.log_keys, named, asked)
        self.places = {pop: LogPlace(path / pop, pop=pop, logs=(self.own,)) for pop in pops}
        self.release = self.publish(1)
        self.now_us = NOVEMBER_US
        self.witnesses: dict[int, WitnessProcess] = {}
        self.log: LogProcess | None = None
        self.keepings: dict[str, LogKeeping] = {}
        self.seen: dict[str, dict[int, bytes]] = {}

    def _witness_key(self, at: int) -> str:
        seed = keep_secret(self.path / f"witness-{at}" / KEY_FILE, os.urandom(32))
        return Signer(f"witness-{at}", seed, COSIGNATURE).verifier.text

    def publish(self, version: int) -> Release:
        pops = tuple(place.release.pops[0] for place in self.places.values())
        zones = (Zone("asean", ("SG",)),)
        release = Release(
            "example", version, 1, (), pops, zones, (), (), log_domain=DOMAIN, logs=(self.own,)
        )
        write_atomically(self.path / "release.json", seal_release(release, self.operator))
        for place in self.places.values():
            place.release = release
        return release

    def _named(self) -> dict[str, object]:
        public = operator_public_key(self.operator)
        return {"release_file": self.path / "release.json", "operator_public_key": public}

    async def begin_witness(self, at: int) -> WitnessProcess:
        listen = f"127.0.0.1:{self.ports[str(at)]}"
        values = {"name": f"witness-{at}", "listen": listen}
        values["directory"] = self.path / f"witness-{at}"
        self.witnesses[at] = one = WitnessProcess(WitnessSettings(**values, **self._named()))
        await one.server.listen("127.0.0.1", self.ports[str(at)])
        return one

    async def end_witness(self, at: int) -> None:
        one = self.witnesses.pop(at)
        await one.server.close()
        one.close()

    async def begin_log(self) -> LogProcess:
        listen = f"127.0.0.1:{self.ports['log']}"
        settings = LogSettings(log=LOG, listen=listen, directory=self.log_folder, **self._named())
        self.log = LogProcess(settings)
        self.log.keeper._clock_us = lambda: self.now_us
        await self.log.server.listen("127.0.0.1", self.ports["log"])
        await self.log.keeper.turn()
        return self.log

    async def end_log(self) -> None:
        """As `kill -9` does: what is in memory is gone."""
        if self.log is not None:
            await self.log.server.close()
            await self.log.close()
        self.log = None

    def begin_pop(self, pop: str, client: HttpClient) -> LogKeeping:
        place = self.places[pop]
        self.keepings[pop] = one = LogKeeping(place.settings, client, place.begin())
        return one

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            self.client = HttpClient(ClientSettings())
            stack.push_async_callback(self.client.close)
            for at in range(len(self.witness_keys)):
                await self.begin_witness(at)
            await self.begin_log()
            for pop in self.places:
                self.begin_pop(pop, self.client)
            await self.second()  # what was signed before is confirmed
            try:
                yield
            finally:
                await self.end_log()
                for at in list(self.witnesses):
                    await self.end_witness(at)

    async def second(self) -> None:
        """Every PoP writes what it has, and tells it; the log signs and publishes."""
        self.now_us += 1_000_001
        for pop, keeping in self.keepings.items():
            place = self.places[pop]
            place.now_us = max(place.now_us, self.now_us)
            place.ticks += 1.000_001
            keeping._asked_s = float("-inf")
            try:
                if await keeping.ready(self.release) and keeping.may_sign:
                    await keeping.turn()
                    await keeping.turn()
            except (StoreCorrupt, StoreFailed) as error:
                keeping.failed(error)
        await self.tell()

    async def tell(self) -> None:
        """Until every PoP has had its answer."""
        telling = [
            asyncio.ensure_future(keeping.tell())
            for keeping in self.keepings.values()
            if keeping.own.is_open and keeping.closed is None
        ]
        for _ in range(PUMPS_MAX):
            if self.log is not None:
                await self.log.keeper.turn()
            _, waiting = await asyncio.wait(telling, timeout=0.02) if telling else ((), ())
            if not waiting:
                break
        await asyncio.gather(*telling)
        if self.log is not None:
            await self.log.keeper.turn()
        self.observe()

    def observe(self) -> None:
        """Keep what the jurisdiction's log publishes; every one is witnessed, none contradicts."""
        for folder in (self.log_folder / "public").glob("*"):
            data = (folder / "checkpoint").read_bytes() if (folder / "checkpoint").exists() else b""
            if not data:
                continue
            origin = f"{DOMAIN}/example/jurisdiction/{LOG}/{folder.name}"
            keys = [Verifier(origin, ED25519, raw_of(one)) for one in self.log_keys]
            found = open_checkpoint(data, origin, keys)
            _, note = read_checkpoint(data)
            if self.own.quorum:
                cosigners = verified(note, [Verifier.parse(one) for one in self.witness_keys])
                assert len(cosigners) >= self.own.quorum
            known = self.seen.setdefault(folder.name, {}).setdefault(found.size, found.root)
            assert known == found.root, f"two histories at {found.size}"

    def tree(self, shard: str) -> TileTree:
        assert self.log is not None
        data = self.log.keeper.files.read(published(shard))
        assert data is not None
        checkpoint, _ = read_checkpoint(data)
        read = read_path(self.log.keeper.files, shard)
        return TileTree(checkpoint.size, checkpoint.root, read)

    def taken(self, shard: str) -> dict[str, int]:
        """The newest size of each origin among the entries of a shard."""
        tree = self.tree(shard)
        found: dict[str, int] = {}
        for index in range(tree.size):
            checkpoint, _ = read_checkpoint(tree.entry(index))
            assert checkpoint.size >= found.get(checkpoint.origin, 0)
            found[checkpoint.origin] = checkpoint.size
        return found


def back_up(folder: Path, to: Path) -> None:
    """Copy a folder, as a backup is made."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(folder, to)


def bring_back(folder: Path, backup: Path) -> None:
    """Put the copy in the folder's place."""
    shutil.rmtree(folder)
    shutil.copytree(backup, folder)
