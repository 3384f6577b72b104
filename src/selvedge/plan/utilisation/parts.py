"""The files of a history that can be read, and what was left out of them.

A part without a footer, or without a column, is left out. A part with a damaged page shows only
when it is read: then its sound row groups are copied and take its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from selvedge.plan.history import POPS_MAX, SAMPLES, Finding, History
from selvedge.plan.utilisation.zones import month_span


class Parts:
    """Paths by month. `findings` grows as damage is found."""

    def __init__(self, history: History, months: Sequence[str], scratch: Path) -> None:
        self._scratch = scratch
        self.months = tuple(months)
        self.findings: list[Finding] = []
        self._paths: dict[str, list[Path]] = {}
        self.stored = dict.fromkeys(months, 0)
        """Rows by month, as the parts' footers say."""
        self.pops_max = dict.fromkeys(months, -1)
        """The largest number of a PoP by month, or more where a footer does not say."""
        for month in months:
            paths = history.parts(month)
            self._paths[month] = [path for path in paths if self._is_usable(month, path)]

    def paths(self, month: str) -> list[Path]:
        """What can be read of a month."""
        return self._paths.get(month, [])

    def may_lack(self, month: str, column: str) -> bool:
        """Whether a column of a month may have nulls: by what the files say of themselves."""
        for path in self.paths(month):
            for seen in statistics_of(pq.read_metadata(path), column):
                if seen is None or not seen.has_null_count or seen.null_count:
                    return True
        return False

    def mend(self, month: str) -> bool:
        """Look for damaged pages of a month and replace what has them; whether there were any."""
        found = False
        for number, path in enumerate(self.paths(month)):
            good, bad = sound_row_groups(path)
            if not bad:
                continue
            found = True
            copy = self._scratch / f"sound-{month}-{number}.parquet"
            pq.write_table(pa.concat_tables([SAMPLES.empty_table(), *good]), copy)
            self._paths[month][number] = copy
            for place, error in bad:
                where = f"{path.name}, row group {place}"
                self._lose(month, where, f"it cannot be read: {error}")
        return found

    def _is_usable(self, month: str, path: Path) -> bool:
        try:
            footer = pq.read_metadata(path)
            schema = footer.schema.to_arrow_schema()
        except (OSError, pa.ArrowException) as error:
            self._lose(month, path.name, f"no Parquet file in whole: {first_line(error)}")
            return False
        missing = [name for name in SAMPLES.names if name not in schema.names]
        if missing:
            self._lose(month, path.name, f"no column {', '.join(missing)}")
            return False
        odd = [one for one in map(schema.field, SAMPLES.names) if not pa.types.is_integer(one.type)]
        if odd:
            self._lose(month, path.name, f"column {odd[0].name} is {odd[0].type}, no whole numbers")
            return False
        self.stored[month] += footer.num_rows
        self.pops_max[month] = max(self.pops_max[month], _largest_pop(footer))
        return True

    def _lose(self, month: str, source: str, words: str) -> None:
        first, after = month_span(month)
        self.findings.append(
            Finding(
                kind="unreadable",
                from_s=first,
                until_s=after,
                source=f"samples/month={month}/{source}",
                detail=f"{words}; left out",
            )
        )


def statistics_of(footer: pq.FileMetaData, column: str) -> list[Any]:  # Arrow's, not typed
    """What a part says of a column, by row group; None where it says nothing."""
    place = footer.schema.to_arrow_schema().get_field_index(column)
    groups = [footer.row_group(at).column(place) for at in range(footer.num_row_groups)]
    return [group.statistics for group in groups]


def _largest_pop(footer: pq.FileMetaData) -> int:
    seen = statistics_of(footer, "pop")
    known = [one.max for one in seen if one is not None and one.has_min_max]
    return max(known, default=-1) if len(known) == len(seen) else POPS_MAX


def sound_row_groups(path: Path) -> tuple[list[pa.Table], list[tuple[int, str]]]:
    """What can be read of a part, and of each other row group its number and why not."""
    good: list[pa.Table] = []
    bad: list[tuple[int, str]] = []
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            try:
                good.append(file.read_row_group(group, columns=SAMPLES.names).cast(SAMPLES))
            except (OSError, ValueError, pa.ArrowException) as error:
                bad.append((group, first_line(error)))
    return good, bad


def first_line(error: Exception) -> str:
    """What an engine complains of, without its story."""
    return str(error).partition("\n")[0].rstrip(".")
