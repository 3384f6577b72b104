"""Who this PoP's peers are, by certificate: the TLS side of the release that serves.

Prepared with a release before it is taken, like all else that is compiled from one: a certificate
that cannot be read refuses the release. Contexts to dial in outlive releases while nothing about
them changes, because pooled connections belong to their context.
"""

from __future__ import annotations

import hashlib
import logging
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from selvedge.adapters import (
    PEER_FILE,
    BadCertificate,
    accepting_context,
    accepting_shell,
    check_peer_certificates,
    defer,
    dialling_context,
    keep_peer_identity,
    peer_certificates,
)
from selvedge.fabric import BadRelease, PoP, Refused, Release
from selvedge.pop.settings import Settings

log: Final = logging.getLogger("selvedge.pop")


class Peers(msgspec.Struct, frozen=True):
    """What one release says of this PoP's peers. ``own`` is the identity that is shown."""

    own: Path | None = None
    trusted: Mapping[str, bytes] = {}
    """PoP id -> its certificates, DER, one after the other."""
    names: Mapping[str, str] = {}
    """SHA-256 of a certificate, hex -> PoP id."""
    accepting: ssl.SSLContext | None = None


class Peering:
    """Decides in which context a peer is dialled, and whose certificate a connection showed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._directory = Path(settings.state_dir)
        self._peers = Peers()
        self._dialling: dict[str, tuple[Path, bytes, ssl.SSLContext]] = {}

    @property
    def is_plain(self) -> bool:
        """Whether peers speak without TLS, as a setting allows on loopback alone."""
        return self._settings.peer_plaintext_loopback

    def open(self) -> None:
        """Make this PoP's identity where it has none. Raises `StoreFailed`."""
        keep_peer_identity(self._directory / PEER_FILE, self._settings.pop)

    def prepare(self, release: Release) -> Peers:
        """Check the certificates of a release. Raises `BadRelease`; nothing has changed then."""
        others = [pop for pop in release.pops if pop.id != self._settings.pop]
        if self.is_plain or not others:
            return Peers()
        trusted = {
            pop.id: check_peer_certificates(f"pops.{pop.id}.certificates", pop.certificates)
            for pop in others
        }
        own = self._own(release.pop(self._settings.pop))
        accepting = self._accepting(own, trusted)
        return Peers(own, trusted, _names(others), accepting)

    def take(self, peers: Peers) -> None:
        """Meet peers by these from now on; connections that are open stay."""
        self._peers = peers
        gone = [pop for pop in self._dialling if pop not in peers.trusted]
        for pop in gone:
            del self._dialling[pop]
        unknown = sorted(pop for pop, trusted in peers.trusted.items() if not trusted)
        if peers.trusted and (peers.own is None or unknown):
            whom = "this PoP" if peers.own is None else ", ".join(unknown)
            log.warning(
                "the release names no certificate of %s: no request goes that way; publish a "
                "release whose PoPs have certificates",
                whom,
            )

    def dial(self, pop: str) -> ssl.SSLContext | Refused:
        """The context for connecting to this PoP, which holds for its certificate alone."""
        own, trusted = self._peers.own, self._peers.trusted.get(pop)
        if own is None or not trusted:
            whom = self._settings.pop if own is None else pop
            words = f"The release names no TLS certificate of PoP {whom!r}."
            return Refused("no_engine_available", words)
        kept = self._dialling.get(pop)
        if kept is not None and kept[:2] == (own, trusted):
            return kept[2]
        try:
            context = dialling_context(own, trusted)
        except BadCertificate as error:
            log.error("PoP %s cannot be dialled: %s", pop, error)
            words = f"PoP {self._settings.pop!r} has lost its TLS identity."
            return Refused("no_engine_available", words)
        self._dialling[pop] = (own, trusted, context)
        return context

    def name_of(self, certificate: str) -> str | None:
        """The PoP with this certificate, "" if none has it; None where there is no TLS."""
        return None if self.is_plain else self._peers.names.get(certificate, "")

    def listener(self, on_hello: Callable[[], None]) -> ssl.SSLContext:
        """The context of the listener for peers: every handshake sees the newest release."""

        def current() -> ssl.SSLContext | None:
            on_hello()
            return self._peers.accepting

        return defer(accepting_shell(), current)

    def _own(self, row: PoP) -> Path | None:
        """The file of the first certificate that the release gives this PoP."""
        if not row.certificates:
            return None
        field = f"pops.{row.id}.certificates"
        check_peer_certificates(field, row.certificates)
        path = peer_certificates(self._directory).get(row.certificates[0])
        if path is None:
            raise BadRelease(field, "does not begin with a certificate on this PoP's disk")
        return path

    def _accepting(self, own: Path | None, trusted: dict[str, bytes]) -> ssl.SSLContext | None:
        if own is None:
            return None
        if (own, trusted) == (self._peers.own, self._peers.trusted):
            return self._peers.accepting
        try:
            return accepting_context(own, trusted)
        except BadCertificate as error:
            raise BadRelease(f"pops.{self._settings.pop}.certificates", str(error)) from error


def _names(pops: list[PoP]) -> dict[str, str]:
    return {
        hashlib.sha256(check_peer_certificates("", [one])).hexdigest(): pop.id
        for pop in pops
        for one in pop.certificates
    }
