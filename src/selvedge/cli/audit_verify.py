"""``selvedge audit verify``: a bundle, checked offline, in sentences."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

import click
import msgspec

from selvedge.adapters import operator_public_key
from selvedge.cli.home_option import home_option, json_option
from selvedge.cli.terminal import printable
from selvedge.control import Home, KeptReleases
from selvedge.fabric import BadProof, Release, SelvedgeError
from selvedge.tlog import (
    BUNDLE_BYTES_MAX,
    Trust,
    jurisdiction_of,
    log_named,
    operator_verifier,
    parse_trust,
    read_bundle,
    release_policy,
    verify_bundle,
)


@click.command()
@click.argument("bundle", type=click.File("rb"))
@click.option(
    "--keys",
    "keys_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Whom you trust: logs, witnesses and a quorum (c2sp.org/tlog-policy), or lines "
    "'operator KEY' (default: what this machine's release names).",
)
@home_option
@json_option
def verify(bundle: BinaryIO, keys_file: Path | None, home: Path, as_json: bool) -> None:
    """Check a bundle offline; exit code 1 if anything in it does not hold.

    Nothing is asked of anybody: the file and the keys are enough.
    """
    data = bundle.read(BUNDLE_BYTES_MAX + 1)
    trust = read_keys(keys_file) if keys_file is not None else _trust_of_home(home, data)
    findings = verify_bundle(data, trust)
    holds = all(one.good for one in findings)
    if as_json:
        click.echo(msgspec.json.encode({"findings": findings, "holds": holds}))
    else:
        for one in findings:
            # A bundle's own words must not look like a line of ours.
            text = one.text.replace("\n", "\\n")
            click.echo(printable(f"{'ok  ' if one.good else 'FAIL'}  {text}"))
        click.echo("the bundle holds" if holds else "the bundle does NOT hold")
    sys.exit(0 if holds else 1)


def read_keys(path: Path) -> Trust:
    """Whom a file says to trust. Raises `SelvedgeError`."""
    try:
        return parse_trust(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SelvedgeError(f"{path} cannot be read: {error}") from error


def _trust_of_home(home: Path, data: bytes) -> Trust:
    """What the releases here name for the jurisdiction that the bundle says it is of: the one that
    serves, and the one that the receipt names.

    Where they name no such log, the operator's key alone: then the bundle's own list counts.
    """
    files = Home(home)
    serving = files.release() if home.is_dir() else None
    if serving is None:
        raise SelvedgeError(
            f"no release under {home} says whom to trust; give --keys FILE, as from "
            "'selvedge audit keys' of the operator or of your own choice"
        )
    releases, log_id = [serving, *_release_of(files, data)], jurisdiction_of(data)
    if log_id is None or not any(log_named(one, log_id) for one in releases):
        key = operator_verifier(serving, operator_public_key(files.operator_key()))
        return Trust(operators=(key,))
    return parse_trust(release_policy(releases, log_id))


class _Named(msgspec.Struct):
    """By which release a receipt was written."""

    release: int
    release_hash: str


def _release_of(files: Home, data: bytes) -> list[Release]:
    """The release that the bundle's receipt names, where it is kept here."""
    try:
        said = msgspec.json.decode(read_bundle(data).receipt, type=_Named)
    except (BadProof, msgspec.MsgspecError):
        return []
    found = KeptReleases(files).find(said.release, said.release_hash)
    return [] if found is None else [found]
