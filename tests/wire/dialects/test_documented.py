"""docs/providers-dialects.md names every profile, every field and every option there is."""

from __future__ import annotations

from pathlib import Path

from selvedge.wire import PROFILES
from selvedge.wire.dialects.anthropic import CARRIED as ANTHROPIC
from selvedge.wire.dialects.bedrock import CARRIED as BEDROCK
from selvedge.wire.dialects.gemini import CARRIED as GEMINI

PAGE = (Path(__file__).parents[3] / "docs/providers-dialects.md").read_text("utf-8")


def test_profiles_of_providers() -> None:
    away = [one.name for one in PROFILES.values() if one.dialect != "openai" or one.strips]
    assert [name for name in away if f"`{name}`" not in PAGE] == []


def test_fields() -> None:
    named = {one for carried in (ANTHROPIC, BEDROCK, GEMINI) for one in carried.fields}
    named |= {one for carried in (ANTHROPIC, BEDROCK, GEMINI) for one in carried.passed}
    assert sorted(one for one in named if f"`{one}" not in PAGE) == []
