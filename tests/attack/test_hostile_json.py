"""Huge and hostile JSON over the real route: an error in OpenAI's shape, and nothing kept."""

from __future__ import annotations

import gc
import gzip
import logging
from pathlib import Path

import pytest

from selvedge.fabric import Ask, Refused, Route
from selvedge.wire import parse
from tests.support import run
from tests.support.fleets import bearer
from tests.support.pops import Fabric, rig
from tests.support.wires import READ_S_MAX, chat

DEEP = 100_000
WIDE = 1_000_000
ROLE = b'{"model":"chat","messages":[{"role":"user","content":"%b"}]%b}'
TOOL = b',"tools":[{"type":"function","function":{"name":"f","parameters":{"a":%b}}}]'

# name -> (body, status, code)
BODIES: dict[str, tuple[bytes, int, str]] = {
    "deep arrays": (b"[" * DEEP + b"]" * DEEP, 400, "invalid_type"),
    "deep objects": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, 400, "invalid_json"),
    "deep, never closed": (b"[" * DEEP, 400, "invalid_type"),
    "deep in what passes through": (
        ROLE % (b"", b',"x":' + b"[" * DEEP + b"]" * DEEP),
        400,
        "invalid_json",
    ),
    "deep in a tool": (ROLE % (b"", TOOL % (b"[" * DEEP + b"]" * DEEP)), 400, "invalid_json"),
    "deep content": (
        b'{"model":"chat","messages":[{"role":"user","content":' + b"[" * DEEP,
        400,
        "invalid_type",
    ),
    "a million keys": (
        b'{"model":5,' + b",".join(b'"%x":0' % at for at in range(WIDE)) + b"}",
        400,
        "invalid_type",
    ),
    "a million keys that pass through": (
        ROLE % (b"", b"," + b",".join(b'"%x":0' % at for at in range(WIDE)) + b',"0":1'),
        400,
        "invalid_json",
    ),
    "a million messages": (
        b'{"model":"chat","messages":[' + b",".join([b"{}"] * WIDE) + b"]}",
        400,
        "missing_field",
    ),
    "too many messages": (
        b'{"model":"chat","messages":[' + b",".join([b'{"role":"user"}'] * 500_000) + b"]}",
        400,
        "invalid_value",
    ),
    "a part of a million numbers": (
        b'{"model":"chat","messages":[{"role":"user","content":[{"type":"image_url","x":['
        + b",".join([b"0"] * WIDE)
        + b"]}]}]}",
        400,
        "invalid_json",
    ),
    "model twice": (ROLE % (b"", b',"model":"other"'), 400, "duplicate_key"),
    "stream twice": (ROLE % (b"", b',"stream":true,"stream":false'), 400, "duplicate_key"),
    "model, escaped, twice": (ROLE % (b"", b',"\\u006dodel":"x"'), 400, "duplicate_key"),
    "MODEL": (ROLE % (b"", b',"MODEL":"x"'), 400, "duplicate_key"),
    "10^400 as max_tokens": (ROLE % (b"", b',"max_tokens":1' + b"0" * 400), 400, "invalid_value"),
    "10^400 as seed": (ROLE % (b"", b',"seed":1' + b"0" * 400), 400, "invalid_value"),
    "a number of a million digits": (
        ROLE % (b"", b',"seed":1' + b"0" * WIDE),
        400,
        "invalid_type",
    ),
    "1e400 as temperature": (ROLE % (b"", b',"temperature":1e400'), 400, "invalid_type"),
    "NaN": (ROLE % (b"", b',"temperature":NaN'), 400, "invalid_json"),
    "Infinity": (ROLE % (b"", b',"top_p":Infinity'), 400, "invalid_json"),
    "-Infinity": (ROLE % (b"", b',"top_p":-Infinity'), 400, "invalid_json"),
    "NaN in what passes through": (ROLE % (b"", b',"x":NaN'), 400, "invalid_json"),
    "half a pair": (ROLE % (b"\\ud800", b""), 400, "invalid_json"),
    "half a pair as model": (b'{"model":"\\udc00","messages":[]}', 400, "invalid_json"),
    "not UTF-8": (ROLE % (b"\xff\xfe", b""), 400, "invalid_json"),
    "overlong": (ROLE % (b"\xc0\x80", b""), 400, "invalid_json"),
    "CESU-8": (ROLE % (b"\xed\xa0\x80", b""), 400, "invalid_json"),
    "BOM": (b"\xef\xbb\xbf" + chat(), 400, "invalid_json"),
    "UTF-16": (chat().decode().encode("utf-16"), 400, "invalid_json"),
    "UTF-32": (chat().decode().encode("utf-32"), 400, "invalid_json"),
    "a string over the limit": (ROLE % (b"a" * 10_000_000, b""), 413, "request_too_large"),
    "nothing": (b"", 400, "invalid_json"),
    "only spaces": (b" " * 1000, 400, "invalid_json"),
    "something behind": (chat() + b"{}", 400, "invalid_json"),
    "a NUL behind": (chat() + b"\0", 400, "invalid_json"),
    "a comment": (chat()[:-1] + b"/* */}", 400, "invalid_json"),
    "trailing comma": (chat()[:-1] + b",}", 400, "invalid_json"),
    "single quotes": (chat().replace(b'"', b"'"), 400, "invalid_json"),
    "gzip without saying so": (gzip.compress(chat()), 400, "invalid_json"),
}


async def refused(fabric: Fabric, name: str) -> None:
    body, status, code = BODIES[name]
    async with fabric.wire("sin") as wire:
        response = await wire.ask(bearer("asean"), body)
        assert (response.status, response.error["code"]) == (status, code), name
        assert len(response.error["message"]) < 400, name
        assert response.headers["x-should-retry"] == "false"


def test_each_is_refused_and_nothing_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric:
            pop = fabric.pop("sin")
            objects = []
            for _ in range(2):
                for name in BODIES:
                    await refused(fabric, name)
                pop.seen.clear()
                gc.collect()
                objects.append(len(gc.get_objects()))
            assert objects[1] - objects[0] < 2_000
            assert pop.state.bodies.held == 0
            assert fabric.engines["sin"].connections == []
            text = pop.state.metrics.render().decode()
            assert len([row for row in text.splitlines() if "selvedge_requests_total" in row]) < 20
            async with fabric.wire("sin") as wire:
                assert (await wire.ask(bearer("asean"), chat())).status == 200

    with caplog.at_level(logging.DEBUG):
        run(main(), timeout_s=8 * READ_S_MAX)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "x-gzip", "gzip, identity"])
def test_a_compressed_body_is_refused_with_words(coding: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire("sin") as wire:
            more = f"content-encoding: {coding}\r\n"
            response = await wire.ask(bearer("asean"), gzip.compress(chat()), more=more)
            assert (response.status, response.error["code"]) == (415, "unsupported_media_type")
            assert response.error["param"] == "content-encoding"
            assert "uncompressed" in response.error["message"]

    run(main())


def test_identity_is_no_compression(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire("sin") as wire:
            more = "content-encoding: Identity\r\n"
            assert (await wire.ask(bearer("asean"), chat(), more=more)).status == 200

    run(main())


@pytest.mark.parametrize("name", [name for name in BODIES if BODIES[name][1] != 413])
@pytest.mark.parametrize("route", list(Route))
def test_the_pure_parser_refuses_on_every_route(name: str, route: Route) -> None:
    assert isinstance(parse(route, BODIES[name][0]), Refused)


def test_a_long_text_is_only_long() -> None:
    assert isinstance(parse(Route.CHAT, ROLE % (b"a" * 9_000_000, b"")), Ask)
