"""``selvedge plan demand``: from receipts on disk to the demand file that `plan retrofit` takes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner, Result

from selvedge.adapters import seal_release, write_atomically
from selvedge.cli.main import commands
from selvedge.control import Home
from selvedge.fabric import Outcome, Receipt, SelvedgeError
from selvedge.plan.history import PopSite, write_sites
from tests.support.fleets import make_release
from tests.support.observed import asked_at, write_collectors, write_journals

DAYS = 8
HOURLY = {("sin", "asean"): (2, 60), ("fra", "eea"): (14, 90), ("cgk", "world"): (3, 40)}
"""Ingress and zone: the hour in which it is busy, and requests in it; half of it in others."""
NOW_S = 1_796_083_200


def receipts() -> list[Receipt]:
    """Of eight days, every hour alike on each."""
    rng, found = Random(1), []
    for hour in range(DAYS * 24):
        for (pop, zone), (busy, count) in HOURLY.items():
            for _ in range(count if hour % 24 == busy else count // 2):
                outcome = rng.choice([Outcome.COMPLETE, Outcome.INTERRUPTED])
                found.append(asked_at(hour + rng.random(), pop, zone, outcome=outcome))
            cached = {"outcome": Outcome.COMPLETE, "cache": "hit"}
            found.append(asked_at(hour + rng.random(), pop, zone, **cached))
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a home, its release, a collector of each zone, and a fleet file."""
    found = tmp_path_factory.mktemp("observed")
    home = Home(found / "home")
    write_journals(home, receipts())
    write_atomically(home.release_file, seal_release(make_release(), home.operator_key()))
    write_collectors(found / "collected", receipts(), partitioned=2)
    places = {"sin": ("SG", 1.3, 103.8), "fra": ("DE", 50.1, 8.7), "cgk": ("ID", -6.2, 106.8)}
    room = {"power_limit_kw": 9.0, "power_kw": 1.0, "rack_units_free": 9, "cooling_kw": 9.0}
    sites = [
        PopSite(pop=pop, country=country, lat=lat, lon=lon, timezone="UTC", **room)
        for pop, (country, lat, lon) in places.items()
    ]
    write_sites(found / "fleet.csv", sites)
    write_sites(found / "smaller.csv", sites[:1])
    return found


@pytest.fixture(autouse=True)
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the end of the month."""
    monkeypatch.setattr("selvedge.cli.plan_demand.time.time_ns", lambda: NOW_S * 10**9)


def run(*args: object) -> Result:
    return CliRunner().invoke(commands, ["plan", *map(str, args)])


def told(*args: object) -> dict[str, object]:
    result = run("demand", *args, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    found: dict[str, object] = json.loads(result.output)
    return found


WHOLE = ("--since", "2026-11-01", "--until", "2026-11-09")


def test_from_receipts_to_a_retrofit(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "demand.csv"
    asked = ("--home", made / "home", *WHOLE)
    result = run("demand", *asked, "--out", out, "--fleet", made / "fleet.csv")
    assert result.exit_code == 0, (result.output, result.exception)
    assert "note:" not in result.output
    rows = list(csv.DictReader(out.read_text("utf-8").splitlines()))
    assert list(rows[0]) == ["ingress", "zone", "requests_per_s"]
    assert {(row["ingress"], row["zone"]): float(row["requests_per_s"]) for row in rows} == {
        ("sin", "ASEAN"): pytest.approx(60 / 3600),
        ("fra", "EEA"): pytest.approx(90 / 3600),
        ("cgk", "world"): pytest.approx(40 / 3600),
    }
    options = ("--sites", 3, "--no-sim", "--seconds", 10, "--json", "--demand", out)
    answer = run("retrofit", "--fleet", made / "fleet.csv", *options)
    assert answer.exit_code == 0, (answer.output, answer.exception)
    report = json.loads(answer.output)
    loads = {row["pop"]: row["requests_per_s"] for row in report["loads"]}
    assert sum(loads.values()) == pytest.approx(190 / 3600)
    assert loads["fra"] == pytest.approx(90 / 3600)


def test_collectors_tell_the_same_as_journals(made: Path) -> None:
    zones = sorted((made / "collected").iterdir())
    options = [one for zone in zones for one in ("--collected", zone)]
    of_journals = told("--home", made / "home", *WHOLE)
    assert told("--home", made / "home", *options, *WHOLE) == of_journals
    assert of_journals["days"] == DAYS


def test_the_answer_both_ways(made: Path) -> None:
    own = told("--home", made / "home", *WHOLE)
    fleet = told("--home", made / "home", *WHOLE, "--busy-hour", "fleet")
    assert own["requests_per_s"] == pytest.approx(190 / 3600)
    assert fleet["fleet_busy_hour_utc"] == 14
    assert fleet["requests_per_s"] == pytest.approx((30 + 90 + 20) / 3600)
    for name in ("requests_per_s_at_own_hours", "requests_per_s_at_fleet_hour"):
        assert own[name] == fleet[name]
    cached = told("--home", made / "home", *WHOLE, "--with-cached")
    assert cached["requests_per_s"] == pytest.approx(193 / 3600)
    assert own["prompt_tokens_mean"] == 1.0


def test_what_people_read(made: Path) -> None:
    result = run("demand", "--home", made / "home", *WHOLE, "--fleet", made / "smaller.csv")
    assert result.exit_code == 0, (result.output, result.exception)
    for words in (
        "2026-11-01T00:00Z to 2026-11-09T00:00Z (8.0 days)",
        "In each ingress's own busy hour 0.05278 requests/s together",
        "in the fleet's, 14:00-15:00 UTC, 0.03889",
        "EEA    eea               0.025",
        "cached",
        "0.03611 requests/s came in at PoPs that",
        "no site of",
        "would be unserved",
    ):
        assert words in result.output
    short = run("demand", "--home", made / "home", "--until", "2026-11-03")
    assert "note: the window has 2.0 days: fewer than 7" in short.output


def test_a_release_that_does_not_know_a_zone_or_an_ingress(made: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    write_journals(home, receipts())
    result = run("demand", "--home", home.directory, *WHOLE)
    assert isinstance(result.exception, SelvedgeError)
    assert "zone 'asean' of" in str(result.exception)
    assert "--zone asean=ZONE" in str(result.exception)
    zones = ("--zone", "asean=ASEAN", "--zone", "eea=emea", "--zone", "world=world")
    found = told("--home", home.directory, *WHOLE, *zones)
    assert [one.split(":")[0] for one in found["notes"]] == [  # type: ignore[attr-defined]
        f"there is no release under {home.directory}",
        "zone 'emea' is taken for a jurisdiction of the fleet file; --fleet checks that it is one",
    ]
    known = ("--home", home.directory, *WHOLE, *zones[:2], "--zone", "world=mars", *zones[2:4])
    result = run("demand", *known, "--fleet", made / "fleet.csv")
    assert "no jurisdiction of the fleet" in str(result.exception)
    pops = tuple(one for one in make_release().pops if one.id != "cgk")
    write_atomically(home.release_file, seal_release(make_release(pops=pops), home.operator_key()))
    (note,) = told("--home", home.directory, *WHOLE)["notes"]  # type: ignore[misc]
    assert note.startswith("0.01111 requests/s came in at PoPs that the release does not name: cgk")


def test_what_was_damaged_is_said_and_no_file_is_written(made: Path, tmp_path: Path) -> None:
    home, out = Home(tmp_path / "home"), tmp_path / "demand.csv"
    path, *_ = write_journals(home, receipts())
    path.write_bytes(path.read_bytes()[:-500] + b"R \xff\n")
    result = run("demand", "--home", home.directory, *WHOLE, "--out", out)
    assert "the journals of PoP cgk" in str(result.exception)
    assert not out.exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--since", "2026-11-02", "--until", "2026-11-02"), "--since is not before --until"),
        (("--since", "soon"), "'soon' is no time"),
        (("--busy-hour", "world"), "is not one of"),
        (("--zone", "asean"), "is not CLASS=ZONE"),
        (("--model", "none"), "is demand of a zone (no receipt of those asked for)"),
        (("--tenant", "none"), "look at --tenant"),
        (("--fleet", "none.csv"), "name a fleet file"),
        (("--since", "2026-11-01T10:01", "--until", "2026-11-01T10:59"), "no whole hour of UTC"),
    ],
)
def test_what_cannot_be_asked(made: Path, args: tuple[str, ...], words: str) -> None:
    result = run("demand", "--home", made / "home", *args)
    assert result.exit_code != 0
    assert words in result.output + str(result.exception)


def test_an_empty_home(tmp_path: Path) -> None:
    result = run("demand", "--home", tmp_path)
    assert f"no PoP has receipts under {tmp_path}" in str(result.exception)


def test_a_full_disk_costs_no_answer(made: Path) -> None:
    result = run("demand", "--home", made / "home", *WHOLE, "--out", "/dev/full")
    assert "/dev/full cannot be written: No space left on device" in str(result.exception)
    assert "In each ingress's own busy hour" in result.output
