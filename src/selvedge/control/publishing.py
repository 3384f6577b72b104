"""From the store to the PoPs: releases, and the key delta beside them.

An act on keys, or a lower limit, is in the delta before it is answered. What a delta cannot say (a
tenant, a class, a higher limit) waits for the next release, which the publisher makes by itself a
moment later. Both are files that PoPs watch; nobody waits for a PoP, and no PoP for us.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, func, insert, select

from selvedge.adapters import (
    DELTA_FILE,
    RELEASE_BYTES_MAX,
    Held,
    lay_down_release,
    open_delta,
    open_release,
    operator_public_key,
    seal_delta,
    seal_release,
    sweep_drafts,
    write_atomically,
)
from selvedge.control.home import Home
from selvedge.control.roles import Actor
from selvedge.control.store import Act, Store, key_row, project_row, tenant_row
from selvedge.control.tables import KEYS, PROJECTS, RELEASES, TENANTS
from selvedge.fabric import (
    BadRelease,
    Key,
    KeyDelta,
    LoweredLimits,
    Project,
    Release,
    Revocation,
    SelvedgeError,
    Tenant,
    tightest,
    widened,
)
from selvedge.ledger import BadPriceBook, PriceBook, day_of, is_due
from selvedge.residency import strandings

REVOKED_US: Final = 30 * 86_400 * 1_000_000
"""So long a revocation is in every delta, whatever releases there are."""
DELTA_KEYS_MAX: Final = 2_000
"""More keys than these are given to PoPs by a release."""

log: Final = logging.getLogger("selvedge.control")

Heard = Callable[[Release, tuple[Key, ...]], None]
Living = tuple[tuple[Tenant, ...], tuple[Project, ...], tuple[Key, ...]]


class Published(msgspec.Struct, frozen=True):
    """What PoPs can see now: acts up to ``stamp``; ``waits`` where some need a release."""

    stamp: int
    release: int
    serial: int
    keys: int
    revoked: int
    waits: bool


class Publisher:
    """One per control process; its methods may be called from any thread."""

    def __init__(self, store: Store, home: Home) -> None:
        self._store = store
        self._home = home
        self._operator = home.operator_key()
        self._delta_file = home.release_file.with_name(DELTA_FILE)
        self._prices = home.prices()
        self._lock = threading.Lock()
        self._seen: tuple[int, int] | None = None
        self._held: Held | None = None
        self._keys: dict[str, Key] = {}
        self._serial = 0
        self._body: tuple[object, ...] | None = None
        self._heard: list[Heard] = []
        sweep_drafts(home.directory)

    def tell(self, heard: Heard) -> None:
        """Call ``heard`` now and whenever PoPs are given a new release or other keys: with the
        release, its limits as lowered since, and the keys that are otherwise than in it.
        """
        with self._lock:
            self._heard.append(heard)
            self._body = None

    @property
    def release(self) -> Release | None:
        """The release that PoPs are given now; None before the first."""
        with self._lock:
            self._read_release()
            return self._held.release if self._held is not None else None

    def zones(self) -> frozenset[str] | None:
        """The zones of the fleet; None before the first release."""
        release = self.release
        return None if release is None else frozenset(zone.id for zone in release.zones)

    def check_tenant(self, tenant: Tenant) -> None:
        """Raises `BadRelease` of a tenant that names a policy which this fleet has not, or that its
        policy would leave without any place.
        """
        release = self.release
        if release is None or all(one.policy is None for one in tenant.classes):
            return
        alone = msgspec.structs.replace(release, tenants=(tenant,), projects=(), keys=())
        for one in strandings(alone):
            if one.is_now:
                raise BadRelease(one.field, one.why)

    def publish_delta(self) -> Published | None:
        """Bring the delta to the store's last act; None before the first release.

        Raises `StoreAway` of the database, `StoreFailed` of the disk.
        """
        with self._lock:
            self._read_release()
            if self._held is None:
                return None
            return self._write_delta(self._held.release)

    def publish_release(self, actor: Actor, prices: PriceBook | None = None) -> Published:
        """Make the next release of the present one, the store and the newest price book, which
        ``prices`` are from now on.

        Raises `BadRelease`, of a served model without a price too, and `BadPriceBook` of
        ``prices``.
        """
        with self._home.publishing(), self._lock:
            self._read_release()
            if self._held is None:
                words = "there is none yet; 'selvedge up' or 'selvedge fleet publish' makes it"
                raise BadRelease("release", words)
            with self._store.act(actor) as act:
                release = amend(act, self._held.release, self._held.release.version + 1)
                release = self._home.sell(release, prices)
                sealed = _sealed(release, self._operator)
                note_release(act, release)
                if prices is not None:
                    self._home.keep_prices(prices, release)
            lay_down_release(self._home.release_file, sealed)
            self._read_release()
            return self._write_delta(release)

    def _read_release(self) -> None:
        try:
            stat = self._home.release_file.stat()
        except OSError:
            return
        now = (stat.st_mtime_ns, stat.st_ino)
        if now == self._seen:
            return
        public = operator_public_key(self._operator)
        self._held = open_release(self._home.release_file.read_bytes(), public)
        self._keys = {key.id: key for key in self._held.release.keys}
        self._seen = now

    def _write_delta(self, release: Release) -> Published:
        with self._store.database.read() as connection:
            stamp = stamp_of(connection)
            since = _since(connection, release)
            rows = connection.execute(
                select(KEYS).where(KEYS.c.stamp > since, KEYS.c.removed_us.is_(None))
            ).all()
            lowered, waits = _lowered(connection, release, since)
            waits = waits or self._is_due(release)
            old_us = stamp - REVOKED_US
            gone = connection.execute(
                select(KEYS.c.id, KEYS.c.removed_us)
                .where(KEYS.c.removed_us > old_us)
                .order_by(KEYS.c.removed_us)
            ).all()
        keys: list[Key] = []
        known = _Known(release)
        for row in rows:
            try:
                key = _key(row)
            except BadRelease as error:
                # One row that does not hold must not keep revocations from the PoPs.
                log.error("a key of the store is not published: %s", error)
                waits = True
                continue
            held = self._keys.get(key.id)
            key = _passing(key, held)
            fits = known.fits(key) if held is None else widened(held, key) is None
            if fits and held != key:
                keys.append(key)
            waits = waits or not fits
        revoked = tuple(Revocation(row.id, row.removed_us) for row in gone)
        waits = waits or max(len(keys), len(lowered)) > DELTA_KEYS_MAX
        changes = (tuple(keys[:DELTA_KEYS_MAX]), revoked, tuple(lowered[:DELTA_KEYS_MAX]))
        serial = self._lay_down(release, changes, stamp)
        return Published(stamp, release.version, serial, len(keys), len(revoked), waits)

    def _is_due(self, release: Release) -> bool:
        """Whether prices were published, or change on this day, since the release was made."""
        try:
            held = self._prices.newest()
        except BadPriceBook:
            return True  # the release is tried, and says what is wrong; the delta goes out
        return held is not None and is_due(release, held.hash, day_of(self._store.now_us()))

    def _lay_down(
        self,
        release: Release,
        changes: tuple[tuple[Key, ...], tuple[Revocation, ...], tuple[LoweredLimits, ...]],
        stamp: int,
    ) -> int:
        body = (release.version, *changes)
        keys, revoked, lowered = changes
        if body == self._body and self._delta_file.exists():
            return self._serial
        # Never below what lies there: the store may be one that was restored.
        serial = max(stamp, self._serial + 1, self._laid_down() + 1)
        made = KeyDelta(
            fleet=release.fleet,
            serial=serial,
            release=release.version,
            made_us=stamp,
            revoked=revoked,
            keys=tuple(msgspec.Raw(msgspec.json.encode(key)) for key in keys),
            limits=tuple(msgspec.Raw(msgspec.json.encode(one)) for one in lowered),
        )
        write_atomically(self._delta_file, seal_delta(made, self._operator))
        self._body, self._serial = body, serial
        now = lower(release, lowered)
        for heard in self._heard:
            heard(now, keys)
        return serial

    def _laid_down(self) -> int:
        held = read_delta(self._delta_file, self._operator)
        return held.serial if held is not None else 0


def _sealed(release: Release, operator: bytes) -> bytes:
    """The file of a release, no larger than PoPs take one. Raises `BadRelease`."""
    sealed = seal_release(release, operator)
    if len(sealed) > RELEASE_BYTES_MAX:
        words = f"would exceed {RELEASE_BYTES_MAX} bytes with {len(release.keys)} keys"
        raise BadRelease("release", f"{words}; revoke keys that nobody needs")
    return sealed


class _Known:
    """The data classes and zones of a release: to others a delta adds no key."""

    def __init__(self, release: Release) -> None:
        self._classes = {
            (tenant.id, one.id) for tenant in release.tenants for one in tenant.classes
        }
        self._zones = {zone.id for zone in release.zones}

    def fits(self, key: Key) -> bool:
        """Whether the release's PoPs take it."""
        return (key.tenant, key.data_class) in self._classes and self._zones.issuperset(key.zones)


def read_delta(path: Path, operator: bytes) -> KeyDelta | None:
    """The delta that lies there; None where there is none that holds."""
    try:
        return open_delta(path.read_bytes(), operator_public_key(operator)).delta
    except (OSError, BadRelease):
        return None


def amend(act: Act, release: Release, version: int) -> Release:
    """The next release, of at least this version: the fleet of the one given, the store's tenants,
    projects and keys.
    """
    tenants, projects, keys = living(act.connection)
    held = {key.id: key for key in release.keys if key.passes_to is not None}
    newest = act.connection.execute(select(func.max(RELEASES.c.version))).scalar() or 0
    return msgspec.structs.replace(
        release,
        version=max(version, int(newest) + 1),
        made_us=act.stamp,
        tenants=tenants,
        projects=projects,
        keys=tuple(_passing(key, held.get(key.id)) for key in keys),
    )


def _passing(key: Key, held: Key | None) -> Key:
    """The store's key, passed to whom the fleet's file says."""
    if held is None or held.passes_to is None:
        return key
    return msgspec.structs.replace(key, passes_to=held.passes_to, falls_back=held.falls_back)


def note_release(act: Act, release: Release) -> None:
    """Write down which acts a release has in it: all up to this one."""
    hashed = hashlib.sha256(msgspec.json.encode(release)).hexdigest()
    act.connection.execute(
        insert(RELEASES).values(
            version=release.version,
            stamp=act.stamp,
            made_us=release.made_us,
            hash=f"sha256:{hashed}",
        )
    )
    act.record("release.publish", f"release {release.version}", None, None)


def living(connection: Connection) -> Living:
    """All tenants, projects and keys that were not removed, as a release has them."""
    tenants = connection.execute(
        select(TENANTS).where(TENANTS.c.removed_us.is_(None)).order_by(TENANTS.c.id)
    )
    projects = connection.execute(
        select(PROJECTS)
        .where(PROJECTS.c.removed_us.is_(None))
        .order_by(PROJECTS.c.tenant, PROJECTS.c.id)
    )
    keys = connection.execute(select(KEYS).where(KEYS.c.removed_us.is_(None)).order_by(KEYS.c.id))
    held = tuple(tenant_row(row).value() for row in tenants)
    names = {tenant.id for tenant in held}
    return (
        held,
        tuple(project_row(row).value() for row in projects if row.tenant in names),
        tuple(_key(row) for row in keys if row.tenant in names),
    )


def stamp_of(connection: Connection) -> int:
    """The stamp of the last act. Raises `SelvedgeError` where the store was not opened."""
    found = connection.exec_driver_sql("SELECT stamp FROM counters").scalar()
    if found is None:
        raise SelvedgeError("the store has no fleet yet")
    return int(found)


def _key(row: Row[Any]) -> Key:  # Any: a row of the table
    return key_row(row).value(row.hash)


def _since(connection: Connection, release: Release) -> int:
    """The last act that the release has in it; -1 for one that no store had a part in."""
    wanted = select(RELEASES.c.stamp).where(
        RELEASES.c.version == release.version, RELEASES.c.made_us == release.made_us
    )
    found = connection.execute(wanted).scalar()
    return -1 if found is None else int(found)


def _lowered(
    connection: Connection, release: Release, since: int
) -> tuple[list[LoweredLimits], bool]:
    """Limits of tenants and projects that are lower than in the release, and whether anything else
    of them changed, which no delta can say.
    """
    tenants = {one.id: one for one in release.tenants}
    projects = {(one.tenant, one.id): one.limits for one in release.projects}
    found: list[LoweredLimits] = []
    waits = since < 0  # it was made without the store
    for row in connection.execute(select(TENANTS).where(TENANTS.c.stamp > since)):
        now, was = tenant_row(row).value(), tenants.get(row.id)
        if was is None or row.removed_us is not None or now.classes != was.classes:
            waits = True
        elif now.limits != was.limits:
            limits = tightest(was.limits, now.limits)
            waits = waits or limits != now.limits
            if limits != was.limits:
                found.append(LoweredLimits(now.id, "", limits))
    for row in connection.execute(select(PROJECTS).where(PROJECTS.c.stamp > since)):
        one = project_row(row).value()
        before = projects.get((one.tenant, one.id))
        if before is None or row.removed_us is not None or one.tenant not in tenants:
            waits = True
        elif one.limits != before:
            limits = tightest(before, one.limits)
            waits = waits or limits != one.limits
            if limits != before:
                found.append(LoweredLimits(one.tenant, one.id, limits))
    return found, waits


def lower(release: Release, lowered: Sequence[LoweredLimits]) -> Release:
    """A release with the limits of these tenants and projects."""
    if not lowered:
        return release
    limits = {(one.tenant, one.project): one.limits for one in lowered}
    replace = msgspec.structs.replace
    return replace(
        release,
        tenants=tuple(
            replace(one, limits=limits.get((one.id, ""), one.limits)) for one in release.tenants
        ),
        projects=tuple(
            replace(one, limits=limits.get((one.tenant, one.id), one.limits))
            for one in release.projects
        ),
    )
