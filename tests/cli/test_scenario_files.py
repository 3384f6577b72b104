"""Scenario files: those that are shipped, and everything that is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from selvedge.cli.scenario_files import (
    make_atlas,
    names,
    read_city_table,
    read_client_table,
    read_scenario,
)
from selvedge.fabric import BadScenario

GOOD = """\
scenario: tiny
about: two sites
fleet:
  sites:
    sin: {city: Singapore, country: SG, latitude: 1.3, longitude: 103.8, engines: 1}
hardware: {model: m, preset: mocker}
zones:
  here: {countries: [SG]}
tenants:
  one: {zone: here, share: 1}
traffic: {knee_requests_per_s: 1}
"""


def test_what_is_shipped_can_be_run() -> None:
    assert names() == [
        "azure-conversation",
        "chat-1000",
        "fleet-4100",
        "llm-d-37",
        "mooncake-conversation",
        "three-pops",
    ]
    for name in names():
        found = read_scenario(name)
        assert found.scenario == name
    assert len(read_city_table()) == 4100
    assert len(read_client_table()) == 40
    atlas = make_atlas("fleet-4100", read_scenario("fleet-4100"))
    assert len(atlas.release.pops) == 4100
    assert sum(bool(pop.engines) for pop in atlas.release.pops) == 160


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("about:", "abuot:", "line 2: abuot is an unknown field `abuot`; remove it, or take"),
        ("preset:", "presat:", "hardware.presat is an unknown field `presat`; remove it, or take"),
        ("share: 1", "share: 1, sahre: 2", "unknown field `sahre`"),
        ("share: 1", "share: -1", "line 10: tenants.one.share is not right: expected"),
        ("zone: here", "zone: there", "line 10: tenants.one.zone 'there' is not under zones"),
        ("engines: 1", "engines: 0", "line 4: fleet.sites has no engine"),
        ("preset: mocker", "preset: h900", "line 6: hardware.preset 'h900' is not one of"),
        ("share: 1", "share: 1, model: gpt", "tenants.one.model 'gpt' is unknown"),
        ("countries: [SG]", "groups: [EUU]", "line 8: zones.here.groups 'EUU' is not one of"),
        ("country: SG", "country: XX", "is not an ISO 3166-1 alpha-2 country code"),
        ("traffic: {", "window: {warmup_s: -1}\ntraffic: {", "line 11: window.warmup_s"),
        (
            "traffic: {",
            "failures: [{pop: fra, from_s: 1, until_s: 2}]\ntraffic: {",
            "line 11: failures.0.pop 'fra' is no PoP of this fleet",
        ),
        (
            "traffic: {",
            "failures: [{pop: sin, from_s: 3, until_s: 2}]\ntraffic: {",
            "failures.0.until_s must be later than 'from_s'",
        ),
        ("traffic: {", "policy: best\ntraffic: {", "line 11: policy 'best' is not one of"),
        ("traffic: {", "knobs: {best: {}}\ntraffic: {", "line 11: knobs.best is no policy"),
        ("traffic: {", "knobs: {chwbl: {x: 1}}\ntraffic: {", "knobs.chwbl.x is no knob of it"),
        ("fleet:\n", "fleet: [\n", "line"),
    ],
)
def test_what_is_refused_names_file_line_and_remedy(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(BadScenario) as caught:
        make_atlas(str(path), read_scenario(str(path)))
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_an_empty_fleet_and_an_unknown_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(GOOD.partition("  sites:")[0].rstrip() + " {}\n" + GOOD[GOOD.index("hard") :])
    with pytest.raises(BadScenario, match="is empty or named twice"):
        read_scenario(str(path))
    with pytest.raises(BadScenario, match="none of those shipped: azure-conversation"):
        read_scenario("no-such-scenario")
