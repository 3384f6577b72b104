"""Tables of PoPs, and what groups are by mere addition: profiles, nights, distributions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from selvedge.headroom import NIGHT_HOURS, best_window, is_night
from selvedge.plan.history import STEP_S
from selvedge.plan.utilisation.answers import MonthFound
from selvedge.plan.utilisation.headrooms import Headrooms, headrooms, pop_columns, reserve_tables
from selvedge.plan.utilisation.places import Places, metro_names
from selvedge.plan.utilisation.sweeps import BYTES_A_BPS
from selvedge.plan.utilisation.tables import HOURS_OF_WEEK, TABLES
from selvedge.plan.utilisation.tally import Tally, ranked_bins
from selvedge.plan.utilisation.totals import totals, whole
from selvedge.plan.utilisation.zones import HOUR_S, hours_of_week

DAY_HOURS: Final = 24

Span = tuple[int, int]
Table = dict[str, Any]  # a column is an array or a list
Reals = npt.NDArray[np.float64]


class Bills:
    """The months of PoPs, as they come."""

    def __init__(self) -> None:
        self.months: list[tuple[str, dict[str, npt.NDArray[Any]]]] = []

    def add(self, month: str, span: Span, found: MonthFound) -> None:
        """The next month, by UTC."""
        some = np.flatnonzero(found.sums.samples)
        columns = {
            "n": found.sums.samples,
            "peak": found.sums.peak_bytes,
            "bytes": whole(*found.sums.bytes.T),
            "judged": whole(*found.sums.judged.T),
            "carried": found.sums.carried,
            "p50": found.ranks[:, 0],
            "p95": found.ranks[:, 1],
        }
        rows = {name: column[some] for name, column in columns.items()}
        rows["expected"] = np.full(len(some), (span[1] - span[0]) // STEP_S)
        self.months.append((month, {"pop": some, **rows}))

    def add_local(self, month: str, bills: pa.Table, spans: pa.Table) -> None:
        """The next month, by the calendars of the PoPs: see `local_bills`."""
        expected = np.zeros(2**16, np.int64)
        length = spans["until_s"].to_numpy() - spans["from_s"].to_numpy()
        expected[spans["pop"].to_numpy()] = length // STEP_S
        rows = {
            name: whole(*(bills[f"{name}_{word}"].to_numpy() for word in ("high", "low")))
            for name in ("bytes", "judged")
        }
        rows["expected"] = expected[bills["pop"].to_numpy()]
        ranks = bills["ranks"].combine_chunks().flatten().to_numpy().reshape(-1, 2)
        rows |= {name: bills[name].to_numpy() for name in ("pop", "n", "peak", "carried")}
        rows |= {"p50": ranks[:, 0], "p95": ranks[:, 1]}
        order = np.argsort(rows["pop"])
        self.months.append((month, {name: column[order] for name, column in rows.items()}))


def pop_tables(places: Places, tally: Tally, bills: Bills, span: Span) -> dict[str, pa.Table]:
    """`pops`; and `months`, `hours_of_week` and `distribution` with what is known by PoPs; and the
    tables of reserves."""
    known = headrooms(tally)
    pops = _pops(places, tally, span, known)
    return {
        **reserve_tables(places, known),
        "pops": pa.table(pops, schema=TABLES["pops"]),
        "months": _months(places, bills),
        "hours_of_week": _hours_of_week(places, tally),
        "distribution": _distribution(places, tally),
    }


def share_of(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> Reals:
    """A quotient, nan where the whole is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.asarray(part, np.float64) / np.asarray(whole, np.float64)
    return np.where(np.asarray(whole) > 0, found, np.nan)


def nullable(values: Sequence[Any] | npt.NDArray[Any], kind: pa.DataType | None = None) -> pa.Array:
    """A column in which nan is null."""
    return pa.array(np.asarray(values), type=kind, from_pandas=True)


def _pops(places: Places, tally: Tally, span: Span, free: Headrooms) -> Table:
    sites, metros = places.sites, metro_names(places.sites)
    text = {
        "pop": list(places.names),
        "metro": metros,
        "country": [site.country if site else "" for site in sites],
        "jurisdiction": [site.law if site else "" for site in sites],
        "timezone": [site.timezone if site else "" for site in sites],
        "lat": [site.lat if site else None for site in sites],
        "lon": [site.lon if site else None for site in sites],
        "population": [site.population if site else None for site in sites],
        "gpus": [site.gpus if site else 0 for site in sites],
        "gpu": [site.gpu if site else "" for site in sites],
    }
    known = np.array([site is not None for site in sites])
    columns: Table = text | _loads(tally, span) | _windows(tally) | pop_columns(free)
    return {
        name: pa.array(columns[name], field.type, from_pandas=True).filter(pa.array(known))
        for name, field in ((field.name, field) for field in TABLES["pops"])
    }


def _loads(tally: Tally, span: Span) -> Table:
    measured = tally.samples > 0
    uses = tally.use_counts()
    found: Table = {
        "samples": tally.samples,
        "expected": np.full(len(measured), (span[1] - span[0]) // STEP_S),
        "mean_bps": share_of(tally.bytes / BYTES_A_BPS, tally.samples),
        "peak_bps": np.where(measured, tally.peak_bytes / BYTES_A_BPS, np.nan),
        "capacity_bps": tally.capacity,
        "mean_use": share_of(tally.judged / BYTES_A_BPS, tally.carried),
        "peak_use": tally.peak_use,
    }
    for percent in (50, 95):
        found[f"p{percent}_use"] = ranked_bins(uses, percent) / 1000
        found[f"p{percent}_bps"] = np.full(len(measured), np.nan)
    for pop, values, counts in tally.rates():
        for percent in (50, 95):
            found[f"p{percent}_bps"][pop] = _ranked(values, counts, percent)
    return found


def _ranked(values: Reals, counts: npt.NDArray[Any], percent: int) -> float:
    """An order statistic of sorted values that are there so many times."""
    total = int(counts.sum())
    rank = total - total * (100 - percent) // 100
    return float(values[np.searchsorted(np.cumsum(counts), rank)]) if total else float("nan")


def _windows(tally: Tally) -> Table:
    """Night use, and the best window of each PoP."""
    n, sent, carried = (tally.profile[name] for name in ("n", "bytes", "carried"))
    night = np.array([is_night(hour) for hour in range(HOURS_OF_WEEK)])
    days = (len(n), HOURS_OF_WEEK // DAY_HOURS, DAY_HOURS)
    sums = (totals(one.reshape(days), 1) for one in (sent, carried))
    use = share_of(next(sums) / BYTES_A_BPS, next(sums))
    starts, uses = np.full(len(n), np.nan), np.full(len(n), np.nan)
    for pop, profile in enumerate(use.tolist()):
        hours = [None if hour != hour else hour for hour in profile]
        if (window := best_window(hours, NIGHT_HOURS)) is not None:
            starts[pop], uses[pop] = window.start, window.use
    return {
        "night_use": share_of(
            totals(sent[:, night], 1) / BYTES_A_BPS, totals(carried[:, night], 1)
        ),
        "night_samples": n[:, night].sum(axis=1),
        "best_start": starts,
        "best_use": uses,
    }


def _months(places: Places, bills: Bills) -> pa.Table:
    known = np.zeros(len(places.names), bool)
    known[places.known] = True
    parts = []
    for month, rows in bills.months:
        some = known[rows["pop"]]
        rows = {name: column[some] for name, column in rows.items()}
        columns = {
            "level": ["pop"] * len(rows["pop"]),
            "name": [places.names[pop] for pop in rows["pop"]],
            "month": [month] * len(rows["pop"]),
            "samples": rows["n"],
            "expected": rows["expected"],
            "mean_bps": share_of(rows["bytes"] / BYTES_A_BPS, rows["n"]),
            "p50_bps": rows["p50"] / BYTES_A_BPS,
            "p95_bps": rows["p95"] / BYTES_A_BPS,
            "peak_bps": rows["peak"] / BYTES_A_BPS,
            "mean_use": nullable(share_of(rows["judged"] / BYTES_A_BPS, rows["carried"])),
        }
        parts.append(pa.table(columns, schema=TABLES["months"]))
    return pa.concat_tables([TABLES["months"].empty_table(), *parts])


def _members(places: Places) -> Iterator[tuple[str, str, list[int]]]:
    """Every level, name and PoPs: metros of one PoP too."""
    known = places.known
    for pop in known:
        yield "pop", places.names[pop], [pop]
    metros: dict[str, list[int]] = {}
    for pop, metro in enumerate(metro_names(places.sites)):
        if metro:
            metros.setdefault(metro, []).append(pop)
    for metro, pops in sorted(metros.items()):
        yield "metro", metro, pops
    for group in places.groups:
        if group.level != "metro":
            yield group.level, group.name, list(group.pops)


def _hours_of_week(places: Places, tally: Tally) -> pa.Table:
    groups = list(_members(places))
    n, sent, carried = (
        np.stack([totals(tally.profile[name][pops], 0) for _, _, pops in groups]).ravel()
        for name in ("n", "bytes", "carried")
    )
    p95 = np.full((len(groups), HOURS_OF_WEEK), np.nan)
    pop_p95 = _weekly_p95(places, tally)
    for row, (level, _, pops) in enumerate(groups):
        if level == "pop":
            p95[row] = pop_p95[pops[0]]
    columns = {
        **_repeated(groups, HOURS_OF_WEEK),
        "hour": np.tile(np.arange(HOURS_OF_WEEK, dtype=np.int32), len(groups)),
        "mean_use": nullable(share_of(sent / BYTES_A_BPS, carried)),
        "p95_use": nullable(p95.ravel()),
        "samples": n,
    }
    return pa.table(columns, schema=TABLES["hours_of_week"]).filter(pa.array(n > 0))


def _repeated(groups: Sequence[tuple[str, str, list[int]]], times: int) -> dict[str, pa.Array]:
    """The columns `level` and `name`, so many times each."""
    place = pa.array(np.repeat(np.arange(len(groups)), times))
    columns = {"level": [level for level, _, _ in groups], "name": [name for _, name, _ in groups]}
    return {name: pa.array(column, pa.string()).take(place) for name, column in columns.items()}


def _weekly_p95(places: Places, tally: Tally) -> Reals:
    """Of each PoP and local hour of the week the 95th percentile of its hours' means."""
    found = np.full((len(places.names), HOURS_OF_WEEK), np.nan)
    at = tally.first_hour_s + HOUR_S * np.arange(tally.use.shape[1], dtype=np.int64)
    zones = places.zone_numbers()
    for number, zone in enumerate(places.zones):
        pops = np.flatnonzero(zones == number)
        local = hours_of_week(zone, at)
        for hour in range(HOURS_OF_WEEK):
            uses = np.sort(tally.use[np.ix_(pops, np.flatnonzero(local == hour))], axis=1)
            seen = (~np.isnan(uses)).sum(axis=1)
            some = seen > 0
            rank = seen[some] - seen[some] // 20 - 1
            found[pops[some], hour] = uses[some, rank]
    return found


def _distribution(places: Places, tally: Tally) -> pa.Table:
    """Samples by whole percent of use."""
    uses = tally.use_counts()
    edges = np.minimum((np.arange(uses.shape[1]) + 9) // 10, 100)
    percents = np.zeros((len(uses), 101), np.int64)
    for percent in range(101):
        percents[:, percent] = uses[:, edges == percent].sum(axis=1)
    groups = [group for group in _members(places) if group[0] not in ("pop", "metro")]
    counts = np.stack([percents[pops].sum(axis=0) for _, _, pops in groups]).ravel()
    columns = {
        **_repeated(groups, 101),
        "use_percent": np.tile(np.arange(101, dtype=np.int32), len(groups)),
        "samples": counts,
    }
    return pa.table(columns, schema=TABLES["distribution"])


def night_uses(places: Places, tally: Tally) -> dict[tuple[str, str], float | None]:
    """Use in the night window of each level and name: of each PoP by its own local hours."""
    night = np.array([is_night(hour) for hour in range(HOURS_OF_WEEK)])
    sent, carried = (totals(tally.profile[name][:, night], 1) for name in ("bytes", "carried"))
    found: dict[tuple[str, str], float | None] = {}
    for level, name, pops in _members(places):
        # Python's integers: a large fleet's nights are more than 2^63 bytes.
        whole = sum(carried[pops].tolist())
        found[level, name] = sum(sent[pops].tolist()) / BYTES_A_BPS / whole if whole else None
    return found
