"""The rule of a class's cache: what is out of range or contradicts itself is no release."""

from __future__ import annotations

from typing import Any

import pytest

from selvedge.fabric import BadRelease, CacheRule, DataClass, Tenant
from tests.support.fleets import make_release


def released(rule: CacheRule, **fields: Any) -> None:
    one = DataClass("default", "world", "in-zone", cache=rule, **fields)
    make_release(tenants=(*make_release().tenants[:-1], Tenant("free", (one,))))


@pytest.mark.parametrize("semantic", [None, "static", "verified", "bounded"])
def test_what_holds(semantic: Any) -> None:
    released(CacheRule(semantic, models=("chat",), judge="engine:chat"))
    assert CacheRule().covers("any")
    assert not CacheRule(models=("chat",)).covers("embed")


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"threshold": 1.01}, "classes.default.cache.threshold", "1.01 is not from 0.0 to 1.0"),
        ({"wrong_hits_max": 0.0}, "classes.default.cache.wrong_hits_max", "from 0.0001 to 0.5"),
        ({"confidence": 1.0}, "classes.default.cache.confidence", "from 0.5 to 0.9999"),
        ({"audit_one_in": 0}, "classes.default.cache.audit_one_in", "0 is not from 1 to"),
        ({"ttl_s": 10**9}, "classes.default.cache.ttl_s", "from 1 to 31622400"),
        ({"bytes_max": 0}, "classes.default.cache.bytes_max", "from 1 to"),
        ({"answer_bytes_max": 2**40}, "classes.default.cache.answer_bytes_max", "from 1 to"),
        ({"judge": "me"}, "classes.default.cache.judge", "exact, embedding or engine:MODEL"),
        ({"judge": "engine:none"}, "tenants.free.classes.default.cache.judge", "not under models"),
        ({"judge": "engine:"}, "tenants.free.classes.default.cache.judge", "not under models"),
        ({"judge": "engine:embed"}, "default.cache.judge", "a model of kind 'chat'"),
        ({"judge_tokens_per_day": 0}, "classes.default.cache.judge_tokens_per_day", "from 1 to"),
        ({"models": ("none",)}, "tenants.free.classes.default.cache.models", "not under models"),
    ],
)
def test_what_does_not_names_field_and_limit(
    fields: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(BadRelease) as caught:
        released(CacheRule(**fields))
    assert field in str(caught.value)
    assert words in str(caught.value)


def test_a_class_that_keeps_nothing_has_no_cache() -> None:
    with pytest.raises(BadRelease, match=r"classes\.default\.cache: zero-retention keeps nothing"):
        released(CacheRule(), handling=("zero-retention",))
