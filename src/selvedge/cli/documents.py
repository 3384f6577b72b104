"""``selvedge docs``: the generated pages of the documentation."""

from __future__ import annotations

from pathlib import Path

import click

from selvedge.adapters import write_atomically
from selvedge.fabric import REFUSALS
from selvedge.pop import settings_table

NOTE = "<!-- Written by `make docs`; do not edit. -->\n"


@click.command()
@click.option("--write", is_flag=True, help="Write the pages under docs/ instead of printing.")
def docs(write: bool) -> None:
    """Print or write the pages that are made from tables in the code."""
    for name, text in pages().items():
        if write:
            write_atomically(Path("docs") / name, text.encode())
            click.echo(f"docs/{name}")
        else:
            click.echo(text)


def pages() -> dict[str, str]:
    """File name -> content of every generated page."""
    return {"settings.md": _settings(), "errors.md": _errors()}


def _settings() -> str:
    intro = (
        "# Settings of a PoP\n\nA YAML file (`selvedge pop --settings FILE`), then environment "
        "variables (`SELVEDGE_` and the name in capitals), then flags; the later wins. An unknown "
        "key stops the start.\n\n"
    )
    return NOTE + intro + settings_table()


def _errors() -> str:
    intro = (
        "# Errors\n\nEvery refusal, in OpenAI's shape. `retry` says whether an unchanged request "
        "can succeed later; it is sent as `x-should-retry`.\n\n"
    )
    rows = ["| code | status | type | fault | retry | meaning |", "|---|---|---|---|---|---|"]
    rows += [
        f"| `{kind.code}` | {kind.status} | {kind.type} | {kind.fault} | "
        f"{'yes' if kind.should_retry else 'no'} | {kind.meaning} |"
        for kind in REFUSALS.values()
    ]
    return NOTE + intro + "\n".join(rows) + "\n"
