"""The arithmetic of the soak and of overload, and their charts."""

from __future__ import annotations

import time
from xml.etree import ElementTree

from bench import overload, soak
from bench.audit import Audit, Told
from bench.charts import Chart, Line, render
from bench.line import Heard
from bench.overload import Found, Point
from bench.soak import Plan, Result, Sampled
from bench.soak_clients import AFTER_OUTAGE_S, Outages, Score

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nselvedge-receipt: r1\r\n\r\n{}"
SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nselvedge-receipt: r2\r\n\r\n"


def heard(raw: bytes, whole: bool = True) -> Heard:
    return Heard(0, [(1, raw)], whole)


def test_a_chart_is_well_formed_whatever_is_drawn() -> None:
    panel = Chart("a < b & c", "x", "y", [Line("one", [(0, 0), (1, 2)]), Line("none", [])])
    root = ElementTree.fromstring(render([panel, Chart("", "", "", [])]))
    assert root.tag.endswith("svg")


def test_overload_figures_and_bars() -> None:
    points = [Point(load, load * 100, 95.0, 0.0, 1.0, 2.0, 100.0) for load in overload.LOADS]
    found = Found(100.0, points, 10, 0, alone_p99_ms=2.0, beside_p99_ms=9.0)
    figures = found.figures()
    assert figures["goodput_2x"] == 0.95
    assert all(overload.bars(figures).values())
    found.beside_p99_ms, found.health_failed = 9.1, 1
    points[overload.LOADS.index(2.0)] = Point(2.0, 200, 89.0, 0.0, 1.0, 2.0, 100.0)
    assert not any(overload.bars(found.figures()).values())
    ElementTree.fromstring(overload.chart(found))


def test_what_the_schedule_explains() -> None:
    outages, now = Outages(), time.monotonic()
    assert not outages.explain(now - 1, now)
    outages.begin()
    assert outages.explain(now, time.monotonic() + 1)
    assert not outages.explain(now - 2, now - 1)
    outages.end()
    later = time.monotonic()
    assert outages.explain(later + AFTER_OUTAGE_S - 1, later + AFTER_OUTAGE_S)
    assert not outages.explain(later + AFTER_OUTAGE_S + 1, later + AFTER_OUTAGE_S + 2)


def test_every_answer_is_judged() -> None:
    score = Score({"sin": Told()})
    cut = heard(SSE + b'data: {"error":1}\n\n')
    score.hear("json", "sin", heard(OK), explained=False)
    score.hear("stream", "sin", heard(SSE + b"data: [DONE]\n\n"), explained=False)
    score.hear("stream", "sin", cut, explained=True)
    score.hear("hang-json", "sin", heard(b"", whole=False), explained=False)
    score.hear("malformed", "sin", heard(b"HTTP/1.1 400 Bad\r\n\r\n{}"), explained=False)
    assert score.unexplained_count == 0
    assert score.explained == {"an engine was down": 1, "hung up": 1}
    assert score.told["sin"].acknowledged == {"r1": 200, "r2": 200}
    score.hear("stream", "sin", cut, explained=False)
    score.hear("malformed", "sin", heard(OK), explained=False)
    assert score.unexplained_count == 2


def test_flat_is_told_from_growing() -> None:
    flat = Sampled([float(at) for at in range(90)], [100] * 30 + [200] * 60, [50] * 90)
    grown = Sampled([float(at) for at in range(90)], list(range(100, 190)), list(range(90)))
    assert (flat.growth(), flat.fds_growth()) == (0.0, 0)
    assert grown.growth() > 0.2
    assert grown.fds_growth() == 30
    sampled = {"sin": flat, "bkk": flat, "cgk": grown}
    audits = {pop: Audit() for pop in sampled}
    codes = dict.fromkeys(sampled, 0)
    result = Result(Plan(), Score({}), sampled, audits, 3, 0, codes, 90.0)
    met = soak.bars(result.figures())
    assert [name for name, one in met.items() if not one] == ["rss_growth_cgk", "fds_growth_cgk"]
    ElementTree.fromstring(soak.chart(result))
