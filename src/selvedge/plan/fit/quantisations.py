"""Ways to write weights and context, in bits, and which parts of a model each of them touches."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from selvedge.adapters import QUANTISATIONS
from selvedge.plan.fit.names import nearest, shortened
from selvedge.plan.history import BadPlan

Parts = Literal["layers", "experts", "all"]


class Format(msgspec.Struct, frozen=True):
    """Bits of a weight with its scales, and where they apply; elsewhere weights have 16."""

    name: str
    bits: float
    parts: Parts
    """``layers``: matrices of the layers; ``experts``: those of chosen experts, or of all layers in
    a model without; ``all``: the whole file on average."""
    meaning: str
    is_gguf: bool = False


def _gguf(name: str, meaning: str) -> Format:
    return Format(name, QUANTISATIONS[name].millibits / 1000, "all", meaning, is_gguf=True)


FORMATS: Final[Mapping[str, Format]] = MappingProxyType(
    {
        row.name: row
        for row in (
            Format("BF16", 16.0, "all", "16 bits, as most are trained; FP16 takes the same"),
            Format("FP8", 8.0, "layers", "8-bit floats, scales by row or block"),
            Format("INT8", 8.0, "layers", "8-bit integers (W8A8), scales by row"),
            Format("INT4", 4.15625, "layers", "4 bits in groups of 128, scale and zero (GPTQ)"),
            Format("AWQ", 4.15625, "layers", "4 bits in groups of 128, scale and zero"),
            Format("MXFP4", 4.25, "experts", "4-bit floats in blocks of 32, a scale each"),
            _gguf("Q8_0", "llama.cpp's 8 bits in blocks of 32"),
            _gguf("Q4_K_M", "llama.cpp's 4 bits, parts in 6; on average of a file"),
        )
    }
)
_OTHER_NAMES: Final = MappingProxyType(
    {"FP16": "BF16", "F16": "BF16", "GPTQ": "INT4", "W8A8": "INT8"}
)
KV_BITS: Final[Mapping[str, float]] = MappingProxyType({"fp16": 16.0, "fp8": 8.0})
_KV_GGUF_BITS: Final = QUANTISATIONS["Q8_0"].millibits / 1000


def find_format(name: str) -> Format:
    """A row by name, whatever the case. Raises `BadPlan`."""
    wanted = name.upper()
    wanted = _OTHER_NAMES.get(wanted, wanted)
    found = FORMATS.get(wanted)
    if found is None:
        meant = nearest(name, [*FORMATS, *_OTHER_NAMES])
        words = f"{shortened(name)} is none of {', '.join(FORMATS)}{meant}"
        raise BadPlan(f"--quantisation: {words}.")
    return found


def kv_bits(kv: str, form: Format) -> float:
    """Of one number of context; 8-bit context beside GGUF is llama.cpp's Q8_0."""
    bits = KV_BITS[kv]
    return _KV_GGUF_BITS if form.is_gguf and bits < 16 else bits
