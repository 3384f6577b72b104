"""``selvedge alert``: what customers want to be told; and ``selvedge forecast``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from selvedge.cli.admin_client import admin_command, open_client, path_of
from selvedge.cli.home_option import collected_option, home_option, json_option
from selvedge.cli.tables import console
from selvedge.cli.terminal import printable
from selvedge.cli.usage import Moment
from selvedge.control import Home, forecasts_of
from selvedge.fabric import SelvedgeError


@click.group()
def alert() -> None:
    """Alerts: webhooks when a budget is spent, will be, or an error budget burns."""


@alert.command()
@click.argument("tenant")
@click.option("--kind", type=click.Choice(["budget", "forecast", "burn"]), default="budget")
@click.option("--url", required=True, help="Where it is told, by POST; https.")
@click.option("--project", help="Of one project. Default: all of the tenant's.")
@click.option("--budget", help="Of a UTC month, in dollars, as 250 or 99.50.")
@click.option("--at", "percent", multiple=True, type=int, help="Percent of it; may be repeated.")
@click.option("--id", "name", help="Its id; without one it is chosen.")
@admin_command
def add(
    tenant: str,
    *,
    kind: str,
    url: str,
    project: str | None,
    budget: str | None,
    percent: tuple[int, ...],
    name: str | None,
    **options: Any,  # Any: click's own
) -> None:
    """Make an alert of TENANT; the secret that its webhooks are signed with is printed this once.

    Without --at a budget is told of at 50, 80 and 100 %, a forecast at 100 %.
    """
    if kind != "burn" and budget is None:
        raise SelvedgeError(f"--budget: kind {kind} needs one, of a UTC month, in dollars, as 250")
    usual = {"budget": (50, 80, 100), "forecast": (100,), "burn": ()}[kind]
    form = {
        "tenant": tenant,
        "kind": kind,
        "url": url,
        "project": project,
        "thresholds": percent or usual,
        "budget_micro_dollars": None if budget is None else micro_dollars(budget),
        "id": name,
    }
    made = _client(options).ask("POST", "/alerts", form)
    if options["as_json"]:
        click.echo(msgspec.json.encode(made))
        return
    click.echo(made["secret"])
    click.echo(f"alert {made['alert']['id']}: its secret is shown this once", err=True)


def micro_dollars(text: str) -> int:
    """Dollars as people write them. Raises `SelvedgeError`."""
    whole, _, part = text.removeprefix("$").partition(".")
    if not (whole + part).isascii() or not (whole + part).isdigit() or len(part) > 6 or not whole:
        raise SelvedgeError(f"--budget {text!r} is no amount; write it in dollars, as 250 or 99.50")
    return int(whole) * 1_000_000 + int(part.ljust(6, "0"))


@alert.command("list")
@click.option("--tenant", "of", help="Only of this tenant.")
@click.option("--events", is_flag=True, help="What was told or is to be, instead of the alerts.")
@admin_command
def list_alerts(of: str | None, events: bool, **options: Any) -> None:  # Any: click's own
    """List alerts, each with how many of its events wait, were delivered, are dead."""
    client = _client(options)
    told = list(client.all("/alert-events", tenant=of))
    rows = told if events else list(client.all("/alerts", tenant=of))
    if not events:
        for row in rows:
            states = [one["state"] for one in told if one["alert"] == row["id"]]
            for state in ("waiting", "delivered", "dead"):
                row[state] = states.count(state)
    if options["as_json"]:
        click.echo(msgspec.json.encode(rows))
        return
    of_events = ("id", "alert", "month", "threshold", "type", "state", "tries", "told")
    of_alerts = ("id", "tenant", "project", "kind", "thresholds", "budget", "url")
    table = Table(box=None, pad_edge=False)
    shown = of_events if events else (*of_alerts, "waiting", "delivered", "dead")
    for name in shown:
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*(escape(printable(_cell(name, row))) for name in shown))
    console().print(table)


def _cell(name: str, row: dict[str, Any]) -> str:  # Any: JSON
    if name == "budget":
        return dollars(row["budget_micro_dollars"])
    if name == "thresholds":
        return ", ".join(f"{one} %" for one in row[name])
    return "" if row[name] is None else str(row[name])


def dollars(micro: int | None) -> str:
    """Micro-dollars in dollars: to the cent below, and below a cent with all of its digits."""
    if micro is None:
        return "-"
    if 0 < micro < 10_000:
        return f"$0.{micro:06}"
    return f"${micro // 1_000_000:,}.{micro % 1_000_000 // 10_000:02}"


@alert.command()
@click.argument("name")
@admin_command
def remove(name: str, **options: Any) -> None:  # Any: click's own
    """Remove an alert; what of it waits is not sent."""
    _print(options, _client(options).ask("DELETE", path_of("alerts", name)))


@alert.command()
@click.argument("name")
@admin_command
def test(name: str, **options: Any) -> None:  # Any: click's own
    """Have something sent that says nothing else than that it arrives; 'list --events' shows it."""
    _print(options, _client(options).ask("POST", path_of("alerts", name, "test")))


def _print(options: dict[str, Any], found: Any) -> None:  # Any: click's own, JSON
    text = msgspec.json.encode(found)
    click.echo(text if options["as_json"] else msgspec.json.format(text))


def _client(options: dict[str, Any]) -> Any:  # Any: click's own, the client
    return open_client(options["home"], options["admin"], options["admin_ca"])


@click.command()
@click.argument("tenant", required=False)
@click.option("--at", type=Moment(), default=None, help="As of this UTC moment. Default: now.")
@collected_option
@home_option
@json_option
def forecast(
    *,
    tenant: str | None,
    at: int | None,
    collected: tuple[Path, ...],
    home: Path,
    as_json: bool,
) -> None:
    """Tell what this month will come to, at the list prices of the release, with 90 % bounds."""
    now_us = time.time_ns() // 1_000 if at is None else at
    found, unpriced = forecasts_of(Home(home), collected, now_us, tenant)
    if as_json:
        facts = {"forecasts": found, "unpriced": unpriced}
        click.echo(printable(msgspec.json.encode(facts).decode()))
        return
    table = Table(box=None, pad_edge=False)
    names = ("tenant", "project", "month", "spent", "forecast", "90 % low", "90 % high")
    for name in (*names, "straight line"):
        table.add_column(name, no_wrap=True)
    for one in found:
        table.add_row(
            *map(escape, map(printable, (one.tenant, one.project or "all", one.month))),
            *map(dollars, (one.spent, one.expected, one.low, one.high, one.straight_line)),
        )
    console().print(table)
    if not found:
        click.echo(f"no receipts of {tenant or 'this month'} are here")
    for model in unpriced:
        console().print(escape(printable(f"model {model} has no price, and counts for nothing")))
