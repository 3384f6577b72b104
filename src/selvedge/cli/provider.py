"""``selvedge provider``: secrets of third parties, sealed for the PoPs that dial them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from selvedge.adapters import ProviderSecrets, check_secret, keep_secret
from selvedge.cli.home_option import home_option, json_option
from selvedge.cli.tables import console
from selvedge.cli.terminal import printable
from selvedge.control import Home
from selvedge.fabric import NAME_PATTERN, BadSetting, Provider, SelvedgeError
from selvedge.pop import IDENTITY_FILE

F = TypeVar("F", bound=Callable[..., None])
_NOT_IN_ARGV = "It is read from standard input, or asked for; never from the command line."


@click.group()
def provider() -> None:
    """Third parties whose APIs the fleet asks: their secrets, and keys that are passed to them."""


@provider.group()
def secret() -> None:
    """Secrets, sealed at each PoP under its own identity."""


@provider.group()
def key() -> None:
    """Providers' own keys, which clients send as they always did."""


def _where(command: F) -> F:
    """Which PoPs: of a home, or one by its directory."""
    command = click.option(
        "--state-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="The state_dir of one PoP on this machine, instead of those of --home.",
    )(command)
    return click.option("--pop", "pops", multiple=True, help="Of --home only this PoP.")(command)


@provider.command("list")
@home_option
@json_option
def providers(home: Path, as_json: bool) -> None:
    """Show the providers of the release that serves, and which PoPs hold their sealed secrets."""
    release = Home(home).release() if home.is_dir() else None
    if release is None:
        raise SelvedgeError(f"no release serves from {home}; name another --home")
    held = {pop: _names(place) for pop, place in _places(home, (), None).items()}
    found = [_facts(one, held) for one in release.providers]
    if as_json:
        click.echo(printable(msgspec.json.encode(found).decode()))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("provider", "country", "entity", "models", "keys"):
        table.add_column(name)
    for one in found:
        keys = "; ".join(
            f"{name}: {', '.join(pops) or 'nowhere'}" for name, pops in one.keys.items()
        )
        cells = (one.id, one.country, one.entity, ", ".join(one.models), keys or "none needed")
        table.add_row(*(escape(printable(cell)) for cell in cells))
    console().print(table)


class ProviderFacts(msgspec.Struct, frozen=True):
    """What is shown of a provider. ``keys`` are the PoPs that hold each; of an environment
    variable nobody here knows: ``environment``.
    """

    id: str
    country: str
    entity: str
    models: list[str]
    keys: dict[str, list[str]]


def _facts(one: Provider, held: dict[str, frozenset[str]]) -> ProviderFacts:
    models = sorted({served.model for engine in one.engines for served in engine.serves})
    keys = {
        name: ["environment"]
        if name.upper() == name
        else [pop for pop, names in held.items() if name in names]
        for name in one.keys
    }
    return ProviderFacts(one.id, one.country, one.entity, models, keys)


def _names(place: Path) -> frozenset[str]:
    """Of the secrets that open at a PoP."""
    return frozenset(_open(place).open()[0])


@secret.command("set", epilog=_NOT_IN_ARGV)
@click.argument("name")
@_where
@home_option
def set_(name: str, pops: tuple[str, ...], state_dir: Path | None, home: Path) -> None:
    """Seal the secret NAME, as a provider's 'keys' name it."""
    places = _places(home, pops, state_dir)
    read = _read_secret(f"secret {name}")
    for place in places.values():
        _open(place).set(name, read)
    click.echo(f"{name}: sealed at {', '.join(places)}")


@secret.command("list")
@_where
@home_option
@json_option
def list_(pops: tuple[str, ...], state_dir: Path | None, home: Path, as_json: bool) -> None:
    """Show the names of sealed secrets, and whether each opens."""
    found = {}
    for pop, place in _places(home, pops, state_dir).items():
        _, damaged = _open(place).open()
        found[pop] = {name: name not in damaged for name in _open(place).names()}
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    for pop, names in found.items():
        words = [name if opens else f"{name} (sealed by another)" for name, opens in names.items()]
        click.echo(f"{pop}: {', '.join(words) or 'none'}")


@secret.command()
@click.argument("name")
@_where
@home_option
def drop(name: str, pops: tuple[str, ...], state_dir: Path | None, home: Path) -> None:
    """Forget the secret NAME. PoPs that run ask with it no more within a second."""
    dropped = [
        pop for pop, place in _places(home, pops, state_dir).items() if _open(place).drop(name)
    ]
    if not dropped:
        raise SelvedgeError(f"no secret {name!r} is sealed there; see 'provider secret list'")
    click.echo(f"{name}: dropped at {', '.join(dropped)}")


@key.command("import", epilog=_NOT_IN_ARGV)
@click.argument("key_id")
@home_option
def import_(key_id: str, home: Path) -> None:
    """Know a provider's own key as the fleet's key KEY_ID ('passes_to').

    Its keyed hash alone is kept. It serves from the next release on.
    """
    if not NAME_PATTERN.fullmatch(key_id):
        raise BadSetting("key_id", f"{key_id!r} is no id of a key: use a-z, 0-9, '.' and '-'")
    read = _read_secret(f"key {key_id}")
    if not read.isascii():
        raise BadSetting("secret", "holds a character that no header can carry")
    Home(home).import_passed(key_id, read)
    click.echo(f"{key_id}: known by its hash; publish the fleet file for it to serve")


def _read_secret(what: str) -> str:
    if sys.stdin.isatty():
        read = str(click.prompt(what, hide_input=True, default="", show_default=False))
    else:
        read = sys.stdin.read()
    read = read.strip()
    check_secret(read)
    return read


def _places(home: Path, pops: tuple[str, ...], state_dir: Path | None) -> dict[str, Path]:
    """The directories of the PoPs that are meant, by name."""
    if state_dir is not None:
        if pops:
            raise BadSetting("pop", "goes with --home; --state-dir is one PoP's own")
        return {str(state_dir): state_dir}
    files = Home(home)
    release = files.release() if home.is_dir() else None
    known = [pop.id for pop in release.pops] if release is not None else []
    for pop in pops:
        if not NAME_PATTERN.fullmatch(pop) or (known and pop not in known):
            listed = f"; there are {', '.join(known)}" if known else ""
            raise BadSetting("pop", f"{pop!r} is no PoP of {home}{listed}")
    names = list(pops) or known
    if not names:
        raise SelvedgeError(f"{home} has no release yet; say at which PoPs, by --pop")
    return {name: files.pop(name) for name in names}


def _open(place: Path) -> ProviderSecrets:
    return ProviderSecrets(place, keep_secret(place / IDENTITY_FILE, os.urandom(32)))
