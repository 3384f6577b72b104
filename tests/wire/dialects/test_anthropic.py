"""Anthropic's dialect: requests that its own types take, answers as its reference shows them."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.fabric import Refused, Usage
from selvedge.wire import DIALECTS
from selvedge.wire.dialects.dialect import Level, Limits
from selvedge.wire.http1_head import Headers
from tests.standins.anthropic import TYPES, Says, check_body, error, event
from tests.wire.dialects.orders import (
    NOW_US,
    USER,
    Json,
    Read,
    body_of,
    calls_of,
    outgoing,
    refusal,
    translator,
    whole,
)

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        "strict": True,
    },
}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"a": 1}'}}
BROKEN_CALL = CALL | {"function": {"name": "f", "arguments": "no"}}
PNG = "data:image/png;base64,iVBORw0KGgo="
THINKS = Says(
    (
        {"type": "thinking", "thinking": "Let me see. Tokyo.", "signature": "c2lnbmF0dXJl"},
        {"type": "text", "text": "I shall look. 日本 \U0001f600"},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Tōkyō"}},
        {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
    ),
    "tool_use",
    {
        "input_tokens": 10,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 7,
        "output_tokens": 60,
        "output_tokens_details": {"thinking_tokens": 20},
    },
)
THINKS_USAGE = Usage(10, 100, 7, 40, 20, "reported")


def test_a_plain_chat() -> None:
    made = outgoing("anthropic", options={"beta": "context-1m"})
    assert made.target == "/v1/messages"
    assert made.headers == (
        ("x-api-key", "secret"),
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "context-1m"),
    )
    body = json.loads(made.body)
    assert body == {
        "model": "theirs",
        "max_tokens": 8192,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    }
    check_body(body)


def test_a_conversation_with_everything() -> None:
    image = {"type": "image_url", "image_url": {"url": PNG}}
    linked = {"type": "image_url", "image_url": {"url": "https://a.example/x.png"}}
    pdf = {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}
    marked = {"type": "text", "text": "read", "cache_control": {"type": "ephemeral"}}
    thought = {"type": "thinking", "thinking": "so", "signature": "c2ln"}
    body = body_of(
        "anthropic",
        messages=[
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [marked, image, linked, {"type": "file", "file": pdf}]},
            {"role": "assistant", "tool_calls": [CALL], "thinking_blocks": [thought]},
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
            {"role": "tool", "tool_call_id": "c2", "content": [image]},
            {"role": "user", "content": "so?"},
            {"role": "developer", "content": [{"type": "text", "text": "in French"}]},
        ],
        tools=[TOOL],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        parallel_tool_calls=False,
        stop="END",
        max_completion_tokens=77,
        temperature=0.25,
        top_p=0.5,
        top_k=40,
        reasoning_effort="high",
        user="u1",
        stream=True,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
    )
    check_body(body)
    assert [one["text"] for one in body["system"]] == ["be brief", "in French"]
    assert [one["role"] for one in body["messages"]] == ["user", "assistant", "user"]
    first, called, results = (one["content"] for one in body["messages"])
    assert first[0]["cache_control"] == {"type": "ephemeral"}
    assert first[1]["source"]["media_type"] == "image/png"
    assert first[1]["source"]["data"] == "iVBORw0KGgo="
    assert first[2]["source"] == {"type": "url", "url": "https://a.example/x.png"}
    assert first[3]["source"]["media_type"] == "application/pdf"
    assert called == [
        thought,
        {"type": "tool_use", "id": "c1", "name": "weather", "input": {"a": 1}},
    ]
    assert [one["type"] for one in results] == ["tool_result", "tool_result", "text"]
    assert results[0]["content"] == [{"type": "text", "text": "42"}]
    assert body["tool_choice"] == {
        "type": "tool",
        "name": "weather",
        "disable_parallel_tool_use": True,
    }
    assert body["tools"][0]["input_schema"]["properties"] == {"city": {"type": "string"}}
    assert body["output_config"] == {
        "format": {"type": "json_schema", "schema": {}},
        "effort": "high",
    }
    named = {"max_tokens": 77, "temperature": 0.25, "top_p": 0.5, "top_k": 40, "stream": True}
    assert {name: body[name] for name in named} == named
    assert (body["stop_sequences"], body["metadata"]) == (["END"], {"user_id": "u1"})


@pytest.mark.parametrize(
    ("wanted", "choice"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
    ],
)
def test_tool_choice(wanted: str, choice: Json) -> None:
    body = body_of("anthropic", tools=[TOOL], tool_choice=wanted)
    check_body(body)
    assert body["tool_choice"] == choice


def test_silence_where_nothing_is_asked() -> None:
    body = body_of("anthropic", n=1, logprobs=False, presence_penalty=0, store=True, seed=None)
    assert set(body) == {"model", "max_tokens", "messages"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"seed": 1}, "seed"),
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"chat_template_kwargs": {}}, "chat_template_kwargs"),
        ({"response_format": {"type": "json_object"}}, "response_format.type json_object"),
        ({"reasoning_effort": "minimal"}, "reasoning_effort minimal"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "video"}]}]},
            "messages[0].content[0].type video",
        ),
    ],
)
def test_what_cannot_be_said(fields: Json, param: str) -> None:
    """Refused by name with the remedy; dropped where the client says so."""
    refused = refusal("anthropic", **fields)
    assert (refused.code, refused.param) == ("unsupported_field", param)
    assert "require_parameters" in refused.message
    body = body_of("anthropic", **fields, provider={"require_parameters": False})
    assert "provider" not in body
    check_body(body | {"messages": [USER | {"content": [{"type": "text", "text": "x"}]}]})


def test_an_engines_model_may_take_less_than_its_dialect() -> None:
    options = {"without": "temperature,top_p", "output_tokens": "64000"}
    assert refusal("anthropic", options=options, temperature=0.5).param == "temperature"
    assert body_of("anthropic", options=options)["max_tokens"] == 64_000


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "function", "content": "1"}, "messages[0].role function"),
        (
            {"role": "assistant", "tool_calls": [BROKEN_CALL]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x,y"}}]},
            "messages[0].content[0].image_url.url",
        ),
    ],
)
def test_what_has_no_place_at_all(message: Json, param: str) -> None:
    refused = refusal("anthropic", messages=[message])
    assert (refused.code, refused.param) == ("unsupported_field", param)


def test_a_temperature_beyond_anthropics() -> None:
    assert refusal("anthropic", temperature=1.5).param == "temperature"


def test_a_stream_with_thinking_and_calls() -> None:
    read = Read("anthropic", THINKS.events())
    assert read.fault is None
    assert read.message["content"] == "I shall look. 日本 \U0001f600"
    assert read.message["reasoning_content"] == "Let me see. Tokyo."
    assert read.message["thinking_blocks"] == [THINKS.blocks[0]]
    assert read.calls == [("toolu_1", "weather", {"city": "Tōkyō"}), ("toolu_2", "now", {})]
    assert read.finish == "tool_calls"
    assert read.usage == THINKS_USAGE
    assert read.scan.done


def test_a_whole_answer() -> None:
    found = whole("anthropic", json.dumps(THINKS.message).encode())
    assert not isinstance(found, Refused)
    message, usage, finish = found
    assert message["content"] == "I shall look. 日本 \U0001f600"
    assert message["reasoning_content"] == "Let me see. Tokyo."
    assert calls_of(message) == [
        ("toolu_1", "weather", {"city": "Tōkyō"}),
        ("toolu_2", "now", {}),
    ]
    assert (usage, finish) == (THINKS_USAGE, "tool_calls")


@pytest.mark.parametrize(
    ("stop", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("pause_turn", "stop"),
        ("something_new", "stop"),
    ],
)
def test_finish_reasons(stop: str, finish: str) -> None:
    says = Says(stop=stop)
    assert Read("anthropic", says.events()).finish == finish
    found = whole("anthropic", json.dumps(says.message).encode())
    assert not isinstance(found, Refused)
    assert found[2] == finish


def test_a_client_that_leaves_pays_for_the_prompt_that_was_told() -> None:
    """The first event tells the prompt; what came of the answer is counted."""
    read = Read("anthropic", THINKS.events()[:5])
    assert read.fault is not None
    assert read.fault.code == "engine_interrupted"
    assert read.usage is None
    assert read.counted.input == 117
    assert read.counted.cache_read == 100
    assert read.counted.provenance == "counted"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "engine_rejected"),
        (401, "engine_failed"),
        (402, "engine_failed"),
        (403, "engine_failed"),
        (404, "engine_failed"),
        (413, "request_too_large"),
        (429, "no_engine_available"),
        (500, "engine_failed"),
        (504, "engine_failed"),
        (529, "no_engine_available"),
    ],
)
def test_errors_by_type_and_status(status: int, code: str) -> None:
    """The same by status, within a 200, and as the first event of a stream."""
    dialect = DIALECTS["anthropic"]
    headers = Headers([(b"retry-after", b"7")])
    told = dialect.refusal(status, headers, error(status))
    assert told.code == code
    bare = dialect.refusal(status, Headers([]), b"<html>")
    assert bare.code == code
    limits = dialect.limits(headers, error(status), NOW_US)
    assert limits is not None
    assert limits.retry_after_ms == 7000
    inside = whole("anthropic", error(status))
    assert isinstance(inside, Refused)
    assert inside.code == code
    early = Read("anthropic", [event("error", error={"type": TYPES[status], "message": "m"})])
    assert early.fault is not None
    assert early.fault.code == code
    one_line = Read("anthropic", [error(status)])
    assert one_line.fault is not None
    assert one_line.fault.code == code


def test_an_error_in_the_middle() -> None:
    failed = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    read = Read("anthropic", [*Says().events()[:5], failed, *Says().events()[5:]])
    assert read.fault is not None
    assert read.fault.code == "engine_interrupted"
    assert "Overloaded" not in read.fault.message
    assert read.message["content"] == "Hello there."[:12]


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>Bad Gateway</html>", b"{", b"[]", b'{"type":"message"}', b'{"id":1}', b"\xff"],
)
def test_what_is_no_answer(body: bytes) -> None:
    found = whole("anthropic", body)
    assert isinstance(found, Refused)
    assert found.code == "engine_failed"
    read = Read("anthropic", [body])
    assert read.fault is not None
    assert read.fault.code in ("engine_failed", "engine_interrupted")


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"input_tokens": -5, "output_tokens": 3}, (0, 3)),
        ({"input_tokens": 1e300, "output_tokens": 2**80}, (0, 2**40)),
        ({"input_tokens": 2.0, "output_tokens": None}, (2, 0)),
        ({}, (0, 0)),
    ],
)
def test_wrong_usage(usage: Json, counts: tuple[int, int]) -> None:
    found = whole("anthropic", json.dumps(Says(usage=usage).message).encode())
    assert not isinstance(found, Refused)
    assert found[1] is not None
    assert (found[1].input, found[1].generated) == counts


def test_limits_that_headers_tell() -> None:
    headers = Headers(
        [
            (b"anthropic-ratelimit-requests-limit", b"50"),
            (b"anthropic-ratelimit-requests-remaining", b"0"),
            (b"anthropic-ratelimit-requests-reset", b"2026-11-22T07:30:00Z"),
            (b"anthropic-ratelimit-output-tokens-remaining", b"nonsense"),
        ]
    )
    told = DIALECTS["anthropic"].limits(headers, b"", NOW_US)
    assert told == Limits(requests=Level(50, 0, 1_795_332_600_000_000))
    assert DIALECTS["anthropic"].limits(Headers([]), b"", NOW_US) is None


STREAM = b"".join(THINKS.events())


@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
@settings(deadline=None, max_examples=60)
def test_however_a_stream_is_split_it_says_the_same(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    parts = [STREAM[a:b] for a, b in pairwise(places)]
    assert fed(parts) == fed([STREAM])


def test_split_at_every_byte() -> None:
    assert fed([STREAM[at : at + 1] for at in range(len(STREAM))]) == fed([STREAM])


def fed(parts: list[bytes]) -> bytes:
    made = translator("anthropic")
    return b"".join(made.feed(one) for one in parts) + made.close()


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_mutated_bytes_never_raise(data: Any) -> None:  # Any: hypothesis has no type for it
    raw = bytearray(STREAM)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.integers(0, 255))
    fed([bytes(raw)])
    message = bytearray(json.dumps(THINKS.message).encode())
    message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    translator("anthropic", stream=False).whole(bytes(message))
    DIALECTS["anthropic"].refusal(500, Headers([]), bytes(message))


@pytest.mark.parametrize("name", ["inference_geo", "speed", "container"])
def test_no_client_chooses_where_at_which_price_or_on_whose_leavings(name: str) -> None:
    assert refusal("anthropic", **{name: "x"}).code == "unsupported_field"


def test_thinking_blocks_are_thoughts_alone() -> None:
    picture = {"type": "image", "source": {"type": "url", "url": "http://10.0.0.1/"}}
    thought = {"type": "thinking", "thinking": "So.", "signature": "c2ln"}
    hidden = {"type": "redacted_thinking", "data": "eA=="}
    said = {"role": "assistant", "content": "Yes.", "thinking_blocks": [picture, thought, hidden]}
    body = body_of("anthropic", messages=[USER, said, USER])
    assert body["messages"][1]["content"] == [thought, hidden, {"type": "text", "text": "Yes."}]
