"""Prometheus' forms: ranges and instants as JSON, dumps as text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selvedge.plan.history import BadPlan
from tests.plan.ingesting import START, ingest


def series(metric: str, values: dict[int, object], **labels: str) -> dict[str, Any]:
    """Values by second since the start."""
    named = {"__name__": metric, "pop": "fra", "instance": "h1:9100"} | labels
    return {"metric": named, "values": [[START + s, str(v)] for s, v in values.items()]}


def answer(*found: dict[str, Any], kind: str = "matrix") -> str:
    data = {"resultType": kind, "result": list(found)}
    return json.dumps({"status": "success", "data": data})


def ticks(count: int, first: float, by: float, step: int = 60) -> dict[int, object]:
    return {step * k: first + by * k for k in range(count)}


def test_counters_of_devices_are_added_up(tmp_path: Path) -> None:
    name = "node_network_transmit_bytes_total"
    found = [series(name, ticks(11, 5, 10), device=device) for device in ("eth0", "eth1", "lo")]
    back = series("node_network_receive_bytes_total", ticks(11, 5, 1), device="eth0")
    done = ingest(tmp_path, [answer(*found, back)], "prometheus")
    assert done.rows("fra", "out_bytes", "in_bytes", "flags") == [(0, 100, 5, 0), (5, 100, 5, 0)]
    assert not done.findings


def test_a_counter_that_falls_was_reset(tmp_path: Path) -> None:
    values = {0: 1e9, 60: 1e9 + 60, 120: 1e9 + 120, 180: 7, 240: 67, 300: 127}
    name = "node_network_transmit_bytes_total"
    done = ingest(tmp_path, [answer(series(name, values, device="eth0"))], "prometheus")
    assert done.rows("fra", "out_bytes", "flags") == [(0, 60 + 60 + 7 + 60 + 60, 4)]
    assert done.kinds == {"reset"}


def test_processors_memory_gpus_and_power_are_shares(tmp_path: Path) -> None:
    found = [
        series("node_cpu_seconds_total", ticks(6, 0, 15), cpu="0", mode="idle"),
        series("node_cpu_seconds_total", ticks(6, 0, 45), cpu="1", mode="idle"),
        series("node_cpu_seconds_total", ticks(6, 0, 33), cpu="1", mode="user"),
        series("node_memory_MemTotal_bytes", ticks(5, 1000, 0)),
        series("node_memory_MemAvailable_bytes", {0: 200, 60: 400}),
        series("DCGM_FI_DEV_GPU_UTIL", {0: 40, 60: 60}, gpu="0"),
        series("DCGM_FI_DEV_GPU_UTIL", {0: 100, 60: 100}, gpu="1"),
        series("DCGM_FI_DEV_POWER_USAGE", {0: 700}, gpu="0"),
        series("ipmi_dcmi_power_consumption_watts", {0: 2000}),
        series("ipmi_dcmi_power_consumption_watts", {0: 500}, instance="h2:9290"),
    ]
    done = ingest(tmp_path, [answer(*found)], "prometheus")
    assert done.rows("fra", "cpu_bp", "memory_bp", "gpu_bp", "power_bp") == [
        (0, 5000, 7000, 7500, 2500)
    ]


def test_power_of_a_site_without_a_limit_is_no_share(tmp_path: Path) -> None:
    found = series("ipmi_dcmi_power_consumption_watts", {0: 2000}, pop="lon")
    done = ingest(tmp_path, [answer(found)], "prometheus")
    assert done.rows("lon") == []


def test_a_query_without_a_name_is_told_by_a_mapping(tmp_path: Path) -> None:
    found = series("", {0: "8e3", 60: "16e3"}, site="lon")
    del found["metric"]["__name__"], found["metric"]["pop"]
    mapping = """
pop: {column: site}
metrics:
  - {metric: '', means: out_bytes, unit: bit/s}
"""
    done = ingest(tmp_path, [answer(found)], "prometheus", mapping)
    assert done.rows("lon", "out_bytes") == [(0, 1500 * 300)]


def test_a_metric_without_a_unit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadPlan, match="has no unit, and none is assumed"):
        ingest(tmp_path, ["{}"], "prometheus", "metrics: [{metric: x, means: out_bytes}]")


def test_what_is_not_used_is_told(tmp_path: Path) -> None:
    found = [series("up", {0: 1}), series("DCGM_FI_DEV_GPU_UTIL", {0: 1}, pop="")]
    done = ingest(tmp_path, [answer(*found)], "prometheus")
    words = " ".join(one.detail for one in done.found("unreadable"))
    assert "'up'" in words
    assert "no label 'pop'" in words


def test_series_are_decoded_one_by_one(tmp_path: Path) -> None:
    good = series("DCGM_FI_DEV_GPU_UTIL", {0: "NaN", 60: "+Inf", 120: 30}, note='a }]] "{" b')
    text = answer(good, series("up", {0: 1}), series("DCGM_FI_DEV_GPU_UTIL", {0: 1}, pop="sin"))
    broken = text.replace('"1"]]}', '"1]]}', 1)
    done = ingest(tmp_path, [broken], "prometheus")
    assert done.rows("fra", "gpu_bp") == [(0, 3000)]
    assert {one.series for one in done.findings} >= {"gpu_bp"}
    pretty = json.dumps(json.loads(text), indent=2)
    again = ingest(tmp_path, [pretty], "prometheus", data="pretty")
    assert again.rows("fra", "gpu_bp") == [(0, 3000)]
    assert again.rows("sin", "gpu_bp") == [(0, 100)]


def test_an_answer_that_is_cut_off_gives_what_came_before(tmp_path: Path) -> None:
    found = [series("DCGM_FI_DEV_GPU_UTIL", {0: 30}, pop=pop) for pop in ("fra", "lon")]
    done = ingest(tmp_path, [answer(*found)[:-20]], "prometheus")
    assert done.rows("fra", "gpu_bp") == [(0, 3000)]
    assert "inside a series" in done.found("unreadable")[0].detail


def test_an_instant_query(tmp_path: Path) -> None:
    one = series("DCGM_FI_DEV_GPU_UTIL", {0: 30})
    one["value"] = one.pop("values")[0]
    done = ingest(tmp_path, [answer(one, one | {"value": [START + 300, "50"]}, kind="vector")],
                  "prometheus")  # fmt: skip
    assert done.rows("fra", "gpu_bp") == [(0, 3000), (5, 5000)]


def test_an_answer_that_failed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadPlan, match="failed"):
        ingest(tmp_path, ['{"status":"error","error":"query timed out"}'], "prometheus")


DUMP = """\
# TYPE DCGM_FI_DEV_GPU_UTIL gauge
DCGM_FI_DEV_GPU_UTIL{pop="fra",gpu="0",x="a b"} 40 %d000
{__name__="DCGM_FI_DEV_GPU_UTIL", pop="fra", gpu="0"} 60 %d000
what is this
DCGM_FI_DEV_GPU_UTIL{pop="fra",gpu="1"} 20
"""


def test_a_text_dump_with_timestamps(tmp_path: Path) -> None:
    done = ingest(tmp_path, [DUMP % (START, START + 300)], "prometheus")
    assert done.rows("fra", "gpu_bp") == [(0, 4000), (5, 6000)]
    details = [(one.source[-6:], one.count) for one in done.found("unreadable")]
    assert ("line 4", 1) in details
    assert "without a timestamp" in " ".join(one.detail for one in done.findings)


def test_openmetrics_has_seconds(tmp_path: Path) -> None:
    text = f"""\
# TYPE node_network_transmit_bytes counter
node_network_transmit_bytes_total{{pop="fra",device="eth0"}} 40 {START} # {{trace="x"}} 1
node_network_transmit_bytes_total{{pop="fra",device="eth0"}} 90 {START + 300}.0
# EOF
"""
    done = ingest(tmp_path, [text], "openmetrics")
    assert done.rows("fra", "out_bytes") == [(0, 50)]
