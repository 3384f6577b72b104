"""Sums made where the rows are are those made here: a cluster without the cluster."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import selvedge.plan.utilisation.units as in_units
from selvedge.plan.history import History, PopSite
from selvedge.plan.utilisation import TABLES, Asked, Utilisation, report
from selvedge.plan.utilisation.answers import MonthFound, Question
from selvedge.plan.utilisation.engines import Duck, Work
from selvedge.plan.utilisation.places import place
from selvedge.plan.utilisation.report import ENGINES
from selvedge.plan.utilisation.units import UNIT_POPS, deal
from selvedge.plan.utilisation.zones import month_span
from tests.plan.made_histories import SITES, Row, damage, draw, store

MONTHS = ("2026-03", "2026-04")


class Apart(Duck):
    """DuckDB as if it were far away: rows are worked on beside it, by a copy of the work."""

    def __init__(self, *means: Any) -> None:
        super().__init__(*means)
        self.fetched = self.sent = self.bytes = 0
        made.append(self)

    def fetch(self, expr: Any) -> pa.Table:
        """Count what comes."""
        found = super().fetch(expr)
        self.fetched += found.num_rows
        return found

    def gather(self, rows: Any, work: Work) -> Iterator[bytes]:
        """Last units first: no order is promised."""
        table = super().fetch(rows)
        self.bytes += table.nbytes
        order = table["unit"].to_numpy()
        for unit in np.unique(order)[::-1].tolist():
            there = pickle.loads(pickle.dumps(work))
            found = there(unit, table.filter(pa.array(order == unit)))
            self.sent += len(found)
            yield found


made: list[Apart] = []


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Reports in one piece, then in units."""
    made.clear()

    def make(history: History, **how: Any) -> tuple[Utilisation, Utilisation]:
        asked = Asked(faults=False, outlook=False, threads=2, memory_gib=0.5, **how)
        whole = report(history, SITES, asked)
        monkeypatch.setitem(ENGINES, "duckdb", Apart)
        return whole, report(history, SITES, asked)

    return make


def same(whole: Utilisation, apart: Utilisation) -> bool:
    differ = [name for name in TABLES if not whole.tables[name].equals(apart.tables[name])]
    assert differ == []
    return whole.facts == apart.facts


@pytest.mark.parametrize(
    "how",
    [{}, {"billing": "max"}, {"billing": "sum", "billing_month": "local"}],
    ids=["out", "max", "local"],
)
def test_units_say_what_the_whole_says(tmp_path: Path, both: Any, how: dict[str, Any]) -> None:
    whole, apart = both(store(tmp_path, damage(draw(MONTHS, every=8))), **how)
    assert whole.facts.excluded["twice"] > 0
    assert whole.facts.excluded["unknown_pop"] > 0
    assert same(whole, apart)


def test_units_of_a_month_that_begins_within_an_hour(tmp_path: Path, both: Any) -> None:
    history = store(tmp_path, damage(draw(MONTHS)[::3]))
    whole, apart = both(history, from_s=1_773_000_100, until_s=1_776_000_000)
    assert same(whole, apart)


def test_capacities_that_change_and_rows_of_numbers_beyond_the_manifest(
    tmp_path: Path, both: Any
) -> None:
    rows = draw(MONTHS, every=8)
    rows = [
        row._replace(capacity=(row.capacity or 0) * (1 + row.at_s // 5_000 % 3)) for row in rows
    ]
    rows += [Row(4_000, row.at_s, 5, 5, 10**9, 1, 1, 1, 1) for row in rows[:40]]
    whole, apart = both(store(tmp_path, rows))
    assert same(whole, apart)
    assert apart.facts.excluded["unknown_pop"] > 40


def test_no_row_leaves_where_rows_are(tmp_path: Path, both: Any) -> None:
    both(store(tmp_path, draw(MONTHS[:1])))
    (engine,) = made
    assert engine.fetched == 0
    assert 0 < engine.sent < engine.bytes / 5


def test_a_month_is_of_several_units(tmp_path: Path, both: Any) -> None:
    units: set[int] = set()
    history = store(tmp_path, draw(MONTHS[:1], every=24))
    put_all = in_units._put_all

    def watched(*given: Any) -> Any:
        units.update(range(len(given[2])))
        return put_all(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(in_units, "_put_all", watched)
        both(history)
    assert len(units) == len(SITES)


def test_units_are_small_and_keep_groups_together() -> None:
    sites = [
        PopSite(pop=f"p{number}", country=("DE", "FR")[number % 2], timezone="Europe/Berlin")
        for number in range(600)
    ]
    places = place([site.pop for site in sites], sites)
    units = deal(places, places.known)
    assert sorted(np.concatenate(units).tolist()) == list(range(600))
    assert max(len(unit) for unit in units) <= UNIT_POPS
    mixed = [unit for unit in units if len({pop % 2 for pop in unit.tolist()}) > 1]
    assert len(mixed) <= 1


def test_every_answer_is_sent() -> None:
    """What somebody adds to the answers has to come from the workers too."""
    places = place([site.pop for site in SITES], SITES)
    begin, end = month_span(MONTHS[0])
    question = Question(
        places=places, billing="out", from_s=begin, until_s=end, lacks_capacity=False
    )
    found = MonthFound.empty(question, None)
    sent = [*in_units._by_pop(found).values()]
    sent += [column.base for _, column in in_units._leaps(found, np.array([1]))]
    sent += [found.cells, found.free, found.uses]
    asked = [found.cell_of, found.laws, found.profile.zone, found.profile.local]
    known = {id(array) for array in sent + asked}
    assert [name for name, array in arrays_of(found) if id(array) not in known] == []


def arrays_of(some: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every array that answers hold, with where it is."""
    if isinstance(some, np.ndarray):
        yield name, some
    elif isinstance(some, MonthFound):
        for field in fields(some):
            yield from arrays_of(getattr(some, field.name), field.name)
    elif isinstance(some, tuple):
        for field, one in zip(getattr(some, "_fields", ()), some, strict=False):
            yield from arrays_of(one, f"{name}.{field}")
    elif isinstance(some, dict):
        for key, one in some.items():
            yield from arrays_of(one, f"{name}.{key}")
