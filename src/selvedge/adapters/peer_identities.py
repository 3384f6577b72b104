"""A PoP's TLS identity among its peers, and the contexts in which two PoPs meet.

The key is made where it is used and stays there; a release carries the certificates, and whoever
is named by the serving release is trusted, nobody else. There is no authority to sign and no
date to run out: a certificate is taken back by a release that no longer names it. Proposal 0004
has the reasons.
"""

from __future__ import annotations

import base64
import datetime
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from selvedge.adapters.certificates import BadCertificate
from selvedge.adapters.identities import keep_file
from selvedge.adapters.key_rotation import rotate_key
from selvedge.fabric import BadRelease, StoreFailed

PEER_FILE: Final = "peer.pem"
_NEXT_FILE: Final = "peer-next.pem"
_OLD_FILE: Final = "peer-old.pem"
PEER_FILES: Final = (PEER_FILE, _NEXT_FILE, _OLD_FILE)
"""The identity that is shown, and one that is to follow it or that it followed."""

# RFC 5280 section 4.1.2.5: the end of what has no end. The release decides, not a clock.
_BEGIN: Final = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_END: Final = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)


def keep_peer_identity(path: Path, pop: str) -> bytes:
    """The identity kept at ``path`` (key and certificate, PEM); made where there is none."""
    if path.exists():
        return _read(path)
    return keep_file(path, make_peer_identity(pop))


def make_peer_identity(pop: str) -> bytes:
    """A new P-256 key and its self-signed certificate, PEM, the key first."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, pop)])
    usages = x509.ExtendedKeyUsage(
        [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGIN)
        .not_valid_after(_END)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usages, critical=False)
        # Two of one PoP may be trusted at once: OpenSSL tells them apart by these alone.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)


def rotate_peer_identity(directory: Path, pop: str) -> int:
    """Prepare the next of the three releases of a rotation; which one it is, 1 to 3."""
    return rotate_key(directory, PEER_FILES, lambda path: keep_peer_identity(path, pop))


def peer_certificates(directory: Path) -> dict[str, Path]:
    """The certificates of a PoP's identity files, base64 of DER as a release has them -> file.

    A file may hold a certificate alone: a PoP whose key was made at its site.
    """
    found: dict[str, Path] = {}
    for name in PEER_FILES:
        path = directory / name
        if not path.exists():
            continue
        try:
            certificate = x509.load_pem_x509_certificate(_read(path))
        except ValueError as error:
            raise StoreFailed(
                f"{path} holds no certificate in PEM; restore or delete it"
            ) from error
        der = certificate.public_bytes(serialization.Encoding.DER)
        found[base64.b64encode(der).decode()] = path
    return found


def check_peer_certificates(field: str, written: Iterable[str]) -> bytes:
    """The DER of certificates in a release, one after the other. Raises `BadRelease`."""
    try:
        ders = [base64.b64decode(one, validate=True) for one in written]
        for der in ders:
            x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise BadRelease(field, "is not an X.509 certificate, DER in base64") from error
    return b"".join(ders)


def accepting_context(own: Path, trusted: Mapping[str, bytes]) -> ssl.SSLContext:
    """For whoever of these connects: TLS 1.3, and a certificate of theirs or no connection."""
    context = accepting_shell()
    _furnish(context, own, b"".join(trusted.values()))
    return context


def accepting_shell() -> ssl.SSLContext:
    """The same without a certificate and without anyone to trust."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    # A resumed session would not look at certificates again, and connections are kept anyway.
    context.num_tickets = 0
    return context


def dialling_context(own: Path, trusted: bytes) -> ssl.SSLContext:
    """To one peer: TLS 1.3, and its very certificate or no connection.

    No name is compared: the only certificates that this context trusts are that peer's own.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    _furnish(context, own, trusted)
    return context


def _furnish(context: ssl.SSLContext, own: Path, trusted: bytes) -> None:
    try:
        context.load_cert_chain(own)
        if trusted:
            context.load_verify_locations(cadata=trusted)
    except (ssl.SSLError, OSError) as error:
        why = getattr(error, "reason", None) or error.strerror
        raise BadCertificate(f"{own} is no key with its certificate ({why}); restore it") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreFailed(f"{path} cannot be read: {error.strerror}") from error
