"""A clock that is moved back over a moment of change opens nothing that was closed then."""

from __future__ import annotations

import msgspec
import pytest

from selvedge.fabric import CompiledRule, DataClass, Policy, Release, Tenant
from selvedge.residency import Allowed, Rules
from tests.support.fleets import NOW_US, make_release

NIGHT_US = NOW_US + 1_000_000
LATER_US = NOW_US + 2_000_000


def a_row(from_us: int, bits: str) -> CompiledRule:
    return CompiledRule("r", from_us, *([bits] * 6))


def released(made_us: int = NOW_US) -> Release:
    """sin, cgk and fra: all three at first, sin alone from midnight on, then sin and fra."""
    rows = (a_row(NOW_US - 10, "7"), a_row(NIGHT_US, "1"), a_row(LATER_US, "5"))
    policy = Policy("permit;", "{}", "t", "sha256:" + "0" * 64, rows)
    zone = "global"
    release = make_release(keys=(), made_us=made_us)
    countries = tuple(sorted({pop.country for pop in release.pops}))
    zones = (msgspec.structs.replace(release.zones[0], id=zone, countries=countries),)
    classes = tuple(
        DataClass(name, zone, "transit-allowed", policy=policy)
        for name, policy in (("one", "r"), ("two", "r"), ("free", None))
    )
    tenants = (Tenant("t", classes),)
    return msgspec.structs.replace(release, zones=zones, tenants=tenants, policy=policy)


def bits(rules: Rules, data_class: str, at_us: int, zones: tuple[str, ...] = ()) -> int:
    found = rules.allowed("t", data_class, "sin", at_us, zones)
    return found.bits if isinstance(found, Allowed) else 0


@pytest.mark.parametrize("zones", [(), ("global",)])
def test_what_lapsed_stays_lapsed(zones: tuple[str, ...]) -> None:
    rules = Rules(released())
    assert bits(rules, "one", NIGHT_US - 1, zones) == 7
    assert bits(rules, "two", NIGHT_US - 1, zones) == 7
    assert bits(rules, "one", NIGHT_US, zones) == 1
    for data_class in ("one", "two"):
        assert bits(rules, data_class, NIGHT_US - 1, zones) == 1, "for every class alike"
        assert rules.rule("t", data_class, NOW_US).allowed == 1  # type: ignore[union-attr]
    assert bits(rules, "free", NIGHT_US - 1, zones) == 7
    assert bits(rules, "one", LATER_US, zones) == 5
    assert bits(rules, "two", NIGHT_US, zones) == 1, "nor is what came later true before"
    assert bits(rules, "two", NIGHT_US - 1, zones) == 1
    assert bits(rules, "two", LATER_US, zones) == 5, "time goes on as it would have"


def test_a_release_that_was_made_after_a_change_is_not_read_as_before_it() -> None:
    rules = Rules(released(made_us=NIGHT_US))
    assert bits(rules, "one", NIGHT_US - 1) == 1
    assert bits(rules, "one", NIGHT_US) == 1


def test_a_stopped_rule_stays_stopped_at_every_moment() -> None:
    rules = Rules(released())
    assert bits(rules, "one", LATER_US) == 5
    assert bits(rules, "one", NOW_US) == 1
    rules.stop("r")
    assert [bits(rules, "one", at_us) for at_us in (NOW_US, NIGHT_US, LATER_US)] == [0, 0, 0]
