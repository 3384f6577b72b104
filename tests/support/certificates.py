"""Certificates for tests: made in a moment, valid for whom and when the test says."""

from __future__ import annotations

import datetime
import ssl
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


def write_pair(
    directory: Path, serial: int, *, begins: int = -1, ends: int = 30, encrypted: bool = False
) -> tuple[Path, Path]:
    """`chain.pem` and `key.pem` for loopback, valid between these days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pop")])
    places = [x509.DNSName("localhost"), *(x509.IPAddress(ip_address(a)) for a in LOOPBACK)]
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), serial)
        .not_valid_before(now + begins * DAY)
        .not_valid_after(now + ends * DAY)
        .add_extension(x509.SubjectAlternativeName(places), critical=False)
        .sign(key, hashes.SHA256())
    )
    lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if encrypted:
        lock = serialization.BestAvailableEncryption(b"secret")
    form = serialization.PrivateFormat.PKCS8
    chain_file, key_file = directory / "chain.pem", directory / "key.pem"
    directory.mkdir(exist_ok=True)
    chain_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, lock))
    return chain_file, key_file


LOOPBACK = ("127.0.0.1", "::1")


def trusting(chain_file: Path) -> ssl.SSLContext:
    """A client that trusts this certificate alone."""
    return ssl.create_default_context(cafile=str(chain_file))


def serial_of(connection: ssl.SSLObject) -> int:
    """The serial number of what the other side showed."""
    shown = connection.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number
