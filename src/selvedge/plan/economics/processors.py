"""The same demand on processors that idle: they are bought already, so only power is paid."""

from __future__ import annotations

import msgspec
import numpy as np

from selvedge.plan.economics.inputs import Inputs
from selvedge.plan.economics.margins import HOURS, MILLION, SECONDS, Unit
from selvedge.plan.economics.quantities import Real, Values


class OnProcessors(msgspec.Struct, frozen=True, kw_only=True):
    """A PoP without GPUs, by the year, in dollars."""

    full_mtokens: Real
    """At full use of the free cores."""
    sold_mtokens: Real
    profit: Real
    margin: Real
    cost_per_mtoken: Real
    first_token_s: Real
    """For a typical prompt, alone on all free cores."""


def on_processors(asked_mtokens: Real, unit: Unit, inputs: Inputs, values: Values) -> OnProcessors:
    """A PoP that is asked for so much, sold at the price of the offer that GPUs would serve."""
    mix, reuse = values["demand.input_per_output"], values["demand.reuse_share"]
    cores = values["cpu.cores_per_pop"]
    prompts, answers = values["cpu.prefill_per_s"], values["cpu.decode_per_s"]
    each = (1 + mix) / (mix * (1 - reuse) / prompts + 1 / answers)
    full = cores * each * SECONDS / MILLION
    sold = np.minimum(asked_mtokens, full * values["demand.use_max"])
    price = unit.earned / (unit.speed.total * SECONDS / MILLION)
    kwh = values["cpu.watts_per_core"] * HOURS / 1000 * values["power.pue"]
    power = kwh * values["power.usd_per_kwh"] / (each * SECONDS / MILLION)
    return OnProcessors(
        full_mtokens=full,
        sold_mtokens=sold,
        profit=sold * (price - power),
        margin=1 - power / price,
        cost_per_mtoken=power,
        first_token_s=inputs.cpu.prompt_tokens / (cores * prompts),
    )
