"""A small fleet, files for it, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from selvedge.plan.history import Finding, History
from selvedge.plan.ingest import FORMS, Account, Ingestion, read_mapping

START = 1_767_225_600  # 2026-01-01 00:00 UTC
FLEET = """\
pop,country,timezone,power_limit_kw
fra,DE,Europe/Berlin,10
lon,GB,Europe/London,
sin,SG,Asia/Singapore,
"""


@dataclass
class Quiet:
    """A watcher that remembers what it was told."""

    told: list[tuple[str, int, int]] = field(default_factory=list)

    def reading(self, name: str, done: int, total: int) -> None:
        self.told.append((name, done, total))

    def merging(self, month: str, done: int, total: int) -> None:
        self.told.append((month, done, total))


@dataclass
class Outcome:
    """What a call of ingest left behind."""

    folder: Path
    account: Account

    @property
    def findings(self) -> list[Finding]:
        return History.open(self.folder).read_findings()

    def found(self, kind: str) -> list[Finding]:
        return [one for one in self.findings if one.kind == kind]

    @property
    def kinds(self) -> set[str]:
        return {one.kind for one in self.findings}

    def rows(self, pop: str, *columns: str) -> list[Any]:
        """By time: minutes since the start, and the columns."""
        if not History.open(self.folder).months():
            return []
        number = History.open(self.folder).read_manifest().pops.index(pop)
        names = ", ".join(("at_s", *columns))
        parts = f"{self.folder}/samples/*/*.parquet"
        query = f"select {names} from '{parts}' where pop = {number} order by at_s"
        found = duckdb.sql(query).fetchall()
        return [((row[0] - START) // 60, *row[1:]) for row in found]

    def all_rows(self) -> list[Any]:
        parts = f"{self.folder}/samples/*/*.parquet"
        return duckdb.sql(f"select * from '{parts}' order by pop, at_s").fetchall()

    def files(self) -> dict[str, bytes]:
        """Every file that is there, by its path."""
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in found}


def ingest(
    tmp: Path,
    sources: Sequence[Path | str],
    form: str,
    mapping: str = "",
    *,
    data: str = "data",
    run_rows: int = 1_500_000,
    fleet: str = FLEET,
) -> Outcome:
    """Sources are paths, or texts of files that are written first."""
    (tmp / "fleet.csv").write_text(fleet)
    paths = []
    for number, source in enumerate(sources):
        if isinstance(source, str):
            path = tmp / f"source{number}.txt"
            path.write_text(source)
            paths.append(path)
        else:
            paths.append(source)
    read = None
    if mapping:
        (tmp / "mapping.yaml").write_text(mapping)
        read = read_mapping(tmp / "mapping.yaml")
    folder = tmp / data
    work = Ingestion(folder, tmp / "fleet.csv", FORMS[form], read, Quiet(), run_rows)
    return Outcome(folder, work.run(paths))
