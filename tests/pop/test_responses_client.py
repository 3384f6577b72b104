"""The official `openai` client's responses against running PoPs, and what is kept of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest

from selvedge.fabric import DataClass, Outcome, Release, Tenant
from selvedge.pop.clock import now_us
from tests.support import Answer, Cut, Gate, Reply, Script, Status, ToolCall, run
from tests.support.fleets import bearer
from tests.support.pops import Fabric, rig, usage_of
from tests.support.wires import post

TOOLS: Any = [{"type": "function", "name": "weather", "parameters": {"type": "object"}}]
CALLED = Answer((), tool_calls=(ToolCall("weather", '{"city":"Surabaya"}'),), finish="tool_calls")
PATH = "/v1/responses"
BODY = b'{"model":"chat","input":"hi"}'
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
        url = f"{fabric.pop(options.pop('entry', self.entry)).url}/v1"
        told = {"base_url": url, "api_key": secret, "timeout": 10, "max_retries": 0, **options}
        if self.is_async:
            async with openai.AsyncOpenAI(**told) as client:
                return await make(client)

        def go() -> Any:
            with openai.OpenAI(**told) as client:
                return make(client)

        return await asyncio.to_thread(go)

    async def stream(self, fabric: Fabric, events: list[Any], **fields: Any) -> Any:
        """The last answer of a stream by the client's own helper; its events as they come."""
        asked = {"model": "chat", "input": "hi", **fields}

        async def pumped(client: Any) -> Any:
            async with client.responses.stream(**asked) as stream:
                async for event in stream:
                    events.append(event)
                return await stream.get_final_response()

        def pump(client: Any) -> Any:
            with client.responses.stream(**asked) as stream:
                events.extend(stream)
                return stream.get_final_response()

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
    return lambda client: client.responses.create(**{"model": "chat", "input": "hi", **fields})


def retrieve(response_id: str) -> Make:
    return lambda client: client.responses.retrieve(response_id)


async def raised(call: Awaitable[Any], kind: type[openai.APIError]) -> Any:
    with pytest.raises(kind) as caught:
        await call
    assert type(caught.value) is kind
    return caught.value


def test_an_answer(way: Way, tmp_path: Path) -> None:
    async def main() -> None:
        async with way.rig(tmp_path, Answer(("Hei", "sei ", "høy"), cached_tokens=3)) as fabric:
            make = ask(instructions="Be short.", safety_identifier="someone", metadata={"a": "b"})
            answer = await way.call(fabric, make)
            (receipt,) = fabric.pop(way.entry).receipts()
            (personal,) = fabric.pop(way.entry).personal()
            (engine,) = fabric.engines["sin"].requests
        assert answer.output_text == "Heisei høy"
        assert (answer.object, answer.status, answer.model) == ("response", "completed", "chat")
        assert answer.id.startswith(f"resp_{way.entry}_")
        assert answer.metadata == {"a": "b"}
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 3)
        assert answer.usage.input_tokens_details.cached_tokens == 3
        assert answer._request_id == receipt.request_id
        assert engine.path == "/v1/chat/completions"
        system, user = engine.json["messages"]
        assert (system["role"], system["content"]) == ("system", "Be short.")
        assert (user["role"], user["content"]) == ("user", "hi")
        assert (receipt.route, receipt.dialect) == ("/v1/chat/completions", "responses")
        assert usage_of(receipt).generated == 3
        assert personal.end_user == "someone"

    run(main())


def test_a_stream(way: Way, tmp_path: Path) -> None:
    async def main() -> None:
        events: list[Any] = []
        async with way.rig(tmp_path, Answer(("a", "ß", "🜁"))) as fabric:
            answer = await way.stream(fabric, events)
            (receipt,) = fabric.pop(way.entry).receipts()
        assert [one.type for one in events] == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            *["response.output_text.delta"] * 3,
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
        assert [one.sequence_number for one in events] == list(range(11))
        assert answer.output_text == "aß🜁"
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 3)
        assert (receipt.stream, receipt.dialect) == (True, "responses")

    run(main())


def test_a_round_of_tools(way: Way, tmp_path: Path) -> None:
    async def main() -> None:
        events: list[Any] = []
        async with way.rig(tmp_path, CALLED, Answer(("32 °C",)), CALLED) as fabric:
            first = await way.call(fabric, ask(tools=TOOLS, tool_choice="required"))
            (call,) = first.output
            output = {"type": "function_call_output", "call_id": call.call_id, "output": "32"}
            turns = [{"role": "user", "content": "hi"}, call.model_dump(), output]
            second = await way.call(fabric, ask(tools=TOOLS, input=turns))
            streamed = await way.stream(fabric, events, tools=TOOLS)
            one, two, _ = fabric.engines["sin"].requests
        assert (call.type, call.name) == ("function_call", "weather")
        assert json.loads(call.arguments) == {"city": "Surabaya"}
        assert one.json["tool_choice"] == "required"
        assert one.json["tools"][0]["function"]["parameters"] == {"type": "object"}
        asked, found = two.json["messages"][1:]
        assert asked["tool_calls"][0]["id"] == found["tool_call_id"] == call.call_id
        assert (found["role"], found["content"]) == ("tool", "32")
        assert second.output_text == "32 °C"
        (again,) = streamed.output
        assert json.loads(again.arguments) == {"city": "Surabaya"}
        assert "response.function_call_arguments.delta" in [one.type for one in events]

    run(main())


def test_a_limit_is_told(way: Way, tmp_path: Path) -> None:
    async def main() -> None:
        async with way.rig(tmp_path, Answer(("a", "b"))) as fabric:
            answer = await way.call(fabric, ask(max_output_tokens=1))
        assert answer.status == "incomplete"
        assert answer.incomplete_details.reason == "max_output_tokens"
        assert answer.output_text == "a"

    run(main())


def test_it_goes_on_from_an_answer(way: Way, tmp_path: Path) -> None:
    async def main() -> None:
        events: list[Any] = []
        replies = (Answer(("one",)), Answer(("two",)), Answer(("three",)))
        async with way.rig(tmp_path, *replies) as fabric:
            first = await way.call(fabric, ask(instructions="Only once."))
            second = await way.stream(fabric, events, input="b", previous_response_id=first.id)
            third = await way.call(fabric, ask(input="c", previous_response_id=second.id))
            *_, engine = fabric.engines["sin"].requests
            read = await way.call(fabric, retrieve(second.id))
            items = await way.call(fabric, lambda client: _items(client, second.id, way.is_async))
            deleted = await way.call(fabric, lambda client: client.responses.delete(first.id))
            gone = await raised(way.call(fabric, retrieve(first.id)), openai.NotFoundError)
            again = way.call(fabric, ask(previous_response_id=third.id))
            broken = await raised(again, openai.BadRequestError)
        assert [(one["role"], one["content"]) for one in engine.json["messages"]] == [
            ("user", "hi"),
            ("assistant", "one"),
            ("user", "b"),
            ("assistant", "two"),
            ("user", "c"),
        ]
        assert third.previous_response_id == second.id
        assert (read.id, read.output_text, read.usage) == (second.id, "two", second.usage)
        assert items.data[0].content[0].text == "b"
        assert deleted is None
        assert gone.code == "response_not_found"
        assert broken.code == "previous_response_not_found"
        assert first.id in broken.message

    run(main())


def _items(client: Any, response_id: str, is_async: bool) -> Any:
    page = client.responses.input_items.list(response_id)

    async def listed() -> Any:
        return await page

    return listed() if is_async else page


def test_another_tenant_has_no_such_answer(way: Way, tmp_path: Path) -> None:
    async def main() -> None:
        async with way.rig(tmp_path) as fabric:
            first = await way.call(fabric, ask())
            mine = await way.call(fabric, retrieve(first.id))
            unknown = first.id[:-4] + "0000"
            errors = [
                await raised(way.call(fabric, retrieve(one), key="free"), openai.NotFoundError)
                for one in (first.id, unknown)
            ]
            call = way.call(fabric, ask(previous_response_id=first.id), key="free")
            refused = await raised(call, openai.BadRequestError)
        assert mine.id == first.id
        told = [one.message.replace(first.id, "X").replace(unknown, "X") for one in errors]
        assert told[0] == told[1]
        assert (refused.code, refused.param) == (
            "previous_response_not_found",
            "previous_response_id",
        )

    run(main())


def test_an_answer_that_is_kept_elsewhere(way: Way, tmp_path: Path) -> None:
    async def main() -> None:
        other = "cgk" if way.entry == "sin" else "sin"
        async with way.rig(tmp_path) as fabric:
            first = await way.call(fabric, ask())
            make = ask(previous_response_id=first.id)
            error = await raised(way.call(fabric, make, entry=other), openai.APIStatusError)
            read = way.call(fabric, retrieve(first.id), entry=other)
            unread = await raised(read, openai.APIStatusError)
            (receipt,) = fabric.pop(other).receipts()
            far = f"resp_{way.entry}_00"
            barred = way.call(fabric, ask(previous_response_id=far), key="eea-strict", entry="fra")
            forbidden = await raised(barred, openai.APIStatusError)
        assert (error.status_code, error.code) == (421, "response_elsewhere")
        assert fabric.pop(way.entry).url in error.message
        assert (unread.status_code, unread.code) == (421, "response_elsewhere")
        assert (receipt.outcome, receipt.code) == (Outcome.REFUSED, "response_elsewhere")
        assert (forbidden.status_code, forbidden.code) == (451, "residency_ingress")

    run(main())


@pytest.mark.parametrize("how", ["handling", "transit", "setting", "client"])
def test_where_nothing_is_kept_it_says_so(how: str, tmp_path: Path) -> None:
    def amend(_: str, release: Release) -> Release:
        if how != "handling":
            return release
        quiet = DataClass("default", "asean", "in-zone", handling=("zero-retention",))
        tenants = tuple(
            Tenant("asean", (quiet,)) if one.id == "asean" else one for one in release.tenants
        )
        pops = tuple(
            msgspec.structs.replace(
                pop,
                engines=tuple(
                    msgspec.structs.replace(one, honours=("zero-retention",)) for one in pop.engines
                ),
            )
            for pop in release.pops
        )
        return msgspec.structs.replace(release, tenants=tenants, pops=pops)

    way = Way("sin", "openai", is_async=True)
    settings = {"sin": {"responses_bytes_max": 0}} if how == "setting" else {}
    key = "eea" if how == "transit" else "asean"
    fields = {"store": False} if how == "client" else {}

    async def main() -> None:
        async with way.rig(tmp_path, amend=amend, settings=settings, fra=Script()) as fabric:
            answer = await way.call(fabric, ask(**fields), key=key)
            read = await raised(
                way.call(fabric, retrieve(answer.id), key=key), openai.NotFoundError
            )
            call = way.call(fabric, ask(previous_response_id=answer.id), key=key)
            refused = await raised(call, openai.BadRequestError)
            assert not (fabric.pop("sin").directory / "responses" / "kept").exists() or how in (
                "client",
            )
        assert answer.store is False
        assert read.code == "response_not_found"
        assert refused.code == "previous_response_not_found"

    run(main())


REFUSED: dict[str, tuple[Make, type[openai.APIError], str, str | None, int]] = {
    "range": (ask(temperature=9), openai.BadRequestError, "invalid_value", "temperature", 400),
    "type": (ask(input=3), openai.BadRequestError, "invalid_type", "input", 400),
    "tool": (
        ask(tools=[{"type": "web_search"}]),
        openai.BadRequestError,
        "invalid_value",
        "tools[0].type",
        400,
    ),
    "conversation": (
        ask(conversation="conv_1"),
        openai.BadRequestError,
        "invalid_value",
        "conversation",
        400,
    ),
    "model": (ask(model="nope"), openai.NotFoundError, "model_not_found", "model", 404),
    "reference": (
        ask(previous_response_id="resp_nowhere_1"),
        openai.BadRequestError,
        "previous_response_not_found",
        "previous_response_id",
        400,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_are_the_clients_own_classes(way: Way, name: str, tmp_path: Path) -> None:
    make, kind, code, param, status = REFUSED[name]

    async def main() -> None:
        async with way.rig(tmp_path) as fabric:
            error = await raised(way.call(fabric, make, max_retries=2), kind)
            assert len(fabric.pop(way.entry).work()) == 1, "retried"
            (receipt,) = fabric.pop(way.entry).receipts()
            assert fabric.engines["sin"].connections == []
        assert (error.status_code, error.code, error.param) == (status, code, param)
        assert (receipt.code, receipt.dialect) == (code, "responses")
        assert error.request_id == receipt.request_id

    run(main())


def test_authentication_and_capacity(way: Way, tmp_path: Path) -> None:
    async def main() -> None:
        async with way.rig(tmp_path, Status(500)) as fabric:
            call = way.call(fabric, ask(), api_key="sk-asean-wrong")
            assert (await raised(call, openai.AuthenticationError)).code == "invalid_api_key"
            read = way.call(fabric, retrieve("resp_sin_0"), api_key="sk-asean-wrong")
            assert (await raised(read, openai.AuthenticationError)).code == "invalid_api_key"
            error = await raised(way.call(fabric, ask()), openai.InternalServerError)
        assert (error.status_code, error.code) == (503, "no_engine_available")
        assert error.response.headers["retry-after-ms"] == "1000"

    run(main())


@pytest.mark.parametrize("how", ["error", "reset", "close"])
def test_a_broken_stream_ends_as_failed(way: Way, how: Any, tmp_path: Path) -> None:
    async def main() -> None:
        events: list[Any] = []
        async with way.rig(tmp_path, Answer(("a", "b", "c"), cut=Cut(how, after=2))) as fabric:
            with pytest.raises(RuntimeError, match="completed"):
                await way.stream(fabric, events)
            (receipt,) = fabric.pop(way.entry).receipts()
            read = way.call(fabric, retrieve(events[0].response.id))
            await raised(read, openai.NotFoundError)
        last = events[-1]
        assert (last.type, last.response.status) == ("response.failed", "failed")
        assert last.response.error.code == receipt.code == "engine_interrupted"
        assert "".join(one.delta for one in events if one.type.endswith("text.delta")) == "ab"
        assert usage_of(receipt).generated == 2

    run(main())


@pytest.mark.parametrize("entry", ["sin", "cgk"])
def test_who_leaves_a_stream_stops_its_engine(entry: str, tmp_path: Path) -> None:
    async def main() -> None:
        gate = Gate(2)
        async with rig(tmp_path, sin=Script(Answer(("a", "b", "c"), gate=gate))) as fabric:
            secret = bearer("asean").removeprefix("Bearer ")
            url = f"{fabric.pop(entry).url}/v1"
            async with openai.AsyncOpenAI(base_url=url, api_key=secret) as client:
                asked: Any = {"model": "chat", "input": "hi", "stream": True}
                stream = await client.responses.create(**asked)
                async for event in stream:
                    if event.type == "response.output_text.delta" and event.delta == "b":
                        break
                await stream.close()
            await fabric.engines["sin"].until(lambda: fabric.engines["sin"].aborts)
            (receipt,) = await fabric.pop(entry).until_receipts()
        assert receipt.outcome is Outcome.CLIENT_GONE
        assert usage_of(receipt).generated == 2

    run(main())


def test_an_answer_is_given_again_and_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        word = "idempotency-key: w\r\n"
        async with rig(tmp_path) as fabric, fabric.wire("sin") as wire:
            first = await wire.ask(bearer("asean"), BODY, PATH, word)
            again = await wire.ask(bearer("asean"), BODY, PATH, word)
            body = json.dumps({**json.loads(BODY), "previous_response_id": first.json["id"]})
            other = await wire.ask(bearer("asean"), body.encode(), PATH, word)
            on = await wire.ask(bearer("asean"), body.encode(), PATH)
        assert (first.status, again.body) == (200, first.body)
        assert (other.status, other.error["code"]) == (422, "idempotency_mismatch")
        assert on.status == 200

    run(main())


def test_pings_and_methods(tmp_path: Path) -> None:
    async def main() -> None:
        gate = Gate(0)
        body = BODY[:-1] + b',"stream":true}'
        async with (
            rig(tmp_path, sin=Script(Answer(("a",), gate=gate))) as fabric,
            fabric.wire("sin") as wire,
            fabric.wire("sin") as other,
        ):
            wire.send(post(bearer("asean"), body, PATH))
            await fabric.engines["sin"].until(lambda: fabric.engines["sin"].requests)
            fabric.pop("sin").state.streams.sweep(now_us() + 16_000_000)
            assert (await wire.head())[0] == 200
            assert await wire.part() == b": ping\n\n"
            gate.open()
            rest, whole = await wire.rest()
            got = await other.get(PATH, bearer("asean"))
            put = await other.get(f"{PATH}/resp_sin_0", bearer("asean"), "PUT")
            odd = await other.get(f"{PATH}/resp_sin_%ff%00%22", bearer("asean"))
        assert whole
        assert rest.startswith(b"event: response.")
        assert (got.status, put.status, odd.status) == (405, 405, 404)
        assert put.headers["allow"] == "GET, DELETE"
        assert odd.error["code"] == "response_not_found"

    run(main())


def test_a_conversation_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selvedge.pop.kept_responses.LINKS_MAX", 3)
    way = Way("sin", "openai", is_async=True)

    async def main() -> None:
        async with way.rig(tmp_path, settings={"sin": {"body_bytes_max": 20_000}}) as fabric:
            last = None
            for _ in range(4):
                last = (await way.call(fabric, ask(previous_response_id=last))).id
            call = way.call(fabric, ask(previous_response_id=last))
            too_many = await raised(call, openai.APIStatusError)
            first = await way.call(fabric, ask(input="x" * 15_000))
            second = await way.call(fabric, ask(input="x", previous_response_id=first.id))
            third = way.call(fabric, ask(input="x" * 15_000))
            long = (await third).id
            fourth = await way.call(fabric, ask(input="y" * 100, previous_response_id=long))
        assert (too_many.status_code, too_many.code) == (413, "request_too_large")
        assert too_many.param == "previous_response_id"
        assert second.status == fourth.status == "completed"

    run(main())
