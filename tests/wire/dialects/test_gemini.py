"""Google's dialect: requests as its reference has them, answers whole and in pieces."""

from __future__ import annotations

import base64
import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.fabric import Refused, Usage
from selvedge.wire import DIALECTS
from selvedge.wire.dialects.google_token import bearer_of
from selvedge.wire.http1_head import Headers
from tests.standins.gemini import STATUSES, Says, check_body, error, event
from tests.wire.dialects.orders import (
    NOW_US,
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
    },
}
PNG = "data:image/png;base64,iVBORw0KGgo="
SIGNED = {"google": {"thought_signature": "c2lnbmF0dXJl"}}
CALL = {"id": "gp737npz", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
THINKS = Says(
    (
        {"text": "Tokyo, so.", "thought": True},
        {"text": "I shall look. 日本 \U0001f600"},
        {
            "functionCall": {"name": "weather", "args": {"city": "Tōkyō"}, "id": "gp737npz"},
            "thoughtSignature": "c2lnbmF0dXJl",
        },
        {"functionCall": {"name": "now", "args": {}}},
    ),
    "STOP",
    {
        "promptTokenCount": 110,
        "cachedContentTokenCount": 100,
        "candidatesTokenCount": 40,
        "thoughtsTokenCount": 20,
        "toolUsePromptTokenCount": 3,
        "totalTokenCount": 173,
    },
)
THINKS_USAGE = Usage(13, 100, 0, 40, 20, "reported")


def test_a_plain_chat() -> None:
    made = outgoing("gemini")
    assert made.target == "/v1beta/models/theirs:generateContent"
    assert made.headers == (("x-goog-api-key", "secret"),)
    assert json.loads(made.body) == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    streamed = outgoing("vertex", stream=True)
    assert streamed.target == "/publishers/google/models/theirs:streamGenerateContent?alt=sse"
    assert streamed.headers == (("authorization", "Bearer secret"),)


def test_a_conversation_with_everything() -> None:
    image = {"type": "image_url", "image_url": {"url": PNG}}
    linked = {"type": "image_url", "image_url": {"url": "https://a.example/x.JPG?s=1"}}
    sound = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    other = CALL | {"id": "toolu_2", "extra_content": SIGNED}
    body = body_of(
        "gemini",
        messages=[
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "see"}, image, linked, sound]},
            {"role": "assistant", "tool_calls": [CALL, other]},
            {"role": "tool", "tool_call_id": "gp737npz", "content": '{"t": 3}'},
            {"role": "tool", "tool_call_id": "toolu_2", "content": "cold"},
            {"role": "user", "content": "so?"},
        ],
        tools=[TOOL],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        stop=["A", "B"],
        max_tokens=77,
        temperature=1.5,
        top_p=0.5,
        top_k=40,
        n=2,
        seed=7,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        reasoning_effort="high",
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
        safetySettings=[{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    )
    check_body(body)
    assert body["systemInstruction"] == {"parts": [{"text": "be brief"}]}
    first, called, results = (one["parts"] for one in body["contents"])
    assert [one["role"] for one in body["contents"]] == ["user", "model", "user"]
    assert first[1] == {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
    assert first[2]["fileData"]["mimeType"] == "image/jpeg"
    assert first[3]["inlineData"]["mimeType"] == "audio/wav"
    assert called == [
        {
            "functionCall": {"name": "weather", "args": {}, "id": "gp737npz"},
            "thoughtSignature": "skip_thought_signature_validator",
        },
        {
            "functionCall": {"name": "weather", "args": {}},
            "thoughtSignature": "c2lnbmF0dXJl",
        },
    ]
    answered = {"name": "weather", "response": {"t": 3}, "id": "gp737npz"}
    assert results[0] == {"functionResponse": answered}
    assert results[1]["functionResponse"]["response"] == {"result": "cold"}
    assert results[2] == {"text": "so?"}
    assert body["toolConfig"]["functionCallingConfig"] == {
        "mode": "ANY",
        "allowedFunctionNames": ["weather"],
    }
    made = body["generationConfig"]
    assert (made["candidateCount"], made["seed"], made["maxOutputTokens"]) == (2, 7, 77)
    assert (made["temperature"], made["topP"], made["topK"]) == (1.5, 0.5, 40)
    assert made["thinkingConfig"] == {"thinkingLevel": "high"}
    assert (made["responseMimeType"], made["responseJsonSchema"]) == ("application/json", {})


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"tools": [TOOL], "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"reasoning_effort": "xhigh"}, "reasoning_effort xhigh"),
        ({"response_format": {"type": "grammar"}}, "response_format.type grammar"),
    ],
)
def test_what_cannot_be_said(fields: Json, param: str) -> None:
    refused = refusal("gemini", **fields)
    assert (refused.code, refused.param) == ("unsupported_field", param)
    check_body(body_of("gemini", **fields, provider={"require_parameters": False}))


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "tool", "tool_call_id": "x", "content": "1"}, "messages[0].tool_call_id"),
        (
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "https://a.b/c"}}],
            },
            "messages[0].content[0].image_url.url",
        ),
    ],
)
def test_what_has_no_place_at_all(message: Json, param: str) -> None:
    assert refusal("gemini", messages=[message]).param == param


def test_a_stream_with_thinking_and_calls() -> None:
    read = Read("gemini", THINKS.events())
    assert read.fault is None
    assert read.message["content"] == "I shall look. 日本 \U0001f600"
    assert read.message["reasoning_content"] == "Tokyo, so."
    assert read.calls == [
        ("gp737npz", "weather", {"city": "Tōkyō"}),
        ("call_rsp1_0_1", "now", {}),
    ]
    assert any(b'"extra_content":{"google":{"thought_signature"' in one for one in read.payloads)
    assert read.finish == "tool_calls"
    assert read.usage == THINKS_USAGE
    assert not any(b'"usage"' in one for one in read.payloads)


def test_a_whole_answer() -> None:
    found = whole("gemini", json.dumps(THINKS.answer).encode())
    assert not isinstance(found, Refused)
    message, usage, finish = found
    assert message["content"] == "I shall look. 日本 \U0001f600"
    assert message["tool_calls"][0]["extra_content"] == SIGNED
    assert calls_of(message)[1] == ("call_rsp1_0_1", "now", {})
    assert (usage, finish) == (THINKS_USAGE, "tool_calls")


def test_several_candidates() -> None:
    read = Read("gemini", Says(candidates=2).events(), choices=2)
    assert read.fault is None
    assert read.scan.whole
    assert read.usage == Usage(25, 0, 0, 15, 0, "reported")


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("OTHER", "stop"),
    ],
)
def test_finish_reasons(reason: str, finish: str) -> None:
    assert Read("gemini", Says(finish=reason).events()).finish == finish
    found = whole("gemini", json.dumps(Says(finish=reason).answer).encode())
    assert not isinstance(found, Refused)
    assert found[2] == finish


def test_safety_without_a_word() -> None:
    """Nothing but that it was stopped: an empty answer that says why it is empty."""
    bare = {"candidates": [{"finishReason": "SAFETY", "index": 0}]}
    read = Read("gemini", [event(bare)])
    assert (read.fault, read.finish, read.message["content"]) == (None, "content_filter", "")
    found = whole("gemini", json.dumps(bare).encode())
    assert not isinstance(found, Refused)
    assert found[2] == "content_filter"


def test_a_blocked_prompt() -> None:
    blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {}}
    for told in (
        whole("gemini", json.dumps(blocked).encode()),
        Read("gemini", [event(blocked)]).fault,
    ):
        assert isinstance(told, Refused)
        assert told.code == "engine_rejected"
        assert "PROHIBITED_CONTENT" in told.message


def test_a_model_that_lost_its_way() -> None:
    says = Says(parts=(), finish="MALFORMED_FUNCTION_CALL")
    found = whole("gemini", json.dumps(says.answer).encode())
    assert isinstance(found, Refused)
    assert found.code == "engine_failed"
    early = Read("gemini", [event(says.answer)])
    assert early.fault is not None
    assert early.fault.code == "engine_failed"
    late = Read("gemini", [event(Says().piece(({"text": "a"},), None)), event(says.answer)])
    assert late.fault is not None
    assert late.fault.code == "engine_interrupted"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "engine_rejected"),
        (401, "engine_failed"),
        (403, "engine_failed"),
        (404, "engine_failed"),
        (429, "no_engine_available"),
        (500, "engine_failed"),
        (503, "no_engine_available"),
        (504, "engine_failed"),
    ],
)
def test_errors_by_status(status: int, code: str) -> None:
    dialect, body = DIALECTS["gemini"], json.dumps(error(status)).encode()
    assert STATUSES[status]
    for told in (body, b"[" + body + b"]", b"<html>"):
        assert dialect.refusal(status, Headers([]), told).code == code
    for inside in (whole("gemini", body), whole("gemini", b"[" + body + b"]")):
        assert isinstance(inside, Refused)
        assert inside.code == code
    for parts in ([event(error(status))], [body]):
        fault = Read("gemini", parts).fault
        assert fault is not None
        assert fault.code == code
    late = Read("gemini", [Says().events()[0], event(error(status))]).fault
    assert late is not None
    assert late.code == "engine_interrupted"


def test_a_bad_key_is_no_bad_request() -> None:
    body = json.dumps(error(400, reason="API_KEY_INVALID")).encode()
    assert DIALECTS["gemini"].refusal(400, Headers([]), body).code == "engine_failed"


def test_when_to_come_again() -> None:
    body = json.dumps(error(429, retry="22.5s")).encode()
    told = DIALECTS["gemini"].limits(Headers([]), body, NOW_US)
    assert told is not None
    assert told.retry_after_ms == 22_500
    assert DIALECTS["gemini"].limits(Headers([]), b"", NOW_US) is None


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{", b"[]", b"{}", b'{"candidates":[]}', b"\xff"]
)
def test_what_is_no_answer(body: bytes) -> None:
    found = whole("gemini", body)
    assert isinstance(found, Refused)
    assert found.code == "engine_failed"
    assert Read("gemini", [body]).fault is not None


def test_wrong_usage() -> None:
    usage = {"promptTokenCount": -4, "candidatesTokenCount": 2**70, "cachedContentTokenCount": 9}
    found = whole("gemini", json.dumps(Says(usage=usage).answer).encode())
    assert not isinstance(found, Refused)
    assert found[1] == Usage(0, 0, 0, 2**40, 0, "reported")


STREAM = b"".join(THINKS.events())


@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
@settings(deadline=None, max_examples=60)
def test_however_a_stream_is_split_it_says_the_same(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    assert fed([STREAM[a:b] for a, b in pairwise(places)]) == fed([STREAM])


def fed(parts: list[bytes]) -> bytes:
    made = translator("gemini")
    return b"".join(made.feed(one) for one in parts) + made.close()


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_mutated_bytes_never_raise(data: Any) -> None:  # Any: hypothesis has no type for it
    raw = bytearray(STREAM)
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    fed([bytes(raw)])
    answer = bytearray(json.dumps(THINKS.answer).encode())
    answer[data.draw(st.integers(0, len(answer) - 1))] = data.draw(st.integers(0, 255))
    translator("gemini", stream=False).whole(bytes(answer))
    DIALECTS["gemini"].refusal(500, Headers([]), bytes(answer))
    DIALECTS["gemini"].limits(Headers([]), bytes(answer), NOW_US)


def test_a_service_account_signs_for_itself() -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    account = {"client_email": "a@p.example", "private_key": pem, "private_key_id": "k1"}
    token = bearer_of(json.dumps(account), NOW_US)
    head, claims, signature = token.split(".")
    key.public_key().verify(
        unpadded(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
    )
    assert msgspec.json.decode(unpadded(head)) == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    said = msgspec.json.decode(unpadded(claims))
    assert said["iss"] == said["sub"] == "a@p.example"
    assert said["iat"] <= NOW_US // 1_000_000 < said["exp"] - 1000
    assert bearer_of(json.dumps(account), NOW_US + 60_000_000) == token
    assert bearer_of("{not a key}", NOW_US) == ""
    assert bearer_of("ya29.token", NOW_US) == "ya29.token"


def unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_no_client_reads_what_others_with_the_same_key_left_there() -> None:
    assert refusal("gemini", cachedContent="cachedContents/1").code == "unsupported_field"
