"""API keys: how one is written, hashed, and found again in memory.

A key reads ``sk-<id>-<secret>``. The id finds the row, the secret is compared in constant time by
its keyed hash (HMAC-SHA-256 under the fleet's pepper, RFC 2104). Missing data is never a 401: a PoP
without a release does not get here. This module refuses to know quotas: it names the levels that a
key's requests count at.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from selvedge.fabric import Key, Limits, Project, Refused, Tenant
from selvedge.fabric.value import Value
from selvedge.ledger.levels import Level, Levels

PREFIX: Final = "sk-"
NONE_LOWERED: Final[Mapping[tuple[str, str], Limits]] = MappingProxyType({})
_BEARER: Final = "bearer "
_PASSED: Final = b"passed\n"
"""No id of a key begins so."""
_HOW: Final = "send it as 'Authorization: Bearer sk-…'"
_DUMMY_DIGEST: Final = bytes(32)
_LISTED_MAX: Final = 8


class Admitted(Value, frozen=True):
    """A key that holds: who asks, for which project, under which data class."""

    key: str
    tenant: str
    project: str
    data_class: str
    levels: tuple[Level, ...] = ()
    """Those with limits; a request must fit under each."""
    models: tuple[str, ...] = ()
    """What the key is narrowed to; none: everything."""
    routes: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    passes_to: str | None = None
    """The provider to which the key itself is passed."""
    falls_back: bool = False
    """Whether the fleet's own engines may answer where that provider does not."""

    def bars(self, path: str) -> Refused | None:
        """Why the key may not be used at this path, if so."""
        if not self.routes or path in self.routes:
            return None
        words = f"API key {self.key!r} is for {_listed(self.routes)} alone; use another key."
        return Refused("key_scope", words)

    def bars_model(self, model: str) -> Refused | None:
        """Why the key may not be used for this model, if so."""
        if not self.models or model in self.models:
            return None
        words = f"API key {self.key!r} is for {_listed(self.models)} alone; use another key."
        return Refused("key_scope", words, param="model")


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_LISTED_MAX]) + (", ..." if len(names) > _LISTED_MAX else "")


def hash_secret(pepper: bytes, key_id: str, secret: str) -> str:
    """The keyed hash under which a key's secret is stored, in hex."""
    return hmac.digest(pepper, f"{key_id}:{secret}".encode(), "sha256").hex()


def hash_passed(pepper: bytes, secret: str) -> str:
    """The keyed hash under which a provider's own key is known, which names no id of ours."""
    return hmac.digest(pepper, _PASSED + secret.encode(), "sha256").hex()


def sent_secret(authorization: str | None) -> str:
    """What an ``Authorization`` header carries."""
    if not authorization or authorization[: len(_BEARER)].lower() != _BEARER:
        return ""
    return authorization[len(_BEARER) :].strip()


def write_key(key_id: str, secret: str) -> str:
    """The key as its owner sees it once. A dash ends the id, so a secret holds none."""
    if not secret or "-" in secret:
        raise ValueError("a secret is not empty and holds no dash")
    return f"{PREFIX}{key_id}-{secret}"


def _passed_of(keys: Iterable[Key]) -> Mapping[bytes, str]:
    return {bytes.fromhex(key.hash): key.id for key in keys if key.passes_to is not None}


class _Row:
    """What a request needs of its key, in one place."""

    __slots__ = ("admitted", "digest", "expires_us")

    def __init__(self, key: Key, levels: tuple[Level, ...]) -> None:
        self.digest = bytes.fromhex(key.hash)
        self.expires_us = key.expires_us
        self.admitted = Admitted(
            key.id,
            key.tenant,
            key.project,
            key.data_class,
            levels,
            key.models,
            key.routes,
            key.zones,
            key.passes_to,
            key.falls_back,
        )


class Keyring:
    """All keys of a release, by id, and what has changed since. Immutable after build; swapped
    with the release, and with each delta. Rows are made when a key is first asked with, and kept.
    """

    __slots__ = (
        "_changed",
        "_changes",
        "_complete",
        "_keyed",
        "_keys",
        "_levels",
        "_lowered",
        "_passed",
        "_released",
        "_rows",
    )

    def __init__(
        self,
        keys: Iterable[Key],
        pepper: bytes,
        tenants: Iterable[Tenant] = (),
        projects: Iterable[Project] = (),
    ) -> None:
        self._keys = {key.id: key for key in keys}
        self._levels = self._released = Levels(tenants, projects)
        self._lowered: Mapping[tuple[str, str], Limits] = {}
        self._rows: dict[str, _Row] = {}
        self._changes: Mapping[str, Key | None] = {}
        self._changed: dict[str, _Row] = {}
        self._complete = True
        self._passed: Mapping[bytes, str] = _passed_of(self._keys.values())
        """Ids of keys that are providers' own, by hash."""
        # Keyed once, copied for each look-up: half the price of a fresh HMAC.
        self._keyed = hmac.new(pepper, digestmod="sha256")

    def changed(
        self,
        changes: Mapping[str, Key | None],
        *,
        complete: bool = True,
        lowered: Mapping[tuple[str, str], Limits] = NONE_LOWERED,
    ) -> Keyring:
        """The release's keys with these ones otherwise; None: revoked. The keys themselves are
        shared: it costs nothing for each. Where the ring is not ``complete``, a key that is
        unknown is no error of its holder. ``lowered`` are limits of tenants and projects.
        """
        ring = Keyring((), b"")
        ring._keys = self._keys
        ring._keyed = self._keyed
        ring._released, ring._lowered = self._released, lowered
        same = lowered == self._lowered
        ring._levels = self._levels if same else self._released.lowered(lowered)
        ring._rows = self._rows if same else {}
        ring._passed = self._passed
        if changes:
            now = _passed_of(key for key in changes.values() if key is not None)
            ring._passed = {**self._passed, **now} if now else self._passed
        ring._changes = changes
        ring._complete = complete
        return ring

    def released(self, key_id: str) -> Key | None:
        """The key as the release has it."""
        return self._keys.get(key_id)

    def key(self, key_id: str) -> Key | None:
        """The key as it is now; None where there is none, or none any more."""
        changes = self._changes
        return changes[key_id] if key_id in changes else self._keys.get(key_id)

    def admit(self, authorization: str | None, now_us: int) -> Admitted | Refused:
        """The holder of the key in an ``Authorization`` header, or why there is none."""
        if not authorization:
            return Refused("missing_api_key", f"No API key was sent; {_HOW}.")
        if authorization[: len(_BEARER)].lower() != _BEARER:
            return Refused("missing_api_key", f"The Authorization header has no key; {_HOW}.")
        written = authorization[len(_BEARER) :].strip()
        key_id, _, secret = written.removeprefix(PREFIX).rpartition("-")
        is_key = written.startswith(PREFIX)
        row = self._row(key_id) if is_key else None
        stored = row.digest if row is not None else _DUMMY_DIGEST
        hashed = self._keyed.copy()
        hashed.update(f"{key_id}:{secret}".encode())
        same = hmac.compare_digest(hashed.digest(), stored)
        if (row is None or not same) and self._passed:
            passed = self._passed_row(written)
            row, same = passed or row, passed is not None
        if row is None and is_key and not self._complete and key_id not in self._changes:
            words = "This PoP waits for a release with newer keys; retry."
            return Refused("not_ready", words, retry_after_ms=1000)
        if row is None or not same:
            return Refused(
                "invalid_api_key",
                "The API key is unknown or revoked; check it or ask for a new one.",
            )
        if row.expires_us is not None and now_us >= row.expires_us:
            words = f"API key {row.admitted.key!r} has expired; ask for a new one."
            return Refused("key_expired", words)
        return row.admitted

    def _passed_row(self, written: str) -> _Row | None:
        """The row of a provider's own key. It is found by its keyed hash alone."""
        hashed = self._keyed.copy()
        hashed.update(_PASSED + written.encode("utf-8", "surrogatepass"))
        digest = hashed.digest()
        key_id = self._passed.get(digest)
        row = self._row(key_id) if key_id is not None else None
        if row is None or row.admitted.passes_to is None or row.digest != digest:
            return None
        return row

    def _row(self, key_id: str) -> _Row | None:
        changes = self._changes
        rows = self._changed if key_id in changes else self._rows
        row = rows.get(key_id)
        if row is None:
            key = self.key(key_id)
            if key is not None:
                row = rows[key_id] = _Row(key, self._levels.of(key))
        return row
