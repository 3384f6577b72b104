"""Usage adds up and cannot be impossible; a head does not show its secrets."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.fabric import TOKENS_MAX, Ask, Head, Route, Usage

COUNTS = ["input_uncached", "cache_read", "cache_write", "output", "reasoning"]
counts = st.integers(0, TOKENS_MAX)


@given(counts, counts, counts, counts, counts)
def test_usage_adds_up(uncached: int, read: int, write: int, output: int, thought: int) -> None:
    usage = Usage(uncached, read, write, output, thought)
    assert usage.input == uncached + read + write
    assert usage.generated == output + thought
    assert usage.input + usage.generated < 2**53
    assert usage.provenance == "counted"


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("value", [-1, TOKENS_MAX + 1])
def test_impossible_counts_cannot_exist(count: str, value: int) -> None:
    with pytest.raises(ValueError, match="token count"):
        Usage(**{count: value})
    with pytest.raises(msgspec.ValidationError, match="token count"):
        msgspec.json.decode(f'{{"{count}":{value}}}', type=Usage)


def test_a_head_shows_neither_key_nor_person() -> None:
    head = Head("req_1", "rcpt_1", Route.CHAT, "Bearer sk-CANARY", 0, 1, 2, "203.0.113.9", "me")
    assert repr(head) == "Head(req_1)"


def test_an_ask_has_one_choice_unless_it_says_so() -> None:
    ask = Ask(Route.CHAT, "m")
    assert (ask.choices, ask.stream, ask.include_usage, ask.output_tokens_max) == (
        1,
        False,
        False,
        None,
    )
    assert [route.value for route in Route] == [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/rerank",
        "/v1/chat/completions/input_tokens",
    ]
