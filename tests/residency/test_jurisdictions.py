"""Lists: who is in a group on a day, what an instrument reaches, and what is no list at all."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.adapters import shipped_jurisdictions
from selvedge.fabric import GROUPS, BadRelease, Entity
from selvedge.residency import (
    DAY_US,
    Group,
    Jurisdictions,
    Member,
    Party,
    Regime,
    Sites,
    Transfer,
    day_at,
    day_us,
)
from tests.residency.lists import COUNTRIES, DAY, lists
from tests.support.fleets import make_pop

SHIPPED = shipped_jurisdictions()
REVIEWED = date(2026, 11, 22)


def make(**changes: Any) -> Jurisdictions:  # Any: fields of Jurisdictions
    fields: dict[str, Any] = {
        "version": "1",
        "reviewed": REVIEWED,
        "groups": {"EEA": Group((Member(("DE", "FR")),)), "EU": Group((Member(("DE",)),))},
        "regimes": {"gdpr": Regime("EEA")},
        "transfers": (),
    }
    return Jurisdictions(**fields | changes)


def test_days_begin_at_midnight_utc() -> None:
    assert day_us(date(1970, 1, 2)) == DAY_US
    midnight = day_us(date(2026, 11, 22))
    assert day_at(midnight) == date(2026, 11, 22)
    assert day_at(midnight - 1) == date(2026, 11, 21)


def test_the_list_that_is_shipped_has_the_groups_of_the_code() -> None:
    assert SHIPPED.reviewed == REVIEWED
    assert SHIPPED.note == "Not legal advice."
    assert GROUPS.keys() <= SHIPPED.groups.keys()
    for name, countries in GROUPS.items():
        assert SHIPPED.group(name, REVIEWED) == countries, name
    assert all(one.source for one in SHIPPED.groups.values())
    assert all(one.source for one in SHIPPED.transfers)
    assert all(one.source for one in SHIPPED.regimes.values())


@pytest.mark.parametrize(
    ("group", "country", "last", "first"),
    [
        ("EU", "GB", date(2020, 1, 31), None),
        ("EEA", "GB", date(2020, 1, 31), None),
        ("EU", "HR", None, date(2013, 7, 1)),
        ("ASEAN", "TL", None, date(2025, 10, 26)),
        ("MERCOSUR", "BO", None, date(2024, 8, 7)),
        ("EEA", "LI", None, date(1995, 5, 1)),
    ],
)
def test_members_come_and_go_on_their_day(
    group: str, country: str, last: date | None, first: date | None
) -> None:
    edge = first or last
    assert edge is not None
    beside = date.fromordinal(edge.toordinal() + (1 if last else -1))
    assert country in SHIPPED.group(group, edge)
    assert country not in SHIPPED.group(group, beside)


def reaches(party: Party, day: date, name: str = "gdpr/art45") -> bool:
    return name in SHIPPED.instruments([party], day)


@pytest.mark.parametrize(
    ("party", "day", "expected"),
    [
        (Party("DE"), REVIEWED, True),  # at home nothing is a transfer
        (Party("JP"), REVIEWED, True),
        (Party("SG"), REVIEWED, False),
        (Party("unknown"), REVIEWED, False),
        (Party("BR"), date(2026, 1, 25), False),
        (Party("BR"), date(2026, 1, 26), True),
        (Party("GB"), date(2031, 12, 26), True),
        (Party("GB"), date(2031, 12, 27), False),
        (Party("US"), REVIEWED, False),
        (Party("US", certificates=("dpf",)), REVIEWED, True),
        (Party("US", certificates=("dpf-uk",)), REVIEWED, False),
        (Party("US", certificates=("dpf",)), date(2023, 7, 9), False),
        (Party("CA"), REVIEWED, False),
        (Party("CA", sectors=("commercial",)), REVIEWED, True),
    ],
)
def test_adequacy_as_it_is_shipped(party: Party, day: date, expected: bool) -> None:
    assert reaches(party, day) is expected


def test_the_united_kingdom_has_a_list_of_its_own() -> None:
    assert reaches(Party("DE"), REVIEWED, "uk-gdpr/adequacy")
    assert reaches(Party("GI"), REVIEWED, "uk-gdpr/adequacy")
    assert not reaches(Party("BR"), REVIEWED, "uk-gdpr/adequacy")
    assert not reaches(Party("KR"), date(2022, 12, 18), "uk-gdpr/adequacy")


def test_an_instrument_holds_for_all_in_reach_alike() -> None:
    both = [Party("JP"), Party("US", certificates=("dpf",))]
    assert SHIPPED.instruments(both, REVIEWED) >= {"gdpr/art45"}
    assert "gdpr/art45" not in SHIPPED.instruments([Party("JP"), Party("US")], REVIEWED)
    rows = (
        Transfer("gdpr", ("IN",), "scc", entity="Ours"),
        Transfer("gdpr", ("JP",), "art45"),
    )
    listed = make(transfers=rows)
    assert listed.instruments([Party("IN", "Ours")], DAY) == {"gdpr/scc"}
    assert listed.instruments([Party("IN", "Theirs")], DAY) == set()
    assert listed.instruments([Party("IN", "Ours"), Party("JP")], DAY) == set(), "two kinds"
    assert listed.instruments([Party("DE")], DAY) == {"gdpr/art45", "gdpr/scc"}


@given(lists(), st.integers(-600, 600))
def test_groups_are_what_their_rows_say(listed: Jurisdictions, ahead: int) -> None:
    day = date.fromordinal(DAY.toordinal() + ahead)

    def inside(group: str, country: str) -> bool:
        return any(
            (row.since is None or row.since <= day)
            and (row.until is None or day < row.until)
            and (country in row.countries or (row.group is not None and inside(row.group, country)))
            for row in listed.groups[group].members
        )

    for name in listed.groups:
        for country in COUNTRIES:
            assert (country in listed.group(name, day)) == inside(name, country)
    moments = listed.moments()
    assert list(moments) == sorted(set(moments))


def test_what_is_not_known_of_a_site_is_the_worst() -> None:
    pop = msgspec.structs.replace(make_pop("fra"), entity="Nobody")
    (seen,) = Sites((pop,), (Entity("Owner", "SG"),), SHIPPED).on(REVIEWED)
    assert (seen.country, seen.entity_country, seen.transfers) == ("DE", "unknown", ())
    assert len(seen.reach) == 250, "every country, and none"
    assert seen.parents == ("Owner", "unknown")
    unknown = msgspec.structs.replace(pop, country="unknown")
    (seen,) = Sites((unknown,), (), SHIPPED).on(REVIEWED)
    assert (seen.groups, seen.transfers) == ((), ())


def test_a_site_is_reached_by_its_owners_and_their_people() -> None:
    entities = (
        Entity("Top", "US", certificates=("dpf",)),
        Entity("Middle", "GB", parent="Top", remote_access=("IN",)),
        Entity("Example DE", "DE", parent="Middle", remote_access=("FR",)),
    )
    (seen,) = Sites((make_pop("fra"),), entities, SHIPPED).on(REVIEWED)
    assert seen.parents == ("Middle", "Top")
    assert seen.parent_countries == ("GB", "US")
    assert seen.reach == ("DE", "FR", "GB", "IN", "US")
    assert "gdpr/art45" not in seen.transfers, "India has none"
    near = (entities[0], msgspec.structs.replace(entities[1], remote_access=()), entities[2])
    (seen,) = Sites((make_pop("fra"),), near, SHIPPED).on(REVIEWED)
    assert "gdpr/art45" in seen.transfers


FROM, UNTIL = date(2026, 1, 1), date(2027, 1, 1)
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"version": ""}, "version: has 1 to 64"),
    ({"version": "a/b"}, "version: has 1 to 64"),
    (
        {"groups": {"EEA": Group((Member(("XX",)),))}},
        "groups.EEA.members[0].countries: 'XX' is not an ISO 3166-1 alpha-2 country code",
    ),
    ({"groups": {"DE": Group((Member(("DE",)),))}}, "groups.DE: is a country's code"),
    ({"groups": {"EEA": Group(())}}, "groups.EEA.members: a group has at least one row"),
    ({"groups": {"EEA": Group((Member(),))}}, "groups.EEA.members[0]: has either"),
    ({"groups": {"EEA": Group((Member(("DE",), "EEA"),))}}, "groups.EEA.members[0]: has either"),
    (
        {"groups": {"EEA": Group((Member((), "EU"),)), "EUR": Group((Member(("DE",)),))}},
        "groups.EEA.members[0].group: 'EU' is not a group of this list; did you mean 'EUR'?",
    ),
    (
        {"groups": {"EEA": Group((Member((), "EU"),)), "EU": Group((Member((), "EEA"),))}},
        "groups.EEA.members: the groups are circular (EEA > EU > EEA)",
    ),
    (
        {"groups": {"EEA": Group((Member((), "EEA"),))}},
        "groups.EEA.members: the groups are circular (EEA > EEA)",
    ),
    (
        {"groups": {"EEA": Group((Member(("DE",), None, UNTIL, FROM),))}},
        "groups.EEA.members[0].until: ends on 2026-01-01, which is not after 2027-01-01",
    ),
    (
        {"groups": {"EEA": Group((Member(("DE",), None, FROM, FROM),))}},
        "groups.EEA.members[0].until: ends on",
    ),
    (
        {
            "groups": {
                "EEA": Group((Member(("DE",), None, None, UNTIL), Member(("FR", "DE"), None, FROM)))
            }
        },
        "groups.EEA.members[1].from: 'DE' has days in common with groups.EEA.members[0]",
    ),
    ({"regimes": {"gdpr": Regime("EAE")}}, "regimes.gdpr.home: 'EAE' is not a group of this list"),
    (
        {"transfers": (Transfer("gpdr", ("JP",), "art45"),)},
        "transfers[0].regime: 'gpdr' is not under regimes; did you mean 'gdpr'?",
    ),
    (
        {"transfers": (Transfer("gdpr", ("EAA",), "art45"),)},
        "transfers[0].to: 'EAA' is not an ISO 3166-1 alpha-2 country code, as 'SG'; did you mean",
    ),
    ({"transfers": (Transfer("gdpr", (), "art45"),)}, "transfers[0].to: names at least one"),
    ({"transfers": (Transfer("gdpr", ("JP",), "a/b"),)}, "transfers[0].instrument: is a word"),
    (
        {"transfers": (Transfer("gdpr", ("JP",), "art45", UNTIL, FROM),)},
        "transfers[0].until: ends on 2026-01-01",
    ),
    (
        {
            "transfers": (
                Transfer("gdpr", ("JP",), "art45", FROM),
                Transfer("gdpr", ("KR", "JP"), "art45", UNTIL),
            )
        },
        "transfers[1].from: 'JP' has days in common with transfers[0]",
    ),
]


@pytest.mark.parametrize(("changes", "words"), WRONG)
def test_what_is_no_list_says_where_and_what_to_do(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRelease) as caught:
        make(**changes)
    assert str(caught.value).startswith(words), str(caught.value)


def test_days_that_meet_do_not_overlap() -> None:
    rows = (
        Transfer("gdpr", ("JP",), "art45", None, UNTIL),
        Transfer("gdpr", ("JP",), "art45", UNTIL),
        Transfer("gdpr", ("JP",), "scc"),
        Transfer("gdpr", ("JP",), "art45", None, None, None, "dpf"),
    )
    listed = make(transfers=rows)
    for day in (FROM, date(2026, 12, 31), UNTIL, date(2030, 1, 1)):
        assert "gdpr/art45" in listed.instruments([Party("JP")], day)
