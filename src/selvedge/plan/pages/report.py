"""The pages of a utilisation report: what each shows, and of which rows.

`Pages` reads a report's tables once and groups them by level and name; a page is a dictionary that
the template fills in. Nothing is computed here that a table does not say, but counts and sorting.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import ceil, sqrt
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from selvedge.fabric import GROUPS
from selvedge.plan.history import MEANINGS
from selvedge.plan.pages.charts import Band, bars, heat_map, histogram, legend, lines, spans
from selvedge.plan.pages.colours import spread, step_of
from selvedge.plan.pages.frequency import Frequency, frequency
from selvedge.plan.pages.maps import Dot, borders_source, country_name, region_map, world_map
from selvedge.plan.pages.words import bits, day, month_name, resource, saved, short_day
from selvedge.plan.utilisation import FLEET, TABLES, Utilisation

Row = dict[str, Any]  # a cell is text, a number or None
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_HOURS: Final = [f"{hour}:00" if hour % 3 == 0 else "" for hour in range(24)]
_DOT_MIN, _DOT_MAX = 1.6, 8.0
_SHOWN: Final = 25
"""PoPs in the table of a jurisdiction's page; the rest is in the table that can be saved."""
_SCORED: Final = 3
"""Jurisdictions whose forecasts are judged on the first page."""
_FINDINGS: Final = 6
"""Of each kind, on the page."""
_LONG: Final = ("hours_of_week", "months", "forecasts", "backtests", "seasonality", "distribution")
"""Tables of which no page shows a PoP or a metro: these rows are not even read."""
_NO_GROUP: Final = dict.fromkeys(TABLES["groups"].names)
_NO_TOGETHER: Final = dict.fromkeys(TABLES["together"].names)
_SAVED: Final = (
    *("pops", "groups", "months", "hours_of_week", "utc_hours", "together", "seasonality"),
    *("forecasts", "backtests", "findings", "reserves", "reserve_choices"),
)
_CHOICES: Final = {
    "largest": "the largest rise seen, but one in 100,000",
    "usual": "the rise that 999 of 1,000 steps stay within",
    "share": "the share that was asked for",
}


class Pages:
    """The report, arranged for reading."""

    def __init__(self, result: Utilisation) -> None:
        self.result = result
        self.pops = result.rows("pops")
        self._rows = {
            name: _grouped(result, name) if name in _LONG else result.rows(name)
            for name in TABLES
            if name not in ("hourly", "pops")
        }
        self._groups = {(row["level"], row["name"]): row for row in self._rows["groups"]}
        self._by: dict[str, dict[tuple[str, str], list[Row]]] = {}
        for name, rows in self._rows.items():
            found = self._by[name] = defaultdict(list)
            for row in rows:
                if "level" in row:
                    found[row["level"], row["name"]].append(row)
        self._bounds = spread([row["headroom_95"] for row in self.pops])
        most = [row["capacity_bps"] for row in self.pops if row["capacity_bps"]]
        self._largest = max(most, default=1.0)

    def of(self, table: str, level: str, name: str) -> list[Row]:
        """A table's rows of one group."""
        return self._by[table].get((level, name), [])

    def whole(self) -> Row:
        """The first page: the fleet."""
        bounds = self._bounds
        dots = [self._dot(row) for row in self.pops if row["lat"] is not None]
        free = [row["headroom_95"] for row in self.pops]
        classes, words = histogram(free)
        return {
            "facts": self.result.facts,
            "from_day": day(self.result.facts.from_s),
            "until_day": day(max(self.result.facts.from_s, self.result.facts.until_s - 1)),
            "fleet": self._groups.get(("fleet", FLEET), _NO_GROUP),
            "together": next(iter(self.of("together", "fleet", FLEET)), None),
            "map": world_map(dots) if dots else None,
            "unplaced": len(self.pops) - len(dots),
            "legend": legend(
                *bounds, "free in 95 of 100 intervals: dark is much; a larger dot can carry more"
            ),
            "bars": bars(classes, words, "percent free in 95 of 100 intervals: how many PoPs"),
            "binding": self._binding(),
            "reserve": self._reserve(),
            "week": self._week("fleet", FLEET),
            "often": self._often("fleet", FLEET),
            "night": self._night(),
            "months": self._months("fleet", FLEET),
            "expected": self._expected("fleet", FLEET),
            "backtests": self._scores(),
            "laws": self._laws(),
            "faults": self._faults(),
            "saved": self._saved(),
            "borders": borders_source(),
        }

    def page(self, law: str) -> Row:
        """One jurisdiction."""
        own = [row for row in self.pops if row["jurisdiction"] == law]
        placed = [row for row in own if row["lat"] is not None]
        lit = {row["country"] for row in own} | (GROUPS["EEA"] if law == "eea" else set())
        dots = [self._dot(row, larger=1.6) for row in placed]
        own.sort(key=lambda row: (-(row["headroom_95"] or 0.0), row["pop"]))
        return {
            "law": law,
            "name": title_of(law),
            "group": self._groups.get(("jurisdiction", law), _NO_GROUP),
            "together": next(iter(self.of("together", "jurisdiction", law)), None),
            "map": region_map(dots, lit, 520, 360) if dots else None,
            "week": self._week("jurisdiction", law, width=520, cell=20),
            "often": self._often("jurisdiction", law),
            "months": self._months("jurisdiction", law, width=520, height=200),
            "expected": self._expected("jurisdiction", law),
            "pops": [{**row, "binding_95": resource(row["binding_95"])} for row in own[:_SHOWN]],
            "more": max(0, len(own) - _SHOWN),
            "faults": self._faults_of({row["pop"] for row in own}),
        }

    def law_names(self) -> list[str]:
        """Jurisdictions, the one with the most PoPs first."""
        return [row["name"] for row in self._laws()]

    def _dot(self, row: Row, larger: float = 1.0) -> Dot:
        share = sqrt((row["capacity_bps"] or 0.0) / self._largest)
        free = row["headroom_95"]
        words = f"{row['pop']}, {row['metro'] or row['country']}: "
        words += "nothing known" if free is None else f"{free:.0%} free in 95 of 100 intervals"
        words += f", {bits(row['capacity_bps'])}"
        radius = (_DOT_MIN + (_DOT_MAX - _DOT_MIN) * share) * larger
        return Dot(row["lon"], row["lat"], radius, step_of(free, *self._bounds), words)

    def _week(self, level: str, name: str, *, width: float = 1060, cell: float = 22) -> Row | None:
        hours: list[float | None] = [None] * 168
        for row in self.of("hours_of_week", level, name):
            hours[row["hour"]] = row["mean_use"]
        if all(value is None for value in hours):
            return None
        bounds = spread(hours)
        days = {day: hours[24 * at : 24 * at + 24] for at, day in enumerate(_DAYS)}
        told = width > 1000.0
        axis = "hour of the day, by each PoP’s own clock"
        drawn = heat_map(days, _HOURS, bounds, width=width, cell=cell, told=told, axis=axis)
        words = "of capacity in use, mean: dark is busy"
        return {"map": drawn, "legend": legend(*bounds, words, has_holes=None in hours)}

    def _often(self, level: str, name: str) -> Frequency | None:
        """How often its PoPs were how busy."""
        rows = sorted(self.of("distribution", level, name), key=lambda row: row["use_percent"])
        return frequency([row["samples"] for row in rows])

    def _night(self) -> Row | None:
        """Follow the night: what is free by UTC hour, a row a jurisdiction."""
        rows: dict[str, list[float | None]] = {}
        for law in [*(row["name"] for row in self._laws()[:24]), None]:
            level, name = ("fleet", FLEET) if law is None else ("jurisdiction", law)
            hours: list[float | None] = [None] * 24
            for row in self.of("utc_hours", level, name):
                hours[row["hour_utc"]] = row["free_share_95"]
            if any(value is not None for value in hours):
                rows["all of them" if law is None else title_of(law, short=True)] = hours
        if not rows:
            return None
        bounds = spread([value for hours in rows.values() for value in hours])
        drawn = heat_map(rows, _HOURS, bounds, cell=17, left=150, axis="hour of the day, UTC")
        holes = any(None in hours for hours in rows.values())
        words = "of capacity free, in 95 of 100 days at that hour: dark is much"
        return {"map": drawn, "legend": legend(*bounds, words, has_holes=holes)}

    def _months(self, level: str, name: str, *, width: float = 1060, height: float = 260) -> Any:
        rows = sorted(self.of("months", level, name), key=lambda row: row["month"])
        if not rows:
            return None
        ticks = [
            (float(at), month_name(row["month"]))
            for at, row in enumerate(rows)
            if at % max(1, ceil(len(rows) * 110 / width)) == 0
        ]
        seen = {
            words: [
                (float(at), row[column]) for at, row in enumerate(rows) if row[column] is not None
            ]
            for words, column in (("billed (p95)", "p95_bps"), ("mean", "mean_bps"))
        }
        known = {words: line for words, line in seen.items() if line}
        return lines(known, ticks, width=width, height=height)

    def _expected(self, level: str, name: str) -> Any:
        """The next day and the next quarter, each with its interval; None where not forecast."""
        found = {}
        for horizon in ("day", "quarter"):
            rows = [
                row
                for row in self.of("forecasts", level, name)
                if row["horizon"] == horizon and row["p50_use"] is not None
            ]
            rows.sort(key=lambda row: row["from_s"])
            if len(rows) > 1:
                found[horizon] = _fan(rows, horizon)
        return found or None

    def _scores(self) -> list[Row]:
        """Of the fleet and the largest jurisdictions: our errors beside those of other ways."""
        laws = [("jurisdiction", name) for name in self.law_names()[:_SCORED]]
        found = []
        for level, name in [("fleet", FLEET), *laws]:
            by_model: dict[str, dict[str, Row]] = defaultdict(dict)
            for row in self.of("backtests", level, name):
                by_model[row["horizon"]][row["model"]] = row
            for models in by_model.values():
                if ours := models.get("headroom"):
                    last = models.get("naive", {}).get("mae")
                    title = "the fleet" if level == "fleet" else title_of(name)
                    found.append({**ours, "title": title, "last_mae": last})
        return found

    def _laws(self) -> list[Row]:
        found = []
        for (level, name), row in self._groups.items():
            if level == "jurisdiction":
                together = next(iter(self.of("together", level, name)), _NO_TOGETHER)
                found.append({**row, "together": together, "title": title_of(name)})
        return sorted(found, key=lambda row: (-row["pops"], row["name"]))

    def _binding(self) -> list[tuple[str, int]]:
        counts: dict[str, int] = defaultdict(int)
        for row in self.pops:
            counts[resource(row["binding_95"])] += 1
        return sorted(counts.items(), key=lambda pair: -pair[1])

    def _reserve(self) -> Row | None:
        """What is kept for surges of content: each choice, the one in force first."""
        rows = self.of("reserve_choices", "fleet", FLEET)
        rows = [row for row in rows if row["p50_headroom_95"] is not None]
        if not rows:
            return None
        rows.sort(key=lambda row: not row["in_force"])
        free: dict[str, tuple[float, float, float]] = {}
        for row in rows:
            for part in (95, 99):
                low, middle, high = (row[f"p{one}_headroom_{part}"] for one in (10, 50, 90))
                free[f"{row['choice']}, in {part} of 100"] = (low, middle, high)
        together = next(iter(self.of("together", "fleet", FLEET)), _NO_TOGETHER)
        told = []
        for row in rows:
            which = "" if row["in_force"] else f"_{row['choice']}"
            once = together[f"simultaneous_bps_95{which}"]
            told.append({**row, "words": _CHOICES.get(row["choice"], ""), "once": once})
        axis = "free, of capacity: from the tenth to the ninetieth of 100 PoPs"
        return {"choices": told, "spans": spans(free, axis)}

    def _faults(self) -> list[Row]:
        by_kind: dict[str, list[Row]] = defaultdict(list)
        for row in self._rows["findings"]:
            by_kind[row["kind"]].append(row)
        counts = sorted(self._rows["finding_counts"], key=lambda row: -row["count"])
        return [
            {**row, "meaning": MEANINGS.get(row["kind"], ""), "first": first[:_FINDINGS]}
            for row in counts
            for first in [sorted(by_kind[row["kind"]], key=lambda one: -one["count"])]
        ]

    def _faults_of(self, pops: set[str]) -> list[tuple[str, int, int]]:
        found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for row in self._rows["findings"]:
            if row["pop"] in pops:
                found[row["kind"]][0] += 1
                found[row["kind"]][1] += row["count"]
        return sorted((kind, *numbers) for kind, numbers in found.items())  # type: ignore[misc]

    def _alone(self) -> set[tuple[str, str]]:
        """Countries that are all there is of a jurisdiction: their rows are the same twice."""
        countries: dict[str, set[str]] = defaultdict(set)
        for row in self.pops:
            countries[row["jurisdiction"]].add(row["country"])
        return {("country", next(iter(some))) for some in countries.values() if len(some) == 1}

    def _saved(self) -> list[Row]:
        tables = []
        alone = self._alone()
        for name in _SAVED:
            rows = self.pops if name == "pops" else self._rows[name]
            if name in _LONG:
                rows = [row for row in rows if (row["level"], row["name"]) not in alone]
            if rows:
                address = saved(TABLES[name].names, rows)
                tables.append({"name": name, "rows": len(rows), "address": address})
        return tables


def _grouped(result: Utilisation, name: str) -> list[Row]:
    """Rows of a table above the levels of PoPs and metros."""
    table = result.tables[name]
    small = pc.is_in(table["level"], value_set=pa.array(["pop", "metro"]))
    found: list[Row] = table.filter(pc.invert(small)).to_pylist()
    return found


def title_of(law: str, *, short: bool = False) -> str:
    """A jurisdiction's name for a heading."""
    if law == "eea":
        return "EEA" if short else "European Economic Area"
    return country_name(law)


def _fan(rows: Sequence[Row], horizon: str) -> Any:
    unit = "use" if rows[0]["p50_bps"] is None else "bps"
    band: list[Band] = [
        (float(row["from_s"]), row[f"p05_{unit}"], row[f"p50_{unit}"], row[f"p95_{unit}"])
        for row in rows
    ]
    every = max(1, len(rows) // 4)
    ticks = [
        (
            float(row["from_s"]),
            short_day(row["from_s"])
            if horizon != "day"
            else _clock(row["from_s"]) + (" UTC" if row is rows[0] else ""),
        )
        for row in rows[::every]
    ]
    return lines({}, ticks, band=band, width=520, height=200, right=20)


def _clock(at_s: int) -> str:
    return f"{at_s // 3600 % 24:02d}:00"
