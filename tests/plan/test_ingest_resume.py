"""Stopped at any write, the same call goes on, and what is there in the end is the same."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from selvedge.plan.history import BadPlan
from selvedge.plan.ingest import merging, records, staging
from tests.plan.ingesting import START, Outcome, ingest

HEADER = "time,pop,interface,ifHCOutOctets\n"


class Killed(BaseException):
    """As the process would end: nothing may catch it."""


def sources(tmp: Path) -> list[Path]:
    """Two days of polls over the end of a month, in two files, one with a PoP too many."""
    end = START + 31 * 86_400
    found = []
    for number, pops in enumerate((("fra", "lon"), ("fra", "lon", "xxx"))):
        path = tmp / f"day{number}.csv"
        first = end + (number - 1) * 3600
        path.write_text(
            HEADER
            + "".join(
                f"{first + 300 * k},{pop},eth0,{1000 * (12 * number + k)}\n"
                for k in range(12)
                for pop in pops
            )
        )
        found.append(path)
    return found


class Fuse:
    """Lets so many writes through, then ends the process, before or after the write."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.burnt = False

    def __call__(self, write: object, *args: object, **more: object) -> object:
        before, after = self.left == 1, self.left == 2
        self.left -= 2
        if before:
            self.burnt = True
            raise Killed
        done = write(*args, **more)  # type: ignore[operator]
        if after:
            self.burnt = True
            raise Killed
        return done


def arm(patch: pytest.MonkeyPatch, fuse: Fuse) -> None:
    """Put the fuse before every way in which ingest writes, renames or removes."""
    replace, unlink, write = Path.replace, Path.unlink, pq.ParquetWriter.write_table
    patch.setattr(Path, "replace", lambda *a, **k: fuse(replace, *a, **k))
    patch.setattr(Path, "unlink", lambda *a, **k: fuse(unlink, *a, **k))
    run = staging.write_run
    patch.setattr(staging, "write_run", lambda *a, **k: fuse(run, *a, **k))
    remove = staging.shutil.rmtree
    patch.setattr(staging.shutil, "rmtree", lambda *a, **k: fuse(remove, *a, **k))
    patch.setattr(pq.ParquetWriter, "write_table", lambda *a, **k: fuse(write, *a, **k))


def run_until_done(tmp: Path, patch: pytest.MonkeyPatch, nth: int, data: str) -> Outcome | None:
    """Killed at the nth moment and run again; None where it was done before that moment."""
    fuse = Fuse(nth)
    paths = sources(tmp)
    with patch.context() as armed:
        arm(armed, fuse)
        with contextlib.suppress(Killed):
            ingest(tmp, paths, "snmp", data=data)
    if not fuse.burnt:
        return None
    return ingest(tmp, paths, "snmp", data=data)


def test_killed_at_every_write_it_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ingest(tmp_path, sources(tmp_path), "snmp", data="whole")
    assert [row[1] for row in whole.rows("fra", "out_bytes")] == [1000] * 23
    nth = 1
    while (done := run_until_done(tmp_path, monkeypatch, nth, f"data{nth}")) is not None:
        assert done.files() == whole.files(), f"killed at moment {nth}"
        nth += 1
    assert nth > 30


def test_killed_while_a_changed_file_replaces_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(data: str, nth: int) -> tuple[Outcome, bool]:
        paths = sources(tmp_path)
        ingest(tmp_path, paths, "snmp", data=data)
        paths[0].write_text(paths[0].read_text().replace(",0\n", ",500\n"))
        fuse = Fuse(nth)
        with monkeypatch.context() as armed:
            arm(armed, fuse)
            with contextlib.suppress(Killed):
                ingest(tmp_path, paths, "snmp", data=data)
        return ingest(tmp_path, paths, "snmp", data=data), fuse.burnt

    whole, _ = change("whole", 10_000)
    assert whole.rows("fra", "out_bytes")[0][1] == 500
    nth, burnt = 1, True
    while burnt:
        done, burnt = change(f"data{nth}", nth)
        assert done.files() == whole.files(), f"killed at moment {nth}"
        nth += 1
    assert nth > 20


def test_what_was_read_is_not_read_again(tmp_path: Path) -> None:
    paths = sources(tmp_path)
    first = ingest(tmp_path, paths, "snmp")
    before = first.files()
    again = ingest(tmp_path, paths, "snmp")
    assert again.files() == before
    assert again.account.read == []
    assert again.account.months == []
    assert again.account.already == [path.as_posix() for path in paths]
    copy = tmp_path / "copy.csv"
    copy.write_bytes(paths[0].read_bytes())
    other = ingest(tmp_path, [copy], "snmp")
    assert other.account.already == [f"{copy.as_posix()} (as {paths[0].as_posix()})"]
    assert other.files() == before


def test_one_call_or_two_come_to_the_same(tmp_path: Path) -> None:
    paths = sources(tmp_path)
    whole = ingest(tmp_path, paths, "snmp", data="whole")
    ingest(tmp_path, paths[:1], "snmp", data="parts")
    parts = ingest(tmp_path, paths[1:], "snmp", data="parts")
    assert parts.account.months == ["2026-01", "2026-02"]
    ours, theirs = whole.files(), parts.files()
    serial = [name for name in ours if ours[name] != theirs[name]]
    assert serial == []


def test_a_file_that_changed_replaces_what_it_said(tmp_path: Path) -> None:
    paths = sources(tmp_path)
    ingest(tmp_path, paths, "snmp")
    paths[0].write_text(paths[0].read_text().replace(",0\n", ",500\n"))
    done = ingest(tmp_path, paths, "snmp")
    assert done.account.changed == [paths[0].as_posix()]
    assert done.account.months == ["2026-01", "2026-02"]
    assert [row[1] for row in done.rows("fra", "out_bytes")][:2] == [500, 1000]
    assert len(records.read_records(_history(done))) == 2


def _history(done: Outcome) -> object:
    return merging.History.open(done.folder)


def test_only_months_that_a_new_file_touches_are_made_again(tmp_path: Path) -> None:
    ingest(tmp_path, sources(tmp_path), "snmp")
    text = "pop,at_s,cpu_bp\n" + f"sin,{START + 70 * 86_400},5\n"
    path = tmp_path / "later.csv"
    path.write_text(text)
    assert ingest(tmp_path, [path], "csv").account.months == ["2026-03"]


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    class Second:
        def reading(self, name: str, done: int, total: int) -> None:
            with pytest.raises(BadPlan, match="being written by another ingest"):
                ingest(tmp_path, sources(tmp_path), "snmp")
            raise Killed

        def merging(self, month: str, done: int, total: int) -> None:
            pass

    from selvedge.plan.ingest import FORMS, Ingestion  # noqa: PLC0415

    ingest(tmp_path, sources(tmp_path), "snmp")
    (tmp_path / "new.csv").write_text(HEADER + f"{START},fra,eth0,1\n")
    work = Ingestion(
        tmp_path / "data", tmp_path / "fleet.csv", FORMS["snmp"], None, Second(), 1000
    )  # fmt: skip
    with pytest.raises(Killed):
        work.run([tmp_path / "new.csv"])
