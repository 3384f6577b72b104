"""``selvedge engine``: one embedded engine, for a site that runs its PoP by hand."""

from __future__ import annotations

import os
import sys

import click


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def engine(arguments: tuple[str, ...]) -> None:
    """Run one embedded engine (llama.cpp); 'selvedge engine --help' lists its options."""
    argv = [sys.executable, "-m", "selvedge.adapters.embedded_engine", *arguments]
    os.execv(sys.executable, argv)
