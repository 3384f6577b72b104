"""``selvedge log`` and ``selvedge witness``: transparency logs, and who watches them."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import click
import msgspec
import uvloop

from selvedge.adapters import (
    RESHARD_FILE,
    FolderFiles,
    closed_why,
    decode_state,
    die_with_parent,
    published,
)
from selvedge.cli.home_option import home_option, json_option
from selvedge.cli.log_holds import drop, hold
from selvedge.cli.tables import console
from selvedge.cli.terminal import printable
from selvedge.control import (
    Home,
    LogSettings,
    WitnessSettings,
    log_folders,
    run_log,
    run_witness,
)
from selvedge.fabric import BadProof, SelvedgeError, StoreCorrupt
from selvedge.tlog import read_checkpoint, shard_order

_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)
_LEVEL = click.Choice(["debug", "info", "warning"])


@click.group()
def log() -> None:
    """Transparency logs of PoPs and jurisdictions."""


@log.command("run", context_settings={"auto_envvar_prefix": "SELVEDGE_LOG"})
@click.option("--log", "log", required=True, help="Id of the log among the release's logs.")
@click.option("--listen", required=True, help="host:port to serve PoPs and auditors on.")
@click.option("--directory", required=True, type=_FOLDER, help="The log's own disk: keys, files.")
@click.option("--release-file", required=True, type=_FILE, help="Signed release to watch.")
@click.option("--operator-public-key", required=True, help="Ed25519 key that signs releases.")
@click.option("--log-level", default="info", show_default=True, type=_LEVEL)
def run_(*, log_level: str, **values: object) -> None:
    """Keep the log of one jurisdiction until SIGTERM."""
    _begin(log_level)
    settings = LogSettings(**values)  # type: ignore[arg-type]  # click has checked them
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_log(settings))


@click.group()
def witness() -> None:
    """Witness logs of jurisdictions: cosign what goes on from what was seen."""


@witness.command("run", context_settings={"auto_envvar_prefix": "SELVEDGE_WITNESS"})
@click.option("--name", required=True, help="Name of the key, as 'witness.example.net/one'.")
@click.option("--listen", required=True, help="host:port to serve logs on.")
@click.option("--directory", required=True, type=_FOLDER, help="Key, and what was seen.")
@click.option("--release-file", type=_FILE, help="Witness the logs of this signed release.")
@click.option("--operator-public-key", default="", help="Ed25519 key that signs releases.")
@click.option(
    "--log",
    "logs",
    nargs=2,
    multiple=True,
    metavar="ORIGIN KEY",
    help="A log by its origin without the month, and its Ed25519 key in base64.",
)
@click.option("--log-level", default="info", show_default=True, type=_LEVEL)
def run_witness_(*, log_level: str, **values: object) -> None:
    """Witness until SIGTERM. Logs are those of a release, and those named one by one."""
    _begin(log_level)
    settings = WitnessSettings(**values)  # type: ignore[arg-type]  # click has checked them
    if settings.release_file is not None and not settings.operator_public_key:
        raise SelvedgeError("--release-file needs --operator-public-key, which it is checked with")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_witness(settings))


def _begin(log_level: str) -> None:
    die_with_parent()
    logging.basicConfig(
        level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )


class Shown(msgspec.Struct):
    """A log as ``selvedge log show`` tells of it."""

    log: str
    shards: list[str]
    origin: str | None = None
    size: int = 0
    published: int | None = None
    signed_us: int = 0
    trouble: str | None = None


@log.command("show")
@home_option
@json_option
def show(home: Path, as_json: bool) -> None:
    """Show the logs on this machine: shards, sizes, and what is wrong."""
    found = [_shown(name, folder) for name, folder in log_folders(Home(home)).items()]
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    if not found:
        raise SelvedgeError(f"no log under {home}; PoPs write theirs once a release names its key")
    out = console()
    for one in found:
        ends = f"size {one.size}, published {one.published if one.published is not None else '-'}"
        out.print(f"{printable(one.log)}: {printable(one.origin or '-')}, {ends}", markup=False)
        if one.trouble is not None:
            out.print(f"  {printable(one.trouble)}", markup=False, style="red")


def _shown(name: str, folder: Path) -> Shown:
    files = FolderFiles(folder)
    shown = Shown(name, sorted(files.names("public"), key=shard_order))
    try:
        state = decode_state(files.read("state.json") or b"")
        shown.size, shown.signed_us = state.size, state.time_us
        data = files.read(published(state.shard))
        if data is not None:
            checkpoint, _ = read_checkpoint(data)
            shown.origin, shown.published = checkpoint.origin, checkpoint.size
    except (StoreCorrupt, BadProof) as error:
        shown.trouble = str(error)
    why = closed_why(folder)
    if why is not None:
        shown.trouble = f"closed: {why}; see 'selvedge log reshard'"
    return shown


@log.command("reshard")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@home_option
def reshard(name: str, yes: bool, home: Path) -> None:
    """Have log NAME (as 'pop/sin' or 'jurisdiction/eu') begin a new shard, where it cannot go on.

    The shard before stays as it is, and what was signed in it stays true.
    """
    folders = log_folders(Home(home))
    if name not in folders:
        raise SelvedgeError(
            f"no log {name!r} under {home}; there is {', '.join(folders) or 'none'}"
        )
    if closed_why(folders[name]) is None:
        click.echo(f"selvedge: {name} is not closed as far as is known here", err=True)
    if not yes:
        click.confirm(f"begin a new shard of {name}?", abort=True)
    try:
        (folders[name] / RESHARD_FILE).touch()
    except OSError as error:
        raise SelvedgeError(f"{folders[name]} cannot be written: {error.strerror}") from error
    click.echo(f"{name}: its process begins a new shard within seconds, or when it starts")


log.add_command(hold)
log.add_command(drop)
