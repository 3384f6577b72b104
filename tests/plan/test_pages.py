"""The report as a page: whole in itself, well-formed, honest about what was not measured."""

from __future__ import annotations

import base64
import csv
import fcntl
import io
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.plan.history import BadPlan
from selvedge.plan.pages import draw_pages, write_pages
from selvedge.plan.pages.charts import bits, histogram, lines
from selvedge.plan.pages.colours import spread, step_of
from selvedge.plan.pages.frequency import frequency
from selvedge.plan.pages.projection import middle_meridian, project
from selvedge.plan.utilisation import TABLES, Facts, Utilisation, empty_tables

HOSTILE = '<script>alert("x")</script>'
VOID = {"meta", "br", "link", "img"}


class Balanced(HTMLParser):
    """Every element that is opened is closed, in order; addresses are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def pop_row(name: str, law: str, country: str, **more: Any) -> dict[str, Any]:
    whole = {"pop": name, "metro": "Somewhere", "country": country, "jurisdiction": law}
    measured = {"samples": 90, "expected": 100, "capacity_bps": 1e10, "headroom_95": 0.4}
    place = {"lat": 52.5, "lon": 13.4, "best_start": 22, "best_use": 0.2, "gpus": 0, "gpu": ""}
    return {**whole, **measured, **place, "binding_95": "nic", **more}


def group_row(level: str, name: str, pops: int) -> dict[str, Any]:
    return {
        "level": level,
        "name": name,
        "pops": pops,
        "samples": 90,
        "expected": 100,
        "mean_bps": 1e9,
        "p50_bps": 1e9,
        "p95_bps": 2e9,
        "peak_bps": 3e9,
        "capacity_bps": 4e9,
        "mean_use": 0.4,
        "night_use": 0.38,
    }


def report(**tables: list[dict[str, Any]]) -> Utilisation:
    made = empty_tables()
    for name, rows in tables.items():
        made[name] = pa.Table.from_pylist(rows, schema=TABLES[name])
    facts = Facts(from_s=1_767_225_600, until_s=1_769_904_000, pops=2, samples=180)
    return Utilisation(facts=facts, tables=made)


def example() -> Utilisation:
    both = (("fleet", "fleet", 2), ("jurisdiction", "eea", 1), ("jurisdiction", "nz", 1))
    hours = [
        {"level": level, "name": name, "hour": hour, "mean_use": None if hour == 9 else hour / 200}
        for level, name, _ in both
        for hour in range(168)
    ]
    months = [
        {"level": level, "name": name, "month": f"2026-{at:02d}", "mean_bps": 1e9, "p95_bps": 2e9}
        for level, name, _ in both
        for at in (1, 2, 3)
    ]
    future = [
        {
            "level": "fleet",
            "name": "fleet",
            "horizon": "day",
            "from_s": 3600 * at,
            "until_s": 3600 * at + 3600,
            "p05_use": 0.2,
            "p50_use": 0.3,
            "p95_use": 0.4,
        }
        for at in range(24)
    ]
    errors = [
        {
            "level": level,
            "name": name,
            "horizon": horizon,
            "model": model,
            "mae": mae,
            "naive_mae": 0.04,
            "skill": 1 - mae / 0.04,
        }
        for level, name, _ in both
        for horizon in ("hour", "day")
        for model, mae in (("headroom", 0.0123), ("seasonal-naive", 0.04), ("naive", 0.0456))
    ]
    uses = [
        {"level": level, "name": name, "use_percent": at, "samples": 1 if 0 < at <= 100 else 0}
        for level, name, _ in (*both, ("country", "NZ", 1))
        for at in range(101)
    ]
    fault = {"kind": "gap", "pop": HOSTILE, "count": 3, "detail": "3 samples missing"}
    return report(
        pops=[
            pop_row(HOSTILE, "eea", "DE"),
            pop_row("=akl", "nz", "NZ", lat=-36.8, lon=174.8, headroom_95=None, metro="Auckland"),
        ],
        groups=[group_row(*one) for one in both],
        hours_of_week=hours,
        months=months,
        forecasts=future,
        backtests=errors,
        distribution=uses,
        findings=[{**fault, "series": "", "from_s": 0, "until_s": 0, "source": "a.csv"}],
        finding_counts=[{"kind": "gap", "pops": 1, "findings": 1, "count": 3}],
    )


def test_a_page_is_whole_in_itself() -> None:
    text = draw_pages(example())
    page = Balanced()
    page.feed(text)
    assert page.open == []
    targets = {address[1:] for address in page.addresses if address.startswith("#")}
    assert targets <= set(page.ids)
    assert {"law-eea", "law-nz"} <= targets
    assert all(address[:1] == "#" or address[:9] == "data:text" for address in page.addresses)
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert len(page.ids) == len(set(page.ids))


def test_names_are_words_and_never_markup() -> None:
    text = draw_pages(example())
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text


def test_what_it_says() -> None:
    text = draw_pages(example())
    assert "New Zealand" in text
    assert "European Economic Area" in text
    assert "38.0 %" in text
    assert "3 samples missing" in text
    assert "90.0 %\nof those" in text
    assert "not measured" in text, "an hour without samples has no colour"
    assert "22:00–03:00" in text


def test_tables_can_be_saved_and_give_no_orders_to_a_sheet() -> None:
    text = draw_pages(example())
    address = re.search(r'download="pops.csv" href="data:text/csv;base64,([^"]*)"', text)
    assert address is not None
    rows = list(csv.DictReader(io.StringIO(base64.b64decode(address[1]).decode())))
    assert [row["pop"] for row in rows] == [HOSTILE, "'=akl"]
    assert rows[1]["headroom_95"] == ""
    assert float(rows[1]["lat"]) == -36.8


def saved_rows(text: str, name: str) -> list[dict[str, str]]:
    address = re.search(rf'download="{name}.csv" href="data:text/csv;base64,([^"]*)"', text)
    assert address is not None
    return list(csv.DictReader(io.StringIO(base64.b64decode(address[1]).decode())))


def test_a_table_says_nothing_twice() -> None:
    hours = [
        {"level": level, "name": name, "hour": 0, "mean_use": 0.5}
        for level, name in (
            *(("fleet", "fleet"), ("jurisdiction", "eea"), ("jurisdiction", "nz")),
            *(("country", "DE"), ("country", "FR"), ("country", "NZ")),
            *(("metro", "Auckland"), ("pop", "akl")),
        )
    ]
    pops = [pop_row("a", "eea", "DE"), pop_row("b", "eea", "FR"), pop_row("c", "nz", "NZ")]
    text = draw_pages(report(pops=pops, hours_of_week=hours))
    names = [row["name"] for row in saved_rows(text, "hours_of_week")]
    assert names == ["fleet", "eea", "nz", "DE", "FR"], "New Zealand's are the jurisdiction's"


def test_forecasts_are_judged_by_name_beside_other_ways() -> None:
    text = draw_pages(example())
    table = text[text.index("How good such forecasts were") :]
    rows = re.findall(r"<tr><td>([^<]*)</td><td>(\w+)</td>(.*?)</tr>", table, re.S)
    eea = "European Economic Area"
    found = [(title, horizon) for title, horizon, _ in rows[:6]]
    assert found == [
        (one, at) for one in ("the fleet", eea, "New Zealand") for at in ("hour", "day")
    ]
    cells = re.findall(r">([^<]+)</td>", rows[0][2])
    assert cells[:4] == ["1.23 %", "4.00 %", "69 %", "4.56 %"]


def test_words_and_not_codes() -> None:
    text = draw_pages(example())
    assert "<td>network</td>" in text
    assert "<td>nic</td>" not in text
    facts = Facts(from_s=0, until_s=300, pops=1, samples=1, excluded={"unknown_pop": 1_234})
    text = draw_pages(Utilisation(facts=facts, tables=empty_tables()))
    assert "1,234 of a PoP that the fleet file does not name" in text


def test_every_chart_says_what_its_axes_are() -> None:
    text = draw_pages(example())
    assert text.count("hour of the day, by each PoP’s own clock") == 3
    assert text.count("of a PoP’s capacity in use; height: share of the samples") == 3
    assert text.count("dark is busy") == 3
    assert "Half of all samples were at most 50 % of their PoP’s capacity" in text
    assert "20.0 % were above 80 %" in text


def test_the_last_time_of_a_chart_is_inside_it() -> None:
    ticks = [(0.0, "1 Aug"), (6.0, "8 Aug"), (12.0, "15 Aug")]
    drawn = lines({"a": [(0.0, 1.0), (12.0, 2.0)]}, ticks, width=520, right=20)
    sides = re.findall(r'class="(start|mid|end)">\d+ Aug', drawn)
    assert sides == ["start", "mid", "end"]
    assert drawn.count("<circle") == 2, "one month is a point"


@given(st.lists(st.integers(0, 30), min_size=101, max_size=101))
def test_how_often_is_by_the_rule_of_bills(counts: list[int]) -> None:
    found = frequency(counts)
    if not sum(counts):
        assert found is None
        return
    assert found is not None
    values = sorted(at for at, count in enumerate(counts) for _ in range(count))
    n = len(values)
    assert (found.p50, found.p95) == (values[n - n // 2 - 1], values[n - n // 20 - 1])
    assert found.above == sum(value > 80 for value in values) / n


def test_a_report_of_nothing_is_still_a_page() -> None:
    page = Balanced()
    page.feed(draw_pages(report()))
    assert page.open == []


def test_it_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write_pages(example(), tmp_path / "new" / name)
    assert (tmp_path / "new/a.html").read_bytes() == (tmp_path / "new/b.html").read_bytes()
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.html", "b.html"]


def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadPlan, match="name another file"):
        write_pages(report(), tmp_path / "file" / "report.html")


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link.html"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, 1 << 20)
    write_pages(report(), pipe)
    assert os.read(reading, 9) == b"<!doctype"
    os.close(reading)
    assert pipe.is_fifo()
    link.symlink_to(tmp_path / "page.html")
    write_pages(report(), link)
    assert link.is_symlink()
    assert (tmp_path / "page.html").exists()


def test_equal_earth() -> None:
    # The paper's own extent: x at the equator, y at the pole.
    assert project(180.0, 0.0)[0] == pytest.approx(2.70663, abs=1e-4)
    assert project(0.0, 90.0)[1] == pytest.approx(1.31736, abs=1e-4)
    assert project(-170.0, 10.0, centre=180.0) == pytest.approx(project(10.0, 10.0))


def test_the_middle_of_a_country_on_the_date_line() -> None:
    assert abs(middle_meridian([170.0, -170.0])) == pytest.approx(180.0)
    assert middle_meridian([]) == 0.0
    assert middle_meridian([10.0, 20.0]) == pytest.approx(15.0)


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "–"), (0.0, "0 bit/s"), (1.5e9, "1.50 Gbit/s"), (2.345e13, "23.4 Tbit/s")],
)
def test_rates_in_words(value: float | None, words: str) -> None:
    assert bits(value) == words


def test_steps_and_classes() -> None:
    assert [step_of(value, 0.0, 1.0) for value in (None, -1.0, 0.0, 0.5, 2.0)] == [-1, 0, 0, 4, 8]
    assert step_of(0.5, 0.5, 0.5) == 0
    assert spread([None, float("nan")]) == (0.0, 1.0)
    assert histogram([0.0, 0.1, 0.11, 1.0, 2.0, None])[0] == [2, 1, 0, 0, 0, 0, 0, 0, 0, 2]
