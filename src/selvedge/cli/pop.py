"""``selvedge pop``: one PoP process."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Final

import click
import uvloop

from selvedge.adapters import die_with_parent, leave_no_core
from selvedge.pop import load_settings, run_keeper, run_pop, take_part

GC_THRESHOLD: Final = (20_000, 20, 50)
"""A request leaves no cycles behind, so the collector has little to find; by its default it would
look seven hundred times as often. `docs/performance.md` has the figures."""


def tune_collector() -> None:
    """What lives as long as the process is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)


@click.command()
@click.option("--settings", "file", type=click.Path(path_type=Path), help="Settings file (YAML).")
@click.option("--listen", help="host:port to serve on.")
@click.option("--state-dir", help="Directory of receipts, keys and the kept release.")
@click.option("--workers", type=int, help="Processes that serve (default: 1).")
@click.option("--log-level", default="info", type=click.Choice(["debug", "info", "warning"]))
def pop(
    file: Path | None,
    listen: str | None,
    state_dir: str | None,
    workers: int | None,
    log_level: str,
) -> None:
    """Run one PoP until SIGTERM. Settings: file < SELVEDGE_* < flags; see docs/settings.md.

    With several workers, SIGHUP replaces them one by one and refuses nobody.
    """
    die_with_parent()
    faulthandler.register(signal.SIGUSR2, all_threads=True)  # where it is, to stderr
    logging.basicConfig(
        level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    part = take_part(os.environ)
    flags = {"listen": listen, "state_dir": state_dir, "workers": workers}
    settings = load_settings(file, os.environ, flags)
    if not settings.core_dumps:
        leave_no_core()
    if part is None and settings.workers > 1:
        argv = [sys.executable, "-m", "selvedge", *sys.argv[1:]]
        running = run_keeper(settings, argv, os.environ)
    else:
        running = run_pop(settings, os.environ, part)
    tune_collector()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(running)
