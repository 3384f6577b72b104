"""Policies that would open a border by what they read, and by what nobody knows."""

from __future__ import annotations

from datetime import date

import msgspec
import pytest

from selvedge.adapters import read_policies
from selvedge.fabric import BadRelease, DataClass, Entity, PoP, Tenant
from selvedge.residency import (
    Fleet,
    Group,
    Jurisdictions,
    Member,
    compile_policy,
    day_us,
    expected,
    facts_of,
    rows_of,
)
from tests.support.fleets import make_pop

DAY = date(2027, 3, 1)
LISTS = Jurisdictions(version="t", reviewed=DAY, groups={"EU": Group((Member(("DE", "FR")),))})
TENANTS = (Tenant("t", (DataClass("c", "z", "in-zone"),)),)


def pop(name: str, country: str, entity: str) -> PoP:
    changes = {"id": name, "country": country, "entity": entity}
    return msgspec.structs.replace(make_pop("sin"), **changes)


def processed(text: str, fleet: Fleet) -> list[str]:
    """Where rule r may process, by the bits; and, asked again of the facts, the same."""
    made_us = day_us(DAY)
    policy = compile_policy(read_policies(text), fleet, LISTS, made_us).policy
    bits = rows_of(policy)["r"][0].process
    found = [one.id for place, one in enumerate(fleet.pops) if bits >> place & 1]
    written, facts = read_policies(policy.text), facts_of(policy)
    for one in fleet.pops:
        answers = expected(written, facts, "r", one.id, made_us)["process"]
        assert all(each.allowed for each in answers) == (one.id in found)
    return found


FLEET = Fleet(
    (pop("a", "DE", "acme"), pop("b", "DE", "acne")),
    (Entity("holding", "DE"), Entity("acme", "DE", parent="holding")),
    TENANTS,
)


@pytest.mark.parametrize(
    "condition",
    [
        'resource.parents.contains("holding")',
        'resource.parentCountries.contains("DE")',
        'resource.reach.contains("DE")',
        'resource.country == "DE" && !resource.parents.contains("evil")',
    ],
)
def test_what_nobody_knows_is_never_a_reason_to_permit(condition: str) -> None:
    """An entity with a typo (``acne``) is owned by everybody: that must not permit it either."""
    text = f'permit(principal == Rule::"r", action, resource) when {{ {condition} }};'
    assert processed(text, FLEET) == ["a"]


def test_a_policy_that_asks_nothing_of_operators_needs_none() -> None:
    text = 'permit(principal == Rule::"r", action, resource) when { resource.country == "DE" };'
    assert processed(text, FLEET) == ["a", "b"]


@pytest.mark.parametrize(
    "condition",
    [
        'Site::"b".country == "US"',
        'Site::"b" has country && Site::"b".groups.contains("EU")',
        '(if resource.country == "DE" then resource else Site::"b").country == "US"',
    ],
)
def test_a_policy_sees_no_other_site_than_the_one_it_is_asked_about(condition: str) -> None:
    """Its answer would be kept for sites alike, and be wrong once the other one is another."""
    text = f"""permit(principal == Rule::"r", action, resource);
    @id("spy") forbid(principal, action, resource) when {{ {condition} }};"""
    with pytest.raises(BadRelease, match=r"policies\.spy: reads .* other than resource"):
        read_policies(text)


def test_a_mistyped_attribute_is_no_silent_permission() -> None:
    text = """permit(principal == Rule::"r", action, resource);
    forbid(principal, action, resource) when { resource has cuontry };"""
    with pytest.raises(BadRelease, match=r"asks for 'cuontry'; a site has country, groups"):
        read_policies(text)


def test_a_forbid_that_cannot_be_evaluated_denies() -> None:
    text = """permit(principal == Rule::"r", action, resource);
    forbid(principal, action, resource) when { 9223372036854775807 + 1 == 0 };"""
    assert processed(text, FLEET) == []
