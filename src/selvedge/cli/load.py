"""``selvedge fleet load``: how loaded each PoP of a running fabric is, and what each has heard."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
import msgspec
import uvloop
from rich.table import Table

from selvedge.adapters import ClientSettings, HttpClient, Outgoing, TransportFailed
from selvedge.cli.client import address
from selvedge.cli.home_option import home_option, json_option
from selvedge.cli.tables import console
from selvedge.control import Home, Running
from selvedge.fabric import SelvedgeError

PAGE_S_MAX = 5.0


class Known(msgspec.Struct):
    """An engine, as `/health` of its PoP tells of it."""

    in_flight: int = 0
    waiting_tokens: int = 0
    running: int = 0
    slots: int = 0
    prefill_tokens_per_s: int = 0
    blocks_held: int = 0


class Load(msgspec.Struct):
    """What a report says of one model."""

    waiting_tokens: int = 0
    running: int = 0
    slots: int = 0
    prefill_tokens_per_s: int = 0


class Heard(msgspec.Struct):
    """Another PoP's report."""

    age_ms: int
    models: dict[str, Load] = {}


class Page(msgspec.Struct):
    """`/health`, as far as it is shown."""

    routing_policy: str = "-"
    engines: dict[str, Known] = {}
    hears: dict[str, Heard] = {}


@click.command()
@home_option
@json_option
def load(home: Path, as_json: bool) -> None:
    """Show how loaded the engines of a running fabric are, and what each PoP has heard."""
    running = Home(home).running()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        pages = runner.run(_pages(running))
    if as_json:
        click.echo(msgspec.json.encode(pages))
        return
    out = console()
    out.print(_engines(pages))
    out.print()
    out.print(_hears(pages))


async def _pages(running: Running) -> dict[str, Page]:
    client = HttpClient(ClientSettings())
    try:
        return {pop: await _page(client, pop, one.url) for pop, one in running.pops.items()}
    finally:
        await client.close()


async def _page(client: HttpClient, pop: str, url: str) -> Page:
    host, port = address(url)
    try:
        answer = await client.fetch(Outgoing(host, port, "GET", "/health"), timeout_s=PAGE_S_MAX)
        return msgspec.json.decode(answer.body, type=Page)
    except (TransportFailed, TimeoutError, msgspec.MsgspecError) as error:
        raise SelvedgeError(f"PoP {pop} at {url} does not tell its health; is it up?") from error


def _engines(pages: dict[str, Page]) -> Table:
    names = ("engine", "in flight", "waiting tokens", "running", "tokens/s", "blocks held")
    table = _table(*names)
    for pop, page in pages.items():
        for engine, one in page.engines.items():
            table.add_row(
                f"{pop}/{engine}",
                str(one.in_flight),
                str(one.waiting_tokens),
                f"{one.running} of {one.slots}",
                str(one.prefill_tokens_per_s),
                str(one.blocks_held),
            )
    return table


def _hears(pages: dict[str, Page]) -> Table:
    table = _table("PoP", "policy", "hears", "age", "model", "waiting tokens", "running")
    for pop, page in pages.items():
        if not page.hears:
            table.add_row(pop, page.routing_policy, "nobody", "", "", "", "")
        for other, heard in page.hears.items():
            for model, one in heard.models.items():
                age = f"{heard.age_ms} ms"
                load = (str(one.waiting_tokens), f"{one.running} of {one.slots}")
                table.add_row(pop, page.routing_policy, other, age, model, *load)
    return table


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name)
    return table
