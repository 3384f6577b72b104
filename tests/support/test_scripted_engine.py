"""The scripted engine itself, seen through raw sockets."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import struct
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from tests.support import (
    Answer,
    Cut,
    Drop,
    Gate,
    Hang,
    Raw,
    Received,
    Reply,
    Reset,
    Script,
    Status,
    ToolCall,
    run,
)
from tests.support.answers import embed
from tests.support.requests import chunked_size, unchunk
from tests.support.scripted_engine import ScriptedEngine

ROOT = Path(__file__).parent.parent.parent


class Client:
    """One connection, and what came back on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @staticmethod
    async def to(engine: ScriptedEngine) -> Client:
        return Client(*await asyncio.open_connection("127.0.0.1", engine.port))

    def send(self, path: str, body: object = None, method: str = "POST", more: str = "") -> None:
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {len(data)}\r\n\r\n"
        self.writer.write(head.encode() + data)

    def chat(self, **fields: object) -> None:
        messages = [{"role": "user", "content": "hi"}]
        self.send("/v1/chat/completions", {"model": "m", "messages": messages, **fields})

    async def head(self) -> str:
        return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def body(self) -> bytes:
        """One body, by its length or its chunks."""
        head = (await self.head()).lower()
        if "chunked" not in head:
            return await self.reader.readexactly(int(head.split("content-length: ")[1].split()[0]))
        data = bytearray()
        while chunked_size(data) is None:
            data += await self.reader.readuntil(b"\r\n")
        return unchunk(bytes(data))

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


def events(body: bytes) -> list[Any]:  # Any: JSON
    found = body.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n\n")
    lines = [line.removeprefix("data:").strip() for line in found if line.startswith("data:")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def text_of(body: bytes) -> str:
    choices = [choice for event in events(body)[:-1] for choice in event["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


async def streamed(answer: Answer, **fields: object) -> bytes:
    async with ScriptedEngine(Script(answer)) as engine:
        client = await Client.to(engine)
        client.chat(stream=True, **fields)
        body = await client.body()
        await client.close()
        return body


async def everything(reply: Reply, **fields: object) -> tuple[bytes, type[Exception] | None]:
    """All bytes until the end, and how they ended."""
    async with ScriptedEngine(Script(reply)) as engine:
        client = await Client.to(engine)
        client.chat(**fields)
        data = b""
        try:
            while more := await client.reader.read(65536):
                data += more
        except ConnectionResetError:
            client.writer.transport.abort()
            return data, ConnectionResetError
        await client.close()
        return data, None


def check(main: Coroutine[Any, Any, None]) -> None:  # Any: asyncio's own type
    run(main, timeout_s=10)


def test_a_plain_answer_and_the_connection_is_kept() -> None:
    async def main() -> None:
        async with ScriptedEngine(Script(Answer(("a", "b")), Status(429, shape="llama"))) as engine:
            client = await Client.to(engine)
            client.chat()
            first = json.loads(await client.body())
            assert first["choices"][0]["message"] == {"role": "assistant", "content": "ab"}
            assert first["usage"]["completion_tokens"] == 2
            client.chat()
            second = json.loads(await client.body())
            assert second["error"] == {
                "code": 429,
                "message": "scripted",
                "type": "invalid_request_error",
            }
            client.send("/nowhere")
            assert json.loads(await client.body())["error"]["message"].startswith("no such route")
            client.send("/v1/models", method="GET")
            assert json.loads(await client.body())["data"][0]["id"] == "scripted"
            await client.close()
            assert len(engine.connections) == 1
            assert [received.outcome for received in engine.requests] == ["complete"] * 4
            assert engine.requests[0].json["model"] == "m"

    check(main())


def test_a_stream_has_role_tokens_terminal_usage_and_done() -> None:
    body = run(streamed(Answer(("a", "é")), stream_options={"include_usage": True}))
    *chunks, done = events(body)
    assert done == "[DONE]"
    assert [chunk["choices"][0]["delta"] for chunk in chunks[:-1]] == [
        {"role": "assistant", "content": ""},
        {"content": "a"},
        {"content": "é"},
        {},
    ]
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 2


def test_every_framing_carries_the_same_text() -> None:
    tokens = ("héllo ", "👩‍👩‍👧 ", "e\u0301 ", "語")
    for answer in (
        Answer(tokens, eol="\r\n", comments=True),
        Answer(tokens, eol="\r", space=False),
        Answer(tokens, piece=1),
        Answer(tokens, splits=(5, 250, 251), join=3),
        Answer(tokens, join=100, escaped=True, llama=True),
        Answer(tokens, framing="length", usage="terminal", terminals=2, finish=""),
    ):
        assert text_of(run(streamed(answer))) == "".join(tokens)


def test_what_broken_engines_leave_out() -> None:
    stray = b'{"error":"bare"}\n'
    body = run(streamed(Answer(("a",), terminals=0, done=False, role_first=False, stray=stray)))
    assert body.endswith(b"\n\n" + stray)
    assert len(events(body)) == 1


def test_tools_choices_log_probabilities_and_limits() -> None:
    call = ToolCall("now", '{"zone":"utc"}')
    chunks = events(run(streamed(Answer((), tool_calls=(call,), finish="tool_calls"))))[1:-2]
    deltas = [chunk["choices"][0]["delta"]["tool_calls"][0]["function"] for chunk in chunks]
    assert deltas[0]["name"] == "now"
    assert "".join(delta["arguments"] for delta in deltas) == call.arguments
    chunks = events(run(streamed(Answer(("a", "b", "c")), n=2, logprobs=True, max_tokens=2)))
    choices = [choice for chunk in chunks[:-1] for choice in chunk["choices"]]
    assert [choice["index"] for choice in choices] == [0, 1] * 4
    assert [choice["logprobs"]["content"][0]["token"] for choice in choices[2:6]] == [*"aabb"]
    assert {choice["finish_reason"] for choice in choices[6:]} == {"length"}


def test_a_gate_lets_tokens_through_and_an_abort_is_seen() -> None:
    async def main() -> None:
        gate = Gate()
        async with ScriptedEngine(Script(Answer(("a", "b", "c"), gate=gate))) as engine:
            client = await Client.to(engine)
            client.chat(stream=True)
            await engine.until(lambda: engine.requests)
            assert engine.requests[0].tokens_sent == 0
            gate.let(2)
            await engine.until(lambda: engine.requests[0].tokens_sent == 2)
            assert not engine.aborts
            await client.close()
            await engine.until(lambda: engine.aborts)
            assert engine.requests[0].outcome == "aborted"
            assert [mark.kind for mark in engine.marks][-2:] == ["token", "abort"]
            assert engine.aborts[0].token == 2

    check(main())


def test_breaking_off() -> None:
    reset = ConnectionResetError
    assert run(everything(Drop())) == (b"", None)
    assert run(everything(Reset())) == (b"", reset)
    assert run(everything(Raw(b"HTTP/1.1 2"))) == (b"HTTP/1.1 2", None)
    answer = Answer(("a", "b"), role_first=False, cut=Cut("reset", after=0))
    data, ended = run(everything(answer, stream=True))
    assert ended is reset
    assert data.endswith(b"\r\n\r\n")
    assert b"data:" not in data
    data, ended = run(everything(Answer(("a", "b"), cut=Cut("close", after=1)), stream=True))
    assert ended is None
    assert data.count(b"data:") == 2
    assert not data.endswith(b"0\r\n\r\n")
    data, ended = run(everything(Answer(("a", "b"), cut=Cut("error", after=1)), stream=True))
    assert ended is None
    assert data.index(b'"error"') < data.index(b"[DONE]")
    data, ended = run(everything(Answer(("a", "b"), cut=Cut("reset", after=1))))
    assert ended is reset
    assert b'"id"' in data


def test_hanging_resetting_and_refusing() -> None:
    async def main() -> None:
        async with ScriptedEngine(Script(Hang())) as engine:
            client = await Client.to(engine)
            client.chat()
            await engine.until(lambda: engine.requests)
            await engine.refuse()
            engine.reset_all()
            await engine.until(lambda: engine.open_connections == 0)
            assert engine.requests[0].outcome == "cut"
            client.writer.transport.abort()
            try:
                await Client.to(engine)
            except ConnectionRefusedError:
                refused = True
            assert refused
            before = engine.bytes_received
            await engine.accept()
            client = await Client.to(engine)
            await engine.until(lambda: len(engine.connections) == 2)
            assert engine.bytes_received == before
            engine.close_idle()
            assert await client.reader.read() == b""
            await client.close()

    check(main())


def test_a_script_may_choose_and_go_on_from_a_prefix() -> None:
    async def main() -> None:
        def choose(received: Received) -> Reply:
            return Answer(("a", "b", "c"), continues=True, n=len(received.json["messages"]) - 1)

        async with ScriptedEngine(Script(choose=choose, on={"/health": Status(503)})) as engine:
            client = await Client.to(engine)
            user, assistant = {"role": "user"}, {"role": "assistant", "content": "ab"}
            client.chat(messages=[user, assistant])
            choices = json.loads(await client.body())["choices"]
            assert [choice["message"]["content"] for choice in choices] == ["c"]
            client.send("/health", method="GET")
            assert "503" in await client.head()
            await client.close()

    check(main())


def test_embeddings_are_deterministic_and_close_for_like_texts() -> None:
    async def main() -> None:
        async with ScriptedEngine(Script(dimensions=8)) as engine:
            client = await Client.to(engine)
            body = {"model": "e", "input": ["one two", "x"], "encoding_format": "base64"}
            client.send("/v1/embeddings", body)
            data = json.loads(await client.body())["data"]
            vector = struct.unpack("<8f", base64.b64decode(data[0]["embedding"]))
            await client.close()
        assert all(abs(a - b) < 1e-6 for a, b in zip(vector, embed("one two", 8), strict=True))

    check(main())
    near, far = embed("the blue whale", 32), embed("invoice overdue again", 32)
    base = embed("a blue whale", 32)
    assert dot(base, near) > 0.5 > dot(base, far)


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_it_runs_as_a_process() -> None:
    command = [sys.executable, "-m", "tests.support.scripted_engine", "--tokens", "3"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n")
            assert b"200 OK" in client.recv(4096)
        process.terminate()
    assert process.returncode == 0
