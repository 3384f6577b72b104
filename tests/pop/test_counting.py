"""How many tokens a prompt has: counted by an engine that can, estimated where none is asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selvedge.fabric import Outcome
from selvedge.ledger import settle
from tests.support import Script, run
from tests.support.fleets import bearer
from tests.support.pops import Fabric, rig, usage_of
from tests.support.script import Raw
from tests.support.wires import chat, post

CHAT = "/v1/chat/completions/input_tokens"
MESSAGES = "/v1/messages/count_tokens"
RESPONSES = "/v1/responses/input_tokens"
HI = {"role": "user", "content": "hi"}
BODIES = {
    CHAT: chat(stream=True),
    MESSAGES: json.dumps({"model": "chat", "messages": [HI]}).encode(),
    RESPONSES: b'{"model":"chat","input":"hi"}',
}


def counting(body: bytes, path: str = CHAT) -> Script:
    """An engine that counts."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return Script(on={path: Raw(head % len(body) + body, close=False)})


def sent(fabric: Fabric) -> int:
    return len(fabric.engines["sin"].requests)


@pytest.mark.parametrize("entry", ["sin", "cgk"])
@pytest.mark.parametrize("path", BODIES)
def test_an_engine_counts_and_nothing_is_billed(entry: str, path: str, tmp_path: Path) -> None:
    async def main() -> None:
        script = counting(b'{"input_tokens":31}')
        async with (
            rig(tmp_path, sin=script, profile="llama.cpp") as fabric,
            fabric.wire(entry) as wire,
        ):
            answer = await wire.ask(bearer("asean"), BODIES[path], path)
            (engine,) = fabric.engines["sin"].requests
            (receipt,) = fabric.pop(entry).receipts()
        assert answer.status == 200
        told = {"input_tokens": 31}
        object_name = {"object": "response.input_tokens"}
        assert answer.json == (told if path == MESSAGES else object_name | told)
        assert engine.path == CHAT
        assert engine.json["messages"][0]["content"] == "hi"
        assert engine.json["model"] == "small"
        assert (receipt.route, receipt.outcome) == (CHAT, Outcome.COMPLETE)
        assert (receipt.served_pop, receipt.served_engine) == ("sin", "gpu")
        assert settle(receipt).billed.total == usage_of(receipt).total == 0
        assert receipt.first_token_us is None

    run(main())


def test_another_engines_own_words(tmp_path: Path) -> None:
    async def main() -> None:
        script = counting(b'{"count":5,"max_model_len":99,"tokens":[1,2,3,4,5]}', "/tokenize")
        async with (
            rig(tmp_path, sin=script, profile="vllm") as fabric,
            fabric.wire("sin") as wire,
        ):
            answer = await wire.ask(bearer("asean"), BODIES[MESSAGES], MESSAGES)
        assert answer.json == {"input_tokens": 5}

    run(main())


@pytest.mark.parametrize("entry", ["sin", "cgk"])
@pytest.mark.parametrize("path", BODIES)
def test_where_no_engine_counts_it_is_an_estimate(entry: str, path: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire(entry) as wire:
            answer = await wire.ask(bearer("asean"), BODIES[path], path)
            assert sent(fabric) == 0
            (receipt,) = fabric.pop(entry).receipts()
        assert answer.status == 200
        assert answer.json["estimated"] is True
        assert answer.json["input_tokens"] > 0
        assert answer.headers["selvedge-served-by"] in ("sin", "sin/")
        assert (receipt.outcome, receipt.served_pop) == (Outcome.COMPLETE, "sin")
        assert receipt.served_engine is None
        assert settle(receipt).billed.total == 0

    run(main())


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"input_tokens":-1}', b'{"input_tokens":"x"}', b"[]", b"<html>"]
)
def test_what_is_no_count_is_no_answer(body: bytes, tmp_path: Path) -> None:
    async def main() -> None:
        script = counting(body)
        async with (
            rig(tmp_path, sin=script, profile="llama.cpp") as fabric,
            fabric.wire("sin") as wire,
        ):
            answer = await wire.ask(bearer("asean"), BODIES[MESSAGES], MESSAGES)
        assert (answer.status, answer.json["error"]["type"]) == (503, "overloaded_error")

    run(main())


def test_it_obeys_what_every_request_obeys(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, profile="llama.cpp") as fabric:
            async with fabric.wire("sin") as wire:
                nobody = await wire.ask(None, BODIES[MESSAGES], MESSAGES)
                barred = await wire.ask(bearer("eea-strict"), BODIES[MESSAGES], MESSAGES)
                embeds = BODIES[MESSAGES].replace(b'"chat"', b'"embed"')
                wrong = await wire.ask(bearer("asean"), embeds, MESSAGES)
                wire.send(post(bearer("asean"), b'{"model":"chat"}', MESSAGES))
                missing = await wire.answer()
            assert sent(fabric) == 0
        assert nobody.status == 401
        assert (barred.status, barred.headers["selvedge-rule"]) == (451, "eea/strict")
        assert (wrong.status, wrong.json["error"]["details"]["param"]) == (400, "model")
        assert (missing.status, missing.json["error"]["details"]["param"]) == (400, "messages")

    run(main())
