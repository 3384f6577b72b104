"""What proves to Google Cloud who asks: an access token, or a service account's own signature.

A service account's key needs no exchange for a token: Google's APIs take a JWT that the account has
signed itself (AIP-4111), with the scope in it. Signing is arithmetic, so it has its place here.
"""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
LASTS_S: Final = 3600
RENEWED_S: Final = 1800
_encode: Final = msgspec.json.Encoder().encode


class ServiceAccount(msgspec.Struct, frozen=True):
    """The file that Google gives for a service account, as far as it is needed."""

    client_email: str
    private_key: str
    private_key_id: str = ""


def bearer_of(secret: str, now_us: int) -> str:
    """The token for a secret: the secret itself, or what its service account signs by now."""
    if not secret.lstrip().startswith("{"):
        return secret
    now_s = now_us // 1_000_000
    return _signed(secret, now_s - now_s % RENEWED_S)


@lru_cache(maxsize=64)
def _signed(secret: str, from_s: int) -> str:
    """The same for the same half an hour: a signature costs a millisecond. Empty: no such key."""
    try:
        account = msgspec.json.decode(secret, type=ServiceAccount)
        key = load_pem_private_key(account.private_key.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return ""
    if not isinstance(key, RSAPrivateKey):
        return ""
    head = {"alg": "RS256", "typ": "JWT", "kid": account.private_key_id}
    claims = {
        "iss": account.client_email,
        "sub": account.client_email,
        "scope": SCOPE,
        "iat": from_s,
        "exp": from_s + LASTS_S,
    }
    signed = _base64(_encode(head)) + b"." + _base64(_encode(claims))
    return (signed + b"." + _base64(key.sign(signed, PKCS1v15(), SHA256()))).decode()


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
