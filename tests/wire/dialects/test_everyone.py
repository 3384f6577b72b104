"""What holds for every dialect that translates: odd requests, odd answers."""

from __future__ import annotations

import json

import pytest

from selvedge.fabric import Ask, Refused, Route
from selvedge.wire import DIALECTS, PROFILES, Order
from selvedge.wire.dialects.anthropic import CARRIED as ANTHROPIC
from selvedge.wire.dialects.bedrock import CARRIED as BEDROCK
from selvedge.wire.dialects.gemini import CARRIED as GEMINI
from selvedge.wire.sse import EVENT_BYTES_MAX
from tests.standins import anthropic, bedrock, gemini
from tests.wire.dialects.orders import NOW_US, USER, Json, body_of, refusal, translator

TRANSLATED = pytest.mark.parametrize("profile", ["anthropic", "bedrock", "gemini"])
CHECKS = {
    "anthropic": anthropic.check_body,
    "bedrock": bedrock.check_body,
    "gemini": gemini.check_body,
}
PDF = "data:application/pdf;base64,JVBERi0="
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
TOOL = {"type": "function", "function": {"name": "f"}}
DROPS = {"provider": {"require_parameters": False}}


@TRANSLATED
@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"messages":1}', b"\xff", b'{"messages":[{"role":1}]}']
)
def test_a_body_that_cannot_be_read(profile: str, body: bytes) -> None:
    made = Order(Ask(Route.CHAT, "chat"), body, "m", PROFILES[profile], NOW_US)
    assert isinstance(DIALECTS[profile].request(made), Refused)


@TRANSLATED
def test_empty_texts_and_turns_are_left_out(profile: str) -> None:
    """Providers refuse an empty block; a function without parameters takes none."""
    messages: list[Json] = [
        {"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "a"}]},
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": "no"},
        {"role": "tool", "tool_call_id": "c1", "content": ""},
        {"role": "system", "content": ""},
    ]
    body = body_of(profile, messages=messages, tools=[TOOL], response_format={"type": "text"})
    CHECKS[profile](body)
    assert "system" not in body
    assert "systemInstruction" not in body


@TRANSLATED
def test_files_that_come_with_the_request(profile: str) -> None:
    file = {"type": "file", "file": {"file_data": PDF}}
    CHECKS[profile](body_of(profile, messages=[{"role": "user", "content": [file]}]))


@TRANSLATED
@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "https://a.example/x.bin"}},
        {"type": "video_url"},
    ],
)
def test_parts_that_some_cannot_take(profile: str, part: Json) -> None:
    """Refused by its place, or taken in a form that the provider knows."""
    messages = [{"role": "user", "content": [{"type": "text", "text": "a"}, part]}]
    try:
        found = body_of(profile, messages=messages)
    except AssertionError:
        refused = refusal(profile, messages=messages)
        assert refused.code == "unsupported_field"
        assert (refused.param or "").startswith("messages[0].content[1]")
    else:
        CHECKS[profile](found)


@TRANSLATED
@pytest.mark.parametrize("choice", ["sometimes", {"type": "allowed_tools"}])
def test_choices_of_tools_that_nobody_knows(profile: str, choice: str | Json) -> None:
    refused = refusal(profile, tools=[TOOL], tool_choice=choice)
    assert (refused.code, refused.param) == ("unsupported_field", "tool_choice")
    if not isinstance(choice, str):
        CHECKS[profile](body_of(profile, tools=[TOOL], tool_choice=choice, **DROPS))


@TRANSLATED
def test_tools_that_are_no_functions(profile: str) -> None:
    tools = [{"type": "web_search"}, TOOL]
    assert refusal(profile, tools=tools).param == "tools[0].type"
    CHECKS[profile](body_of(profile, tools=tools, **DROPS))


@TRANSLATED
@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "function", "content": "1"}, "messages[1].role function"),
        (
            {"role": "assistant", "tool_calls": [{"id": "x", "type": "custom"}]},
            "messages[1].tool_calls[0].type",
        ),
    ],
)
def test_messages_of_another_time(profile: str, message: Json, param: str) -> None:
    assert refusal(profile, messages=[USER, message]).param == param


@TRANSLATED
def test_an_effort_of_none(profile: str) -> None:
    CHECKS[profile](body_of(profile, reasoning_effort="none"))
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "description": "d"}}
    CHECKS[profile](body_of(profile, response_format=wanted))


@TRANSLATED
def test_a_stream_that_is_one_endless_event(profile: str) -> None:
    made = translator(profile)
    piece = b"data: " + b"x" * (EVENT_BYTES_MAX // 4)
    for _ in range(6):
        made.feed(piece)
    assert made.fault is not None
    assert made.fault.code == "engine_failed"
    assert made.feed(b"data: {}\n\n") == b""
    assert made.close() == b""


@TRANSLATED
def test_what_is_passed_to_the_provider_alone(profile: str) -> None:
    """Its own fields go through as they are; another provider's are refused."""
    all_of = {"anthropic": ANTHROPIC, "bedrock": BEDROCK, "gemini": GEMINI}
    for name, carried in all_of.items():
        for one in carried.passed - {"top_k"}:
            if name == profile:
                assert json.dumps(body_of(profile, **{one: {"a": 1}})).count(one) == 1
            else:
                assert refusal(profile, **{one: {"a": 1}}).param == one
