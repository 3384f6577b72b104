"""What a data class lets its PoPs do with answers that were given before: the rule of its cache.

Proposal 0013 has the reasons. The rule travels in the release; how it decides is the cache room's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from selvedge.fabric.errors import BadRelease

Decision = Literal["static", "verified", "bounded"]
"""How a similar question is judged to have the same answer."""
JUDGES: Final = ("exact", "embedding")
ENGINE_JUDGE: Final = "engine:"
"""Judges that need no engine; ``engine:MODEL`` asks a model of the fleet."""
_TTL_S_MAX: Final = 366 * 86_400
_BYTES_MAX: Final = 2**40
_JUDGE_TOKENS_MAX: Final = 10**12


class CacheRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Identical requests are answered from the cache; similar ones where ``semantic`` says how."""

    semantic: Decision | None = None
    """None: identical requests alone."""
    models: tuple[str, ...] = ()
    """Whose answers; empty: of every model."""
    threshold: float = 0.95
    """Of ``static``: the least cosine similarity of a hit."""
    wrong_hits_max: float = 0.01
    """Of ``bounded``, the largest share of hits that may be wrong; of ``verified``, of requests."""
    confidence: float = 0.95
    """With which ``bounded`` keeps to it."""
    judge: str = "embedding"
    """Who says, off the request path, whether two answers are the same."""
    judge_tokens_per_day: int = 1_000_000
    """What a judge that is an engine may use in a day (UTC) for this class, at each PoP."""
    audit_one_in: int = 20
    """One in so many hits is answered again by an engine, and judged."""
    ttl_s: int = 86_400
    bytes_max: int = 256 * 2**20
    """Of one scope's answers on one PoP's disk."""
    answer_bytes_max: int = 2**20

    def check(self, what: str) -> None:
        """Raises `BadRelease` where a value is out of range; ``what`` is the field."""
        for name, low, high in (
            ("threshold", 0.0, 1.0),
            ("wrong_hits_max", 0.0001, 0.5),
            ("confidence", 0.5, 0.9999),
        ):
            if not low <= getattr(self, name) <= high:
                words = f"{getattr(self, name)} is not from {low} to {high}"
                raise BadRelease(f"{what}.{name}", words)
        for name, limit in (
            ("audit_one_in", 10**6),
            ("judge_tokens_per_day", _JUDGE_TOKENS_MAX),
            ("ttl_s", _TTL_S_MAX),
            ("bytes_max", _BYTES_MAX),
            ("answer_bytes_max", 64 * 2**20),
        ):
            if not 1 <= getattr(self, name) <= limit:
                words = f"{getattr(self, name)} is not from 1 to {limit}"
                raise BadRelease(f"{what}.{name}", words)
        if self.judge not in JUDGES and not self.judge.startswith(ENGINE_JUDGE):
            words = f"{self.judge!r} is not of {', '.join(JUDGES)} or engine:MODEL"
            raise BadRelease(f"{what}.judge", words)

    @property
    def judge_model(self) -> str | None:
        """The model that judges, where one does."""
        if self.judge in JUDGES:
            return None
        return self.judge.removeprefix(ENGINE_JUDGE)

    def check_models(self, what: str, known: Mapping[str, str]) -> None:
        """Raises `BadRelease` where a model that is named is not of the release, or a judge cannot
        be asked in words. ``known`` are kinds by model.
        """
        for model in self.models:
            if model not in known:
                words = f"{model!r} is not under models; leave models out for all"
                raise BadRelease(f"{what}.models", words)
        judge = self.judge_model
        if judge is None:
            return
        if judge not in known:
            words = f"{judge!r} is not under models; name one, or a judge of {', '.join(JUDGES)}"
            raise BadRelease(f"{what}.judge", words)
        if known[judge] != "chat":
            words = f"{judge!r} is of kind {known[judge]!r}, and a judge answers in words; name a "
            raise BadRelease(f"{what}.judge", words + "model of kind 'chat'")

    def covers(self, model: str) -> bool:
        """Whether answers of ``model`` are kept."""
        return not self.models or model in self.models


class CacheWish(msgspec.Struct, frozen=True):
    """What one request asks of the cache: the directives of RFC 9111, and ours."""

    reuses: bool = True
    """Whether a kept answer will do; False: ``no-cache`` or ``no-store``."""
    keeps: bool = True
    """Whether its answer may be kept; False: ``no-store``."""
    age_s_max: int | None = None
    """The oldest answer that will do."""
    fresh_s_min: int = 0
    """For how long it must still be fresh."""
    only_if_cached: bool = False
    threshold: float | None = None
    """The least similarity that will do; with ``static`` it stands for the rule's."""
    tags: tuple[str, ...] = ()
    """Names under which its answer can be dropped."""


NO_WISH: Final = CacheWish()
