"""The certificate that clients see: two PEM files that may change while connections live.

Every handshake is given the newest pair that held. A pair is loaded into a context of its own and
only then put in place, so a bad one never touches the good one, and the listening socket stays
as it is: the listener's context is an empty shell whose server-name callback, which OpenSSL calls
in each handshake, moves the connection to the context that is current.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509

from selvedge.fabric import SelvedgeError

CHAIN_BYTES_MAX: Final = 1024 * 1024
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption only. TLS 1.3 has no others."""


class BadCertificate(SelvedgeError):
    """A certificate or its key that cannot be served; names the file and the remedy."""


class Chain(msgspec.Struct, frozen=True):
    """A pair of files that held: what to serve, and until when."""

    context: ssl.SSLContext
    not_after_us: int
    serial: int


class CertificateFiles:
    """A chain and its key on disk, looked at again and again."""

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain = chain
        self._key = key
        self._seen: tuple[tuple[int, int, int] | None, ...] = ()

    def changed(self) -> bool:
        """Whether either file is another one than when this was last asked."""
        found = (_signature(self._chain), _signature(self._key))
        if found == self._seen:
            return False
        self._seen = found
        return True

    def load(self, now_us: int) -> Chain:
        """Load both into a fresh context and check them. Raises `BadCertificate`."""
        leaf = self._leaf()
        begins_us, ends_us = (
            int(at.timestamp()) * 1_000_000
            for at in (leaf.not_valid_before_utc, leaf.not_valid_after_utc)
        )
        if not begins_us <= now_us < ends_us:
            words = "has expired" if now_us >= ends_us else "is not valid yet"
            raise BadCertificate(
                f"{self._chain} {words} ({leaf.not_valid_before_utc:%Y-%m-%d %H:%M} to "
                f"{leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC); renew it"
            )
        context = client_side_context()
        try:
            context.load_cert_chain(self._chain, self._key, password=_no_password)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                words = f"{self._key} is not the key of {self._chain}; put the pair that belongs"
                raise BadCertificate(f"{words} together in place") from error
            words = f"{self._key} does not hold an unencrypted PEM key ({error.reason or 'none'})"
            raise BadCertificate(f"{words}; write it anew") from error
        except OSError as error:
            raise BadCertificate(f"{self._key} cannot be read: {error.strerror}") from error
        return Chain(context, ends_us, leaf.serial_number)

    def _leaf(self) -> x509.Certificate:
        try:
            with self._chain.open("rb") as file:
                data = file.read(CHAIN_BYTES_MAX)
            return x509.load_pem_x509_certificates(data)[0]
        except OSError as error:
            raise BadCertificate(f"{self._chain} cannot be read: {error.strerror}") from error
        except ValueError as error:
            words = "does not hold a certificate in PEM, the server's own first; write it anew"
            raise BadCertificate(f"{self._chain} {words}") from error


def client_side_context() -> ssl.SSLContext:
    """TLS 1.2 and 1.3 towards clients, HTTP/1.1 alone, without a certificate as yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    return context


def defer(shell: ssl.SSLContext, current: Callable[[], ssl.SSLContext | None]) -> ssl.SSLContext:
    """Give each handshake of ``shell`` the context that is ``current`` then; None ends it.

    Versions, ciphers, verify mode and tickets are the shell's; certificate and trusted
    certificates are the current context's.
    """

    def choose(connection: ssl.SSLObject, _name: str | None, _shell: ssl.SSLContext) -> int | None:
        found = current()
        if found is None:
            return ssl.AlertDescription.ALERT_DESCRIPTION_HANDSHAKE_FAILURE
        connection.context = found
        return None

    # The callback is given an SSLObject under asyncio; the stub knows that too.
    shell.sni_callback = choose
    return shell


def _no_password() -> str:
    """An encrypted key is refused; without this, OpenSSL would ask the terminal."""
    return ""


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino, stat.st_size
