"""``selvedge plan ingest``: exports of counters, series, logs and tables into a history."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from selvedge.cli.home_option import json_option
from selvedge.cli.terminal import printable
from selvedge.fabric import SelvedgeError


@click.command()
@click.argument("data", type=click.Path(path_type=Path, file_okay=False))
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--form", required=True, help="What the sources are; `--form list` prints the forms.")
@click.option(
    "--fleet",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The fleet file: CSV with a row for each PoP.",
)
@click.option(
    "--mapping",
    "mapping_path",
    default=None,
    type=click.Path(path_type=Path, dir_okay=False),
    help="YAML: which column or label means what, in which unit.",
)
@json_option
def ingest(
    data: Path,
    sources: tuple[Path, ...],
    form: str,
    fleet: Path,
    **more: object,
) -> None:
    """Read SOURCES (files, or folders of them) into the history DATA.

    Stopped at any moment, the same command goes on where it was. A file that was read is not read
    again; one that has changed replaces what it said.
    """
    from selvedge.plan.ingest import FORMS, Ingestion, read_mapping  # noqa: PLC0415  # an extra

    if form not in FORMS:
        words = "".join(f"\n  {one.name:12} {one.about}" for one in FORMS.values())
        raise click.ClickException(f"form {form!r} is none of these:{words}")
    path = more["mapping_path"]
    as_json = bool(more["as_json"])
    try:
        mapping = read_mapping(path) if isinstance(path, Path) else None
        with _shown(is_quiet=as_json) as bars:
            work = Ingestion(data, fleet, FORMS[form], mapping, bars)
            account = work.run(sources)
    except SelvedgeError as error:
        raise click.ClickException(printable(str(error))) from error
    except OSError as error:
        words = f"{error.filename or data}: {error.strerror or error}"
        raise click.ClickException(
            printable(f"{words}; free space, or mend rights, and go on")
        ) from error
    if as_json:
        click.echo(msgspec.json.encode(asdict(account)).decode())
    else:
        for line in account.lines(data):
            click.echo(printable(line))
    if account.refused or account.useless:
        raise SystemExit(1)


@dataclass(slots=True)
class _Bars:
    """Progress on standard error: bytes of the file, then months."""

    progress: Progress
    task: TaskID
    names: dict[str, None] = field(default_factory=dict)

    def reading(self, name: str, done: int, total: int) -> None:
        """A file is read."""
        self.names[name] = None
        words = f"reading {escape(printable(Path(name).name))} ({len(self.names)})"
        self.progress.update(self.task, description=words, completed=done, total=max(total, 1))

    def merging(self, month: str, done: int, total: int) -> None:
        """A month is made."""
        words = f"making {month}"
        self.progress.update(self.task, description=words, completed=done, total=total)


@contextmanager
def _shown(*, is_quiet: bool) -> Iterator[_Bars]:
    screen = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    hidden = is_quiet or not screen.is_terminal
    with Progress(*columns, console=screen, transient=True, disable=hidden) as progress:
        yield _Bars(progress, progress.add_task("", total=None))
