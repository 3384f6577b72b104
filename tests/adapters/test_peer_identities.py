"""Identities of PoPs: made once, for the owner alone, the same wherever they are read."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from selvedge.adapters import (
    PEER_FILE,
    BadCertificate,
    accepting_context,
    check_peer_certificates,
    dialling_context,
    keep_peer_identity,
    peer_certificates,
)
from selvedge.fabric import BadRelease, StoreFailed


def test_an_identity_is_made_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "sin" / PEER_FILE
    made = keep_peer_identity(path, "sin")
    assert keep_peer_identity(path, "sin") == made == path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    certificate = x509.load_pem_x509_certificate(made)
    assert certificate.subject.rfc4514_string() == "CN=sin"
    assert certificate.not_valid_after_utc.year == 9999
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.value.ca is False
    assert list(peer_certificates(path.parent).values()) == [path]


def test_two_identities_in_order_and_a_certificate_alone(tmp_path: Path) -> None:
    now, following = tmp_path / PEER_FILE, tmp_path / "peer-next.pem"
    keep_peer_identity(following, "sin")
    keep_peer_identity(now, "sin")
    public = x509.load_pem_x509_certificate(now.read_bytes())
    now.write_bytes(public.public_bytes(serialization.Encoding.PEM))
    found = peer_certificates(tmp_path)
    assert list(found.values()) == [now, following]
    assert (
        next(iter(found))
        == base64.b64encode(public.public_bytes(serialization.Encoding.DER)).decode()
    )
    assert check_peer_certificates("f", found) == b"".join(map(base64.b64decode, found))


def test_a_damaged_identity(tmp_path: Path) -> None:
    path = tmp_path / PEER_FILE
    path.write_bytes(b"x")
    with pytest.raises(StoreFailed, match=r"peer\.pem holds no certificate in PEM; restore or"):
        peer_certificates(tmp_path)
    with pytest.raises(BadCertificate, match=r"peer\.pem is no key with its certificate"):
        dialling_context(path, b"")
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreFailed, match=r"peer\.pem cannot be read: Is a directory"):
        peer_certificates(tmp_path)
    with pytest.raises(BadCertificate, match=r"none is no key with its certificate \(No such"):
        accepting_context(tmp_path / "none", {})


@pytest.mark.parametrize("written", ["", "x", "AAAA", "é"])
def test_a_certificate_that_is_none(written: str) -> None:
    with pytest.raises(BadRelease, match=r"pops\.sin\.certificates: is not an X\.509 certific"):
        check_peer_certificates("pops.sin.certificates", [written])
