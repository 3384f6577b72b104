"""Forecasts of headroom, judged: beside last week's same hour, on made and on public data.

    make bench-plan ARGS="--only forecast"            120 PoPs, 18 months
    make bench-plan ARGS="--only forecast --full"     and the outlook of 4,100 PoPs, timed

The history is made (`selvedge plan synth`, with its planted faults) under `bench/out`, and brought
to hours: samples beyond their capacity are left out, nothing is mended. Every PoP and the fleet are
played at rolling origins; then the public request rates of ServeGen's clients, 14 days in windows
of ten minutes, the only real series at hand. It is too short for a quarter. Nothing of all this was
seen by the forecaster before it was asked about it; its few constants were chosen on seed 1 of the
made histories, so that figures are of another seed.
"""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from time import perf_counter, process_time
from types import SimpleNamespace
from typing import Any, Final

from bench.figures import OUT, Figures, bar, print_table
from selvedge import headroom
from selvedge.adapters import DataMissing, find_data
from selvedge.headroom import HORIZONS, Forecaster, Plan, Score, backtest

POPS: Final = 120
MONTHS: Final = 18
SEED: Final = 2
FULL_POPS: Final = 4_100
WORKERS: Final = 2
PUBLIC: Final = "servegen/m-large-total-rate.csv"
PUBLIC_STEP_S: Final = 600
_WEEK_S: Final = 604_800
Matrix = Any  # an array of NumPy, which only the plan extra has


def measure(full: bool = False) -> Figures:
    """All figures; `full` times the outlook of a whole fleet too."""
    hours, first_s, zones = made_hours(OUT / "plan-forecast")
    figures: Figures = {"forecast_pops": len(zones), "forecast_is_compiled": is_compiled()}
    figures |= made_figures(hours, first_s, zones)
    figures |= public_figures()
    figures |= cost_figures(hours)
    if full:
        figures |= outlook_figures(hours, first_s, zones)
    return figures


def is_compiled() -> bool:
    """Whether the forecaster is an extension module."""
    return not (headroom.forecaster.__file__ or "").endswith(".py")


def made_hours(folder: Path) -> tuple[Matrix, int, list[str]]:
    """A made history as shares of the last capacity by PoP and hour, its first hour, the zones."""
    import numpy as np  # noqa: PLC0415 (the plan extra)
    import pyarrow.parquet as pq  # noqa: PLC0415

    from selvedge.plan.history import STEP_S, read_sites  # noqa: PLC0415
    from selvedge.plan.synth import Asked, make_history  # noqa: PLC0415

    asked = Asked(pops=POPS, months=MONTHS, seed=SEED)
    if Asked.read(folder) != asked:
        shutil.rmtree(folder, ignore_errors=True)
    history = make_history(folder, asked, WORKERS)
    pops = history.read_manifest().pops
    parts = [
        pq.read_table(path, columns=["pop", "at_s", "out_bytes", "capacity_bps"])
        for month in history.months()
        for path in history.parts(month)
    ]
    first = min(int(part["at_s"].to_numpy().min()) for part in parts) // 3600
    last = max(int(part["at_s"].to_numpy().max()) for part in parts) // 3600
    count = last - first + 1
    sums, counts = np.zeros(len(pops) * count), np.zeros(len(pops) * count)
    capacity = np.zeros(len(pops))
    for part in parts:
        carried = part["capacity_bps"].to_numpy().astype(float)
        rate = part["out_bytes"].to_numpy().astype(float) * 8 / STEP_S
        fits = rate <= carried
        pop = part["pop"].to_numpy().astype(np.int64)
        place = (pop * count + part["at_s"].to_numpy() // 3600 - first)[fits]
        sums += np.bincount(place, rate[fits], len(sums))
        counts += np.bincount(place, minlength=len(sums))
        capacity[pop] = carried
    with np.errstate(invalid="ignore"):
        use = (sums / counts).reshape(len(pops), count) / capacity[:, None]
    known = {site.pop: site.timezone for site in read_sites(folder / "fleet.csv")[0]}
    return use.astype(np.float32), int(first) * 3600, [known.get(pop, "") for pop in pops]


def made_figures(hours: Matrix, first_s: int, zones: Sequence[str]) -> Figures:
    """Of every PoP, and of the fleet's mean."""
    import numpy as np  # noqa: PLC0415 (the plan extra)

    from selvedge.plan.utilisation.outlook import local_seconds  # noqa: PLC0415

    clocks = {zone: local_seconds(zone, first_s, hours.shape[1]).tolist() for zone in set(zones)}
    scores = [backtest(row.tolist(), clocks[zone]) for row, zone in zip(hours, zones, strict=True)]
    fleet = np.nanmean(hours, axis=0).tolist()
    clock = clocks.get("") or local_seconds("", first_s, len(fleet)).tolist()
    figures: Figures = {}
    for place, horizon in enumerate(HORIZONS):
        figures |= pooled(horizon, [some[place] for some in scores])
    for score in backtest(fleet, clock):
        figures |= alone(f"forecast_fleet_{{}}_{score.horizon}", score)
    return figures


def pooled(horizon: str, scores: Sequence[Score]) -> Figures:
    """One horizon of many series: by the sums of their errors, and the median series."""
    judged = [one for one in scores if one.points and one.skill is not None]
    own = sum(one.mae or 0.0 for one in judged)
    others = sum(one.seasonal_mae or 0.0 for one in judged)
    skills = sorted(one.skill or 0.0 for one in judged)
    return {
        f"forecast_skill_{horizon}": round(1 - own / others, 3),
        f"forecast_skill_{horizon}_median": round(median(skills), 3),
        f"forecast_skill_{horizon}_worst_tenth": round(skills[len(skills) // 10], 3),
        f"forecast_beaten_{horizon}": sum(skill <= 0 for skill in skills),
        f"forecast_naive_skill_{horizon}": round(median(one.naive_skill or 0 for one in judged), 3),
        f"forecast_mase_{horizon}": round(median(one.mase or 0.0 for one in judged), 3),
        f"forecast_coverage_{horizon}": round(mean(one.coverage_90 or 0.0 for one in judged), 3),
        f"forecast_pinball_{horizon}": round(mean(one.pinball or 0.0 for one in judged), 6),
    }


def alone(name: str, score: Score) -> Figures:
    """One horizon of one series."""
    found = {
        "skill": score.skill,
        "naive_skill": score.naive_skill,
        "mase": score.mase,
        "coverage": score.coverage_90,
    }
    return {name.format(key): round(value, 3) for key, value in found.items() if value is not None}


def public_figures() -> Figures:
    """ServeGen's total rate, by hours and in its own windows; none where it is not at hand."""
    try:
        path = find_data() / PUBLIC
        rows = list(csv.DictReader(path.read_text("utf-8").splitlines()))
    except (DataMissing, OSError) as error:
        print(f"the public series is left out: {error}")
        return {}
    rates = [float(row["total_rate_rps"]) for row in rows]
    windows = [rate if rate > 0.0 else None for rate in rates]  # 0: a hole in the collection
    hours = [mean_of(windows[one : one + 6]) for one in range(0, len(windows) // 6 * 6, 6)]
    figures: Figures = {}
    for name, uses, step_s in (("", hours, 3600), ("_10min", windows, PUBLIC_STEP_S)):
        local_s = [one * step_s % _WEEK_S for one in range(len(uses))]
        for score in backtest(uses, local_s, step_s, Plan(skip=168, hour=1, day=5)):
            if score.points:
                figures |= alone(f"forecast_servegen{name}_{{}}_{score.horizon}", score)
    return figures


def mean_of(windows: Sequence[float | None]) -> float | None:
    """An hour's mean, where half of it was measured."""
    there = [one for one in windows if one is not None]
    return mean(there) if 2 * len(there) >= len(windows) else None


def cost_figures(hours: Matrix) -> Figures:
    """Microseconds of one observation and of one prediction, the median of five runs."""
    uses = hours[0].tolist()[:5000]
    updates, predictions = [], []
    for _ in range(5):
        forecaster = Forecaster()
        began = process_time()
        for at, use in enumerate(uses):
            forecaster.update(at * 3600, at * 3600 % _WEEK_S, use)
        updates.append((process_time() - began) / len(uses))
        began = process_time()
        for at in range(len(uses), len(uses) + 2000):
            forecaster.predict(at * 3600, at * 3600 % _WEEK_S)
        predictions.append((process_time() - began) / 2000)
    return {
        "forecast_update_us": round(median(updates) * 1e6, 2),
        "forecast_predict_us": round(median(predictions) * 1e6, 2),
    }


def outlook_figures(hours: Matrix, first_s: int, zones: Sequence[str]) -> Figures:
    """The report's whole step: seasons, forecasts and backtests of 4,100 PoPs."""
    import numpy as np  # noqa: PLC0415 (the plan extra)

    from selvedge.plan.utilisation import TABLES  # noqa: PLC0415
    from selvedge.plan.utilisation.forecasting import forecast  # noqa: PLC0415

    places = [one % len(zones) for one in range(FULL_POPS)]
    hourly = SimpleNamespace(
        pops=[f"pop-{one}" for one in range(FULL_POPS)],
        first_hour_s=first_s,
        use=hours[places],
        capacity_bps=np.full(FULL_POPS, 1e11),
    )
    began, used = perf_counter(), sum(os.times()[:4])
    none = TABLES["hourly"].empty_table()
    tables = forecast(hourly, none, [zones[one] for one in places], WORKERS)
    figures: Figures = {"forecast_outlook_s": round(perf_counter() - began, 1)}
    figures["forecast_outlook_cpu_s"] = round(sum(os.times()[:4]) - used, 1)
    figures["forecast_outlook_pops"] = FULL_POPS
    figures["forecast_outlook_rows"] = sum(table.num_rows for table in tables.values())
    return figures


def show(figures: Figures) -> None:
    """Print them; what must hold has a sign."""
    rows = []
    for name, value in figures.items():
        words = ""
        if name in {f"forecast_skill_{horizon}" for horizon in HORIZONS}:
            words = bar(float(value) > 0, "better than last week")
        elif name in {f"forecast_coverage_{horizon}" for horizon in HORIZONS}:
            words = bar(abs(float(value) - 0.9) <= 0.03, "0.90 ± 0.03")
        elif name == "forecast_outlook_s":
            words = bar(float(value) <= 30, "≤ 30 s")
        rows.append((name, str(value), words))
    print_table("forecast", rows)


if __name__ == "__main__":
    show(measure())
