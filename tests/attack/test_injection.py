"""Names, ids, paths and header values that try to write lines of their own, everywhere they go."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest

from tests.support import Answer, Raw, Script, run
from tests.support.fleets import bearer
from tests.support.pops import rig
from tests.support.wires import Wire, chat, post

ORDERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]")
EVIL = "x\r\nset-cookie: a=b\r\n\r\n\x1b[31m\x00\x9b\u202e\u2028"
SPOT = "set-cookie"


async def raw_answer(wire: Wire) -> tuple[int, dict[str, str], bytes]:
    status, headers = await wire.head()
    body, whole = await wire.rest()
    assert whole
    assert SPOT not in headers
    assert not any(ORDERS.search(name + value) for name, value in headers.items())
    return status, headers, body


@pytest.mark.parametrize(
    "fields",
    [
        {"model": EVIL},
        {"user": EVIL},
        {"messages": [{"role": EVIL, "content": "hi"}]},
        {EVIL: 1, "model": "chat"},
        {"tools": [{"type": EVIL, "function": {"name": EVIL}}]},
        {"stop": EVIL},
    ],
    ids=["model", "user", "role", "key", "tool", "stop"],
)
def test_in_a_body(
    fields: dict[str, object], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire("sin") as wire:
            wire.send(post(bearer("asean"), chat(**fields)))
            status, _, body = await raw_answer(wire)
            assert status in (200, 400, 404)
            assert not ORDERS.search(json.loads(body).get("id", ""))
            pop = fabric.pop("sin")
            for line in pop.journal.lines:
                assert line.count(b"\n") == 1
                assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", line)
            assert SPOT not in pop.state.metrics.render().decode()

    with caplog.at_level(logging.DEBUG):
        run(main())
    assert not any(ORDERS.search(record.getMessage()) for record in caplog.records)


@pytest.mark.parametrize(
    "name",
    ["x-client-request-id", "x-request-id", "user-agent", "x-forwarded-for", "traceparent"],
)
@pytest.mark.parametrize(
    "value", ["\x1b[31mred", "a\x00b", "\x9b31m\xff", "a\rb", "\x7f\x08", "a\tb"]
)
def test_in_a_header(
    name: str, value: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire("sin") as wire:
            wire.send(post(bearer("asean"), chat(), more=f"{name}: {value}\r\n"))
            status, headers, _ = await raw_answer(wire)
            assert status in (200, 400)
            assert value not in "".join(headers.values())
            for line in fabric.pop("sin").journal.lines:
                assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", line)

    with caplog.at_level(logging.DEBUG):
        run(main())
    assert not any(ORDERS.search(record.getMessage()) for record in caplog.records)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/%0d%0aset-cookie:a=b",
        "/v1/models/%1b%5b31m%00%c2%9b",
        "/x%0d%0ay",
        "/v1/%e2%80%ae",
    ],
)
def test_in_a_path(path: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire("sin") as wire:
            head = f"GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: {bearer('asean')}"
            wire.send(head.encode() + b"\r\n\r\n")
            status, _, body = await raw_answer(wire)
            assert status == 404
            assert not ORDERS.search(json.loads(body)["error"]["message"])
            assert "%0d" not in fabric.pop("sin").state.metrics.render().decode()

    with caplog.at_level(logging.DEBUG):
        run(main())
    assert not any(ORDERS.search(record.getMessage()) for record in caplog.records)


def test_from_an_engine(tmp_path: Path) -> None:
    """What an engine says in its head stays there; its words arrive as JSON."""
    error = {"error": {"message": EVIL, "type": EVIL, "code": EVIL, "param": EVIL}}
    body = json.dumps(error).encode()
    head = b"HTTP/1.1 400 Bad\r\nx-request-id: \x1b[31m\r\nset-cookie: a=b\r\n"
    reply = Raw(head + b"content-length: %d\r\n\r\n" % len(body) + body)

    async def main() -> None:
        script = Script(reply, Answer((EVIL,)))
        async with rig(tmp_path, sin=script) as fabric, fabric.wire("sin") as wire:
            wire.send(post(bearer("asean"), chat()))
            status, headers, _ = await raw_answer(wire)
            assert status in (400, 503)
            assert headers["x-request-id"].startswith("req_")
            wire.send(post(bearer("asean"), chat()))
            status, _, body = await raw_answer(wire)
            assert status == 200
            assert json.loads(body)["choices"][0]["message"]["content"] == EVIL

    run(main())


REDIRECTS = (301, 302, 303, 307, 308)


@pytest.mark.parametrize("status", REDIRECTS)
def test_a_redirect_is_never_followed(status: int, tmp_path: Path) -> None:
    """SSRF by way of an engine: it may point anywhere, nobody goes there."""

    async def main() -> None:
        async with rig(tmp_path) as fabric:
            other = fabric.engines["fra"]
            location = f"location: {other.url}/v1/chat/completions\r\n".encode()
            head = b"HTTP/1.1 %d Moved\r\n%bcontent-length: 0\r\n\r\n" % (status, location)
            fabric.engines["sin"].script = Script(Raw(head))
            async with fabric.wire("sin") as wire:
                response = await wire.ask(bearer("asean"), chat())
            assert response.status == 503
            assert "location" not in response.headers
            assert other.connections == []

    run(main())
