"""Raw polls: a careful reader gets the true bytes back, and each fault is where the truth says."""

from __future__ import annotations

import csv
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from selvedge.plan.history import Finding
from selvedge.plan.synth import Asked, RawTruth, make_fleet, read_raw_truth, write_raw

ASKED = Asked(pops=8, months=2, since="2026-01", seed=11, faults=0.0)
Row = dict[str, str]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RawTruth]:
    folder = tmp_path_factory.mktemp("raw")
    write_raw(folder, make_fleet(ASKED), 6)
    return folder / "raw", read_raw_truth(folder)


def rows_of(folder: Path, pop: str) -> list[Row]:
    found: list[Row] = []
    for path in sorted([*folder.glob(f"*/{pop}.csv"), *folder.glob(f"*/{pop}-32.csv")]):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                bits = "64" if "ifHCOutOctets" in row else "32"
                row["out_octets"] = row["ifHCOutOctets" if bits == "64" else "ifOutOctets"]
                found.append({**row, "bits": bits})
    return found


def near(rows: list[Row], one: Finding) -> list[Row]:
    return [
        row
        for row in rows
        if row["interface"] == one.series and one.from_s <= int(row["time"]) < one.until_s
    ]


def test_a_careful_reader_gets_the_true_bytes(raw: tuple[Path, RawTruth]) -> None:
    folder, truth = raw
    read = 0
    for pop, months in truth.bytes.items():
        kinds = {one.kind for one in truth.findings if one.pop == pop}
        if "clock_shift" in kinds:
            continue  # the order of its times is not that of its polls
        ports: dict[str, dict[int, Row]] = defaultdict(dict)
        for row in rows_of(folder, pop):
            if int(row["out_octets"]) >= 0:
                name = row["interface"].replace("xe-0/0/", "eth")
                ports[name].setdefault(int(row["time"]), row)
        total = 0
        for polls in ports.values():
            for a, b in pairwise(polls[at] for at in sorted(polls)):
                again = int(b["sysUpTime"]) < int(a["sysUpTime"])
                moved = int(b["out_octets"]) - (0 if again else int(a["out_octets"]))
                total += moved % 2**64 if a["bits"] == "64" else 0
        true = sum(sent for sent, _ in months.values())
        assert total == pytest.approx(true, rel=0.005)  # without the old interface
        read += 1
    assert read >= 1


def test_faults_are_where_the_truth_says(raw: tuple[Path, RawTruth]) -> None:
    folder, truth = raw
    seen = {one.kind for one in truth.findings}
    assert seen >= {"wrap", "gap", "duplicate", "late", "reset"}
    for pop in truth.bytes:
        rows = rows_of(folder, pop)
        for one in (one for one in truth.findings if one.pop == pop):
            there = near(rows, one)
            if one.kind == "gap":
                assert there == []
            elif one.kind in ("duplicate", "conflict"):
                assert len(there) == 2 * one.count
                same = len({row["out_octets"] for row in there})
                assert same == one.count * (1 if one.kind == "duplicate" else 2)
            elif one.kind == "negative":
                assert [row["out_octets"] for row in there] == ["-1"]
            elif one.kind == "reset":
                assert int(there[0]["sysUpTime"]) == 3000
            elif one.kind == "late":
                first = rows.index(there[0])
                assert int(rows[first - 1]["time"]) > int(there[0]["time"])


def test_expected_bytes_are_those_of_the_truth(raw: tuple[Path, RawTruth]) -> None:
    folder, truth = raw
    table = pq.read_table(folder / "expected.parquet")
    whole = sum(sent for months in truth.bytes.values() for sent, _ in months.values())
    assert sum(table["out_bytes"].to_pylist()) == pytest.approx(whole, rel=0.001)
    assert table.num_rows == 6 * 59 * 288


def test_the_same_seed_writes_the_same_polls(raw: tuple[Path, RawTruth], tmp_path: Path) -> None:
    write_raw(tmp_path, make_fleet(ASKED), 6)
    for path in sorted(raw[0].rglob("*.csv")):
        assert path.read_bytes() == (tmp_path / "raw" / path.relative_to(raw[0])).read_bytes()
