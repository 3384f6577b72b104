"""Engines as numbers, per model and GPU, each with where its numbers come from."""

from __future__ import annotations

from typing import Final

from selvedge.sim.batching import BatchingModel, Timing

_MOCKER_KV: Final = 600 * 512
MOCKER: Final = BatchingModel(
    timing=Timing(
        prefill=16_501.42,
        prefill_token=15.18344,
        prefill_square=4.209989e-4,
        decode=5_740.0,
        decode_context=54_010.0 / _MOCKER_KV,
        decode_square=-25_740.0 / _MOCKER_KV**2,
    ),
    kv_tokens=_MOCKER_KV,
    slots=128,
    batch_tokens=8192,
    block_tokens=512,
)
