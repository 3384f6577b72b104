"""Webhooks: the specification's signature; and what a customer's URL can never reach."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable

import pytest

from selvedge.adapters import (
    BadWebhook,
    check_webhook_url,
    egress,
    secret_words,
    send_webhook,
    webhook_headers,
    webhooks,
)
from selvedge.adapters.egress import EgressRefused
from tests.support import run

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def test_the_signature_is_the_published_example() -> None:
    """The example that the specification's own libraries are tested with."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    assert webhook_headers(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    assert secret_words(secret) == "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.com/", "begins with https"),
        ("ftp://example.com/", "begins with https"),
        ("https:///path", "names no host"),
        ("https://user@example.com/", "neither a user"),
        ("https://example.com/#x", "nor a fragment"),
        ("https://example.com:99999/", "is no URL"),
        ("https://[::1", "is no URL"),
        ("https://example.com/\r\nx: y", "plain characters"),
        ("https://example.com/a b", "plain characters"),
        ("https://exämple.com/", "plain characters"),
        ("https://" + "a" * 3_000, "at most"),
        ("https://a..example/", "an empty part"),
        ("https://.example/", "an empty part"),
        (f"https://{'a' * 64}.example/", "a long one"),
        ("https://127.0.0.1/", "inside this network"),
        ("https://10.1.2.3/", "inside this network"),
        ("https://100.64.0.1/", "inside this network"),
        ("https://[::1]/", "inside this network"),
        ("https://[::ffff:100.64.0.1]/", "inside this network"),
        ("https://[64:ff9b::6440:1]/", "inside this network"),
        ("https://[::ffff:198.18.0.1]/", "inside this network"),
        ("https://[fec0::1]/", "inside this network"),
        ("https://[::ffff:192.168.0.1]/", "inside this network"),
        ("https://169.254.169.254/latest", "link-local"),
        ("https://[fd00:ec2::254]/", "metadata"),
        ("https://0.0.0.0/", "unspecified"),
    ],
)
def test_what_no_webhook_may_be(url: str, why: str) -> None:
    with pytest.raises(BadWebhook, match=why):
        check_webhook_url(url)


def test_what_may_be() -> None:
    for url in ("https://example.com", "https://example.com:8443/a?b=c", "https://8.8.8.8/x"):
        assert check_webhook_url(url).scheme == "https"
    assert check_webhook_url("http://127.0.0.1:80/", inside=True).port == 80
    with pytest.raises(BadWebhook, match="link-local"):
        check_webhook_url("http://169.254.169.254/", inside=True)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "fc00::1"])
def test_a_name_that_leads_inside_is_not_dialled(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["8.8.8.8", address]

    async def dial(*_: object, **__: object) -> None:
        raise AssertionError("nothing may be dialled")

    monkeypatch.setattr(webhooks, "resolve", resolve)
    monkeypatch.setattr(asyncio, "open_connection", dial)

    async def main() -> None:
        with pytest.raises(EgressRefused):
            await send_webhook("https://hooks.example/", {}, b"{}")

    run(main())
    assert egress.resolve is not resolve


def serve_once(answer: bytes) -> tuple[Serve, list[bytes]]:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(4))
        writer.write(answer)
        writer.close()

    return serve, seen


async def told(answer: bytes) -> tuple[int, list[bytes]]:
    serve, seen = serve_once(answer)
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}/hook?a=1"
        return await send_webhook(url, {"webhook-id": "evt_1"}, b"body", inside=True), seen


def test_it_is_sent_and_the_status_is_read() -> None:
    async def main() -> None:
        status, (sent,) = await told(b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n")
        assert status == 204
        head, _, body = sent.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        assert lines[0] == "POST /hook?a=1 HTTP/1.1"
        assert {"content-length: 4", "webhook-id: evt_1"} <= set(lines)
        assert body == b"body"
        status, _ = await told(b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\n\r\n")
        assert status == 302, "redirects are not followed"

    run(main())


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 ok\r\n", b"x" * 99_999])
def test_what_is_no_answer_is_an_error(answer: bytes) -> None:
    async def main() -> None:
        with pytest.raises(OSError, match=r"closed before|is no HTTP|reset"):
            await told(answer)

    run(main())
