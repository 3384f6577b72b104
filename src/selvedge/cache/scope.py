"""The scope of a cache look-up, and the last word on what was found in it.

The scope is built after residency, so that a hit cannot cross a border. `judge` and `admits` trust
nobody below them: a kept answer of another scope, another model or an older time is none, whatever
the shell found it by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from selvedge.fabric import CacheRule, CacheWish, Usage
from selvedge.fabric.value import Value

WHOLE: Final = frozenset({"stop", "tool_calls"})
"""How an answer ended that may be given again."""
_SECOND_US: Final = 1_000_000


class Scope(Value, frozen=True):
    """A hard partition of the cache: nothing kept in one scope is ever searched from another."""

    tenant: str
    data_class: str
    zone: str
    """The zone class, with the policy's rule in it and the zones a key is narrowed to."""
    policy: str = ""
    """The policy's version: what was kept under another one is not found."""

    def is_same(self, other: Scope) -> bool:
        """Whether it is the same partition: by name, for a compiled ``==`` asks for identity."""
        return (
            self.tenant == other.tenant
            and self.data_class == other.data_class
            and self.zone == other.zone
            and self.policy == other.policy
        )


class Candidate(Value, frozen=True):
    """A kept answer that may fit: where and when it was kept, and what its first receipt says."""

    id: str
    scope: Scope
    model: str
    model_digest: str
    made_us: int
    ttl_us: int
    receipt: str
    """Of the request for which it was made; "" where its operator put it there."""
    finish_reason: str
    usage: Usage
    served_pop: str
    served_engine: str | None
    country: str
    entity: str
    similarity: float = 1.0
    """Of its question to this one (cosine); of the same question 1."""
    same: bool = True
    """It is the same question, by its hash."""
    sure: bool = True
    """What decides about similar questions would give it."""

    def age_s(self, at_us: int) -> int:
        """Seconds since it was made; a clock that was moved back makes nothing younger than new."""
        return max(0, at_us - self.made_us) // _SECOND_US


def judge(
    scope: Scope, rule: CacheRule, wish: CacheWish, candidates: Sequence[Candidate], at_us: int
) -> Candidate | None:
    """The first of the candidates that answers; None: it is a miss."""
    if wish.reuses:
        for one in candidates:
            if _answers(one, scope, rule, wish, at_us):
                return one
    return None


def _answers(one: Candidate, scope: Scope, rule: CacheRule, wish: CacheWish, at_us: int) -> bool:
    if not one.scope.is_same(scope) or one.finish_reason not in WHOLE:
        return False
    age_us = max(0, at_us - one.made_us)
    if age_us + wish.fresh_s_min * _SECOND_US >= min(one.ttl_us, rule.ttl_s * _SECOND_US):
        return False
    if wish.age_s_max is not None and age_us > wish.age_s_max * _SECOND_US:
        return False
    return one.same or _is_like(one, rule, wish)


def _is_like(one: Candidate, rule: CacheRule, wish: CacheWish) -> bool:
    """Whether a similar question has this answer: the decision's word, and what was asked for."""
    if rule.semantic is None or not one.sure:
        return False
    least = rule.threshold if rule.semantic == "static" else 0.0
    return one.similarity >= (least if wish.threshold is None else wish.threshold)


def admits(wish: CacheWish, choices: int, finish_reason: str | None) -> bool:
    """Whether an answer that has just been given whole may be kept."""
    return wish.keeps and choices == 1 and finish_reason in WHOLE
