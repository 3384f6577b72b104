"""Providers as engines of a PoP, each at a stand-in that speaks its wire format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selvedge.fabric import Outcome
from selvedge.fabric.fleet import Engine
from tests.standins.fabric import provider_rig
from tests.standins.providers import ROWS, Row
from tests.standins.server import Asked, StandIn, Told
from tests.support import Answer, Script, run
from tests.support.fleets import bearer
from tests.support.pops import usage_of
from tests.support.wires import chat, error_of, post

Json = dict[str, Any]  # Any: JSON

EACH = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
ENTRY = pytest.mark.parametrize("entry", ["sin", "cgk"])
STREAM = pytest.mark.parametrize("stream", [False, True])
ERRORS = pytest.mark.parametrize(
    ("row", "status"),
    [(row, status) for row in ROWS.values() for status in row.codes],
    ids=[f"{name} {status}" for name, row in ROWS.items() for status in row.codes],
)
BROKEN = pytest.mark.parametrize(
    ("row", "fault"),
    [(row, fault) for row in ROWS.values() for fault in row.broken],
    ids=[f"{name}: {fault}" for name, row in ROWS.items() for fault in row.broken],
)


def same(engine: Engine) -> Engine:
    """Singapore's own engine as it is."""
    return engine


@ENTRY
@EACH
def test_a_stream(row: Row, entry: str, tmp_path: Path) -> None:
    """What the client sees is OpenAI's; the receipt has the provider's own count."""

    async def main() -> None:
        provider = StandIn(lambda asked: row.hello(asked, None))
        async with provider_rig(tmp_path, provider, row) as fabric:
            body = chat(stream=True, stream_options={"include_usage": True}, temperature=0.5)
            async with fabric.wire(entry) as wire:
                response = await wire.ask(bearer("free"), body)
            assert response.status == 200, response.body
            *chunks, done = response.events
            assert done == b"[DONE]"
            read = [json.loads(one) for one in chunks]
            assert {one["model"] for one in read} == {"chat"}
            assert {one["object"] for one in read} == {"chat.completion.chunk"}
            assert read[0]["choices"][0]["delta"]["role"] == "assistant"
            deltas = [one["choices"][0]["delta"] for one in read if one["choices"]]
            assert "".join(one.get("content") or "" for one in deltas) == "Hello there."
            assert read[-1]["usage"]["total_tokens"] == 40
            assert not any("prompt_progress" in one for one in read)
            (receipt,) = await fabric.pop(entry).until_receipts()
            assert usage_of(receipt) == row.usage
            assert (receipt.finish_reason, receipt.served_engine) == ("stop", "away")

    run(main())


@STREAM
@EACH
def test_a_call(row: Row, stream: bool, tmp_path: Path) -> None:
    async def main() -> None:
        provider = StandIn(row.call)
        async with provider_rig(tmp_path, provider, row) as fabric:
            async with fabric.wire("sin") as wire:
                response = await wire.ask(bearer("free"), chat(stream=stream))
            assert response.status == 200, response.body
            pieces = called(response.events) if stream else response.json["choices"][0]["message"]
            (call,) = pieces["tool_calls"]
            assert call["function"]["name"] == "weather"
            assert json.loads(call["function"]["arguments"]) == {"city": "Oslo"}
            (receipt,) = await fabric.pop("sin").until_receipts()
            assert receipt.finish_reason == "tool_calls"
            assert usage_of(receipt) == row.usage

    run(main())


def called(events: list[bytes]) -> Json:
    """The one call of a stream, put together."""
    call: Json = {}
    for event in events[:-1]:
        for choice in json.loads(event)["choices"]:
            for piece in choice["delta"].get("tool_calls", ()):
                found = call.setdefault("function", {"name": "", "arguments": ""})
                found["name"] += piece["function"].get("name", "")
                found["arguments"] += piece["function"].get("arguments", "")
    return {"tool_calls": [call]}


@EACH
def test_a_whole_answer(row: Row, tmp_path: Path) -> None:
    async def main() -> None:
        provider = StandIn(lambda asked: row.hello(asked, None))
        async with provider_rig(tmp_path, provider, row) as fabric:
            async with fabric.wire("sin") as wire:
                response = await wire.ask(bearer("free"), chat(user="u", zone="world"))
            assert response.status == 200, response.body
            assert response.json["choices"][0]["message"]["content"] == "Hello there."
            assert response.json["usage"]["total_tokens"] == 40
            (receipt,) = await fabric.pop("sin").until_receipts()
            assert usage_of(receipt) == row.usage

    run(main())


@STREAM
@ERRORS
def test_errors(row: Row, status: int, stream: bool, tmp_path: Path) -> None:
    """By status and type: a client's fault is told, all else cools the engine."""

    async def main() -> None:
        provider = StandIn(lambda _: row.fails(status))
        async with provider_rig(tmp_path, provider, row) as fabric:
            async with fabric.wire("sin") as wire:
                response = await wire.ask(bearer("free"), chat(stream=stream))
            assert response.error["code"] == row.codes[status]
            (receipt,) = await fabric.pop("sin").until_receipts()
            assert receipt.usage is None or receipt.usage.total == 0
            assert row.secret not in response.body.decode()
            load = fabric.pop("sin").state.load
            assert bool(load._cooling) == (row.codes[status] == "no_engine_available")

    run(main())


@STREAM
@BROKEN
def test_what_breaks_before_the_answer_goes_elsewhere_unseen(
    row: Row, fault: str, stream: bool, tmp_path: Path
) -> None:
    async def main() -> None:
        provider = StandIn(lambda _: row.broken[fault])
        async with provider_rig(tmp_path, provider, row, after=same) as fabric:
            fabric.engines["sin"].script = Script(Answer(("a", "b")))
            async with fabric.wire("sin") as wire:
                response = await wire.ask(bearer("free"), chat(stream=stream))
            assert response.status == 200, response.body
            (receipt,) = await fabric.pop("sin").until_receipts()
            assert receipt.outcome is Outcome.COMPLETE
            assert [one.outcome for one in receipt.attempts] == ["failed", "relayed"]
            assert [one.engine for one in receipt.attempts][1] == "gpu"

    run(main())


@EACH
def test_what_breaks_during_the_answer_ends_in_band(row: Row, tmp_path: Path) -> None:
    async def main() -> None:
        provider = StandIn(lambda _: row.late)
        async with provider_rig(tmp_path, provider, row, after=same) as fabric:
            async with fabric.wire("sin") as wire:
                response = await wire.ask(bearer("free"), chat(stream=True))
            assert response.status == 200
            assert error_of(response.events[-1])["code"] == "engine_interrupted"
            (receipt,) = await fabric.pop("sin").until_receipts()
            assert receipt.outcome is Outcome.FAILED
            assert len(receipt.attempts) == 1
            assert usage_of(receipt).generated > 0

    run(main())


@ENTRY
@EACH
def test_a_client_that_leaves_stops_the_provider(row: Row, entry: str, tmp_path: Path) -> None:
    async def main() -> None:
        provider = StandIn(lambda asked: row.hello(asked, row.begun))
        async with provider_rig(tmp_path, provider, row) as fabric:
            async with fabric.wire(entry) as wire:
                wire.send(post(bearer("free"), chat(stream=True)))
                await wire.head()
                await wire.event()
                wire.hang_up(reset=True)
                assert await provider.until_aborted() == row.begun
            (receipt,) = await fabric.pop(entry).until_receipts()
            assert receipt.outcome is Outcome.CLIENT_GONE
            assert usage_of(receipt).generated > 0

    run(main())


@STREAM
def test_a_field_it_cannot_be_told(stream: bool, tmp_path: Path) -> None:
    """Nothing leaves; another engine that can be told it is asked."""

    def unasked(_: Asked) -> Told:
        raise AssertionError

    async def main() -> None:
        row = ROWS["anthropic"]
        async with provider_rig(tmp_path, StandIn(unasked), row) as fabric:
            async with fabric.wire("sin") as wire:
                response = await wire.ask(bearer("free"), chat(seed=1, stream=stream))
            assert (response.status, response.error["code"]) == (400, "unsupported_field")
            assert response.error["param"] == "seed"
        other = tmp_path / "other"
        async with provider_rig(other, StandIn(unasked), row, after=same) as fabric:
            async with fabric.wire("sin") as wire:
                response = await wire.ask(bearer("free"), chat(seed=1, stream=stream))
            assert response.status == 200
            assert fabric.engines["sin"].requests[0].json["seed"] == 1

    run(main())


SIGHTED = pytest.mark.parametrize(
    "row",
    [row for name, row in ROWS.items() if name not in ("azure v1", "bedrock by key")],
    ids=lambda row: row.profile,
)


@SIGHTED
def test_a_picture_passes(row: Row, tmp_path: Path) -> None:
    """To a model that takes it, in each provider's own form; to another it is refused before."""
    url = "data:image/png;base64,iVBORw0KGgo="
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": url}}]
    body = chat(messages=[{"role": "user", "content": parts}])

    async def main() -> None:
        provider = StandIn(lambda asked: row.hello(asked, None))
        async with provider_rig(tmp_path, provider, row, media=True) as fabric:
            async with fabric.wire("sin") as wire:
                response = await wire.ask(bearer("free"), body)
            assert response.status == 200, response.body
            assert b"iVBORw0KGgo=" in provider.asked[0].body
        blind = StandIn(lambda asked: row.hello(asked, None))
        async with provider_rig(tmp_path / "blind", blind, row) as fabric:
            async with fabric.wire("sin") as wire:
                response = await wire.ask(bearer("free"), body)
            assert (response.status, response.error["param"]) == (400, "messages")
            assert blind.asked == []

    run(main())


def test_connections_are_kept_whatever_the_path(tmp_path: Path) -> None:
    """Streams have a path of their own; TLS is not begun anew for it."""

    async def main() -> None:
        row = ROWS["gemini"]
        provider = StandIn(lambda asked: row.hello(asked, None))
        async with provider_rig(tmp_path, provider, row) as fabric:
            async with fabric.wire("sin") as wire:
                for stream in (False, True, False, True):
                    assert (await wire.ask(bearer("free"), chat(stream=stream))).status == 200
            assert (len(provider.asked), provider.accepted) == (4, 1)

    run(main())
