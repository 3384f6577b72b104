"""``selvedge audit prove``: one receipt, and all that proves that it was logged, in one file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from selvedge.adapters import (
    LogPlace,
    find_sealed,
    journal_of,
    journals_of,
    log_place,
    operator_public_key,
    write_atomically,
)
from selvedge.cli.audit_verify import read_keys
from selvedge.cli.home_option import home_option
from selvedge.control import Home
from selvedge.fabric import (
    JurisdictionLog,
    Receipt,
    Release,
    SelvedgeError,
    log_of,
)
from selvedge.ledger import Sealed
from selvedge.tlog import (
    Note,
    PublishedLog,
    Signer,
    Trust,
    Verifier,
    find_receipt,
    jurisdiction_keys,
    open_log,
    operator_verifier,
    pop_keys,
    prove_receipt,
    release_policy,
    sign_note,
    witness_keys,
)

LOG_FOLDER = "log"
JURISDICTIONS = "jurisdictions"


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
def prove(receipt: str, out: Path | None, home: Path, **places: str | Path | None) -> None:
    """Write a bundle that proves, offline, that a receipt was logged, and by when.

    RECEIPT is an id of a PoP on this machine, or a file with what 'selvedge receipts show ID
    --json' prints. Check the bundle with 'selvedge audit verify', or without Selvedge:
    docs/audit.md.
    """
    files = Home(home)
    release = files.release() if home.is_dir() else None
    if release is None:
        raise SelvedgeError(f"no release under {home} names keys of logs; name another --home")
    sealed = _find(files, receipt)
    keys_file = places["keys_file"]
    extra = read_keys(Path(keys_file)) if keys_file is not None else Trust()
    proving = _Proving(release, sealed, extra, files.operator_key())
    pop_log = places["pop_log"] or files.pop(proving.said.ingress_pop) / LOG_FOLDER
    home_log = places["home_log"] or _home_log(files, proving.log)
    data = proving.bundle(log_place(str(pop_log)), log_place(str(home_log)))
    path = out or Path(f"{proving.said.id}.bundle.json")
    write_atomically(path, data)
    click.echo(f"{path}: {len(data):,} bytes; check it with 'selvedge audit verify {path}'")


class _Proving:
    """One receipt, and the keys that may have signed for it."""

    def __init__(self, release: Release, sealed: Sealed, extra: Trust, operator: bytes) -> None:
        self.said: Receipt = sealed.decode()
        self.log: JurisdictionLog = _log_of(release, self.said.ingress_pop)
        self._release, self._sealed, self._extra = release, sealed, extra
        name = operator_verifier(release, operator_public_key(operator)).name
        self._operator = Signer(name, operator)

    def bundle(self, pop_place: LogPlace, home_place: LogPlace) -> bytes:
        """Look through the shards. Raises `SelvedgeError` where the receipt is in none."""
        time_us = self.said.ended_us
        receipt, salt = bytes(self._sealed.receipt), self._sealed.salt
        shards = pop_place.shards(time_us)
        for shard in shards:
            pop = self._open(pop_place, shard, f"pop/{self.said.ingress_pop}")
            found = find_receipt(pop, receipt, salt, pop_place.around(shard, time_us))
            if found is not None:
                return prove_receipt(found, pop, self._homes(home_place), self._keys, self._names())
        raise SelvedgeError(
            f"receipt {self.said.id} is in no shard of its PoP's log that was looked at "
            f"({', '.join(shards) or 'there is none'}); it may be logged within a second"
        )

    def _homes(self, place: LogPlace) -> Iterator[PublishedLog]:
        for shard in place.shards(self.said.ended_us):
            yield self._open(place, shard, f"jurisdiction/{self.log.id}")

    def _open(self, place: LogPlace, shard: str, log: str) -> PublishedLog:
        origin = f"{self._release.log_domain}/{self._release.fleet}/{log}/{shard}"
        return open_log(place.read(shard), origin, self._keys(origin))

    def _keys(self, origin: str) -> list[Verifier]:
        """All that may have signed under an origin: by the release, and by the file of keys."""
        shard = origin.rpartition("/")[2]
        found = pop_keys(self._release, self.said.ingress_pop, shard)
        found += jurisdiction_keys(self._release, self.log, shard)
        found = [key for key in found if key.name == origin]
        witnesses = [*witness_keys(self.log), *self._extra.witnesses.values()]
        return [*found, *self._extra.keys_of(origin), *witnesses]

    def _names(self) -> tuple[Note, Verifier]:
        text = release_policy(self._release, self.log, pops=[self.said.ingress_pop])
        return sign_note(text, [self._operator]), self._operator.verifier


def _home_log(files: Home, log: JurisdictionLog) -> str:
    """Where the jurisdiction's log is read: on this machine's disk, or where it is served."""
    folder = files.directory / JURISDICTIONS / log.id
    return str(folder) if folder.is_dir() else log.url


def _log_of(release: Release, pop_id: str) -> JurisdictionLog:
    log = log_of(release.logs, release.pop(pop_id).country)
    if log is None:
        raise SelvedgeError(
            f"the release names no log for the jurisdiction of {pop_id!r}; add its country under "
            "'logs:' of the fleet file and publish"
        )
    return log


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
                return sealed
    raise SelvedgeError(
        f"no receipt {receipt!r} at the PoPs under {files.directory}; give the file that "
        "'selvedge receipts show ID --json' printed where it is"
    )
