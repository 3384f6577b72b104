"""Sources into a history: each file read once, each month of them made into its part.

What is on disk afterwards follows from the files and the settings alone, not from how often it was
stopped or in how many calls they came. Killed at any moment, the same call goes on where it was:
files with a record are not read again, months whose sources are the same are not made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import msgspec
import numpy as np

from selvedge.plan.history import (
    BadPlan,
    Finding,
    History,
    Manifest,
    PopSite,
    read_sites,
    replace_file,
)
from selvedge.plan.ingest import months
from selvedge.plan.ingest.accounts import Account
from selvedge.plan.ingest.checking import Names
from selvedge.plan.ingest.columns import Array
from selvedge.plan.ingest.mapping import Mapping, PopColumn
from selvedge.plan.ingest.merging import PART, MonthMerge, empty_months, touches
from selvedge.plan.ingest.places import digest_of, expand, name_of
from selvedge.plan.ingest.reading import Batch, Form, SourceFile
from selvedge.plan.ingest.records import (
    VERSION,
    Record,
    read_records,
    readings_folder,
    slug_of,
    write_record,
)
from selvedge.plan.ingest.staging import Staging

_MERGED: Final = "merged.json"


class Watcher(Protocol):
    """Is told how far it is."""

    def reading(self, name: str, done: int, total: int) -> None:
        """A file is read: bytes of it, of how many."""

    def merging(self, month: str, done: int, total: int) -> None:
        """A month is made: how many were, of how many."""


class Merged(msgspec.Struct, frozen=True):
    """Of each month, from what it was made, and how many samples it has."""

    keys: dict[str, str] = {}
    samples: dict[str, int] = {}


@dataclass(slots=True)
class Ingestion:
    """One call. `run` raises `BadPlan` and `OSError`."""

    folder: Path
    fleet: Path
    form: Form
    mapping: Mapping | None
    watcher: Watcher
    run_rows: int = 1_500_000

    def run(self, paths: Sequence[Path]) -> Account:
        """Read the files, make the months, say what happened."""
        sites, _ = read_sites(self.fleet)  # what is wrong with it, the report says
        if self.form.needs_mapping and self.mapping is None:
            words = "give --mapping; docs/plan-ingest.md has an example"
            raise BadPlan(f"Form {self.form.name} needs a mapping file: {words}.")
        account = Account()
        files = list(expand(paths, self.folder, account.refused))
        history = History.create(self.folder)
        with _alone(history):
            manifest = _with_pops(history, sites)
            self._read_all(history, manifest, files, account)
            self._merge_all(history, manifest, sites, account)
            for finding in history.read_findings():
                seen = account.findings.get(finding.kind, 0)
                account.findings[finding.kind] = seen + 1
        return account

    def _read_all(
        self, history: History, manifest: Manifest, files: Sequence[Path], account: Account
    ) -> None:
        pops = {name: number for number, name in enumerate(manifest.pops)}
        records = read_records(history)
        for path in files:
            try:
                self._read_one(history, pops, path, (records, account))
            except BadPlan as error:
                account.refused[name_of(path)] = str(error)
        if not account.read and not account.already:
            told = account.refused.items()
            raise BadPlan(" ".join(w if w.startswith(n) else f"{n}: {w}" for n, w in told))

    def _read_one(
        self,
        history: History,
        pops: dict[str, int],
        path: Path,
        to: tuple[list[Record], Account],
    ) -> None:
        records, account = to
        name = name_of(path)
        sha256, before = digest_of(path, name), path.stat()
        for record in records:
            if record.sha256 == sha256 and self._holds(record, pops):
                same = record.name == name
                account.already.append(name if same else f"{name} (as {record.name})")
                account.note(name, record)
                return
        order = 1 + max((record.order for record in records), default=-1)
        old = [record for record in records if name == record.name or record.sha256 == sha256]
        if old:
            order = old[0].order
            if old[0].sha256 != sha256:
                account.changed.append(name)
        words = self.mapping.pop if self.mapping else PopColumn()
        source = SourceFile(path, name, self.mapping)
        watched = _watched(self.form, source, path.stat().st_size, self.watcher)
        key = (sha256, self.settings)
        slug = slug_of(name, key, [one.slug for one in records])
        staging = Staging(history, source, key, slug, Names(pops, words), self.run_rows)
        try:
            record = staging.read(watched, order=order)
            _check_same(path, name, before)
        except BadPlan:
            _forget(history, slug)
            raise
        serial = 1 + max((one.serial for one in records), default=0)
        record = msgspec.structs.replace(record, serial=serial)
        write_record(history, record)
        for one in old:
            if one.slug != record.slug:
                _forget(history, one.slug)
        records[:] = [*(one for one in records if one not in old), record]
        account.read.append(record.source)
        account.note(name, record)
        account.unknown_pops += len(record.unknown)

    @property
    def settings(self) -> str:
        """What a record is read by: another form or mapping reads a file anew."""
        plain = msgspec.json.encode([VERSION, self.form.name, self.mapping], order="sorted")
        return hashlib.sha256(plain).hexdigest()[:16]

    def _holds(self, record: Record, pops: dict[str, int]) -> bool:
        """Whether what was read of a file is what would be read now."""
        if record.version != VERSION or record.settings != self.settings:
            return False
        return not any(name in pops for name in record.unknown)

    def _merge_all(
        self,
        history: History,
        manifest: Manifest,
        sites: Sequence[PopSite],
        account: Account,
    ) -> None:
        records = read_records(history)
        limits = _limits(manifest.pops, sites)
        merged = _read_merged(history)
        wanted = sorted({run.month for record in records for run in record.runs})
        for name in set(merged.keys) - {months.name_of(month) for month in wanted}:
            history.part_path(name, PART).unlink(missing_ok=True)
            history.write_findings(f"{PART}-{name}", [])
            del merged.keys[name], merged.samples[name]
        for done, month in enumerate(wanted):
            name = months.name_of(month)
            self.watcher.merging(name, done, len(wanted))
            key = _key_of(records, month, limits)
            path = history.part_path(name, PART)
            if merged.keys.get(name) == key and path.exists() == bool(merged.samples.get(name)):
                continue
            merge = MonthMerge(history, manifest.pops, limits, records, month)
            merged.samples[name] = merge.write()
            merged.keys[name] = key
            replace_file(_merged_path(history), msgspec.json.encode(merged, order="sorted"))
            account.months.append(name)
        had = [months.number_of(name) for name, count in merged.samples.items() if count]
        history.write_findings("months", empty_months(had))
        replace_file(_merged_path(history), msgspec.json.encode(merged, order="sorted"))
        sources = tuple(record.source for record in records)
        history.write_manifest(msgspec.structs.replace(manifest, sources=sources))
        account.samples = sum(merged.samples.values())


@contextmanager
def _alone(history: History) -> Iterator[None]:
    """Nobody else may ingest into the same history."""
    folder = readings_folder(history)
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            words = "wait for it, or give a folder of its own"
            raise BadPlan(
                f"{history.folder} is being written by another ingest; {words}."
            ) from error
        _clean(history)
        yield


def _check_same(path: Path, name: str, before: os.stat_result) -> None:
    """Raises `BadPlan` where a file was written to since it was looked at."""
    try:
        now = path.stat()
    except OSError as error:
        raise BadPlan(f"{name} went away while it was read ({error.strerror}).") from error
    if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        words = "run this again when it is whole, or give a copy"
        raise BadPlan(f"{name} was written to while it was read; {words}.")


def _clean(history: History) -> None:
    """Remove what a call that was killed left half done."""
    records = read_records(history)
    newest: dict[str, Record] = {}
    for record in sorted(records, key=lambda record: record.serial):
        newest[record.name] = newest[record.sha256] = record
    slugs = set()
    for record in records:
        if newest[record.name].replaces(record) or newest[record.sha256].replaces(record):
            _forget(history, record.slug)
        else:
            slugs.add(record.slug)
    for path in readings_folder(history).iterdir():
        if path.is_dir() and not path.name.startswith(".") and path.name not in slugs:
            _forget(history, path.name)
    for draft in history.folder.rglob(".*.draft"):
        draft.unlink()


def _forget(history: History, slug: str) -> None:
    """A file that was replaced, or not read to its end: all that came of it goes."""
    folder = readings_folder(history)
    (folder / f"{slug}.json").unlink(missing_ok=True)
    (history.folder / "findings" / f"{slug}.parquet").unlink(missing_ok=True)
    (history.folder / "unknown" / f"{slug}.parquet").unlink(missing_ok=True)
    (history.folder / "unknown" / f".{slug}.parquet.draft").unlink(missing_ok=True)
    shutil.rmtree(folder / slug, ignore_errors=True)


def _with_pops(history: History, sites: Sequence[PopSite]) -> Manifest:
    """The manifest, with PoPs that the fleet file has and it had not at the end."""
    manifest = history.read_manifest()
    foreign = [p for m in history.months() for p in history.parts(m) if p.stem != PART]
    if foreign:
        words = "ingest into a folder of its own"
        raise BadPlan(f"{foreign[0]} was not written by ingest; {words}.")
    known = set(manifest.pops)
    new = [site.pop for site in sites if site.pop not in known]
    if new:
        manifest = msgspec.structs.replace(manifest, pops=(*manifest.pops, *new))
        history.write_manifest(manifest)
    return manifest


def _limits(pops: Sequence[str], sites: Sequence[PopSite]) -> Array:
    found = {site.pop: (site.power_limit_kw or 0.0) * 1000 for site in sites}
    return np.array([found.get(pop, 0.0) for pop in pops])


def _key_of(records: Sequence[Record], month: int, limits: Array) -> str:
    """Of what a month is made."""
    used = [
        (record.slug, record.settings, record.name)
        for record in records
        if any(touches(run, month) for run in record.runs)
    ]
    digest = hashlib.sha256(msgspec.json.encode([VERSION, used]))
    digest.update(limits.tobytes())
    return digest.hexdigest()


def _merged_path(history: History) -> Path:
    return readings_folder(history) / ".merged" / _MERGED


def _read_merged(history: History) -> Merged:
    path = _merged_path(history)
    path.parent.mkdir(exist_ok=True)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Merged)
    except FileNotFoundError:
        return Merged(keys={}, samples={})
    except msgspec.MsgspecError as error:
        raise BadPlan(f"{path} cannot be read ({error}); delete it, and go on.") from error


def _watched(form: Form, source: SourceFile, total: int, watcher: Watcher) -> Form:
    """The form, with the watcher told at every batch."""

    def read(file: SourceFile) -> Iterator[Batch | Finding]:
        watcher.reading(source.name, 0, total)
        for found in form.read(file):
            yield found
            watcher.reading(source.name, file.done_bytes, total)
        watcher.reading(source.name, total, total)

    return Form(form.name, form.about, read)
