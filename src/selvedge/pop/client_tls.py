"""TLS towards clients: the pair of files that the settings name, taken anew when they change."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Final

from selvedge.adapters import (
    BadCertificate,
    CertificateFiles,
    Chain,
    client_side_context,
    defer,
)
from selvedge.fabric import BadSetting
from selvedge.pop.clock import now_us
from selvedge.pop.metrics import TlsCounters
from selvedge.pop.settings import Settings

CERTIFICATE_POLL_S: Final = 1.0

log: Final = logging.getLogger("selvedge.pop")


class ClientTls:
    """The listener's context; what it serves is swapped whole, or left as it was."""

    def __init__(self, chain_file: str, key_file: str, metrics: TlsCounters) -> None:
        self._files = CertificateFiles(Path(chain_file), Path(key_file))
        self._metrics = metrics
        self._files.changed()
        try:
            self._chain = self._files.load(now_us())
        except BadCertificate as error:
            raise BadSetting("tls_cert_file", str(error)) from error
        self._taken(self._chain)
        self.context = defer(client_side_context(), self._current)

    def _current(self) -> ssl.SSLContext:
        self._metrics.handshakes.labels("clients", "begun").inc()
        return self._chain.context

    def secured(self) -> None:
        """A handshake is done."""
        self._metrics.handshakes.labels("clients", "done").inc()

    def look(self) -> None:
        """Take the files if they have changed and hold."""
        if not self._files.changed():
            return
        try:
            chain = self._files.load(now_us())
        except BadCertificate as error:
            self._metrics.loads.labels("refused").inc()
            log.error("certificate refused, the last good one serves on: %s", error)
            return
        self._chain = chain
        self._taken(chain)

    def _taken(self, chain: Chain) -> None:
        self._metrics.loads.labels("taken").inc()
        self._metrics.end.set(chain.not_after_us // 1_000_000)
        log.info("serving clients by certificate %x", chain.serial)

    async def watch(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(CERTIFICATE_POLL_S)
            self.look()


def open_client_tls(settings: Settings, metrics: TlsCounters) -> ClientTls | None:
    """TLS as the settings say; None where clients speak without. Raises `BadSetting`."""
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    return ClientTls(settings.tls_cert_file, settings.tls_key_file, metrics)
