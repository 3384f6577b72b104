"""Webhooks: signed as the Standard Webhooks specification says, and sent nowhere they must not go.

A customer names the URL, so nothing inside may be reached by it: names are resolved here, every
address is judged (loopback, private, link-local, metadata and reserved ones are refused), and the
address that was judged is the one that is dialled. Redirects are not followed; of an answer only
its status is read. Plaintext is refused. An operator whose receivers are inside says so.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ssl
from typing import Final
from urllib.parse import SplitResult, urlsplit

from selvedge.adapters.egress import EgressRefused, judge, resolve
from selvedge.fabric import SelvedgeError, is_public, read_address

SECRET_PREFIX: Final = "whsec_"
HEAD_BYTES_MAX: Final = 16_384
URL_LENGTH_MAX: Final = 2_048
SEND_S_MAX: Final = 15.0


class BadWebhook(SelvedgeError):
    """A URL that no webhook may go to; the text says why and what would help."""


def check_webhook_url(url: str, *, inside: bool = False) -> SplitResult:
    """The parts of a URL that may be a webhook's. Raises `BadWebhook`.

    ``inside``: whether plaintext and addresses inside this network are allowed.
    """
    if len(url) > URL_LENGTH_MAX or not url.isascii() or not url.isprintable() or " " in url:
        raise BadWebhook(f"is a URL of at most {URL_LENGTH_MAX} plain characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadWebhook(f"is no URL: {error}") from error
    if parts.scheme != "https" and not (inside and parts.scheme == "http"):
        raise BadWebhook("begins with https://; 'webhooks_inside' would allow http:// too")
    if not parts.hostname or port == 0:
        raise BadWebhook("names no host, as https://example.com/hooks")
    try:
        parts.hostname.encode("idna")
    except UnicodeError as error:
        raise BadWebhook(
            "names a host that no name can be: it has an empty part, or a long one"
        ) from error
    if parts.username is not None or parts.fragment:
        raise BadWebhook("holds neither a user nor a fragment")
    if read_address(parts.hostname) is not None:
        try:
            _judge(parts.hostname, parts.hostname, inside=inside)
        except EgressRefused as error:
            raise BadWebhook(f"may not be sent to: {error.strerror}") from error
    return parts


def webhook_headers(secret: bytes, message_id: str, at_s: int, body: bytes) -> dict[str, str]:
    """The three headers. ``secret`` is the key itself, without prefix and base64."""
    signed = b"%s.%d.%s" % (message_id.encode(), at_s, body)
    found = base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": f"v1,{found}",
    }


def secret_words(secret: bytes) -> str:
    """A secret as its receiver keeps it."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()


async def send_webhook(
    url: str,
    headers: dict[str, str],
    body: bytes,
    *,
    inside: bool = False,
    trust: ssl.SSLContext | None = None,
) -> int:
    """POST it; the status of the answer.

    Raises `BadWebhook`, `OSError` (refused addresses too), `TimeoutError`.
    """
    parts = check_webhook_url(url, inside=inside)
    async with asyncio.timeout(SEND_S_MAX):
        reader, writer = await _connect(parts, inside=inside, trust=trust)
        try:
            writer.write(_request(parts, headers, body) + body)
            await writer.drain()
            return _status(await _head(reader))
        finally:
            writer.transport.abort()


async def _connect(
    parts: SplitResult, *, inside: bool, trust: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found = await resolve(host, port)
    for address in found:
        _judge(host, address, inside=inside)
    tls = None
    if parts.scheme == "https":
        tls = trust or ssl.create_default_context()
    refused = OSError(f"{host} has no address")
    for address in found[:4]:
        try:
            return await asyncio.open_connection(
                address, port, ssl=tls, server_hostname=host if tls else None, limit=HEAD_BYTES_MAX
            )
        except OSError as error:
            refused = error
    raise refused


def _judge(host: str, address: str, *, inside: bool) -> None:
    judge(host, address, outside=True)
    known = read_address(address)
    if not inside and known is not None and not is_public(known):
        raise EgressRefused(f"{host} is {address}, an address inside this network")


def _request(parts: SplitResult, headers: dict[str, str], body: bytes) -> bytes:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [
        f"POST {target} HTTP/1.1",
        f"host: {parts.netloc}",
        "content-type: application/json",
        "user-agent: selvedge",
        f"content-length: {len(body)}",
        "connection: close",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n")
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError("the receiver closed before it answered") from error
    except asyncio.LimitOverrunError as error:
        raise ConnectionAbortedError("the receiver's answer is no HTTP") from error


def _status(line: bytes) -> int:
    words = line.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise ConnectionAbortedError("the receiver's answer is no HTTP")
    return int(words[1][:3])
