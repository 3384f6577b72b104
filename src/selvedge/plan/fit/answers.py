"""A question about a model and GPUs, and everything that is said in answer."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from selvedge.plan.fit.architectures import Architecture, find_architecture, read_architectures
from selvedge.plan.fit.capacity import GIB, Fit, Serving, fit
from selvedge.plan.fit.config_json import read_config
from selvedge.plan.fit.gpus import Gpu, find_gpu, read_gpus
from selvedge.plan.fit.published import Checked
from selvedge.plan.fit.quantisations import FORMATS, KV_BITS, Format, find_format
from selvedge.plan.fit.remedies import TP_MAX, remedies, why_not
from selvedge.plan.fit.sheets import Sheet
from selvedge.plan.history import BadPlan

_TPS: Final = (1, 2, 4, 8, 16)
_FIGURES: Final = {
    "tokens": ("KV tokens", 0),
    "weights_gib": ("weights loaded, GiB", 2),
    "file_gib": ("weights in files, GiB", 2),
    "kv_gib": ("left for KV, GiB", 2),
}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A question. What is None is answered for all that there are."""

    model: str
    gpu: str | None = None
    tp: int | None = None
    quantisation: str | None = None
    kv: str | None = None
    context: int | None = None
    memory: float = 0.9
    batch_tokens: int | None = None
    sequences: int | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One way to serve it."""

    gpu: str
    fit: Fit


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to say."""

    model: str
    source: str
    parameters: int
    active_parameters: int
    native: str
    gpu: str | None
    rows: tuple[Row, ...]
    why_not: str = ""
    """Of the first row, where it does not fit; or of all, where there is none."""
    remedies: tuple[str, ...] = ()


def answer(asked: Asked) -> Answer:
    """Answer it. Raises `BadPlan` for what cannot be asked."""
    name, architecture = _architecture(asked.model)
    gpu = None if asked.gpu is None else find_gpu(asked.gpu)
    forms = _forms(asked, architecture)
    words, ways = "", []
    if gpu is None:
        rows = _over_gpus(asked, architecture, forms)
        if not rows:
            count = f"{_tp(asked)} of them" if asked.tp is not None else f"up to {max(_TPS)} GPUs"
            words = f"It fits on no GPU that is known, {count}: {_lighter(asked)}."
    else:
        rows = _on_one(asked, architecture, gpu, forms)
        if not rows[0].fit.fits:
            serving = _serving(asked, forms[0], _tp(asked), rows[0].fit.kv)
            words = why_not(architecture, *gpu, serving)
            ways = remedies(architecture, *gpu, serving)
    return Answer(
        model=name,
        source=architecture.source,
        parameters=architecture.parameters or architecture.count().total,
        active_parameters=architecture.active_parameters(),
        native=architecture.native,
        gpu=None if gpu is None else gpu[0],
        rows=tuple(rows),
        why_not=words,
        remedies=tuple(ways),
    )


def _lighter(asked: Asked) -> str:
    """What may still help where no GPU does."""
    ways = [] if asked.tp is None else [f"raise --tp above {asked.tp}"]
    ways += [] if asked.quantisation is None else ["leave --quantisation out"]
    ways += ["--kv fp8"] if asked.kv != "fp8" else []
    return ", or ".join([*ways, "shorten --context"])


def _architecture(model: str) -> tuple[str, Architecture]:
    path = Path(model)
    if path.suffix == ".json" or path.is_dir():
        return read_config(path)
    return find_architecture(model)


def _forms(asked: Asked, architecture: Architecture) -> list[Format]:
    """The one that was asked for, or all: the makers' own first."""
    if asked.quantisation is not None:
        return [find_format(asked.quantisation)]
    native = FORMATS[architecture.native]
    return [native, *(form for form in FORMATS.values() if form is not native)]


def _serving(asked: Asked, form: Format, tp: int, kv: str) -> Serving:
    return Serving(
        tp=tp,
        quantisation=form,
        kv=kv,
        context=asked.context,
        memory_share=asked.memory,
        batch_tokens=asked.batch_tokens,
        sequences=asked.sequences,
    )


def _tp(asked: Asked) -> int:
    return 1 if asked.tp is None else asked.tp


def _on_one(
    asked: Asked, architecture: Architecture, gpu: tuple[str, Gpu], forms: list[Format]
) -> list[Row]:
    rows = []
    for form in forms:
        for kv in (asked.kv,) if asked.kv else KV_BITS:
            serving = _serving(asked, form, _tp(asked), kv)
            rows.append(Row(gpu=gpu[0], fit=fit(architecture, gpu[1], serving)))
    return rows


def _over_gpus(asked: Asked, architecture: Architecture, forms: list[Format]) -> list[Row]:
    """For each type of GPU and each quantisation, the fewest that fit."""
    rows = []
    for name, gpu in read_gpus().items():
        for form in forms:
            for tp in _TPS if asked.tp is None else (asked.tp,):
                serving = _serving(asked, form, tp, asked.kv or "fp16")
                try:
                    found = fit(architecture, gpu, serving)
                except BadPlan:
                    if asked.tp is not None or tp == 1:
                        raise
                    continue
                if found.fits:
                    rows.append(Row(gpu=name, fit=found))
                    break
    return rows


def sheet_of(found: Answer) -> Sheet:
    """An answer as a table of words."""
    columns = (
        *("gpu", ">gpus", "quantisation", "context in", ">weights GiB", ">KV GiB"),
        *(">KV kB/token", ">KV tokens", ">longest", ">requests at once", "fits"),
    )
    rows = [_words(row) for row in found.rows]
    context = found.rows[0].fit.context if found.rows else 0
    billions = found.parameters / 1e9
    about = f"{found.model}: {billions:.2f} billion parameters, released in {found.native}"
    if found.active_parameters < 0.95 * found.parameters:
        about += f", {found.active_parameters / 1e9:.2f} billion for a token"
    notes = [f"source: {found.source}"]
    if found.rows:
        notes.append(f"weights and KV: of each GPU; requests of {context:,} tokens")
    notes += [found.why_not] if found.why_not else []
    notes += [f"  {way}" for way in found.remedies]
    if found.rows and found.why_not and not found.remedies:
        notes.append(f"  nothing that is known would fit, up to {TP_MAX} GPUs")
    return Sheet(title=about, columns=columns, rows=tuple(rows), notes=tuple(notes))


def _words(row: Row) -> tuple[str, ...]:
    one = row.fit
    has_room = one.kv_bytes > 0
    return (
        row.gpu,
        str(one.tp),
        one.quantisation,
        one.kv,
        f"{one.weights_bytes / GIB:.2f}",
        f"{one.kv_bytes / GIB:.2f}",
        f"{one.kv_bytes_per_token / 1000:.1f}",
        f"{one.kv_tokens:,}" if has_room else "-",
        f"{one.context_max:,}" if has_room else "-",
        f"{one.requests:.1f}" if has_room else "-",
        "yes" if one.fits else "no",
    )


def sheet_of_published(rows: list[Checked]) -> Sheet:
    """The check against published figures as a table of words."""
    columns = ("model", "gpu", ">gpus", "weights in", "what", ">published", ">ours", ">difference")
    found = []
    for one in rows:
        name, digits = _FIGURES[one.what]
        gap = f"{one.difference:+.2f} GiB" if one.what == "kv_gib" else f"{one.difference:+.1%}"
        found.append(
            (
                *(one.theirs.model, one.theirs.gpu, str(one.theirs.tp), one.theirs.quantisation),
                *(name, f"{one.published:,.{digits}f}", f"{one.ours:,.{digits}f}", gap),
            )
        )
    notes = [f"{one.theirs.model}: {one.theirs.source}{_note(one)}" for one in rows]
    title = "Published figures beside ours"
    return Sheet(title=title, columns=columns, rows=tuple(found), notes=tuple(dict.fromkeys(notes)))


def _note(one: Checked) -> str:
    return f" ({one.theirs.note})" if one.theirs.note else ""


def known() -> dict[str, object]:
    """The tables of models, GPUs and quantisations."""
    return {
        "models": dict(read_architectures()),
        "gpus": dict(read_gpus()),
        "quantisations": list(FORMATS.values()),
    }


def sheets_of_known() -> list[Sheet]:
    """Models, GPUs and quantisations that are known."""
    models = tuple(
        (
            *(name, f"{(row.parameters or 0) / 1e9:.2f}", str(row.layers)),
            "latent" if row.latent else f"{row.kv_heads} x {row.head_dim}",
            f"{row.window} in {row.windowed_layers}" if row.window else "",
            *(f"{row.context_tokens_max:,}", row.native, row.source),
        )
        for name, row in read_architectures().items()
    )
    gpus = tuple(
        (
            *(name, f"{row.memory_gib:.2f}", f"{row.bandwidth_gb_s:,.0f}", f"{row.tflops_16:,.0f}"),
            *(f"{row.tflops_8:,.0f}" if row.tflops_8 else "", str(row.watts)),
            *(f"${row.price_usd:,}", row.price_as_of, row.price_source),
        )
        for name, row in read_gpus().items()
    )
    forms = tuple((row.name, f"{row.bits:g}", row.parts, row.meaning) for row in FORMATS.values())
    return [
        Sheet(
            title="Models",
            columns=(
                *("model", ">billions", ">layers", ">KV heads", ">window", ">context"),
                *("released in", "source"),
            ),
            rows=models,
        ),
        Sheet(
            title="GPUs",
            columns=(
                *("gpu", ">GiB", ">GB/s", ">TFLOPS 16", ">TFLOPS 8", ">W", ">price"),
                *("as of", "whose figure"),
            ),
            rows=gpus,
            notes=("prices: check before use, one card, without its server",),
        ),
        Sheet(title="Quantisations", columns=("name", ">bits", "of", "meaning"), rows=forms),
    ]
