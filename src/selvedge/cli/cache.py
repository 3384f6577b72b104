"""``selvedge cache``: what a PoP's cache keeps and says, and what of it is dropped or put there."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop
from rich.markup import escape
from rich.table import Table

from selvedge.adapters import (
    BundledEmbedder,
    CacheLink,
    Embedder,
    Purge,
    UrlEmbedder,
    default_cache_dir,
    die_with_parent,
    leave_no_core,
    run_cache,
)
from selvedge.cli.cache_asking import explain, warm
from selvedge.cli.cache_calibrate import calibrate
from selvedge.cli.cache_place import Place, ask, one_place, place_options, places
from selvedge.cli.home_option import json_option
from selvedge.cli.tables import console
from selvedge.fabric import SelvedgeError, StoreFailed
from selvedge.pop import CacheRun, take_run


@click.group()
def cache() -> None:
    """The answer cache of the PoPs on this machine; docs/cache.md tells how it decides."""


@cache.command()
def run() -> None:
    """Run the cache's process of a PoP, which starts it; not to be run by hand."""
    told = take_run(os.environ)
    if told is None:
        raise SelvedgeError("a PoP starts this where a data class of its release has 'cache'")
    die_with_parent()
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if not told.core_dumps:
        leave_no_core()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(told))


async def _run(told: CacheRun) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    told.settings.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = logging.getLogger("selvedge.cache")

    await run_cache(
        told.settings,
        lambda: embedder_of(told),
        stopping,
        lambda process: log.info(
            "keeps answers in %s%s",
            told.directory,
            f"; similar ones are not looked for: {process.no_embedder}"
            if process.no_embedder
            else "",
        ),
    )


def embedder_of(told: CacheRun) -> Embedder:
    """Who makes the vectors. Raises `EmbedderFailed`."""
    if told.embedder_url is None:
        return BundledEmbedder(default_cache_dir())
    key = os.environ.get(told.embedder_key_env or "")
    model, dims = told.embedder_model, told.embedder_dims
    return UrlEmbedder(told.embedder_url, model, dims=dims, key=key)


@cache.command()
@click.option("--tenant", help="Of one tenant alone.")
@place_options
@json_option
def stats(
    tenant: str | None, home: Path, pop_id: str | None, state_dir: Path | None, as_json: bool
) -> None:
    """What is kept in each scope, what was learned, and what failed."""
    found = {one.pop: _stats(one, tenant) for one in places(home, pop_id, state_dir)}
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    table = Table(box=None)
    for name in ("PoP", "tenant", "class", "zone", "policy"):
        table.add_column(name, no_wrap=True)
    for name in ("entries", "bytes", "in memory", "learned from"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("similar answers", overflow="fold")
    for pop, told in found.items():
        for row in told["scopes"]:
            table.add_row(escape(pop), *_stats_row(row))
    console().print(table)
    for pop, told in found.items():
        if "bytes" in told:
            click.echo(_totals(pop, told))
            if told["judge"]["questions"] or told["judge"]["unasked"]:
                click.echo(_judge_words(pop, told["judge"]))


def _stats(place: Place, tenant: str | None) -> dict[str, Any]:  # Any: JSON
    async def act(link: CacheLink) -> bytes:
        return await link.stats(tenant)

    return msgspec.json.decode(ask(place, act), type=dict[str, Any])


def _stats_row(row: dict[str, Any]) -> list[str]:  # Any: JSON
    words = (list(row["scope"]) + ["?"] * 4)[:4]
    shut = [one["shut"] for one in row["routes"] if one["shut"]]
    learned = sum(one["observations"] for one in row["routes"])
    unjudged = max((one["audits_unjudged"] for one in row["routes"]), default=0)
    memory = row["in_memory"]
    return [
        *(escape(word or "-") for word in words),
        f"{row['entries']:,}",
        f"{row['bytes']:,}",
        "-" if memory is None else f"{memory:,}",
        f"{learned:,}",
        escape("; ".join(shut)) or ("open" if not unjudged else f"{unjudged} audits not judged"),
    ]


def _totals(pop: str, told: dict[str, Any]) -> str:  # Any: JSON
    words = [f"{pop}: {told['bytes']:,} of {told['bytes_max']:,} bytes"]
    words += [f"{told[name]:,} {name}" for name in ("kept", "unfit", "dropped", "evicted", "swept")]
    failures = {name: count for name, count in told["failures"].items() if count}
    if told["embedder"]["off"]:
        words.append(f"similar answers are off: {told['embedder']['off']}")
    words += [f"{count} {name.replace('_', ' ')} failed" for name, count in failures.items()]
    return ", ".join(words)


def _judge_words(pop: str, told: dict[str, Any]) -> str:  # Any: JSON
    """What models were asked as judges."""
    said = [f"{told[name]:,} {name}" for name in ("same", "different", "contradicted", "unclear")]
    unasked = [f"{count:,} {name.replace('_', ' ')}" for name, count in told["unasked"].items()]
    words = f"{pop}, judged by a model: {', '.join(said)}; {told['questions']:,} questions, "
    words += f"{told['tokens']:,} tokens, {told['tokens_today']:,} today"
    return f"{words}; not judged: {', '.join(unasked)}" if unasked else words


@cache.command()
@click.option("--tenant", help="Whose answers; left out: everybody's, with --model.")
@click.option("--entry", help="One kept answer, by its id (ce_...).")
@click.option("--tag", help="All with this tag.")
@click.option("--model", help="All of this model.")
@click.option("--everything", is_flag=True, help="All of the tenant.")
@click.option(
    "--forget",
    is_flag=True,
    help="Delete the keys of the tenant's scopes: nothing opens what they sealed any more.",
)
@place_options
def purge(
    tenant: str | None,
    home: Path,
    pop_id: str | None,
    state_dir: Path | None,
    **chosen: Any,  # Any: the options of what to purge
) -> None:
    """Have kept answers found no more; no worker finds them once this has returned."""
    named = [name for name, value in chosen.items() if value]
    if len(named) != 1:
        raise SelvedgeError("name one of --entry, --tag, --model, --everything and --forget")
    if tenant is None and named != ["model"]:
        raise SelvedgeError(f"--{named[0]} needs --tenant")
    at_us = time.time_ns() // 1000
    what = Purge(tenant=tenant, entry=chosen["entry"], tag=chosen["tag"], model=chosen["model"])

    async def act(link: CacheLink) -> None:
        if chosen["forget"]:
            await link.forget(tenant or "", at_us)
        else:
            await link.purge(what, at_us)

    failed = 0
    for one in places(home, pop_id, state_dir):
        try:
            ask(one, act)
            click.echo(f"{one.pop}: purged")
        except StoreFailed as error:
            failed += 1
            click.echo(f"{one.pop}: {error}", err=True)
    if failed:
        raise SelvedgeError(f"{failed} PoPs have not purged; what they keep is still given")


for command in (explain, warm, calibrate):
    cache.add_command(command)

__all__ = ["cache", "embedder_of", "one_place"]
