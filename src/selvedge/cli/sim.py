"""``selvedge sim``: the fabric in virtual time."""

from __future__ import annotations

import click

from selvedge.cli.sim_checks import calibrate, validate


@click.group()
def sim() -> None:
    """The fabric in virtual time: checks of the simulator, and calibration of its engines."""


for command in (validate, calibrate):
    sim.add_command(command)
