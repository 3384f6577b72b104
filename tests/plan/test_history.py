"""The stored history: what is written is read back, what cannot be used is named."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selvedge.plan.history import (
    POPS_MAX,
    SAMPLES,
    BadPlan,
    Finding,
    History,
    Manifest,
    PopSite,
    jurisdiction_of,
    read_sites,
    write_sites,
)

HEADER = "pop,country,timezone,lat,lon,nic_bps\n"


def samples(count: int) -> pa.Table:
    columns = {
        "pop": [0] * count,
        "at_s": [1_767_225_600 + 300 * at for at in range(count)],
        "out_bytes": list(range(count)),
        "flags": [0] * count,
    }
    arrays = [columns.get(name, [None] * count) for name in SAMPLES.names]
    return pa.table(arrays, schema=SAMPLES)


def test_a_part_is_read_back(tmp_path: Path) -> None:
    history = History.create(tmp_path / "data")
    path = history.write_part("2026-01", "a", samples(50))
    assert history.months() == ["2026-01"]
    assert history.parts("2026-01") == [path]
    assert pq.read_table(path).cast(SAMPLES).equals(samples(50))


def test_findings_are_read_back(tmp_path: Path) -> None:
    history = History.create(tmp_path)
    found = [Finding(kind="gap", pop="p1", from_s=300, until_s=900, count=2, detail="2 missing")]
    history.write_findings("a", found)
    history.write_findings("b", [])
    assert History.open(tmp_path).read_findings() == found


def test_the_manifest_is_kept(tmp_path: Path) -> None:
    history = History.create(tmp_path)
    history.write_manifest(Manifest(pops=("a", "b")))
    assert History.create(tmp_path).read_manifest().pops == ("a", "b")


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "no manifest"), ("{}x", "no manifest"), ('{"version": 9}', "version 9")],
)
def test_a_manifest_that_is_none(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "history.json").write_text(text)
    with pytest.raises(BadPlan, match=words):
        History.open(tmp_path)


def test_a_folder_without_history(tmp_path: Path) -> None:
    with pytest.raises(BadPlan, match="selvedge plan ingest"):
        History.open(tmp_path)


def test_too_many_pops(tmp_path: Path) -> None:
    history = History.create(tmp_path)
    with pytest.raises(BadPlan, match="split the fleet"):
        history.write_manifest(Manifest(pops=("x",) * (POPS_MAX + 1)))


def test_sites_are_read_back(tmp_path: Path) -> None:
    sites = [
        PopSite(pop="ber", country="DE", timezone="Europe/Berlin", lat=52.5, lon=13.4, gpus=2),
        PopSite(pop="sin", country="SG", jurisdiction="asean", power_limit_kw=8.5),
    ]
    write_sites(tmp_path / "fleet.csv", sites)
    read, findings = read_sites(tmp_path / "fleet.csv")
    assert read == sites
    assert [(one.kind, one.pop) for one in findings] == [("unknown_time_zone", "sin")]
    assert [site.law for site in read] == ["eea", "asean"]
    assert jurisdiction_of("SG") == "sg"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("", "names no PoP"),
        ("a,DE,,,,\na,DE,,,,\n", "line 3: PoP 'a' is there twice"),
        ("a,XX,,,,\n", "line 2: country 'XX'"),
        ("a,,,,,\n", "line 2: 'country' is empty"),
        ("a,DE,,91,0,\n", "line 2: lat 91.0"),
        ("a,DE,,50,,\n", "lat and lon go together"),
        ("a,DE,,nan,0,\n", "lat nan"),
        ("a,DE,,,,-5\n", "nic_bps -5 is below 0"),
        ("a,DE,,,,ten\n", "line 2: nic_bps 'ten' is no whole number; correct it, or leave it"),
        ("a,DE,,north,0,\n", "line 2: lat 'north' is no number; correct it, or leave it empty"),
        ("a,DE\n", "not as many fields"),
        ("a,DE,,,,,,\n", "not as many fields"),
    ],
)
def test_a_fleet_file_that_cannot_be_used(tmp_path: Path, rows: str, words: str) -> None:
    path = tmp_path / "fleet.csv"
    path.write_text(HEADER + rows)
    with pytest.raises(BadPlan, match=words):
        read_sites(path)


@pytest.mark.parametrize(
    ("header", "words"),
    [("pop,country,colour\n", "column 'colour' is unknown"), ("pop\n", "'country' is missing")],
)
def test_a_header_that_cannot_be_used(tmp_path: Path, header: str, words: str) -> None:
    path = tmp_path / "fleet.csv"
    path.write_text(header)
    with pytest.raises(BadPlan, match=words):
        read_sites(path)


def test_a_fleet_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadPlan, match="cannot be read"):
        read_sites(tmp_path / "none.csv")
