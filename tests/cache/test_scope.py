"""Scopes are partitions, and the last word on what was found and what is kept.

What `judge` gives and refuses is told by the story: tests/exchange/test_recalling.py.
"""

from __future__ import annotations

import pytest

from selvedge.cache import Scope, admits
from selvedge.fabric import NO_WISH, CacheWish


def test_scopes_differ_by_tenant_class_zone_and_policy() -> None:
    scope = Scope("t", "d", "z", "p")
    assert scope == Scope("t", "d", "z", "p")
    others = Scope("u", "d", "z", "p"), Scope("t", "e", "z", "p"), Scope("t", "d", "y", "p")
    assert len({scope, *others, Scope("t", "d", "z")}) == 5


@pytest.mark.parametrize(
    ("wish", "choices", "reason", "kept"),
    [
        (NO_WISH, 1, "stop", True),
        (NO_WISH, 1, "tool_calls", True),
        (NO_WISH, 2, "stop", False),
        (NO_WISH, 1, "length", False),
        (NO_WISH, 1, None, False),
        (CacheWish(keeps=False), 1, "stop", False),
        (CacheWish(reuses=False), 1, "stop", True),
    ],
)
def test_what_is_kept(wish: CacheWish, choices: int, reason: str | None, kept: bool) -> None:
    assert admits(wish, choices, reason) is kept
