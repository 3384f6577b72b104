"""Streams of engines with every habit come out as OpenAI's, and the count is right."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.fabric import Ask, Route, Usage
from selvedge.wire import DONE, StreamScan, attest, frame, render_done, render_stream, stream
from tests.ledger.test_receipts import ATTESTATION

ASK = Ask(Route.CHAT, "chat", stream=True)
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
NORMAL = Usage(7, 0, 0, 2, 0, "reported")
Json = dict[str, Any]  # Any: JSON
HELLO = {"content": "Hello"}
WORLD = {"content": " wörld€😀"}
ROLE = {"role": "assistant", "content": ""}
CALL = {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}
WINDOW = 'a "model":"small" and "usage" and "finish_reason":"" in the text'


def chunk(delta: Json | None = None, finish: str | None = None, at: int = 0, **more: Any) -> Json:
    choice = {"index": at, "delta": delta or {}, "finish_reason": finish}
    return envelope([choice], **more)


def text(words: str, finish: str | None = None) -> Json:
    return envelope(
        [{"index": 0, "text": words, "finish_reason": finish}], object="text_completion"
    )


def envelope(choices: list[Json], **more: Any) -> Json:
    named = {"id": "c1", "object": "chat.completion.chunk", "created": 5, "model": "small"}
    return {**named, "choices": choices, **more}


def written(*events: Json | bytes, spaced: bool = False, done: bool = True) -> bytes:
    marks = (", ", ": ") if spaced else (",", ":")
    parts = [
        one if isinstance(one, bytes) else frame(json.dumps(one, separators=marks).encode())
        for one in events
    ]
    return b"".join(parts) + (DONE if done else b"")


END = chunk(finish="stop")
PLAIN = [chunk(ROLE), chunk(HELLO), chunk(WORLD), END]


@dataclass
class Case:
    """What an engine sends, and what of it is an answer."""

    data: bytes
    texts: list[str] = field(default_factory=lambda: ["Hello wörld€😀"])
    finish: str = "stop"
    ask: Ask = ASK
    usage: Usage | None = None
    tokens: int = 2


def twice(*events: Json) -> list[Json]:
    """Each event for both choices."""
    copies = []
    for one in events:
        for at in (0, 1):
            copies.append({**one, "choices": [{**one["choices"][0], "index": at}]})
    return copies


TWO = msgspec.structs.replace(ASK, choices=2)
COMPLETIONS = Ask(Route.COMPLETIONS, "chat", stream=True)
PROGRESS = {"total": 9, "cache": 0, "processed": 4, "time_ms": 1}
CASES: dict[str, Case] = {
    "plain": Case(written(*PLAIN)),
    "no DONE": Case(written(*PLAIN, done=False)),
    "no DONE, no last line end": Case(written(*PLAIN, done=False).rstrip()),
    "no terminal chunk": Case(written(*PLAIN[:-1])),
    "terminal twice": Case(written(*PLAIN, END)),
    "terminal three times": Case(written(*PLAIN, END, chunk(finish="length"))),
    "empty finish reason": Case(written(chunk(HELLO, ""), chunk(WORLD, ""), END)),
    "empty finish reason, spaced": Case(
        written(chunk(HELLO, ""), chunk(WORLD, ""), END, spaced=True)
    ),
    "finish on every chunk": Case(written(chunk(HELLO, "stop"), chunk(WORLD, "stop"), END)),
    "finish with the last token": Case(
        written(chunk(HELLO), chunk(WORLD, "length")), finish="length"
    ),
    "no role chunk": Case(written(*PLAIN[1:])),
    "two role chunks": Case(written(chunk(ROLE), *PLAIN)),
    "spaced": Case(written(*PLAIN, spaced=True)),
    "model between spaces": Case(written(*PLAIN).replace(b'"model":"small"', b'"model" : "small"')),
    "model escaped": Case(written(*PLAIN).replace(b'"model":"small"', b'"model":"sm\\u0061ll"')),
    "model right already": Case(written(*PLAIN).replace(b'"small"', b'"chat"')),
    "no model": Case(written(*PLAIN).replace(b'"model":"small",', b"")),
    "CRLF": Case(written(*PLAIN).replace(b"\n", b"\r\n")),
    "comments": Case(b": ping\n\n" + written(*PLAIN).replace(b"\n\n", b"\n\n: ping\n\n")),
    "bare JSON line": Case(written(chunk(HELLO), json.dumps(chunk(WORLD)).encode() + b"\n", END)),
    "no choices at all": Case(written(envelope([]), {"id": "c1"}, *PLAIN)),
    "null choices": Case(written({**envelope([]), "choices": None}, *PLAIN)),
    "after DONE": Case(written(*PLAIN) + written(chunk(HELLO))),
    "created as a float": Case(
        written(*PLAIN, done=False).replace(b'"created":5', b'"created":5.5')
    ),
    "usage separate": Case(written(*PLAIN, envelope([], usage=USAGE)), usage=NORMAL),
    "usage on the terminal": Case(written(*PLAIN[:-1], {**END, "usage": USAGE}), usage=NORMAL),
    "usage on every chunk": Case(
        written(
            *({**one, "usage": {**USAGE, "completion_tokens": n}} for n, one in enumerate(PLAIN)),
            envelope([], usage=USAGE),
        ),
        usage=NORMAL,
    ),
    "usage null": Case(written(*({**one, "usage": None} for one in PLAIN))),
    "usage null, spaced": Case(written(*({**one, "usage": None} for one in PLAIN), spaced=True)),
    "usage without DONE": Case(
        written(*PLAIN, envelope([], usage=USAGE), done=False), usage=NORMAL
    ),
    "llama.cpp": Case(
        written(
            chunk({"role": "assistant", "content": None}, prompt_progress=PROGRESS),
            chunk({"role": "assistant", "content": None}, prompt_progress=PROGRESS),
            *PLAIN[1:-1],
            {**END, "timings": {"predicted_n": 2}},
            envelope([], usage=USAGE),
        ),
        usage=NORMAL,
    ),
    "tool calls": Case(
        written(chunk(ROLE), chunk(CALL), chunk(finish="tool_calls")),
        texts=[""],
        finish="tool_calls",
        tokens=1,
    ),
    "function call": Case(
        written(chunk({"function_call": {"name": "f"}}), chunk(finish="function_call")),
        texts=[""],
        finish="function_call",
        tokens=1,
    ),
    "refusal": Case(written(chunk({"refusal": "No."}), END), texts=[""], tokens=1),
    "reasoning": Case(
        written(chunk({"reasoning_content": "Hm."}), chunk({"reasoning": "Hm."}), END),
        texts=[""],
        tokens=2,
    ),
    "empty deltas": Case(
        written(chunk({"content": None, "tool_calls": []}), chunk({"tool_calls": None}), *PLAIN)
    ),
    "nothing but an end": Case(written(chunk(ROLE), END), texts=[""], tokens=0),
    "error null": Case(written(*({**one, "error": None} for one in PLAIN))),
    "words that look like fields": Case(
        written(chunk({"content": WINDOW}), END), texts=[WINDOW], tokens=1
    ),
    "n=2": Case(written(*twice(*PLAIN)), ask=TWO, texts=["Hello wörld€😀"] * 2, tokens=4),
    "n=2, one chunk for both": Case(
        written(
            envelope([{"index": at, "delta": HELLO, "finish_reason": None} for at in (0, 1)]),
            envelope([{"index": at, "delta": {}, "finish_reason": "stop"} for at in (0, 1)]),
        ),
        ask=TWO,
        texts=["Hello"] * 2,
        tokens=1,
    ),
    "n=2, one ends again with the other": Case(
        written(
            chunk(HELLO),
            END,
            chunk(HELLO, at=1),
            envelope([{"index": at, "delta": {}, "finish_reason": "stop"} for at in (0, 1)]),
        ),
        ask=TWO,
        texts=["Hello"] * 2,
    ),
    "n=2, one terminal missing": Case(
        written(*twice(chunk(HELLO)), END), ask=TWO, texts=["Hello"] * 2
    ),
    "n=2, usage for each": Case(
        written(*twice(chunk(HELLO)), *({**one, "usage": USAGE} for one in twice(END))),
        ask=TWO,
        texts=["Hello"] * 2,
        usage=Usage(7, 0, 0, 4, 0, "reported"),
    ),
    "n=2, usage of all": Case(
        written(*twice(chunk(HELLO), END), envelope([], usage=USAGE)),
        ask=TWO,
        texts=["Hello"] * 2,
        usage=NORMAL,
    ),
    "completions": Case(
        written(text("Hello"), text(" wörld€😀"), text("", "stop")), ask=COMPLETIONS
    ),
    "completions, no terminal": Case(written(text("Hello"), text(" wörld€😀")), ask=COMPLETIONS),
}


def play(data: bytes, ask: Ask, cuts: list[int]) -> tuple[StreamScan, list[bytes]]:
    """The scan and all that is delivered of the stream; nothing of it before a token."""
    scan = StreamScan(ask)
    out: list[bytes] = []
    ends = sorted({min(cut, len(data)) for cut in cuts})
    for start, end in zip([0, *ends], [*ends, len(data)], strict=True):
        ready = scan.feed(data[start:end])
        assert scan.started or not ready
        out += ready
    return scan, out + scan.close()


def check(payloads: list[bytes], case: Case, include_usage: bool) -> None:
    """The rules of OpenAI's framing, on what the client gets."""
    assert b"prompt_progress" not in b"".join(payloads)
    chunks = [json.loads(payload) for payload in payloads]
    assert all(one.get("model", "chat") == "chat" for one in chunks)
    if include_usage:
        *chunks, last = chunks
        assert last["choices"] == []
        assert last["usage"]["total_tokens"] >= last["usage"]["completion_tokens"] > -1
        assert all(one["usage"] is None for one in chunks)
        assert all(
            payload.count(b'"usage":') == 1 for payload in payloads if b"look" not in payload
        )
    else:
        assert all("usage" not in one for one in chunks)
    texts, reasons = [""] * case.ask.choices, [list[str]() for _ in range(case.ask.choices)]
    for one in chunks:
        assert one["choices"]
        for choice in one["choices"]:
            said = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
            texts[choice["index"]] += said
            if choice["finish_reason"] is not None:
                reasons[choice["index"]].append(choice["finish_reason"])
    assert texts == case.texts
    assert reasons == [[case.finish]] * case.ask.choices


@pytest.mark.parametrize("include_usage", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_conformance(name: str, include_usage: bool) -> None:
    case = CASES[name]
    ask = msgspec.structs.replace(case.ask, include_usage=include_usage)
    for cuts in ([], list(range(len(case.data)))):
        scan, payloads = play(case.data, ask, cuts)
        assert scan.fault is None
        assert scan.whole
        check(payloads + scan.tail(), case, include_usage)
        assert scan.finish_reason == case.finish
        assert (scan.tokens, scan.usage) == (case.tokens, case.usage)
        assert scan.counted() == Usage(9 if name == "llama.cpp" else 0, output=case.tokens)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(CASES)), st.lists(st.integers(0, 1500), max_size=20), st.booleans())
def test_any_split_gives_the_same_stream(name: str, cuts: list[int], include_usage: bool) -> None:
    case = CASES[name]
    ask = msgspec.structs.replace(case.ask, include_usage=include_usage)
    whole, expected = play(case.data, ask, [])
    scan, payloads = play(case.data, ask, cuts)
    assert render_stream(payloads + scan.tail()) == render_stream(expected + whole.tail())
    assert (scan.tokens, scan.usage, scan.finish_reason) == (
        whole.tokens,
        whole.usage,
        whole.finish_reason,
    )


@pytest.mark.parametrize("name", CASES)
def test_the_official_client_reads_it(name: str) -> None:
    decoder = pytest.importorskip("openai._streaming").SSEDecoder
    kinds = pytest.importorskip("openai.types.chat").ChatCompletionChunk
    case = CASES[name]
    ask = msgspec.structs.replace(case.ask, include_usage=True)
    scan, payloads = play(case.data, ask, [])
    rendered = render_stream(payloads + scan.tail()) + render_done()
    for size in (1, 7, len(rendered)):
        parts = [rendered[at : at + size] for at in range(0, len(rendered), size)]
        *events, done = list(decoder().iter_bytes(iter(parts)))
        assert done.data == "[DONE]"
        assert [event.data.encode() for event in events] == payloads + scan.tail()
        if case.ask.route is Route.CHAT and "no model" not in name and "float" not in name:
            said = [kinds.model_validate_json(event.data) for event in events]
            assert said[-1].usage is not None
            assert {one.id for one in said if one.choices} <= {"c1", ""}


def test_a_role_that_the_engine_never_says_comes_first() -> None:
    ask = msgspec.structs.replace(ASK, choices=2, include_usage=True)
    scan = StreamScan(ask)
    assert scan.feed(written(chunk(ROLE, at=1), done=False)) == []
    first, *rest = map(json.loads, scan.feed(written(chunk(HELLO), done=False)))
    assert first["choices"] == [
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    ]
    assert first["usage"] is None
    assert [one["choices"][0]["delta"] for one in rest] == [ROLE, HELLO]


def test_an_untouched_chunk_passes_as_it_came() -> None:
    ask = msgspec.structs.replace(ASK, model="small")
    payload = (
        b'{"id":"x","choices":[{"index":0,"delta":{"role":"assistant","content":"a"},'
        b'"extra":[1, 2]}],"z":1.50}'
    )
    assert StreamScan(ask).feed(frame(payload)) == [payload]
    ask = msgspec.structs.replace(ask, include_usage=True)
    assert StreamScan(ask).feed(frame(payload)) == [payload[:-1] + b',"usage":null}']


def test_nothing_before_the_first_token_then_all_at_once() -> None:
    scan = StreamScan(ASK)
    assert scan.feed(written(chunk(ROLE), done=False)) == []
    assert (scan.started, scan.whole, scan.tokens) == (False, False, 0)
    first = scan.feed(written(chunk(HELLO), done=False))
    assert [json.loads(one)["choices"][0]["delta"] for one in first] == [ROLE, HELLO]
    assert (scan.started, scan.whole, scan.tokens) == (True, False, 1)


ERROR = {"error": {"message": "boom", "type": "server_error", "code": 500}}
OLD_ERROR = {"object": "error", "message": "boom", "type": "x", "code": 400}


@pytest.mark.parametrize("error", [ERROR, OLD_ERROR, {"error": "boom"}])
@pytest.mark.parametrize("done", [False, True])
def test_an_error_in_the_stream(error: Json, done: bool) -> None:
    before = StreamScan(ASK)
    assert before.feed(written(chunk(ROLE), error, chunk(HELLO), done=done)) == []
    assert before.fault is not None
    assert before.fault.code == "engine_failed"
    assert (before.started, before.whole, before.close()) == (False, False, [])
    after = StreamScan(ASK)
    ready = after.feed(written(chunk(ROLE), chunk(HELLO), error, chunk(WORLD), done=done))
    assert [json.loads(one)["choices"][0]["delta"] for one in ready] == [ROLE, HELLO]
    assert after.fault is not None
    assert after.fault.code == "engine_interrupted"
    assert (after.whole, after.close(), after.tokens) == (False, [], 1)


def test_a_callers_fault_in_the_stream_before_a_token() -> None:
    scan = StreamScan(ASK)
    too_long = {"error": {"message": "m", "type": "exceed_context_size_error", "code": 400}}
    assert scan.feed(written(too_long)) == []
    assert scan.fault is not None
    assert scan.fault.code == "context_length_exceeded"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        written(chunk(ROLE), done=False),
        written(chunk(HELLO), done=False),
        written(chunk(HELLO), done=False)[:-9],
        written(*PLAIN[:-1], envelope([], usage=USAGE), done=False),
    ],
)
def test_a_stream_that_stops(data: bytes) -> None:
    scan = StreamScan(ASK)
    scan.feed(data)
    assert scan.fault is None
    scan.close()
    assert scan.fault is not None
    assert scan.fault.code == "engine_interrupted"
    assert not scan.whole


@pytest.mark.parametrize(
    "payload",
    [
        b"nonsense",
        b"[]",
        b"{",
        b'{"choices":1}',
        b'{"choices":[{"delta":{"content":1}}]}',
        b'{"choices":[{"delta":{"content":"\xff"}}]}',
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_a_chunk_that_is_none(payload: bytes) -> None:
    scan = StreamScan(ASK)
    assert scan.feed(frame(payload) + written(chunk(HELLO))) == []
    assert scan.fault is not None
    assert scan.fault.code == "engine_interrupted"
    assert not scan.whole


def test_an_endless_line() -> None:
    scan = StreamScan(ASK)
    assert scan.feed(b"data: " + b"x" * (4 * 1024 * 1024)) == []
    assert scan.fault is not None
    assert not scan.whole


@pytest.mark.interpreted
def test_chunks_without_an_answer_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HELD_BYTES_MAX", 1000)
    scan = StreamScan(ASK)
    for _ in range(20):
        assert scan.feed(written(chunk(ROLE), done=False)) == []
    assert scan.fault is not None
    assert scan.fault.code == "engine_failed"


@pytest.mark.interpreted
def test_progress_is_told_to_nobody_and_held_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HELD_BYTES_MAX", 1000)
    scan = StreamScan(ASK)
    for _ in range(1000):
        assert scan.feed(written(chunk(ROLE, prompt_progress=PROGRESS), done=False)) == []
    assert scan.fault is None
    assert len(scan.feed(written(chunk(ROLE), chunk(HELLO), done=False))) == 2


@pytest.mark.parametrize(
    ("total", "cache", "uncached", "read"),
    [(9, 4, 5, 4), (9, 99, 0, 9), (-1, -1, 0, 0), (2**60, 0, 2**40, 0)],
)
def test_the_prompt_counted_by_its_progress(
    total: int, cache: int, uncached: int, read: int
) -> None:
    progress = {**PROGRESS, "total": total, "cache": cache}
    scan = StreamScan(ASK)
    scan.feed(written(chunk(ROLE, prompt_progress=progress), chunk(HELLO), done=False))
    assert scan.counted() == Usage(uncached, read, output=1)


def test_a_peers_word_comes_before_done() -> None:
    attested = attest(ATTESTATION, b"k" * 32)
    data = written(*PLAIN, done=False) + render_done(attested)
    scan = StreamScan(ASK, from_peer=True)
    ready = scan.feed(data)
    assert (scan.attested, scan.fault, scan.whole) == (attested, None, True)
    assert not any(b"attestation" in one for one in ready)
    assert render_done() == DONE
    assert render_done(attested).endswith(DONE)


def test_only_a_peer_is_heard() -> None:
    data = written(*PLAIN, done=False) + render_done(attest(ATTESTATION, b"k" * 32))
    scan = StreamScan(ASK)
    assert not any(b"attestation" in one for one in scan.feed(data))
    assert (scan.attested, scan.fault) == (None, None)
    peer = StreamScan(ASK, from_peer=True)
    peer.feed(b"event: selvedge.attested\ndata: {}\n\n")
    assert (peer.attested, peer.fault) == (None, None), "its lack is noticed at the end"


def test_an_answer_of_nothing_has_an_end_and_a_usage() -> None:
    ask = msgspec.structs.replace(COMPLETIONS, include_usage=True)
    scan = StreamScan(ask)
    assert scan.feed(DONE) == []
    end, usage = map(json.loads, scan.tail())
    assert end["choices"] == [{"index": 0, "finish_reason": "stop", "text": ""}]
    assert (end["object"], end["usage"], usage["usage"]["total_tokens"]) == (
        "text_completion",
        None,
        0,
    )


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([frame(b"{}"), written(*PLAIN)])))
def test_no_bytes_break_the_reading(parts: list[bytes]) -> None:
    scan = StreamScan(ASK)
    for part in parts:
        scan.feed(part)
    scan.close()
    assert scan.whole or scan.fault is not None
