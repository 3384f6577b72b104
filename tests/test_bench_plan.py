"""`make bench-plan`: the slow reading it compares with is right, and its checks can fail."""

from __future__ import annotations

import importlib
import inspect
import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.plan import PARTS
from bench.plan_report import check_faults, check_night, check_p95, slow_p95, view
from selvedge.plan.history import SAMPLES, History, Manifest
from selvedge.plan.synth import Asked, make_history, read_truth

MAY = 1_746_057_600


def written(folder: Path, sent: list[int], at: list[int] | None = None) -> Path:
    history = History.create(folder)
    history.write_manifest(Manifest(pops=("a",)))
    count = len(sent)
    columns: dict[str, list[Any]] = {
        "pop": [0] * count,
        "at_s": [MAY + 300 * one for one in (at or range(count))],
        "out_bytes": sent,
        "capacity_bps": [8_000_000] * count,
        "flags": [0] * count,
    }
    arrays = [columns.get(name, [None] * count) for name in SAMPLES.names]
    history.write_part("2025-05", "a", pa.table(arrays, schema=SAMPLES))
    return folder


def test_the_slow_reading_drops_a_twentieth_and_takes_the_next(tmp_path: Path) -> None:
    sent = list(range(1, 101))
    assert slow_p95(written(tmp_path / "a", sent), 0, "2025-05") == 95 * 8 / 300
    # 19 samples: nothing is dropped. A smaller one of the moment, and what cannot be, do not count.
    more = [*range(1, 20), 5, 2**63]
    found = written(tmp_path / "b", more, [*range(19), 18, 19])
    assert slow_p95(found, 0, "2025-05") == 19 * 8 / 300
    assert slow_p95(found, 0, "2025-06") is None


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "data"
    make_history(folder, Asked(pops=12, months=2, faults=0.3))
    return folder


def saved(result: Path, **tables: list[dict[str, Any]]) -> Path:
    result.mkdir()
    for name, rows in tables.items():
        pq.write_table(pa.Table.from_pylist(rows), result / f"{name}.parquet")
    return result


def test_a_report_that_is_wrong_is_caught(made: Path, tmp_path: Path) -> None:
    truth = read_truth(made)
    findings = [
        {name: getattr(one, name) for name in one.__struct_fields__} for one in truth.findings
    ]
    pops = json.loads((made / "history.json").read_text("utf-8"))["pops"]
    months = [
        {"level": "pop", "name": name, "month": "2025-05", "p95_bps": slow_p95(made, at, "2025-05")}
        for at, name in enumerate(pops)
    ]
    nights = [
        {
            "pop": name,
            "night_use": one.night_by_capacity,
            "night_samples": 100,
            "capacity_bps": 10**9,
        }
        for name, one in truth.pops.items()
    ]
    fleet = [{"level": "fleet", "name": "fleet", "night_use": truth.fleet.night_by_capacity}]
    right = saved(tmp_path / "right", findings=findings, months=months, pops=nights, groups=fleet)
    assert check_p95(made, right)["p95_different"] == 0
    assert check_night(made, right)["night_points_off_worst"] == 0
    faults = check_faults(made, right)
    assert (faults["recall"], faults["precision"]) == (1.0, 1.0)
    gap = next(row for row in findings if row["kind"] == "gap")
    moved = {**gap, "from_s": 300, "until_s": 600}
    wrong = saved(
        tmp_path / "wrong",
        findings=[moved if row is gap else row for row in findings],
        months=[{**row, "p95_bps": (row["p95_bps"] or 0) * 1.001} for row in months],
        pops=[{**row, "night_use": row["night_use"] + 0.01} for row in nights],
        groups=fleet,
    )
    assert check_p95(made, wrong)["p95_different"] == 1
    assert check_night(made, wrong)["night_points_off_worst"] == pytest.approx(1.0)
    assert float(check_faults(made, wrong)["recall"]) < 1.0


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_asked_for_what_its_module_has(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(f"bench.plan_{name}")
    shape = inspect.signature(module.measure)
    monkeypatch.setattr(module, "measure", lambda **asked: dict(shape.bind(**asked).arguments))
    assert PARTS[name](module, Namespace(full=True, rounds=2))["full"] is True


def test_what_moved_clocks_make_of_the_fleets_night_is_told(made: Path, tmp_path: Path) -> None:
    truth = read_truth(made)
    moved = {one.pop for one in truth.findings if one.kind == "clock_shift"}
    assert moved
    nights = [
        {
            "pop": name,
            "night_use": one.night_by_capacity + (0.1 if name in moved else 0.0),
            "night_samples": 100,
            "capacity_bps": 10**9 if name in moved else 2 * 10**9,
        }
        for name, one in truth.pops.items()
    ]
    weight = len(moved) / (2 * len(truth.pops) - len(moved))
    fleet = [{"level": "fleet", "night_use": truth.fleet.night_by_capacity + 0.1 * weight}]
    found = check_night(made, saved(tmp_path / "moved", pops=nights, groups=fleet))
    assert found["night_points_off_fleet_by_clocks"] == pytest.approx(10 * weight, abs=1e-4)
    assert found["night_points_off_fleet"] == found["night_points_off_fleet_by_clocks"]
    assert found["night_points_off_undamaged_worst"] == 0


def test_a_view_has_the_first_months_only(made: Path) -> None:
    assert History.open(view(made, 1)).months() == ["2025-05"]
    assert History.open(made).months() == ["2025-05", "2025-06"]
