"""What a fleet file says of residency: the example holds; what does not is one line with a remedy,
and what holds but should be looked at is said.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from selvedge.adapters import read_config, shipped_jurisdictions
from selvedge.fabric import HANDLINGS, BadRelease, Entity
from selvedge.residency import Rules
from tests.adapters.test_fleet_config import NOW_US, release_of

EXAMPLE = Path(__file__).parents[2] / "examples/residency"
LIST = """
version: "7"
reviewed: 2026-11-22
groups:
  EEA: { members: [{ countries: [DE] }, { countries: [SG], until: 2026-01-01 }] }
  ASEAN: { members: [{ countries: [SG, ID] }] }
regimes: { gdpr: { home: EEA } }
transfers:
  - { regime: gdpr, to: [SG], instrument: art45, from: 2020-01-01, until: 2099-01-01 }
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("fleet.yaml", "policies.cedar"):
        shutil.copy(EXAMPLE / name, tmp_path / name)
    return tmp_path


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text, old
    path.write_text(text.replace(old, new, 1), "utf-8")


def refusal(place: Path) -> str:
    with pytest.raises(BadRelease) as caught:
        read_config(place / "fleet.yaml")
    words = str(caught.value)
    assert words.startswith(str(place / "fleet.yaml"))
    assert "\n" not in words
    return words


def test_the_example_holds_and_has_nothing_to_remark(place: Path) -> None:
    remarks: list[str] = []
    config = read_config(place / "fleet.yaml", remark=remarks.append)
    assert remarks == []
    release = release_of(config)
    assert release.entities[2] == Entity(
        "Example Edge Indonesia", "ID", "Example Edge Holding", ("SG",)
    )
    rules = Rules(release)
    sealed = rules.rule("asean", "sealed", NOW_US)
    assert sealed is not None
    assert (sealed.allowed, sealed.enter, sealed.cache) == (0b011, 0b011, 0b010)
    assert (sealed.handling, sealed.policy_rule) == (("zero-retention",), "asean-only")
    assert release.policy is not None
    assert release.policy.list_version == shipped_jurisdictions().version
    assert release.pop("sin").engines[0].honours == HANDLINGS, "embedded engines honour both"


def test_a_list_of_ones_own_stands_in_the_place_of_the_shipped_one(place: Path) -> None:
    (place / "mine.yaml").write_text(LIST, "utf-8")
    change(place / "fleet.yaml", "policies: policies.cedar", POLICIES_AND_LIST)
    release = release_of(read_config(place / "fleet.yaml"))
    zones = {zone.id: zone.countries for zone in release.zones}
    assert (zones["eea"], zones["asean"]) == (("DE",), ("ID", "SG"))
    assert release.policy is not None
    assert release.policy.version.startswith("7/")


POLICIES_AND_LIST = "jurisdictions: mine.yaml\npolicies: policies.cedar"
WRONG_LISTS = [
    ("version", "versio", "mine.yaml: Object contains unknown field `versio`"),
    ("countries: [DE]", "countries: [DD]", "mine.yaml: groups.EEA.members[0].countries: 'DD'"),
    ("home: EEA", "home: EAE", "did you mean 'EEA'?"),
    ("until: 2026-01-01", "until: 2026-13-01", "mine.yaml: "),
    ("from: 2020-01-01, until: 2099-01-01", "from: 2099-01-01, until: 2020-01-01", "swap 'from'"),
    ("groups:", "groups: [", "mine.yaml: line "),
    ("[{ countries: [DE] }", "[{ group: EEA }", "the groups are circular (EEA > EEA)"),
]


@pytest.mark.parametrize(("old", "new", "words"), WRONG_LISTS)
def test_a_list_that_does_not_hold_is_named(place: Path, old: str, new: str, words: str) -> None:
    (place / "mine.yaml").write_text(LIST.replace(old, new, 1), "utf-8")
    change(place / "fleet.yaml", "policies: policies.cedar", POLICIES_AND_LIST)
    assert words in refusal(place)


WRONG = [
    ("policies: policies.cedar", "policies: none.cedar", "none.cedar: cannot be read"),
    ("policies: policies.cedar", "policies: [a]", "policies: is the name of a file"),
    ("policies: policies.cedar", "jurisdictions: {}\npolicies: policies.cedar", "jurisdictions: "),
    ("policies: policies.cedar", "", "name their file by 'policies: FILE'"),
    ("country: SG }", "country: XX }", "entities.Example Edge Holding: 'XX' is not an ISO"),
    ("parent: Example Edge Holding }", "parent: Nobody }", "'Nobody' is not under entities"),
    (
        "Holding: { country: SG }",
        "Holding: { country: SG, parent: Example Edge Singapore }",
        "the owners are circular ('Example Edge Holding' owns itself); cut one of them",
    ),
    ("remote_access: [SG]", "remote_access: [SGP]", "'SGP' is not an ISO"),
    ("remote_access: [SG]", "remote: [SG]", "entities.Example Edge Indonesia"),
    (
        "policy: asean-only }",
        "policy: asian-only }",
        "tenants.asean.classes.standard.policy: 'asian-only' is not a rule of the policies; "
        "did you mean 'asean-only'?",
    ),
    ("handling: [zero-retention]", "handling: [no-retention]", "tenants.asean.classes.sealed"),
    ("scope: geo, groups: [ASEAN]", "scope: geo, countries: [SG, ID]", "geo is one group"),
    ("scope: geo, groups: [ASEAN]", "scope: in-region, groups: [ASEAN]", "in-region is one"),
    ("scope: geo, groups: [ASEAN]", "scope: global, groups: [ASEAN]", "global is all countries"),
    ("scope: geo, groups: [ASEAN]", "scope: world", "zones.asean.scope"),
    ("groups: [ASEAN]", "groups: [ASIAN]", "did you mean 'ASEAN'?"),
    ("countries: [ID, SG, DE]", "countries: [ID, unknown]", "'unknown' is not an ISO"),
]


@pytest.mark.parametrize(("old", "new", "words"), WRONG)
def test_a_fleet_file_that_does_not_hold(place: Path, old: str, new: str, words: str) -> None:
    change(place / "fleet.yaml", old, new)
    assert words in refusal(place)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('contains("EEA")', 'contains("EAA")', "policies.eu-only: 'EAA' is not a group of list"),
        ('"SG" };', '"UK" };', 'but a group: ask resource.groups.contains("UK")'),
        ('"SG" };', '"SP" };', "policies.asean-only-cache: 'SP' is not an ISO 3166-1 alpha-2"),
        ("resource.reach", "resource.reaches", "policies.asean-only: attribute `reaches`"),
        ('"eu-only", action', '"eu only", action', "is not a rule of the policies; did you mean"),
    ],
)
def test_policies_that_do_not_hold(place: Path, old: str, new: str, words: str) -> None:
    change(place / "policies.cedar", old, new)
    assert words in refusal(place)


def test_a_rule_without_a_permit_is_refused(place: Path) -> None:
    change(place / "policies.cedar", 'permit (principal == Rule::"eu-only"', FORBID)
    assert "rule 'eu-only' has no permit in the policies: add one" in refusal(place)


FORBID = 'forbid (principal == Rule::"eu-only"'


def test_zones_by_the_words_that_users_know(place: Path) -> None:
    change(
        place / "fleet.yaml", "anywhere: { countries: [ID, SG, DE] }", "anywhere: { scope: global }"
    )
    change(
        place / "fleet.yaml",
        "groups: [EEA] }",
        "groups: [EEA] }\n  sg: { scope: in-region, countries: [SG] }",
    )
    zones = {one.id: one.countries for one in release_of(read_config(place / "fleet.yaml")).zones}
    assert len(zones["anywhere"]) == 249
    assert zones["sg"] == ("SG",)
    assert "SG" in zones["asean"]


def test_what_strands_a_class_is_refused_unless_forced(place: Path) -> None:
    change(place / "policies.cedar", 'contains("ASEAN") &&', 'contains("GCC") &&')
    words = refusal(place)
    assert "tenants.asean.classes.standard.policy: data of this class could be processed" in words
    assert "nowhere by zone 'asean' and policy 'asean-only'" in words
    assert words.endswith("; change the policy, or publish with --force")
    remarks: list[str] = []
    config = read_config(place / "fleet.yaml", force=True, remark=remarks.append)
    assert sum("could be processed nowhere" in one for one in remarks) == 2
    assert Rules(release_of(config, force=True)).rule("asean", "sealed", NOW_US) is not None


def test_what_never_decides_and_who_nobody_operates_is_remarked_upon(place: Path) -> None:
    change(place / "fleet.yaml", "entity: Example Edge Germany", "entity: Somebody Else")
    change(
        place / "policies.cedar",
        "// Answers of ASEAN",
        '@id("never") permit(principal == Rule::"eu-only", action, resource == Site::"ber")\n'
        'when { resource.transfers.contains("gdpr/scc") };\n// Answers of ASEAN',
    )
    remarks: list[str] = []
    read_config(place / "fleet.yaml", force=True, remark=remarks.append)
    text = "\n".join(remarks)
    assert "policies: the permit 'never' never decides at any site of this fleet" in text
    assert "policies: 'never' names 'ber', which is no PoP of this fleet" in text
    assert "policies: 'never' asks for 'gdpr/scc', which no row of the list gives" in text
    assert "pops: fra: operated by nobody under entities, while the policies ask for reach" in text
    assert "tenants.eea.classes.strict.policy: data of this class could be processed" in text


def test_a_site_in_an_unknown_country_holds_and_serves_nothing(place: Path) -> None:
    change(place / "fleet.yaml", "country: ID\n", "country: unknown\n")
    rules = Rules(release_of(read_config(place / "fleet.yaml", force=True), force=True))
    for rule in rules.all():
        assert not rules.holds(rule.allowed | rule.enter | rule.cache, "cgk"), rule.name
