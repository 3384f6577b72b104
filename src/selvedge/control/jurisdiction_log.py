"""The log of one jurisdiction: takes checkpoints of PoPs' logs, and alone is witnessed.

A PoP's checkpoint is taken if it goes on from the last one of that PoP, and answered when it is on
disk. Once a second what was taken is signed; the witnesses are asked; and when enough have cosigned
it is published, and not before. Until the witnesses have confirmed what was signed before this
process began, nothing is signed: a log that was brought back from an older copy is refused by them,
says so, and stays closed until the operator opens a new shard.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from selvedge.adapters import (
    RESHARD_FILE,
    FolderFiles,
    HttpClient,
    Listener,
    LogState,
    LogStore,
    NotTold,
    SetBack,
    Told,
    mark_closed,
    read_log_keys,
    read_path,
)
from selvedge.control.pop_checkpoints import PopCheckpoints
from selvedge.fabric import (
    BadProof,
    BadRelease,
    JurisdictionLog,
    Release,
    SelvedgeError,
    StoreCorrupt,
    StoreFailed,
    jurisdiction_origin,
)
from selvedge.tlog import (
    Checkpoint,
    Refusal,
    Signer,
    TileTree,
    Verifier,
    read_note,
    read_signatures,
    shard_anew,
    shard_at,
    sign_checkpoint,
)

CHECKPOINT_S: Final = 1.0
SETTLED_EACH: Final = 512
SAVE_EACH: Final = 20_000
BACK_US: Final = 1_000_000
AGAIN_S: Final = 5.0
TARGET: Final = "add-checkpoint"

log: Final = logging.getLogger("selvedge.log")


class JurisdictionLogKeeper:
    """One running log. ``turn`` is to be called each second."""

    def __init__(
        self,
        log_id: str,
        folder: Path,
        client: HttpClient,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.id = log_id
        self.folder = folder
        self.files = FolderFiles(folder)
        self.known = PopCheckpoints(log_id)
        self.store = LogStore(self.files, self._sign)
        self.state = LogState()
        self.closed: str | None = None
        """Why nothing is signed until the operator opens a new shard; None: it is."""
        self.published = 0
        """Size of the newest published checkpoint of the open shard."""
        self.published_us = 0
        self.alarms: list[str] = []
        self._client = client
        self._clock_us = clock_us
        self._release: Release | None = None
        self._own: JurisdictionLog | None = None
        self._signers: list[bytes] = []
        self._witnesses: dict[str, Listener] = {}
        self._is_open = self._is_confirmed = False
        self._waiting: list[asyncio.Future[None]] = []
        self._lock = asyncio.Lock()
        self._saved = 0

    @property
    def origin(self) -> str:
        """The origin of the open shard."""
        return self._origin(self.state.shard)

    def _origin(self, shard: str) -> str:
        assert self._release is not None, "a log begins with its release"
        domain, fleet = self._release.log_domain, self._release.fleet
        return jurisdiction_origin(domain, fleet, self.id, shard)

    def _sign(self, shard: str, size: int, root: bytes) -> bytes:
        origin = self._origin(shard)
        signers = [Signer(origin, seed) for seed in self._signers]
        return sign_checkpoint(Checkpoint(origin, size, root), signers)

    def meet(self, release: Release) -> None:
        """Take a release. Raises `BadRelease`; the one before counts on."""
        own = self.known.meet(release)
        if own is None:
            raise BadRelease(f"logs.{self.id}", "is not in the release; name it there")
        held = read_log_keys(self.folder)
        seeds = [held[one] for one in own.public_keys if one in held]
        if not seeds:
            raise BadRelease(f"logs.{self.id}.public_keys", f"name no key that is in {self.folder}")
        self._release, self._own, self._signers = release, own, seeds
        self._witnesses = {
            one.key: self._witnesses.get(one.key) or Listener(self._client, one.url, TARGET)
            for one in own.witnesses
        }

    async def add(self, body: bytes) -> Refusal | None:
        """Take a PoP's checkpoint; returns when it is on disk, or with why it is not taken."""
        async with self._lock:
            if self.closed is not None or not self._is_open or not self._is_confirmed:
                why = self.closed or "its witnesses have not confirmed its newest checkpoint"
                return Refusal(503, f"the log is not open: {why}")
            found = self.known.judge(body)
            if isinstance(found, Refusal):
                if found.status in (409, 422):
                    log.info("a checkpoint is refused: %s", found.why)
                return found
            accepted, is_new = found
            if is_new:
                if self.store.full:
                    return Refusal(503, "too much waits for the next checkpoint; try later")
                entry = accepted.note.encode()
                self.store.add([entry])
                self.known.take(entry)
            if not self.store.pending:
                return None
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
        try:
            await waiting
        except StoreFailed as error:
            return Refusal(503, str(error))
        return None

    async def turn(self) -> None:
        """Do what is due. Raises nothing; what goes wrong is said."""
        try:
            await self._turn()
        except NotTold as error:
            self._is_confirmed = False
            await self._answer(StoreFailed(str(error)))
            self._alarm("no checkpoint is published: %s", error)
        except SetBack as error:
            self._close(str(error))
        except (StoreCorrupt, BadProof) as error:
            await self._drop(error)
            self._close(str(error))
        except StoreFailed as error:
            await self._drop(error)
            self._alarm("nothing is taken: %s", error)
            await asyncio.sleep(CHECKPOINT_S)

    async def _turn(self) -> None:
        if self._release is None:
            return
        if (self.folder / RESHARD_FILE).exists():
            await self._reshard()
        if self.closed is not None:
            return
        if not self._is_open:
            async with self._lock:
                await asyncio.to_thread(self._open)
        if self.state.size != self.published or not self._is_confirmed:
            await self._publish()
        if self.store.pending:
            async with self._lock:
                await self._commit()
            await self._publish()
        if shard_at(self.state.shard, self._clock_us()) != self.state.shard:
            async with self._lock:
                await self._turn_month()
        async with self._lock:
            await asyncio.to_thread(self.store.settle, SETTLED_EACH)

    def _open(self) -> None:
        state = self.store.open()
        if not state.shard:
            self.store.begin(shard_at("", self._now()), self._now())
        self.state = self.store.state
        self.known.load(self.store)
        self._saved = self.state.size
        self.published = -1  # to be asked for again: what the witnesses say is not kept
        self._is_open = True

    async def _commit(self) -> None:
        """Write and sign what was taken, and answer who waits. The lock is held."""
        self.state = await asyncio.to_thread(self.store.commit, self._now())
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)
        if self.state.size - self._saved >= SAVE_EACH:
            await asyncio.to_thread(self.known.save, self.files, self.state)
            self._saved = self.state.size

    async def _publish(self) -> None:
        """Ask the witnesses about the newest checkpoint; publish it when enough have cosigned."""
        state, own = self.state, self._own
        assert own is not None, "the release names this log"
        lines = await self._cosigned(state, own)
        if not self._is_confirmed:
            mark_closed(self.folder, None)
        self._is_confirmed = True
        note = state.note.encode() + "".join(lines).encode()
        await asyncio.to_thread(self.store.publish, note)
        self.published, self.published_us = state.size, self._now()

    async def _cosigned(self, state: LogState, own: JurisdictionLog) -> list[str]:
        """The cosignatures of a quorum. Raises `NotTold`, `SetBack`.

        Before the first each witness is heard: one that saw less than others would cosign for a log
        that was brought back from a copy, and be a quorum where few are asked for.
        """
        least = own.quorum if self._is_confirmed else len(self._witnesses)
        asked = {
            asyncio.create_task(self._ask(key, listener, state))
            for key, listener in self._witnesses.items()
        }
        lines: list[str] = []
        failures: list[SelvedgeError] = []
        try:
            while asked and len(lines) < least:
                done, asked = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
                for one in done:
                    error = one.exception()
                    if error is None:
                        lines.append(one.result())
                    elif isinstance(error, SelvedgeError):
                        failures.append(error)
                    else:
                        raise error
        finally:
            for one in asked:
                one.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        for failure in failures:
            if isinstance(failure, SetBack):
                raise failure
        if len(lines) < own.quorum:
            words = "; ".join(map(str, failures)) or "there are too few"
            raise NotTold(f"{len(lines)} of {own.quorum} witnesses have cosigned: {words}")
        return lines

    async def _ask(self, key: str, listener: Listener, state: LogState) -> str:
        root = bytes.fromhex(state.root)
        tree = TileTree(state.size, root, read_path(self.files, state.shard))

        def prove(old_size: int) -> Sequence[bytes]:
            return tree.consistency_proof(old_size)

        told = Told(self._origin(state.shard), state.size, state.note.encode())
        answer = await listener.tell(told, prove)
        verifier = Verifier.parse(key)
        text = read_note(told.note).text
        try:
            found = read_signatures(answer.decode())
        except (BadProof, UnicodeDecodeError) as error:
            raise NotTold(f"{listener.url} answers no cosignature: {error}") from error
        for one in found:
            if verifier.verify(text, one):
                return one.line
        raise NotTold(f"{listener.url} has not signed with {verifier.name}; is its key changed?")

    async def _turn_month(self) -> None:
        """Open the month's shard; what the one before holds is published. The lock is held."""
        if self.store.pending or self.published != self.state.size:
            return
        now_us = self._clock_us()
        shard = shard_at(self.state.shard, now_us)
        log.info("shard %s ends at %d; %s begins", self.state.shard, self.state.size, shard)
        await asyncio.to_thread(self.known.save, self.files, self.state)
        await asyncio.to_thread(self.store.begin, shard, self._now())
        self.state, self.published, self._saved = self.store.state, -1, 0

    async def _reshard(self) -> None:
        """Open a shard behind all others, as the operator asks; the one before stays as it is."""
        async with self._lock:
            shards = [*self.store.shards(), self.state.shard]
            shard = shard_anew([one for one in shards if one], self._now())
            await asyncio.to_thread(self.store.reshard, shard, self._now())
            (self.folder / RESHARD_FILE).unlink(missing_ok=True)
            log.warning("shard %s is opened as the operator asks", shard)
            self.closed, self._is_open, self._is_confirmed = None, False, False
            mark_closed(self.folder, None)

    async def _drop(self, error: Exception) -> None:
        """Forget what is in memory; whoever waits is told, and the disk says how it goes on."""
        self._is_open = False
        await self._answer(error)

    async def _answer(self, error: Exception) -> None:
        """Tell whoever waits that it was not taken now."""
        async with self._lock:
            waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_exception(StoreFailed(str(error)))

    def _close(self, why: str) -> None:
        self.closed = why
        mark_closed(self.folder, why)
        self._is_confirmed = False
        self._alarm("the log is closed: %s; see 'selvedge log reshard'", why)

    def _now(self) -> int:
        time_us, newest_us = self._clock_us(), self.state.time_us
        if time_us < newest_us - BACK_US:
            behind_s = (newest_us - time_us) / 1e6
            self._alarm("the clock was moved back: it is %.0f s behind", behind_s)
        return max(time_us, newest_us)

    def _alarm(self, words: str, *facts: object) -> None:
        said = words % facts
        if not self.alarms or self.alarms[-1] != said:
            self.alarms = [*self.alarms[-19:], said]
            log.error("%s", said)

    def status(self) -> dict[str, object]:
        """What it is doing, for people and for alarms."""
        return {
            "log": self.id,
            "origin": self.origin if self._release is not None else None,
            "size": self.state.size,
            "published": max(0, self.published),
            "published_us": self.published_us,
            "pops": {pop: max(shards) for pop, shards in self.known.pops.items()},
            "closed": self.closed,
            "alarms": self.alarms,
        }
