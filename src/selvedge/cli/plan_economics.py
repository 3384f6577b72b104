"""``selvedge plan economics``: whether it pays, how sure that is, and what would have to be."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
import msgspec
from rich.console import Console
from rich.progress import Progress

from selvedge.adapters import read_prices
from selvedge.cli.home_option import json_option
from selvedge.cli.sheets import print_sheets
from selvedge.cli.terminal import printable
from selvedge.cli.tornado import draw_tornado
from selvedge.fabric import StoreFailed
from selvedge.plan import read_market, read_price_map

T = TypeVar("T")
_path = click.Path(path_type=Path)


@click.command("economics")
@click.argument("file", type=_path, required=False)
@click.option(
    "--utilisation",
    type=_path,
    help="The folder of `plan utilisation --parquet`: demand by PoP, use at night.",
)
@click.option("--book", type=_path, help="A price book: prices, and credits of its first SLA.")
@click.option("--map", "price_map", type=_path, help="A price map in LiteLLM's form.")
@click.option(
    "--draws",
    default=10_000,
    show_default=True,
    type=click.IntRange(100, 200_000),
    help="Chances to reckon.",
)
@click.option(
    "--seed", default=1, show_default=True, type=click.IntRange(0), help="Of the chances."
)
@click.option(
    "--tornado",
    metavar="FIGURE",
    help="The figure whose chart is drawn, by its name in the table of intervals.",
)
@click.option("--html", type=_path, help="Write it all as one page.")
@click.option("--svg", type=_path, help="Write the tornado chart.")
@click.option("--png", type=_path, help="Write the tornado chart (needs the extra 'charts').")
@click.option("--example", is_flag=True, help="Print the shipped example, to start a file from.")
@json_option
def economics(
    *,
    file: Path | None,
    utilisation: Path | None,
    book: Path | None,
    price_map: Path | None,
    draws: int,
    seed: int,
    tornado: str | None,
    html: Path | None,
    svg: Path | None,
    png: Path | None,
    example: bool,
    as_json: bool,
) -> None:
    """Reckon margins, break-even and prices of FILE; without one, the seed figures' example.

    FILE is YAML; `--example` prints one to start from. Money is US dollars, shares are 0 to 1.
    """
    from selvedge.plan.economics import (  # noqa: PLC0415
        Asked,
        answer,
        draw_page,
        draw_svg,
        place,
        read_inputs,
        read_observed,
        seed_path,
        sheets_of,
    )

    if example:
        click.echo(seed_path().read_text("utf-8"), nl=False)
        return
    market = read_market()
    asked = Asked(
        inputs=read_inputs(file or seed_path()),
        market=market if price_map is None else read_price_map(price_map, market, {}),
        book=None if book is None else read_prices(book),
        seen=None if utilisation is None else read_observed(utilisation),
        seed=seed,
        draws=draws,
        tornado_of=tornado,
    )
    found = _with_progress(lambda told: answer(asked, told), draws)
    chart = place(found.tornado_of, found.tornado_middle, found.tornado)
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        click.echo(f"{printable(found.title)}\n")
        print_sheets(sheets_of(found))
    if html is not None:
        _write(html, draw_page(found))
    if svg is not None:
        _write(svg, draw_svg(chart) + "\n")
    if png is not None:
        marks = [msgspec.structs.astuple(bar) for bar in chart.bars]
        middle = (chart.middle_x, chart.middle_words)
        draw_tornado(png, chart.title, (chart.width, chart.height), middle, marks)
    _tell([] if as_json else [html, svg, png])


def _tell(paths: list[Path | None]) -> None:
    for path in paths:
        if path is not None:
            click.echo(f"written to {printable(str(path))}")


def _with_progress(work: Callable[[Callable[[int, int], None]], T], draws: int) -> T:
    """Do it, with a bar on a terminal."""
    shows = sys.stderr.isatty()
    with Progress(console=Console(stderr=True), transient=True, disable=not shows) as bar:
        task = bar.add_task("draws", total=draws)
        return work(lambda done, total: bar.update(task, completed=done, total=total))


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        words = f"cannot write {path}: {error.strerror}; name another place"
        raise StoreFailed(words) from error
