"""The doors hold against who sends much, slowly, or half."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from selvedge.cli.usage import Moment
from selvedge.control import Home, admin_api, small_server
from selvedge.control.reconcile import _counted
from selvedge.control.small_server import Answer, SmallServer
from selvedge.fabric import SelvedgeError
from tests.support import run
from tests.support.admin import ASGI, make_api


async def half_a_body(app: ASGI, target: str, *, gone: bool) -> int:
    """The status of a request whose body begins, and never ends or breaks off."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": target,
        "raw_path": target.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [(b"authorization", b"Bearer x")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    first = [{"type": "http.request", "body": b"{", "more_body": True}]
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        if first:
            return first.pop()
        if not gone:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert (b"connection", b"close") in sent[0]["headers"]  # type: ignore[operator]  # ASGI's
    return int(str(sent[0]["status"]))


@pytest.mark.parametrize("gone", [False, True])
def test_a_body_that_does_not_come_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    monkeypatch.setattr(admin_api, "READ_S_MAX", 0.02)
    api = make_api(tmp_path, f"sqlite:///{tmp_path / 'c.sqlite'}")
    assert asyncio.run(half_a_body(api.app, "/admin/v1/keys", gone=gone)) == 408
    api.close()


async def until(happened: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if happened():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not happen")


def test_bodies_have_a_limit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_server, "READING_BYTES_MAX", 1_000)
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"

    async def answering(method: str, target: str, body: bytes) -> Answer:
        return Answer(200, b"%d" % len(body))

    async def main() -> None:
        server = SmallServer(answering, 10_000)
        await server.listen("127.0.0.1", 0)
        assert server._server is not None
        port = server._server.sockets[0].getsockname()[1]
        first, first_out = await asyncio.open_connection("127.0.0.1", port)
        first_out.write(head % 900 + b"x" * 800)
        await until(lambda: server.reading == 800)
        second, second_out = await asyncio.open_connection("127.0.0.1", port)
        second_out.write(head % 900 + b"x" * 900)
        assert b" 503 " in await second.readline()
        first_out.write(b"x" * 100)
        assert b" 200 " in await first.readline()
        assert server.reading == 0
        _, third_out = await asyncio.open_connection("127.0.0.1", port)
        third_out.write(head % 900 + b"x" * 800)
        await until(lambda: server.reading == 800)
        third_out.close()
        await until(lambda: server.reading == 0)
        for one in (first_out, second_out):
            one.close()
        await server.close()

    run(main())


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("2026-01-31", 1_769_817_600_000_000),
        ("2026-01-31T23:59:59.999999", 1_769_903_999_999_999),
        ("2026-02-01T00:59:59.999999+01:00", 1_769_903_999_999_999),
        ("1969-12-31T23:59:59.5", -500_000),
    ],
)
def test_a_moment_is_to_the_microsecond(text: str, us: int) -> None:
    """A receipt of the last half second of a day is of that day."""
    assert Moment().convert(text, None, None) == us


def test_bytes_that_are_no_text_are_damage_like_any_other(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for name in ("control.json", "keys.json", "run.json"):
        (tmp_path / name).write_bytes(b'{"admin_url":"\xff"}')
    assert home.control() is None
    with pytest.raises(SelvedgeError, match=r"keys\.json cannot be used"):
        home.keys()
    with pytest.raises(SelvedgeError, match=r"run\.json is damaged"):
        home.running()


@pytest.mark.parametrize("value", ["inf", "nan", "", "1e999", "x"])
def test_a_counter_that_is_no_number(value: str) -> None:
    page = f"llamacpp:prompt_tokens_total {value}\nllamacpp:tokens_predicted_total 3\n"
    with pytest.raises(SelvedgeError, match="has no llamacpp:prompt_tokens_total"):
        _counted("fra/small", page)
