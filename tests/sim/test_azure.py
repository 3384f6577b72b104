"""Azure's traces: what is read, and what is refused with its line."""

from __future__ import annotations

import pytest

from selvedge.adapters import DataMissing, find_data, read_lines
from selvedge.sim import TRACES, BadTrace
from selvedge.sim.azure import read_azure

HEAD = b"TIMESTAMP,ContextTokens,GeneratedTokens"


def test_times_count_from_the_first_request() -> None:
    found = read_azure(
        [HEAD, b"2023-11-16 18:17:03.9799600,4808,10", b"2023-11-16 18:17:04.0319601,3180,8"]
    )
    assert [(one.at_us, one.work.prompt_tokens, one.work.output_tokens) for one in found] == [
        (0, 4808, 10),
        (52_000, 3180, 8),
    ]
    assert not found[0].work.prefix


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "t:1: the columns are not TIMESTAMP,ContextTokens,GeneratedTokens"),
        ([b"a,b,c"], "t:1: the columns"),
        ([HEAD], "t:2: holds no request"),
        ([HEAD, b"2023-11-16 18:00:00,1"], "t:2: has 2 fields; 3 are expected"),
        ([HEAD, b"yesterday,1,1"], "t:2: TIMESTAMP 'yesterday' is no ISO 8601 time"),
        ([HEAD, b"2023-11-16 18:00:00,-1,1"], "t:2: ContextTokens '-1' is no count from 1"),
        ([HEAD, b"2023-11-16 18:00:00,1,0"], "t:2: GeneratedTokens '0' is no count from 1"),
        ([HEAD, b"2023-11-16 18:00:00,1,\xff"], "t:2: GeneratedTokens"),
        (
            [HEAD, b"2023-11-16 18:00:01,1,1", b"2023-11-16 18:00:00,1,1"],
            "t:3: TIMESTAMP is before the last line's",
        ),
    ],
)
def test_what_is_refused_names_the_line(lines: list[bytes], said: str) -> None:
    with pytest.raises(BadTrace) as caught:
        read_azure(lines, "t")
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("name", "requests", "tokens"),
    [("azure-conversation", 19_366, 211.1), ("azure-code", 8_819, 27.9)],
)
def test_the_public_files_are_read_whole(name: str, requests: int, tokens: float) -> None:
    trace = TRACES[name]
    try:
        lines = read_lines(find_data(), trace.file)
    except DataMissing as missing:
        pytest.skip(str(missing))
    found = trace.read(lines, trace.file)
    assert len(found) == requests
    assert sum(one.work.output_tokens for one in found) / requests == pytest.approx(
        tokens, rel=0.01
    )
    assert 3000e6 < found[-1].at_us < 3600e6
