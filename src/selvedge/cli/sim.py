"""``selvedge sim``: the fabric in virtual time."""

from __future__ import annotations

import click

from selvedge.cli.sim_checks import calibrate, validate
from selvedge.cli.sim_commands import compare, explain, list_scenarios, run_scenario


@click.group()
def sim() -> None:
    """The serving code in virtual time: fleets, traffic, failures, policies, checks."""


for command in (list_scenarios, run_scenario, compare, explain, validate, calibrate):
    sim.add_command(command)
