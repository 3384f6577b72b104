"""What fits: a model's weights and context on some GPUs, accounted as vLLM does it.

vLLM takes a share of each GPU's memory (0.9), loads the weights, runs its largest batch once, and
gives the rest to context, in blocks of 16 tokens. What that trial run needs is the larger of two
peaks: activations of `batch_tokens` tokens, and the sampler's trial over `sequences` sequences
(logits as 16- and 32-bit floats, sorted with their places: 18 bytes each). Graphs are captured
afterwards, in the tenth that is left. GGUF files are held by llama.cpp; the same share and its
smaller compute buffer stand for it.

Keys and values are split over GPUs by heads; where there are more GPUs than heads, heads are held
twice, and latent attention is held whole by each.
"""

from __future__ import annotations

from typing import Final

import msgspec

from selvedge.plan.fit.architectures import Architecture
from selvedge.plan.fit.gpus import Gpu
from selvedge.plan.fit.quantisations import Format, kv_bits
from selvedge.plan.history import BadPlan

GIB: Final = 1024**3
BLOCK_TOKENS: Final = 16
FIXED_GIB: Final = 0.6
"""Of each GPU: context, workspaces of libraries, what fragments."""
TOGETHER_GIB: Final = 0.3
"""Of each of several GPUs: buffers of collective operations."""
EXPERTS_SHARE: Final = 0.04
"""Of experts' bytes on a GPU: what models with experts need beyond the peaks that are reckoned, by
start-up logs of 2025. Why is not known to us."""
_SAMPLER_BYTES: Final = 18
_PADDED_HIDDEN: Final = 256
_PADDED_INTERMEDIATE: Final = 128
"""To multiples of these the kernels for MXFP4 fill up each expert's matrices."""


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is served."""

    tp: int = 1
    """GPUs that share each layer."""
    quantisation: Format
    kv: str = "fp16"
    context: int | None = None
    """Tokens of one request; None: 8,192, or what the model can."""
    memory_share: float = 0.9
    batch_tokens: int | None = None
    sequences: int | None = None


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """What comes of it. Bytes are of one GPU unless it says otherwise."""

    quantisation: str
    kv: str
    tp: int
    weights_bytes: int
    """As they are loaded."""
    weights_bytes_all: int
    """As they are in files."""
    reserve_bytes: int
    usable_bytes: int
    kv_bytes: int
    """For context; below 0: so much is missing for the weights alone."""
    kv_bytes_per_token: int
    """Of all layers and GPUs, where each layer keeps the whole context."""
    kv_tokens: int
    """As vLLM prints it: as if every layer kept every token."""
    context: int
    context_max: int
    """The longest single request."""
    requests: float
    """Of ``context`` tokens at once."""
    fits: bool


def default_context(architecture: Architecture) -> int:
    """What a request is taken to hold where nobody says."""
    return min(8192, architecture.context_tokens_max)


def check_serving(architecture: Architecture, serving: Serving) -> None:
    """Raises `BadPlan` for what no engine would start with."""
    tp, heads, kv_heads = serving.tp, architecture.heads, architecture.kv_heads
    if tp < 1 or heads % tp:
        divisors = [str(n) for n in range(1, min(heads, 64) + 1) if heads % n == 0]
        words = f"the model's {heads} attention heads are split evenly: {', '.join(divisors)}"
        raise BadPlan(f"--tp: {tp} GPUs cannot share it; {words}.")
    if architecture.latent is None and kv_heads % tp and tp % kv_heads:
        words = f"{kv_heads} heads of keys and values neither divide it nor are divided by it"
        raise BadPlan(f"--tp: {tp} GPUs cannot share it: {words}.")
    if not 0.1 <= serving.memory_share <= 1.0:
        raise BadPlan(f"--memory: {serving.memory_share} is not from 0.1 to 1; vLLM takes 0.9.")
    most = architecture.context_tokens_max
    if serving.context is not None and not 1 <= serving.context <= most:
        raise BadPlan(f"--context: {serving.context} is not from 1 to the model's {most} tokens.")


def fit(architecture: Architecture, gpu: Gpu, serving: Serving) -> Fit:
    """Account for everything. Raises `BadPlan` where the question itself is wrong."""
    check_serving(architecture, serving)
    whole, shared = _weights(architecture, serving)
    reserve = reserve_bytes(architecture, gpu, serving)
    usable = int(gpu.memory_gib * GIB * serving.memory_share)
    free = usable - shared - reserve
    page = _kv_of_layer(architecture, serving) * BLOCK_TOKENS
    pages = max(0, int(free // page))
    batch = _batch_tokens(gpu, serving)
    context = serving.context or default_context(architecture)
    longest = _longest(architecture, pages, batch)
    requests = pages / _pages_of(architecture, context, batch)
    return Fit(
        quantisation=serving.quantisation.name,
        kv=serving.kv,
        tp=serving.tp,
        weights_bytes=shared,
        weights_bytes_all=whole,
        reserve_bytes=reserve,
        usable_bytes=usable,
        kv_bytes=free,
        kv_bytes_per_token=kv_bytes_per_token(architecture, serving),
        kv_tokens=pages // architecture.layers * BLOCK_TOKENS,
        context=context,
        context_max=longest,
        requests=requests,
        fits=requests >= 1,
    )


def _weights(architecture: Architecture, serving: Serving) -> tuple[int, int]:
    """Bytes of all weights, and of those that one GPU holds."""
    counted, form, tp = architecture.count(), serving.quantisation, serving.tp
    has_experts = counted.experts > 0
    everywhere = form.parts == "all"
    layers = form.bits if form.parts != "experts" or not has_experts else 16.0
    rest = form.bits if everywhere else 16.0
    split = counted.attention * layers + counted.dense * layers + counted.kept * rest
    split += counted.experts * form.bits
    narrow, small = counted.key_value * layers, counted.small * (rest if everywhere else 16.0)
    whole = (split + narrow + small) / 8
    copies = tp if architecture.latent else max(1, tp // architecture.kv_heads)
    shared = (split / tp + narrow * copies / tp + small) / 8
    shared += _experts_bytes(architecture, serving) - counted.experts * form.bits / 8 / tp
    return int(whole), int(shared)


def _experts_bytes(architecture: Architecture, serving: Serving) -> float:
    """Of one GPU, filled up where the kernels want it."""
    counted, form, tp = architecture.count(), serving.quantisation, serving.tp
    plain = counted.experts * form.bits / 8 / tp
    if form.parts != "experts" or not counted.experts:
        return plain
    hidden, inner = architecture.hidden, architecture.expert_intermediate / tp
    wider = -(-hidden // _PADDED_HIDDEN) * _PADDED_HIDDEN / hidden
    return plain * wider * (-(-inner // _PADDED_INTERMEDIATE) * _PADDED_INTERMEDIATE / inner)


def reserve_bytes(architecture: Architecture, gpu: Gpu, serving: Serving) -> int:
    """What one GPU needs beside weights and context."""
    fixed = FIXED_GIB + (TOGETHER_GIB if serving.tp > 1 else 0.0)
    if serving.quantisation.is_gguf:
        peak = 512 * 4 * (architecture.vocab + 8 * architecture.hidden)
    else:
        peak = max(_forward_bytes(architecture, gpu, serving), _sampler(architecture, gpu, serving))
        peak += int(EXPERTS_SHARE * _experts_bytes(architecture, serving))
    return int(fixed * GIB) + peak


def _sampler(architecture: Architecture, gpu: Gpu, serving: Serving) -> int:
    sequences = min(serving.sequences or gpu.sequences, _batch_tokens(gpu, serving))
    return sequences * architecture.vocab * _SAMPLER_BYTES


def _batch_tokens(gpu: Gpu, serving: Serving) -> int:
    return serving.batch_tokens or gpu.batch_tokens


def _forward_bytes(architecture: Architecture, gpu: Gpu, serving: Serving) -> int:
    """Activations in 16 bits: the stream twice, the widest product, and experts' rows."""
    tp, hidden = serving.tp, architecture.hidden
    wide = 3 * max(architecture.intermediate, architecture.heads * architecture.head_dim) // tp
    each = 3 * hidden + wide
    if architecture.experts:
        narrow = architecture.expert_intermediate // tp
        each += architecture.experts_active * (max(2 * narrow, hidden) + narrow)
    return 2 * each * _batch_tokens(gpu, serving)


def _kv_of_layer(architecture: Architecture, serving: Serving) -> float:
    """Bytes of one token in one layer on one GPU."""
    bits = kv_bits(serving.kv, serving.quantisation)
    if architecture.latent is not None:
        numbers = architecture.latent.kv_rank + architecture.latent.rope_dim
    else:
        numbers = 2 * max(1, architecture.kv_heads // serving.tp) * architecture.head_dim
    return numbers * bits / 8


def kv_bytes_per_token(architecture: Architecture, serving: Serving) -> int:
    """Bytes of one token in all layers, on all GPUs together."""
    return int(_kv_of_layer(architecture, serving) * architecture.layers * serving.tp)


def _pages_of(architecture: Architecture, context: int, batch: int) -> int:
    """Blocks of all layers that one request holds at most.

    A layer with a window keeps it, and what a batch adds before the old is let go.
    """
    full = -(-context // BLOCK_TOKENS)
    pages = architecture.full_layers * full
    if architecture.window is not None:
        kept = min(architecture.window - 1 + batch, context)
        pages += architecture.windowed_layers * min(full, -(-kept // BLOCK_TOKENS) + 1)
    return max(1, pages)


def _longest(architecture: Architecture, pages: int, batch: int) -> int:
    """The longest request that the blocks hold, to a block; at most what the model can."""
    low, high = 0, -(-architecture.context_tokens_max // BLOCK_TOKENS)
    while low < high:
        middle = (low + high + 1) // 2
        if _pages_of(architecture, middle * BLOCK_TOKENS, batch) <= pages:
            low = middle
        else:
            high = middle - 1
    return min(low * BLOCK_TOKENS, architecture.context_tokens_max)
