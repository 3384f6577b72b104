"""The null cache: scopes are partitions, nothing hits and nothing is kept."""

from __future__ import annotations

from selvedge.cache import Candidate, Scope, admits, judge
from selvedge.fabric import Ask, Route

ASK = Ask(Route.CHAT, "chat")


def test_scopes_differ_by_tenant_class_and_zone() -> None:
    scope = Scope("t", "d", "z")
    assert scope == Scope("t", "d", "z")
    assert len({scope, Scope("u", "d", "z"), Scope("t", "e", "z"), Scope("t", "d", "y")}) == 4


def test_without_candidates_the_cache_is_off() -> None:
    assert judge(ASK, ()) == "off"


def test_no_candidate_is_a_hit_yet() -> None:
    assert judge(ASK, (Candidate("a", 1.0),)) == "miss"


def test_nothing_is_kept() -> None:
    assert not admits(ASK, "miss")
    assert not admits(ASK, "off")
