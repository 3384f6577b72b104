"""The PoP process: opens its book, takes its release, serves, drains, closes. Started by the CLI.

Order matters and is told once, in `run_pop`: interrupted receipts are written before the socket
opens, the socket closes before the book does.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Final

from selvedge.adapters import (
    DELTA_FILE,
    FileAppender,
    Held,
    HttpClient,
    KeyDeltaStore,
    ReceiptBook,
    ReleaseStore,
    Schedule,
    Vault,
    at_once,
    is_free,
    journal_of,
    keep_secret,
    keep_whole,
    pair_keys,
    read_secret,
)
from selvedge.exchange import Secrets
from selvedge.fabric import (
    BadRelease,
    Engine,
    Release,
    SelvedgeError,
    StaleRelease,
    StoreCorrupt,
    StoreFailed,
)
from selvedge.pop.app import App
from selvedge.pop.cache_keeping import CacheKeeping, open_cache
from selvedge.pop.client_tls import ClientTls, open_client_tls
from selvedge.pop.clock import now_us
from selvedge.pop.drain import drain
from selvedge.pop.hearing import Hearing
from selvedge.pop.http_server import Server, start_server
from selvedge.pop.judging import Judging
from selvedge.pop.key_watch import KeyWatch
from selvedge.pop.lease_client import LeaseClient
from selvedge.pop.limits import allow_files, client_settings, server_settings
from selvedge.pop.log_keeping import LogKeeping
from selvedge.pop.log_writer import PopLog
from selvedge.pop.peer_door import listen_for_peers
from selvedge.pop.secret_watch import SecretWatch
from selvedge.pop.settings import Settings
from selvedge.pop.shared import Shared
from selvedge.pop.shipping import Shipping
from selvedge.pop.state import PopState
from selvedge.pop.stream_clock import SWEEP_S
from selvedge.pop.workers import COVER_S, Part, Worker
from selvedge.wire import PROFILES

RELEASE_POLL_S: Final = 1.0
IDENTITY_FILE: Final = "identity.key"

log: Final = logging.getLogger("selvedge.pop")


class ReleaseKeeper:
    """Looks for a newer release and swaps it in whole; a bad one is refused and said so once."""

    def __init__(self, state: PopState, store: ReleaseStore, settings: Settings) -> None:
        self._state = state
        self._store = store
        self._held: Held | None = None
        self._pepper = read_secret(Path(settings.pepper_file))
        self.identity = keep_secret(Path(settings.state_dir) / IDENTITY_FILE, os.urandom(32))
        state.peering.open()
        self.keys = KeyWatch(state, _delta_store(settings), self.look)
        self.secrets = SecretWatch(state, Path(settings.state_dir), self.identity)

    def release(self) -> Release | None:
        """The release that serves, if there is one."""
        return self._held.release if self._held is not None else None

    def load(self) -> None:
        """Start with the release kept from before, then with what the inbox holds."""
        self.secrets.look()
        self.keys.load()
        try:
            held = self._store.load()
            if held is not None:
                self._serve(held)
        except BadRelease as error:
            log.error("the kept release is refused: %s", error)
        self.look()
        self.keys.look()

    def look(self) -> None:
        """Take a newer release from the inbox, if there is one."""
        if not self._store.changed():
            return
        try:
            held = self._store.take(self._held)
            self._serve(held)
            self._store.keep()
        except StaleRelease as error:
            if error.other:
                log.warning("release not taken: %s", error)
        except (BadRelease, StoreFailed) as error:
            self._state.metrics.releases_refused.inc()
            serving = "the last good one serves on" if self._held else "there is no good one yet"
            log.error("release refused, %s: %s", serving, error)

    def _serve(self, held: Held) -> None:
        here = self._state.settings.pop
        if all(pop.id != here for pop in held.release.pops):
            raise BadRelease("pops", f"this PoP, {here!r}, is not among them")
        self._check_profiles(f"pops.{here}", held.release.pop(here).engines)
        for one in held.release.providers:
            self._check_profiles(f"providers.{one.id}", one.engines)
        self.secrets.look()
        secrets = Secrets(self._pepper, pair_keys(held.release, here, self.identity))
        peers = self._state.peering.prepare(held.release)
        self._state.swap(held, secrets, peers)
        self._held = held
        self.keys.serve(held.release)
        log.info("serving by release %d (%s)", held.release.version, held.hash[:19])

    def _check_profiles(self, field: str, engines: Iterable[Engine]) -> None:
        for engine in engines:
            if engine.profile not in PROFILES:
                words = f"{engine.profile!r} is not known to this version"
                raise BadRelease(f"{field}.engines.{engine.id}.profile", words)

    async def watch(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(RELEASE_POLL_S)
            try:
                self.secrets.look()
                self.look()
            except Exception:
                self._state.metrics.faults.inc()
                log.exception("a fault of ours: releases")


def open_book(settings: Settings, number: int = 0, schedule: Schedule = at_once) -> ReceiptBook:
    """One journal of this PoP, with every interrupted request given its receipt."""
    directory = journal_of(Path(settings.state_dir), number)
    vault = Vault(directory / "subjects.jsonl")
    appender = FileAppender(
        directory / "receipts",
        settings.fsync_ms,
        settings.segment_bytes_max,
        on_trouble=lambda error: log.error("receipts cannot be synced: %s", error),
        before_sync=vault.sync,
    )
    found = appender.open()
    if found.pop not in ("", settings.pop):
        raise StoreCorrupt(
            f"{directory} holds the receipts of PoP {found.pop!r}, not of {settings.pop!r}; "
            "give this PoP a state_dir of its own"
        )
    book = ReceiptBook(settings.pop, appender, vault, found, schedule=schedule, worker=number)
    left = book.close_interrupted(now_us())
    if left or found.torn_bytes:
        log.warning(
            "after an unclean end: %d interrupted requests, %d torn bytes", left, found.torn_bytes
        )
    return book


def settle_books(settings: Settings, numbers: Iterable[int]) -> None:
    """Give the interrupted requests of journals that nobody owns their receipts."""
    for number in numbers:
        if is_free(journal_of(Path(settings.state_dir), number)):
            open_book(settings, number).close()


async def run_pop(
    settings: Settings, environment: Mapping[str, str], part: Part | None = None
) -> None:
    """Serve until SIGTERM or SIGINT. Raises `SelvedgeError` where it cannot start.

    ``part`` is what the keeper handed to this process; without one it is the whole PoP.
    """
    few = allow_files(settings)
    if few is not None:
        log.warning("%s", few)
    if part is None:
        keep_whole(Path(settings.state_dir))
    worker = Worker(settings, part)
    settle_books(settings, worker.settle)
    # What one turn of the event loop has to write is written together, in the next.
    book = open_book(settings, worker.number, asyncio.get_running_loop().call_soon)
    client = HttpClient(client_settings(settings))
    try:
        slot = part.slot if part is not None else 0
        share = (slot, settings.workers if part is not None else 1)
        state = PopState(settings, book, client, environment, worker.shared, part=share)
        state.tickets = worker.tickets(now_us())
        state.answered = worker.answered() or state.answered
        state.cache.opened_by(functools.partial(open_cache, settings), Judging(state))
        keeper = ReleaseKeeper(state, _store(settings), settings)
        keeper.load()
        tls = open_client_tls(settings, state.metrics.tls)
        doors = {"listen": await _listen(state, settings, worker, tls)}
        peers = await listen_for_peers(
            state,
            _on_fault(state),
            sock=worker.socket("peer_listen"),
            counted=worker.shared.connections,
        )
        if peers is not None:
            doors["peer_listen"] = peers
        worker.serves(released=state.view is not None)
        log.info("PoP %s serves on %s", settings.pop, settings.listen)
        leases = LeaseClient(state, keeper.identity, worker.number)
        watches = [
            _sweep(state),
            Hearing(state).watch(),
            leases.watch(),
            keeper.keys.watch(),
            state.shadow.watch(),
            *([tls.watch()] if tls is not None else []),
        ]
        if part is None:  # else the keeper ships
            watches += _beside(settings, client, keeper, worker.shared)
        else:
            watches += [_cover(server, name, worker) for name, server in doors.items()]
        await _until_signal(keeper, state, *watches)
        await drain(list(doors.values()), state, settings, worker.leaves)
        await leases.leave()
        state.cache.close()
        state.shadow.close()
        state.responses.close()
    finally:
        await client.close()
        book.close()


def _beside(
    settings: Settings, client: HttpClient, keeper: ReleaseKeeper, shared: Shared
) -> list[Coroutine[None, None, None]]:
    """What a process that is the whole PoP does beside serving: ship receipts, log them, cache."""
    keeping = LogKeeping(settings, client, PopLog(settings), shared=shared)
    shipping = Shipping(
        settings,
        client,
        keeper.identity,
        keeper.release,
        shared=shared,
        may_drop=keeping.may_drop,
    )
    cache = CacheKeeping(settings, os.environ)
    return [shipping.watch(), keeping.watch(keeper.release), cache.watch(keeper.release)]


def _store(settings: Settings) -> ReleaseStore:
    return ReleaseStore(
        Path(settings.state_dir) / "release",
        Path(settings.release_file),
        settings.operator_public_key,
    )


def _delta_store(settings: Settings) -> KeyDeltaStore:
    beside = Path(settings.release_file).parent / DELTA_FILE
    return KeyDeltaStore(
        Path(settings.state_dir) / "release",
        Path(settings.key_delta_file) if settings.key_delta_file else beside,
        settings.operator_public_key,
    )


def _on_fault(state: PopState) -> Callable[[BaseException], None]:
    def fault(error: BaseException) -> None:
        state.metrics.faults.inc()
        log.error("a fault of ours: %s", type(error).__name__, exc_info=error)

    return fault


async def _listen(
    state: PopState, settings: Settings, worker: Worker, tls: ClientTls | None
) -> Server:
    host, port = settings.address
    try:
        server = await start_server(
            App(state).handle,
            host,
            port,
            settings=server_settings(settings),
            on_error=_on_fault(state),
            sock=worker.socket("listen"),
            counted=worker.shared.connections,
            tls=tls.context if tls is not None else None,
        )
        if tls is not None:
            server.on_secured = tls.secured
        server.on_refused = lambda code: state.metrics.connections_refused.labels(code).inc()
        return server
    except OSError as error:
        raise SelvedgeError(
            f"PoP {settings.pop} cannot listen on {settings.listen}: {error.strerror}; "
            "stop what uses it or change 'listen'"
        ) from error


async def _cover(server: Server, name: str, worker: Worker) -> None:
    """Accept also for the slots in which nobody serves, until somebody does."""
    covered: dict[int, asyncio.Server] = {}
    while True:
        await asyncio.sleep(COVER_S)
        wanted = set(worker.uncovered())
        for slot in wanted - covered.keys():
            covered[slot] = await server.listen("", 0, worker.socket(name, slot))
        for slot in covered.keys() - wanted:
            server.unlisten(covered.pop(slot))


async def _until_signal(
    keeper: ReleaseKeeper, state: PopState, *watches: Coroutine[None, None, None]
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, keeper.secrets.take)
    watching = [asyncio.create_task(one) for one in (keeper.watch(), _minutes(state), *watches)]
    try:
        await stop.wait()
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)


async def _sweep(state: PopState) -> None:
    """Keep time over all streams, and tell the keeper that the loop goes round."""
    rounds = 0
    while True:
        await asyncio.sleep(SWEEP_S)
        rounds += 1
        state.shared.rounds.set(rounds)
        state.streams.sweep(now_us())
        state.cache.count()


async def _minutes(state: PopState) -> None:
    """Write the summary of unauthenticated refusals once a minute."""
    while True:
        await asyncio.sleep(60)
        try:
            state.book.flush_tally()
        except StoreFailed:
            state.metrics.store_failures.inc()
