"""Keys of a provider in turn: which is asked with, and for how long one rests."""

from __future__ import annotations

import pytest

from selvedge.pop.provider_keys import COOLING_US_MAX, ProviderKeys, Taken
from selvedge.wire import Limits
from selvedge.wire.dialects.dialect import Level
from tests.support.fleets import make_provider

AT = 1_000_000_000
SECOND = 1_000_000


def held(**secrets: str) -> ProviderKeys:
    keys = ProviderKeys({"ENV_KEY": "from-env"})
    keys.hold(secrets or {"a": "A", "b": "B"})
    return keys


def names(keys: ProviderKeys, count: int, at_us: int = AT) -> list[str | None]:
    there = make_provider("x", "US", keys=("a", "b"))
    return [one.name if (one := keys.take(there, at_us)) else None for _ in range(count)]


def taken(name: str) -> Taken:
    return Taken("x", name, "s")


def test_they_take_turns() -> None:
    assert names(held(), 4) == ["a", "b", "a", "b"]


def test_names_in_capitals_are_the_environments() -> None:
    keys = held()
    there = make_provider("x", "US", keys=("ENV_KEY", "MISSING"))
    found = keys.take(there, AT)
    assert found is not None
    assert (found.name, found.secret) == ("ENV_KEY", "from-env")
    assert keys.dials(there)
    assert not keys.dials(make_provider("y", "US", keys=("MISSING", "gone")))
    assert keys.dials(make_provider("z", "US", keys=())), "it asks for none"
    assert "from-env" not in repr((keys, found))


@pytest.mark.parametrize(
    ("told_ms", "rests_us"), [(None, SECOND), (5000, 5 * SECOND), (10**9, COOLING_US_MAX), (0, 1)]
)
def test_a_429_rests_its_key_as_long_as_it_is_told(told_ms: int | None, rests_us: int) -> None:
    keys = held()
    assert keys.heard(taken("a"), 429, AT, told_ms, None)
    there = make_provider("x", "US", keys=("a",))
    assert keys.free_at_us(there, AT) == AT + rests_us
    assert keys.take(there, AT + rests_us - 1) is None
    assert keys.take(there, AT + rests_us) is not None


def test_in_a_row_it_rests_longer_up_to_a_bound() -> None:
    keys, there = held(), make_provider("x", "US", keys=("a",))
    rests = []
    for _ in range(12):
        keys.heard(taken("a"), 429, AT, None, None)
        rests.append((keys.free_at_us(there, AT) - AT) // SECOND)
    assert rests == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]
    keys.heard(taken("a"), 200, AT, None, None)
    keys.heard(taken("a"), 429, AT, None, None)
    assert keys.free_at_us(there, AT) == AT + SECOND


def test_what_nobody_knows_of_a_key_is_no_fault_of_it() -> None:
    keys = held()
    for status in (0, 400, 404, 500, 503, 529):
        assert not keys.heard(taken("a"), status, AT, None, None)
    assert keys.heard(taken("a"), 401, AT, None, None)
    assert names(keys, 3) == ["b", "b", "b"]


def test_a_key_without_anything_left_rests_until_it_has() -> None:
    keys = held()
    spent = Limits(requests=Level(100, 0, AT + 9 * SECOND), tokens=Level(5, 5, AT))
    assert not keys.heard(taken("a"), 200, AT, None, spent)
    assert names(keys, 2) == ["b", "b"]
    assert "a" in names(keys, 2, AT + 9 * SECOND)
    for name in ("tokens", "input_tokens", "output_tokens"):
        keys = held()
        keys.heard(taken("a"), 200, AT, None, Limits(**{name: Level(9, 0, AT + SECOND)}))
        assert names(keys, 2) == ["b", "b"], name
    far = Limits(tokens=Level(100, 0, AT + 10**12))
    keys.heard(taken("a"), 200, AT, None, far)
    keys.heard(taken("b"), 200, AT, None, Limits(tokens=Level(100, 40, AT + 10**12)))
    assert names(keys, 2) == ["b", "b"]


def test_a_secret_that_is_set_anew_begins_anew() -> None:
    keys = held()
    keys.heard(taken("a"), 401, AT, None, None)
    keys.hold({"a": "A", "b": "B"})
    assert names(keys, 1) == ["b"], "the same one still rests"
    keys.hold({"a": "A2", "b": "B"})
    assert "a" in names(keys, 2)
