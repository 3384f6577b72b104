"""``selvedge engine command``: how an engine that is met by URL is started for a model."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import get_args

import click
import msgspec

from selvedge.adapters import (
    QUANTISATIONS,
    STARTED,
    WRITTEN_BEFORE,
    KnownModel,
    ModelConfig,
    Speculation,
    SpeculationKind,
    ToStart,
    command_for,
    read_catalogue,
    read_config,
)
from selvedge.cli.home_option import json_option
from selvedge.fabric import BadSetting, SelvedgeError


@click.command(name="command")
@click.argument("model")
@click.option(
    "--profile", type=click.Choice([*STARTED, "llamacpp"]), required=True, help="Kind of engine."
)
@click.option(
    "--fleet",
    type=click.Path(path_type=Path),
    help="Fleet file: MODEL is one of its models, with their settings and adapters.",
)
@click.option("--quantisation", help="Another than the settings' or the catalogue's first.")
@click.option("--speculation", type=click.Choice(get_args(SpeculationKind)), default=None)
@click.option("--draft-tokens", type=int, default=None, help="Tokens that are guessed at a time.")
@click.option("--lookup-tokens", type=int, default=None, help="Of ngram: tokens that must match.")
@click.option("--draft-model", default=None, help="Of draft: who guesses.")
@click.option("--weights", help="Repository, folder or GGUF file, for another than the usual.")
@click.option("--adapter", "adapters", multiple=True, metavar="NAME=PATH", help="Adapter (LoRA).")
@click.option("--context", type=click.IntRange(64), default=None, help="Tokens of context.")
@click.option("--slots", type=click.IntRange(1, 64), default=4, show_default=True)
@click.option("--port", type=click.IntRange(1, 65_535), default=8000, show_default=True)
@json_option
def engine_command(
    *,
    model: str,
    profile: str,
    fleet: Path | None,
    quantisation: str | None,
    weights: str | None,
    adapters: tuple[str, ...],
    context: int | None,
    slots: int,
    port: int,
    as_json: bool,
    **guessing: str | int | None,
) -> None:
    """Print the command that starts an engine for MODEL, of the catalogue or a fleet file."""
    if quantisation is not None and quantisation not in QUANTISATIONS:
        words = f"{quantisation!r} is none of {', '.join(QUANTISATIONS)}"
        raise BadSetting("quantisation", words)
    asked = _of_fleet(fleet, model) if fleet is not None else _of_catalogue(model)
    named = tuple(_adapter(one) for one in adapters)
    changes = {
        "quantisation": quantisation,
        "context_tokens_max": context,
        "weights": weights,
        "gguf": weights,
        "adapters": (*(one for one in asked.adapters if one[0] not in dict(named)), *named),
        "speculation": _speculation(asked.speculation, guessing),
    }
    given = {name: value for name, value in changes.items() if value is not None}
    profile = "llama.cpp" if profile == "llamacpp" else profile
    asked = msgspec.structs.replace(asked, slots=slots, port=port, **given)
    if asked.quantisation in WRITTEN_BEFORE and weights is None:
        words = f"{asked.quantisation} weights are written before they are served; name theirs"
        raise BadSetting("weights", words)
    argv = command_for(profile, asked)
    served = [asked.name, *(name for name, _ in asked.adapters)]
    if profile == "llama.cpp" and asked.adapters:
        served = served[1:]
    if as_json:
        facts = {"profile": profile, "argv": argv, "serves": served, "asked": asked}
        click.echo(msgspec.json.encode(facts))
        return
    click.echo(shlex.join(argv))
    click.echo(f"in the fleet file: profile: {profile}, serves: {', '.join(served)}", err=True)


def _of_catalogue(name: str) -> ToStart:
    catalogue = read_catalogue()
    row = catalogue.models.get(name)
    if row is None:
        raise SelvedgeError(f"no model {name!r}; 'selvedge model list' shows what there is")
    if row.base is None:
        return _of_row(name, row)
    asked = _of_row(row.base, catalogue.models[row.base])
    return _with_adapters(asked, (name,), row.adapter_rank)


def _of_row(name: str, row: KnownModel) -> ToStart:
    return ToStart(
        name=name,
        kind=row.kind,
        context_tokens_max=row.context_tokens_max,
        weights=row.source,
        gguf=row.gguf,
        quantisation=row.quantisations[0] if row.quantisations else "unknown",
    )


def _of_fleet(path: Path, name: str) -> ToStart:
    models = read_config(path).models
    if name not in models:
        raise SelvedgeError(f"{path} has no model {name!r}; it has {', '.join(models)}")
    base = models[name].base or name
    adapters = [one for one, config in models.items() if config.base == base]
    asked = _of_config(base, models[base])
    return _with_adapters(asked, tuple(adapters) if base == name else (name,), None)


def _of_config(name: str, config: ModelConfig) -> ToStart:
    row = read_catalogue().models.get(config.catalogue or "")
    return ToStart(
        name=name,
        kind=config.kind,
        context_tokens_max=config.context_tokens_max,
        weights=row.source if row else config.weights,
        gguf=row.gguf if row else config.weights,
        quantisation=config.quantisation,
        speculation=config.speculation,
    )


def _with_adapters(asked: ToStart, names: tuple[str, ...], rank: int | None) -> ToStart:
    """Where their weights lie is the engine's site's to say; `adapters/NAME` stands for it."""
    found = tuple((name, f"adapters/{name}") for name in names)
    rank = rank or asked.adapter_rank
    return msgspec.structs.replace(asked, adapters=found, adapter_rank=rank)


def _adapter(text: str) -> tuple[str, str]:
    name, sign, place = text.partition("=")
    if not (name and sign and place):
        raise BadSetting("adapter", f"{text!r} is not NAME=PATH")
    return name, place


def _speculation(known: Speculation, given: dict[str, str | int | None]) -> Speculation:
    """The settings with what the command line says instead."""
    named = {
        "kind": given["speculation"],
        "draft_tokens": given["draft_tokens"],
        "lookup_tokens": given["lookup_tokens"],
        "model": given["draft_model"],
    }
    fields = {name: value for name, value in named.items() if value is not None}
    kept = msgspec.structs.asdict(known)
    if fields.get("kind") not in (None, "draft"):
        kept["model"] = None
    try:
        return msgspec.convert({**kept, **fields}, Speculation)
    except msgspec.ValidationError as error:
        raise BadSetting("speculation", str(error)) from error
