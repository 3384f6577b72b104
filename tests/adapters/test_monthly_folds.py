"""DuckDB's fold over parts is the plain one, whatever the receipts; doubles are named."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.adapters import find_parts, fold_parts, parts_of_days
from selvedge.fabric import StoreCorrupt
from selvedge.ledger import (
    DoubleReceipt,
    FoldAsked,
    Numbers,
    Origin,
    UsageRow,
    fold_rows,
    join_folds,
    month_bounds,
)
from tests.support.money import (
    MONTH,
    TENANT,
    fold_plainly,
    random_receipts,
    row_of,
    sold,
    write_part,
)

BOUNDS = month_bounds(MONTH)
WISH = FoldAsked(*BOUNDS, TENANT)
DAYS = ("2026-10-31", "2026-11-01", "2026-11-15", "2026-11-30", "2026-12-01")


@given(st.integers(0, 2**32), st.integers(1, 50))
@settings(deadline=None, max_examples=12)
def test_parts_rows_and_receipts_fold_to_the_same(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int
) -> None:
    rng, where = Random(seed), tmp_path_factory.mktemp("parts")
    receipts = random_receipts(rng, count, DAYS)
    rows = [row_of(one) for one in receipts]
    cut = rng.randrange(count + 1)
    for number, some in enumerate((rows[:cut], rows[cut:]), 1):
        write_part(where, number, some)
    inside = [one for one in receipts if BOUNDS[0] <= one.received_us < BOUNDS[1]]
    plain = {TENANT: fold_plainly(inside)} if inside else {}
    assert fold_rows(rows, WISH) == plain
    assert fold_parts(find_parts(where), WISH) == plain
    assert fold_parts(find_parts(where), FoldAsked(*BOUNDS)) == plain
    halves = (fold_rows(rows[:cut], WISH), fold_rows(rows[cut:], WISH))
    assert join_folds(halves) == plain

    periods = WISH._replace(starts=("2026-11-01", "2026-11-15", "2026-11-20"))
    assert fold_parts(find_parts(where), periods) == fold_rows(rows, periods)

    chosen = [one for one in inside if rng.random() < 0.5]
    numbers = fold_plainly(chosen).numbers
    left = [one for one in inside if one not in chosen]
    for wish, wanted in (
        (WISH._replace(only=numbers), chosen),
        (WISH._replace(without=numbers), left),
    ):
        expected = {TENANT: fold_plainly(wanted)} if wanted else {}
        assert fold_rows(rows, wish) == expected
        assert fold_parts(find_parts(where), wish) == expected


def rows_of(*numbers: int) -> list[UsageRow]:
    return [row_of(sold(one)) for one in numbers]


def test_other_tenants_and_conflicts_count_for_nothing(tmp_path: Path) -> None:
    other = row_of(sold(1, tenant="other"))
    conflict = row_of(sold(2))
    lost = type(conflict)(**{**_fields(conflict), "conflict": True})
    write_part(tmp_path, 1, [*rows_of(2), other, lost])
    found = fold_parts(find_parts(tmp_path), WISH)
    assert found == {TENANT: fold_plainly([sold(2)])}
    every = fold_parts(find_parts(tmp_path), FoldAsked(*BOUNDS))
    assert sorted(every) == [TENANT, "other"]
    assert fold_rows([*rows_of(2), other, lost], FoldAsked(*BOUNDS)) == every


def _fields(row: UsageRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in row.__struct_fields__}


def test_a_receipt_in_two_parts_is_named(tmp_path: Path) -> None:
    write_part(tmp_path, 1, rows_of(5, 70))
    write_part(tmp_path, 2, rows_of(70))
    with pytest.raises(DoubleReceipt, match="a number of 64 to 127 is there twice"):
        fold_parts(find_parts(tmp_path), WISH)


def test_only_the_parts_of_the_days_are_read(tmp_path: Path) -> None:
    write_part(tmp_path, 1, [row_of(sold(1, day)) for day in DAYS])
    named = [one.parent.name for one in parts_of_days(find_parts(tmp_path), WISH)]
    assert named == ["day=2026-11-01", "day=2026-11-15", "day=2026-11-30"]
    assert fold_parts([], WISH) == {}
    none = Numbers.of_runs([(Origin("nowhere", 0), [(1, 2)])])
    assert fold_parts(find_parts(tmp_path), WISH._replace(only=none)) == {}


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    write_part(tmp_path, 1, rows_of(1))
    part = find_parts(tmp_path)[0]
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(StoreCorrupt, match=part.name):
        fold_parts([part], WISH)
