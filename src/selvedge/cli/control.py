"""``selvedge control``: the control process, its store, and who may act on it."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop

from selvedge import control as rooms
from selvedge.adapters import die_with_parent
from selvedge.cli.admin_client import admin_command, open_client, path_of
from selvedge.cli.home_option import home_option
from selvedge.cli.terminal import printable
from selvedge.control import CONTROL_ENV_PREFIX, ROLES, ControlSettings, Home
from selvedge.pop import load_table


@click.group()
def control() -> None:
    """The control process: tenants, keys, releases. Needs the 'control' extra."""


def load_control(file: Path | None, **flags: object) -> ControlSettings:
    """Settings from file, environment and flags. Raises `BadSetting`."""
    return load_table(ControlSettings, CONTROL_ENV_PREFIX, file, os.environ, flags)


_file = click.option(
    "--settings", "file", type=click.Path(path_type=Path), help="Settings file (YAML)."
)
_database = click.option("--database", help="postgresql://… or sqlite:///FILE.")


def _settings(file: Path | None, home: Path, **flags: object) -> ControlSettings:
    # A settings file names its home; without one it is the option's.
    own = {"home": str(home)} if file is None else {}
    return load_control(file, **own, **flags)


@control.command()
@_file
@home_option
@_database
@click.option("--admin-listen", help="host:port of the admin API.")
@click.option("--pops-listen", help="host:port that PoPs ask for leases.")
@click.option("--log-level", default="info", type=click.Choice(["debug", "info", "warning"]))
def run(file: Path | None, home: Path, log_level: str, **flags: str | None) -> None:
    """Run the control process until SIGTERM. Settings: file < SELVEDGE_CONTROL_* < flags."""
    die_with_parent()
    logging.basicConfig(
        level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for name in ("uvicorn", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    settings = _settings(file, home, **flags)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(rooms.run_control(settings))


@control.command()
@_file
@home_option
@_database
def upgrade(file: Path | None, home: Path, database: str | None) -> None:
    """Bring the store's tables to the form of this version."""
    settings = _settings(file, home, database=database)
    store = rooms.Database(settings.database_url, wait_ms=settings.database_ms_max)
    before, after = store.upgrade()
    store.close()
    click.echo(f"store: revision {before or 'none'} -> {after}")


@control.command()
@click.argument("path", type=click.Path(path_type=Path))
@_file
@home_option
@_database
def backup(path: Path, file: Path | None, home: Path, database: str | None) -> None:
    """Write the store to PATH, beside a running control process. Keep the home's keys with it."""
    settings = _settings(file, home, database=database)
    store = rooms.Database(settings.database_url, wait_ms=settings.database_ms_max)
    head = rooms.back_up(store, path)
    store.close()
    rows = ", ".join(f"{count} {name}" for name, count in head.rows.items())
    click.echo(f"{path}: fleet {head.fleet}, revision {head.revision}: {rows}")


@control.command()
@click.argument("path", type=click.Path(path_type=Path))
@_file
@home_option
@_database
def restore(path: Path, file: Path | None, home: Path, database: str | None) -> None:
    """Fill an empty database from PATH. What was revoked since stays revoked."""
    settings = _settings(file, home, database=database)
    store = rooms.Database(settings.database_url, wait_ms=settings.database_ms_max)
    head = rooms.restore(store, path, Home(Path(settings.home)))
    store.close()
    click.echo(f"store restored: fleet {head.fleet}, revision {head.revision}")


@control.command()
@admin_command
def publish(**options: Any) -> None:
    """Publish a release of what the store holds, now."""
    _show(options, _client(options).ask("POST", "/releases", {}))


@control.command()
@admin_command
def status(**options: Any) -> None:
    """What PoPs are given now."""
    _show(options, _client(options).ask("GET", "/status"))


@control.command()
@click.option("--what", help="Only acts on this, as 'key NAME'.")
@click.option("-n", "count", default=20, show_default=True, type=click.IntRange(1, 1000))
@admin_command
def audit(what: str | None, count: int, **options: Any) -> None:
    """Who did what, newest first."""
    query = f"&what={path_of(what)[1:]}" if what else ""
    found = _client(options).ask("GET", f"/audit?limit={count}{query}")["data"]
    if options["as_json"]:
        click.echo(msgspec.json.encode(found))
        return
    for row in found:
        click.echo(printable(audit_line(row)))


def audit_line(row: dict[str, Any]) -> str:  # Any: JSON
    """When (UTC), who, what was done, to what."""
    at_s, micros = divmod(row["at_us"], 1_000_000)
    when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_s))
    return f"{when}.{micros:06}Z {row['who']} {row['act']} {row['what']}"


@control.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True)
@click.option("--tenant", help="Of this tenant alone.")
@click.option("--login", is_flag=True, help="NAME is a person's login, not an admin key.")
@admin_command
def grant(name: str, role: str, tenant: str | None, login: bool, **options: Any) -> None:
    """Give NAME a role: an admin key, printed this once, or a login."""
    form = {"role": role, "tenant": tenant, "key": not login}
    made = _client(options).ask("PUT", path_of("grants", name), form)
    if made["secret"] is not None and not options["as_json"]:
        click.echo(made["secret"])
        click.echo(f"admin key {name}: shown this once; keep it now", err=True)
    else:
        _show(options, made)


@control.command()
@click.argument("name")
@admin_command
def ungrant(name: str, **options: Any) -> None:
    """Take NAME's role away."""
    _show(options, _client(options).ask("DELETE", path_of("grants", name)))


@control.command()
@admin_command
def grants(**options: Any) -> None:
    """Who has which role."""
    _show(options, list(_client(options).all("/grants")))


def _client(options: dict[str, Any]) -> Any:  # Any: click's options; the client
    return open_client(options["home"], options["admin"], options["admin_ca"])


def _show(options: dict[str, Any], found: object) -> None:  # Any: click's own
    text = msgspec.json.encode(found)
    click.echo(text if options["as_json"] else msgspec.json.format(text))
