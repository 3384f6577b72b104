"""``selvedge audit residency`` and ``check``: a tenant's signed report, and whether one holds."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from selvedge.adapters import (
    operator_public_key,
    write_atomically,
)
from selvedge.cli.audit_verify import read_keys
from selvedge.cli.home_option import collected_option, home_option, json_option
from selvedge.cli.tables import console
from selvedge.cli.terminal import printable
from selvedge.control import (
    Home,
    LogSources,
    Reporting,
    Wish,
    logs_are_kept,
    note_access,
    sources_for_report,
)
from selvedge.fabric import SelvedgeError, StoreCorrupt
from selvedge.plan import (
    ResidencyReport,
    check_report,
    draw_report,
    open_report,
    seed_of_auditor,
    seed_of_beacon,
    sign_report,
    tables_of,
    tables_of_completeness,
)
from selvedge.tlog import Trust

EXIT_FOUND: Final = 3
"""The report is made, and says that something should not have happened, or is missing."""
NAMED_SHOWN: Final = 20
ROWS_SHOWN: Final = 100
WIDTH: Final = 100
_DIRECTORY = click.Path(path_type=Path, file_okay=False, exists=True)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("tenant")
@click.option("--from", "since", required=True, metavar="DAY", help="First UTC day, 2026-11-01.")
@click.option("--to", "until", required=True, metavar="DAY", help="First UTC day after it.")
@click.option("--out", type=_FILE, help="Write the signed report to this file.")
@click.option("--pdf", type=_FILE, help="Write it as a PDF, too.")
@click.option("--seed", help="Draw a sample by these words of the auditor.")
@click.option("--beacon", metavar="ROUND:HEX", help="Draw it by a round of public randomness.")
@click.option("--sample", default=20, show_default=True, help="So many receipts are drawn.")
@click.option("--provider", default="Selvedge", show_default=True, help="Whose report it is.")
@click.option(
    "--pop-logs",
    type=_DIRECTORY,
    help="A folder with a log for each PoP by name. Default: each PoP's own under --home.",
)
@click.option(
    "--log",
    "places",
    multiple=True,
    metavar="ID=DIR|URL",
    help="A jurisdiction's log, for proofs; may be repeated. Default: where the release says.",
)
@click.option(
    "--keys",
    "keys_file",
    type=_FILE,
    help="Keys of logs that no release names any more (c2sp.org/tlog-policy).",
)
@click.option("--no-logs", is_flag=True, help="Read no log: the report says that none was.")
@collected_option
@home_option
@json_option
def residency(
    *,
    tenant: str,
    since: str,
    until: str,
    out: Path | None,
    pdf: Path | None,
    seed: str | None,
    beacon: str | None,
    sample: int,
    provider: str,
    pop_logs: Path | None,
    places: tuple[str, ...],
    keys_file: Path | None,
    no_logs: bool,
    collected: tuple[Path, ...],
    home: Path,
    as_json: bool,
) -> None:
    """Report where TENANT's requests were, by which rules, and whether anything is missing.

    Exit code 3: the report is made, and not everything in it is as it should be.
    """
    files = Home(home)
    wish = Wish(tenant, since, until, _seed(seed, beacon), sample)
    logs = None
    if not no_logs and (pop_logs is not None or logs_are_kept(files)):
        trust = read_keys(keys_file) if keys_file is not None else Trust()
        logs = LogSources(pop_logs, dict(map(_place, places)), trust)
    receipts = sources_for_report(files, collected)
    note_access(files, f"tenant {tenant}, {since} to {until}")
    report = Reporting(files, receipts, logs).report(wish)
    private = files.operator_key()
    data = sign_report(report, private, operator_public_key(private))
    if out is not None:
        write_atomically(out, data)
    if pdf is not None:
        _, signed = open_report(data)
        write_atomically(pdf, draw_report(report, signed, provider))
    if as_json:
        click.echo(data, nl=False)
    else:
        show_report(report)
    sys.exit(EXIT_FOUND if report.exception_count or report.completeness.difference else 0)


def _place(given: str) -> tuple[str, str]:
    name, _, place = given.partition("=")
    if not name or not place:
        raise SelvedgeError(f"--log {given!r} is not ID=DIR or ID=URL")
    return name, place


def _seed(seed: str | None, beacon: str | None) -> str | None:
    if seed is not None and beacon is not None:
        raise SelvedgeError("give --seed or --beacon, not both")
    if seed is not None:
        return seed_of_auditor(seed)
    return seed_of_beacon(beacon) if beacon is not None else None


@click.command()
@click.argument("file", type=_FILE)
@click.option("--key", help="The operator's public key in base64. Default: the home's, if any.")
@click.option("--pdf", type=_FILE, help="Draw it as a PDF.")
@click.option("--provider", default="Selvedge", show_default=True, help="Whose report it is.")
@home_option
@json_option
def check(
    *, file: Path, key: str | None, pdf: Path | None, provider: str, home: Path, as_json: bool
) -> None:
    """Check a signed report: its signature, whether it adds up, and its sample.

    Exit code 1: the signature does not hold. Exit code 3: it does, and something in the report is
    not as it should be.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise SelvedgeError(f"{file} cannot be read: {error.strerror}") from error
    known = key if key is not None else _own_key(home)
    try:
        report, signed = open_report(data, known)
    except StoreCorrupt as error:
        raise SelvedgeError(f"{file}: {error}") from error
    wrong = check_report(report)
    if pdf is not None:
        write_atomically(pdf, draw_report(report, signed, provider))
    if as_json:
        facts = {
            "hash": signed.hash,
            "key": signed.key,
            "key_known": known is not None,
            "exceptions": report.exception_count,
            "difference": report.completeness.difference,
            "wrong": wrong,
        }
        click.echo(printable(msgspec.json.encode(facts).decode()))
    else:
        out = console()
        out.print(escape(printable(_signed_by(signed.key, known=known is not None))))
        for words in wrong:
            out.print(escape(printable(f"wrong: {words}")))
        show_report(report)
    sys.exit(EXIT_FOUND if wrong else 0)


def _own_key(home: Path) -> str | None:
    files = Home(home)
    if not (files.directory / "operator.key").exists():
        return None
    return operator_public_key(files.operator_key())


def _signed_by(key: str, *, known: bool) -> str:
    if known:
        return f"signed by {key}, the key that was asked for"
    return f"signed by {key}, as the file says; compare it, or give --key"


def show_report(report: ResidencyReport) -> None:
    """The report, for a terminal of 100 columns."""
    out = console()
    title = f"{report.tenant}, {report.since} to before {report.until}, fleet {report.fleet}"
    out.print(escape(printable(title)))
    for one in (*tables_of(report), *tables_of_completeness(report.completeness)):
        if not one.rows:
            continue
        out.print(f"\n{one.title}")
        table = Table(box=None, pad_edge=False, width=WIDTH)
        for at, name in enumerate(one.head):
            is_figure = at >= len(one.head) - one.figures
            table.add_column(name, justify="right" if is_figure else "left", overflow="fold")
        for row in one.rows[:ROWS_SHOWN]:
            table.add_row(*(escape(printable(cell)) for cell in row))
        out.print(table)
        if len(one.rows) > ROWS_SHOWN:
            out.print(f"and {len(one.rows) - ROWS_SHOWN} rows more; see --json")
    out.print()
    for line in _verdicts(report):
        out.print(escape(printable(line)))


def _verdicts(report: ResidencyReport) -> Iterator[str]:
    whole = report.completeness
    kinds = (
        ("exceptions", report.exceptions, report.exceptions_named, report.exception_count),
        ("differences", whole.differences, whole.named, whole.difference),
    )
    for name, counts, named, total in kinds:
        by_kind = ", ".join(f"{kind} {count:,}" for kind, count in counts.items())
        yield f"{name}: {total:,}" + (f" ({by_kind})" if by_kind else "")
        for one in named[:NAMED_SHOWN]:
            yield f"  {one.kind}: {one.where}: {one.what}"
        if len(named) > NAMED_SHOWN:
            yield f"  and {len(named) - NAMED_SHOWN} more; see --json"
    if report.sample is not None:
        drawn = len(report.sample.drawn)
        yield f"sample of {drawn} receipts by {report.sample.seed}; they are in the JSON"
    for note in report.notes:
        yield from textwrap.wrap(f"note: {note}", WIDTH)
