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
    """What somebody published of one start: GiB are of each GPU."""

    model: str
    gpu: str
    tp: int
    quantisation: str
    source: str
    tokens: int | None = None
    weights_gib: float | None = None
    """As loaded."""
    file_gib: float | None = None
    """Of all files."""
    kv_gib: float | None = None
    """Left for context; below 0: so much was missing."""
    memory_share: float = 0.9
    batch_tokens: int | None = None
    context: int | None = None
    note: str = ""
    binds: bool = False
    """Ours has to be within 10 % of it."""


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """A published figure with ours and the difference: a share of theirs, or of ``kv_gib`` GiB."""

    theirs: Measured
    what: str
    """``tokens``, ``weights_gib``, ``file_gib`` or ``kv_gib``."""
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
        serving = Serving(
            tp=row.tp,
            quantisation=find_format(row.quantisation),
            memory_share=row.memory_share,
            batch_tokens=row.batch_tokens,
            context=row.context,
        )
        ours = fit(architecture, gpu, serving)
        figures = {
            "tokens": (row.tokens, float(ours.kv_tokens)),
            "weights_gib": (row.weights_gib, ours.weights_bytes / GIB),
            "file_gib": (row.file_gib, ours.weights_bytes_all / GIB),
            "kv_gib": (row.kv_gib, ours.kv_bytes / GIB),
        }
        for what, (published, own) in figures.items():
            if published is not None:
                gap = own - published if what == "kv_gib" else own / published - 1
                found.append(
                    Checked(theirs=row, what=what, published=published, ours=own, difference=gap)
                )
    return found
