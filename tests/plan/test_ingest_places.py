"""Where exports lie: links, rights, pipes, files that change, and kills between two reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from selvedge.plan.history import BadPlan, History
from selvedge.plan.ingest import staging
from selvedge.plan.ingest.reading import SourceFile
from selvedge.plan.utilisation.parts import Parts
from tests.plan.ingesting import ingest
from tests.plan.test_ingest_hostile import HEADER, details, given, rows


def test_links_are_followed_and_what_cannot_be_looked_into_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exports, other = tmp_path / "exports", tmp_path / "other"
    (exports / "locked").mkdir(parents=True)
    other.mkdir()
    given(exports, (HEADER + rows(1)).encode(), "a.csv")
    given(other, (HEADER + rows(1, 1)).encode(), "b.csv")
    (exports / "linked").symlink_to(other)
    (other / "back").symlink_to(exports)
    (exports / "gone.csv").symlink_to(tmp_path / "nowhere")
    scan = os.scandir

    def locked(path: str) -> Any:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", locked)
    done = ingest(tmp_path, [exports, tmp_path / "empty"], "csv")
    assert [row[0] for row in done.rows("fra")] == [0, 5]
    told = {Path(name).name: words for name, words in done.account.refused.items()}
    assert "it cannot be looked into (Permission denied)" in told["locked"]
    assert "No such file" in told["gone.csv"]
    assert set(told) == {"locked", "gone.csv", "empty"}


def test_a_history_is_none_of_its_sources(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    given(data, (HEADER + rows()).encode(), "a.csv")
    for _ in range(2):
        done = ingest(tmp_path, [data], "csv")
        assert (len(done.rows("fra")), done.account.refused) == (3, {})
    with pytest.raises(BadPlan, match=r"is of the history .* itself"):
        ingest(tmp_path, [data / "samples"], "csv")


def test_a_pipe_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadPlan, match="pipe is no file that can be read twice"):
        ingest(tmp_path, [tmp_path / "pipe"], "csv")


def test_an_empty_folder_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    done = ingest(tmp_path, [tmp_path / "none", HEADER + rows()], "csv")
    assert len(done.rows("fra")) == 3
    assert "it holds no files" in done.account.refused[str(tmp_path / "none")]


def test_a_name_in_no_encoding_is_spelled_out(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"a\xff.csv")
    path.write_text(HEADER + rows() + "fra,x\n")
    for _ in range(2):
        done = ingest(tmp_path, [path], "csv")
        assert "a\\udcff.csv, line 5" in details(done)


def test_a_file_that_is_written_to_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = given(tmp_path, (HEADER + rows()).encode())
    read = SourceFile.open

    def grows(source: SourceFile) -> Any:
        with path.open("a") as file:
            file.write(rows(1, 3))
        return read(source)

    with monkeypatch.context() as armed:
        armed.setattr(SourceFile, "open", grows)
        with pytest.raises(BadPlan, match="was written to while it was read; run this again"):
            ingest(tmp_path, [path], "csv")
    assert not list((tmp_path / "data").rglob("*.parquet"))
    assert len(ingest(tmp_path, [path], "csv").rows("fra")) == 4


def test_a_part_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    done = ingest(tmp_path, [HEADER + rows()], "csv")
    wanted = done.all_rows()
    next((tmp_path / "data" / "samples").rglob("*.parquet")).unlink()
    assert ingest(tmp_path, [HEADER + rows()], "csv").all_rows() == wanted


def test_killed_while_a_file_is_read_again_its_old_readings_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = given(tmp_path, (HEADER + rows() + rows().replace("fra", "new")).encode())
    ingest(tmp_path, [first], "csv")
    fleet = "pop,country\nfra,DE\nnew,DE\n"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as armed:
        armed.setattr(staging, "write_run", killed)
        with pytest.raises(KeyboardInterrupt):
            ingest(tmp_path, [first], "csv", fleet=fleet)
    other = given(tmp_path, (HEADER + rows(1, 5)).encode(), "b.csv")
    assert len(ingest(tmp_path, [other], "csv", fleet=fleet).rows("fra")) == 4
    done = ingest(tmp_path, [first], "csv", fleet=fleet)
    assert (len(done.rows("fra")), len(done.rows("new"))) == (4, 3)


def test_a_folder_of_no_month_is_named(tmp_path: Path) -> None:
    done = ingest(tmp_path, [HEADER + rows()], "csv")
    (done.folder / "samples" / "month=2026-01").rename(done.folder / "samples" / "month=2026-99")
    with pytest.raises(BadPlan, match=r"month=2026-99 is no month; name it as month=2026-01"):
        History.open(done.folder).months()


def test_a_part_whose_numbers_are_text_is_left_out_and_told(tmp_path: Path) -> None:
    done = ingest(tmp_path, [HEADER + rows()], "csv")
    (path,) = done.folder.glob("samples/*/*.parquet")
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.set_column(1, "at_s", table["at_s"].cast("string")), path)
    parts = Parts(History.open(done.folder), ["2026-01"], tmp_path)
    assert parts.paths("2026-01") == []
    assert "column at_s is string, no whole numbers; left out" in parts.findings[0].detail
