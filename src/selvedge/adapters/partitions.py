"""Collected receipts as Parquet: one directory a zone and UTC day, one file for each segment in it.

DuckDB writes and reads them (extra ``control``); everything else runs without it. A segment's files
have its number in their names: written twice they are the same files, and while the segment is
still in the log they do not count. So no crash between loses a receipt, or counts one twice.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from selvedge.adapters.legal_holds import held_tenants
from selvedge.fabric import SelvedgeError, StoreCorrupt, StoreFailed
from selvedge.ledger import (
    UNCOUNTED,
    Sealed,
    Stream,
    Sums,
    UsageAsked,
    UsageRow,
    UsageTable,
    payload_of_line,
    row_of_receipt,
    segment_name,
)

if TYPE_CHECKING:
    import duckdb

PARTITIONS: Final = "partitions"
_INTEGER: Final = "BIGINT"
_WORD: Final = "VARCHAR"
MEMORY: Final = "512MB"


_TYPES: Final[Mapping[str, str]] = {
    field.name: {int: _INTEGER, int | None: _INTEGER, bool: "BOOLEAN"}.get(field.type, _WORD)
    for field in msgspec.structs.fields(UsageRow)
}
_HOUR: Final = "strftime(make_timestamp(received_us), '%Y-%m-%dT%H')"
_LATER: Final[Mapping[str, str]] = {
    "purpose": "coalesce(receipt ->> '$.purpose', 'request')",
    "ended_as": "CASE settled_by WHEN 'batch_line' THEN 'complete' ELSE settled_by END",
    "stream": "(receipt ->> '$.stream')::BOOLEAN",
    "first_token_us": "(receipt ->> '$.first_token_us')::BIGINT",
    "made": "CASE receipt ->> '$.cache' WHEN 'hit' THEN 0 ELSE "
    "coalesce((receipt ->> '$.usage.output')::BIGINT"
    " + (receipt ->> '$.usage.reasoning')::BIGINT, 0) END",
}
"""Columns that parts of earlier versions have not, and where their receipts say it."""
_sealed: Final = msgspec.json.Decoder(Sealed)
_encode: Final = msgspec.json.Encoder().encode


def has_duckdb() -> bool:
    """Whether partitions can be written and read."""
    return importlib.util.find_spec("duckdb") is not None


def connect(threads: int = 1, memory: str = MEMORY) -> duckdb.DuckDBPyConnection:
    """A database in memory. Raises `SelvedgeError` that names the extra."""
    if not has_duckdb():
        raise SelvedgeError("Parquet needs DuckDB: pip install 'selvedge[control]'")
    import duckdb  # noqa: PLC0415 (an extra)

    found = duckdb.connect()
    found.execute(f"SET threads = {threads}; SET memory_limit = '{memory}'")
    return found


def rows_of_lines(lines: Iterator[bytes]) -> Iterator[UsageRow]:
    """The receipts among the lines of a collector's log. Raises `StoreCorrupt`."""
    for line in lines:
        if line[:2] in (b"R ", b"K ") and line.endswith(b"\n"):
            try:
                sealed = _sealed.decode(payload_of_line(line))
                receipt = sealed.decode()
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise StoreCorrupt(f"a line is not a sealed receipt: {error}") from error
            yield row_of_receipt(sealed, receipt, conflict=line[:1] == b"K")


def part_name(segment: int) -> str:
    """The file of a segment's receipts in a day's partition."""
    return f"part-{segment:08d}.parquet"


def write_partitions(directory: Path, segment: int) -> list[Path]:
    """Write a closed segment's receipts, a file a day; the caller removes the segment then.

    Raises `StoreFailed`, `StoreCorrupt`.
    """
    drafts = directory / f".drafts-{segment}"
    try:
        shutil.rmtree(drafts, ignore_errors=True)
        drafts.mkdir(parents=True)
        with (directory / segment_name(segment)).open("rb") as file:
            days = _write_days(drafts, rows_of_lines(iter(file)))
        found = [_write_part(directory, segment, zone, day, rows) for (zone, day), rows in days]
        shutil.rmtree(drafts)
    except OSError as error:
        words = f"{directory}: segment {segment} cannot be partitioned: {error.strerror}"
        raise StoreFailed(words) from error
    return found


def _write_days(drafts: Path, rows: Iterator[UsageRow]) -> list[tuple[tuple[str, str], Path]]:
    """Rows as JSON lines, a file a zone and day."""
    paths: dict[tuple[str, str], Path] = {}
    with contextlib.ExitStack() as stack:
        files = {}
        for row in rows:
            key = (row.zone, row.day)
            if key not in files:
                paths[key] = drafts / f"{len(paths)}.json"
                files[key] = stack.enter_context(paths[key].open("wb"))
            files[key].write(_encode(row) + b"\n")
    return sorted(paths.items())


def _write_part(directory: Path, segment: int, zone: str, day: str, rows: Path) -> Path:
    place = directory / PARTITIONS / f"zone={zone}" / f"day={day}"
    place.mkdir(parents=True, exist_ok=True)
    path = place / part_name(segment)
    for left in place.glob(f".{path.name}.*"):  # by a process that was killed
        left.unlink()
    draft = place / f".{path.name}.{os.getpid()}"
    _copy(rows, draft, _TYPES, "ORDER BY tenant, pop, worker, seq, conflict")
    _sync(draft)
    draft.rename(path)
    for one in (place, place.parent, place.parent.parent, directory):
        _sync(one)
    return path


def _copy(lines: Path, draft: Path, types: Mapping[str, str], order: str) -> None:
    columns = ", ".join(f"{name}: '{kind}'" for name, kind in types.items())
    source = f"read_json({quoted(lines)}, format='newline_delimited', columns={{{columns}}})"
    target = f"{quoted(draft)} (FORMAT parquet, COMPRESSION zstd)"
    with connect() as database:
        try:
            database.execute(f"COPY (SELECT * FROM {source} {order}) TO {target}")
        except Exception as error:  # duckdb.Error: imported late
            raise StoreFailed(f"{draft} cannot be written: {error}") from error


def quoted(path: Path) -> str:
    """A path in SQL."""
    return "'" + str(path).replace("'", "''") + "'"


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def find_parts(directory: Path) -> list[Path]:
    """The parts that count, of all days: those whose segment has left the log."""
    return sorted(
        path
        for path in directory.glob(f"{PARTITIONS}/zone=*/day=*/part-*.parquet")
        if not (directory / segment_name(int(path.stem.removeprefix("part-")))).exists()
    )


def as_table(parts: Sequence[Path]) -> str:
    """Parts as one table, in SQL."""
    return f"read_parquet([{', '.join(map(quoted, parts))}], hive_partitioning = false)"


def as_rows(database: duckdb.DuckDBPyConnection, parts: Sequence[Path]) -> str:
    """Parts as one table with every column of a row, in SQL; earlier versions wrote fewer."""
    files = ", ".join(map(quoted, parts))
    table = f"read_parquet([{files}], hive_partitioning = false, union_by_name = true)"
    found = database.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()
    written = {str(name) for name, *_ in found}
    columns = [_column(name, name in written) if name in _LATER else name for name in _TYPES]
    return f"(SELECT {', '.join(columns)} FROM {table})"


def _column(name: str, written: bool) -> str:
    told = _LATER[name]
    return f"{f'coalesce({name}, {told})' if written else told} AS {name}"


def find_digests(directory: Path, stream: Stream, seqs: Sequence[int]) -> dict[int, bytes]:
    """The digests of receipts that have left the log, without those that are there no more.

    Raises `StoreFailed`.
    """
    parts = find_parts(directory)
    if not parts or not seqs:
        return {}
    tenant, pop, worker = stream
    query = (
        f"SELECT seq, digest FROM {as_table(parts)} WHERE NOT conflict AND "
        "tenant = ? AND pop = ? AND worker = ? AND seq BETWEEN ? AND ?"
    )
    with reading(parts) as database:
        values = [tenant, pop, worker, min(seqs), max(seqs)]
        found = database.execute(query, values).fetchall()
    wanted = set(seqs)
    return {seq: bytes.fromhex(digest) for seq, digest in found if seq in wanted}


@contextlib.contextmanager
def reading(parts: Sequence[Path]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database to read parts with. Raises `StoreFailed` where they cannot be read."""
    with connect() as database:
        try:
            yield database
        except Exception as error:  # duckdb.Error: imported late
            gone = next((path for path in parts if not path.exists()), None)
            if gone is not None:
                words = f"{gone.parent} was dropped while it was read; try again"
            else:
                words = f"partitions cannot be read: {str(error).splitlines()[0]}"
                words += "; restore the file from a copy, or move it away"
            raise StoreFailed(words) from error


def usage_of_parts(parts: Sequence[Path], wish: UsageAsked) -> UsageTable:
    """Usage by group, of these parts."""
    if not parts:
        return {}
    told = (_HOUR if name == "hour" else name for name in wish.by)
    groups = ", ".join(f"coalesce(nullif({name}, ''), '-')" for name in told) or "''"
    counts = ", ".join(f"sum({name})::BIGINT" for name in Sums.__struct_fields__[1:])
    query = (
        f"SELECT [{groups}], count(*)::BIGINT, {counts} FROM {as_table(parts)} WHERE NOT conflict "
        f"AND settled_by <> '{UNCOUNTED}' AND received_us >= ? AND received_us < ? "
        "AND coalesce(tenant = ?, true) GROUP BY 1"
    )
    with reading(parts) as database:
        rows = database.execute(query, [wish.since_us, wish.until_us, wish.tenant]).fetchall()
    return {tuple(key) if wish.by else (): Sums(*sums) for key, *sums in rows}


def rows_of_parts(parts: Sequence[Path]) -> Iterator[UsageRow]:
    """The rows of these parts, as they were written."""
    if not parts:
        return
    with reading(parts) as database:
        found = database.execute(f"SELECT * FROM {as_rows(database, parts)}")
        while rows := found.fetchmany(1_000):
            for row in rows:
                yield UsageRow(*row)


def write_parquet(path: Path, columns: Mapping[str, str], rows: Sequence[object]) -> None:
    """A small table as a Parquet file; ``columns`` name their types."""
    draft, lines = path.with_name(f".{path.name}.draft"), path.with_name(f".{path.name}.json")
    try:
        lines.write_bytes(b"".join(_encode(row) + b"\n" for row in rows))
        _copy(lines, draft, columns, "")
        draft.rename(path)
    except OSError as error:
        raise StoreFailed(f"{path} cannot be written: {error.strerror}") from error
    finally:
        lines.unlink(missing_ok=True)
        draft.unlink(missing_ok=True)


def drop_days(directory: Path, before: str) -> list[str]:
    """Drop the partitions of the days before this one (``YYYY-MM-DD``); which they were.

    A partition is moved aside first: no reader finds half of one. One that holds a receipt of a
    tenant under a legal hold stays.
    """
    held = held_tenants(directory)
    dropped = []
    try:
        for path in sorted(directory.glob(f"{PARTITIONS}/zone=*/day=*")):
            if path.name.removeprefix("day=") < before and not _holds(path, held):
                aside = path.with_name(f".dropped-{path.name}")
                path.rename(aside)
                dropped.append(path.name.removeprefix("day="))
        for path in directory.glob(f"{PARTITIONS}/zone=*/.dropped-*"):
            shutil.rmtree(path)
    except OSError as error:
        raise StoreFailed(f"{directory}: days cannot be dropped: {error.strerror}") from error
    return dropped


def _holds(partition: Path, tenants: frozenset[str]) -> bool:
    """Whether a partition has a receipt of one of these tenants."""
    if not tenants:
        return False
    import duckdb  # noqa: PLC0415 (an extra)

    with connect() as connection:
        try:
            found = connection.execute(
                "SELECT 1 FROM read_parquet(?) WHERE list_contains(?, tenant) LIMIT 1",
                [str(partition / "*.parquet"), sorted(tenants)],
            ).fetchone()
        except duckdb.Error as error:
            words = "and nothing is dropped while a tenant is held"
            raise StoreFailed(f"{partition} cannot be read ({error}), {words}") from error
    return found is not None
