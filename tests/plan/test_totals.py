"""Sums of bytes that pass 64 bits: the numbers themselves, and a report of a fleet of such."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.plan.history import SAMPLES, STEP_S, History, Manifest, PopSite
from selvedge.plan.utilisation import Asked, Utilisation, report
from selvedge.plan.utilisation.samples import CAPACITY_MAX
from selvedge.plan.utilisation.totals import LOW, WORD, total, totals, totals_between, whole
from selvedge.plan.utilisation.zones import month_span

POPS = 220
DAYS = 9
FULL = CAPACITY_MAX // 8 * STEP_S
LARGEST = 2**63 - 1
numbers = st.lists(st.integers(0, LARGEST), min_size=1, max_size=24)


@given(numbers, st.integers(1, 4))
def test_sums_are_those_of_whole_numbers(values: list[int], width: int) -> None:
    values *= width
    flat = np.array(values, np.int64)
    table = flat.reshape(-1, width)
    assert total(flat) == sum(values)
    for axis in (0, 1):
        assert totals(table, axis).tolist() == table.astype(object).sum(axis=axis).tolist()
    begins = np.arange(0, len(values), width)
    found = totals_between(flat, begins).tolist()
    assert found == table.astype(object).sum(axis=1).tolist()
    assert whole(flat >> WORD, flat & LOW).tolist() == values


def test_what_fits_stays_an_array_of_integers() -> None:
    small = np.full((3, 4), 2**60, np.int64)
    assert totals(small, 1).dtype == np.int64
    assert totals(small[:, :1].repeat(8, axis=1), 1).tolist() == [2**63] * 3


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> tuple[History, list[PopSite]]:
    """PoPs that are full at the largest capacity that counts, in one metro and zone."""
    begin = month_span("2026-03")[0]
    at = np.arange(begin, begin + DAYS * 86_400, STEP_S)
    rows = POPS * len(at)
    columns = {
        "pop": np.repeat(np.arange(POPS), len(at)),
        "at_s": np.tile(at, POPS),
        "out_bytes": np.full(rows, FULL),
        "in_bytes": np.full(rows, FULL),
        "capacity_bps": np.full(rows, CAPACITY_MAX),
        "flags": np.zeros(rows, np.int64),
    }
    arrays = [
        pa.array(columns[field.name]).cast(field.type)
        if field.name in columns
        else pa.nulls(rows, field.type)
        for field in SAMPLES
    ]
    sites = [
        PopSite(pop=f"p{number}", country="DE", metro="Berlin", timezone="Europe/Berlin")
        for number in range(POPS)
    ]
    history = History.create(tmp_path_factory.mktemp("busy"))
    history.write_manifest(Manifest(pops=tuple(site.pop for site in sites)))
    history.write_part("2026-03", "a", pa.table(arrays, schema=SAMPLES))
    return history, sites


@pytest.mark.parametrize("month", ["utc", "local"])
def test_a_fleet_beyond_64_bits_is_reported_as_it_is(
    busy: tuple[History, list[PopSite]], month: str
) -> None:
    samples = DAYS * 86_400 // STEP_S
    assert FULL * samples > LARGEST, "one PoP's bytes"
    assert FULL * POPS * 12 > LARGEST, "an hour of the fleet's"
    asked = Asked(faults=False, outlook=False, memory_gib=0.5, billing_month=month)
    found = report(*busy, asked)
    for name in ("pops", "groups", "months", "hours_of_week", "hourly"):
        assert all_used(found, name) == {1.0}, name
    assert {row["night_use"] for name in ("pops", "groups") for row in found.rows(name)} == {1.0}
    bps = {row["level"]: row["mean_bps"] for row in found.rows("months")}
    assert bps["pop"] == pytest.approx(CAPACITY_MAX, rel=1e-15)
    assert bps["fleet"] == pytest.approx(CAPACITY_MAX * POPS, rel=1e-15)


def all_used(found: Utilisation, name: str) -> set[float]:
    """The mean uses of a table's rows, which are not none."""
    uses = {row["mean_use"] for row in found.rows(name)}
    assert uses, name
    return uses
