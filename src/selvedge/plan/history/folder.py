"""The folder of a history: a manifest, samples by month, findings.

    DATA/history.json                          PoPs in order, step, what was read in
    DATA/samples/month=2026-01/NAME.parquet    `SAMPLES`, sorted by pop and at_s
    DATA/findings/NAME.parquet                 `Finding`, a row each

Months are of UTC. A part is written under a draft's name, fsynced and renamed: it is whole or not
there. The manifest is replaced whole.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from selvedge.plan.history.columns import POPS_MAX, SAMPLES, STEP_S
from selvedge.plan.history.findings import Finding
from selvedge.plan.history.sites import BadPlan

VERSION: Final = 1
_MANIFEST: Final = "history.json"
_MONTH: Final = re.compile(r"20\d\d-(0[1-9]|1[0-2])|210[0-6]-(0[1-9]|1[0-2])")
_FINDINGS: Final = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("kind", "pop", "series")),
        *(pa.field(name, pa.int64()) for name in ("from_s", "until_s", "count")),
        *(pa.field(name, pa.string()) for name in ("source", "detail")),
    ]
)


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was read in whole."""

    name: str
    sha256: str
    form: str
    rows: int
    samples: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What `history.json` says."""

    version: int = VERSION
    step_s: int = STEP_S
    pops: tuple[str, ...] = ()
    """A PoP's number is its position; PoPs are only ever added at the end."""
    sources: tuple[Source, ...] = ()


class History:
    """One folder. Methods raise `BadPlan` for what cannot be used, with path and remedy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def open(cls, folder: Path) -> History:
        """One that is there. Raises `BadPlan`."""
        found = cls(folder)
        found.read_manifest()
        return found

    @classmethod
    def create(cls, folder: Path) -> History:
        """Open it, or begin an empty one."""
        found = cls(folder)
        if not found.manifest_path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            found.write_manifest(Manifest())
        return cls.open(folder)

    @property
    def manifest_path(self) -> Path:
        """Of `history.json`."""
        return self.folder / _MANIFEST

    def read_manifest(self) -> Manifest:
        """What it says now. Raises `BadPlan`."""
        path = self.manifest_path
        try:
            found = msgspec.json.decode(path.read_bytes(), type=Manifest)
        except FileNotFoundError:
            words = "make one with `selvedge plan ingest` or `selvedge plan synth`"
            raise BadPlan(f"{self.folder} holds no history ({_MANIFEST}); {words}.") from None
        except OSError as error:
            raise BadPlan(f"{path} cannot be read: {error.strerror}.") from error
        except msgspec.MsgspecError as error:
            words = "restore it, or make the history anew in another folder"
            raise BadPlan(f"{path} is no manifest of a history: {error}; {words}.") from error
        if found.version != VERSION or found.step_s != STEP_S:
            words = f"version {found.version}, step {found.step_s} s"
            raise BadPlan(f"{path} is of {words}; this reads version {VERSION}, step {STEP_S} s.")
        return found

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace it whole. Raises `BadPlan` where there are too many PoPs, `OSError`."""
        if len(manifest.pops) > POPS_MAX:
            raise BadPlan(
                f"{len(manifest.pops)} PoPs; a history holds {POPS_MAX}: split the fleet."
            )
        data = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        replace_file(self.manifest_path, data)

    def months(self) -> list[str]:
        """Those with a part, as `2026-01`, in order. Raises `BadPlan` for a folder of no month."""
        paths = (self.folder / "samples").glob("month=*/*.parquet")
        found = {path.parent.name.removeprefix("month=") for path in paths}
        for name in found:
            if not _MONTH.fullmatch(name):
                words = "name it as month=2026-01, or take it out of the folder"
                raise BadPlan(f"{self.folder / 'samples'}/month={name} is no month; {words}.")
        return sorted(found)

    def parts(self, month: str) -> list[Path]:
        """The files of a month, in order of their names."""
        return sorted((self.folder / "samples" / f"month={month}").glob("*.parquet"))

    def part_path(self, month: str, name: str) -> Path:
        """Where a part belongs; its folder is there afterwards."""
        folder = self.folder / "samples" / f"month={month}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.parquet"

    def write_part(self, month: str, name: str, samples: pa.Table) -> Path:
        """Write samples of one month, sorted by pop and at_s. Replaces a part of that name."""
        path = self.part_path(month, name)
        write_parquet(path, samples.cast(SAMPLES))
        return path

    def write_findings(self, name: str, findings: Iterable[Finding]) -> None:
        """Write what is wrong, as one file of that name; an empty one is written too."""
        rows = [msgspec.structs.asdict(one) for one in findings]
        folder = self.folder / "findings"
        folder.mkdir(parents=True, exist_ok=True)
        write_parquet(folder / f"{name}.parquet", pa.Table.from_pylist(rows, schema=_FINDINGS))

    def read_findings(self) -> list[Finding]:
        """All of them, in order of their files' names. Raises `BadPlan`."""
        found = []
        for path in sorted((self.folder / "findings").glob("*.parquet")):
            try:
                rows = pq.read_table(path).to_pylist()
                found += [msgspec.convert(row, Finding) for row in rows]
            except (OSError, pa.ArrowException, msgspec.ValidationError) as error:
                words = "delete it, and what it was found in is told no more"
                raise BadPlan(f"{path} cannot be read as findings: {error}; {words}.") from error
        return found


def write_parquet(path: Path, table: pa.Table, row_group: int = 1_000_000) -> None:
    """A file that is whole or not there: zstd, sorted columns as deltas. Raises `OSError`."""
    draft = path.with_name(f".{path.name}.draft")
    packed = [name for name in ("at_s",) if name in table.column_names]
    # Dictionaries help where values repeat, and cannot be combined with deltas.
    plain: Sequence[str] = [name for name in table.column_names if name not in packed]
    pq.write_table(
        table,
        draft,
        compression="zstd",
        row_group_size=row_group,
        use_dictionary=list(plain),
        column_encoding=dict.fromkeys(packed, "DELTA_BINARY_PACKED"),
    )
    settle(draft, path)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file that is whole or as it was. Raises `OSError`."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(data)
    settle(draft, path)


def settle(draft: Path, path: Path) -> None:
    """Give a written draft its name, for good. Raises `OSError`."""
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
