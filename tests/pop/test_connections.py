"""Connections of clients, peers and engines: kept, closed, slow, full, one after another."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from selvedge.fabric import Outcome, Release
from tests.support import Answer, Gate, Raw, Script, run
from tests.support.fleets import bearer
from tests.support.pops import Fabric, rig
from tests.support.wires import Response, chat, post

ENTRY = pytest.mark.parametrize("entry", ["sin", "cgk"])
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])


async def ask(fabric: Fabric, entry: str, key: str = "asean", stream: bool = False) -> Response:
    async with fabric.wire(entry) as wire:
        return await wire.ask(bearer(key), chat(stream=stream))


@ENTRY
def test_requests_in_one_write_are_answered_in_order(entry: str, tmp_path: Path) -> None:
    async def main() -> None:
        replies = [Answer((text,)) for text in ("one", "two", "three")]
        async with rig(tmp_path, sin=Script(*replies)) as fabric, fabric.wire(entry) as wire:
            one, two = chat(), chat(stream=True)
            wire.send(
                post(bearer("asean"), one)
                + post(bearer("asean"), two)
                + b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
                + post(None, one)
                + post(bearer("asean"), one)
            )
            first, second, health, unknown, third = [await wire.answer() for _ in range(5)]
            assert len(fabric.pop(entry).receipts()) == 3
        assert first.json["choices"][0]["message"]["content"] == "one"
        assert second.events[-1] == b"[DONE]"
        assert b'"two"' in second.body
        assert health.json == {"status": "ok"}
        assert unknown.status == 401
        assert third.json["choices"][0]["message"]["content"] == "three"

    run(main())


@ENTRY
@STREAM
def test_idle_connections_that_were_closed_are_replaced_unseen(
    stream: bool, entry: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric:
            engine = fabric.engines["sin"]
            assert (await ask(fabric, entry, stream=stream)).status == 200
            engine.close_idle()
            assert (await ask(fabric, entry, stream=stream)).status == 200
            for connection in fabric.pop("sin").connections:
                connection.close_if_idle()
            assert (await ask(fabric, entry, stream=stream)).status == 200
            engine.reset_all()
            assert (await ask(fabric, entry, stream=stream)).status == 200
            receipts = fabric.pop(entry).receipts()
            assert len(engine.requests) == 4
        assert [one.outcome for one in receipts] == [Outcome.COMPLETE] * 4
        assert [len(one.attempts) for one in receipts] == [1] * 4

    run(main())


@ENTRY
@STREAM
def test_connections_are_kept(stream: bool, entry: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric:
            for _ in range(5):
                assert (await ask(fabric, entry, stream=stream)).status == 200
            assert len(fabric.engines["sin"].connections) == 1
            if entry == "cgk":
                assert fabric.pop("sin").accepted == 1

    run(main())


@ENTRY
def test_a_stream_over_http_1_0(entry: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire(entry) as wire:
            request = post(bearer("asean"), chat(stream=True)).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
            wire.send(request)
            response = await wire.answer()
        assert "transfer-encoding" not in response.headers
        assert response.headers["connection"] == "close"
        assert response.events[-1] == b"[DONE]"

    run(main())


def test_a_client_that_reads_slowly_slows_its_engine(tmp_path: Path) -> None:
    tokens, held = ("x" * 65_536,) * 512, 0

    async def main() -> None:
        nonlocal held
        async with (
            rig(tmp_path, sin=Script(Answer(tokens))) as fabric,
            fabric.wire("sin") as wire,
        ):
            engine, pop = fabric.engines["sin"], fabric.pop("sin")
            wire.send(post(bearer("asean"), chat(stream=True)))
            await wire.head()
            wire.read_nothing()

            def stalled() -> bool:
                nonlocal held
                sizes = [one._transport.get_write_buffer_size() for one in pop.connections]
                held = max(held, *sizes)
                blocked = any(not one.writable.is_set() for one in engine._serving)
                sent = engine.requests[0].outcome == "complete"
                return any(one.write_paused for one in pop.connections) and (blocked or sent)

            await engine.until(stalled)
            wire.read_on()
            body, whole = await wire.rest()
            (receipt,) = pop.receipts()
        assert whole
        assert body.count(tokens[0].encode()) == len(tokens)
        assert 0 < held < 1_000_000, "the PoP holds what its client does not read"
        assert (receipt.outcome, receipt.attempts[0].tokens) == (Outcome.COMPLETE, len(tokens))

    run(main())


def test_a_client_that_reads_nothing_and_leaves(tmp_path: Path) -> None:
    async def main() -> None:
        answer = Answer(("x" * 65_536,) * 512)
        async with rig(tmp_path, sin=Script(answer)) as fabric, fabric.wire("sin") as wire:
            engine, pop = fabric.engines["sin"], fabric.pop("sin")
            wire.send(post(bearer("asean"), chat(stream=True)))
            await wire.head()
            wire.read_nothing()
            await engine.until(lambda: any(one.write_paused for one in pop.connections))
            wire.hang_up(reset=True)
            (receipt,) = await pop.until_receipts()
            await engine.until(lambda: engine.aborts)
        assert receipt.outcome is Outcome.CLIENT_GONE

    run(main())


@ENTRY
@STREAM
def test_many_at_once(stream: bool, entry: str, tmp_path: Path) -> None:
    """Each client gets its own answer, and receipts count without a gap."""

    async def main() -> None:
        script = Script(choose=lambda one: Answer((one.json["messages"][0]["content"], "!")))
        async with rig(tmp_path, sin=script) as fabric:

            async def one(text: str) -> None:
                async with fabric.wire(entry) as wire:
                    response = await wire.ask(bearer("asean"), chat(text, stream=stream))
                assert response.status == 200
                assert json.dumps(text).encode()[1:-1] in response.body

            async with asyncio.TaskGroup() as group:
                for at in range(40):
                    group.create_task(one(f"number-{at}-"))
            receipts = fabric.pop(entry).receipts()
            assert fabric.pop(entry).state.book.open_intents == 0
        assert [one.seq for one in receipts] == list(range(1, 41))
        assert len({one.request_id for one in receipts}) == 40
        assert all(usage.generated == 2 for one in receipts if (usage := one.usage))

    run(main())


def narrow(_: str, release: Release) -> Release:
    """Every engine takes one request at a time."""
    pops = tuple(
        msgspec.structs.replace(
            pop,
            engines=tuple(msgspec.structs.replace(one, in_flight_max=1) for one in pop.engines),
        )
        for pop in release.pops
    )
    return msgspec.structs.replace(release, pops=pops)


@ENTRY
@STREAM
def test_an_engine_that_is_full(stream: bool, entry: str, tmp_path: Path) -> None:
    async def main() -> None:
        gate = Gate()
        sin, fra = Script(Answer(gate=gate)), Script(Answer(("from Frankfurt",)))
        async with (
            rig(tmp_path, sin=sin, fra=fra, amend=narrow) as fabric,
            fabric.wire("sin") as first,
        ):
            first.send(post(bearer("asean"), chat()))
            engine = fabric.engines["sin"]
            await engine.until(lambda: engine.requests)
            refused = await ask(fabric, entry, "asean", stream)
            assert (refused.status, refused.error["code"]) == (503, "no_engine_available")
            assert refused.headers["retry-after-ms"] == "1000"
            assert fabric.untouched("fra")
            assert b"from Frankfurt" in (await ask(fabric, entry, "free", stream)).body
            assert len(engine.requests) == 1
            gate.open()
            assert (await first.answer()).status == 200
            assert (await ask(fabric, entry, "asean", stream)).status == 200

    run(main())


JUNK = {
    "nothing": b"",
    "a page": b"<html>hello</html>",
    "an empty object": b"{}",
    "an array": b"[]",
    "no choices": b'{"choices":null}',
    "half": b'{"choices":[{"index":0,"message"',
    "an error": b'{"error":{"message":"no"}}',
    "an empty stream": b"data: [DONE]\n\n",
    "comments": b": hello\n\n: hello\n\n",
}


@ENTRY
@STREAM
@pytest.mark.parametrize("name", JUNK)
def test_junk_with_status_200_moves_on(name: str, stream: bool, entry: str, tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(JUNK[name])

    async def main() -> None:
        sin, fra = Script(Raw(head + JUNK[name])), Script(Answer(("from Frankfurt",)))
        async with rig(tmp_path, sin=sin, fra=fra) as fabric:
            response = await ask(fabric, entry, "free", stream)
            (receipt,) = fabric.pop(entry).receipts()
        assert response.status == 200
        assert b"from Frankfurt" in response.body
        assert [one.outcome for one in receipt.attempts] == ["failed", "relayed"]

    run(main())


@ENTRY
def test_a_stop_lets_running_requests_end(entry: str, tmp_path: Path) -> None:
    async def main() -> None:
        gate = Gate(1)
        async with (
            rig(tmp_path, sin=Script(Answer(("a", "b"), gate=gate))) as fabric,
            fabric.wire(entry) as wire,
            fabric.wire(entry) as idle,
        ):
            assert (await idle.get("/healthz")).status == 200
            wire.send(post(bearer("asean"), chat(stream=True)))
            await wire.head()
            fabric.pop(entry).server.close()
            assert await idle.ended()
            gate.open()
            body, whole = await wire.rest()
            assert whole
            assert body.endswith(b"data: [DONE]\n\n")
            assert await wire.ended()
            (receipt,) = fabric.pop(entry).receipts()
        assert receipt.outcome is Outcome.COMPLETE

    run(main())
