from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from selvedge.fabric import Refused, Route
from selvedge.wire import frame, parse
from selvedge.wire.dialects.inward import Asked
from selvedge.wire.dialects.inward_messages import MessagesForm
from selvedge.wire.sse import SseReader

Json = dict[str, Any]  # Any: JSON
HI: Json = {"role": "user", "content": "hi"}
TOOL: Json = {"name": "weather", "description": "Tells.", "input_schema": {"type": "object"}}
EVENTS: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


def form() -> MessagesForm:
    return MessagesForm(Asked("rcpt_01", "req_1"))


def asked(**fields: Any) -> bytes:  # Any: fields of a body
    return json.dumps({"model": "chat", "max_tokens": 9, "messages": [HI], **fields}).encode()


def chat(**fields: Any) -> Json:
    """What becomes of a body; it is one that `parse` takes."""
    body = form().read(asked(**fields))
    assert isinstance(body, bytes), body
    parsed = parse(Route.CHAT, body)
    assert not isinstance(parsed, Refused), parsed
    return dict(json.loads(body))


def said(*content: Json, role: str = "user") -> list[Json]:
    """The chat messages of one message with these blocks."""
    messages: list[Json] = chat(messages=[{"role": role, "content": list(content)}])["messages"]
    return messages


def test_the_least() -> None:
    assert chat() == {"model": "chat", "max_tokens": 9, "messages": [HI]}


def test_parameters() -> None:
    told = chat(
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop_sequences=["a", "b"],
        stream=True,
        metadata={"user_id": "u"},
        system="Be short.",
    )
    assert told["messages"] == [{"role": "system", "content": "Be short."}, HI]
    assert told["stop"] == ["a", "b"]
    assert (told["temperature"], told["top_p"], told["top_k"]) == (0.5, 0.9, 40)
    assert (told["stream"], told["stream_options"]) == (True, {"include_usage": True})
    assert told["user"] == "u"


def test_what_is_of_no_effect_is_taken() -> None:
    marked = {"type": "text", "text": "S", "cache_control": {"type": "ephemeral"}}
    told = chat(
        system=[marked, {"type": "text", "text": "T"}],
        thinking={"type": "enabled", "budget_tokens": 1024},
        service_tier="auto",
        cache_control={"type": "ephemeral"},
        output_config={"effort": "low"},
    )
    assert set(told) == {"model", "max_tokens", "messages"}
    assert told["messages"][0] == {"role": "system", "content": "S\nT"}


def test_pictures_and_documents() -> None:
    base64 = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    text = {"type": "text", "media_type": "text/plain", "data": "D"}
    (message,) = said(
        {"type": "text", "text": "See"},
        {"type": "image", "source": base64},
        {"type": "document", "title": "T", "source": text, "citations": {"enabled": True}},
    )
    assert message["content"] == [
        {"type": "text", "text": "See"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "text", "text": "T\nD"},
    ]


def test_a_picture_by_its_address() -> None:
    source = {"type": "url", "url": "https://example.com/a.png"}
    body = asked(messages=[{"role": "user", "content": [{"type": "image", "source": source}]}])
    read = MessagesForm(Asked("rcpt_01", "req_1", "sin", "https")).read(body)
    assert isinstance(read, bytes)
    assert b'{"url":"https://example.com/a.png"}' in read
    assert isinstance(form().read(body), Refused)


def test_a_round_of_tools() -> None:
    told = chat(
        tools=[TOOL | {"cache_control": {"type": "ephemeral"}}],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        messages=[
            HI,
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "text", "text": "Let me look."},
                    {"type": "tool_use", "id": "t1", "name": "weather", "input": {"a": [1.50]}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "4"},
                    {"type": "text", "text": "And?"},
                ],
            },
        ],
    )
    assert told["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "Tells.",
                "parameters": {"type": "object"},
            },
        }
    ]
    assert (told["tool_choice"], told["parallel_tool_calls"]) == ("required", False)
    call = {"name": "weather", "arguments": '{"a": [1.5]}'}
    assert told["messages"] == [
        HI,
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [{"id": "t1", "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "4"},
        {"role": "user", "content": "And?"},
    ]


def test_results_of_tools_with_pictures() -> None:
    source = {"type": "base64", "media_type": "image/gif", "data": "R0"}
    found = [{"type": "text", "text": "a"}, {"type": "image", "source": source}]
    tool, user = said({"type": "tool_result", "tool_use_id": "t", "content": found})
    assert tool == {"role": "tool", "tool_call_id": "t", "content": "a"}
    assert user["content"][0]["image_url"]["url"] == "data:image/gif;base64,R0"
    (empty,) = said({"type": "tool_result", "tool_use_id": "t"})
    assert empty["content"] == ""


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "none"}, "none"),
        (
            {"type": "tool", "name": "weather"},
            {"type": "function", "function": {"name": "weather"}},
        ),
    ],
)
def test_choices_of_tools(choice: Json, told: object) -> None:
    assert chat(tools=[TOOL], tool_choice=choice)["tool_choice"] == told


def test_a_schema() -> None:
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    told = chat(output_config={"format": wanted})["response_format"]
    assert told["json_schema"]["schema"] == {"type": "object"}


def block(**fields: Any) -> Json:
    return {"messages": [{"role": "user", "content": [fields]}]}


REFUSED: list[tuple[Json, str, str]] = [
    ({"max_tokens": None}, "missing_field", "max_tokens"),
    ({"messages": []}, "invalid_value", "messages"),
    ({"messages": [{"role": "tool", "content": ""}]}, "invalid_value", "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "missing_field", "messages[0].content"),
    ({"messages": "hi"}, "invalid_type", "messages"),
    ({"container": "c"}, "invalid_value", "container"),
    ({"mcp_servers": []}, "invalid_value", "mcp_servers"),
    ({"inference_geo": "us"}, "invalid_value", "inference_geo"),
    ({"top_k": -1}, "invalid_value", "top_k"),
    ({"stop_sequences": ["a"] * 17}, "invalid_value", "stop_sequences"),
    ({"metadata": {"user_id": "u" * 513}}, "invalid_value", "metadata.user_id"),
    (
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        "invalid_value",
        "tools[0].type",
    ),
    ({"tools": [{"name": "a"}]}, "missing_field", "tools[0].input_schema"),
    ({"tools": [TOOL], "tool_choice": {"type": "x"}}, "invalid_value", "tool_choice.type"),
    ({"tools": [TOOL], "tool_choice": {"type": "tool"}}, "missing_field", "tool_choice.name"),
    ({"output_config": {"format": {"type": "x"}}}, "invalid_value", "output_config.format"),
    ({"system": [{"type": "image"}]}, "invalid_value", "system[0].type"),
    (block(type="container_upload"), "invalid_value", "messages[0].content[0].type"),
    (block(type="text"), "missing_field", "messages[0].content[0].text"),
    (block(type="image"), "missing_field", "messages[0].content[0].source"),
    (
        block(type="image", source={"type": "url", "url": "http://10.0.0.1/"}),
        "invalid_value",
        "messages[0].content[0].source.url",
    ),
    (
        block(type="image", source={"type": "base64", "media_type": "text/html", "data": ""}),
        "invalid_value",
        "messages[0].content[0].source.media_type",
    ),
    (
        block(type="document", source={"type": "base64", "data": "", "media_type": "x"}),
        "invalid_value",
        "messages[0].content[0].type",
    ),
    (block(type="tool_result"), "missing_field", "messages[0].content[0].tool_use_id"),
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


def whole(message: Json, reason: str = "stop", **fields: Any) -> bytes:
    usage = {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    choice = {"index": 0, "finish_reason": reason, "message": message, **fields}
    return json.dumps({"model": "chat", "choices": [choice], "usage": usage}).encode()


def test_a_whole_answer() -> None:
    told = json.loads(form().answer(whole({"role": "assistant", "content": "Hei"})))
    assert told == {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "chat",
        "content": [{"type": "text", "text": "Hei"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 3,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 4,
            "output_tokens": 3,
        },
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [('{"a":1}', {"a": 1}), ("", {}), ("[]", {"INVALID_JSON": "[]"}), ("{", {"INVALID_JSON": "{"})],
)
def test_a_whole_call(arguments: str, told: Json) -> None:
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    answer = json.loads(form().answer(whole(message, "tool_calls")))
    assert answer["content"] == [{"type": "tool_use", "id": "t1", "name": "f", "input": told}]
    assert answer["stop_reason"] == "tool_use"


@pytest.mark.parametrize(
    ("reason", "told"),
    [("length", "max_tokens"), ("content_filter", "refusal"), ("odd", "end_turn")],
)
def test_reasons(reason: str, told: str) -> None:
    assert json.loads(form().answer(whole({"content": "a"}, reason)))["stop_reason"] == told


def test_the_text_that_stopped_it_is_told_where_the_engine_tells() -> None:
    one = form()
    assert isinstance(one.read(asked(stop_sequences=["§"])), bytes)
    told = json.loads(one.answer(whole({"content": "a"}, stop_reason="§")))
    assert (told["stop_reason"], told["stop_sequence"]) == ("stop_sequence", "§")
    told = json.loads(one.answer(whole({"content": "a"}, stop_reason=128009)))
    assert (told["stop_reason"], told["stop_sequence"]) == ("end_turn", None)


def test_thoughts_are_shown_to_who_asked() -> None:
    message = {"content": "a", "reasoning_content": "hm"}
    assert [one["type"] for one in json.loads(form().answer(whole(message)))["content"]] == ["text"]
    one = form()
    one.read(asked(thinking={"type": "enabled", "budget_tokens": 1024}))
    told = json.loads(one.answer(whole(message)))["content"]
    assert told[0] == {"type": "thinking", "thinking": "hm", "signature": ""}


def chunks(*deltas: Json, reason: str = "stop") -> bytes:
    rows: list[Json] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    rows.append({"index": 0, "delta": {}, "finish_reason": reason})
    payloads: list[Json] = [{"model": "chat", "choices": [row], "usage": None} for row in rows]
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    payloads.append({"model": "chat", "choices": [], "usage": usage})
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
    piece(0, id="t1", name="weather", arguments=""),
    piece(0, arguments='{"ci'),
    piece(0, arguments='ty":"ø"}'),
    piece(1, id="t2", name="time", arguments="{}"),
)


def told(stream: bytes, one: MessagesForm | None = None, step: int = 0) -> list[Json]:
    """The events of a stream, fed in steps; each is one that the official client reads."""
    one = one or form()
    parts = [stream[at : at + step] for at in range(0, len(stream), step)] if step else [stream]
    out = b"".join(one.feed(part) for part in parts)
    events: list[Json] = []
    for event in SseReader().feed(out):
        data = json.loads(event.data)
        assert data["type"] == event.name.decode()
        EVENTS.validate_python(data)
        events.append(data)
    return events


def gathered(events: list[Json]) -> Message:
    """What the official client makes of events."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for event in events:
        read: Any = EVENTS.validate_python(event)
        snapshot = accumulate_event(event=read, current_snapshot=snapshot, json_bufs=buffers)
    return Message.model_validate(snapshot.to_dict())


def test_a_stream_is_what_the_client_expects() -> None:
    events = told(chunks(*SPOKEN, reason="tool_calls"))
    assert [(one["type"], one.get("index")) for one in events] == [
        ("message_start", None),
        ("content_block_start", 0),
        ("content_block_delta", 0),
        ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("content_block_start", 1),
        ("content_block_delta", 1),
        ("content_block_delta", 1),
        ("content_block_stop", 1),
        ("content_block_start", 2),
        ("content_block_delta", 2),
        ("content_block_stop", 2),
        ("message_delta", None),
        ("message_stop", None),
    ]
    assert events[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    message = gathered(events)
    text, weather, time = message.content
    assert text.type == "text"
    assert text.text == "Hei sei"
    assert weather.type == time.type == "tool_use"
    assert (weather.id, weather.name, weather.input) == ("t1", "weather", {"city": "ø"})
    assert (time.id, time.input) == ("t2", {})
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 3)


def test_thoughts_in_a_stream() -> None:
    one = form()
    one.read(asked(thinking={"type": "enabled", "budget_tokens": 1024}))
    blocks = gathered(told(chunks(*SPOKEN[:3]), one)).content
    assert [one.type for one in blocks] == ["thinking", "text"]


def test_a_name_that_comes_late() -> None:
    stream = chunks(piece(0, id="t", arguments="{"), piece(0, name="f"), piece(0, arguments="}"))
    (call,) = gathered(told(stream)).content
    assert call.type == "tool_use"
    assert (call.id, call.name, call.input) == ("t", "f", {})


def test_an_answer_of_nothing() -> None:
    assert gathered(told(chunks())).content == []


@given(st.integers(1, 200))
def test_a_stream_may_be_cut_anywhere(step: int) -> None:
    stream = b": ping\n\n" + chunks(*SPOKEN, reason="tool_calls")
    assert told(stream, step=step) == told(chunks(*SPOKEN, reason="tool_calls"))


DELTAS = st.one_of(
    st.text(max_size=4).map(lambda text: {"content": text}),
    st.text(max_size=4).map(lambda text: {"reasoning": text}),
    st.tuples(st.integers(0, 2), st.text(max_size=3)).map(
        lambda one: piece(one[0], name="f", arguments=one[1])
    ),
    st.sampled_from([{"tool_calls": None}, {"tool_calls": [{"index": "x"}]}, {"tool_calls": 3}]),
    st.just({"content": None}),
)


@given(st.lists(DELTAS, max_size=12))
def test_whatever_comes_blocks_open_and_close_in_turn(deltas: list[Json]) -> None:
    events = told(chunks(*deltas))
    assert events[0]["type"] == "message_start"
    assert [one["type"] for one in events[-2:]] == ["message_delta", "message_stop"]
    at, is_open = -1, False
    for event in events[1:-2]:
        if event["type"] == "content_block_start":
            assert not is_open
            assert event["index"] == at + 1
            at, is_open = at + 1, True
        elif event["type"] == "content_block_stop":
            assert is_open
            assert event["index"] == at
            is_open = False
    assert not is_open
    text = "".join(delta.get("content") or "" for delta in deltas)
    spoken = [one["delta"] for one in events if one["type"] == "content_block_delta"]
    assert "".join(one.get("text", "") for one in spoken) == text


def test_errors() -> None:
    refused = Refused("rate_limit_exceeded", "Too many.", param="x")
    error = {
        "type": "rate_limit_error",
        "message": "Too many.",
        "details": {"error_code": "rate_limit_exceeded", "param": "x"},
    }
    expected = {"type": "error", "error": error, "request_id": "req_1"}
    assert json.loads(form().refusal(refused)) == expected
    assert form().broken(refused).startswith(b"event: error\ndata: ")
    (event,) = SseReader().feed(form().broken(refused))
    assert json.loads(event.data) == expected
    assert form().ping() == b'event: ping\ndata: {"type":"ping"}\n\n'
