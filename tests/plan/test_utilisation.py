"""The report against its definitions, slowly: every table, on damaged data, zones and all."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.plan.history import STEP_S, BadPlan
from selvedge.plan.utilisation import TABLES, Asked, Utilisation, report
from selvedge.plan.utilisation.quality import find_faults
from selvedge.plan.utilisation.tally import ranked_bins
from selvedge.plan.utilisation.zones import hours_of_week, month_span, spans_of
from tests.plan import slow_report as slow
from tests.plan.made_histories import NAMES, SITES, STRANGER, Row, damage, draw, store

MONTHS = ("2026-03", "2026-04")
SPAN = (month_span(MONTHS[0])[0], month_span(MONTHS[1])[1])
MOMENTS = range(*SPAN, STEP_S)
PLAIN = Asked(faults=False, outlook=False, threads=2, memory_gib=0.5)


class Case:
    """A damaged history, its report, and the rows for the slow way."""

    def __init__(self, folder: Path, billing: Any = "out", months: Any = MONTHS) -> None:
        self.rows = damage(draw(months, every=8 if len(months) > 1 else 24))
        self.history = store(folder, self.rows)
        self.billing = billing
        self.found = report(self.history, SITES, self.asked)
        self.pops = {
            site.pop: slow.Pop(site, [row for row in self.rows if row.pop == number], billing)
            for number, site in enumerate(SITES, start=1)
        }

    @property
    def asked(self) -> Asked:
        """Without what others test."""
        return Asked(billing=self.billing, faults=False, outlook=False, threads=2, memory_gib=0.5)

    def groups(self) -> dict[tuple[str, str], list[slow.Pop]]:
        """Every group, by level and name."""
        found: dict[tuple[str, str], list[slow.Pop]] = {}
        for site in SITES:
            metro = site.metro if site.metro != "Paris" else f"Paris, {site.country}"
            names = {"country": site.country, "jurisdiction": site.law, "fleet": "fleet"}
            names |= {"metro": metro} if metro else {}
            for level, name in names.items():
                found.setdefault((level, name), []).append(self.pops[site.pop])
        return found


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("history"))


def same(said: Mapping[str, Any], true: Mapping[str, Any]) -> None:
    """Counts exactly, quotients to 1e-9 (a billionth is what uses of groups are ranked in)."""
    for name, value in true.items():
        if isinstance(value, float):
            assert said[name] == pytest.approx(value, rel=1e-9, abs=2e-9), name
        else:
            assert said[name] == value, name


def test_pops(case: Case) -> None:
    rows = {row["pop"]: row for row in case.found.rows("pops")}
    assert list(rows) == [site.pop for site in SITES]
    for name, pop in case.pops.items():
        same(rows[name], slow.pop_row(pop, MOMENTS))
    assert rows["silent"]["mean_use"] is None
    assert rows["nowhere"]["night_use"] is None
    assert rows["ber1"]["jurisdiction"] == "eea"


def test_reserves(case: Case) -> None:
    rows = {(row["pop"], row["choice"]): row for row in case.found.rows("reserves")}
    pops = {row["pop"]: row for row in case.found.rows("pops")}
    assert len(rows) == 2 * len(SITES)
    for name, pop in case.pops.items():
        for choice in ("largest", "usual") if pop.sent else ():
            true = slow.reserve_row(pop, MOMENTS, pops[name][f"reserve_{choice}"])
            same(rows[name, choice], {**true, "in_force": choice == "usual"})


def test_groups(case: Case) -> None:
    rows = {(row["level"], row["name"]): row for row in case.found.rows("groups")}
    groups = {key: pops for key, pops in case.groups().items() if any(pop.sent for pop in pops)}
    assert set(rows) == set(groups)
    for key, pops in groups.items():
        if key[0] == "metro" and len(pops) == 1:
            row = slow.pop_row(pops[0], MOMENTS)
            same(rows[key], {name: row[name] for name in row if name in TABLES["groups"].names})
        else:
            same(rows[key], slow.group_row(pops, MOMENTS))


def test_months(case: Case) -> None:
    rows = {(row["level"], row["name"], row["month"]): row for row in case.found.rows("months")}
    for month in MONTHS:
        for name, pop in case.pops.items():
            true = slow.month_row(pop, month_span(month))
            if true is None:
                assert ("pop", name, month) not in rows
            else:
                same(rows["pop", name, month], true)
        span = month_span(month)
        slots = slow.slots_of(list(case.pops.values()))
        sent = [one for at, (one, _) in slots.items() if span[0] <= at < span[1]]
        fleet = rows["fleet", "fleet", month]
        assert fleet["p95_bps"] == pytest.approx(slow.ranked(sent, 95) * 8 / STEP_S)
        assert fleet["mean_bps"] == pytest.approx(sum(sent) * 8 / STEP_S / len(sent))
        metro = {name: rows["metro", "Delhi", month][name] for name in ("p95_bps", "samples")}
        same(rows["pop", "del", month], metro)


def test_hours_of_week(case: Case) -> None:
    rows = {
        (row["level"], row["name"], row["hour"]): row for row in case.found.rows("hours_of_week")
    }
    expected = set()
    for (level, name), pops in (
        case.groups() | {("pop", n): [p] for n, p in case.pops.items()}
    ).items():
        for hour, true in slow.week_rows(pops).items():
            expected.add((level, name, hour))
            if level != "pop":
                true = true | {"p95_use": None}
            said = rows[level, name, hour]
            assert said["samples"] == true["samples"]
            assert said["mean_use"] == pytest.approx(true["mean_use"])
            assert said["p95_use"] == (true["p95_use"] and pytest.approx(true["p95_use"], rel=1e-6))
    assert set(rows) == expected


def test_hourly_and_distribution(case: Case) -> None:
    slots = slow.slots_of(list(case.pops.values()))
    by_hour: dict[int, list[int]] = {}
    for at in slots:
        by_hour.setdefault(at - at % 3_600, []).append(at)
    rows = {row["hour_s"]: row for row in case.found.rows("hourly") if row["level"] == "fleet"}
    assert set(rows) == set(by_hour)
    for hour, moments in by_hour.items():
        sent = sum(slots[at][0] for at in moments)
        assert rows[hour]["mean_bps"] == pytest.approx(sent * 8 / STEP_S / len(moments))
    percents: dict[int, int] = {}
    for pop in case.pops.values():
        for at in pop.judged:
            use = slow.thousandths(pop.sent[at] * 8, pop.capacity[at] * STEP_S)
            percent = min(100, (use + 9) // 10)
            percents[percent] = percents.get(percent, 0) + 1
    said = {
        row["use_percent"]: row["samples"]
        for row in case.found.rows("distribution")
        if row["level"] == "fleet" and row["samples"]
    }
    assert said == percents


def test_what_is_free_together(case: Case) -> None:
    rows = {row["name"]: row for row in case.found.rows("together")}
    pops = {row["pop"]: row for row in case.found.rows("pops")}
    for law, names in (("in", ["del"]), ("au", ["adl"])):
        free = []
        for pop in (case.pops[name] for name in names):
            hours: dict[int, list[int]] = {}
            for at in pop.judged:
                hours.setdefault(at - at % 3_600, []).append(at)
            kept = pops[pop.site.pop]["surge_reserve"]
            for some in hours.values():
                use = pop.use(some)
                assert use is not None
                free.append(max(0.0, max(pop.capacity[at] for at in some) * (1 - kept - use)))
        said = rows[law]
        assert said["simultaneous_bps_95"] == pytest.approx(sorted(free)[len(free) // 20], rel=1e-5)
        assert said["own_sum_bps_95"] == pytest.approx(said["simultaneous_bps_95"])


def test_what_is_left_out(case: Case) -> None:
    excluded = case.found.facts.excluded
    grid = [row for row in case.rows if row.at_s % STEP_S == 0]
    known = [row for row in grid if NAMES[row.pop] != STRANGER]
    moments = {(row.pop, row.at_s) for row in known}
    assert excluded["unknown_pop"] == len(grid) - len(known)
    assert excluded["twice"] == len(known) - len(moments)
    over = sum(
        1
        for pop in case.pops.values()
        for row in pop.rows
        if row.out is not None and row.at_s not in pop.sent
    )
    assert excluded["over_capacity"] == over > 0
    assert case.found.facts.samples == sum(len(pop.sent) for pop in case.pops.values())


@pytest.mark.parametrize("billing", ["in", "max", "sum"])
def test_other_billings(tmp_path: Path, billing: str) -> None:
    other = Case(tmp_path, billing, MONTHS[:1])
    rows = {(row["name"], row["month"]): row for row in other.found.rows("months")}
    for name, pop in other.pops.items():
        if true := slow.month_row(pop, month_span(MONTHS[0])):
            same(rows[name, MONTHS[0]], true)


def test_bills_by_the_calendar_of_the_place(case: Case) -> None:
    asked = Asked(billing_month="local", faults=False, outlook=False)
    found = report(case.history, SITES, asked)
    rows = {(row["name"], row["month"]): row for row in found.rows("months")}
    for name, pop in case.pops.items():
        for month in MONTHS:
            begin, end = month_span(month, pop.site.timezone or "UTC")
            if true := slow.month_row(pop, (max(begin, SPAN[0]), min(end, SPAN[1]))):
                same(rows[name, month], true)
    assert (
        rows["nyc", "2026-03"]
        != {(row["name"], row["month"]): row for row in case.found.rows("months")}["nyc", "2026-03"]
    )


def test_a_part_that_cannot_be_read_is_named_and_the_rest_is_answered(tmp_path: Path) -> None:
    rows = draw(MONTHS[:1], every=24)
    history = store(tmp_path, rows)
    whole = report(history, SITES, PLAIN)
    first, second = history.parts(MONTHS[0])
    second.write_bytes(second.read_bytes()[: second.stat().st_size // 2])
    found = report(history, SITES, PLAIN)
    (finding,) = found.rows("findings")
    assert (finding["kind"], second.name in finding["source"]) == ("unreadable", True)
    said, true = ({row["pop"]: row for row in one.rows("pops")} for one in (found, whole))
    for number, site in enumerate(SITES, start=1):
        if number % 2 == 0:
            assert said[site.pop] == true[site.pop]
        else:
            assert said[site.pop]["samples"] == 0
    first.write_bytes(b"PAR1")
    with pytest.raises(BadPlan, match="not one part"):
        report(history, SITES, PLAIN)


def damage_a_page(path: Path) -> int:
    """Write a part anew in four row groups, the third of them damaged; its rows."""
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table, path, row_group_size=table.num_rows // 4 + 1)
    about = pq.read_metadata(path).row_group(2).column(2)
    data = bytearray(path.read_bytes())
    begin = about.dictionary_page_offset or about.data_page_offset
    data[begin : begin + about.total_compressed_size] = b"\xff" * about.total_compressed_size
    path.write_bytes(data)
    return int(table.num_rows)


def test_a_damaged_page_costs_its_row_group_alone(tmp_path: Path) -> None:
    history = store(tmp_path, draw(MONTHS[:1], every=24), parts=1)
    rows = damage_a_page(history.parts(MONTHS[0])[0])
    found = report(history, SITES, PLAIN)
    (finding,) = found.rows("findings")
    assert "row group 2" in finding["source"]
    assert 0 < found.facts.samples < rows


def test_a_damaged_page_is_told_alike_by_the_report_and_its_search(tmp_path: Path) -> None:
    history = store(tmp_path, draw(MONTHS[:1], every=24), parts=1)
    damage_a_page(history.parts(MONTHS[0])[0])
    (by_report,) = report(history, SITES, PLAIN).rows("findings")
    searched = msgspec.structs.replace(PLAIN, faults=True)
    found = report(history, SITES, searched).rows("findings")
    (by_search,) = [row for row in found if row["kind"] == "unreadable"]
    for one in (by_report, by_search):
        # What the reader complains of is not the same each time.
        assert re.fullmatch(r"it cannot be read: .+; left out", one.pop("detail"))
    assert by_report == by_search


def test_a_folder_that_is_no_month_is_named(tmp_path: Path) -> None:
    history = store(tmp_path, draw(MONTHS[:1], every=24), parts=1)
    part = history.parts(MONTHS[0])[0]
    (odd := part.parents[1] / "month=January").mkdir()
    shutil.copy(part, odd / "a.parquet")
    with pytest.raises(BadPlan, match=r"month=January is no month; .*take it out"):
        report(history, SITES, PLAIN)
    with pytest.raises(BadPlan, match="month=January is no month"):
        find_faults(history, SITES)


def test_a_time_that_is_asked_for(tmp_path: Path) -> None:
    rows = draw(MONTHS[:1], every=6)
    begin = SPAN[0] + 5 * 86_400
    span = (begin, begin + 7 * 86_400)
    asked = Asked(from_s=span[0], until_s=span[1], faults=False, outlook=False)
    history = store(tmp_path, rows)
    found = report(history, SITES, asked)
    pop = slow.Pop(
        SITES[0], [row for row in rows if row.pop == 1 and span[0] <= row.at_s < span[1]], "out"
    )
    same(found.rows("pops")[0], slow.pop_row(pop, range(*span, STEP_S)))
    assert (found.facts.from_s, found.facts.until_s) == span
    with pytest.raises(BadPlan, match="holds no sample of the time"):
        report(history, SITES, Asked(from_s=2 * 10**9, until_s=2 * 10**9 + 1))
    with pytest.raises(BadPlan, match="not one PoP of the history"):
        report(history, [msgspec.structs.replace(SITES[0], pop="other")], PLAIN)


def test_the_same_again_to_the_byte(case: Case, tmp_path: Path) -> None:
    case.found.save(tmp_path / "a")
    again = report(case.history, SITES, case.asked)
    again.save(tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
    assert again.to_json() == case.found.to_json()
    loaded = Utilisation.load(tmp_path / "a")
    assert loaded.facts == case.found.facts
    assert loaded.tables == case.found.tables


@pytest.mark.parametrize(
    ("month", "samples", "rank"),
    [
        ("2026-02", 8_064, 7_661),
        ("2024-02", 8_352, 7_935),
        ("2026-04", 8_640, 8_208),
        ("2026-05", 8_928, 8_482),
    ],
)
def test_the_bill_of_a_whole_month(tmp_path: Path, month: str, samples: int, rank: int) -> None:
    begin, end = month_span(month)
    values = np.random.default_rng(7).permutation((end - begin) // STEP_S) + 1
    rows = [
        Row(1, at, int(value) * 300, 0, 10**10, None, None, None, None)
        for at, value in zip(range(begin, end, STEP_S), values, strict=True)
    ]
    found = report(store(tmp_path, rows), SITES, PLAIN)
    row = found.rows("months")[0]
    assert (row["samples"], row["p95_bps"]) == (samples, rank * 8)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=400), st.sampled_from([50, 95, 99]))
def test_order_statistics_of_counts(values: list[int], percent: int) -> None:
    counts = np.bincount(values, minlength=61)[None, :]
    assert ranked_bins(counts, percent)[0] == slow.ranked(values, percent)


@pytest.mark.parametrize(
    "zone",
    ["Europe/Berlin", "Asia/Kolkata", "Australia/Adelaide", "Australia/Lord_Howe", "UTC"],
)
def test_local_hours_are_those_of_the_zone(zone: str) -> None:
    begin, end = month_span("2026-03")[0], month_span("2026-04")[1]
    at = np.arange(begin, end, 900, dtype=np.int64)
    site = SITES[0].__class__(pop="x", country="DE", timezone=zone)
    pop = slow.Pop(site, [], "out")
    assert hours_of_week(zone, at).tolist() == [pop.local_hour(one) for one in at.tolist()]
    assert len(spans_of(zone, begin, end)[0]) == (1 if zone in ("UTC", "Asia/Kolkata") else 2)


def test_spans_of_months() -> None:
    begin, end = month_span("2026-03", "Europe/Berlin")
    assert (begin, end - begin) == (month_span("2026-03")[0] - 3_600, 31 * 86_400 - 3_600)
