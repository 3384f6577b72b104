"""The table of engines: rows are complete and raw extras are JSON."""

from __future__ import annotations

import json

import pytest

from selvedge.wire import DIALECTS, PROFILES, Profile


@pytest.mark.parametrize("row", PROFILES.values(), ids=lambda row: row.name)
def test_rows(row: Profile) -> None:
    assert PROFILES[row.name] is row
    assert row.meaning
    for key, value in [*row.stream_extras.items(), *row.usage_options.items()]:
        assert key
        json.loads(value)


def test_the_engines_of_the_house() -> None:
    own = {"llama.cpp", "openai", "vllm", "sglang", "tgi", "ollama"}
    away = {"cohere", "openai-api", "azure", "anthropic", "bedrock", "gemini", "vertex"}
    assert set(PROFILES) == own | away
    assert {one.dialect for one in PROFILES.values()} == set(DIALECTS)
    # The only moments at which llama.cpp notices that its client has left.
    assert [name for name, row in PROFILES.items() if row.always_stream] == ["llama.cpp"]
    extras = {"return_progress": b"true", "timings_per_token": b"true"}
    assert PROFILES["llama.cpp"].stream_extras == extras
    count_on = [name for name, row in PROFILES.items() if row.usage_options]
    assert count_on == ["vllm", "sglang"]


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        PROFILES["x"] = Profile("x")  # type: ignore[index]
