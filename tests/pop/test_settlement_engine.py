"""The settlement table against the real engine: a receipt says what llama.cpp itself counts.

The engine is asked the same directly, at temperature 0, and tells with each chunk how many tokens
it has made: that is the ruler. An answer is cut off by its client, its deadline, its engine's
death.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from selvedge.fabric import Engine, Receipt, Release, Served, Usage
from selvedge.ledger import row_of, settle
from tests.support import run
from tests.support.engines import RunningEngine, running_engine
from tests.support.fleets import bearer
from tests.support.pops import Fabric, RunningPop, rig, usage_of
from tests.support.wires import Wire, chat, post

pytestmark = pytest.mark.engine

NOTHING = Usage()
ENTRY = pytest.mark.parametrize("entry", ["sin", "cgk"])
WISH = "Repeat these signs, then tell a story of a river: 😀 한국어 😀 日本"
LONG = "river stone cloud market engine paper silver window garden letter " * 170
ENDLESS: dict[str, Any] = {"temperature": 0, "max_tokens": 1200, "logit_bias": {"2": -100}}
SHORT: dict[str, Any] = {"temperature": 0, "max_tokens": 24}
POLL_S, POLLS_MAX = 0.02, 500

Json = Any  # answers of an engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    with running_engine(tmp_path_factory.mktemp("engine")) as running:
        yield running


def at(engine: RunningEngine) -> Callable[[str, Release], Release]:
    """The release of a rig with this engine at Singapore, and no other."""

    def amend(_: str, release: Release) -> Release:
        own = (Engine("gpu", engine.url, "llama.cpp", (Served("chat", "small"),)),)
        pops = tuple(
            msgspec.structs.replace(pop, engines=own if pop.id == "sin" else ())
            for pop in release.pops
        )
        return msgspec.structs.replace(release, pops=pops)

    return amend


def direct(engine: RunningEngine, **fields: Json) -> tuple[list[int], Json]:
    """The engine's own words: tokens made by the end of each chunk of text, and its usage."""
    body = json.loads(chat(WISH, **fields)) | {
        "model": "small",
        "stream": True,
        "stream_options": {"include_usage": True},
        "timings_per_token": True,
    }
    request = urllib.request.Request(f"{engine.url}/v1/chat/completions", json.dumps(body).encode())
    made, usage = [], None
    with urllib.request.urlopen(request, timeout=60) as response:
        for line in response:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line.removeprefix(b"data: "))
            usage = chunk.get("usage") or usage
            if chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
                made.append(chunk["timings"]["predicted_n"])
    return made, usage


async def text_chunks(wire: Wire, count: int) -> None:
    """Read so many chunks with text."""
    while count:
        event = json.loads(await wire.event())
        count -= bool(event["choices"] and event["choices"][0]["delta"].get("content"))


async def the_receipt(pop: RunningPop) -> Receipt:
    await pop.until(pop.receipts)
    (receipt,) = pop.receipts()
    return receipt


async def busy(engine: RunningEngine, wanted: bool) -> None:
    """Wait, bounded, until the engine works, or does not."""

    def processing() -> bool:
        with urllib.request.urlopen(f"{engine.url}/slots", timeout=30) as answer:
            return any(one["is_processing"] for one in json.load(answer))

    for _ in range(POLLS_MAX):
        if await asyncio.to_thread(processing) is wanted:
            return
        await asyncio.sleep(POLL_S)
    raise AssertionError(f"the engine is not {'at work' if wanted else 'idle'}")


def delivered(receipt: Receipt, made: list[int]) -> int:
    """Tokens by the engine's own count, for the chunks that were delivered."""
    return made[receipt.attempts[-1].tokens - 1]


@ENTRY
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_complete(engine: RunningEngine, entry: str, stream: bool, tmp_path: Path) -> None:
    _, told = direct(engine, **SHORT)

    async def main() -> None:
        async with rig(tmp_path, amend=at(engine)) as fabric, fabric.wire(entry) as wire:
            answer = await wire.ask(bearer("asean"), chat(WISH, stream=stream, **SHORT))
            assert answer.status == 200
            receipt = await the_receipt(fabric.pop(entry))
        settled = settle(receipt)
        assert (settled.row, settled.billed.provenance) == ("complete", "reported")
        assert settled.billed.input == told["prompt_tokens"]
        assert settled.billed.generated == told["completion_tokens"]

    run(main())


@ENTRY
@pytest.mark.parametrize("count", [1, 7, 20])
def test_gone_after_k_tokens(engine: RunningEngine, entry: str, count: int, tmp_path: Path) -> None:
    made, told = direct(engine, **{**ENDLESS, "max_tokens": 200})

    async def main() -> None:
        async with rig(tmp_path, amend=at(engine)) as fabric:
            async with fabric.wire(entry) as wire:
                wire.send(post(bearer("asean"), chat(WISH, stream=True, **ENDLESS)))
                assert (await wire.head())[0] == 200
                await text_chunks(wire, count)
                wire.hang_up()
                receipt = await the_receipt(fabric.pop(entry))
            await busy(engine, wanted=False)
        settled = settle(receipt)
        assert (settled.row, settled.billed.provenance) == ("gone_after", "reported")
        assert settled.billed == receipt.usage
        assert settled.billed.input == told["prompt_tokens"]
        assert settled.billed.generated == delivered(receipt, made)
        assert receipt.attempts[-1].tokens >= count

    run(main())


@ENTRY
def test_gone_before_a_whole_answer(engine: RunningEngine, entry: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, amend=at(engine)) as fabric:
            async with fabric.wire(entry) as wire:
                wire.send(post(bearer("asean"), chat(WISH, **ENDLESS)))
                await busy(engine, wanted=True)
                wire.hang_up()
                receipt = await the_receipt(fabric.pop(entry))
            await busy(engine, wanted=False)
        settled = settle(receipt)
        assert (settled.row, settled.billed) == ("gone_before", NOTHING)

    run(main())


async def cut_by_deadline(fabric: Fabric, ms: int, body: bytes) -> tuple[Receipt, bytes]:
    async with fabric.wire("sin") as wire:
        more = f"selvedge-deadline-ms: {ms}\r\n"
        answer = await wire.ask(bearer("asean"), body, more=more)
        return await the_receipt(fabric.pop("sin")), answer.body


def test_deadline_before_a_token(engine: RunningEngine, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, amend=at(engine)) as fabric:
            receipt, _ = await cut_by_deadline(fabric, 400, chat(LONG, stream=True, **ENDLESS))
            await busy(engine, wanted=False)
        settled = settle(receipt)
        assert (settled.row, settled.billed) == ("deadline_before", NOTHING)

    run(main())


def test_deadline_after_k_tokens(engine: RunningEngine, tmp_path: Path) -> None:
    made, told = direct(engine, **{**ENDLESS, "max_tokens": 700})

    async def main() -> None:
        async with rig(tmp_path, amend=at(engine)) as fabric:
            receipt, said = await cut_by_deadline(fabric, 2500, chat(WISH, stream=True, **ENDLESS))
            await busy(engine, wanted=False)
        assert b"deadline_exceeded" in said
        settled = settle(receipt)
        assert (settled.row, settled.billed.provenance) == ("deadline_after", "reported")
        assert settled.billed.input == told["prompt_tokens"]
        assert settled.billed.generated == delivered(receipt, made)

    run(main(), timeout_s=60)


def test_rejected_by_the_engine(engine: RunningEngine, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, amend=at(engine)) as fabric, fabric.wire("sin") as wire:
            answer = await wire.ask(bearer("asean"), chat(LONG * 4))
            receipt = await the_receipt(fabric.pop("sin"))
        assert answer.error["code"] == "context_length_exceeded"
        assert (row_of(receipt), settle(receipt).billed) == ("rejected", NOTHING)

    run(main())


def test_the_engine_dies_before_a_token(tmp_path: Path) -> None:
    async def main(engine: RunningEngine) -> None:
        async with rig(tmp_path, amend=at(engine)) as fabric, fabric.wire("sin") as wire:
            wire.send(post(bearer("asean"), chat(LONG, stream=True, **ENDLESS)))
            await busy(engine, wanted=True)
            os.kill(engine.process.pid, signal.SIGKILL)
            assert (await wire.answer()).status == 503
            receipt = await the_receipt(fabric.pop("sin"))
        assert (row_of(receipt), settle(receipt).billed) == ("failed_before", NOTHING)
        assert [one.outcome for one in receipt.attempts] == ["failed"]

    with running_engine(tmp_path) as engine:
        run(main(engine))


@ENTRY
def test_the_engine_dies_after_k_tokens(entry: str, tmp_path: Path) -> None:
    async def main(engine: RunningEngine, made: list[int]) -> None:
        async with rig(tmp_path, amend=at(engine)) as fabric, fabric.wire(entry) as wire:
            wire.send(post(bearer("asean"), chat(WISH, stream=True, **ENDLESS)))
            assert (await wire.head())[0] == 200
            await text_chunks(wire, 5)
            os.kill(engine.process.pid, signal.SIGKILL)
            assert b"engine_interrupted" in (await wire.rest())[0]
            receipt = await the_receipt(fabric.pop(entry))
        assert (row_of(receipt), settle(receipt).billed) == ("failed_after", NOTHING)
        # The receipt keeps what the engine had counted when it died.
        assert usage_of(receipt).provenance == "reported"
        assert usage_of(receipt).generated == delivered(receipt, made)

    with running_engine(tmp_path) as engine:
        made, _ = direct(engine, **{**ENDLESS, "max_tokens": 300})
        run(main(engine, made))
