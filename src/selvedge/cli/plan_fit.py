"""``selvedge plan fit``: whether a model fits on GPUs, and what would make it fit."""

from __future__ import annotations

import click
import msgspec

from selvedge.cli.home_option import json_option
from selvedge.cli.sheets import print_sheet
from selvedge.fabric import SelvedgeError


@click.command("fit")
@click.argument("model", required=False)
@click.option("--gpu", help="Type of GPU; without it: each type, with the fewest that fit.")
@click.option("--tp", type=int, help="GPUs that share each layer (default: 1).")
@click.option("--quantisation", help="Of the weights; without it: each.")
@click.option("--kv", type=click.Choice(["fp16", "fp8"]), help="Of context; without it: both.")
@click.option("--context", type=int, help="Tokens of one request (default: 8192, or its most).")
@click.option("--memory", default=0.9, show_default=True, help="Share of memory that may be used.")
@click.option("--batch-tokens", type=click.IntRange(16), help="Tokens of a batch (as vLLM).")
@click.option("--sequences", type=click.IntRange(1), help="Requests of a batch (as vLLM).")
@click.option("--list", "listing", is_flag=True, help="Models, GPUs and quantisations it knows.")
@click.option("--published", is_flag=True, help="Capacities that others published, beside ours.")
@json_option
def fit(
    *, model: str | None, listing: bool, published: bool, as_json: bool, **asked: object
) -> None:
    """Weights, context and requests at once of MODEL (a name, or its config.json) on GPUs."""
    if listing:
        _list(as_json)
    elif published:
        _published(as_json)
    elif model is None:
        raise SelvedgeError("MODEL is missing; name one, its config.json, or --list")
    else:
        _answer(model, asked, as_json)


def _answer(model: str, asked: dict[str, object], as_json: bool) -> None:
    from selvedge.plan.fit import Asked, answer, sheet_of  # noqa: PLC0415

    found = answer(msgspec.convert({"model": model, **asked}, Asked))
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    sheet = sheet_of(found)
    print_sheet(sheet.title, sheet.columns, sheet.rows, sheet.notes)


def _published(as_json: bool) -> None:
    from selvedge.plan.fit import check_published, sheet_of_published  # noqa: PLC0415

    rows = check_published()
    if as_json:
        click.echo(msgspec.json.encode(rows))
        return
    sheet = sheet_of_published(rows)
    print_sheet(sheet.title, sheet.columns, sheet.rows, sheet.notes)


def _list(as_json: bool) -> None:
    from selvedge.plan.fit import known, sheets_of_known  # noqa: PLC0415

    if as_json:
        click.echo(msgspec.json.encode(known()))
        return
    for number, sheet in enumerate(sheets_of_known()):
        title = f"\n{sheet.title}" if number else sheet.title
        print_sheet(title, sheet.columns, sheet.rows, sheet.notes)
