"""Files of inputs and reports that are wrong: each is refused by its field, limit and remedy."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selvedge.plan import read_market
from selvedge.plan.economics import (
    Asked,
    Economics,
    answer,
    read_inputs,
    read_observed,
    seed_path,
    sheets_of,
)
from selvedge.plan.history import BadPlan


def write(folder: Path, old: str, new: str) -> Path:
    text = seed_path().read_text("utf-8")
    assert old in text
    path = folder / "own.yaml"
    path.write_text(text.replace(old, new, 1), "utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "residual_share:",
            "residual_shares:",
            "capital: unknown field 'residual_shares'; did you mean residual_share",
        ),
        ("cost_of_capital:", "cost:", "capital: unknown field 'cost'"),
        ("pops: 4100\n  cand", "cand", "fleet: field 'pops' is missing"),
        (
            "pops: 4100\n  cand",
            "pops: many\n  cand",
            "fleet.pops: it wants a whole number, and has",
        ),
        ("{ value: 1.54,", "{ value: 0.9,", "power.pue: value 0.9 is not from 1 to 4"),
        ("low: 0.07, high: 0.14", "low: 0.14, high: 0.20", "capital.cost_of_capital: 0.1 is not"),
        ("gpu: A100-80", "gpu: A101", "offers.gpt-oss-120b-a100.gpu: 'A101' is not in the table"),
        ("hardware: llama-3.1-8b-l4", "hardware: abacus", "hardware: 'abacus' is none of mocker"),
        ("  offer: llama-8b-l4", "  offer: none-such", "fleet.offer: 'none-such' is none of"),
        ("candidates: 200", "candidates: 100", "fleet: sites_now, sites_next, candidates"),
        ("{below: 0.95, credit: 1.0}", "{below: 95, credit: 1.0}", "promise.credits"),
        ("    gpus: 4\n", "    gpus: 0\n", "offers.llama-70b-4xh100.gpus: 0 is not from 1 to 64"),
        ("US: 0.075", "US: 75", "power.by_country.US: 75 is not from 0 to 5"),
        ("years: 3", "years: 0", "renewals.years: 0 is not from 1 to 20"),
        ("{US: 0.075", "{UK: 0.075", "power.by_country.UK: it is no ISO 3166-1"),
        ("below_most: 0.12", "below_most: 12", "claims.below_most: 12.0 is not from 0 to 0.99"),
        ("below_most: 0.12", "below_most: 1.0", "claims.below_most: 1.0 is not from 0 to 0.99"),
        ("below: {value: 0.095,", "below: {value: 1,", "pricing.below: value 1 is not from 0 to"),
        (
            "pops: 4100\n  cand",
            "pops: 1" + "0" * 400 + "\n  cand",
            "fleet.pops: 10000000000000000000",
        ),
        ("  pops: 4100\n  night", f"  pops: {10**400}\n  night", "claims.pops: 1000000000000000"),
        ("{ value: 0.75, low: 0.60", "{ value: 0.10, low: 0.05", "below power.idle_share"),
        ("vendors: [bedrock", "vendors: [bedrok", "pricing.vendors: 'bedrok' publishes no price"),
        ("spread: log", "spread: wide", "spread"),
        ("hours: 5", "hours: [5]", "night.hours: it wants a number, or value with low and high"),
        ("model: gpt-oss-120b", "model: gpt-zzz", "model 'gpt-zzz' has no price"),
    ],
)
def test_a_bad_file_names_field_and_limit(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = write(tmp_path, old, new)
    with pytest.raises(BadPlan, match=r".") as caught:
        answer(Asked(inputs=read_inputs(path), market=read_market(), draws=100))
    assert words in str(caught.value)


def test_a_file_that_is_not_there_or_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(BadPlan, match="cannot be read"):
        read_inputs(tmp_path / "none.yaml")
    path = tmp_path / "own.yaml"
    path.write_text("title: [", "utf-8")
    with pytest.raises(BadPlan, match=r"own\.yaml"):
        read_inputs(path)
    path.write_text("title: " + "x" * 2_000_000, "utf-8")
    with pytest.raises(BadPlan, match="exceeds 1048576 bytes"):
        read_inputs(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadPlan, match="not UTF-8"):
        read_inputs(path)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"pop": ["a"], "country": ["DE"]}, "has no column mean_bps, night_use"),
        (
            {"pop": ["a"], "country": ["DE"], "mean_bps": [None], "night_use": [None]},
            "has no PoP with traffic",
        ),
        (
            {"pop": ["a"], "country": ["DE"], "mean_bps": [0.0], "night_use": [None]},
            "has no PoP with traffic",
        ),
        (
            {
                "pop": ["a", "a"],
                "country": ["DE"] * 2,
                "mean_bps": [1.0] * 2,
                "night_use": [0.5] * 2,
            },
            "has a PoP twice",
        ),
    ],
)
def test_a_bad_report_is_named(
    tmp_path: Path, columns: dict[str, list[object]], words: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "pops.parquet")
    with pytest.raises(BadPlan, match=words):
        read_observed(tmp_path)
    with pytest.raises(BadPlan, match="cannot be read"):
        read_observed(tmp_path / "elsewhere")
    with pytest.raises(BadPlan, match="no such file"):
        read_observed(tmp_path / "elsewhere")


def test_odd_cells_of_a_report_are_left_out(tmp_path: Path) -> None:
    columns = {
        "pop": ["a", None, "c"],
        "country": [None, "DE", "DE"],
        "mean_bps": [1e9, 5e9, 1e9],
        "night_use": [0.5, 0.1, 0.3],
        "gpus": ["x", "8", "8"],
        "headroom_gpu_95": [0.5, 0.5, 0.5],
    }
    pq.write_table(pa.table(columns), tmp_path / "pops.parquet")
    seen = read_observed(tmp_path)
    assert (seen.pops, seen.countries, seen.gpus) == (("a", "c"), ("", "DE"), 0)
    assert seen.night_use == pytest.approx(0.4)
    assert "1 PoPs of the report have no traffic or no name" in seen.notes[0]


def test_what_is_free_or_dearer_than_sold_is_said(tmp_path: Path) -> None:
    def answered(price: str) -> Economics:
        path = write(tmp_path, "    gpu: L4\n", f"    gpu: L4\n    price: {price}\n")
        return answer(Asked(inputs=read_inputs(path), market=read_market(), draws=100))

    with pytest.raises(BadPlan, match="what is free has no margin"):
        answered("{input: 0, output: 0}")
    with pytest.raises(BadPlan, match="not from 0 to"):
        answered("{input: -1, output: 0}")
    cheap = answered("{input: 1, output: 1}")
    row = next(row for row in cheap.offers if row.offer == "llama-8b-l4")
    assert row.break_even_use > 1
    assert "never" in {cell for sheet in sheets_of(cheap) for line in sheet.rows for cell in line}
