"""Whatever an engine's habits, a client reads OpenAI's framing: every variant, on every route."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selvedge.fabric import Outcome, Receipt
from tests.support import Answer, Script, ToolCall, run
from tests.support.fleets import bearer
from tests.support.pops import Fabric, rig, usage_of
from tests.support.wires import Response, chat

TOKENS = ("Grüß", " dich", ", 世界", " 🜁\u2028", ' "usage"', "\n\ndata: [DONE]\n\n", "ä")
PLAIN = Answer(TOKENS)
STRAY = {
    "id": "chatcmpl-scripted",
    "object": "chat.completion.chunk",
    "created": 1_700_000_000,
    "model": "small",
    "choices": [{"index": 0, "delta": {"content": "é!"}, "finish_reason": None}],
}

VARIANTS: dict[str, Answer] = {
    "plain": PLAIN,
    "llama": replace(PLAIN, llama=True, usage="terminal"),
    "comments": replace(PLAIN, comments=True),
    "crlf": replace(PLAIN, eol="\r\n"),
    "cr": replace(PLAIN, eol="\r"),
    "crlf, byte by byte": replace(PLAIN, eol="\r\n", piece=1),
    "byte by byte": replace(PLAIN, piece=1),
    "byte by byte, comments": replace(PLAIN, piece=1, comments=True, eol="\r"),
    "pieces of three": replace(PLAIN, piece=3),
    "pieces of seven, no space": replace(PLAIN, piece=7, space=False),
    "splits": replace(PLAIN, splits=tuple(range(150, 260))),
    "joined": replace(PLAIN, join=4),
    "all at once": replace(PLAIN, join=1000),
    "no space": replace(PLAIN, space=False),
    "escaped": replace(PLAIN, escaped=True),
    "with a length": replace(PLAIN, framing="length"),
    "until close": replace(PLAIN, framing="close"),
    "until close, no done": replace(PLAIN, framing="close", done=False),
    "no keep-alive": replace(PLAIN, keep_alive=False),
    "another model": replace(PLAIN, model="/models/x.gguf"),
    "no done": replace(PLAIN, done=False),
    "no terminal": replace(PLAIN, terminals=0),
    "two terminals": replace(PLAIN, terminals=2),
    "empty reason": replace(PLAIN, finish=""),
    "null reason": replace(PLAIN, finish=None),
    "usage apart": replace(PLAIN, usage="separate"),
    "usage in the terminal": replace(PLAIN, usage="terminal"),
    "usage everywhere": replace(PLAIN, usage="every"),
    "no usage": replace(PLAIN, usage="none"),
    "usage everywhere, two terminals": replace(PLAIN, usage="every", terminals=2),
    "bare line": replace(PLAIN, stray=json.dumps(STRAY).encode() + b"\n"),
    "no role": replace(PLAIN, role_first=False),
    "tools": replace(
        PLAIN, tool_calls=(ToolCall("f", '{"a":"ß"}'), ToolCall("g")), finish="tool_calls"
    ),
    "length": replace(PLAIN, finish="length"),
}
ROUTES = [("sin", "openai"), ("sin", "llama.cpp"), ("cgk", "openai"), ("cgk", "llama.cpp")]
NAMED = [pytest.param(answer, id=name) for name, answer in VARIANTS.items()]


async def answered(fabric: Fabric, entry: str, body: bytes) -> tuple[Response, Receipt]:
    async with fabric.wire(entry) as wire:
        response = await wire.ask(bearer("asean"), body)
    (receipt,) = fabric.pop(entry).receipts()
    assert response.status == 200, response
    assert response.whole
    assert (receipt.outcome, receipt.status) == (Outcome.COMPLETE, 200)
    return response, receipt


def chunks_of(response: Response) -> list[dict[str, Any]]:  # Any: JSON
    """The chunks of a stream, once what holds of every stream has been checked."""
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    *payloads, last = response.events
    assert last == b"[DONE]"
    assert b"[DONE]" not in payloads
    chunks = [json.loads(one.decode()) for one in payloads]
    assert len({one["id"] for one in chunks}) == 1
    assert len({one["created"] for one in chunks}) == 1
    assert {one["model"] for one in chunks} == {"chat"}
    assert not any("prompt_progress" in one for one in chunks)
    return chunks


def check_ends(chunks: list[dict[str, Any]], choices: int, reason: str) -> None:
    """One terminal chunk per choice, after everything else of that choice."""
    pieces = [piece for one in chunks for piece in one["choices"]]
    assert {piece["index"] for piece in pieces} == set(range(choices))
    for index in range(choices):
        reasons = [one["finish_reason"] for one in pieces if one["index"] == index]
        assert reasons == [*[None] * (len(reasons) - 1), reason]


def check_usage(chunks: list[dict[str, Any]], asked: bool, expected: tuple[int, int]) -> None:
    if not asked:
        assert not any("usage" in one for one in chunks)
        assert all(one["choices"] for one in chunks)
        return
    *before, last = chunks
    assert all(one["usage"] is None and one["choices"] for one in before)
    assert last["choices"] == []
    usage = last["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == expected
    assert usage["total_tokens"] == sum(expected)


def text_of(chunks: list[dict[str, Any]], index: int = 0) -> str:
    pieces = [piece for one in chunks for piece in one["choices"] if piece["index"] == index]
    return "".join(piece["delta"].get("content") or "" for piece in pieces)


def said_by(answer: Answer) -> str:
    return "".join(answer.tokens) + ("é!" if answer.stray else "")


def deltas_of(answer: Answer) -> int:
    """How many chunks of the answer carry something."""
    calls = sum(1 + -(-len(call.arguments) // 8) for call in answer.tool_calls)
    return len(answer.tokens) + calls + bool(answer.stray)


@pytest.mark.parametrize("asked", [False, True], ids=["", "usage"])
@pytest.mark.parametrize(("entry", "profile"), ROUTES)
@pytest.mark.parametrize("answer", NAMED)
def test_a_stream_of_chat(
    answer: Answer, entry: str, profile: str, asked: bool, tmp_path: Path
) -> None:
    body = chat(stream=True, stream_options={"include_usage": True} if asked else None)
    counted = answer.usage == "none"

    async def main() -> None:
        async with rig(tmp_path, sin=Script(answer), profile=profile) as fabric:
            response, receipt = await answered(fabric, entry, body)
        chunks = chunks_of(response)
        check_ends(chunks, 1, answer.finish or "stop")
        tokens = deltas_of(answer) - (0 if counted else bool(answer.stray))
        # An engine that counts nothing: the prompt is estimated from its bytes.
        check_usage(chunks, asked, (usage_of(receipt).input if counted else 7, tokens))
        assert text_of(chunks) == said_by(answer)
        # The first delta carries the role, also where the engine never names it.
        assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
        assert {one["object"] for one in chunks} == {"chat.completion.chunk"}
        assert usage_of(receipt).generated == tokens
        assert usage_of(receipt).provenance == ("estimated" if counted else "reported")
        assert usage_of(receipt).input > 0
        assert receipt.attempts[0].tokens == deltas_of(answer)
        assert receipt.finish_reason == (answer.finish or "stop")

    run(main())


@pytest.mark.parametrize("entry", ["sin", "cgk"])
@pytest.mark.parametrize("answer", NAMED)
def test_a_stream_that_is_assembled(answer: Answer, entry: str, tmp_path: Path) -> None:
    """A client of JSON at an engine that is always asked for a stream."""
    counted = answer.usage == "none"

    async def main() -> None:
        async with rig(tmp_path, sin=Script(answer), profile="llama.cpp") as fabric:
            response, receipt = await answered(fabric, entry, chat())
            (engine,) = fabric.engines["sin"].requests
        assert engine.json["stream"] is True
        assert response.headers["content-type"] == "application/json"
        (choice,) = response.json["choices"]
        assert choice["message"]["content"] == said_by(answer)
        assert choice["message"]["role"] == "assistant"
        assert choice["finish_reason"] == (answer.finish or "stop")
        assert (response.json["object"], response.json["model"]) == ("chat.completion", "chat")
        calls = [one["function"] for one in choice["message"].get("tool_calls", ())]
        assert calls == [{"name": c.name, "arguments": c.arguments} for c in answer.tool_calls]
        tokens = deltas_of(answer) - (0 if counted else bool(answer.stray))
        assert response.json["usage"]["completion_tokens"] == tokens
        assert usage_of(receipt).generated == tokens

    run(main())


@pytest.mark.parametrize(("entry", "profile"), ROUTES)
@pytest.mark.parametrize("name", ["plain", "byte by byte", "two terminals", "no terminal"])
def test_several_choices(name: str, entry: str, profile: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=Script(VARIANTS[name]), profile=profile) as fabric:
            response, _ = await answered(fabric, entry, chat(stream=True, n=3))
        chunks = chunks_of(response)
        check_ends(chunks, 3, "stop")
        check_usage(chunks, False, (0, 0))
        assert [text_of(chunks, index) for index in range(3)] == ["".join(TOKENS)] * 3

    run(main())


@pytest.mark.parametrize(("entry", "profile"), ROUTES)
@pytest.mark.parametrize("name", ["plain", "byte by byte", "crlf", "no terminal", "no usage"])
def test_a_stream_of_a_completion(name: str, entry: str, profile: str, tmp_path: Path) -> None:
    options = {"include_usage": True}
    asked = {"model": "chat", "prompt": "p", "stream": True, "stream_options": options}

    async def main() -> None:
        async with (
            rig(tmp_path, sin=Script(VARIANTS[name]), profile=profile) as fabric,
            fabric.wire(entry) as wire,
        ):
            body = json.dumps(asked).encode()
            chunks = chunks_of(await wire.ask(bearer("asean"), body, "/v1/completions"))
        check_ends(chunks, 1, "stop")
        estimated = len(body) // 4 + 1
        check_usage(chunks, True, (estimated if name == "no usage" else 7, len(TOKENS)))
        texts = [piece["text"] for one in chunks for piece in one["choices"]]
        assert "".join(texts) == "".join(TOKENS)
        assert {one["object"] for one in chunks} == {"text_completion"}

    run(main())


@pytest.mark.parametrize(("entry", "profile"), ROUTES)
def test_an_answer_without_a_token(entry: str, profile: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=Script(Answer(())), profile=profile) as fabric:
            response, receipt = await answered(fabric, entry, chat(stream=True))
        chunks = chunks_of(response)
        check_ends(chunks, 1, "stop")
        assert text_of(chunks) == ""
        assert usage_of(receipt).generated == 0

    run(main())


@pytest.mark.parametrize("entry", ["sin", "cgk"])
def test_many_streams_on_one_connection(entry: str, tmp_path: Path) -> None:
    """Variants that keep the connection and variants that do not, one after another."""
    answers = list(VARIANTS.values())

    async def main() -> None:
        async with (
            rig(tmp_path, sin=Script(*answers)) as fabric,
            fabric.wire(entry) as wire,
        ):
            for answer in answers:
                response = await wire.ask(bearer("asean"), chat(stream=True))
                assert text_of(chunks_of(response)) == said_by(answer)
            receipts = fabric.pop(entry).receipts()
            assert fabric.pop(entry).accepted == 1
        assert [one.seq for one in receipts] == list(range(1, len(answers) + 1))
        assert {one.outcome for one in receipts} == {Outcome.COMPLETE}

    run(main())
