"""Every dialect that is spoken outward: a new one is a file and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from selvedge.wire.dialects.anthropic import Anthropic
from selvedge.wire.dialects.bedrock import Bedrock
from selvedge.wire.dialects.dialect import Dialect
from selvedge.wire.dialects.gemini import Gemini, Vertex
from selvedge.wire.dialects.openai import Azure, OpenAI

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {
        "openai": OpenAI(),
        "azure": Azure(),
        "anthropic": Anthropic(),
        "bedrock": Bedrock(),
        "gemini": Gemini(),
        "vertex": Vertex(),
    }
)
