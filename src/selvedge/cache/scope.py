"""The scope of a cache look-up, built after residency so that a hit cannot cross a border.

For now nothing is kept: `judge` never finds a hit and `admits` never keeps. The commands `Recall`
and `Remember` and their place in the story are live, so that the cache changes this room alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from selvedge.fabric import Ask
from selvedge.fabric.value import Value

CacheStatus = Literal["off", "miss", "hit"]


class Scope(Value, frozen=True):
    """A hard partition of the cache: nothing kept in one scope is ever searched from another."""

    tenant: str
    data_class: str
    zone: str
    """The zone class, with the policy's rule in it and the zones a key is narrowed to."""
    policy: str = ""
    """The policy's version: what was kept under another one is not found."""


class Candidate(Value, frozen=True):
    """A kept answer that may fit, with its similarity (cosine, 0 to 1)."""

    id: str
    similarity: float


def judge(ask: Ask, candidates: Sequence[Candidate]) -> CacheStatus:
    """Whether one of the candidates answers ``ask``; without a cache the status is ``off``."""
    return "miss" if candidates else "off"


def admits(ask: Ask, status: CacheStatus) -> bool:
    """Whether the answer just given may be kept."""
    return False
