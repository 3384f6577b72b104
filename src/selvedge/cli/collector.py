"""``selvedge collector``: one zone's collector of receipts."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import click
import uvloop

from selvedge.adapters import die_with_parent
from selvedge.cli.pop import tune_collector
from selvedge.control import CollectorSettings, run_collector
from selvedge.ledger import SEGMENT_BYTES_MAX

SWITCH_S = 0.0005
"""The thread that has synced should not wait five milliseconds to say so."""
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "SELVEDGE_COLLECTOR"})
@click.option("--zone", required=True, help="The zone whose receipts are collected.")
@click.option("--listen", required=True, help="host:port to serve PoPs on.")
@click.option(
    "--directory",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where receipts are kept.",
)
@click.option("--release-file", required=True, type=_FILE, help="Signed release to watch.")
@click.option("--operator-public-key", required=True, help="Ed25519 key that signs releases.")
@click.option("--key-file", required=True, type=_FILE, help="X25519 key of this collector.")
@click.option(
    "--segment-bytes-max",
    type=click.IntRange(min=4096),
    default=SEGMENT_BYTES_MAX,
    help="Size of a log segment before it is partitioned.",
)
@click.option(
    "--partition-s",
    type=click.IntRange(min=1),
    default=3600,
    help="Segments are partitioned at least so often, in seconds.",
)
@click.option(
    "--days-kept", type=click.IntRange(min=0), default=0, help="Older days are dropped; 0: none."
)
@click.option("--log-level", default="info", type=click.Choice(["debug", "info", "warning"]))
def collector(*, log_level: str, **values: object) -> None:
    """Collect the receipts of one zone until SIGTERM. Every option may be an environment
    variable: SELVEDGE_COLLECTOR_ and its name in capitals."""
    die_with_parent()
    logging.basicConfig(
        level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    settings = CollectorSettings(**values)  # type: ignore[arg-type]  # click has checked them
    tune_collector()
    sys.setswitchinterval(SWITCH_S)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_collector(settings))
