"""``selvedge engine``: one embedded engine, for a site that runs its PoP by hand."""

from __future__ import annotations

import os
import sys

import click

from selvedge.cli.engine_command import engine_command


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def engine(arguments: tuple[str, ...]) -> None:
    """Run one embedded engine (llama.cpp); 'selvedge engine --help' lists its options.

    'selvedge engine command MODEL --profile NAME' prints how another engine is started.
    """
    if arguments[:1] == ("command",):
        name = "selvedge engine command"
        engine_command.main(list(arguments[1:]), prog_name=name, standalone_mode=False)
        return
    argv = [sys.executable, "-m", "selvedge.adapters.embedded_engine", *arguments]
    os.execv(sys.executable, argv)
