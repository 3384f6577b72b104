"""The fold by DuckDB is the fold in Python, also of parts that an earlier version wrote."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from selvedge.adapters import (
    as_rows,
    as_table,
    connect,
    rows_of_parts,
    service_of_parts,
    write_parquet,
)
from selvedge.ledger import (
    DAY_US,
    MINUTE_US,
    Maintenance,
    Sealed,
    ServiceAsked,
    UsageRow,
    canonical,
    fold_service,
    row_of_receipt,
)
from tests.ledger.test_service_levels import CASES
from tests.support.months import BEGIN_US, END_US, WINDOW, receipts_of_month
from tests.support.shipping import make_receipt

TYPES = {
    field.name: {int: "BIGINT", int | None: "BIGINT", bool: "BOOLEAN"}.get(field.type, "VARCHAR")
    for field in msgspec.structs.fields(UsageRow)
}
LATER = ("purpose", "ended_as", "stream", "first_token_us", "made")


def rows() -> list[UsageRow]:
    """Every rule's examples, with and without times; and some of a month."""
    rng = random.Random(5)
    receipts = []
    for number, (_, facts) in enumerate(CASES * 6):
        at_us = BEGIN_US + rng.randrange(END_US - BEGIN_US)
        given = {
            "received_us": at_us,
            "ended_us": at_us + rng.choice([0, 9_999_999, 10_000_000, 55_555_555]),
            "first_token_us": rng.choice([None, at_us - 5, at_us + rng.randrange(9_999_999)]),
            "stream": rng.random() < 0.7,
            "model": rng.choice(["a", "b", None]),
            "zone": rng.choice(["asean", "eea"]),
            "tenant": rng.choice(["t", "u"]),
        }
        kept = {name: value for name, value in facts.items() if name not in given}
        receipts.append(make_receipt(number, **given, **kept))
    month = [one for one in receipts_of_month() if rng.random() < 0.02]
    sealed = [Sealed(msgspec.Raw(canonical(one)), "") for one in receipts + month]
    found = [row_of_receipt(one, one.decode()) for one in sealed]
    return [*found, msgspec.structs.replace(found[0], conflict=True)]


ROWS = rows()
WINDOWS = (
    WINDOW,
    Maintenance(since_us=BEGIN_US, until_us=END_US, announced_us=0, model="b", zone="eea"),
)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three: of this version, of an earlier one, and one more of this."""
    where = tmp_path_factory.mktemp("parts")
    paths = [where / f"part-{number}.parquet" for number in range(3)]
    for number, path in enumerate(paths):
        write_parquet(path, TYPES, ROWS[number::3])
    earlier = paths[1].with_suffix(".earlier")
    with connect() as database:
        table = f"SELECT * EXCLUDE ({', '.join(LATER)}) FROM {as_table([paths[1]])}"
        database.execute(f"COPY ({table}) TO '{earlier}' (FORMAT parquet)")
    earlier.rename(paths[1])
    return paths


@pytest.mark.parametrize(
    "asked",
    [
        ServiceAsked(BEGIN_US, END_US),
        ServiceAsked(BEGIN_US, END_US, windows=WINDOWS),
        ServiceAsked(BEGIN_US, END_US, tenant="t", slot_us=MINUTE_US, times=False),
        ServiceAsked(BEGIN_US + 9 * DAY_US, END_US - DAY_US, windows=WINDOWS[1:], tenant="acme"),
        ServiceAsked(0, 1),
    ],
)
def test_the_folds_agree(parts: list[Path], asked: ServiceAsked) -> None:
    whole = fold_service(without_probes_of_old(ROWS), asked)
    assert service_of_parts(parts, asked) == whole
    assert service_of_parts(parts[::-1], asked) == whole
    assert service_of_parts([], asked) == {}


def without_probes_of_old(found: list[UsageRow]) -> list[UsageRow]:
    """Earlier versions asked no probes and kept no batch; how such would have ended is not kept."""
    return [
        msgspec.structs.replace(one, ended_as="complete" if old_batch(one) else one.settled_by)
        if number % 3 == 1 and one.purpose != "request"
        else one
        for number, one in enumerate(found)
    ]


def old_batch(one: UsageRow) -> bool:
    return one.settled_by == "batch_line"


def test_rows_of_earlier_parts_say_what_their_receipts_say(parts: list[Path]) -> None:
    def key(one: UsageRow) -> tuple[str, int, bool]:
        return (one.id, one.received_us, one.conflict)

    expected = sorted(without_probes_of_old(ROWS), key=key)
    assert sorted(rows_of_parts(parts), key=key) == expected
    alone = sorted(without_probes_of_old(ROWS)[1::3], key=key)
    assert sorted(rows_of_parts(parts[1:2]), key=key) == alone


def test_columns_are_complete(parts: list[Path]) -> None:
    with connect() as database:
        table = as_rows(database, parts)
        found = database.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()
    assert {str(name): str(kind) for name, kind, *_ in found} == TYPES
