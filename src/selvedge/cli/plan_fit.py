"""``selvedge plan fit``: whether a model fits on GPUs, and what would make it fit."""

from __future__ import annotations

import click
import msgspec

from selvedge.cli.home_option import json_option
from selvedge.cli.sheets import print_sheets
from selvedge.fabric import SelvedgeError


@click.command("fit")
@click.argument("model", required=False)
@click.option("--gpu", help="Type of GPU; without it: each type, with the fewest that fit.")
@click.option("--tp", type=int, help="GPUs that share each layer. Default: 1.")
@click.option("--quantisation", help="Of the weights, as FP8; without it: each.")
@click.option(
    "--kv",
    type=click.Choice(["fp16", "fp8"]),
    help="Of context; without it: both, or fp16 without --gpu.",
)
@click.option("--context", type=int, help="Tokens of one request. Default: 8192, or its most.")
@click.option(
    "--memory",
    default=0.9,
    show_default=True,
    help="Share of a GPU's memory that may be used, 0.1 to 1.",
)
@click.option(
    "--batch-tokens",
    type=click.IntRange(16, 1_048_576),
    help="Tokens of a batch. Default: vLLM's, 8192 or 2048 by GPU.",
)
@click.option(
    "--sequences",
    type=click.IntRange(1, 65_536),
    help="Requests of a batch. Default: vLLM's, 1024 or 256 by GPU.",
)
@click.option("--list", "listing", is_flag=True, help="Models, GPUs and quantisations it knows.")
@click.option("--published", is_flag=True, help="Capacities that others published, beside ours.")
@json_option
def fit(
    *, model: str | None, listing: bool, published: bool, as_json: bool, **asked: object
) -> None:
    """Weights, context and requests at once of MODEL (a name, or its config.json) on GPUs."""
    if listing + published + (model is not None) > 1:
        raise SelvedgeError("MODEL, --list and --published are three questions; ask one")
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
    print_sheets([sheet_of(found)])


def _published(as_json: bool) -> None:
    from selvedge.plan.fit import check_published, sheet_of_published  # noqa: PLC0415

    rows = check_published()
    if as_json:
        click.echo(msgspec.json.encode(rows))
        return
    print_sheets([sheet_of_published(rows)])


def _list(as_json: bool) -> None:
    from selvedge.plan.fit import known, sheets_of_known  # noqa: PLC0415

    if as_json:
        click.echo(msgspec.json.encode(known()))
        return
    print_sheets(sheets_of_known())
