"""Engines as numbers, per model and GPU, and for every number where it comes from.

Three grades, and `Hardware.grade` says which: *measured* (fitted to published measurements, or to
our own), *mixed* (some measured, the rest from the data sheet), *sheet* (a roofline from the data
sheet: weights over memory bandwidth for a decoding step, two FLOP per weight and token at half the
peak for a prompt, and what weights leave of 90 % of the memory for KV). A sheet entry is a place to
start, not a promise. Numbers that a scenario varies (slots, budget) are the engines' defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from selvedge.sim.batching import BatchingModel, Timing

_MOCKER_KV: Final = 600 * 512


class Hardware(msgspec.Struct, frozen=True):
    """A model on a machine: how it is modelled, on what grade of evidence, and whose."""

    model: str
    gpu: str
    engine: BatchingModel
    grade: Literal["measured", "mixed", "sheet"]
    source: str


_MOCKER: Final = Hardware(
    model="the mocker's default",
    gpu="the mocker's default",
    grade="measured",
    source=(
        "ai-dynamo 1.1.1, offline replay with block 512, 600 blocks, 128 sequences, 8,192 tokens:"
        " default timing polynomials, confirmed to the microsecond by single requests of 100 to"
        " 20,000 tokens. Prefill 16.50142 ms + 15.18344 us/token + 4.209989e-4 us/token^2 of all"
        " prompts of an iteration; decode 5.74 + 54.01 p - 25.74 p^2 ms, p the share of KV in use"
    ),
    engine=BatchingModel(
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
    ),
)
_LLAMA_70B_H100: Final = Hardware(
    model="Llama-3.1-70B-Instruct",
    gpu="4x H100 80GB (TP4)",
    grade="measured",
    source=(
        "llm-d 37-capacity report (vLLM). KV 461,376 tokens as stated there; decode from the time"
        " per token of its precise row (13 ms at 3, 21 ms at 12 requests/s); prefill 83 us/token"
        " from its load row at 3 requests/s; attention over context 1.5 ns per pair of tokens from"
        " FLOP counts (4 x 80 layers x 8,192 at half of 4 x 989 TFLOPS)"
    ),
    engine=BatchingModel(
        timing=Timing(
            prefill=10_000.0,
            prefill_token=83.0,
            prefill_pair=0.0015,
            prefill_square=0.00075,
            decode=11_300.0,
            decode_answer=20.0,
            decode_context=0.0145,
        ),
        kv_tokens=461_376,
        in_flight_max=4096,
    ),
)
_QWEN_32B_H100: Final = Hardware(
    model="Qwen3-32B",
    gpu="2x H100 80GB (TP2)",
    grade="measured",
    source=(
        "KV 307,328 tokens and decode from the llm-d 73-capacity report (precise row: 11 ms per"
        " token at 3, 15 ms at 15, 21 ms at 20 to 35 requests/s over 8 pods); prefill from the"
        " peak of 20,480 tokens/s of vLLM in llm-d's sticky-until-saturated measurement"
    ),
    engine=BatchingModel(
        timing=Timing(
            prefill=8_000.0,
            prefill_token=43.6,
            prefill_pair=0.0009,
            prefill_square=0.00045,
            decode=10_000.0,
            decode_answer=20.0,
            decode_context=0.018,
        ),
        kv_tokens=307_328,
        in_flight_max=4096,
    ),
)
_LLAMA_8B_PRO_6000: Final = Hardware(
    model="Llama-3.1-8B-Instruct",
    gpu="RTX PRO 6000 96GB",
    grade="mixed",
    source=(
        "LLMServingSim 2.0's vLLM 0.19 runs: idle prefill 13.9 to 16.6 k tokens/s, 32.5 ms per"
        " token under 10 requests/s; idle step and KV from the data sheet (16 GB of weights at"
        " 1.79 TB/s and 80 % of it; 131 kB of KV per token)"
    ),
    engine=BatchingModel(
        timing=Timing(
            prefill=5_000.0,
            prefill_token=65.0,
            decode=11_200.0,
            decode_answer=15.0,
            decode_context=0.09,
        ),
        kv_tokens=530_000,
    ),
)
_LLAMA_8B_L4: Final = Hardware(
    model="Llama-3.1-8B-Instruct",
    gpu="L4 24GB",
    grade="sheet",
    source=(
        "NVIDIA L4 data sheet: 300 GB/s, 121 dense FP16 TFLOPS, 24 GB. 16 GB of weights at 90 % of"
        " the bandwidth, 16 GFLOP per token at half the peak, 131 kB of KV per token"
    ),
    engine=BatchingModel(
        timing=Timing(
            prefill=15_000.0,
            prefill_token=265.0,
            decode=59_000.0,
            decode_answer=60.0,
            decode_context=0.48,
        ),
        kv_tokens=31_000,
        slots=64,
        batch_tokens=2048,
    ),
)
_MISTRAL_7B_A100: Final = Hardware(
    model="Mistral-7B-Instruct",
    gpu="A100 80GB",
    grade="mixed",
    source=(
        "prefill 0.094 ms/token as GORGO (arXiv 2602.11688) measured on A100; the rest from the"
        " data sheet: 14.5 GB of weights at 2.04 TB/s and 80 % of it, 131 kB of KV per token"
    ),
    engine=BatchingModel(
        timing=Timing(
            prefill=3_000.0,
            prefill_token=93.0,
            decode=8_900.0,
            decode_answer=15.0,
            decode_context=0.08,
        ),
        kv_tokens=410_000,
    ),
)
_SMOLLM2_ONE_THREAD: Final = Hardware(
    model="smollm2-135m-instruct",
    gpu="one thread of a 2-core AMD EPYC (llama.cpp, Q4_1)",
    grade="measured",
    source=(
        "our measurements of the embedded engine: prefill about 100 tokens/s, decode 61 to 72"
        " tokens/s alone and 74 to 81 for eight slots together; prompt batches of 64 tokens and"
        " 2,048 tokens of context per slot are its settings. `selvedge sim calibrate` fits it anew"
    ),
    engine=BatchingModel(
        timing=Timing(
            prefill=1_000.0,
            prefill_token=9_985.0,
            decode=2_930.0,
            decode_answer=12_455.0,
        ),
        kv_tokens=8 * 2048,
        slots=8,
        batch_tokens=72,
        block_tokens=1,
        in_flight_max=64,
    ),
)

HARDWARE: Final[Mapping[str, Hardware]] = MappingProxyType(
    {
        "mocker": _MOCKER,
        "llama-3.1-70b-4xh100": _LLAMA_70B_H100,
        "qwen3-32b-2xh100": _QWEN_32B_H100,
        "llama-3.1-8b-rtx-pro-6000": _LLAMA_8B_PRO_6000,
        "llama-3.1-8b-l4": _LLAMA_8B_L4,
        "mistral-7b-a100": _MISTRAL_7B_A100,
        "smollm2-135m-1-thread": _SMOLLM2_ONE_THREAD,
    }
)
"""The presets, by the name that scenarios use."""
