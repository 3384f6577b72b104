"""Country codes and groups: counts that treaties and ISO fix."""

from __future__ import annotations

import pytest

from selvedge.fabric import COUNTRIES, GROUPS, is_country


def test_the_codes_are_those_of_iso_3166() -> None:
    assert len(COUNTRIES) == 249
    assert all(len(code) == 2 and code.isascii() and code.isupper() for code in COUNTRIES)


@pytest.mark.parametrize("code", ["SG", "DE", "ID", "TL", "GB", "AQ"])
def test_assigned(code: str) -> None:
    assert is_country(code)


@pytest.mark.parametrize("code", ["", "sg", "UK", "EU", "XK", "ZZ", "SGP", "S", "AN", "SU"])
def test_not_assigned(code: str) -> None:
    assert not is_country(code)


@pytest.mark.parametrize(
    ("group", "size"),
    [("ASEAN", 11), ("EU", 27), ("EEA", 30), ("EFTA", 4), ("GCC", 6), ("MERCOSUR", 5)],
)
def test_groups_have_their_members(group: str, size: int) -> None:
    assert len(GROUPS[group]) == size
    assert GROUPS[group] <= COUNTRIES


def test_relations_between_groups() -> None:
    assert GROUPS["EEA"] == GROUPS["EU"] | {"IS", "LI", "NO"}
    assert GROUPS["EFTA"] - GROUPS["EEA"] == {"CH"}
    assert not GROUPS["ASEAN"] & GROUPS["EEA"]
    assert {"SG", "ID"} <= GROUPS["ASEAN"]
    assert {"GB", "CH"}.isdisjoint(GROUPS["EEA"])
