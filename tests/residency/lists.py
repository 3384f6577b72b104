"""Random lists, fleets and policies for the tests of this room."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

import msgspec
from hypothesis import strategies as st

from selvedge.fabric import DataClass, Entity, PoP, Tenant
from selvedge.residency import (
    Fleet,
    Group,
    Jurisdictions,
    Member,
    Regime,
    Transfer,
    day_us,
)
from tests.support.fleets import make_pop

COUNTRIES: Final = ["DE", "FR", "GB", "JP", "SG", "US"]
GROUPS: Final = ["EU", "EEA", "OTHER"]
ENTITIES: Final = ["alpha", "beta", "gamma"]
DAY: Final = date(2027, 3, 1)
MADE_US: Final = day_us(DAY) + 12_345_678
RULES: Final = ["one", "two", "three"]

days = st.one_of(st.none(), st.integers(-100, 450).map(lambda number: DAY + timedelta(days=number)))


@st.composite
def spans(draw: st.DrawFn) -> tuple[date | None, date | None]:
    since, until = draw(days), draw(days)
    if since is not None and until is not None and since >= until:
        return (until, since) if since != until else (since, None)
    return since, until


_COUNTRY: Final = st.sampled_from(COUNTRIES)


@st.composite
def lists(draw: st.DrawFn) -> Jurisdictions:
    groups: dict[str, Group] = {}
    for name in GROUPS:
        members = [
            Member((country,), None, *draw(spans()))
            for country in draw(st.lists(_COUNTRY, unique=True, min_size=1, max_size=5))
        ]
        members += [
            Member((), inner, *draw(spans()))
            for inner in draw(st.lists(st.sampled_from(list(groups) or ["-"]), unique=True))
            if inner in groups
        ]
        groups[name] = Group(tuple(members) or (Member(("IS",)),))
    transfers: dict[tuple[object, ...], Transfer] = {}
    for _ in range(draw(st.integers(1, 6))):
        since, until = draw(spans())
        row = Transfer(
            regime="gdpr",
            countries=(draw(st.sampled_from([*COUNTRIES, "OTHER"])),),
            instrument=draw(st.sampled_from(["art45", "scc"])),
            since=since,
            until=until,
            entity=draw(st.sampled_from([None, None, "alpha"])),
            certificate=draw(st.sampled_from([None, None, "dpf"])),
            sector=draw(st.sampled_from([None, None, None, "commercial"])),
        )
        key = (row.countries, row.instrument, row.entity, row.certificate, row.sector)
        transfers[key] = row
    return Jurisdictions(
        version="t1",
        reviewed=DAY,
        groups=groups,
        regimes={"gdpr": Regime("EEA")},
        transfers=tuple(transfers.values()),
    )


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    entities: list[Entity] = []
    for name in draw(st.lists(st.sampled_from(ENTITIES), unique=True, max_size=3)):
        entities.append(
            Entity(
                name,
                draw(st.sampled_from(COUNTRIES)),
                draw(st.sampled_from([None, *(one.id for one in entities)])),
                tuple(draw(st.lists(st.sampled_from(COUNTRIES), max_size=1))),
                tuple(draw(st.lists(st.just("dpf"), max_size=1))),
                tuple(draw(st.lists(st.just("commercial"), max_size=1))),
            )
        )
    pops = tuple(
        _pop(number, draw(st.sampled_from([*COUNTRIES, "unknown"])), draw(_ENTITY))
        for number in range(draw(st.integers(3, 12)))
    )
    return Fleet(pops, tuple(entities), (Tenant("t", (DataClass("c", "z", "in-zone"),)),))


_ENTITY: Final = st.sampled_from([*ENTITIES, "nobody"])


def _pop(number: int, country: str, entity: str) -> PoP:
    changes = {"id": f"p{number}", "country": country, "entity": entity}
    return msgspec.structs.replace(make_pop("sin"), **changes)


def _words(known: list[str]) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(known), min_size=1, max_size=3).map(
        lambda names: "[" + ", ".join(f'"{name}"' for name in names) + "]"
    )


_SET: Final = {
    "groups": GROUPS,
    "parents": ENTITIES,
    "parentCountries": COUNTRIES,
    "reach": [*COUNTRIES, "unknown"],
    "transfers": ["gdpr/art45", "gdpr/scc"],
    "certificates": ["dpf"],
}
_TEXT: Final = {"country": COUNTRIES, "entityCountry": COUNTRIES, "entity": ENTITIES}


@st.composite
def _atoms(draw: st.DrawFn) -> str:
    kind = draw(st.integers(0, 9))
    if kind <= 4:
        name = draw(st.sampled_from(sorted(_SET)))
        words = draw(_words(_SET[name]))
        return draw(
            st.sampled_from(
                [
                    f"resource.{name}.containsAny({words})",
                    f"resource.{name}.containsAll({words})",
                    f"{words}.containsAll(resource.{name})",
                    f"resource.{name}.contains({words[1:].split(',')[0].rstrip(']')})",
                    f"resource.{name} == {words}",
                ]
            )
        )
    if kind <= 6:
        name = draw(st.sampled_from(sorted(_TEXT)))
        words = draw(_words(_TEXT[name]))
        return draw(
            st.sampled_from(
                [
                    f"{words}.contains(resource.{name})",
                    f"resource.{name} == {words[1:].split(',')[0].rstrip(']')}",
                    f'resource.{name} like "*{draw(st.sampled_from("DEFGabet"))}*"',
                ]
            )
        )
    site = f'Site::"p{draw(st.integers(0, 12))}"'
    return draw(
        st.sampled_from(
            [
                f"resource == {site}",
                f"[{site}].contains(resource)",
                f"resource in {site}",
                f'principal == Rule::"{draw(st.sampled_from(RULES))}"',
                "resource.reach.containsAll(resource.groups)",
                "true",
            ]
        )
    )


conditions = st.recursive(
    _atoms(),
    lambda inner: st.one_of(
        inner.map(lambda one: f"!({one})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]} && {two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]} || {two[1]})"),
        st.tuples(inner, inner, inner).map(
            lambda three: f"(if {three[0]} then {three[1]} else {three[2]})"
        ),
    ),
    max_leaves=5,
)


@st.composite
def clauses(draw: st.DrawFn) -> str:
    effect = draw(st.sampled_from(["permit", "permit", "forbid"]))
    rule = f'Rule::"{draw(st.sampled_from(RULES))}"'
    principal = draw(
        st.sampled_from(
            ["principal", "principal is Rule", f"principal == {rule}", f"principal in {rule}"]
        )
    )
    act = draw(st.sampled_from(["enter", "process", "cache", "log", "receipts", "keys"]))
    action = draw(
        st.sampled_from(
            [
                "action",
                f'action == Action::"{act}"',
                f'action in [Action::"{act}", Action::"process"]',
            ]
        )
    )
    site = f'Site::"p{draw(st.integers(0, 12))}"'
    resource = draw(
        st.sampled_from(["resource", "resource", "resource is Site", f"resource == {site}"])
    )
    kind = draw(st.sampled_from(["when", "when", "unless"]))
    return f"{effect}({principal}, {action}, {resource}) {kind} {{ {draw(conditions)} }};"


@st.composite
def _plain(draw: st.DrawFn) -> str:
    """A permit that follows the list, day by day."""
    rule = draw(st.sampled_from(RULES))
    name = draw(st.sampled_from(["groups", "transfers"]))
    word = draw(st.sampled_from(_SET[name]))
    kind = draw(st.sampled_from(["when", "when", "unless"]))
    return (
        f'permit(principal == Rule::"{rule}", action, resource) '
        f'{kind} {{ resource.{name}.contains("{word}") }};'
    )


policies = st.tuples(
    st.lists(_plain(), min_size=1, max_size=3), st.lists(clauses(), max_size=5)
).map(lambda two: "\n".join((*two[0], *two[1])))
