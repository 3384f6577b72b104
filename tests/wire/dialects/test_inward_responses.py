from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from selvedge.fabric import Refused, Route
from selvedge.wire import frame, parse
from selvedge.wire.dialects.inward import Asked
from selvedge.wire.dialects.inward_responses import (
    ResponsesForm,
    items_of,
    previous_of,
    response_of,
)
from selvedge.wire.sse import SseReader

Json = dict[str, Any]  # Any: JSON
HI: Json = {"role": "user", "content": "hi"}
TOOL: Json = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
CALL: Json = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}
FOUND: Json = {"type": "function_call_output", "call_id": "c1", "output": "32"}
EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def form(*, keeps: bool = True) -> ResponsesForm:
    one = ResponsesForm(Asked("rcpt_01", "req_1", "sin"))
    one.keeps = keeps
    return one


def asked(**fields: Any) -> bytes:  # Any: fields of a body
    return json.dumps({"model": "chat", "input": "hi", **fields}).encode()


def chat(**fields: Any) -> Json:
    """What becomes of a body; it is one that `parse` takes."""
    body = form().read(asked(**fields))
    assert isinstance(body, bytes), body
    parsed = parse(Route.CHAT, body)
    assert not isinstance(parsed, Refused), parsed
    return dict(json.loads(body))


def begun(**fields: Any) -> ResponsesForm:
    """A form that has read a body."""
    one = form()
    assert isinstance(one.read(asked(**fields)), bytes)
    return one


def test_the_least() -> None:
    assert chat() == {"model": "chat", "messages": [HI]}


def test_parameters() -> None:
    told = chat(
        instructions="Be short.",
        max_output_tokens=9,
        temperature=0.5,
        top_p=0.9,
        stream=True,
        safety_identifier="s",
        user="u",
        prompt_cache_key="k",
    )
    assert told == {
        "model": "chat",
        "messages": [{"role": "system", "content": "Be short."}, HI],
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "stream": True,
        "stream_options": {"include_usage": True},
        "user": "s",
        "prompt_cache_key": "k",
    }


def test_what_is_of_no_effect_is_taken() -> None:
    told = chat(
        reasoning={"effort": "low"},
        truncation="auto",
        service_tier="auto",
        store=True,
        background=False,
        include=["reasoning.encrypted_content"],
        stream_options={"include_obfuscation": False},
        text={"format": {"type": "text"}, "verbosity": "low"},
        metadata={"a": "b"},
    )
    assert told == {"model": "chat", "messages": [HI]}


def test_a_round_of_functions_and_pictures() -> None:
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"}
    told = chat(
        tools=[TOOL | {"strict": True, "description": "Tells."}],
        tool_choice={"type": "function", "name": "weather"},
        parallel_tool_calls=False,
        input=[
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": [{"type": "input_text", "text": "See"}, picture]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {
                "type": "message",
                "role": "assistant",
                "id": "msg_1",
                "status": "completed",
                "content": [{"type": "output_text", "text": "Look", "annotations": []}],
            },
            CALL,
            CALL | {"call_id": "c2"},
            FOUND,
            {**FOUND, "call_id": "c2", "output": [{"type": "input_text", "text": "x"}, picture]},
        ],
    )
    function = {
        "name": "weather",
        "description": "Tells.",
        "parameters": {"type": "object"},
        "strict": True,
    }
    assert told["tools"] == [{"type": "function", "function": function}]
    assert told["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert told["parallel_tool_calls"] is False
    image = {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64,AA", "detail": "low"},
    }
    called = {"name": "weather", "arguments": "{}"}
    assert told["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "See"}, image]},
        {
            "role": "assistant",
            "content": "Look",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": called},
                {"id": "c2", "type": "function", "function": called},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "32"},
        {"role": "tool", "tool_call_id": "c2", "content": "x"},
        {"role": "user", "content": [image]},
    ]


def test_formats() -> None:
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    told = chat(text={"format": schema})["response_format"]
    assert told["json_schema"] == {"name": "n", "schema": {"type": "object"}, "strict": True}
    told = chat(text={"format": {"type": "json_object"}})["response_format"]
    assert told == {"type": "json_object"}


def item(**fields: Any) -> Json:
    return {"input": [fields]}


REFUSED: list[tuple[Json, str, str]] = [
    ({"input": None}, "invalid_type", "input"),
    ({"input": []}, "invalid_value", "input"),
    ({"input": [HI] * 10_000}, "invalid_value", "input"),
    ({"conversation": "c"}, "invalid_value", "conversation"),
    ({"prompt": {"id": "p"}}, "invalid_value", "prompt"),
    ({"background": True}, "invalid_value", "background"),
    ({"top_logprobs": 2}, "invalid_value", "top_logprobs"),
    ({"include": ["file_search_call.results"]}, "invalid_value", "include[0]"),
    ({"max_output_tokens": 0}, "invalid_value", "max_output_tokens"),
    ({"user": "u" * 513}, "invalid_value", "user"),
    ({"metadata": {"a": "b" * 513}}, "invalid_value", "metadata"),
    ({"tools": [{"type": "mcp"}]}, "invalid_value", "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "missing_field", "tools[0].name"),
    ({"tools": [TOOL | {"parameters": 3}]}, "invalid_value", "tools[0].parameters"),
    ({"tools": [TOOL], "tool_choice": "x"}, "invalid_value", "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "mcp"}}, "invalid_value", "tool_choice.type"),
    ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "missing_field", "tool_choice.name"),
    ({"text": {"format": {"type": "x"}}}, "invalid_value", "text.format.type"),
    ({"text": {"format": {"type": "json_schema"}}}, "missing_field", "text.format.name"),
    (item(type="item_reference", id="x"), "invalid_value", "input[0].type"),
    (item(content="x"), "missing_field", "input[0].role"),
    (item(role="tool", content="x"), "invalid_value", "input[0].role"),
    (item(role="user"), "missing_field", "input[0].content"),
    (item(role="user", content=[{"type": "input_file"}]), "invalid_value", "input[0].content[0]"),
    (
        item(role="user", content=[{"type": "input_text"}]),
        "missing_field",
        "input[0].content[0].text",
    ),
    (
        item(role="user", content=[{"type": "input_image", "image_url": "http://10.0.0.1/"}]),
        "invalid_value",
        "input[0].content[0].image_url",
    ),
    (item(type="function_call", name="f"), "missing_field", "input[0].call_id"),
    (item(type="function_call_output", output=""), "missing_field", "input[0].call_id"),
    (item(type="function_call_output", call_id="c"), "missing_field", "input[0].output"),
]


@pytest.mark.parametrize(("change", "code", "param"), REFUSED)
def test_what_is_not_carried_is_refused_by_name(change: Json, code: str, param: str) -> None:
    refused = form().read(asked(**change))
    assert isinstance(refused, Refused)
    assert (refused.code, refused.param) == (code, param)
    assert param in refused.message


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"model":"\xff"}', b"[" * 100_000])
def test_what_is_not_json(body: bytes) -> None:
    refused = form().read(body)
    assert isinstance(refused, Refused)
    assert refused.code in ("invalid_json", "invalid_type")


def whole(message: Json, reason: str = "stop") -> bytes:
    usage = {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    choice = {"index": 0, "finish_reason": reason, "message": message}
    made = {"model": "chat", "created": 1_800_000_000, "choices": [choice], "usage": usage}
    return json.dumps(made).encode()


def test_a_whole_answer() -> None:
    one = begun(tools=[TOOL], metadata={"a": "b"}, instructions="I", temperature=0.5)
    answer = Response.model_validate(json.loads(one.answer(whole({"content": "Hei"}))))
    assert (answer.id, answer.created_at) == ("resp_sin_01", 1_800_000_000)
    assert (answer.status, answer.model, answer.output_text) == ("completed", "chat", "Hei")
    assert (answer.metadata, answer.instructions, answer.temperature) == ({"a": "b"}, "I", 0.5)
    assert answer.tools[0].type == "function"
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.total_tokens) == (7, 10)
    assert answer.usage.input_tokens_details.cached_tokens == 4
    assert answer.usage.output_tokens_details.reasoning_tokens == 1


def test_thoughts_and_calls_are_items() -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]
    message = {"content": "Hei", "reasoning_content": "hm", "tool_calls": calls}
    answer = Response.model_validate(
        json.loads(begun().answer(whole(message, reason="tool_calls")))
    )
    thought, text, call = answer.output
    assert thought.type == "reasoning"
    assert thought.content is not None
    assert thought.content[0].text == "hm"
    assert text.type == "message"
    assert call.type == "function_call"
    assert (call.call_id, call.name, call.arguments) == ("c1", "f", '{"a":1}')


def test_an_answer_that_is_not_whole() -> None:
    told = json.loads(begun().answer(whole({"content": "a"}, "length")))
    assert (told["status"], told["incomplete_details"]["reason"]) == (
        "incomplete",
        "max_output_tokens",
    )


def chunks(*deltas: Json, reason: str = "stop") -> bytes:
    rows: list[Json] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    rows.append({"index": 0, "delta": {}, "finish_reason": reason})
    payloads: list[Json] = [
        {"model": "chat", "created": 1, "choices": [row], "usage": None} for row in rows
    ]
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    payloads.append({"model": "chat", "created": 1, "choices": [], "usage": usage})
    body = b"".join(frame(json.dumps(one).encode()) for one in payloads)
    return body + frame(b"[DONE]")


def piece(index: int, **fields: Any) -> Json:
    function = {key: fields.pop(key) for key in ("name", "arguments") if key in fields}
    return {"tool_calls": [{"index": index, "function": function, **fields}]}


SPOKEN = (
    {"role": "assistant", "content": ""},
    {"reasoning_content": "hm "},
    {"content": "Hei"},
    {"content": " sei"},
    piece(0, id="c1", name="weather", arguments=""),
    piece(0, arguments='{"ci'),
    piece(1, id="c2", name="time", arguments="{"),
    piece(0, arguments='ty":"ø"}'),
    piece(1, arguments="}"),
)


def told(stream: bytes, one: ResponsesForm | None = None, step: int = 0) -> list[Json]:
    """The events of a stream, fed in steps; each is one that the official client reads."""
    one = one or begun(stream=True)
    parts = [stream[at : at + step] for at in range(0, len(stream), step)] if step else [stream]
    out = b"".join(one.feed(part) for part in parts)
    events: list[Json] = []
    for event in SseReader().feed(out):
        data = json.loads(event.data)
        assert data["type"] == event.name.decode()
        EVENTS.validate_python(data)
        events.append(data)
    assert [one["sequence_number"] for one in events] == list(range(len(events)))
    return events


def gathered(events: list[Json]) -> Any:  # Any: the client's own
    """What the official client makes of events."""
    state: Any = ResponseStreamState(text_format=openai.omit, input_tools=[])
    for event in events:
        state.handle_event(EVENTS.validate_python(event))
    return state._completed_response


def test_a_stream_is_what_the_client_expects() -> None:
    events = told(chunks(*SPOKEN, reason="tool_calls"))
    part = ["content_part.added", "delta", "done", "content_part.done"]
    assert [one["type"].removeprefix("response.") for one in events] == [
        "created",
        "in_progress",
        "output_item.added",
        part[0],
        "reasoning_text.delta",
        "reasoning_text.done",
        part[3],
        "output_item.done",
        "output_item.added",
        part[0],
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        part[3],
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "output_item.added",
        *["function_call_arguments.delta"] * 3,
        "function_call_arguments.done",
        "output_item.done",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    response = gathered(events)
    thought, text, weather, time = response.output
    assert thought.content[0].text == "hm "
    assert text.content[0].text == "Hei sei"
    assert (weather.call_id, weather.arguments) == ("c1", '{"city":"ø"}')
    assert (time.call_id, time.arguments) == ("c2", "{}")
    assert (response.usage.input_tokens, response.usage.output_tokens) == (7, 3)
    assert events[-1]["response"]["output"] == [
        event["item"] for event in events if event["type"] == "response.output_item.done"
    ]


@given(st.integers(1, 200))
def test_a_stream_may_be_cut_anywhere(step: int) -> None:
    stream = b": ping\n\n" + chunks(*SPOKEN, reason="tool_calls")
    assert told(stream, step=step) == told(chunks(*SPOKEN, reason="tool_calls"))


DELTAS = st.one_of(
    st.text(max_size=4).map(lambda text: {"content": text}),
    st.text(max_size=4).map(lambda text: {"reasoning": text}),
    st.tuples(st.integers(0, 2), st.sampled_from(["f", ""]), st.text(max_size=3)).map(
        lambda one: piece(one[0], name=one[1], arguments=one[2])
    ),
    st.sampled_from([{"tool_calls": None}, {"tool_calls": [{"index": "x"}]}, {"tool_calls": 3}]),
    st.just({"content": None}),
)


@given(st.lists(DELTAS, max_size=12))
def test_whatever_comes_the_end_has_what_was_told(deltas: list[Json]) -> None:
    events = told(chunks(*deltas))
    last = events[-1]
    assert last["type"] == "response.completed"
    ended = {
        one["output_index"]: one["item"]
        for one in events
        if one["type"] == "response.output_item.done"
    }
    assert list(last["response"]["output"]) == [ended[at] for at in range(len(ended))]
    pieces: dict[int, str] = {}
    for event in events:
        if event["type"].endswith(".delta"):
            at = event["output_index"]
            pieces[at] = pieces.get(at, "") + event["delta"]
    for at, row in ended.items():
        text = row["arguments"] if "arguments" in row else row["content"][0]["text"]
        assert text == pieces.get(at, "")
        assert row["status"] == "completed"


def test_a_stream_that_breaks() -> None:
    refused = Refused("engine_interrupted", "It broke.")
    one = begun(stream=True)
    head = one.feed(chunks({"content": "a"})[:120])
    tail = SseReader().feed(head + one.broken(refused))
    last = json.loads(tail[-1].data)
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"] == {"code": "engine_interrupted", "message": "It broke."}
    assert one.to_keep() is None
    early = [json.loads(event.data) for event in SseReader().feed(begun().broken(refused))]
    assert [event["type"] for event in early] == [
        "response.created",
        "response.in_progress",
        "response.failed",
    ]
    assert early[-1]["response"]["model"] == "chat"


def test_errors_are_openais() -> None:
    refused = Refused("rate_limit_exceeded", "Too many.", param="x")
    assert json.loads(form().refusal(refused))["error"]["code"] == "rate_limit_exceeded"
    too_long = Refused("context_length_exceeded", "Too long.", param="messages")
    assert json.loads(form().refusal(too_long))["error"]["param"] == "input"


def test_what_is_kept_is_gone_on_from() -> None:
    one = begun(input=[HI], instructions="Only once.")
    one.answer(whole({"content": "one"}))
    first = one.to_keep()
    assert first is not None
    assert first[0] == "resp_sin_01"
    two = begun(input="b", previous_response_id="resp_sin_01", stream=True)
    assert two.refers == "resp_sin_01"
    two.resume([first[1]])
    two.feed(chunks(piece(0, id="c1", name="f", arguments="{}"), reason="tool_calls"))
    second = two.to_keep()
    assert second is not None
    assert previous_of(second[1]) == "resp_sin_01"
    assert previous_of(first[1]) is None
    three = begun(input=[FOUND], previous_response_id="x", instructions="Now.")
    body = three.resume([first[1], second[1]])
    assert isinstance(body, bytes)
    called = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert json.loads(body)["messages"] == [
        {"role": "system", "content": "Now."},
        HI,
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "c1", "content": "32"},
    ]
    assert json.loads(response_of(first[1]))["store"] is True
    items = json.loads(items_of(second[1]))
    assert items["data"][0]["content"] == [{"type": "input_text", "text": "b"}]


def test_what_is_not_to_be_kept() -> None:
    for keeps, fields in ((False, {}), (True, {"store": False})):
        one = form(keeps=keeps)
        one.read(asked(**fields))
        assert json.loads(one.answer(whole({"content": "a"})))["store"] is False
        assert one.to_keep() is None
