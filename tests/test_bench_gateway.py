"""The gateway benchmark's own pieces: folding, bars, requests, the chart, and load against mock."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.gateway.cases import Sample, long_cases, short_cases
from bench.gateway.chart import render_chart
from bench.gateway.install import Tools
from bench.gateway.processes import Cores
from bench.gateway.results import (
    JSON_KEYS,
    SATURATION,
    SEQUENTIAL,
    added,
    details,
    errors,
    fold,
    med,
    met,
    others,
)
from bench.gateway.stages import BUDGET, HTTP, beside_budget, fold_stacks, scaled, stage_of
from bench.gateway.targets import HERE, Bench, Target, request_bytes
from selvedge.adapters import read_config
from selvedge.control import free_port

SOURCES = ("mock", "load")


def sample(case: str, target: str, round_: int, cpu_s: float = 1.0, **load: float) -> Sample:
    told = {"errors": 0, "all_requests": 10_000, "all_chunks": 50_000, "took_s": 2.0} | load
    return Sample(case, target, round_, told, cpu_s, 0.9, 0.5)


def all_samples() -> list[Sample]:
    samples = []
    rates = {"direct": 70_000, "nginx": 60_000, "selvedge": 20_000, "portkey": 500, "litellm": 50}
    for number in (1, 2, 3):
        for name, rate in rates.items():
            samples.append(sample(SATURATION, name, number, rps=rate + number))
            samples.append(sample("sse", name, number, chunks_per_s=rate * 2))
        for name, us in (("direct", 20), ("nginx", 120), ("selvedge", 320)):
            # A slow round is slow for all: differences within a round do not see it.
            p50, p99 = us + 1000 * number, 4 * us + 1000 * number
            samples.append(sample(SEQUENTIAL, name, number, latency_p50_us=p50, latency_p99_us=p99))
            samples.append(sample("itl", name, number, delay_p99_us=p99))
            samples.append(sample("paced", name, number, cpu_s=us / 100))
    return samples


def test_figures_are_medians_of_rounds_and_differences_within_them() -> None:
    figures = fold(all_samples())
    assert figures["rps_core"] == 20_002
    assert figures["rps_ratio_nginx"] == pytest.approx(20_002 / 60_002, abs=1e-4)
    assert figures["rps_ratio_litellm"] == pytest.approx(20_002 / 52, abs=1e-3)
    assert figures["added_ms_p50"] == 0.3
    assert figures["added_ms_p99"] == 1.2
    assert figures["nginx_added_ms_p99"] == 0.4
    assert figures["added_itl_us_p99_200_streams"] == 1200
    assert figures["cpu_us_per_request"] == 100
    assert figures["cpu_us_per_chunk_paced"] == 64
    assert figures["cpu_per_chunk_ratio_nginx"] == pytest.approx(320 / 120, abs=1e-4)
    assert figures["rps_ratio_nginx_by_cpu"] == 1
    of_memory = {"rss_mb_idle", "streams_2000_errors", "rss_kb_per_stream"}
    assert set(JSON_KEYS) - figures.keys() == of_memory


def test_what_was_not_measured_is_left_out() -> None:
    ours = [one for one in all_samples() if one.target == "selvedge"]
    figures = fold(ours)
    assert "rps_core" in figures
    assert "rps_ratio_nginx" not in figures
    assert "added_ms_p50" not in figures
    assert med(ours, SATURATION, "nginx", "rps") is None
    assert added(ours, SEQUENTIAL, "selvedge", "latency_p50_us") is None
    assert fold([]) == {}


def test_bars() -> None:
    good = met({"rps_ratio_nginx": 0.3, "cpu_us_per_request": 100.0, "streams_2000_errors": 0})
    assert all(good.values())
    assert not any(met({"rps_ratio_nginx": 0.29, "cpu_us_per_request": 101.0}).values())
    assert met({"added_ms_p99": 1.14, "nginx_added_ms_p99": 0.4})["added_ms_p99"]
    assert not met({"added_ms_p99": 1.15, "nginx_added_ms_p99": 0.4})["added_ms_p99"]
    assert (
        met(fold([sample("sse", "selvedge", 1, errors=1, chunks_per_s=1)]))["load_errors"] is False
    )


def test_errors_are_summed_by_target() -> None:
    samples = [sample("sse", "nginx", 1, errors=2), sample("itl", "nginx", 1, errors=1)]
    assert errors([*samples, sample("sse", "selvedge", 1)]) == {"nginx": 3, "selvedge": 0}
    assert details(samples)["sse"]["nginx"]["cpu_us_per_chunk"] == 20


def test_the_share_of_others_is_what_the_target_did_not_use() -> None:
    # 1 s of CPU in 2 s is half of a core that was busy for nine tenths.
    assert others([sample("sse", "nginx", 1)]) == pytest.approx(0.4)
    assert others([sample("sse", "nginx", 1, cpu_s=2.0)]) == 0
    assert others([sample("sse", "direct", 1)]) == 0


@pytest.mark.parametrize(
    ("stack", "stage"),
    [
        (
            "run (asyncio/runners.py:190);feed (selvedge/wire/stream.py:144)",
            "read and render the answer",
        ),
        ("data_received (selvedge/pop/http_server.py:161)", "http, client to us"),
        (
            "data_received (selvedge/pop/http_server.py:161);feed (selvedge/wire/http1.py:9)",
            HTTP[0],
        ),
        ("respond (selvedge/pop/http_inbound.py:174)", "http, us to client"),
        ("data_received (selvedge/adapters/http_client.py:1)", "http, engine to us"),
        ("HttpClient.send (selvedge/adapters/http_client.py:1)", "http, us to engine"),
        ("serve (selvedge/exchange/story.py:56);admit (selvedge/ledger/keys.py:3)", "admit"),
        (
            "serve (selvedge/exchange/story.py:56);x (selvedge/fabric/request.py:3)",
            "the story and its shell",
        ),
        ("append (selvedge/adapters/journal_store.py:123)", "intend and record"),
        ("engine_body (selvedge/wire/requests.py:235)", "http, us to engine"),
        ("parse (selvedge/wire/requests.py:109)", "parse"),
        ("run (asyncio/runners.py:190)", "loop and system calls"),
        ("<module> (somewhere.py:1)", "other"),
        ("no frame", "other"),
    ],
)
def test_a_stack_belongs_to_its_innermost_named_frame(stack: str, stage: str) -> None:
    assert stage_of(stack) == stage


def test_stages_sum_to_what_was_measured() -> None:
    lines = [
        "run (asyncio/runners.py:1) 30",
        "parse (selvedge/wire/requests.py:109) 10",
        "append (selvedge/adapters/journal_store.py:123) 60",
        "",
        "torn",
    ]
    counted = fold_stacks(lines)
    assert counted == Counter({"intend and record": 60, HTTP[-1]: 30, "parse": 10})
    stages = scaled(counted, 200)
    assert stages["parse"] == 20
    assert sum(stages.values()) == pytest.approx(200)
    rows = beside_budget(stages)
    assert rows["http, both sides"] == (60, 40)
    assert rows["sum"] == (200, 100)
    assert rows.keys() >= BUDGET.keys()
    assert sum(BUDGET.values()) == 2 * BUDGET["sum"]
    assert sum(scaled(Counter(), 5).values()) == 0


def test_the_chart_is_xml_and_names_every_target() -> None:
    rates = {"Requests": {"nginx": 66_000.0, "selvedge": 20_000.0, "litellm": 0.0}, "None": {}}
    drawn = render_chart(rates, {"selvedge": [(0, 50.0), (1, 80.0)]}, "a < b")
    root = ElementTree.fromstring(drawn)
    texts = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"Requests", "nginx", "selvedge", "litellm", "66,000", "a < b"} <= set(texts)
    assert "None" not in texts
    assert ElementTree.fromstring(render_chart({}, {}, "")) is not None


# The configurations and the bytes that every target gets.


def make_bench(directory: Path, tools: Path = Path()) -> Bench:
    return Bench(Tools(tools / "mock", tools / "load", "nginx"), Cores(0, 1), directory, 9401)


def test_every_model_that_is_asked_for_is_in_the_fleet() -> None:
    config = read_config(HERE / "fleet.yaml")
    (pop,) = config.pops.values()
    (engine,) = pop.engines.values()
    assert engine.serves == {name: name for name in config.models}
    assert engine.in_flight_max >= 10_000
    asked = {one.model for one in [*short_cases(), *long_cases()]}
    asked |= {f"sse-{chunks}-250000" for chunks in (80, 480, 3600)}
    assert asked == set(config.models)


def test_a_request_has_the_size_it_says(tmp_path: Path) -> None:
    target = Target("selvedge", 9420, 1, key="sk-one")
    for model, size in (("json", 500), ("sse-100-0", 10_000), ("json", 400_000)):
        head, _, body = request_bytes(make_bench(tmp_path), target, model, size).partition(
            b"\r\n\r\n"
        )
        assert len(body) == size
        assert f"content-length: {size}".encode() in head
        assert b"authorization: Bearer sk-one" in head
        assert json.loads(body).get("stream", False) == model.startswith("sse")


# Load against mock, as they are compiled for a run.


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed; the benchmark installs it from apt")
    place = tmp_path_factory.mktemp("tools")
    for name in SOURCES:
        argv = ["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(place / name)]
        subprocess.run([*argv, str(HERE / f"{name}.c")], check=True)
    return place


@contextmanager
def mock_engine(tools: Path) -> Iterator[Target]:
    port = free_port()
    with subprocess.Popen([tools / "mock", str(port)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield Target("direct", port, process.pid)
        finally:
            process.kill()


def load(tools: Path, tmp_path: Path, target: Target, model: str, *argv: str) -> dict[str, float]:
    path = tmp_path / "request"
    path.write_bytes(request_bytes(make_bench(tmp_path), target, model, 500))
    mode = "streams" if model.startswith("sse") else "closed"
    given = [str(tools / "load"), mode, str(target.port), str(path), *argv]
    done = subprocess.run(given, capture_output=True, check=True, timeout=60)
    told: dict[str, float] = json.loads(done.stdout)
    return told


def test_every_chunk_of_every_stream_is_counted(tools: Path, tmp_path: Path) -> None:
    once = ("-c", "20", "-o", "-t", "50")
    with mock_engine(tools) as target:
        for model in ("sse-40-0", "sse-40-0-4", "sse-40-500"):
            told = load(tools, tmp_path, target, model, "-n", "40", *once)
            assert (told["requests"], told["errors"]) == (20, 0)
            assert told["chunks"] == told["delay_count"] == 800
            assert told["ttft_count"] == 20
            assert told["delay_p50_us"] <= told["delay_p99_us"] <= told["delay_max_us"] * 1.01
        told = load(tools, tmp_path, target, "sse-40-0", "-n", "41", *once)
        assert (told["requests"], told["errors"], told["incomplete"]) == (0, 20, 20)


def test_answers_and_refusals_are_told_apart(tools: Path, tmp_path: Path) -> None:
    with mock_engine(tools) as target:
        told = load(tools, tmp_path, target, "json", "-c", "4", "-t", "0.1")
        assert told["errors"] == 0
        assert told["requests"] == told["latency_count"] > 0
    told = load(tools, tmp_path, target, "json", "-c", "1", "-t", "0.01")
    assert told["requests"] == 0
    assert told["refused"] > 0


def test_the_configurations_use_the_ports_that_are_replaced() -> None:
    for name in ("nginx.conf", "litellm.yaml", "fleet.yaml"):
        text = (HERE / name).read_text("utf-8")
        ports = set(re.findall(r"127\.0\.0\.1:(\d+)", text))
        assert "9401" in ports
        assert ports <= {"9401", "9410", "9420"}
