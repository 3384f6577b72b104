"""The month of receipts: its shape, its books, and that nothing is made without the trace."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import month
from bench.month_books import Books
from bench.month_traffic import WINDOWS, Curve, Lengths, Shapes, arrivals
from bench.month_world import (
    DAYS,
    FAULTS,
    PERMITS,
    SERVES,
    START_US,
    TENANTS,
    make_buyers,
    make_price_book,
    make_release,
    make_scenario,
    zones_of,
)
from selvedge.adapters import find_parts, usage_of_parts
from selvedge.ledger import UsageAsked
from selvedge.sim import play

DAY_US = 86_400_000_000
NIGHT = tuple(0.0 if at % 144 < 72 else 1.0 + at % 7 for at in range(WINDOWS))


def shapes() -> Shapes:
    """Twenty clients that sleep for half the day, the first of them twice as busy."""
    curves = tuple(
        Curve(tuple(one * (2 if at == 0 else 1) for one in NIGHT), (1.5,) * WINDOWS)
        for at in range(TENANTS)
    )
    return Shapes(curves, ((Lengths({40: 1.0, 400: 3.0}), Lengths({5: 1.0, 50: 1.0})),))


def test_the_month_has_the_shape_of_its_clients() -> None:
    found = list(arrivals(make_buyers(), shapes(), 4_000, 1, (START_US, DAYS)))
    assert 3_800 <= len(found) <= 4_200
    times = [one.at_us - START_US for one in found]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] < DAYS * DAY_US
    assert all(at % DAY_US >= DAY_US // 2 for at in times), "nobody asks by night"
    tenants = Counter(one.key[:9] for one in found)
    assert len(tenants) == TENANTS
    assert 1.4 < tenants["tenant-01"] / tenants["tenant-02"] < 2.8
    assert {one.work.prompt_tokens for one in found} == {40, 400}


def test_the_same_seed_gives_the_same_month() -> None:
    def first() -> list[object]:
        return list(islice(arrivals(make_buyers(), shapes(), 4_000, 7, (START_US, DAYS)), 300))

    assert first() == first()


def test_half_of_the_tenants_pay_in_neurons() -> None:
    book = make_price_book()
    assert {zones_of(at)[0] for at in range(TENANTS)} == {"us", "eu", "apac"}
    assert Counter(one.unit for one in book.contracts) == {"tokens": 10, "neurons": 10}
    sold = {row.model for row in book.prices}
    assert sold == {model.id for model in make_release().models}
    assert all(row.neurons_input and row.neurons_output for row in book.prices)


def test_somebody_asks_where_something_fails() -> None:
    uses = {
        (zone, use.model)
        for at, buyer in enumerate(make_buyers())
        for zone in zones_of(at)
        for use in buyer.uses
        if use.key.endswith(zone)
    }
    for _, zone, engine, _, _ in FAULTS:
        assert {(zone, model) for model in SERVES[engine]} <= uses


def test_the_faults_are_in_the_scenario() -> None:
    outages = make_scenario().outages
    for _, _, _, from_us, until_us in FAULTS:
        assert any((one.from_us, one.until_us) == (from_us, until_us) for one in outages)
    assert not any(one.engine == "spare" for one in outages)


def test_what_is_collected_is_what_was_played(tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    books = Books(tmp_path)
    traffic = arrivals(make_buyers(), shapes(), 2_000, 1, (START_US, DAYS))
    release, scenario = make_release(), make_scenario()
    report = play(release, scenario, 1, traffic, books.take, permits=PERMITS)
    books.close()
    assert books.receipts == report.figures.arrived
    assert [one.name for one in books.directories] == ["apac", "eu", "us"]
    wish = UsageAsked(by=("tenant",))
    found = [usage_of_parts(find_parts(one), wish) for one in books.directories]
    for tenant, sums in books.sums.items():
        parts = [table[tenant,] for table in found if (tenant,) in table]
        assert sum(one.receipts for one in parts) == sums.receipts
        assert sum(one.output for one in parts) == sums.output
        assert sum(one.cache_read for one in parts) == sums.cache_read


def test_without_the_trace_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "month"
    kept.mkdir()
    monkeypatch.setattr(month, "DIRECTORY", kept)
    done = CliRunner().invoke(month.main, ["--data", str(tmp_path)])
    assert done.exit_code == 0
    assert "skipped: no month is made" in done.output
    assert kept.is_dir()
