"""``selvedge plan``: where it idles, where GPUs go next, whether it pays.

Each command is a module of its own, and imports what it works with inside the function: NumPy,
DuckDB and HiGHS are an extra, and the rest of the command line starts without them.
"""

from __future__ import annotations

import click

from selvedge.cli.plan_retrofit import retrofit


@click.group()
def plan() -> None:
    """Answer the operator's questions, offline, from the operator's own data."""


plan.add_command(retrofit)
