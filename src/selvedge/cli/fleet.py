"""``selvedge fleet``: what a fabric on this machine is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
import msgspec
from rich.table import Table

from selvedge.adapters import (
    LOG_KEY_FILE,
    FleetConfig,
    default_cache_dir,
    open_release,
    operator_public_key,
    read_config,
    read_prices,
    rotate_log_key,
    rotate_peer_identity,
)
from selvedge.cli.control import load_control
from selvedge.cli.home_option import home_option, json_option
from selvedge.cli.load import load
from selvedge.cli.tables import console
from selvedge.control import (
    Home,
    collector_key_file,
    has_control_extra,
    log_directory,
    seeding_of,
    weights_digests,
    written_collectors,
    written_control,
    written_logs,
)
from selvedge.fabric import BadRelease, Release, SelvedgeError
from selvedge.residency import Rules


@click.group()
def fleet() -> None:
    """Look at the fleet."""


@fleet.command()
@home_option
@json_option
def show(home: Path, as_json: bool) -> None:
    """Show the release: PoPs, engines, rules and the PoPs each rule allows."""
    files = Home(home)
    try:
        data = files.release_file.read_bytes()
    except OSError as error:
        raise SelvedgeError(f"no release under {home}; 'selvedge up' makes one") from error
    held = open_release(data, operator_public_key(files.operator_key()))
    if as_json:
        click.echo(msgspec.json.encode({"hash": held.hash, "release": held.release}))
        return
    out = console()
    out.print(f"fleet {held.release.fleet}, release {held.release.version}, {held.hash}\n")
    if held.release.priced is not None:
        out.print(f"sold by price book {held.release.priced.version}\n")
    out.print(_pops(held.release))
    out.print()
    out.print(_rules(held.release))


fleet.add_command(load)


@fleet.command()
@click.argument("config", type=click.Path(path_type=Path))
@json_option
def check(config: Path, as_json: bool) -> None:
    """Check a fleet file; the first thing wrong is one line and exit code 1."""
    remarks: list[str] = []
    found = read_config(config, remark=remarks.append)
    facts: dict[str, object] = {
        "fleet": found.fleet,
        "pops": len(found.pops),
        "tenants": len(found.tenants),
    }
    if found.providers:
        facts["providers"] = len(found.providers)
    if remarks:
        facts["remarks"] = remarks
    for words in remarks:
        _remark(words)
    if as_json:
        click.echo(msgspec.json.encode(facts))
    else:
        abroad = f"{len(found.providers)} providers, " if found.providers else ""
        click.echo(
            f"{config}: fleet {found.fleet}, {len(found.pops)} PoPs, {abroad}"
            f"{len(found.tenants)} tenants: it holds"
        )


@fleet.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--prices",
    type=click.Path(path_type=Path),
    help="Sell by this price book from now on (default: the one published last, if any).",
)
@click.option(
    "--force",
    is_flag=True,
    help="Publish even where a policy leaves a data class without any place.",
)
@home_option
@json_option
def publish(config: Path, prices: Path | None, force: bool, home: Path, as_json: bool) -> None:
    """Sign the next release of CONFIG, for PoPs that are run one by one."""
    description = read_config(config, force=force, remark=_remark)
    book = read_prices(prices) if prices is not None else None
    files = Home(home)
    files.lock()
    ports = _engine_ports(description)
    _check_peers(description)
    digests = weights_digests(description, default_cache_dir(), lambda _: None)
    own = load_control(None, home=str(home.resolve())) if has_control_extra() else None
    release = files.publish(
        description,
        digests,
        ports,
        {},
        collectors=written_collectors(files, description),
        control=written_control(files, description),
        logs=written_logs(files, description),
        tenancy=seeding_of(home, own),
        prices=book,
        force=force,
    )
    facts = {
        "release": release.version,
        "release_file": str(files.release_file.resolve()),
        "operator_public_key": operator_public_key(files.operator_key()),
        "pepper_file": str(files.pepper_file.resolve()),
        "peers": {pop.id: pop.peer for pop in release.pops},
        "state_dirs": {pop.id: str(files.pop(pop.id).resolve()) for pop in release.pops},
        "keys": {name: key for name in description.keys if (key := files.keys().get(name))},
        "control": release.control.url if release.control is not None else None,
        "collectors": {one.zone: one.url for one in release.collectors},
        "logs": {one.id: one.url for one in release.logs},
        "key_files": _key_files(files, description),
        "priced": release.priced,
    }
    text = msgspec.json.encode(facts)
    click.echo(text if as_json else msgspec.json.format(text))


def _remark(words: str) -> None:
    click.echo(f"look at this: {words}", err=True)


def _key_files(files: Home, config: FleetConfig) -> dict[str, str]:
    """Private keys, made here, of what the file names by its URL alone."""
    found = {
        f"collectors.{zone}": collector_key_file(files, zone)
        for zone, one in config.collectors.items()
        if one.public_key is None
    }
    for name, one in config.logs.items():
        if not one.public_keys:
            found[f"logs.{name}"] = log_directory(files, name) / LOG_KEY_FILE
    if config.control is not None and config.control.public_key is None:
        found["control"] = files.directory / "control.key"
    return {name: str(path.resolve()) for name, path in found.items()}


@fleet.command()
@click.argument("pop")
@click.option("--log-key", is_flag=True, help="Of the key of its transparency log instead.")
@home_option
def rotate(pop: str, log_key: bool, home: Path) -> None:
    """Prepare the next release of a change of POP's certificate for peers; three make one."""
    files = Home(home)
    files.lock()
    if not files.pop(pop).is_dir():
        raise SelvedgeError(f"no PoP {pop!r} under {home}; 'selvedge fleet publish' makes them")
    directory = files.pop(pop)
    step = rotate_log_key(directory) if log_key else rotate_peer_identity(directory, pop)
    now, following = ("log.key", "log-next.key") if log_key else ("peer.pem", "peer-next.pem")
    words = _ROTATION[step - 1].format(now=now, following=following)
    click.echo(f"step {step} of 3: {words}")


_ROTATION: Final = (
    "bring {following} to the PoP's state_dir, then publish; wait until all PoPs serve by it, "
    "and run this again",
    "publish; wait until all PoPs serve by it, and run this again",
    "publish; the PoP may forget what is not in its {now} here",
)


def _check_peers(config: FleetConfig) -> None:
    for pop_id, pop in config.pops.items():
        if pop.engines and pop.peer is None and len(config.pops) > 1:
            words = "name the host:port at which other PoPs reach its 'peer_listen'"
            raise BadRelease(f"pops.{pop_id}.peer", words)


def _engine_ports(config: FleetConfig) -> dict[str, int]:
    ports: dict[str, int] = {}
    for pop_id, pop in config.pops.items():
        for engine_id, engine in pop.engines.items():
            if engine.embedded is None:
                continue
            if engine.embedded.port is None:
                field = f"pops.{pop_id}.engines.{engine_id}.embedded.port"
                raise BadRelease(field, "name the port that 'selvedge engine' will listen on")
            ports[f"{pop_id}/{engine_id}"] = engine.embedded.port
    return ports


def _pops(release: Release) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("PoP", "site", "entity", "address", "engines"):
        table.add_column(name)
    for pop in release.pops:
        engines = "; ".join(
            f"{engine.id} ({', '.join(one.model for one in engine.serves)})"
            for engine in pop.engines
        )
        table.add_row(pop.id, f"{pop.city}, {pop.country}", pop.entity, pop.url, engines or "none")
    return table


def _rules(release: Release) -> Table:
    rules = Rules(release)
    table = Table(box=None, pad_edge=False)
    for name in ("tenant/class", "zone", "ingress", "may be processed at"):
        table.add_column(name)
    for rule in rules.all():
        ingress = "in-zone" if rule.ingress_in_zone else "transit-allowed"
        members = ", ".join(pop.id for pop in rules.members(rule.allowed))
        table.add_row(rule.name, rule.zone, ingress, members or "nowhere")
    return table
