"""Proving one receipt: where its leaf may lie, whose keys may have signed, and the bundle."""

from __future__ import annotations

from collections.abc import Iterator

from selvedge.adapters import LogPlace, operator_public_key
from selvedge.control.home import Home
from selvedge.control.home_logs import JURISDICTIONS
from selvedge.fabric import JurisdictionLog, Receipt, Release, SelvedgeError, log_of
from selvedge.ledger import Sealed
from selvedge.tlog import (
    Note,
    PublishedLog,
    Signer,
    Trust,
    Verifier,
    find_receipt,
    keys_at,
    open_log,
    operator_verifier,
    prove_receipt,
    release_policy,
    sign_note,
)


class Proving:
    """One receipt, and the keys that may have signed for it. Raises `SelvedgeError` where no log of
    the releases is of its PoP's jurisdiction. The first release is the one that serves.
    """

    def __init__(
        self, releases: list[Release], sealed: Sealed, extra: Trust, operator: bytes
    ) -> None:
        self.said: Receipt = sealed.decode()
        self.log: JurisdictionLog = _log_of(releases, self.said.ingress_pop)
        self._releases, self._sealed, self._extra = releases, sealed, extra
        name = operator_verifier(releases[0], operator_public_key(operator)).name
        self._operator = Signer(name, operator)

    def bundle(self, pop_place: LogPlace, home_place: LogPlace) -> bytes:
        """Look through the shards. Raises `SelvedgeError` where the receipt is in none."""
        time_us = self.said.ended_us
        receipt, salt = bytes(self._sealed.receipt), self._sealed.salt
        shards = pop_place.shards(time_us)
        for shard in shards:
            pop = self._open(pop_place, shard, f"pop/{self.said.ingress_pop}")
            found = find_receipt(pop, receipt, salt, pop_place.around(shard, time_us))
            if found is not None:
                return prove_receipt(found, pop, self._homes(home_place), self._keys, self._names())
        raise SelvedgeError(
            f"receipt {self.said.id} is in no shard of its PoP's log that was looked at "
            f"({', '.join(shards) or 'there is none'}); it may be logged within a second"
        )

    def _homes(self, place: LogPlace) -> Iterator[PublishedLog]:
        for shard in place.shards(self.said.ended_us):
            yield self._open(place, shard, f"jurisdiction/{self.log.id}")

    def _open(self, place: LogPlace, shard: str, log: str) -> PublishedLog:
        release = self._releases[0]
        origin = f"{release.log_domain}/{release.fleet}/{log}/{shard}"
        return open_log(place.read(shard), origin, self._keys(origin))

    def _keys(self, origin: str) -> list[Verifier]:
        """All that may have signed under an origin: by the releases, and by the file of keys."""
        found = [key for release in self._releases for key in keys_at(release, origin)]
        return [*found, *self._extra.keys_of(origin), *self._extra.witnesses.values()]

    def _names(self) -> tuple[Note, Verifier]:
        text = release_policy(self._releases, self.log.id, pops=[self.said.ingress_pop])
        return sign_note(text, [self._operator]), self._operator.verifier


def _log_of(releases: list[Release], pop_id: str) -> JurisdictionLog:
    """The log that takes a PoP's checkpoints, by the first release that knows both."""
    for release in releases:
        for pop in release.pops:
            log = log_of(release.logs, pop.country) if pop.id == pop_id else None
            if log is not None:
                return log
    raise SelvedgeError(
        f"the release names no log for the jurisdiction of {pop_id!r}; add its country under "
        "'logs:' of the fleet file and publish"
    )


def home_log_of(files: Home, log: JurisdictionLog) -> str:
    """Where a jurisdiction's log is read: on this machine's disk, or where it is served."""
    folder = files.directory / JURISDICTIONS / log.id
    return str(folder) if folder.is_dir() else log.url
