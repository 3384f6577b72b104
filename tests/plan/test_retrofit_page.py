"""A retrofit as a page: whole in itself, well-formed, and honest about what was not shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from selvedge.plan.history import BadPlan, PopSite, write_sites
from selvedge.plan.pages import draw_retrofit, write_retrofit
from selvedge.plan.pages.maps import Dot, world_map
from selvedge.plan.pages.ranges import Bar, Spot, bar_chart, front_chart, gap_chart, short
from selvedge.plan.placement import Judged, Order, Report, answer, compare_pairs
from selvedge.sim import Interval
from tests.plan.test_pages import HOSTILE, Balanced
from tests.plan.test_placement_retrofit import FLEET


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    path = tmp_path_factory.mktemp("page") / "fleet.csv"
    sites: list[PopSite] = [msgspec.structs.replace(FLEET[0], pop=HOSTILE), *FLEET[1:]]
    write_sites(path, sites)
    order = Order(
        fleet=path,
        sites=6,
        sim=False,
        seconds=10.0,
        front="2,4,8",
        front_budget="5e4,2e5",
        per_quarter=2,
        minimum=("DE=2",),
    )
    found = answer(order, lambda words: None)
    return msgspec.structs.replace(found, judged=(played("ours"), played("greedy")))


def played(name: str) -> Judged:
    one = Interval(400.0, 380.0, 420.0)
    pairs = [100.0, 120.0, 90.0], [130.0, 151.0, 121.0]
    unclear = [100.0, 120.0, 90.0], [90.0, 150.0, 95.0]
    against = (
        compare_pairs("ttft_ms_p50", *pairs),
        compare_pairs("ttft_ms_p95", *unclear),
        compare_pairs("gpus_needed", [9.0, 9.0], [9.0, 9.0]),
    )
    return Judged(
        name=name,
        engines=12,
        seeds=3,
        requests=500,
        slo_ms=1000.0,
        ttft_ms_p50=one,
        ttft_ms_p95=one,
        ttft_ms_mean=one,
        goodput=Interval(0.9, 0.8, 1.0),
        rtt_ms=one,
        gpus_needed=one,
        gpus_short=0,
        against_ours=() if name == "ours" else against,
    )


def test_it_is_whole_in_itself(report: Report) -> None:
    text = draw_retrofit(report)
    page = Balanced()
    page.feed(text)
    assert page.open == []
    assert all(address[:1] == "#" or address[:9] == "data:text" for address in page.addresses)
    for outside in ("http:", "https:", "url(", "<script"):
        assert outside not in text
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text
    assert text == draw_retrofit(report)


def test_it_says_what_an_operator_must_know(report: Report) -> None:
    text = re.sub(r"\s+", " ", draw_retrofit(report))
    assert "Before you order." in text
    assert "Not enough servers:" in text
    assert "--servers auto" in text
    assert "no difference that 3 seeds can show" in text
    assert "ours better" in text
    assert "is the least there is, proved" in text
    assert "short of power" in text
    for step in report.programme:
        assert f"<td>{step.quarter}</td>" in text
    for title in (
        *("The sites", "Against rules of thumb", "What the simulator makes of it"),
        *("What more sites buy", "What more money buys", "The programme", "The fullest sites"),
        *("Where nothing can be installed", "What was assumed, and what was left out"),
    ):
        assert f"<h2>{title}</h2>" in text
    assert text.count('class="two wide"') == 1


def test_chosen_sites_have_their_quarter_on_the_map(report: Report) -> None:
    text = draw_retrofit(report)
    metros = {site.pop: site.country for site in FLEET}
    for pop in report.sites:
        quarter = next(step.quarter for step in report.programme if pop in step.sites)
        assert f"<title>{pop}, {metros[pop]}: {quarter}</title>" in text
    assert text.count(": has GPUs already</title>") == 2


def test_without_a_shortage_nobody_is_warned(report: Report) -> None:
    calm: dict[str, Any] = {"shortage": None, "findings": ("a note",), "judged": (), "front": ()}
    text = draw_retrofit(msgspec.structs.replace(report, gap=0.0123, **calm))
    assert "Before you order" not in text
    assert "a note" in text
    assert "What the simulator" not in text
    assert "What more sites buy" not in text
    assert "at most 1.23% from the best" in text


def test_one_seed_has_no_interval(report: Report) -> None:
    one = Interval(400.0, 400.0, 400.0)
    alone = msgspec.structs.replace(
        played("greedy"), seeds=1, ttft_ms_p50=one, ttft_ms_p95=one, gpus_needed=one, rtt_ms=one
    )
    ours = msgspec.structs.replace(alone, name="ours", against_ours=())
    text = draw_retrofit(msgspec.structs.replace(report, judged=(ours, alone)))
    assert 'class="whisker"' not in text
    assert "(400–400)" not in text


def test_where_it_cannot_be_written(report: Report, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadPlan, match="name another file"):
        write_retrofit(report, tmp_path / "file" / "page.html")
    write_retrofit(report, tmp_path / "new" / "page.html")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]


def test_bars_keep_their_proportions_and_show_intervals() -> None:
    rows = [
        Bar(name="a<b", value=10.0, low=5.0, high=20.0, words="ten", is_ours=True),
        Bar(name="c", value=5.0, words="five"),
    ]
    text = str(bar_chart(rows, "ms", width=420, left=110))
    assert 'class="ours" x="110" y="10" width="100.0"' in text, "20 takes the 200 pixels there are"
    assert 'class="other" x="110" y="36" width="50.0"' in text
    assert "M160.0 18H310.0" in text, "from 5 to 20"
    assert "a&lt;b" in text
    long = [Bar(name="busiest = most populous", value=1.0, words="12.25 ms, cost × 1.350")]
    assert 'x="154.6"' in str(bar_chart(long, "ms")), "a long name has its room"
    assert str(gap_chart([Bar(name="x", value=0.0, low=-1.0, high=1.0, words="w")], "ms"))


def test_a_dominated_point_is_hollow_and_off_the_line() -> None:
    spots = [
        Spot(x=float(at), y=10.0 - at, words=f"{at}", is_dominated=at == 2) for at in range(1, 5)
    ]
    text = str(front_chart(spots, ("budget", "ms")))
    assert text.count('class="best"') == 3
    assert text.count('class="dominated"') == 1
    line = re.search(r'polyline points="([^"]*)"', text)
    assert line is not None
    assert len(line[1].split()) == 3


def test_glyphs_and_layers() -> None:
    text = str(
        world_map(
            [
                Dot(0.0, 0.0, 2.0, -1, "top", "#111111", "square", 2),
                Dot(0.0, 0.0, 9.0, -1, "below", "#222222"),
                Dot(10.0, 0.0, 3.0, -1, "", "#333333", "cross"),
            ]
        )
    )
    assert text.index("#222222") < text.index("#333333") < text.index("#111111")
    assert "<rect" in text
    assert 'class="glyph"' in text


@pytest.mark.parametrize(
    ("value", "words"), [(0.0, "0"), (9_500, "9,500"), (26_000, "26 k"), (1.5e6, "1.5 M")]
)
def test_numbers_in_few_characters(value: float, words: str) -> None:
    assert short(value) == words
