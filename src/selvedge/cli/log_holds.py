"""``selvedge log hold`` and ``selvedge log drop``: what is kept, and what may go."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import msgspec

from selvedge.adapters import Hold, held_tenants, public_folder, read_holds, write_hold
from selvedge.cli.home_option import home_option, json_option
from selvedge.cli.tables import console
from selvedge.cli.terminal import printable
from selvedge.control import Home, collector_directories, log_folders
from selvedge.fabric import SelvedgeError
from selvedge.pop import user_here, write_access
from selvedge.tlog import SHARD_PATTERN, month_of, shard_order

MONTHS_KEPT: Final = 6
"""Of logs of high-risk systems (AI Act, article 26(6)); fewer must be asked for."""


@click.group()
def hold() -> None:
    """Legal holds: tenants whose receipts are not dropped."""


@hold.command("add")
@click.argument("tenant")
@click.option("--reason", required=True, help="Why, as it will be read later: a case, a court.")
@home_option
def add(tenant: str, reason: str, home: Path) -> None:
    """Hold the receipts of TENANT, at every PoP and collector of this home."""
    _act(home, Hold("hold", tenant, time.time_ns() // 1000, user_here(), reason))
    click.echo(f"receipts of {tenant} are held")
    _doubt_name(home, tenant)


@hold.command("release")
@click.argument("tenant")
@click.option("--reason", required=True, help="Why it may be dropped again.")
@home_option
def release(tenant: str, reason: str, home: Path) -> None:
    """Release the hold on TENANT: its receipts are dropped when their time has come."""
    if not any(tenant in held_tenants(one) for one in _places(home)):
        raise SelvedgeError(f"nothing of {tenant!r} is held under {home}; see 'log hold list'")
    _act(home, Hold("release", tenant, time.time_ns() // 1000, user_here(), reason))
    click.echo(f"receipts of {tenant} are held no more")


@hold.command("list")
@home_option
@json_option
def list_(home: Path, as_json: bool) -> None:
    """Show who is held, and every act that there was."""
    found = {str(place): read_holds(place) for place in _places(home)}
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    for place, acts in found.items():
        held = ", ".join(sorted(held_tenants(Path(place)))) or "nobody"
        console().print(f"{printable(place)}: held {printable(held)}", markup=False)
        for one in acts:
            when = datetime.fromtimestamp(one.at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
            words = f"{when} UTC {one.act} {one.tenant} by {one.who}: {one.reason}"
            console().print(f"  {printable(words)}", markup=False)


@click.command()
@click.argument("name")
@click.option("--before", required=True, metavar="YYYY-MM", help="Drop shards before this month.")
@click.option("--force", is_flag=True, help="Also those younger than six months.")
@home_option
def drop(name: str, before: str, force: bool, home: Path) -> None:
    """Drop the files of old shards of log NAME. Proofs in them can then not be made again."""
    folder = log_folders(Home(home)).get(name)
    if folder is None or SHARD_PATTERN.fullmatch(before) is None:
        raise SelvedgeError(
            f"name a log of 'selvedge log show' and a month, not {name!r} {before!r}"
        )
    now = month_of(time.time_ns() // 1000)
    if not force and _months(now) - _months(before) < MONTHS_KEPT:
        words = f"shards of the last {MONTHS_KEPT} months are kept; give --force"
        raise SelvedgeError(f"{before} is too young: {words}")
    held = held_tenants(folder.parent) if name.startswith("pop/") else frozenset()
    if held:
        raise SelvedgeError(f"{', '.join(sorted(held))} is held; nothing of {name} is dropped")
    shards = sorted((one.name for one in (folder / "public").glob("*")), key=shard_order)
    due = [one for one in shards[:-1] if ("", 0) < shard_order(one) < shard_order(before)]
    for shard in due:
        if name.startswith("pop/"):
            write_access(folder.parent, "selvedge log drop", shard)
        shutil.rmtree(folder / public_folder(shard))
        (folder / "times" / shard).unlink(missing_ok=True)
    click.echo(f"{name}: dropped {', '.join(due) or 'nothing'}")


def _act(home: Path, act: Hold) -> None:
    places = _places(home)
    if not places:
        raise SelvedgeError(f"no PoP and no collector under {home}")
    for place in places:
        if place.parent.name == "pops":
            write_access(place, f"selvedge log hold: {act.act}", act.tenant)
        write_hold(place, act)


def _doubt_name(home: Path, tenant: str) -> None:
    """Say so where the name may be mistyped. The hold stands: a tenant may be gone, and held."""
    release = Home(home).release()
    if release is not None and tenant not in {one.id for one in release.tenants}:
        words = "is no tenant of the release that serves; if the name is mistyped, hold the right"
        click.echo(f"{tenant!r} {words} one and release this: it holds nobody else", err=True)


def _places(home: Path) -> list[Path]:
    pops = [one for one in sorted((home / "pops").glob("*")) if one.is_dir()]
    return [*pops, *collector_directories(Home(home))]


def _months(month: str) -> int:
    return int(month[:4]) * 12 + int(month[5:7])
