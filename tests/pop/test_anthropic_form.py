"""Anthropic's form at the socket: answers given again, pings, other methods, kept answers, keys."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from selvedge.fabric import CacheRule, Release
from selvedge.pop.clock import now_us
from selvedge.wire import SseReader
from tests.pop.test_anthropic_client import (
    BODY,
    PATH,
    asked,
)
from tests.support import Answer, Cut, Gate, Script, run
from tests.support.caches import open_cache, with_cache
from tests.support.fleets import bearer
from tests.support.pops import rig
from tests.support.wires import chat, post


def test_an_answer_is_given_again(tmp_path: Path) -> None:
    async def main() -> None:
        word = "idempotency-key: w\r\n"
        async with rig(tmp_path) as fabric, fabric.wire("sin") as wire:
            first = await asked(wire, word)
            again = await asked(wire, word)
            plain = await wire.ask(bearer("asean"), BODY, more=word)
            assert len(fabric.engines["sin"].requests) == 1
            _, two, _ = fabric.pop("sin").receipts()
        assert again.body == first.body
        assert again.headers["request-id"] == two.request_id
        assert two.dialect == "anthropic"
        assert (plain.status, plain.error["code"]) == (422, "idempotency_mismatch")

    run(main())


@pytest.mark.parametrize("breaks", [False, True])
def test_a_stream_is_kept_alive(breaks: bool, tmp_path: Path) -> None:
    body = BODY[:-1] + b',"stream":true}'
    more = "anthropic-version: 2023-06-01\r\nanthropic-beta: some-2026\r\n"

    async def main() -> None:
        gate = Gate(0)
        script = Script(Answer(("a",), gate=gate, cut=Cut("error") if breaks else None))
        async with rig(tmp_path, sin=script) as fabric, fabric.wire("sin") as wire:
            wire.send(post(bearer("asean"), body, f"{PATH}?beta=true", more))
            await fabric.engines["sin"].until(lambda: fabric.engines["sin"].requests)
            fabric.pop("sin").state.streams.sweep(now_us() + 16_000_000)
            status, headers = await wire.head()
            assert await wire.part() == b'event: ping\ndata: {"type":"ping"}\n\n'
            gate.open()
            rest, whole = await wire.rest()
        assert (status, whole) == (200, True)
        assert headers["request-id"] == headers["x-request-id"]
        if breaks:
            assert rest.startswith(b'event: error\ndata: {"type":"error","error":{"type":"')
        else:
            assert rest.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')

    run(main())


def test_other_methods_and_a_crowd(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire("sin") as wire:
            got = await wire.get(PATH, bearer("asean"))
        assert (got.status, got.json["type"], got.headers["allow"]) == (405, "error", "POST")
        assert got.headers["request-id"] == got.json["request_id"]
        settings = {"sin": {"requests_running_max": 1}}
        gate = Gate(0)
        script = Script(Answer(gate=gate))
        async with (
            rig(tmp_path / "2", sin=script, settings=settings) as fabric,
            fabric.wire("sin") as first,
            fabric.wire("sin") as wire,
        ):
            waiting = asyncio.ensure_future(asked(first))
            await fabric.engines["sin"].until(lambda: fabric.engines["sin"].requests)
            shed = await asked(wire)
            gate.open()
            await waiting
        assert (shed.status, shed.json["error"]["type"]) == (503, "overloaded_error")
        assert shed.headers["request-id"] == shed.headers["x-request-id"]

    run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_from_the_cache(stream: bool, tmp_path: Path) -> None:
    """A chat's answer is a message's too: what is kept knows one form."""

    async def main() -> None:
        made = chat(max_tokens=9)
        amend = with_cache(CacheRule())
        async with rig(tmp_path, sin=Script(Answer(("Hei", " sei"))), amend=amend) as fabric:
            open_cache(fabric.pop("sin"))
            async with fabric.wire("sin") as wire:
                assert (await wire.ask(bearer("asean"), made)).status == 200
                body = BODY if not stream else BODY[:-1] + b',"stream":true}'
                again = await wire.ask(bearer("asean"), body, PATH)
            assert len(fabric.engines["sin"].requests) == 1
            _, hit = fabric.pop("sin").receipts()
        assert (hit.cache, hit.dialect) == ("hit", "anthropic")
        assert again.headers["cache-status"].startswith("selvedge; hit")
        assert again.headers["request-id"] == hit.request_id
        if stream:
            events = [json.loads(one.data) for one in SseReader().feed(again.body)]
            assert events[-1]["type"] == "message_stop"
            assert events[-2]["usage"]["input_tokens"] == 7
            deltas = [one["delta"] for one in events if one["type"] == "content_block_delta"]
            assert "".join(one["text"] for one in deltas) == "Hei sei"
        else:
            assert again.json["content"] == [{"type": "text", "text": "Hei sei"}]
            assert again.json["usage"]["output_tokens"] == 2

    run(main())


@pytest.mark.parametrize("route", ["/v1/chat/completions", PATH])
def test_a_key_is_narrowed_to_the_paths_it_names(route: str, tmp_path: Path) -> None:
    def amend(_: str, release: Release) -> Release:
        keys = tuple(msgspec.structs.replace(one, routes=(route,)) for one in release.keys)
        return msgspec.structs.replace(release, keys=keys)

    async def main() -> None:
        async with rig(tmp_path, amend=amend) as fabric, fabric.wire("sin") as wire:
            message = await asked(wire)
            plain = await wire.ask(bearer("asean"), chat())
            receipts = fabric.pop("sin").receipts()
        assert (message.status, plain.status) == ((200, 403) if route == PATH else (403, 200))
        barred = message.json["error"]["type"] if route != PATH else plain.error["type"]
        assert barred == "permission_error"
        assert [one.dialect for one in receipts] == ["anthropic", None]

    run(main())
