"""``selvedge plan``: where it idles, where GPUs go next, whether it pays.

Each command is a module of its own, and imports what it works with inside the function: NumPy,
DuckDB and HiGHS are an extra, and the rest of the command line starts without them.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

import click

from selvedge.cli.plan_demand import demand
from selvedge.cli.plan_economics import economics
from selvedge.cli.plan_fit import fit
from selvedge.cli.plan_ingest import ingest
from selvedge.cli.plan_retrofit import retrofit
from selvedge.cli.plan_synth import synth
from selvedge.cli.plan_utilisation import utilisation

_EXTRA: Final = ("duckdb", "highspy", "ibis", "jinja2", "numba", "numpy", "pyarrow", "tzdata")


@click.group()
@click.pass_context
def plan(context: click.Context) -> None:
    """Answer the operator's questions, offline, from the operator's own data."""
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing and not context.resilient_parsing:
        words = f"`selvedge plan` needs {', '.join(missing)}, which are not installed"
        raise click.ClickException(f"{words}; run: pip install 'selvedge[plan]'")


for command in (ingest, synth, utilisation, demand, retrofit, economics, fit):
    plan.add_command(command)
