"""Made histories: the same bytes for a seed, shaped as said, and the truth file is true."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from selvedge.cli.main import commands
from selvedge.plan.history import BadPlan, Finding, Flag, History, read_sites
from selvedge.plan.synth import (
    Asked,
    Truth,
    make_fleet,
    make_history,
    read_places,
    read_truth,
    score_findings,
)
from selvedge.plan.synth.calendars import Clock, easter, holidays, month_starts

ASKED = Asked(pops=24, months=3, since="2025-09", seed=7, faults=0.6)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    folder = tmp_path_factory.mktemp("made") / "data"
    make_history(folder, ASKED)
    return folder, read_truth(folder)


def whole(folder: Path) -> pa.Table:
    history = History.open(folder)
    parts = [path for month in history.months() for path in history.parts(month)]
    return pq.read_table(parts, partitioning=None)


def rows_of(folder: Path, pop: str, table: pa.Table | None = None) -> pa.Table:
    number = History.open(folder).read_manifest().pops.index(pop)
    table = whole(folder) if table is None else table
    return table.filter(pc.equal(table["pop"], number))


def within(table: pa.Table, finding: Finding) -> dict[str, np.ndarray]:
    at = table["at_s"].to_numpy()
    chosen = (at >= finding.from_s) & (at < finding.until_s)
    return {name: table[name].to_numpy(zero_copy_only=False)[chosen] for name in table.column_names}


def one_of(truth: Truth, kind: str) -> Finding:
    return next(one for one in truth.findings if one.kind == kind)


def test_the_same_seed_makes_the_same_bytes_on_any_number_of_threads(
    made: tuple[Path, Truth], tmp_path: Path
) -> None:
    make_history(tmp_path / "again", ASKED, threads=1)
    for path in sorted(made[0].rglob("*")):
        if path.is_file():
            assert (
                path.read_bytes() == (tmp_path / "again" / path.relative_to(made[0])).read_bytes()
            )


def test_it_goes_on_where_it_was_stopped(made: tuple[Path, Truth], tmp_path: Path) -> None:
    folder = tmp_path / "data"

    class Stopped(Exception):
        pass

    def stop(done: int, whole: int) -> None:
        if done > whole * 0.5:
            raise Stopped

    with pytest.raises(Stopped):
        make_history(folder, ASKED, progress=stop)
    first = folder / "samples" / "month=2025-09" / "made-0000.parquet"
    before = first.stat().st_mtime_ns
    assert not (folder / "truth.json").exists()
    make_history(folder, ASKED)
    assert first.stat().st_mtime_ns == before
    assert (folder / "truth.json").read_bytes() == (made[0] / "truth.json").read_bytes()


def test_a_folder_of_others_is_refused(made: tuple[Path, Truth], tmp_path: Path) -> None:
    with pytest.raises(BadPlan, match="--pops 24 --months 3 --from 2025-09 --seed 7"):
        make_history(made[0], Asked(pops=25, months=3, since="2025-09"))
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(BadPlan, match="not empty"):
        make_history(tmp_path, ASKED)
    for wrong in (Asked(pops=5_000), Asked(since="2025-13"), Asked(months=0), Asked(faults=2.0)):
        with pytest.raises(BadPlan, match="--"):
            make_fleet(wrong)


def test_the_fleet_file_reads_back_with_what_is_wrong(made: tuple[Path, Truth]) -> None:
    folder, truth = made
    sites, findings = read_sites(folder / "fleet.csv")
    assert [one.pop for one in findings] == [one_of(truth, "unknown_time_zone").pop]
    names = {site.pop for site in sites}
    pops = set(History.open(folder).read_manifest().pops)
    assert pops - names == {one_of(truth, "unknown_pop").pop}
    assert sum(site.gpus > 0 for site in sites) >= 8


def test_every_kind_is_planted(made: tuple[Path, Truth]) -> None:
    kinds = {one.kind for one in made[1].findings}
    stored = "gap duplicate conflict over_capacity reset late frozen mixed_units clock_shift"
    assert kinds >= {*stored.split(), "empty_month", "renamed", "unknown_pop", "unknown_time_zone"}


def test_findings_are_in_the_samples_as_they_say(made: tuple[Path, Truth]) -> None:
    folder, truth = made
    table = whole(folder)
    for one in truth.findings:
        if one.kind in ("unknown_time_zone", "unknown_pop", "clock_shift"):
            continue
        rows = within(rows_of(folder, one.pop, table), one)
        count, out = len(rows["at_s"]), rows["out_bytes"].astype(float)
        full = rows["capacity_bps"].astype(float) * 300 / 8
        if one.kind in ("gap", "empty_month", "renamed"):
            assert count == 0
        elif one.kind in ("duplicate", "conflict"):
            assert count == 2 * one.count
            assert np.array_equal(rows["at_s"][::2], rows["at_s"][1::2])
            assert (out[::2] > out[1::2]).all() == (one.kind == "conflict")
        elif one.kind == "over_capacity":
            assert (out > 1.5 * full).all()
        elif one.kind in ("reset", "late"):
            assert (rows["flags"] == (Flag.RESET if one.kind == "reset" else Flag.LATE)).all()
        elif one.kind == "frozen":
            assert len(set(rows["cpu_bp"])) == 1
            assert (len(set(out)) == 1) == (one.series == "")
        if one.kind not in ("gap", "empty_month", "renamed", "duplicate", "conflict"):
            assert count == one.count


def test_nothing_else_is_wrong_with_the_samples(made: tuple[Path, Truth]) -> None:
    folder, truth = made
    planted = sum(one.count for one in truth.findings if one.kind in ("duplicate", "conflict"))
    missing = sum(one.count for one in truth.findings if one.kind in ("gap", "empty_month"))
    history, rows = History.open(folder), 0
    for month in history.months():
        table = pq.read_table(history.parts(month), partitioning=None)
        rows += table.num_rows
        key = table["pop"].to_numpy().astype(np.int64) * 2**32 + table["at_s"].to_numpy()
        steps = np.diff(key)
        assert (steps >= 0).all()
        assert (table["at_s"].to_numpy() % 300 == 0).all()
    assert rows == truth.rows == 24 * 91 * 288 + planted - missing


def test_mixed_units_and_moved_days_are_what_was_there_before(
    made: tuple[Path, Truth], tmp_path: Path
) -> None:
    folder, truth = made
    clean = tmp_path / "clean"
    make_history(clean, Asked(pops=24, months=3, since="2025-09", seed=7, faults=0.0))
    assert {one.kind for one in read_truth(clean).findings} <= {"capacity_change"}
    mixed = one_of(truth, "mixed_units")
    ratio = within(rows_of(folder, mixed.pop), mixed)["out_bytes"].astype(float)
    ratio /= within(rows_of(clean, mixed.pop), mixed)["out_bytes"].astype(float)
    assert min(abs(ratio.mean() * f - 1) for f in (8, 1 / 8, 1000, 1024, 1 / 1024)) < 0.001
    shifted = one_of(truth, "clock_shift")
    hours = int(shifted.detail.split(" h ")[0].split()[-1])
    seen = within(rows_of(folder, shifted.pop), shifted)["out_bytes"].astype(float)
    true = within(rows_of(clean, shifted.pop), shifted)["out_bytes"].astype(float)
    steps = hours * 12
    a, b = (seen[steps:], true[:-steps]) if steps > 0 else (seen[:steps], true[-steps:])
    assert np.corrcoef(a, b)[0, 1] > 0.99 > np.corrcoef(seen, true)[0, 1]


def test_nights_are_where_they_are_set_and_the_truth_is_the_mean(tmp_path: Path) -> None:
    make_history(tmp_path / "data", Asked(pops=120, months=2, seed=3, faults=0.0))
    truth = read_truth(tmp_path / "data")
    assert 0.365 < truth.fleet.night < 0.395
    assert truth.fleet.all_hours > truth.fleet.night
    nights = sorted(one.night for one in truth.pops.values())
    assert nights[0] < 0.28 < 0.48 < nights[-1]
    sites, _ = read_sites(tmp_path / "data" / "fleet.csv")
    place = next(site for site in sites if site.pop == "london.gb")
    rows = rows_of(tmp_path / "data", "london.gb")
    at = rows["at_s"].to_numpy().astype(np.int64)
    use = rows["out_bytes"].to_numpy() * 8 / 300 / rows["capacity_bps"].to_numpy()
    clock = Clock(place.timezone, int(at[0]), int(at[-1]) + 300)
    local = (at + clock.offsets(int(at[0]), len(at))) % 86_400
    night = use[(local >= 23 * 3600) | (local < 4 * 3600)]
    assert truth.pops["london.gb"].night == pytest.approx(night.mean(), abs=1e-9)
    assert truth.pops["london.gb"].night_samples == len(night)
    hourly = [use[local // 3600 == hour].mean() for hour in range(24)]
    assert int(np.argmin(hourly)) in (3, 4, 5, 6)
    assert int(np.argmax(hourly)) in (19, 20, 21, 22)
    noise = np.diff(use) / use[1:]
    assert 0.005 < np.std(noise) < 0.2
    # What is left of a day after its shape hangs together for hours.
    left = use / np.array(hourly)[local // 3600]
    assert np.corrcoef(left[:-12], left[12:])[0, 1] > 0.3
    cpu = rows["cpu_bp"].to_numpy()
    assert np.corrcoef(use, cpu)[0, 1] > 0.8


def test_clocks_change_when_the_law_says() -> None:
    months = month_starts("2025-10", 2)
    offsets = Clock("Europe/Berlin", months[0], months[2]).offsets(months[0], 31 * 288)
    change = 25 * 288 + 12  # 26 October, 01:00 UTC
    assert set(offsets[:change]) == {7200}
    assert set(offsets[change:]) == {3600}
    assert set(Clock("Asia/Kathmandu", months[0], months[2]).offsets(months[1], 9)) == {20_700}


def test_calendars() -> None:
    assert [easter(year).isoformat() for year in (2025, 2026)] == ["2025-04-20", "2026-04-05"]
    months = month_starts("2025-11", 2)
    days = {day * 86_400 - months[0] for day in holidays("US", months[0], months[2])}
    assert {10, 26, 27, 54} <= {second // 86_400 for second in days}


def test_places_are_the_busiest_with_zones() -> None:
    places = read_places(4_100)
    assert len({place.pop for place in places}) == 4_100
    assert all("/" in place.timezone for place in places)
    assert places[0].traffic >= places[-1].traffic
    zones = {place.pop: place.timezone for place in places}
    assert zones["los-angeles.us"] == "America/Los_Angeles"


def test_scores() -> None:
    gap = Finding(kind="gap", pop="a", from_s=3000, until_s=6000)
    empty = Finding(kind="empty_month", pop="a", from_s=10_000, until_s=20_000)
    found = [
        Finding(kind="gap", pop="a", from_s=3300, until_s=3900),
        Finding(kind="gap", pop="a", from_s=4500, until_s=6000),
        Finding(kind="gap", pop="a", from_s=10_000, until_s=20_000),
        Finding(kind="gap", pop="b", from_s=3000, until_s=6000),
    ]
    scores = {one.kind: one for one in score_findings([gap, empty], found)}
    assert (scores["gap"].recall, scores["gap"].precision) == (1.0, 2 / 3)
    assert (scores["empty_month"].recall, scores["empty_month"].precision) == (0.0, 1.0)


def test_the_command_makes_it_and_says_what(tmp_path: Path) -> None:
    asked = ["plan", "synth", str(tmp_path / "data"), "--pops=5", "--months=1", "--raw=1"]
    shown = CliRunner().invoke(commands, asked)
    assert shown.exit_code == 0, shown.output
    assert "night use, 23:00-04:00 local" in shown.output
    assert len(list((tmp_path / "data" / "raw" / "2025-05").iterdir())) == 1
    told = json.loads(CliRunner().invoke(commands, [*asked, "--json"]).output)
    assert told["rows"] == read_truth(tmp_path / "data").rows
    assert told["faults"]["gap"] == 1
