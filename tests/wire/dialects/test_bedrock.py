"""Bedrock's dialect: requests that AWS's service model takes, answers whole and in streams."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.fabric import Refused, Usage
from selvedge.wire import DIALECTS
from selvedge.wire.dialects.bedrock import Bedrock
from selvedge.wire.http1_head import Headers
from tests.standins.bedrock import TYPES, Says, check_body, event, exception, message
from tests.wire.dialects.orders import (
    NOW_US,
    Json,
    Read,
    body_of,
    calls_of,
    order_of,
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
    },
}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"a": 1}'}}
PNG = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
THINKS = Says(
    (
        {
            "reasoningContent": {
                "reasoningText": {"text": "Tokyo, so.", "signature": "c2lnbmF0dXJl"}
            }
        },
        {"text": "I shall look. 日本 \U0001f600"},
        {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Tōkyō"}}},
        {"toolUse": {"toolUseId": "t2", "name": "now", "input": {}}},
    ),
    "tool_use",
    {
        "inputTokens": 10,
        "outputTokens": 60,
        "totalTokens": 177,
        "cacheReadInputTokens": 100,
        "cacheWriteInputTokens": 7,
    },
)
THINKS_USAGE = Usage(10, 100, 7, 60, 0, "reported")
THOUGHT = {"type": "thinking", "thinking": "Tokyo, so.", "signature": "c2lnbmF0dXJl"}


def test_a_plain_chat() -> None:
    made = outgoing("bedrock", stream=True)
    assert made.target == "/model/theirs/converse-stream"
    assert made.headers == (("authorization", "Bearer secret"),)
    body = json.loads(made.body)
    assert body == {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}


def test_a_conversation_with_everything() -> None:
    pdf = {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a_b.pdf"}
    body = body_of(
        "bedrock",
        messages=[
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "see"}, PNG]},
            {"role": "user", "content": [{"type": "file", "file": pdf}]},
            {"role": "assistant", "tool_calls": [CALL], "thinking_blocks": [THOUGHT]},
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
            {"role": "tool", "tool_call_id": "an id/of another", "content": [PNG]},
            {"role": "user", "content": "so?"},
        ],
        tools=[TOOL],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        stop=["A", "B"],
        max_tokens=77,
        temperature=0.5,
        top_p=0.25,
        reasoning_effort="high",
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
        additionalModelRequestFields={"top_k": 5},
        requestMetadata={"team": "one"},
    )
    check_body(body)
    first, called, results = (one["content"] for one in body["messages"])
    assert body["system"] == [{"text": "be brief"}]
    assert first[1] == {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}}
    assert first[2]["document"]["name"] == "a-b-pdf"
    assert called[0]["reasoningContent"]["reasoningText"]["signature"] == "c2lnbmF0dXJl"
    assert called[1] == {"toolUse": {"toolUseId": "c1", "name": "weather", "input": {"a": 1}}}
    assert results[0] == {"toolResult": {"toolUseId": "c1", "content": [{"text": "42"}]}}
    assert results[1]["toolResult"]["toolUseId"].startswith("call_")
    assert results[2] == {"text": "so?"}
    assert body["toolConfig"]["toolChoice"] == {"tool": {"name": "weather"}}
    assert body["inferenceConfig"] == {
        "maxTokens": 77,
        "temperature": 0.5,
        "topP": 0.25,
        "stopSequences": ["A", "B"],
    }
    assert body["outputConfig"]["effort"] == "high"
    assert body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"] == "{}"
    assert body["additionalModelRequestFields"] == {"top_k": 5}


@pytest.mark.parametrize(
    ("wanted", "choice"), [("auto", None), ("required", {"any": {}}), ("none", "no tools")]
)
def test_tool_choice(wanted: str, choice: Json | str | None) -> None:
    body = body_of("bedrock", tools=[TOOL], tool_choice=wanted)
    check_body(body)
    if choice == "no tools":
        assert "toolConfig" not in body
    else:
        assert body["toolConfig"].get("toolChoice") == choice


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"seed": 1}, "seed"),
        ({"n": 2}, "n"),
        ({"top_k": 5}, "top_k"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"response_format": {"type": "json_object"}}, "response_format.type json_object"),
        (
            {
                "tools": [TOOL],
                "tool_choice": "none",
                "messages": [
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "tool_calls": [CALL]},
                    {"role": "tool", "tool_call_id": "c1", "content": "42"},
                ],
            },
            "tool_choice none",
        ),
    ],
)
def test_what_cannot_be_said(fields: Json, param: str) -> None:
    refused = refusal("bedrock", **fields)
    assert (refused.code, refused.param) == ("unsupported_field", param)
    check_body(body_of("bedrock", **fields, provider={"require_parameters": False}))


def test_a_linked_image_has_no_place() -> None:
    linked = {"type": "image_url", "image_url": {"url": "https://a.example/x.png"}}
    param = refusal("bedrock", messages=[{"role": "user", "content": [linked]}]).param
    assert param == "messages[0].content[0].image_url.url"


def test_a_stream_with_thinking_and_calls() -> None:
    read = Read("bedrock", THINKS.events())
    assert read.fault is None
    assert read.message["content"] == "I shall look. 日本 \U0001f600"
    assert read.message["reasoning_content"] == "Tokyo, so."
    assert read.message["thinking_blocks"] == [THOUGHT]
    assert read.calls == [("t1", "weather", {"city": "Tōkyō"}), ("t2", "now", {})]
    assert (read.finish, read.usage) == ("tool_calls", THINKS_USAGE)
    assert read.scan.done


def test_a_whole_answer() -> None:
    found = whole("bedrock", json.dumps(THINKS.answer).encode())
    assert not isinstance(found, Refused)
    said, usage, finish = found
    assert said["content"] == "I shall look. 日本 \U0001f600"
    assert said["thinking_blocks"] == [THOUGHT]
    assert calls_of(said) == [("t1", "weather", {"city": "Tōkyō"}), ("t2", "now", {})]
    assert (usage, finish) == (THINKS_USAGE, "tool_calls")


@pytest.mark.parametrize(
    ("stop", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("something_new", "stop"),
    ],
)
def test_finish_reasons(stop: str, finish: str) -> None:
    assert Read("bedrock", Says(stop=stop).events()).finish == finish
    found = whole("bedrock", json.dumps(Says(stop=stop).answer).encode())
    assert not isinstance(found, Refused)
    assert found[2] == finish


def test_a_model_that_lost_its_way() -> None:
    says = Says((), "malformed_tool_use")
    assert isinstance(whole("bedrock", json.dumps(says.answer).encode()), Refused)
    fault = Read("bedrock", says.events()).fault
    assert fault is not None
    assert fault.code == "engine_failed"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "engine_rejected"),
        (403, "engine_failed"),
        (404, "engine_failed"),
        (408, "engine_failed"),
        (424, "engine_failed"),
        (429, "no_engine_available"),
        (500, "engine_failed"),
        (503, "no_engine_available"),
    ],
)
def test_errors_by_type(status: int, code: str) -> None:
    dialect, kind = DIALECTS["bedrock"], TYPES[status]
    headers = Headers([(b"x-amzn-errortype", kind.encode() + b":http://internal/")])
    assert dialect.refusal(status, headers, b'{"message":"m"}').code == code
    named = json.dumps({"__type": f"com.amazon.coral#{kind}", "message": "m"}).encode()
    assert dialect.refusal(status, Headers([]), named).code == code
    assert dialect.refusal(status, Headers([]), b"<html>").code == code
    inside = whole("bedrock", named)
    assert isinstance(inside, Refused)
    assert inside.code == code
    name = kind[0].lower() + kind[1:]
    early = Read("bedrock", [exception(name)]).fault
    assert early is not None
    assert early.code == code
    late = Read("bedrock", [*Says().events()[:2], exception(name)]).fault
    assert late is not None
    assert late.code == "engine_interrupted"


def test_a_quota_is_no_bad_request() -> None:
    headers = Headers([(b"x-amzn-errortype", b"ServiceQuotaExceededException")])
    assert DIALECTS["bedrock"].refusal(400, headers, b"{}").code == "no_engine_available"


def test_an_error_message_of_the_stream_itself() -> None:
    headers = {":message-type": "error", ":error-code": "InternalServerException"}
    fault = Read("bedrock", [message(headers, b"")]).fault
    assert fault is not None
    assert fault.code == "engine_failed"


def test_when_to_come_again() -> None:
    told = DIALECTS["bedrock"].limits(Headers([(b"retry-after", b"9")]), b"", NOW_US)
    assert told is not None
    assert told.retry_after_ms == 9000


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"[]", b"{}", b'{"output":{}}', b"\xff"])
def test_what_is_no_answer(body: bytes) -> None:
    found = whole("bedrock", body)
    assert isinstance(found, Refused)
    assert found.code == "engine_failed"
    assert Read("bedrock", [body]).fault is not None
    payload = message({":message-type": "event", ":event-type": "contentBlockDelta"}, body)
    assert Read("bedrock", [payload]).fault is not None


def test_half_a_stream() -> None:
    read = Read("bedrock", [*Says().events()[:-2], Says().events()[-2][:20]])
    assert read.fault is not None
    assert read.fault.code == "engine_interrupted"


def test_a_stream_without_its_usage_is_counted() -> None:
    read = Read("bedrock", Says().events()[:-1])
    assert (read.fault, read.usage) == (None, None)
    assert read.counted.output == 2


def test_a_region_has_to_be_told() -> None:
    made = order_of("bedrock", secret="AKID:secret", host="127.0.0.1:9000")
    refused = Bedrock().request(made)
    assert isinstance(refused, Refused)
    assert "region" in refused.message
    host = "bedrock-runtime.eu-west-3.amazonaws.com"
    signed = Bedrock().request(order_of("bedrock", secret="AKID:secret", host=host))
    assert not isinstance(signed, Refused)
    assert "/eu-west-3/bedrock/aws4_request" in dict(signed.headers)["authorization"]


STREAM = b"".join(THINKS.events())


@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
@settings(deadline=None, max_examples=60)
def test_however_a_stream_is_split_it_says_the_same(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    assert fed([STREAM[a:b] for a, b in pairwise(places)]) == fed([STREAM])


def fed(parts: list[bytes]) -> bytes:
    made = translator("bedrock")
    return b"".join(made.feed(one) for one in parts) + made.close()


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_mutated_bytes_never_raise(data: Any) -> None:  # Any: hypothesis has no type for it
    """Payloads under good checksums too: who sends nonsense may well count it right."""
    raw = bytearray(STREAM)
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    fed([bytes(raw)])
    kinds = ["contentBlockStart", "contentBlockDelta", "contentBlockStop", "metadata"]
    parts = []
    for _ in range(4):
        payload = bytearray(b'{"contentBlockIndex":1,"delta":{"toolUse":{"input":"{}"}}}')
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
        headers = {":message-type": "event", ":event-type": data.draw(st.sampled_from(kinds))}
        parts.append(message(headers, bytes(payload)))
    fed([event("messageStart", role="assistant"), *parts])
    answer = bytearray(json.dumps(THINKS.answer).encode())
    answer[data.draw(st.integers(0, len(answer) - 1))] = data.draw(st.integers(0, 255))
    translator("bedrock", stream=False).whole(bytes(answer))
    DIALECTS["bedrock"].refusal(500, Headers([]), bytes(answer))
