"""Bits against Cedar, asked directly about every site, rule and act at every moment of change; and
what is refused, remarked upon, and asked only once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cedarpy
import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selvedge.adapters import read_policies
from selvedge.fabric import ACTS
from selvedge.residency import (
    HORIZON_US,
    Fleet,
    Jurisdictions,
    Row,
    Site,
    Sites,
    compile_policy,
    day_at,
    day_us,
    expected,
    facts_of,
    rows_of,
)
from tests.residency.lists import DAY, MADE_US, fleets, lists, policies


def ask_cedar(
    text: str, rule: str, names: Sequence[str], sites: Sequence[Site]
) -> list[dict[str, bool]]:
    """Every act at every site, by the whole text: no folding, no leaving out, no handle of ours."""
    entities = [
        {"uid": {"type": "Site", "id": name}, "attrs": msgspec.to_builtins(site), "parents": []}
        for name, site in zip(names, sites, strict=True)
    ]
    asked = [
        {
            "principal": f'Rule::"{rule}"',
            "action": f'Action::"{act}"',
            "resource": f'Site::"{name}"',
        }
        for name in names
        for act in ACTS
    ]
    found = iter(cedarpy.is_authorized_batch(asked, text, entities))
    return [{act: next(found).allowed for act in ACTS} for _ in names]


def is_known(rule: str, text: str, site: Site) -> bool:
    """A site of which nobody knows enough allows nothing: where it is, or who reaches it."""
    if site.country == "unknown" or "unknown" not in site.reach:
        return site.country != "unknown"
    behind = {"entity", "entityCountry", "parents", "parentCountries", "reach", "transfers"}
    behind |= {"certificates"}
    clauses = (one for one in read_policies(text).clauses if one.concerns(rule))
    return not any(one.attributes & behind for one in clauses)


def row_at(rows: Sequence[Row], at_us: int) -> Row | None:
    return next((row for row in rows if row.from_us <= at_us < row.until_us), None)


def moments(listed: Jurisdictions) -> Iterator[int]:
    """Publication, and both sides of every change within the horizon."""
    yield MADE_US
    for day in listed.moments():
        at_us = day_us(day)
        if MADE_US < at_us < MADE_US + HORIZON_US:
            yield from (at_us - 1, at_us)
    yield MADE_US + HORIZON_US - 1


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(fleets(), lists(), policies)
def test_the_bits_are_what_cedar_says(fleet: Fleet, listed: Jurisdictions, text: str) -> None:
    written = read_policies(text)
    policy = compile_policy(written, fleet, listed, MADE_US).policy
    sites = Sites(fleet.pops, fleet.entities, listed)
    first = sites.on(DAY)
    rows = rows_of(policy)
    assert set(rows) == set(written.rules)
    names = [pop.id for pop in fleet.pops]
    for rule in written.rules:
        before = ask_cedar(text, rule, names, first)
        for at_us in moments(listed):
            row = row_at(rows[rule], at_us)
            assert row is not None
            then = sites.on(day_at(at_us))
            now = ask_cedar(text, rule, names, then)
            for place, pop in enumerate(fleet.pops):
                known = all(is_known(rule, text, one) for one in (first[place], then[place]))
                said = {act: now[place][act] and before[place][act] and known for act in ACTS}
                bits = {act: bool(getattr(row, act) >> place & 1) for act in ACTS}
                assert bits == said, (rule, pop, day_at(at_us))
        after = row_at(rows[rule], MADE_US + HORIZON_US)
        assert after is not None
        assert not any(getattr(after, act) for act in ACTS), "after 400 days nothing holds"


@settings(max_examples=25, deadline=None)
@given(fleets(), lists(), policies, st.integers(0, 2**31))
def test_what_is_asked_again_later_is_the_same(
    fleet: Fleet, listed: Jurisdictions, text: str, later_us: int
) -> None:
    """As the shadow check asks: of the text and the facts of the release alone."""
    policy = compile_policy(read_policies(text), fleet, listed, MADE_US).policy
    written, facts, rows = read_policies(policy.text), facts_of(policy), rows_of(policy)
    for at_us in (MADE_US, MADE_US + later_us % HORIZON_US):
        for rule in written.rules:
            row = row_at(rows[rule], at_us)
            assert row is not None
            for place, pop in enumerate(fleet.pops):
                found = expected(written, facts, rule, pop.id, at_us)
                said = {act: all(one.allowed for one in found[act]) for act in ACTS}
                assert said == {act: bool(getattr(row, act) >> place & 1) for act in ACTS}
