"""What to change where a model does not fit: each remedy tried by itself, and only what helps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from selvedge.plan.fit.architectures import Architecture
from selvedge.plan.fit.capacity import GIB, Serving, fit
from selvedge.plan.fit.gpus import Gpu, read_gpus
from selvedge.plan.fit.quantisations import FORMATS, KV_BITS
from selvedge.plan.history import BadPlan

TP_MAX: Final = 16
_SHOWN: Final = 3


def why_not(architecture: Architecture, gpu_name: str, gpu: Gpu, serving: Serving) -> str:
    """One sentence: what is missing. Raises `BadPlan`."""
    found = fit(architecture, gpu, serving)
    each = "on each GPU" if serving.tp > 1 else f"on one {gpu_name}"
    weights, usable = found.weights_bytes / GIB, found.usable_bytes / GIB
    if found.kv_bytes <= 0:
        reserve = found.reserve_bytes / GIB
        return (
            f"It does not fit: {weights:.1f} GiB of weights in {found.quantisation} and"
            f" {reserve:.1f} GiB for running them {each}, where {usable:.1f} GiB may be used."
        )
    return (
        f"It does not fit in {found.quantisation}: {found.kv_bytes / GIB:.1f} GiB are left for"
        f" context {each}, which holds {found.context_max:,} tokens of one request;"
        f" {found.context:,} were asked for."
    )


def remedies(architecture: Architecture, gpu_name: str, gpu: Gpu, serving: Serving) -> list[str]:
    """What would fit, the smallest change first; empty where nothing that is known would."""
    return [
        *_smaller(architecture, gpu, serving),
        *_other_kv(architecture, gpu, serving),
        *_tighter(architecture, gpu, serving),
        *_more(architecture, gpu_name, gpu, serving),
        *_shorter(architecture, gpu, serving),
        *_larger(architecture, gpu_name, serving),
    ]


def _fits(architecture: Architecture, gpu: Gpu, serving: Serving) -> bool:
    try:
        return fit(architecture, gpu, serving).fits
    except BadPlan:
        return False


def _smaller(architecture: Architecture, gpu: Gpu, serving: Serving) -> Iterator[str]:
    """The widest that fits, with context as it was, or in 8 bits too where nothing else does."""
    forms = sorted(FORMATS.items(), key=lambda item: -item[1].bits)
    for kv in dict.fromkeys((serving.kv, "fp8")):
        for name, form in forms:
            changed = msgspec.structs.replace(serving, quantisation=form, kv=kv)
            if form.bits < 0.9 * serving.quantisation.bits and _fits(architecture, gpu, changed):
                both = "" if kv == serving.kv else f" --kv {kv}"
                yield f"quantise to {name}: --quantisation {name}{both}"
                return


def _other_kv(architecture: Architecture, gpu: Gpu, serving: Serving) -> Iterator[str]:
    for kv, bits in KV_BITS.items():
        changed = msgspec.structs.replace(serving, kv=kv)
        if bits < KV_BITS[serving.kv] and _fits(architecture, gpu, changed):
            yield f"keep context in 8 bits: --kv {kv}"


def _tighter(architecture: Architecture, gpu: Gpu, serving: Serving) -> Iterator[str]:
    """More of the memory, and batches that need less of it for themselves."""
    changed = msgspec.structs.replace(
        serving, memory_share=0.95, batch_tokens=2048, sequences=min(256, gpu.sequences)
    )
    if serving.memory_share < 0.95 and _fits(architecture, gpu, changed):
        yield f"batch less: --memory 0.95 --batch-tokens 2048 --sequences {changed.sequences}"


def _more(architecture: Architecture, name: str, gpu: Gpu, serving: Serving) -> Iterator[str]:
    for tp in range(serving.tp + 1, TP_MAX + 1):
        if _fits(architecture, gpu, msgspec.structs.replace(serving, tp=tp)):
            yield f"take {tp} x {name}: --tp {tp}"
            return


def _shorter(architecture: Architecture, gpu: Gpu, serving: Serving) -> Iterator[str]:
    try:
        longest = fit(architecture, gpu, serving).context_max
    except BadPlan:
        return
    if longest >= 256:
        yield f"ask for less context: --context {longest}"


def _larger(architecture: Architecture, name: str, serving: Serving) -> Iterator[str]:
    found = [
        (gpu.price_usd, other)
        for other, gpu in read_gpus().items()
        if other != name and _fits(architecture, gpu, serving)
    ]
    names = [other for _, other in sorted(found)[:_SHOWN]]
    if names:
        count = f"{serving.tp} x " if serving.tp > 1 else ""
        yield f"take another GPU: {count}{' or '.join(names)}"
