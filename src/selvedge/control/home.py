"""The files of one fleet on one machine: keys, the signed release, what runs. The embedded control.

operator.key      signs releases (Ed25519)
pepper.key        keys the hashes of API keys
control.key       what the control process and PoPs share keys by (X25519)
keys.json         the API keys themselves, minted here, readable by the owner alone
release.json      the signed release that every PoP watches
releases/         every release that was published, signed, by version and hash
prices/           every price book that was published, signed, by version
key-delta.json    what changed of its keys since, signed; written by the control process
control.sqlite    the store of tenants, projects and keys, where no other is named
control.sqlite.desk locked by the process that works on it
passed-keys.json  hashes of providers' own keys, by the key of the fleet that passes them on
admin.key         the admin key that commands on this machine use, for the owner alone
control.json      where the control process listens
run.json          what runs now: addresses and process ids
pops/<id>/        each PoP's own disk: settings, identity, receipts, kept release
collectors/<zone>/ each collector's own disk: its key, collected receipts, partitions
logs/             one file a process
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from selvedge.adapters import (
    PEER_FILE,
    Facts,
    FleetConfig,
    PriceStore,
    keep_log_keys,
    keep_peer_identity,
    keep_secret,
    lay_down_release,
    make_release,
    open_release,
    operator_public_key,
    peer_certificates,
    pop_public_key,
    seal_release,
    write_atomically,
)
from selvedge.fabric import BadRelease, Collector, Control, JurisdictionLog, Release, SelvedgeError
from selvedge.ledger import (
    BadPriceBook,
    PriceBook,
    PriceList,
    check_against,
    day_of,
    hash_passed,
    hash_secret,
    sell,
    write_key,
)

DEFAULT_HOME: Final = ".selvedge"
RUN_FILE: Final = "run.json"
CONTROL_FILE: Final = "control.json"
ADMIN_KEY_FILE: Final = "admin.key"
OPERATOR_KEY: Final = "operator.key"
PASSED_FILE: Final = "passed-keys.json"


class RunningPoP(msgspec.Struct, frozen=True):
    """One PoP process, as clients and tools find it."""

    url: str
    country: str
    city: str
    pid: int
    engines: dict[str, str]
    """Engine id -> its URL, started here or not."""


class ControlRunning(msgspec.Struct, frozen=True):
    """The control process, as commands find it."""

    admin_url: str
    pops_url: str
    pid: int


class Running(msgspec.Struct, frozen=True):
    """What ``selvedge up`` runs."""

    fleet: str
    pid: int
    started_us: int
    release: int
    wan: dict[str, float]
    """Emulated round trips in milliseconds, by ``a-b``; empty without emulation."""
    pops: dict[str, RunningPoP]
    processes: dict[str, int]
    """Name -> process id, of everything started."""
    keys: list[str] = []
    """Ids of the fleet's API keys, in the file's order."""
    chat_model: str | None = None
    """The first model that chats."""
    control: ControlRunning | None = None
    """None where no control process runs."""


class Home:
    """The directory of one fleet."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock_fd = -1

    @property
    def release_file(self) -> Path:
        """Where the signed release lies."""
        return self.directory / "release.json"

    @property
    def pepper_file(self) -> Path:
        """Where the pepper of key hashes lies."""
        return self.directory / "pepper.key"

    def prices(self) -> PriceStore:
        """The price books that were published from here."""
        return PriceStore(self.directory / "prices", operator_public_key(self.operator_key()))

    def pop(self, pop_id: str) -> Path:
        """A PoP's own directory."""
        return self.directory / "pops" / pop_id

    def log(self, name: str) -> Path:
        """A process's log file."""
        return self.directory / "logs" / f"{name}.log"

    def lock(self) -> None:
        """Own this directory until the process ends. Raises `SelvedgeError` if another does."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.directory / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SelvedgeError(
                f"a fabric already runs from {self.directory}; "
                "ask it with 'selvedge ask', stop it, or give another --home"
            ) from error
        except OSError as error:
            raise SelvedgeError(f"{self.directory} cannot be used: {error.strerror}") from error
        self._lock_fd = fd

    def operator_key(self) -> bytes:
        """The private key that signs releases; made on first use."""
        return keep_secret(self.directory / OPERATOR_KEY, os.urandom(32))

    def pepper(self) -> bytes:
        """What keys the hashes of API keys; made on first use."""
        return keep_secret(self.pepper_file, os.urandom(32))

    def control_key(self) -> bytes:
        """The control process's private key, with which it is known to PoPs; made on first use."""
        return keep_secret(self.directory / "control.key", os.urandom(32))

    def admin_key(self) -> str:
        """The admin key of commands on this machine. Raises `SelvedgeError` where there is none."""
        path = self.directory / ADMIN_KEY_FILE
        try:
            return path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SelvedgeError(
                f"no admin key in {path}; 'selvedge control run' makes the first, or set "
                "SELVEDGE_ADMIN_KEY"
            ) from error

    def control(self) -> ControlRunning | None:
        """Where the control process listens; None where none runs from here."""
        try:
            data = (self.directory / CONTROL_FILE).read_bytes()
            return msgspec.json.decode(data, type=ControlRunning)
        except (OSError, UnicodeDecodeError, msgspec.MsgspecError):
            return None

    def keys(self) -> dict[str, str]:
        """The API keys minted so far, by id."""
        try:
            data = (self.directory / "keys.json").read_bytes()
            return msgspec.json.decode(data, type=dict[str, str])
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError, msgspec.MsgspecError) as error:
            raise SelvedgeError(
                f"{self.directory / 'keys.json'} cannot be used ({error}); restore or delete it"
            ) from error

    def passed_keys(self) -> dict[str, str]:
        """Hashes of providers' own keys that were imported here, by id of the key."""
        path = self.directory / PASSED_FILE
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError, msgspec.MsgspecError) as error:
            raise SelvedgeError(f"{path} cannot be used ({error}); restore or delete it") from error

    def import_passed(self, key_id: str, secret: str) -> None:
        """Know a provider's own key by its keyed hash; nothing else of it is kept."""
        known = self.passed_keys() | {key_id: hash_passed(self.pepper(), secret)}
        path = self.directory / PASSED_FILE
        write_atomically(path, msgspec.json.format(msgspec.json.encode(known)), 0o600)

    def mint_keys(self, key_ids: list[str]) -> dict[str, str]:
        """The API keys of these ids, minted where they are missing."""
        keys = self.keys()
        missing = [key_id for key_id in key_ids if key_id not in keys]
        for key_id in missing:
            keys[key_id] = write_key(key_id, secrets.token_hex(24))
        if missing:
            path = self.directory / "keys.json"
            write_atomically(path, msgspec.json.format(msgspec.json.encode(keys)), 0o600)
        return keys

    def publish(
        self,
        config: FleetConfig,
        digests: Mapping[str, str],
        engine_ports: Mapping[str, int],
        listen: Mapping[str, str],
        peer_listen: Mapping[str, str] = MappingProxyType({}),
        *,
        collectors: tuple[Collector, ...] = (),
        control: Control | None = None,
        logs: tuple[JurisdictionLog, ...] = (),
        tenancy: Callable[[Release], Release] | None = None,
        prices: PriceBook | None = None,
        force: bool = False,
    ) -> Release:
        """Make, check, sign and lay down the next release. Raises `BadRelease`, `BadPriceBook`.

        ``control`` is where PoPs ask for leases; None: nobody grants any.
        ``tenancy`` puts the store's tenants, projects and keys into it, where there is a store.
        ``prices`` are kept from now on; None: what was kept last counts, if there is any.
        ``force`` lets a policy leave a data class without any place.
        """
        with self.publishing():
            release = self._make(config, digests, engine_ports, listen, peer_listen, force=force)
            release = msgspec.structs.replace(
                release, collectors=collectors, control=control, logs=logs
            )
            release = self.sell(release, prices)
            if tenancy is not None:
                release = tenancy(release)
            self._lay_down(release, prices)
        return release

    def reprice(self, prices: PriceBook) -> Release | None:
        """Keep a book, and make the next release at its prices, where no store has a part in it;
        None where there is no release yet. Raises `BadRelease`, `BadPriceBook`.
        """
        with self.publishing():
            before = self.release()
            if before is None:
                self.prices().keep(prices, self.operator_key())
                return None
            made_us = time.time_ns() // 1000
            release = msgspec.structs.replace(before, version=before.version + 1, made_us=made_us)
            release = self.sell(release, prices)
            self._lay_down(release, prices)
            return release

    def _lay_down(self, release: Release, prices: PriceBook | None) -> None:
        if prices is not None:
            self.keep_prices(prices, release)
        lay_down_release(self.release_file, seal_release(release, self.operator_key()))

    def keep_prices(self, prices: PriceBook, release: Release) -> None:
        """Keep a book for the fleet of this release. Raises `BadPriceBook` of what never applies
        there.
        """
        check_against(
            prices,
            tenants=[tenant.id for tenant in release.tenants],
            zones=[zone.id for zone in release.zones],
            day=day_of(release.made_us),
        )
        self.prices().keep(prices, self.operator_key())

    def release(self) -> Release | None:
        """The release that serves; None before the first. Raises `BadRelease`."""
        try:
            data = self.release_file.read_bytes()
        except FileNotFoundError:
            return None
        return open_release(data, operator_public_key(self.operator_key())).release

    def sell(self, release: Release, prices: PriceBook | None = None) -> Release:
        """The release at the prices of a book, or of the newest that is kept; as it is where there
        is none. Raises `BadRelease` of a model without a price, `BadPriceBook` of the book given.
        """
        store = self.prices()
        try:
            held = store.newest() if prices is None else store.check_newer(prices)
        except BadPriceBook as error:
            if prices is not None:
                raise
            raise BadRelease("prices", str(error)) from error
        serving = self.release()
        before = serving.priced if serving is not None else None
        if before is not None and (held is None or held.book.version < before.version):
            raise BadRelease(
                "prices",
                f"the release that serves is sold by book {before.version}, which is not under "
                f"{self.directory / 'prices'}; restore it, or publish a newer one",
            )
        if held is None:
            return release
        return sell(release, PriceList(held.book), held.hash, day_of(release.made_us))

    @contextlib.contextmanager
    def publishing(self) -> Iterator[None]:
        """Only one process at a time makes the next release."""
        self.directory.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.directory / "publish.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _make(
        self,
        config: FleetConfig,
        digests: Mapping[str, str],
        engine_ports: Mapping[str, int],
        listen: Mapping[str, str],
        peer_listen: Mapping[str, str],
        *,
        force: bool,
    ) -> Release:
        pepper = self.pepper()
        operator = self.operator_key()
        keys = self.mint_keys([name for name, one in config.keys.items() if not one.passes_to])
        passed = self.passed_keys()
        for key_id, one in config.keys.items():
            if one.passes_to is not None and key_id not in passed:
                words = f"its hash is not known; run 'selvedge provider key import {key_id}'"
                raise BadRelease(f"keys.{key_id}", words)
        facts = Facts(
            version=self._version(operator) + 1,
            made_us=time.time_ns() // 1000,
            key_hashes={
                key_id: passed[key_id]
                if one.passes_to is not None
                else hash_secret(pepper, key_id, keys[key_id].rpartition("-")[2])
                for key_id, one in config.keys.items()
            },
            public_keys={
                pop_id: pop_public_key(
                    keep_secret(self.pop(pop_id) / "identity.key", os.urandom(32))
                )
                for pop_id in config.pops
            },
            digests=digests,
            engine_ports=engine_ports,
            listen=listen,
            peer_listen=peer_listen,
            certificates={pop_id: self._certificates(pop_id) for pop_id in config.pops},
            log_keys={pop_id: tuple(keep_log_keys(self.pop(pop_id))) for pop_id in config.pops},
            force=force,
        )
        return make_release(config, facts)

    def _certificates(self, pop_id: str) -> tuple[str, ...]:
        """What a PoP shows its peers, made on first use, and what is to follow it."""
        keep_peer_identity(self.pop(pop_id) / PEER_FILE, pop_id)
        return tuple(peer_certificates(self.pop(pop_id)))

    def _version(self, operator: bytes) -> int:
        try:
            held = open_release(self.release_file.read_bytes(), operator_public_key(operator))
        except FileNotFoundError:
            return 0
        except BadRelease as error:
            raise SelvedgeError(
                f"{self.release_file} does not hold ({error}); restore it or use another --home"
            ) from error
        return held.release.version

    def write_running(self, running: Running) -> None:
        """Say what runs."""
        data = msgspec.json.format(msgspec.json.encode(running))
        write_atomically(self.directory / RUN_FILE, data)

    def forget_running(self) -> None:
        """Say that nothing runs; does nothing where another process owns the directory."""
        if self._lock_fd >= 0:
            (self.directory / RUN_FILE).unlink(missing_ok=True)

    def running(self) -> Running:
        """What runs. Raises `SelvedgeError` where nothing does."""
        try:
            data = (self.directory / RUN_FILE).read_bytes()
        except OSError as error:
            raise SelvedgeError(
                f"no fabric runs from {self.directory.absolute()}; "
                "start one with 'selvedge up', or give its --home"
            ) from error
        try:
            return msgspec.json.decode(data, type=Running)
        except (UnicodeDecodeError, msgspec.MsgspecError) as error:
            raise SelvedgeError(
                f"{self.directory / RUN_FILE} is damaged ({error}); run 'selvedge up' again"
            ) from error
