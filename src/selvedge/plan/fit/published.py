"""Ours beside what others published: capacities for context, and sizes of weights."""

from __future__ import annotations

import tomllib
from importlib import resources

import msgspec

from selvedge.plan.fit.architectures import find_architecture
from selvedge.plan.fit.capacity import GIB, Serving, fit
from selvedge.plan.fit.gpus import find_gpu
from selvedge.plan.fit.quantisations import find_format


class Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A published figure: tokens of context, GiB of weights on each GPU, or both."""

    model: str
    gpu: str
    tp: int
    quantisation: str
    source: str
    tokens: int | None = None
    weights_gib: float | None = None
    memory_share: float = 0.9
    context: int | None = None
    note: str = ""
    binds: bool = False
    """Ours has to be within 10 % of it."""


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """A published figure with ours and the difference, as a share of theirs."""

    theirs: Measured
    what: str
    """``tokens`` or ``weights_gib``."""
    published: float
    ours: float
    difference: float


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reviewed: str
    rows: tuple[Measured, ...]


def read_measured() -> tuple[Measured, ...]:
    """The table of the package."""
    text = resources.files("selvedge.plan.fit").joinpath("published.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), _Table).rows


def check_published() -> list[Checked]:
    """Every published figure with ours beside it."""
    found = []
    for row in read_measured():
        _, architecture = find_architecture(row.model)
        _, gpu = find_gpu(row.gpu)
        form = find_format(row.quantisation)
        serving = Serving(
            tp=row.tp, quantisation=form, memory_share=row.memory_share, context=row.context
        )
        ours = fit(architecture, gpu, serving)
        if row.tokens is not None:
            found.append(_checked(row, "tokens", row.tokens, ours.kv_tokens))
        if row.weights_gib is not None:
            weights = ours.weights_bytes / GIB
            found.append(_checked(row, "weights_gib", row.weights_gib, weights))
    return found


def _checked(row: Measured, what: str, published: float, ours: float) -> Checked:
    difference = ours / published - 1
    return Checked(theirs=row, what=what, published=published, ours=ours, difference=difference)
