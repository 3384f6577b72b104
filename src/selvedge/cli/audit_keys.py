"""``selvedge audit keys``: the file by which others verify."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from selvedge.adapters import operator_public_key
from selvedge.cli.home_option import home_option, json_option
from selvedge.control import Home
from selvedge.fabric import JurisdictionLog, Release, SelvedgeError
from selvedge.tlog import operator_verifier, release_policy


@click.command()
@click.option("--log", "log_id", default=None, help="Which jurisdiction (default: the only one).")
@click.option("--shard", default="", help="Keys under the names of one month, as 2026-11.")
@click.option("--operator", is_flag=True, help="Print the operator's key alone, as a file of keys.")
@home_option
@json_option
def keys(*, log_id: str | None, shard: str, operator: bool, home: Path, as_json: bool) -> None:
    """Print the keys of logs and witnesses that the release names (c2sp.org/tlog-policy).

    Give the file to whoever is to verify, by a way they trust. Without --shard a log's key stands
    for all its months, which 'audit verify' understands; other tools want --shard.
    """
    files = Home(home)
    release = files.release() if home.is_dir() else None
    if release is None:
        raise SelvedgeError(f"no release under {home}; publish one, or name another --home")
    if operator:
        key = operator_verifier(release, operator_public_key(files.operator_key()))
        text = f"operator {key.text}\n"
    else:
        text = release_policy([release], find_log(release, log_id).id, shard=shard)
    if as_json:
        text = msgspec.json.encode({"keys": text.splitlines()}).decode() + "\n"
    click.echo(text, nl=False)


def find_log(release: Release, log_id: str | None) -> JurisdictionLog:
    """The log of that name, or the only one. Raises `SelvedgeError`."""
    if not release.logs:
        raise SelvedgeError("the release names no log; add 'logs:' to the fleet file and publish")
    names = ", ".join(one.id for one in release.logs)
    if log_id is None and len(release.logs) > 1:
        raise SelvedgeError(f"say which with --log: {names}")
    for one in release.logs:
        if log_id in (None, one.id):
            return one
    raise SelvedgeError(f"the release names no log {log_id!r}; it names {names}")
