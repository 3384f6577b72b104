"""Three PoPs in one event loop: the parts of real PoP processes, on real loopback sockets.

    async with rig(tmp_path, sin=Script(Answer(("a", "b")))) as fabric:
        async with fabric.wire("cgk") as wire:
            answer = await wire.ask(bearer("asean"), chat())
        (receipt,) = fabric.pop("cgk").receipts()

Jakarta (`cgk`, ID) has no engine, Singapore (`sin`, SG) and Frankfurt (`fra`, DE) have one scripted
engine each; tenants and keys are those of `tests.support.fleets`. Links are not emulated. Journals
are in memory, so a test reads what was written, and can make writes fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from selvedge.adapters import (
    PEER_FILE,
    HttpClient,
    MemoryAppender,
    ReceiptBook,
    ReleaseStore,
    Vault,
    keep_peer_identity,
    keep_secret,
    operator_public_key,
    peer_certificates,
    pop_public_key,
    seal_release,
    write_atomically,
)
from selvedge.fabric import (
    Attested,
    Engine,
    Key,
    Personal,
    PoP,
    Receipt,
    Release,
    Served,
    Usage,
)
from selvedge.ledger import Intent, Recovery, Summary, hash_secret, read_line, receipts_of
from selvedge.pop.app import App
from selvedge.pop.client_tls import ClientTls, open_client_tls
from selvedge.pop.clock import now_us
from selvedge.pop.http_server import Handler, Inbound, Server, start_server
from selvedge.pop.limits import client_settings, server_settings
from selvedge.pop.peer_door import listen_for_peers
from selvedge.pop.process import ReleaseKeeper
from selvedge.pop.settings import Settings
from selvedge.pop.state import PopState
from tests.support.fleets import KEYS, SITES, make_release
from tests.support.script import Script
from tests.support.scripted_engine import ScriptedEngine
from tests.support.wires import Wire

RIG_PEPPER = bytes(range(32))
NAME_AT_ENGINE = "small"
UNTIL_S_MAX = 10.0

Amend = Callable[[str, Release], Release | None]
SettingsOf = Mapping[str, Mapping[str, Any]]  # Any: values of settings


class Journal(MemoryAppender):
    """A journal in memory. `faults` names, by kind of line, how its writing fails."""

    def __init__(self) -> None:
        super().__init__(lambda _: self._failing)
        self.faults: dict[str, str] = {}
        self.changed = asyncio.Event()
        self._failing: str | None = None

    def append(self, line: bytes) -> None:
        self._failing = self.faults.get(line[:1].decode())
        self.changed.set()
        super().append(line)


class RunningPop:
    """One PoP: its state, its server, its journal, and what came to its socket."""

    def __init__(
        self, pop_id: str, directory: Path, sock: socket.socket, peer_sock: socket.socket | None
    ) -> None:
        self.id = pop_id
        self.directory = directory
        self.sock = sock
        self.peer_sock = peer_sock
        self.peer_server: Server | None = None
        self.port: int = sock.getsockname()[1]
        self.identity = keep_secret(directory / "identity.key", os.urandom(32))
        self.journal = Journal()
        self.seen: list[Inbound] = []
        self.faults: list[BaseException] = []
        self.state: PopState
        self.keeper: ReleaseKeeper
        self.tls: ClientTls | None
        self.server: Server
        self._book: ReceiptBook
        self._vault: Vault
        self._client: HttpClient

    @property
    def url(self) -> str:
        """Where clients reach it, without a path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def connections(self) -> list[Any]:  # Any: the servers' own
        """Open connections of clients and of peers."""
        return [one for server in self._servers() for one in server.connections]

    @property
    def accepted(self) -> int:
        """How many connections there ever were."""
        return sum(server.accepted for server in self._servers())

    @property
    def certificates(self) -> tuple[str, ...]:
        """What it shows its peers, as a release has it."""
        keep_peer_identity(self.directory / PEER_FILE, self.id)
        return tuple(peer_certificates(self.directory))

    @property
    def inbox(self) -> Path:
        """The release file that it watches."""
        return self.directory / "inbox.json"

    async def start(self, operator_public: str, settings: Mapping[str, object]) -> None:
        """Serve by the release in the inbox."""
        pepper_file = self.directory / "pepper.key"
        keep_secret(pepper_file, RIG_PEPPER)
        told: dict[str, object] = {
            "pop": self.id,
            "listen": f"127.0.0.1:{self.port}",
            "state_dir": str(self.directory),
            "release_file": str(self.inbox),
            "operator_public_key": operator_public,
            "pepper_file": str(pepper_file),
            # All PoPs, engines and clients share one loop: a machine that pauses is no engine that
            # is away, and what all of them cost is no flood at one of them.
            "connect_ms_max": 30_000,
            "loop_wait_ms_max": 10_000,
        }
        if self.peer_sock is not None:
            told["peer_listen"] = f"127.0.0.1:{self.peer_sock.getsockname()[1]}"
        else:
            told["peer_plaintext_loopback"] = True
        made = msgspec.convert(told | dict(settings), Settings)
        self._vault = Vault(self.directory / "subjects.jsonl")
        gather = asyncio.get_running_loop().call_soon
        self._book = ReceiptBook(
            self.id, self.journal, self._vault, Recovery({}, {}), schedule=gather
        )
        self._client = HttpClient(client_settings(made))
        self.state = PopState(made, self._book, self._client, {})
        store = ReleaseStore(self.directory / "release", self.inbox, operator_public)
        self.keeper = ReleaseKeeper(self.state, store, made)
        self.keeper.load()
        app = App(self.state)

        self.tls = open_client_tls(made, self.state.metrics.tls)
        self.server = await start_server(
            self._noting(app.handle),
            "127.0.0.1",
            self.port,
            settings=server_settings(made),
            on_error=self._noted,
            sock=self.sock,
            tls=self.tls.context if self.tls is not None else None,
        )
        refused = self.state.metrics.connections_refused
        self.server.on_refused = lambda code: refused.labels(code).inc()
        if self.tls is not None:
            self.server.on_secured = self.tls.secured
        self.peer_server = await listen_for_peers(self.state, self._noted, sock=self.peer_sock)
        if self.peer_server is not None:
            self.peer_server.handler = self._noting(self.peer_server.handler)

    def _noting(self, handler: Handler) -> Handler:
        def handle(inbound: Inbound) -> Awaitable[None] | None:
            self.seen.append(inbound)
            return handler(inbound)

        return handle

    def _noted(self, fault: BaseException) -> None:
        self.faults.append(fault)
        traceback.print_exception(fault)  # pytest shows it where the test fails

    async def refuse(self) -> None:
        """Stop listening and drop every connection, as a process that has died."""
        for server in self._servers():
            server.close()
        for connection in self.connections:
            connection.abort()
        await asyncio.sleep(0)

    async def stop(self) -> None:
        """End everything that was started here."""
        for server in self._servers():
            server.close()
            await server.drain(1)
        self.state.shadow.close()
        self.state.responses.close()
        await self._client.close()
        self._book.close()

    def _servers(self) -> list[Server]:
        return [one for one in (self.server, self.peer_server) if one is not None]

    def work(self) -> list[Inbound]:
        """The requests for work that came in, pages left out."""
        return [one for one in self.seen if one.head.method == "POST"]

    def receipts(self) -> list[Receipt]:
        """The receipts written, in order."""
        return [sealed.decode() for sealed in receipts_of(self.journal.lines)]

    def personal(self) -> list[Personal]:
        """The personal fields of the receipts, decrypted, in order."""
        found = []
        for sealed in receipts_of(self.journal.lines):
            raw = msgspec.json.decode(f'"{sealed.personal}"', type=bytes)
            personal = self._vault.open(raw, sealed.decode().id)
            assert personal is not None
            found.append(personal)
        return found

    def attestations(self) -> list[Attested]:
        """The attestations given to peers, in order."""
        return [one for one in self._records() if isinstance(one, Attested)]

    def intents(self) -> list[Receipt]:
        """The intents written, in order."""
        return [one.receipt for one in self._records() if isinstance(one, Intent)]

    def tallied(self) -> dict[str, int]:
        """Refusals without a receipt, by code."""
        self._book.flush_tally()
        counts: dict[str, int] = {}
        for one in self._records():
            for code, count in one.counts.items() if isinstance(one, Summary) else ():
                counts[code] = counts.get(code, 0) + count
        return counts

    def _records(self) -> Iterable[object]:
        return [read_line(line.rstrip(b"\n")) for line in self.journal.lines]

    async def until(self, happened: Callable[[], object]) -> None:
        """Returns when `happened()` is true; looks again whenever a line is written.

        Raises:
            AssertionError: it did not become true in time; the text has the last lines.
        """
        try:
            async with asyncio.timeout(UNTIL_S_MAX):
                while not happened():
                    self.journal.changed.clear()
                    await self.journal.changed.wait()
        except TimeoutError:
            lines = b"".join(self.journal.lines[-5:]).decode()
            raise AssertionError(f"did not happen; last lines:\n{lines}") from None

    async def until_receipts(self, count: int = 1) -> list[Receipt]:
        """The receipts, once there are so many."""
        await self.until(lambda: len(self.receipts()) >= count)
        return self.receipts()


class Fabric:
    """The PoPs and engines of a rig, by PoP id, and the operator's key."""

    def __init__(
        self, pops: dict[str, RunningPop], engines: dict[str, ScriptedEngine], operator: bytes
    ) -> None:
        self.pops = pops
        self.engines = engines
        self.operator = operator
        self.release: Release

    def pop(self, pop_id: str) -> RunningPop:
        """One PoP."""
        return self.pops[pop_id]

    def wire(self, pop_id: str) -> contextlib.AbstractAsyncContextManager[Wire]:
        """A raw connection to a PoP."""
        return Wire.to(self.pops[pop_id].port)

    def lay_down(self, pop_id: str, release: Release, operator: bytes | None = None) -> None:
        """Put a signed release into one PoP's inbox; the PoP has not looked yet."""
        sealed = seal_release(release, operator or self.operator)
        write_atomically(self.pops[pop_id].inbox, sealed)

    def untouched(self, pop_id: str) -> bool:
        """Whether not one connection was made to this PoP, nor to its engine."""
        engine = self.engines.get(pop_id)
        return self.pops[pop_id].accepted == 0 and (engine is None or not engine.connections)


@contextlib.asynccontextmanager
async def rig(
    directory: Path,
    *,
    sin: Script | None = None,
    fra: Script | None = None,
    profile: str = "openai",
    amend: Amend = lambda _, release: release,
    settings: SettingsOf | None = None,
    secured: bool = False,
) -> AsyncIterator[Fabric]:
    """The fabric, running. `amend` may give a PoP a release of its own, or None; `settings` are
    by PoP. `secured`: peers meet by mutual TLS, as on real sites.
    """
    operator = os.urandom(32)
    public = operator_public_key(operator)
    pops = {
        one: RunningPop(one, directory / one, _listening(), _listening() if secured else None)
        for one in ("sin", "fra", "cgk")
    }
    engines = {"sin": ScriptedEngine(sin), "fra": ScriptedEngine(fra)}
    fabric = Fabric(pops, engines, operator)
    async with contextlib.AsyncExitStack() as stack:
        for engine in engines.values():
            await stack.enter_async_context(engine)
        fabric.release = _release(fabric, profile)
        for pop in pops.values():
            own = amend(pop.id, fabric.release)
            if own is not None:
                fabric.lay_down(pop.id, own)
            await pop.start(public, (settings or {}).get(pop.id, {}))
            stack.push_async_callback(pop.stop)
        yield fabric
    faults = [fault for pop in pops.values() for fault in pop.faults]
    assert not faults, f"faults of ours: {faults!r}"


def usage_of(receipt: Receipt) -> Usage:
    """The usage of a receipt that has one."""
    assert receipt.usage is not None, receipt
    return receipt.usage


def _listening() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


def _release(fabric: Fabric, profile: str) -> Release:
    keys = tuple(
        Key(
            id=key,
            tenant=tenant,
            data_class=data_class,
            hash=hash_secret(RIG_PEPPER, key, f"secretof{tenant}"),
            expires_us=1 if key == "old" else None,
        )
        for key, (tenant, data_class) in KEYS.items()
    )
    pops = tuple(_pop(one, fabric, profile) for one in fabric.pops.values())
    return make_release(pops=pops, keys=keys, version=1, made_us=now_us())


def _pop(running: RunningPop, fabric: Fabric, profile: str) -> PoP:
    city, country, latitude, longitude = SITES[running.id]
    engine = fabric.engines.get(running.id)
    served = (Served("chat", NAME_AT_ENGINE), Served("embed", "embed"))
    own = (Engine("gpu", engine.url, profile, served, prefill_tokens_per_s=1000),) if engine else ()
    return PoP(
        id=running.id,
        city=city,
        country=country,
        latitude=latitude,
        longitude=longitude,
        url=running.url,
        peer=f"127.0.0.1:{(running.peer_sock or running.sock).getsockname()[1]}",
        public_key=pop_public_key(running.identity),
        entity=f"Example {country}",
        engines=own,
        certificates=running.certificates if running.peer_sock is not None else (),
    )
