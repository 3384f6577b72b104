"""AWS Signature Version 4: what proves to AWS who asks. Pure: the time is handed in.

Source: AWS General Reference, "Create a signed AWS API request"; checked against its published test
suite and against botocore, whose own signer reads the clock.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from selvedge.fabric.value import Value

ALGORITHM: Final = "AWS4-HMAC-SHA256"
_KEPT: Final = "/-_.~"


class Credentials(Value, frozen=True):
    """A key of AWS; ``token`` where it is a temporary one."""

    key_id: str
    secret: str
    token: str = ""


class Place(Value, frozen=True):
    """For which of AWS's services a signature is good, and where."""

    region: str
    service: str


def read_credentials(secret: str) -> Credentials | None:
    """``KEY_ID:SECRET`` or ``KEY_ID:SECRET:SESSION_TOKEN``; None where it is neither."""
    parts = secret.split(":")
    if len(parts) not in (2, 3) or not all(parts):
        return None
    return Credentials(*parts)


def sign(
    request: tuple[str, str, bytes],
    headers: Sequence[tuple[str, str]],
    credentials: Credentials,
    place: Place,
    now_us: int,
) -> tuple[tuple[str, str], ...]:
    """The headers to add to a request: method, target as it is sent (no query) and body.

    ``headers`` are those that are signed beside the time, `host` among them.
    """
    method, target, body = request
    at = datetime.fromtimestamp(now_us // 1_000_000, UTC)
    stamp = at.strftime("%Y%m%dT%H%M%SZ")
    added = [("x-amz-date", stamp)]
    if credentials.token:
        added.append(("x-amz-security-token", credentials.token))
    signed = sorted((name.lower(), " ".join(value.split())) for name, value in [*headers, *added])
    names = ";".join(name for name, _ in signed)
    canonical = "\n".join(
        (
            method,
            quote(target, safe=_KEPT),
            "",
            *(f"{name}:{value}" for name, value in signed),
            "",
            names,
            hashlib.sha256(body).hexdigest(),
        )
    )
    scope = f"{stamp[:8]}/{place.region}/{place.service}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{credentials.secret}".encode()
    for part in scope.split("/"):
        key = _mac(key, part)
    signature = _mac(key, "\n".join((ALGORITHM, stamp, scope, digest))).hex()
    proof = f"{ALGORITHM} Credential={credentials.key_id}/{scope}"
    return *added, ("authorization", f"{proof}, SignedHeaders={names}, Signature={signature}")


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
