"""Whole answers: read for their facts, assembled from chunks; errors in OpenAI's shape."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.fabric import REFUSALS, Ask, Refused, Route, Usage
from selvedge.wire import (
    AnswerFacts,
    StreamScan,
    assemble,
    attest,
    frame,
    read_answer,
    read_attested,
    render_error,
    render_usage,
    write_attested,
)
from selvedge.wire.answers import TOOL_CALLS_MAX
from tests.ledger.test_receipts import ATTESTATION

ASK = Ask(Route.CHAT, "chat")
COMPLETION = Ask(Route.COMPLETIONS, "chat")
USAGE = Usage(7, 0, 0, 2, 1, "reported")
Json = dict[str, Any]  # Any: JSON


def chunk(delta: Json | None = None, at: int = 0, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": at, "delta": delta, "finish_reason": finish, **more}
    named = {"id": "c1", "object": "chat.completion.chunk", "created": 5, "model": "chat"}
    return json.dumps({**named, "choices": [choice]}).encode()


def whole(*payloads: bytes, ask: Ask = ASK) -> Json:
    answer: Json = json.loads(assemble(ask, list(payloads), USAGE))
    assert answer["usage"] == render_usage(USAGE)
    assert answer["model"] == "chat"
    return answer


def message(*deltas: Json) -> Json:
    (choice,) = whole(*map(chunk, deltas))["choices"]
    said: Json = choice["message"]
    return said


def test_a_chat() -> None:
    answer = whole(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo é😀"}),
        chunk({}, finish="length"),
    )
    assert answer == {
        "id": "c1",
        "object": "chat.completion",
        "created": 5,
        "model": "chat",
        "choices": [
            {
                "index": 0,
                "finish_reason": "length",
                "logprobs": None,
                "message": {"role": "assistant", "content": "Hello é😀", "refusal": None},
            }
        ],
        "usage": render_usage(USAGE),
    }


def test_the_official_client_takes_it() -> None:
    kind = pytest.importorskip("openai.types.chat").ChatCompletion
    answer = assemble(ASK, [chunk({"content": "a"}), chunk(None, finish="stop")], USAGE)
    read = kind.model_validate_json(answer)
    assert read.choices[0].message.content == "a"
    assert read.usage.completion_tokens == 3


def test_several_choices_in_order() -> None:
    answer = whole(
        chunk({"content": "B"}, 1),
        chunk({"content": "A"}, 0),
        chunk({"content": "b"}, 1),
        chunk({}, 1, "stop"),
        chunk({}, 0, "length"),
        ask=msgspec.structs.replace(ASK, choices=2),
    )
    choices = answer["choices"]
    said = [(one["index"], one["message"]["content"], one["finish_reason"]) for one in choices]
    assert said == [(0, "A", "length"), (1, "Bb", "stop")]


def call(at: int | None, **function: Any) -> Json:
    named = {} if at is None else {"index": at}
    return {"tool_calls": [{**named, "function": function}]}


def test_tool_calls_by_index_with_split_arguments() -> None:
    said = message(
        {"role": "assistant", "content": None},
        {"tool_calls": [{"index": 0, "id": "c0", "function": {"name": "f", "arguments": ""}}]},
        call(0, arguments='{"a"'),
        {"tool_calls": [{"index": 1, "id": "c1", "function": {"name": "g", "arguments": "{"}}]},
        call(1, arguments="}"),
        call(0, arguments=":1}"),
    )  # fmt: skip
    assert said["content"] is None
    assert said["tool_calls"] == [
        {"id": "c0", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
        {"id": "c1", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]


def test_tool_calls_without_index_are_whole() -> None:
    said = message(call(None, name="f", arguments="{}"), call(None, name="g", arguments="{}"))
    assert [one["function"]["name"] for one in said["tool_calls"]] == ["f", "g"]


ODD_CALLS: list[object] = [
    None,
    "text",
    {},
    [],
    ["text", None, 7],
    [{}],
    [{"index": None}],
    [{"index": -1}],
    [{"index": "0"}],
    [{"index": 10**9}],
    [{"index": 0, "id": None, "type": None, "function": None}],
    [{"index": 0, "function": "text"}],
    [{"index": 0, "function": {"name": None, "arguments": {"a": 1}}}],
]


@pytest.mark.parametrize("calls", ODD_CALLS)
def test_odd_tool_calls_break_nothing(calls: object) -> None:
    said = message({"tool_calls": calls}, {"tool_calls": calls}, call(0, name="f"))
    assert 1 <= len(said["tool_calls"]) <= TOOL_CALLS_MAX
    for one in said["tool_calls"]:
        assert set(one) == {"id", "type", "function"}
        assert all(isinstance(value, str) for value in one["function"].values())


def test_tool_calls_are_bounded() -> None:
    said = message(*(call(None, name="f") for _ in range(200)), call(5000, name="g"))
    assert len(said["tool_calls"]) == TOOL_CALLS_MAX


def test_reasoning_refusal_and_what_else_a_delta_says() -> None:
    said = message(
        {"role": None, "reasoning_content": "Hm"},
        {"role": "assistant", "reasoning_content": "m.", "content": "A"},
        {"refusal": "N"},
        {"refusal": "o", "annotations": [1]},
        {"annotations": None},
    )
    assert said == {
        "role": "assistant",
        "content": "A",
        "reasoning_content": "Hmm.",
        "refusal": "No",
        "annotations": [1],
    }


def test_logprobs_are_joined() -> None:
    answer = whole(
        chunk({"content": "a"}, logprobs={"content": [{"token": "a"}], "refusal": None}),
        chunk({"content": "b"}, logprobs={"content": [{"token": "b"}], "refusal": None}),
        chunk({}, logprobs=None),
        chunk({}, logprobs=[1]),
        chunk({}, logprobs={"refusal": [1]}, finish="stop"),
    )
    (choice,) = answer["choices"]
    assert choice["logprobs"] == {"content": [{"token": "a"}, {"token": "b"}], "refusal": [1]}


def test_a_completion() -> None:
    def piece(text: str | None, finish: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "text": text, "finish_reason": finish, **more}
        return json.dumps({"id": "c1", "choices": [choice], "system_fingerprint": None}).encode()

    answer = whole(
        piece("Hel", logprobs={"tokens": ["Hel"]}),
        piece("lo", logprobs={"tokens": ["lo"]}),
        piece(None),
        piece("", "stop"),
        ask=COMPLETION,
    )
    assert answer["object"] == "text_completion"
    assert "system_fingerprint" not in answer
    (choice,) = answer["choices"]
    assert choice == {
        "index": 0,
        "text": "Hello",
        "finish_reason": "stop",
        "logprobs": {"tokens": ["Hel", "lo"]},
    }


@settings(deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1), st.integers(1, 50))
def test_what_a_scan_gives_is_assembled(texts: list[str], size: int) -> None:
    events = [chunk({"role": "assistant"}), *(chunk({"content": one}) for one in texts)]
    data = b"".join(map(frame, events)) + frame(b"[DONE]")
    scan = StreamScan(ASK)
    payloads = [one for at in range(0, len(data), size) for one in scan.feed(data[at : at + size])]
    (choice,) = whole(*payloads, *scan.tail())["choices"]
    assert choice["message"]["content"] == "".join(texts)
    assert choice["finish_reason"] == "stop"


def test_facts_of_an_answer() -> None:
    body = b'{"model":"chat", "choices":[{"finish_reason":"stop"}], "usage":{"prompt_tokens":3}}'
    facts = AnswerFacts(Usage(3, provenance="reported"), "stop")
    assert read_answer(ASK, body) == (facts, body)


@pytest.mark.parametrize(
    ("body", "finish"),
    [
        (b'{"choices":[]}', None),
        (b'{"choices":[{"finish_reason":null}]}', None),
        (
            b'{"choices":[{"finish_reason":"stop"},{"finish_reason":"length"}],"usage":null}',
            "length",
        ),
    ],
)
def test_answers_without_usage(body: bytes, finish: str | None) -> None:
    assert read_answer(ASK, body) == (AnswerFacts(None, finish), body)


def test_the_engines_name_is_replaced() -> None:
    body = (
        b'{"id":"x","model" : "small","choices":[{"message":{"content":"\\"model\\""}}],"z":1.50}'
    )
    read = read_answer(ASK, body)
    assert read is not None
    assert json.loads(read[1]) == {**json.loads(body), "model": "chat"}
    assert b"1.50" in read[1]


def test_an_embedding() -> None:
    ask = Ask(Route.EMBEDDINGS, "embed")
    body = b'{"model":"embed","data":[{"embedding":[0.5]}],"usage":{"prompt_tokens":2}}'
    assert read_answer(ask, body) == (AnswerFacts(Usage(2, provenance="reported"), None), body)
    for wrong in (b"{}", b'{"data":null}', b'{"data":{}}', b'{"choices":[]}'):
        assert read_answer(ask, wrong) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"error":{"message":"boom"}}',
        b'{"choices":1}',
        b'{"choices":null}',
        b'{"data":[]}',
        b'{"choices":[{"finish_reason":"\xff"}]}',
        b'{"choices":[],"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_no_answer(body: bytes) -> None:
    assert read_answer(ASK, body) is None


@given(st.binary())
def test_no_bytes_break_the_reading(body: bytes) -> None:
    read_answer(ASK, body)
    read_attested(body)


@pytest.mark.parametrize("code", REFUSALS)
def test_errors_have_openais_shape(code: str) -> None:
    refused = Refused(code, 'It is "wrong".', param="n")
    assert json.loads(render_error(refused)) == {
        "error": {
            "message": 'It is "wrong".',
            "type": REFUSALS[code].type,
            "param": "n",
            "code": code,
        }
    }
    assert json.loads(render_error(Refused(code, "x")))["error"]["param"] is None


def test_attestations_travel() -> None:
    attested = attest(ATTESTATION, b"k" * 32)
    assert read_attested(write_attested(attested)) == attested
    for data in (b"", b"{}", b"\xff", b'{"mac":1}', b'{"a":' + b"[" * 100_000):
        assert read_attested(data) is None


def test_a_field_that_changes_its_kind_between_chunks_is_taken_as_it_last_came() -> None:
    deltas: list[dict[str, object]] = [{"content": "a", "odd": [1]}, {"content": "b", "odd": "s"}]
    chunks = [
        msgspec.json.encode({"id": "x", "choices": [{"index": 0, "delta": delta}]})
        for delta in deltas
    ]
    whole = msgspec.json.decode(assemble(Ask(Route.CHAT, "chat"), chunks, Usage()))
    message = whole["choices"][0]["message"]
    assert (message["content"], message["odd"]) == ("ab", "s")


@pytest.mark.parametrize(
    ("body", "spoken"),
    [
        ('{"choices":[{"message":{"content":"Grüße"}},{"message":{"content":"x"}}]}', 8),
        ('{"choices":[{"text":"two"},{"text":null},{"message":null}]}', 3),
        ('{"choices":[{"message":{"content":[1]}}]}', 0),
        ('{"choices":[{"message":{"content":"a"}}],"usage":{"prompt_tokens":0}}', 0),
    ],
)
def test_an_answer_that_nobody_counted_has_a_length(body: str, spoken: int) -> None:
    read = read_answer(ASK, body.encode())
    assert read is not None
    assert read[0].text_bytes == spoken


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (b'{"results":[],"usage":{"total_tokens":5}}', Usage(5, provenance="reported")),
        (
            b'{"results":[],"usage":{"prompt_tokens":4,"total_tokens":5}}',
            Usage(4, provenance="reported"),
        ),
        (
            b'{"results":[],"meta":{"tokens":{"input_tokens":3}}}',
            Usage(3, provenance="reported"),
        ),
        (b'{"results":[],"meta":{"billed_units":{"search_units":1}}}', None),
        (b'{"results":[],"usage":{"total_tokens":-7}}', Usage(provenance="reported")),
    ],
)
def test_a_ranking_tells_its_usage_in_four_ways(body: bytes, usage: Usage | None) -> None:
    read = read_answer(Ask(Route.RERANK, "rank"), body)
    assert read is not None
    assert read[0] == AnswerFacts(usage, None)
    assert read[1] == body


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"results":{}}', b"[]", b"\xff"])
def test_what_is_no_ranking(body: bytes) -> None:
    assert read_answer(Ask(Route.RERANK, "rank"), body) is None
