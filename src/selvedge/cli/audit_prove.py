"""``selvedge audit prove``: one receipt, and all that proves that it was logged, in one file."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from selvedge.adapters import (
    find_sealed,
    journal_of,
    journals_of,
    log_place,
    write_atomically,
)
from selvedge.cli.audit_verify import read_keys
from selvedge.cli.home_option import home_option, json_option
from selvedge.control import Home, KeptReleases, Proving, home_log_of
from selvedge.fabric import SelvedgeError
from selvedge.ledger import Sealed
from selvedge.pop import write_access
from selvedge.tlog import Trust

LOG_FOLDER = "log"


@click.command()
@click.argument("receipt", metavar="RECEIPT")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write the bundle (default: ID.bundle.json).",
)
@click.option(
    "--pop-log", metavar="DIR|URL", help="The PoP's log (default: on this machine's disk)."
)
@click.option(
    "--log",
    "home_log",
    metavar="DIR|URL",
    help="The jurisdiction's log (default: on this disk, or where the release says).",
)
@click.option(
    "--keys",
    "keys_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keys that the release does not name any more (c2sp.org/tlog-policy).",
)
@home_option
@json_option
def prove(
    receipt: str, out: Path | None, home: Path, *, as_json: bool, **places: str | Path | None
) -> None:
    """Write a bundle that proves, offline, that a receipt was logged, and by when.

    RECEIPT is an id of a PoP on this machine, or a file with what 'selvedge receipts show ID
    --json' prints. Check the bundle with 'selvedge audit verify', or without Selvedge:
    docs/audit.md.
    """
    files = Home(home)
    serving = files.release() if home.is_dir() else None
    if serving is None:
        raise SelvedgeError(f"no release under {home} names keys of logs; name another --home")
    sealed = _find(files, receipt)
    said = sealed.decode()
    kept = KeptReleases(files).find(said.release, said.release_hash)
    releases = [serving] if kept is None else [serving, kept]
    keys_file = places["keys_file"]
    extra = read_keys(Path(keys_file)) if keys_file is not None else Trust()
    proving = Proving(releases, sealed, extra, files.operator_key())
    pop_log = places["pop_log"] or files.pop(proving.said.ingress_pop) / LOG_FOLDER
    home_log = places["home_log"] or home_log_of(files, proving.log)
    data = proving.bundle(log_place(str(pop_log)), log_place(str(home_log)))
    path = out or Path(f"{proving.said.id}.bundle.json")
    write_atomically(path, data)
    if as_json:
        facts = {"receipt": proving.said.id, "bundle": str(path), "bytes": len(data)}
        click.echo(msgspec.json.encode(facts))
        return
    click.echo(f"{path}: {len(data):,} bytes; check it with 'selvedge audit verify {path}'")


def _find(files: Home, receipt: str) -> Sealed:
    """A receipt by its id, or as a file says it."""
    path = Path(receipt)
    if path.is_file():
        try:
            return msgspec.json.decode(path.read_bytes(), type=Sealed)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise SelvedgeError(
                f"{path} is not what 'selvedge receipts show ID --json' prints: {error}"
            ) from error
    for pop in sorted((files.directory / "pops").glob("*")):
        for number in journals_of(pop):
            sealed = find_sealed(journal_of(pop, number) / "receipts", receipt)
            if sealed is not None:
                write_access(pop, "selvedge audit prove", receipt)
                return sealed
    raise SelvedgeError(
        f"no receipt {receipt!r} at the PoPs under {files.directory}; give the file that "
        "'selvedge receipts show ID --json' printed where it is"
    )
