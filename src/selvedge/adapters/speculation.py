"""Speculative decoding as a setting of a model: what is guessed ahead, and who guesses.

An engine that speculates computes several tokens at once and keeps those that it would have chosen
anyway: answers are the same, sooner or later. Nobody but the engine needs to know; so the setting
is no part of a release.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

SpeculationKind = Literal["none", "ngram", "draft"]
TOKENS_MAX: Final = 64

Tokens = Annotated[int, msgspec.Meta(ge=1, le=TOKENS_MAX)]


class Speculation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """``ngram``: the last ``lookup_tokens`` tokens are looked up in prompt and answer so far, and
    the ``draft_tokens`` that followed them there are the guess. ``draft``: ``model`` guesses.
    """

    kind: SpeculationKind = "none"
    draft_tokens: Tokens = 8
    """How many tokens are guessed at a time."""
    lookup_tokens: Tokens = 3
    """Of ``ngram``: how many must be the same before."""
    model: str | None = None
    """Of ``draft``: a small model with the same tokens; bundled, a file, or a repository."""

    def __post_init__(self) -> None:
        if (self.kind == "draft") != (self.model is not None):
            raise ValueError("'model' names who guesses: give it with kind 'draft' and only there")


NO_SPECULATION: Final = Speculation()
