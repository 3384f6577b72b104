"""Usage of engines -> one normal form -> OpenAI's shape. Totals are kept, impossible parts not."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.fabric import Usage
from selvedge.wire import render_usage
from selvedge.wire.usage import REPORTED_MAX, EngineUsage

REASONING = '"completion_tokens_details":{"reasoning_tokens":%d}'


def normal(text: str) -> Usage:
    usage = msgspec.json.decode(text, type=EngineUsage).normal()
    assert usage is not None
    return usage


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ('{"prompt_tokens":5.0,"completion_tokens":2.0}', (5, 0, 0, 2, 0)),
        ('{"prompt_tokens":7,"completion_tokens":4,"total_tokens":11}', (7, 0, 0, 4, 0)),
        ('{"prompt_tokens":7,"prompt_tokens_details":{"cached_tokens":5}}', (2, 5, 0, 0, 0)),
        ('{"prompt_tokens":7,"prompt_tokens_details":{"cached_tokens":9}}', (0, 7, 0, 0, 0)),
        ('{"prompt_tokens":7,"prompt_tokens_details":{"cached_tokens":-1}}', (7, 0, 0, 0, 0)),
        ('{"prompt_tokens":7,"prompt_tokens_details":{}}', (7, 0, 0, 0, 0)),
        ('{"prompt_tokens":7,"prompt_tokens_details":null}', (7, 0, 0, 0, 0)),
        (f'{{"completion_tokens":9,{REASONING % 6}}}', (0, 0, 0, 3, 6)),
        (f'{{"completion_tokens":9,{REASONING % 60}}}', (0, 0, 0, 0, 9)),
        ('{"prompt_tokens":-3,"completion_tokens":null}', (0, 0, 0, 0, 0)),
        (f'{{"prompt_tokens":{2**70}}}', (REPORTED_MAX, 0, 0, 0, 0)),
    ],
)  # fmt: skip
def test_normal_form(text: str, counts: tuple[int, ...]) -> None:
    assert normal(text) == Usage(*counts, provenance="reported")


def test_nothing_counted_is_not_a_reported_zero() -> None:
    assert msgspec.json.decode("{}", type=EngineUsage).normal() is None


@given(*[st.integers(0, 10**9)] * 4)
def test_there_and_back(prompt: int, cached: int, completion: int, reasoning: int) -> None:
    shape = {
        "prompt_tokens": prompt + cached,
        "completion_tokens": completion + reasoning,
        "total_tokens": prompt + cached + completion + reasoning,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }
    assert render_usage(normal(json.dumps(shape))) == shape


def test_cache_writes_are_prompt_tokens() -> None:
    rendered = render_usage(Usage(1, 2, 4, 8, 16))
    assert (rendered["prompt_tokens"], rendered["completion_tokens"]) == (7, 24)
    assert rendered["total_tokens"] == 31
