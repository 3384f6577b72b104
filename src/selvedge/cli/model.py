"""``selvedge model``: the catalogue of models that comes with the package."""

from __future__ import annotations

import click
import msgspec
from rich.table import Table

from selvedge.adapters import QUANTISATIONS, KnownModel, ModelCatalogue, read_catalogue
from selvedge.cli.home_option import json_option
from selvedge.cli.tables import console
from selvedge.fabric import SelvedgeError

_MILLION, _BILLION = 10**6, 10**9
_GB = 10**9


@click.group()
def model() -> None:
    """Look at the catalogue of models."""


@model.command(name="list")
@json_option
def list_(as_json: bool) -> None:
    """List the models that a fleet file may take by 'catalogue: NAME'."""
    catalogue = read_catalogue()
    if as_json:
        click.echo(msgspec.json.encode(catalogue))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("model", "kind", "parameters", "context", "licence", "quantisations"):
        table.add_column(name, justify="right" if name in ("parameters", "context") else "left")
    for name, row in catalogue.models.items():
        kind = f"adapter of {row.base}" if row.base else row.kind
        sizes = ", ".join(row.quantisations) or "its base's"
        context = f"{row.context_tokens_max:,}"
        table.add_row(name, kind, _parameters(row), context, row.licence, sizes)
    out = console()
    out.print(table)
    out.print(f"\nreviewed {catalogue.reviewed}; check licences and figures before you sell")


@model.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show one model: its facts, and about how large its weights are in each quantisation."""
    catalogue = read_catalogue()
    row = catalogue.models.get(name)
    if row is None:
        raise SelvedgeError(f"no model {name!r}; 'selvedge model list' shows what there is")
    if as_json:
        click.echo(msgspec.json.encode({"name": name, **_facts(catalogue, name, row)}))
        return
    out = console()
    out.print(f"{name}, as of {catalogue.reviewed}")
    for fact, value in _facts(catalogue, name, row).items():
        if fact != "weights_bytes" and value not in (None, [], ()):
            shown = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
            out.print(f"  {fact}: {shown:,}" if isinstance(shown, int) else f"  {fact}: {shown}")
    table = Table(box=None, pad_edge=False)
    for column in ("quantisation", "about GB", "read by", "what it is"):
        table.add_column(column, justify="right" if column == "about GB" else "left")
    for one in row.quantisations:
        facts = QUANTISATIONS[one]
        readers = {"gpu": "vLLM, SGLang", "both": "all"}.get(facts.engines, facts.engines)
        table.add_row(one, f"{row.weights_bytes(one) / _GB:.2f}", readers, facts.meaning)
    if row.quantisations:
        out.print()
        out.print(table)


def _parameters(row: KnownModel) -> str:
    if row.parameters < _BILLION:
        return f"{row.parameters / _MILLION:,.1f} M"
    if row.active_parameters is None:
        return f"{row.parameters / _BILLION:,.2f} B"
    return f"{row.parameters / _BILLION:,.2f} B ({row.active_parameters / _BILLION:,.2f} active)"


def _facts(catalogue: ModelCatalogue, name: str, row: KnownModel) -> dict[str, object]:
    facts: dict[str, object] = msgspec.structs.asdict(row)
    facts["kv_bytes_per_token"] = row.kv_bytes_per_token
    facts["adapters"] = catalogue.adapters_of(name)
    facts["weights_bytes"] = {one: row.weights_bytes(one) for one in row.quantisations}
    return facts
