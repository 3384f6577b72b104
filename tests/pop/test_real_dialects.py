"""The official clients of other APIs against the bundled model: what users will really get.

The bundled model's template knows no tools, so it never calls one, whoever asks: calls are tested
at scripted engines; here, that a conversation with calls and results in it is understood.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.support.fabric import Fabric, running_fabric

CHAT = "smollm2-135m-instruct"
EMBED = "all-minilm-l6-v2"
HELLO: Any = [{"role": "user", "content": "Say hello."}]  # Any: the clients' own TypedDicts
TOOL: dict[str, Any] = {
    "description": "Tells the weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}},
        "required": ["city"],
    },
}
SLOT_FREE_S_MAX = 20.0

pytestmark = [pytest.mark.engine, pytest.mark.fabric]


@pytest.fixture(scope="module")
def fabric(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fabric]:
    with running_fabric(tmp_path_factory.mktemp("real") / "home") as one:
        yield one
        assert one.interrupt() == 0


@pytest.fixture(params=["sin", "cgk"])
def url(fabric: Fabric, request: pytest.FixtureRequest) -> str:
    found: str = fabric.running["pops"][request.param]["url"]
    return found


@pytest.fixture
def claude(fabric: Fabric, url: str) -> Iterator[anthropic.Anthropic]:
    key = fabric.keys["asean"]
    with anthropic.Anthropic(base_url=url, api_key=key, max_retries=0) as one:
        yield one


@pytest.fixture
def client(fabric: Fabric, url: str) -> Iterator[openai.OpenAI]:
    key = fabric.keys["asean"]
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as one:
        yield one


COLD: Any = {"extra_body": {"temperature": 0}}


def test_messages_their_stream_and_their_count(claude: anthropic.Anthropic) -> None:
    asked: Any = {"model": CHAT, "messages": HELLO, "system": "Be brief."}
    whole = claude.messages.create(**asked, max_tokens=12, **COLD)
    with claude.messages.stream(**asked, max_tokens=12, **COLD) as stream:
        text = "".join(stream.text_stream)
        streamed = stream.get_final_message()
    (block,) = whole.content
    assert block.type == "text"
    assert text == block.text
    assert (whole.stop_reason, streamed.stop_reason) == ("max_tokens", "max_tokens")
    assert whole.usage.output_tokens == streamed.usage.output_tokens == 12
    counted = claude.messages.count_tokens(**asked)
    read = whole.usage.cache_read_input_tokens or 0
    assert counted.input_tokens == whole.usage.input_tokens + read


def test_messages_asynchronously(fabric: Fabric, url: str) -> None:
    async def main() -> None:
        key = fabric.keys["asean"]
        async with anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=0) as one:
            asked: Any = {"model": CHAT, "messages": HELLO, "max_tokens": 6}
            whole = await one.messages.create(**asked, **COLD)
            async with one.messages.stream(**asked, **COLD) as stream:
                streamed = await stream.get_final_message()
        assert [one.to_dict() for one in whole.content] == [
            one.to_dict() for one in streamed.content
        ]

    asyncio.run(main())


def test_a_call_and_its_result(claude: anthropic.Anthropic) -> None:
    tools: Any = [{"name": "weather", **TOOL}]
    call = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}}
    found = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "12 degrees"}
    turns: Any = [
        {"role": "user", "content": "How is the weather in Oslo?"},
        {"role": "assistant", "content": [{"type": "text", "text": "Let me look."}, call]},
        {"role": "user", "content": [found]},
    ]
    answer = claude.messages.create(model=CHAT, messages=turns, max_tokens=8, tools=tools, **COLD)
    assert 1 <= answer.usage.output_tokens <= 8
    assert answer.content[0].type == "text"


def test_a_stop_and_a_schema(claude: anthropic.Anthropic) -> None:
    stopped = claude.messages.create(
        model=CHAT, messages=HELLO, max_tokens=40, stop_sequences=[" "], **COLD
    )
    assert stopped.stop_reason == "end_turn"
    assert all(" " not in block.text for block in stopped.content if block.type == "text")
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}}}
    wanted: Any = {"format": {"type": "json_schema", "schema": {**schema, "required": ["name"]}}}
    told = claude.messages.create(
        model=CHAT, messages=HELLO, max_tokens=60, output_config=wanted, **COLD
    )
    (block,) = told.content
    assert block.type == "text"
    assert set(json.loads(block.text)) == {"name"}


PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (
            {"messages": [{"role": "user", "content": "word " * 3000}]},
            "context_length_exceeded",
        ),
        ({"model": EMBED}, "unsupported_route"),
        ({"messages": [{"role": "user", "content": [PICTURE]}]}, "invalid_value"),
        ({"stop_sequences": ["a"] * 17}, "invalid_value"),
    ],
)
def test_what_the_model_cannot_do_is_the_callers_fault(
    claude: anthropic.Anthropic, change: dict[str, Any], code: str
) -> None:
    asked: Any = {"model": CHAT, "messages": HELLO, "max_tokens": 4, **change}
    with pytest.raises(anthropic.BadRequestError) as caught:
        claude.messages.create(**asked)
    assert caught.value.error_code == code


def test_responses_and_their_stream(client: openai.OpenAI) -> None:
    asked: Any = {"model": CHAT, "input": "Say hello.", "max_output_tokens": 16, "temperature": 0}
    whole = client.responses.create(**asked)
    with client.responses.create(**asked, stream=True) as stream:
        events = list(stream)
    text = "".join(one.delta for one in events if one.type == "response.output_text.delta")
    assert text == whole.output_text
    last = events[-1]
    assert last.type == "response.incomplete"
    assert whole.status == "incomplete"
    assert whole.usage is not None
    assert last.response.usage is not None
    assert last.response.usage.output_tokens == whole.usage.output_tokens == 16
    counted = client.responses.input_tokens.count(model=CHAT, input="Say hello.")
    assert counted.input_tokens == whole.usage.input_tokens


def test_a_conversation_is_gone_on_with(client: openai.OpenAI) -> None:
    first = client.responses.create(
        model=CHAT, input="My name is Ada. Say hello.", max_output_tokens=16, temperature=0
    )
    with client.responses.stream(
        model=CHAT, input="What is my name?", previous_response_id=first.id, temperature=0
    ) as stream:
        second = stream.get_final_response()
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens + 16
    assert client.responses.retrieve(second.id).output_text == second.output_text
    client.responses.delete(first.id)
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=CHAT, input="Still?", previous_response_id=second.id)
    assert caught.value.code == "previous_response_not_found"


def test_a_function_call_and_its_output(client: openai.OpenAI) -> None:
    parameters: Any = TOOL["input_schema"]
    tools: Any = [{"type": "function", "name": "weather", "parameters": parameters}]
    first = client.responses.create(
        model=CHAT,
        input="How is the weather in Oslo?",
        tools=tools,
        max_output_tokens=16,
        temperature=0,
    )
    call: Any = {"type": "function_call", "call_id": "c1", "name": "weather"}
    found: Any = {"type": "function_call_output", "call_id": "c1", "output": "12 degrees"}
    second = client.responses.create(
        model=CHAT,
        input=[call | {"arguments": '{"city":"Oslo"}'}, found],
        tools=tools,
        previous_response_id=first.id,
        max_output_tokens=16,
    )
    assert second.output_text
    assert (first.tools[0].type, second.previous_response_id) == ("function", first.id)


@pytest.mark.parametrize("entry", ["sin", "cgk"])
def test_a_hang_up_frees_the_slot(fabric: Fabric, entry: str) -> None:
    slots = fabric.running["pops"]["sin"]["engines"]["sin-chat"] + "/slots"
    key, url = fabric.keys["asean"], fabric.running["pops"][entry]["url"]
    long: Any = [{"role": "user", "content": "Count from one to one thousand, in words."}]
    asked: Any = {"model": CHAT, "messages": long, "max_tokens": 1500}
    with (
        anthropic.Anthropic(base_url=url, api_key=key, max_retries=0) as one,
        one.messages.stream(**asked) as stream,
    ):
        for event in stream:
            if event.type == "content_block_delta":
                break
        assert busy(slots)
    end = time.monotonic() + SLOT_FREE_S_MAX
    while busy(slots):  # bounded: the engine tells nobody when a slot changes
        assert time.monotonic() < end, f"the slot is not free within {SLOT_FREE_S_MAX} s"


def busy(slots: str) -> bool:
    with urllib.request.urlopen(slots, timeout=10) as answer:
        return any(slot["is_processing"] for slot in json.load(answer))
