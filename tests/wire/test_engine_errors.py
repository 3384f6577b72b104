"""Errors of engines: whose fault they are, and that nothing odd breaks the reading."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.fabric import REFUSALS
from selvedge.wire import PROFILES, is_callers_fault, refusal_of_answer
from selvedge.wire.engine_errors import WORDS_MAX, refusal_of_event

WORDS = "temperature must be at least 0"


def body(**error: object) -> bytes:
    return json.dumps({"error": error}).encode()


@pytest.mark.parametrize(
    ("status", "code", "callers"),
    [
        (400, "engine_rejected", True),
        (413, "request_too_large", True),
        (415, "engine_rejected", True),
        (422, "engine_rejected", True),
        (501, "engine_rejected", True),
        (401, "engine_failed", False),
        (403, "engine_failed", False),
        (404, "engine_failed", False),
        (429, "no_engine_available", False),
        (500, "engine_failed", False),
        (502, "engine_failed", False),
        (503, "no_engine_available", False),
    ],
)
def test_statuses(status: int, code: str, callers: bool) -> None:
    refused = refusal_of_answer(status, body(message=WORDS, type="x", param="temperature"))
    assert refused.code == code
    assert is_callers_fault(refused) is callers
    assert (refused.retry_after_ms is None) is callers
    if callers:
        assert (refused.message, refused.param) == (WORDS, "temperature")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (body(message=WORDS), WORDS),
        (body(message=WORDS, code=400), WORDS),
        (json.dumps({"error": WORDS}).encode(), WORDS),
        (json.dumps({"object": "error", "message": WORDS, "code": 400}).encode(), WORDS),
        (json.dumps({"detail": WORDS}).encode(), WORDS),
        (json.dumps({"detail": [{"msg": WORDS}]}).encode(), "The engine answered 400."),
        (b'{"error":null}', "The engine answered 400."),
        (b'{"error":{"code":1.5}}', "The engine answered 400."),
        (b"<html>", "The engine answered 400."),
        (b"", "The engine answered 400."),
        (b'{"error":{"message":"\xff"}}', "The engine answered 400."),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "The engine answered 400."),
    ],
)  # fmt: skip
def test_shapes(data: bytes, words: str) -> None:
    refused = refusal_of_answer(400, data)
    assert (refused.code, refused.message) == ("engine_rejected", words)


@pytest.mark.parametrize(
    "error",
    [
        {"code": "context_length_exceeded"},
        {"type": "exceed_context_size_error", "code": 400},
        {"type": "context_length_exceeded"},
    ],
)
@pytest.mark.parametrize("status", [400, 500])
def test_a_prompt_that_is_too_long(error: dict[str, object], status: int) -> None:
    refused = refusal_of_answer(status, body(message=WORDS, **error))
    assert (refused.code, refused.param) == ("context_length_exceeded", "messages")
    assert is_callers_fault(refused)


def test_words_are_bounded() -> None:
    assert len(refusal_of_answer(400, body(message="x" * 10_000)).message) == WORDS_MAX


@pytest.mark.parametrize("code", REFUSALS)
def test_a_pops_refusal_keeps_its_code(code: str) -> None:
    data = body(message=WORDS, type="x", param="p", code=code)
    refused = refusal_of_answer(503, data, ours=True)
    by_release = ("model_not_found", "unsupported_route", "residency_model")
    kept = "engine_failed" if code in by_release else code
    assert (refused.code, refused.message, refused.param) == (kept, WORDS, "p")
    assert refusal_of_answer(500, data).code in ("engine_failed", "context_length_exceeded")


def test_a_pop_that_says_something_else() -> None:
    assert refusal_of_answer(502, b"proxy error", ours=True).code == "engine_failed"
    assert refusal_of_answer(502, body(code="unheard_of"), ours=True).code == "engine_failed"
    assert refusal_of_answer(400, body(code="invalid_json"), ours=True).message == ""


@pytest.mark.parametrize(
    ("data", "started", "code"),
    [
        (body(message=WORDS, code=500), False, "engine_failed"),
        (body(message=WORDS, code=400), False, "engine_rejected"),
        (body(message=WORDS, code=503), False, "no_engine_available"),
        (body(message=WORDS, code="context_length_exceeded"), False, "context_length_exceeded"),
        (body(message=WORDS, type="exceed_context_size_error"), False, "context_length_exceeded"),
        (body(message=WORDS, code="odd"), False, "engine_failed"),
        (body(message=WORDS), False, "engine_failed"),
        (body(message=WORDS, code=400), True, "engine_interrupted"),
        (body(message=WORDS, code="context_length_exceeded"), True, "engine_interrupted"),
        (b'{"error":"boom"}', False, "engine_failed"),
        (b'{"error":"boom"}', True, "engine_interrupted"),
    ],
)
def test_events(data: bytes, started: bool, code: str) -> None:
    assert refusal_of_event(data, started=started).code == code


def test_a_pops_word_in_its_stream_keeps_its_code() -> None:
    data = body(message=WORDS, code="deadline_exceeded")
    assert refusal_of_event(data, started=True, ours=True).code == "deadline_exceeded"
    assert refusal_of_event(data, started=True).code == "engine_interrupted"
    assert refusal_of_event(b"{}", started=True, ours=True).code == "engine_interrupted"


def test_words_by_which_an_engine_means_its_caller() -> None:
    said = body(message="input is too large to process. increase", code=500)
    words = PROFILES["llama.cpp"].caller_words
    assert is_callers_fault(refusal_of_answer(500, said, caller_words=words))
    assert not is_callers_fault(refusal_of_answer(500, said))
    assert not is_callers_fault(refusal_of_answer(500, body(code=500), caller_words=words))


@given(st.binary(), st.integers(300, 599), st.booleans())
def test_no_bytes_break_the_reading(data: bytes, status: int, started: bool) -> None:
    assert refusal_of_answer(status, data).message
    assert refusal_of_event(data, started=started).message


@pytest.mark.parametrize("status", [429, 503])
def test_what_a_provider_says_of_its_limits_is_its_account_holders(status: int) -> None:
    words = "Rate limit reached in organization org-a1 on tokens per min: Limit 30000, Used 29000"
    body = json.dumps({"error": {"message": words, "type": "tokens"}}).encode()
    refused = refusal_of_answer(status, body, abroad=True)
    assert refused.code == "no_engine_available"
    assert "org-a1" not in refused.message
    assert str(status) in refused.message
