"""The report's outlook: every table by hand-made hours whose truth is known."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from selvedge.headroom import Forecaster, Plan
from selvedge.plan.utilisation import TABLES
from selvedge.plan.utilisation.forecasting import forecast, group_series, judged_pops
from selvedge.plan.utilisation.outlook import (
    SEEN_MIN,
    Series,
    backtests_of,
    forecasts_of,
    local_seconds,
    outlooks,
    seasonality_of,
)
from tests.headroom.series import WEEK, content, shape

MONDAY = 1_735_689_600 + 5 * 86_400  # 2025-01-06
HOUR_S = 3600


class Hours(msgspec.Struct):
    pops: tuple[str, ...]
    first_hour_s: int
    use: Any
    capacity_bps: Any


def series(use: list[float], zone: str = "", **more: Any) -> Series:
    made = Series(
        level="pop",
        name="x",
        zone=zone,
        first_s=MONDAY,
        use=np.array(use, np.float32),
        capacity_bps=10e9,
        is_judged=False,
    )
    return msgspec.structs.replace(made, **more)


def clock(one: Series) -> Any:
    return local_seconds(one.zone, one.first_s, len(one.use) + 24)


def groups_of(rows: dict[tuple[str, str], list[float]], first_s: int = MONDAY) -> pa.Table:
    made = [
        {
            "level": level,
            "name": name,
            "hour_s": first_s + at * HOUR_S,
            "mean_use": use,
            "mean_bps": use * 40e9,
            "samples": 12,
        }
        for (level, name), uses in rows.items()
        for at, use in enumerate(uses)
        if use == use
    ]
    return pa.Table.from_pylist(made, TABLES["hourly"])


def fleet(pops: int, weeks: int) -> Hours:
    use = np.array([content(weeks, seed=one) for one in range(pops)], np.float32)
    names = tuple(f"pop-{one}" for one in range(pops))
    return Hours(names, MONDAY, use, np.full(pops, 10e9))


def test_all_tables_of_a_small_fleet() -> None:
    hourly = fleet(3, 18)
    use = content(18, seed=9)
    rows = {("fleet", "fleet"): use, ("country", "DE"): use, ("metro", "Bonn"): use}
    found = forecast(hourly, groups_of(rows), ["Europe/Berlin", "", "Asia/Kolkata"], workers=1)
    names = ["fleet", "DE", "pop-0", "pop-1", "pop-2"]
    for name, table in found.items():
        assert table.schema == TABLES[name]
        there = [one for one in names if one != "DE" or name != "backtests"]
        assert list(dict.fromkeys(table["name"].to_pylist())) == there, "metros are left out"
    rows_of = found["forecasts"].to_pylist()
    mine = [row for row in rows_of if row["name"] == "pop-1"]
    assert [row["horizon"] for row in mine] == ["hour"] + ["day"] * 24 + ["quarter"] * 13
    for row in rows_of:
        assert 0.0 <= row["p05_use"] <= row["p50_use"] <= row["p95_use"] < 2.0
        capacity = 10e9 if row["level"] == "pop" else 40e9
        assert row["p95_bps"] == pytest.approx(row["p95_use"] * capacity, rel=1e-5)
    horizons = set(found["backtests"]["horizon"].to_pylist())
    assert horizons == {"hour", "day", "quarter"}


def test_processes_change_nothing() -> None:
    hourly = fleet(4, 6)
    none = groups_of({})
    alone = forecast(hourly, none, [""] * 4, workers=1)
    shared = forecast(hourly, none, [""] * 4, workers=2)
    assert {name: table.to_pylist() for name, table in alone.items()} == {
        name: table.to_pylist() for name, table in shared.items()
    }


def test_a_process_that_dies_costs_time_and_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> Any:
        raise BrokenProcessPool("a worker has died")

    monkeypatch.setattr(ProcessPoolExecutor, "submit", die)
    some = [series(content(4, seed=one), name=f"pop-{one}") for one in range(3)]
    assert outlooks(some, workers=2, chunk=1) == outlooks(some, workers=1)


def test_forecasts_are_admissions_forecaster() -> None:
    one = series(content(20, seed=2))
    rows = forecasts_of(one, clock(one))
    forecaster = Forecaster()
    for at, use in enumerate(one.use.tolist()):
        forecaster.update(MONDAY + at * HOUR_S, at * HOUR_S % 604_800, use)
    at_s = MONDAY + len(one.use) * HOUR_S
    next_hour = forecaster.predict(at_s, 0)
    assert rows[0]["from_s"] == at_s
    assert rows[0]["p95_use"] == next_hour.quantile(0.95)
    assert rows[-1]["p50_use"] == forecaster.predict_week(13).quantile(0.5)
    assert rows[-1]["until_s"] == at_s + 13 * 604_800


def test_half_a_year_is_enough() -> None:
    long = series(content(60, seed=3))
    recent = series(content(60, seed=3)[-26 * WEEK :], first_s=MONDAY + 34 * 604_800)
    assert forecasts_of(long, clock(long)) == forecasts_of(recent, clock(recent))
    whole = series(content(60, seed=3), is_whole=True)
    assert forecasts_of(whole, clock(whole)) != forecasts_of(long, clock(long))


def test_what_is_gone_or_new_has_no_forecast() -> None:
    gone = series([*content(6, seed=4), *([float("nan")] * (29 * 24))])
    assert forecasts_of(gone, clock(gone)) == []
    new = series(content(6, seed=4)[: SEEN_MIN - 1])
    assert forecasts_of(new, clock(new)) == []
    assert seasonality_of(new, clock(new))["trend_per_year"] is None


def test_the_seasons_are_of_local_time() -> None:
    """Berlin's clock changed on 2025-03-30; a shape that changed with it is still all season."""
    zone = "Europe/Berlin"
    at = local_seconds(zone, MONDAY, 20 * WEEK)
    assert at[0] == 3600
    use = [0.3 * shape(second // HOUR_S) for second in at.tolist()]
    local, utc = series(use, zone), series(use)
    in_berlin = seasonality_of(local, clock(local))
    in_utc = seasonality_of(utc, clock(utc))
    assert in_berlin["daily_strength"] > 0.999 > in_utc["daily_strength"]
    assert in_berlin["trend_per_year"] == pytest.approx(0.0, abs=0.01)


def test_growth_and_noise_have_their_strengths() -> None:
    grown = series([0.2 * 1.3 ** (at / 8766) * shape(at) for at in range(78 * WEEK)])
    assert seasonality_of(grown, clock(grown))["trend_per_year"] == pytest.approx(0.3, abs=0.01)
    noise = series(np.random.default_rng(1).uniform(0.2, 0.4, 30 * WEEK).tolist())
    row = seasonality_of(noise, clock(noise))
    assert row["daily_strength"] < 0.05
    assert row["weekly_strength"] < 0.1


def test_backtests_stand_beside_what_costs_nothing() -> None:
    one = series(content(30, seed=5))
    rows = backtests_of(one, clock(one), Plan(quarter=1009))
    models = ["headroom", "seasonal-naive", "naive"]
    assert [(row["horizon"], row["model"]) for row in rows] == [
        (horizon, model) for horizon in ("hour", "day", "quarter") for model in models
    ]
    for own, seasonal, naive in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
        assert seasonal["skill"] == 0.0
        assert seasonal["mae"] == own["naive_mae"] == naive["naive_mae"]
        assert own["skill"] == pytest.approx(1 - own["mae"] / seasonal["mae"])
        assert own["skill"] > 0
        assert seasonal["coverage_90"] is naive["coverage_90"] is None
        assert own["coverage_90"] == pytest.approx(0.9, abs=0.08)


def test_the_sample_is_seeded_and_of_what_was_measured() -> None:
    use = np.full((50, 10), 0.4, np.float32)
    use[7, :6] = np.nan
    first = judged_pops(use, 20)
    assert first == judged_pops(use, 20)
    assert len(first) == 20
    assert 7 not in judged_pops(use, 50)
    assert len(judged_pops(use, 100)) == 49


def test_groups_keep_their_gaps_and_their_capacity() -> None:
    gap = [0.5, float("nan"), 0.6]
    table = groups_of({("jurisdiction", "eea"): gap, ("fleet", "fleet"): [0.1, 0.2, 0.3]})
    fleet_series, eea = group_series(table)
    assert (fleet_series.level, eea.level, eea.name) == ("fleet", "jurisdiction", "eea")
    assert eea.use.tolist() == pytest.approx(gap, nan_ok=True)
    assert eea.capacity_bps == pytest.approx(40e9)
    assert list(group_series(groups_of({}))) == []


def test_nothing_measured_is_an_answer_too() -> None:
    empty = series([float("nan")] * 100, is_judged=True)
    rows = outlooks([empty], workers=1)
    assert rows["forecasts"] == rows["backtests"] == []
    assert rows["seasonality"][0]["daily_strength"] is None
