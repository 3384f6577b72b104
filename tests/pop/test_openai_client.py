"""The official `openai` client, given nothing but a base URL and a key, against running PoPs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from selvedge.fabric import Outcome
from tests.support import Answer, Cut, Reply, Script, Status, ToolCall, run
from tests.support.answers import embed
from tests.support.fleets import bearer
from tests.support.pops import Fabric, rig, usage_of
from tests.support.wires import post

HI: Any = [{"role": "user", "content": "hi"}]  # Any: the client wants its own TypedDicts
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
CALLED = Answer((), tool_calls=(ToolCall("weather", '{"city":"Surabaya"}'),), finish="tool_calls")
Make = Callable[[Any], Any]  # Any: the sync and the async client, told apart by nothing else


@dataclass(frozen=True)
class Way:
    """Which client goes in at which PoP, and which kind of engine answers."""

    entry: str
    profile: str
    is_async: bool

    def rig(
        self,
        directory: Path,
        *replies: Reply,
        **more: Any,  # Any: whatever `rig` takes
    ) -> AbstractAsyncContextManager[Fabric]:
        return rig(directory, sin=Script(*replies), profile=self.profile, **more)

    async def call(self, fabric: Fabric, make: Make, key: str = "asean", **options: Any) -> Any:
        """What `make` returns, given a client."""
        told = self._told(fabric, key, options)
        if self.is_async:
            async with openai.AsyncOpenAI(**told) as client:
                return await make(client)

        def go() -> Any:
            with openai.OpenAI(**told) as client:
                return make(client)

        return await asyncio.to_thread(go)

    async def stream(self, fabric: Fabric, **fields: Any) -> list[Any]:  # Any: the client's chunks
        """The chunks of a stream of chat."""
        chunks: list[Any] = []
        await self.fill(fabric, chunks, **fields)
        return chunks

    async def fill(self, fabric: Fabric, chunks: list[Any], **fields: Any) -> None:
        """Puts the chunks of a stream into `chunks`, as they come."""
        asked = {"model": "chat", "messages": HI, "stream": True, **fields}
        told = self._told(fabric, "asean", {})
        if self.is_async:
            async with openai.AsyncOpenAI(**told) as client:
                async for chunk in await client.chat.completions.create(**asked):
                    chunks.append(chunk)
            return

        def go() -> None:
            with openai.OpenAI(**told) as client:
                chunks.extend(client.chat.completions.create(**asked))

        await asyncio.to_thread(go)

    def _told(self, fabric: Fabric, key: str, options: dict[str, Any]) -> dict[str, Any]:
        url = f"{fabric.pop(self.entry).url}/v1"
        secret = bearer(key).removeprefix("Bearer ")
        return {"base_url": url, "api_key": secret, "timeout": 10, "max_retries": 0, **options}


WAYS = [
    Way(entry, profile, is_async)
    for entry, profile in (("sin", "openai"), ("cgk", "openai"), ("cgk", "llama.cpp"))
    for is_async in (False, True)
]


@pytest.fixture(params=WAYS, ids=lambda way: f"{way.entry}-{way.profile}-{way.is_async}")
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


def ask(**fields: Any) -> Make:
    return lambda client: client.chat.completions.create(
        **{"model": "chat", "messages": HI, **fields}
    )


async def raised(call: Awaitable[Any], kind: type[openai.APIError]) -> Any:
    with pytest.raises(kind) as caught:
        await call
    assert type(caught.value) is kind
    return caught.value


def test_chat(way: Way, tmp_path: Path) -> None:
    async def main() -> None:
        async with way.rig(tmp_path, Answer(("Hei", "sei ", "høy"))) as fabric:
            answer = await way.call(fabric, ask())
            (receipt,) = fabric.pop(way.entry).receipts()
        assert answer.choices[0].message.content == "Heisei høy"
        assert answer.choices[0].message.role == "assistant"
        assert answer.choices[0].finish_reason == "stop"
        assert answer.model == "chat"
        assert answer.object == "chat.completion"
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 3)
        assert answer._request_id == receipt.request_id
        assert (usage_of(receipt).input, usage_of(receipt).generated) == (7, 3)

    run(main())


def test_a_stream(way: Way, tmp_path: Path) -> None:
    async def main() -> None:
        async with way.rig(tmp_path, Answer(("a", "ß", "🜁"))) as fabric:
            chunks = await way.stream(fabric)
            (engine,) = fabric.engines["sin"].requests
        assert engine.json["model"] == "small"
        assert engine.json["stream_options"] == {"include_usage": True}
        assert "".join(one.choices[0].delta.content or "" for one in chunks) == "aß🜁"
        assert chunks[0].choices[0].delta.role == "assistant"
        assert [one.choices[0].finish_reason for one in chunks if one.choices] == [
            *[None] * (len(chunks) - 1),
            "stop",
        ]
        assert {one.model for one in chunks} == {"chat"}
        assert {one.object for one in chunks} == {"chat.completion.chunk"}
        assert not any(one.usage for one in chunks)

    run(main())


def test_a_stream_with_usage(way: Way, tmp_path: Path) -> None:
    async def main() -> None:
        async with way.rig(tmp_path, Answer(("a", "b"), cached_tokens=3)) as fabric:
            chunks = await way.stream(fabric, stream_options={"include_usage": True})
        *before, last = chunks
        assert last.choices == []
        assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (7, 2)
        assert last.usage.prompt_tokens_details.cached_tokens == 3
        assert all(one.usage is None and "usage" in one.model_fields_set for one in before)

    run(main())


def test_tools(way: Way, tmp_path: Path) -> None:
    async def main() -> None:
        async with way.rig(tmp_path, CALLED) as fabric:
            answer = await way.call(fabric, ask(tools=TOOLS, tool_choice="auto"))
            (call,) = answer.choices[0].message.tool_calls
            (engine,) = fabric.engines["sin"].requests
        assert answer.choices[0].finish_reason == "tool_calls"
        assert not answer.choices[0].message.content
        assert (call.id, call.type) == ("call_1", "function")
        assert call.function.name == "weather"
        assert json.loads(call.function.arguments) == {"city": "Surabaya"}
        assert (engine.json["tools"], engine.json["tool_choice"]) == (TOOLS, "auto")

    run(main())


def test_tools_in_a_stream(way: Way, tmp_path: Path) -> None:
    async def main() -> None:
        async with way.rig(tmp_path, CALLED) as fabric:
            chunks = await way.stream(fabric, tools=TOOLS)
        calls = [call for one in chunks for call in one.choices[0].delta.tool_calls or ()]
        assert (calls[0].id, calls[0].function.name) == ("call_1", "weather")
        assert "".join(call.function.arguments for call in calls) == '{"city":"Surabaya"}'
        assert chunks[-1].choices[0].finish_reason == "tool_calls"

    run(main())


SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "gruß",
        "strict": True,
        "schema": {"type": "object", "properties": {"z": {"type": "number"}, "a": {"const": 1.0}}},
    },
}


def test_a_json_schema_reaches_the_engine(way: Way, tmp_path: Path) -> None:
    async def main() -> None:
        async with way.rig(tmp_path, Answer(('{"z":', "1}"))) as fabric:
            answer = await way.call(fabric, ask(response_format=SCHEMA))
            (engine,) = fabric.engines["sin"].requests
        assert json.loads(answer.choices[0].message.content) == {"z": 1}
        assert engine.json["response_format"] == SCHEMA
        sent = json.dumps(SCHEMA, separators=(",", ":"), ensure_ascii=False).encode()
        assert b'"response_format":' + sent in engine.body

    run(main())


@pytest.mark.parametrize("entry", ["sin", "cgk"])
def test_a_json_schema_is_passed_byte_for_byte(entry: str, tmp_path: Path) -> None:
    odd = b'{ "json_schema" :{"schema":\t{"b":1.50, "a":1e2,"a":[ ]},"name":"\\u00e4"}, "type":"x"}'
    body = b'{"model":"chat","messages":[{"role":"user","content":"hi"}],"response_format":%b}'

    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire(entry) as wire:
            wire.send(post(bearer("asean"), body % odd))
            assert (await wire.answer()).status == 200
            (engine,) = fabric.engines["sin"].requests
        assert odd in engine.body

    run(main())


def test_logprobs_choices_seed_and_stop(way: Way, tmp_path: Path) -> None:
    fields = {"logprobs": True, "top_logprobs": 2, "n": 2, "seed": 2**40, "stop": ["\n\n", "§"]}

    async def main() -> None:
        async with way.rig(tmp_path, Answer(("a", "b"))) as fabric:
            answer = await way.call(fabric, ask(**fields, max_tokens=2))
            (engine,) = fabric.engines["sin"].requests
            (receipt,) = fabric.pop(way.entry).receipts()
        assert [one.index for one in answer.choices] == [0, 1]
        for choice in answer.choices:
            assert choice.message.content == "ab"
            assert choice.finish_reason == "stop"
            assert [one.token for one in choice.logprobs.content] == ["a", "b"]
            assert [one.logprob for one in choice.logprobs.content] == [-0.1, -0.2]
        assert {name: engine.json[name] for name in fields} == fields
        assert answer.usage.completion_tokens == usage_of(receipt).generated == 4

    run(main())


def test_choices_and_logprobs_in_a_stream(way: Way, tmp_path: Path) -> None:
    async def main() -> None:
        async with way.rig(tmp_path, Answer(("a", "b"))) as fabric:
            chunks = await way.stream(fabric, n=2, logprobs=True)
        choices = [choice for one in chunks for choice in one.choices]
        for index in (0, 1):
            mine = [one for one in choices if one.index == index]
            assert "".join(one.delta.content or "" for one in mine) == "ab"
            assert [one.finish_reason for one in mine if one.finish_reason] == ["stop"]
            tokens = [token.token for one in mine if one.logprobs for token in one.logprobs.content]
            assert tokens == ["a", "b"]

    run(main())


def test_completions(way: Way, tmp_path: Path) -> None:
    async def main() -> None:
        async with way.rig(tmp_path, Answer(("one", " two", " three"))) as fabric:
            answer = await way.call(
                fabric,
                lambda client: client.completions.create(model="chat", prompt="p", max_tokens=2),
            )
            (receipt,) = fabric.pop(way.entry).receipts()
        assert answer.object == "text_completion"
        assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("one two", "length")
        assert (receipt.route, receipt.finish_reason) == ("/v1/completions", "length")

    run(main())


@pytest.mark.parametrize("encoding", ["base64", "float"])
def test_embeddings(way: Way, encoding: str, tmp_path: Path) -> None:
    fields = {} if encoding == "base64" else {"encoding_format": "float"}

    async def main() -> None:
        async with way.rig(tmp_path) as fabric:
            answer = await way.call(
                fabric,
                lambda client: client.embeddings.create(
                    model="embed", input=["red fox", "blue"], **fields
                ),
            )
            (engine,) = fabric.engines["sin"].requests
            (receipt,) = fabric.pop(way.entry).receipts()
        assert engine.json["encoding_format"] == encoding
        assert [one.index for one in answer.data] == [0, 1]
        for one, text in zip(answer.data, ["red fox", "blue"], strict=True):
            assert one.embedding == pytest.approx(embed(text, 32), abs=1e-6)
        assert answer.usage.prompt_tokens == usage_of(receipt).input == 3
        assert receipt.outcome is Outcome.COMPLETE

    run(main())


def test_models(way: Way, tmp_path: Path) -> None:
    async def main() -> None:
        async with way.rig(tmp_path) as fabric:
            found = await way.call(fabric, lambda client: _listed(client, way.is_async))
            one = await way.call(fabric, lambda client: client.models.retrieve("chat"))
            unknown = way.call(fabric, lambda client: client.models.retrieve("nope"))
            error = await raised(unknown, openai.NotFoundError)
        assert [model.id for model in found.data] == ["chat", "embed"]
        assert (one.id, one.object, one.owned_by) == ("chat", "model", "selvedge")
        assert (error.code, error.param) == ("model_not_found", "model")
        assert error.request_id.startswith("req_")

    run(main())


def _listed(client: Any, is_async: bool) -> Any:
    page = client.models.list()

    async def listed() -> Any:
        return await page

    return listed() if is_async else page


REFUSED: dict[str, tuple[Make, type[openai.APIError], str, str | None, int]] = {
    "range": (ask(temperature=9), openai.BadRequestError, "invalid_value", "temperature", 400),
    "type": (ask(messages="hi"), openai.BadRequestError, "invalid_type", "messages", 400),
    "model": (ask(model="nope"), openai.NotFoundError, "model_not_found", "model", 404),
    "route": (ask(model="embed"), openai.BadRequestError, "unsupported_route", "model", 400),
    "url": (
        lambda client: client.moderations.create(input="hi"),
        openai.NotFoundError,
        "unknown_url",
        None,
        404,
    ),
    "size": (ask(user="x" * 5000), openai.APIStatusError, "request_too_large", None, 413),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_are_the_clients_own_classes(way: Way, name: str, tmp_path: Path) -> None:
    make, kind, code, param, status = REFUSED[name]

    async def main() -> None:
        limits = {way.entry: {"body_bytes_max": 4000}}
        async with way.rig(tmp_path, settings=limits) as fabric:
            error = await raised(way.call(fabric, make, max_retries=2), kind)
            assert len(fabric.pop(way.entry).work()) == 1, "retried"
            assert fabric.engines["sin"].connections == []
        assert (error.status_code, error.code, error.param) == (status, code, param)
        assert error.request_id.startswith("req_")

    run(main())


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"default_headers": {"Authorization": "Basic eA=="}}, "missing_api_key"),
        ({"api_key": "sk-asean-wrong"}, "invalid_api_key"),
        ({"api_key": "sk-nobody-secretofasean"}, "invalid_api_key"),
        ({"api_key": "x"}, "invalid_api_key"),
        ({"api_key": bearer("old").removeprefix("Bearer ")}, "key_expired"),
    ],
)
def test_authentication(way: Way, options: dict[str, Any], code: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with way.rig(tmp_path) as fabric:
            call = way.call(fabric, ask(), max_retries=2, **options)
            error = await raised(call, openai.AuthenticationError)
            assert (error.status_code, error.code) == (401, code)
            assert len(fabric.pop(way.entry).work()) == 1, "retried"
            assert fabric.pop(way.entry).tallied() == {code: 1}
            assert fabric.pop(way.entry).receipts() == []

    run(main())


def test_residency(way: Way, tmp_path: Path) -> None:
    async def main() -> None:
        async with way.rig(tmp_path) as fabric:
            call = way.call(fabric, ask(), key="eea-strict", max_retries=2)
            error = await raised(call, openai.APIStatusError)
            assert error.status_code == 451
            assert (error.code, error.type) == ("residency_ingress", "permission_error")
            assert "'eea/strict'" in error.message
            assert error.response.headers["selvedge-rule"] == "eea/strict"
            assert len(fabric.pop(way.entry).work()) == 1, "retried"
            assert fabric.untouched("fra")

    run(main())


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The client's waits between attempts; none of them happens."""
    waited: list[float] = []

    async def pretend(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("openai._base_client.time", SimpleNamespace(sleep=waited.append))
    monkeypatch.setattr("openai._base_client.anyio", SimpleNamespace(sleep=pretend))
    return waited


def test_capacity_is_retried_as_told(way: Way, sleeps: list[float], tmp_path: Path) -> None:
    async def main() -> None:
        async with way.rig(tmp_path, Status(500)) as fabric:
            call = way.call(fabric, ask(), max_retries=2)
            error = await raised(call, openai.InternalServerError)
            work = fabric.pop(way.entry).work()
            receipts = fabric.pop(way.entry).receipts()
            assert len(fabric.engines["sin"].requests) == 3
        assert (error.status_code, error.code) == (503, "no_engine_available")
        assert error.response.headers["x-should-retry"] == "true"
        assert error.response.headers["retry-after-ms"] == "1000"
        assert [one.head.headers.get("x-stainless-retry-count") for one in work] == ["0", "1", "2"]
        assert sleeps == [1.0, 1.0]
        assert [one.outcome for one in receipts] == [Outcome.FAILED] * 3
        assert error.request_id == receipts[-1].request_id

    run(main())


def test_a_retry_succeeds(way: Way, sleeps: list[float], tmp_path: Path) -> None:
    async def main() -> None:
        async with way.rig(tmp_path, Status(503), Answer()) as fabric:
            answer = await way.call(fabric, ask(), max_retries=2)
            receipts = fabric.pop(way.entry).receipts()
        assert answer.choices[0].message.content == "Hello, world!"
        assert [one.outcome for one in receipts] == [Outcome.FAILED, Outcome.COMPLETE]
        assert sleeps == [1.0]

    run(main())


@pytest.mark.parametrize("how", ["error", "reset", "close"])
def test_a_broken_stream_raises(way: Way, how: Any, tmp_path: Path) -> None:
    async def main() -> None:
        chunks: list[Any] = []
        async with way.rig(tmp_path, Answer(("a", "b", "c"), cut=Cut(how, after=2))) as fabric:
            error = await raised(way.fill(fabric, chunks), openai.APIError)
            (receipt,) = fabric.pop(way.entry).receipts()
        assert "".join(one.choices[0].delta.content or "" for one in chunks) == "ab"
        assert error.code == "engine_interrupted"
        assert (receipt.outcome, receipt.code) == (Outcome.FAILED, "engine_interrupted")
        assert usage_of(receipt).generated == 2

    run(main())
