"""Receipts where the engine guesses ahead: several tokens come at once, and each is counted once.

The engine is asked the same directly; it says how many tokens it had made by each chunk, how many
of its guesses held, and, without guessing, what it would have answered.
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from selvedge.fabric import Usage
from selvedge.ledger import settle
from tests.pop.test_settlement_engine import at, busy, delivered, text_chunks, the_receipt
from tests.support import run
from tests.support.engines import RunningEngine, running_engine
from tests.support.fleets import bearer
from tests.support.pops import rig
from tests.support.wires import chat, post

pytestmark = pytest.mark.engine

SAID = "The river is wide and the river is deep and the boat is small. "
WISH = f"Copy this text ten times, word by word: {SAID * 6}"
GUESSING = ["--speculation", "ngram", "--lookup-tokens", "2", "--draft-tokens", "6"]
TOKENS = 120
ASKED: dict[str, Any] = {"temperature": 0, "max_tokens": TOKENS, "logit_bias": {"2": -100}}
ENTRY = pytest.mark.parametrize("entry", ["sin", "cgk"])

Json = Any  # answers of an engine


class Told(msgspec.Struct):
    """What the engine itself says of its answer."""

    text: str = ""
    made: list[int] = []
    usage: Json = None
    timings: Json = None


def direct(engine: RunningEngine) -> Told:
    body = json.loads(chat(WISH, **ASKED)) | {
        "model": "small",
        "stream": True,
        "stream_options": {"include_usage": True},
        "timings_per_token": True,
    }
    request = urllib.request.Request(f"{engine.url}/v1/chat/completions", json.dumps(body).encode())
    told = Told()
    with urllib.request.urlopen(request, timeout=60) as response:
        for line in response:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line.removeprefix(b"data: "))
            told.usage = chunk.get("usage") or told.usage
            told.timings = chunk.get("timings") or told.timings
            if chunk["choices"] and (text := chunk["choices"][0]["delta"].get("content")):
                told.text += text
                told.made.append(chunk["timings"]["predicted_n"])
    return told


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    with running_engine(tmp_path_factory.mktemp("engine"), *GUESSING) as running:
        yield running


@pytest.fixture(scope="module")
def told(engine: RunningEngine) -> Told:
    return direct(engine)


def test_guesses_change_no_answer(told: Told, tmp_path: Path) -> None:
    assert told.timings["draft_n_accepted"] > TOKENS // 4, "the text is made to be guessed"
    with running_engine(tmp_path) as plain:
        unguessed = direct(plain)
    assert "draft_n" not in unguessed.timings
    assert (told.text, told.usage["completion_tokens"]) == (
        unguessed.text,
        unguessed.usage["completion_tokens"],
    )


@ENTRY
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_complete(
    engine: RunningEngine, told: Told, entry: str, stream: bool, tmp_path: Path
) -> None:
    async def main() -> None:
        async with rig(tmp_path, amend=at(engine)) as fabric, fabric.wire(entry) as wire:
            answer = await wire.ask(bearer("asean"), chat(WISH, stream=stream, **ASKED))
            assert answer.status == 200
            receipt = await the_receipt(fabric.pop(entry))
        settled = settle(receipt)
        assert (settled.row, settled.billed.provenance) == ("complete", "reported")
        assert settled.billed.input == told.usage["prompt_tokens"]
        assert settled.billed.generated == told.usage["completion_tokens"] == TOKENS

    run(main())


@ENTRY
@pytest.mark.parametrize("count", [1, 20, 60])
def test_gone_after_k_chunks(
    engine: RunningEngine, told: Told, entry: str, count: int, tmp_path: Path
) -> None:
    async def main() -> None:
        async with rig(tmp_path, amend=at(engine)) as fabric:
            async with fabric.wire(entry) as wire:
                wire.send(post(bearer("asean"), chat(WISH, stream=True, **ASKED)))
                assert (await wire.head())[0] == 200
                await text_chunks(wire, count)
                wire.hang_up()
                receipt = await the_receipt(fabric.pop(entry))
            await busy(engine, wanted=False)
        settled = settle(receipt)
        if settled.row == "complete":
            # The whole rest came before the hang-up was seen: a guess that held is quick.
            assert settled.billed.generated == TOKENS
            return
        assert (settled.row, settled.billed.provenance) == ("gone_after", "reported")
        assert settled.billed == receipt.usage != Usage()
        assert settled.billed.input == told.usage["prompt_tokens"]
        assert settled.billed.generated == delivered(receipt, told.made)
        assert receipt.attempts[-1].tokens >= count
        assert told.made[count - 1] <= settled.billed.generated <= TOKENS

    run(main())


def test_deadline_after_k_chunks(engine: RunningEngine, told: Told, tmp_path: Path) -> None:
    endless = {**ASKED, "max_tokens": 1500}

    async def main() -> None:
        async with rig(tmp_path, amend=at(engine)) as fabric, fabric.wire("sin") as wire:
            more = "selvedge-deadline-ms: 5000\r\n"
            body = chat(WISH, stream=True, **endless)
            answer = await wire.ask(bearer("asean"), body, more=more)
            receipt = await the_receipt(fabric.pop("sin"))
            await busy(engine, wanted=False)
        assert b"deadline_exceeded" in answer.body
        settled = settle(receipt)
        if settled.row == "deadline_before":  # a machine that was too slow for the prompt
            assert settled.billed == Usage()
            return
        assert (settled.row, settled.billed.provenance) == ("deadline_after", "reported")
        counted = receipt.attempts[-1].tokens
        if counted <= len(told.made):
            assert settled.billed.generated == delivered(receipt, told.made)
        else:
            assert settled.billed.generated >= counted

    run(main(), timeout_s=60)


def test_a_race_of_guessing_answers(engine: RunningEngine, told: Told, tmp_path: Path) -> None:
    """Slots that guess together stay apart: both receipts have their own tokens."""

    async def main() -> None:
        async with (
            rig(tmp_path, amend=at(engine)) as fabric,
            fabric.wire("sin") as one,
            fabric.wire("sin") as two,
        ):
            body = chat(WISH, **ASKED)
            answers = await asyncio.gather(
                one.ask(bearer("asean"), body), two.ask(bearer("asean"), body)
            )
            assert [answer.status for answer in answers] == [200, 200]
            receipts = await fabric.pop("sin").until_receipts(2)
            billed = [settle(receipt).billed for receipt in receipts]
        assert [usage.generated for usage in billed] == [TOKENS, TOKENS]
        assert {usage.input for usage in billed} == {told.usage["prompt_tokens"]}

    run(main(), timeout_s=60)
