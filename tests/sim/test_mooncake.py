"""Traces are read whole, or refused with file, line and remedy."""

from __future__ import annotations

import json

import pytest

from selvedge.sim.mooncake import BadTrace, read_mooncake

ROW = {"timestamp": 5, "input_length": 600, "output_length": 3, "hash_ids": [0, 1]}


def line(**fields: object) -> bytes:
    return json.dumps({**ROW, **fields}).encode()


def test_a_request() -> None:
    request = read_mooncake([line()])[0]
    assert (request.at_us, request.work.prompt_tokens, request.work.prefix) == (5000, 600, (0, 1))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "t.jsonl:1: holds no request"),
        ([b"x"], "t.jsonl:1: .*one object per line"),
        ([line(), line(extra=1)], "t.jsonl:2: .*unknown field `extra`"),
        ([line(timestamp=-1)], "timestamp is negative; count"),
        ([line(timestamp=9), line()], "t.jsonl:2: timestamp is before the last line's; sort"),
        ([line(output_length=0)], "at least 1; drop"),
        ([line(hash_ids=[1, 2, 3])], "3 blocks of 512 tokens, the prompt has 2; correct"),
    ],
)
def test_what_cannot_be_played_is_refused(lines: list[bytes], words: str) -> None:
    with pytest.raises(BadTrace, match=words):
        read_mooncake(lines, "t.jsonl")
