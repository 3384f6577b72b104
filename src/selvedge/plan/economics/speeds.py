"""How many tokens an offer can serve each second, at a mix of prompts and answers.

Either as published or measured in all (`tokens_per_s`), or from prompts alone and answers alone,
which share the GPU's time; those may be the simulator's, fitted to published measurements.
"""

from __future__ import annotations

from typing import Final

import msgspec

from selvedge.plan.economics.inputs import Offer
from selvedge.plan.economics.quantities import Real, Values
from selvedge.sim import HARDWARE

_SECOND_US: Final = 1e6


class Speed(msgspec.Struct, frozen=True):
    """Tokens each second, by kind and in all, of one group of GPUs that share a model."""

    total: Real
    output: Real
    grade: str
    """``measured``, ``mixed`` or ``sheet`` of the simulator's; ``given`` by the file."""


def speed_of(offer: Offer, values: Values) -> Speed:
    """At the file's mix, with what of prompts is found in memory."""
    mix, reuse = values["demand.input_per_output"], values["demand.reuse_share"]
    name = f"offers.{offer.id}"
    whole = values.get(f"{name}.tokens_per_s")
    if whole is not None:
        return Speed(whole, whole / (1 + mix), "given")
    if offer.hardware is not None:
        lasting = values["demand.sustained_share"]
        prefill, decode = (one * lasting for one in _modelled(offer))
        grade: str = HARDWARE[offer.hardware].grade
    else:
        prefill, decode = values[f"{name}.prefill_per_s"], values[f"{name}.decode_per_s"]
        grade = "given"
    output = 1 / (mix * (1 - reuse) / prefill + 1 / decode)
    return Speed(output * (1 + mix), output, grade)


def _modelled(offer: Offer) -> tuple[Real, Real]:
    """Prompts alone and answers alone, with as many answers as memory and slots hold."""
    assert offer.hardware is not None
    engine = HARDWARE[offer.hardware].engine
    answers = max(1, min(engine.slots, engine.kv_tokens // offer.context_tokens))
    step = engine.timing.decode_us(answers, answers * offer.context_tokens)
    return float(engine.prefill_tokens_per_s), answers * _SECOND_US / step
