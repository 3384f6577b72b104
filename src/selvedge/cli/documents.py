"""``selvedge docs``: the generated pages of the documentation."""

from __future__ import annotations

from pathlib import Path

import click

from selvedge.adapters import write_atomically
from selvedge.control import ControlSettings, admin_errors_table, roles_table
from selvedge.fabric import REFUSALS
from selvedge.pop import Settings, settings_table

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
    return {
        "settings.md": _settings(),
        "errors.md": _errors(),
        "control-reference.md": _control(),
    }


def _settings() -> str:
    intro = (
        "# Settings of a PoP\n\nA YAML file (`selvedge pop --settings FILE`), then environment "
        "variables (`SELVEDGE_` and the name in capitals), then flags; the later wins. An unknown "
        "key stops the start.\n\n"
    )
    return NOTE + intro + settings_table(Settings)


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


def _control() -> str:
    words = (
        "# The control process: settings, roles, errors\n\nWhat it is and how it is run: "
        "[control.md](control.md).\n\n## Settings\n\nA YAML file (`selvedge control run --settings "
        "FILE`), then environment variables (`SELVEDGE_CONTROL_` and the name in capitals), then "
        "flags; the later wins. An unknown key stops the start.\n\n"
    )
    roles = "\n## Roles\n\nWho may do what. A grant of one tenant reaches nothing of another.\n\n"
    errors = (
        "\n## Errors of the admin API\n\n`retry` says whether the same request can succeed later; "
        "it is sent as `x-should-retry`.\n\n"
    )
    table = settings_table(ControlSettings)
    return NOTE + words + table + roles + roles_table() + errors + admin_errors_table()
