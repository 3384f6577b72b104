"""An engine's word on its load: read where it can be, and nothing else."""

from __future__ import annotations

import pytest

from selvedge.wire import PROFILES, EngineLoad, read_load

VLLM = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
vllm:num_requests_waiting{engine="0",model_name="m"} 7.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 9.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.75
vllm:cache_config_info{block_size="16",cache_dtype="auto",num_gpu_blocks="1000"} 1.0
"""
SLOTS = b"""[{"id":0,"n_ctx":2048,"is_processing":true,"params":{"seed":1}},
          {"id":1,"n_ctx":2048,"is_processing":false}]"""


def test_vllm_by_its_metrics() -> None:
    read = read_load(PROFILES["vllm"], VLLM)
    assert read == EngineLoad(running=5, waiting=7, kv_free=0.25, room_tokens=16_000)
    older = VLLM.replace(b"kv_cache_usage", b"gpu_cache_usage").replace(b"num_gpu_blocks", b"n")
    read = read_load(PROFILES["vllm"], older)
    assert read == EngineLoad(running=5, waiting=7, kv_free=0.25)


def test_llama_by_its_slots() -> None:
    read = read_load(PROFILES["llama.cpp"], SLOTS)
    assert read == EngineLoad(running=1, slots=2, room_tokens=4096)


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 10_000, b'[{"n_ctx":"x"}]', b'[{"n_ctx":1e400}]'],
)
def test_slots_that_are_none(body: bytes) -> None:
    assert read_load(PROFILES["llama.cpp"], body) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"vllm:num_requests_running",
        b"vllm:num_requests_running{} nan",
        b"vllm:num_requests_running{} 1.2.3",
        b"x vllm:num_requests_running 3",
        b'vllm:num_requests_running{a="' * 1000,
    ],
)
def test_metrics_that_are_none(body: bytes) -> None:
    assert read_load(PROFILES["vllm"], body) is None


def test_figures_are_kept_within_reason() -> None:
    body = b"vllm:num_requests_running 1e99\nvllm:num_requests_waiting -5\n"
    body += b'vllm:kv_cache_usage_perc 17\nvllm:cache_config_info{block_size="16"} 1\n'
    read = read_load(PROFILES["vllm"], body)
    assert read == EngineLoad(running=1_000_000, waiting=0, kv_free=0.0)
