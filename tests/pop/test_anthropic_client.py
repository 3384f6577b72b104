"""The official `anthropic` client, given nothing but a base URL and a key, against running PoPs."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anthropic
import msgspec
import pytest

from selvedge.fabric import Outcome, Release
from tests.support import Answer, Cut, Gate, Reply, Script, Status, ToolCall, run
from tests.support.fleets import bearer
from tests.support.pops import Fabric, rig, usage_of
from tests.support.wires import Response, Wire

HI: Any = [{"role": "user", "content": "hi"}]  # Any: the client wants its own TypedDicts
TOOLS: Any = [{"name": "weather", "input_schema": {"type": "object"}}]
CALLED = Answer((), tool_calls=(ToolCall("weather", '{"city":"Surabaya"}'),), finish="tool_calls")
PATH = "/v1/messages"
BODY = json.dumps({"model": "chat", "max_tokens": 9, "messages": HI}).encode()
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
        secret = bearer(key).removeprefix("Bearer ")
        url = fabric.pop(self.entry).url
        told = {"base_url": url, "api_key": secret, "timeout": 10, "max_retries": 0, **options}
        if self.is_async:
            async with anthropic.AsyncAnthropic(**told) as client:
                return await make(client)

        def go() -> Any:
            with anthropic.Anthropic(**told) as client:
                return make(client)

        return await asyncio.to_thread(go)

    async def stream(self, fabric: Fabric, events: list[Any], **fields: Any) -> Any:
        """The last message of a stream by the client's own helper; its events as they come."""
        asked = {"model": "chat", "max_tokens": 99, "messages": HI, **fields}

        async def pumped(client: Any) -> Any:
            async with client.messages.stream(**asked) as stream:
                async for event in stream:
                    events.append(event)
                return await stream.get_final_message()

        def pump(client: Any) -> Any:
            with client.messages.stream(**asked) as stream:
                events.extend(stream)
                return stream.get_final_message()

        return await self.call(fabric, pumped if self.is_async else pump)


WAYS = [
    Way("sin", "openai", is_async=False),
    Way("cgk", "openai", is_async=True),
    Way("cgk", "llama.cpp", is_async=False),
    Way("sin", "llama.cpp", is_async=True),
]


@pytest.fixture(params=WAYS, ids=lambda way: f"{way.entry}-{way.profile}-{way.is_async}")
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


def ask(**fields: Any) -> Make:
    return lambda client: client.messages.create(
        **{"model": "chat", "max_tokens": 99, "messages": HI, **fields}
    )


async def raised(call: Awaitable[Any], kind: type[anthropic.APIError]) -> Any:
    with pytest.raises(kind) as caught:
        await call
    assert type(caught.value) is kind
    return caught.value


def test_a_message(way: Way, tmp_path: Path) -> None:
    async def main() -> None:
        async with way.rig(tmp_path, Answer(("Hei", "sei ", "høy"), cached_tokens=3)) as fabric:
            system = "Be short."
            answer = await way.call(fabric, ask(system=system, metadata={"user_id": "someone"}))
            (receipt,) = fabric.pop(way.entry).receipts()
            (personal,) = fabric.pop(way.entry).personal()
            (engine,) = fabric.engines["sin"].requests
        assert [(one.type, one.text) for one in answer.content] == [("text", "Heisei høy")]
        assert (answer.role, answer.model, answer.stop_reason) == ("assistant", "chat", "end_turn")
        assert (answer.usage.input_tokens, answer.usage.cache_read_input_tokens) == (4, 3)
        assert answer.usage.output_tokens == 3
        assert answer._request_id == receipt.request_id
        assert engine.path == "/v1/chat/completions"
        assert engine.json["messages"] == [{"role": "system", "content": system}, *HI]
        assert (receipt.route, receipt.dialect) == ("/v1/chat/completions", "anthropic")
        assert (receipt.outcome, receipt.finish_reason) == (Outcome.COMPLETE, "stop")
        assert (usage_of(receipt).input, usage_of(receipt).generated) == (7, 3)
        assert personal.end_user == "someone"

    run(main())


def test_a_stream(way: Way, tmp_path: Path) -> None:
    async def main() -> None:
        events: list[Any] = []
        async with way.rig(tmp_path, Answer(("a", "ß", "🜁"))) as fabric:
            message = await way.stream(fabric, events)
            (receipt,) = fabric.pop(way.entry).receipts()
        assert [one.type for one in events if one.type != "text"] == [
            "message_start",
            "content_block_start",
            *["content_block_delta"] * 3,
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
        assert message.content[0].text == "aß🜁"
        assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 3)
        assert (receipt.stream, receipt.dialect) == (True, "anthropic")
        assert usage_of(receipt).generated == 3

    run(main())


def test_a_round_of_tools(way: Way, tmp_path: Path) -> None:
    async def main() -> None:
        events: list[Any] = []
        async with way.rig(tmp_path, CALLED, Answer(("32 °C",)), CALLED) as fabric:
            first = await way.call(fabric, ask(tools=TOOLS, tool_choice={"type": "any"}))
            (call,) = first.content
            result = {"type": "tool_result", "tool_use_id": call.id, "content": "32"}
            turns = [
                *HI,
                {"role": "assistant", "content": [call.model_dump(exclude_none=True)]},
                {"role": "user", "content": [result]},
            ]
            second = await way.call(fabric, ask(tools=TOOLS, messages=turns))
            streamed = await way.stream(fabric, events, tools=TOOLS)
            one, two, _ = fabric.engines["sin"].requests
        assert (first.stop_reason, call.name) == ("tool_use", "weather")
        assert call.input == {"city": "Surabaya"}
        assert one.json["tool_choice"] == "required"
        assert one.json["tools"][0]["function"]["parameters"] == {"type": "object"}
        asked, found = two.json["messages"][1:]
        assert asked["tool_calls"][0]["id"] == found["tool_call_id"] == call.id
        assert json.loads(asked["tool_calls"][0]["function"]["arguments"]) == call.input
        assert (found["role"], found["content"]) == ("tool", "32")
        assert second.content[0].text == "32 °C"
        assert streamed.content[0].input == {"city": "Surabaya"}
        assert streamed.stop_reason == "tool_use"

    run(main())


def seeing(_: str, release: Release) -> Release:
    """The release, its models with eyes."""
    models = tuple(msgspec.structs.replace(one, media=True) for one in release.models)
    return msgspec.structs.replace(release, models=models)


def test_a_picture_and_a_limit(way: Way, tmp_path: Path) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What?"}]

    async def main() -> None:
        async with way.rig(tmp_path, Answer(("a", "b")), amend=seeing) as fabric:
            messages = [{"role": "user", "content": content}]
            answer = await way.call(fabric, ask(messages=messages, max_tokens=1))
            (engine,) = fabric.engines["sin"].requests
        assert engine.json["max_tokens"] == 1
        url = engine.json["messages"][0]["content"][0]["image_url"]["url"]
        assert url == "data:image/png;base64,iVBORw0KGgo="
        assert answer.stop_reason == "max_tokens"

    run(main())


REFUSED: dict[str, tuple[Make, type[anthropic.APIError], str, str | None, int]] = {
    "range": (
        ask(extra_body={"temperature": 9}),
        anthropic.BadRequestError,
        "invalid_value",
        "temperature",
        400,
    ),
    "type": (ask(messages="hi"), anthropic.BadRequestError, "invalid_type", "messages", 400),
    "field": (
        ask(extra_body={"container": "c"}),
        anthropic.BadRequestError,
        "invalid_value",
        "container",
        400,
    ),
    "model": (ask(model="nope"), anthropic.NotFoundError, "model_not_found", "model", 404),
    "route": (ask(model="embed"), anthropic.BadRequestError, "unsupported_route", "model", 400),
    "size": (
        ask(system="x" * 5000),
        anthropic.ContentTooLargeError,
        "request_too_large",
        None,
        413,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_are_the_clients_own_classes(way: Way, name: str, tmp_path: Path) -> None:
    make, kind, code, param, status = REFUSED[name]

    async def main() -> None:
        limits = {way.entry: {"body_bytes_max": 4000}}
        async with way.rig(tmp_path, settings=limits) as fabric:
            error = await raised(way.call(fabric, make, max_retries=2), kind)
            assert len(fabric.pop(way.entry).work()) == 1, "retried"
            (receipt,) = fabric.pop(way.entry).receipts()
            assert fabric.engines["sin"].connections == []
        assert (error.status_code, error.error_code, receipt.code) == (status, code, code)
        assert error.body["error"]["details"]["param"] == param
        assert error.request_id == error.body["request_id"] == receipt.request_id
        assert receipt.dialect == "anthropic"

    run(main())


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"api_key": "sk-asean-wrong"}, "invalid_api_key"),
        ({"api_key": "x"}, "invalid_api_key"),
        ({"api_key": bearer("old").removeprefix("Bearer ")}, "key_expired"),
    ],
)
def test_authentication(way: Way, options: dict[str, Any], code: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with way.rig(tmp_path) as fabric:
            call = way.call(fabric, ask(), max_retries=2, **options)
            error = await raised(call, anthropic.AuthenticationError)
            assert (error.status_code, error.error_code) == (401, code)
            assert error.type == "authentication_error"
            assert len(fabric.pop(way.entry).work()) == 1, "retried"
            assert fabric.pop(way.entry).receipts() == []

    run(main())


def test_residency(way: Way, tmp_path: Path) -> None:
    async def main() -> None:
        async with way.rig(tmp_path) as fabric:
            call = way.call(fabric, ask(), key="eea-strict", max_retries=2)
            error = await raised(call, anthropic.APIStatusError)
            assert (error.status_code, error.error_code) == (451, "residency_ingress")
            assert error.type == "permission_error"
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

    clock = SimpleNamespace(sleep=waited.append, time=time.time, time_ns=time.time_ns)
    monkeypatch.setattr("anthropic._base_client.time", clock)
    monkeypatch.setattr("anthropic._base_client.anyio", SimpleNamespace(sleep=pretend))
    return waited


def test_capacity_is_retried_as_told(way: Way, sleeps: list[float], tmp_path: Path) -> None:
    async def main() -> None:
        async with way.rig(tmp_path, Status(500), Status(500), Answer(("a",))) as fabric:
            answer = await way.call(fabric, ask(), max_retries=2)
            work = fabric.pop(way.entry).work()
            receipts = fabric.pop(way.entry).receipts()
        assert answer.content[0].text == "a"
        assert [one.head.headers.get("x-stainless-retry-count") for one in work] == ["0", "1", "2"]
        assert sleeps == [1.0, 1.0]
        failed = [Outcome.FAILED, Outcome.FAILED, Outcome.COMPLETE]
        assert [one.outcome for one in receipts] == failed

    run(main())


def test_capacity_that_does_not_come_back(way: Way, tmp_path: Path) -> None:
    async def main() -> None:
        async with way.rig(tmp_path, Status(500)) as fabric:
            error = await raised(way.call(fabric, ask()), anthropic.ServiceUnavailableError)
            (receipt,) = fabric.pop(way.entry).receipts()
        assert (error.type, error.error_code) == ("overloaded_error", "no_engine_available")
        assert error.response.headers["retry-after-ms"] == "1000"
        assert error.request_id == receipt.request_id

    run(main())


@pytest.mark.parametrize("how", ["error", "reset", "close"])
def test_a_broken_stream_raises(way: Way, how: Any, tmp_path: Path) -> None:
    async def main() -> None:
        events: list[Any] = []
        async with way.rig(tmp_path, Answer(("a", "b", "c"), cut=Cut(how, after=2))) as fabric:
            call = way.stream(fabric, events)
            error = await raised(call, anthropic.APIStatusError)
            (receipt,) = fabric.pop(way.entry).receipts()
        assert "".join(one.text for one in events if one.type == "text") == "ab"
        assert "message_stop" not in [one.type for one in events]
        assert (error.type, error.error_code) == ("api_error", "engine_interrupted")
        assert (receipt.outcome, receipt.code) == (Outcome.FAILED, "engine_interrupted")
        assert usage_of(receipt).generated == 2

    run(main())


@pytest.mark.parametrize("entry", ["sin", "cgk"])
def test_who_leaves_a_stream_stops_its_engine(entry: str, tmp_path: Path) -> None:
    async def main() -> None:
        gate = Gate(2)
        async with rig(tmp_path, sin=Script(Answer(("a", "b", "c"), gate=gate))) as fabric:
            secret = bearer("asean").removeprefix("Bearer ")
            url = fabric.pop(entry).url
            async with anthropic.AsyncAnthropic(base_url=url, api_key=secret) as client:
                asked: Any = {"model": "chat", "max_tokens": 9, "messages": HI}
                async with client.messages.stream(**asked) as stream:
                    async for text in stream.text_stream:
                        if text == "b":
                            break
            await fabric.engines["sin"].until(lambda: fabric.engines["sin"].aborts)
            (receipt,) = await fabric.pop(entry).until_receipts()
        assert (receipt.outcome, receipt.dialect) == (Outcome.CLIENT_GONE, "anthropic")
        assert usage_of(receipt).generated == 2

    run(main())


async def asked(wire: Wire, more: str = "", key: str | None = "asean") -> Response:
    return await wire.ask(None if key is None else bearer(key), BODY, PATH, more)


def test_keys_in_either_header(tmp_path: Path) -> None:
    async def main() -> None:
        mine, other = (bearer(key).removeprefix("Bearer ") for key in ("asean", "free"))
        async with rig(tmp_path) as fabric, fabric.wire("sin") as wire:
            assert (await asked(wire)).status == 200
            assert (await asked(wire, f"x-api-key: {mine}\r\n", None)).status == 200
            assert (await asked(wire, f"x-api-key: {mine}\r\n")).status == 200
            both = await asked(wire, f"x-api-key: {other}\r\n")
            none = await asked(wire, "", None)
            plain = await wire.ask(None, BODY, more=f"x-api-key: {mine}\r\n")
            models = await wire.get("/v1/models")
        assert (both.status, both.json["error"]["details"]["param"]) == (400, "x-api-key")
        assert both.json["type"] == "error"
        assert (none.status, none.json["error"]["type"]) == (401, "authentication_error")
        assert none.headers["request-id"] == none.headers["x-request-id"]
        assert plain.status == 200
        assert models.status == 401

    run(main())


def test_models(way: Way, tmp_path: Path) -> None:
    async def main() -> None:
        async with way.rig(tmp_path) as fabric:
            found = await way.call(fabric, lambda client: _listed(client, way.is_async))
            one = await way.call(fabric, lambda client: client.models.retrieve("chat"))
            made_us = fabric.release.made_us
        assert [(row.type, row.id) for row in found.data] == [("model", "chat"), ("model", "embed")]
        assert (found.has_more, found.first_id, found.last_id) == (False, "chat", "embed")
        assert (one.display_name, one.max_input_tokens) == ("chat", 4096)
        assert int(one.created_at.timestamp()) == made_us // 1_000_000

    run(main())


def _listed(client: Any, is_async: bool) -> Any:
    page = client.models.list()

    async def listed() -> Any:
        return await page

    return listed() if is_async else page
