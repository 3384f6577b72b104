"""`selvedge log` on the files of a home: what is shown, held, dropped, and written down."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from selvedge.adapters import drop_days, held_tenants, mark_closed
from selvedge.cli.main import commands
from selvedge.control.accounts import rows_of_journals
from selvedge.fabric import SelvedgeError, StoreCorrupt
from selvedge.pop.access_record import access_file
from selvedge.pop.shipped import drop_shipped
from tests.support.log_pops import DAY_US, LogPlace


def _run(home: Path, *args: str) -> str:
    found = CliRunner().invoke(commands, [*args, "--home", str(home)], standalone_mode=False)
    if found.exception is not None:
        raise found.exception
    return found.output


def _home(path: Path) -> LogPlace:
    place = LogPlace(path / "pops" / "sin")
    place.write(60)
    place.turn()
    return place


def test_a_log_is_shown_with_what_is_wrong_with_it(tmp_path: Path) -> None:
    place = _home(tmp_path)
    (one,) = json.loads(_run(tmp_path, "log", "show", "--json"))
    assert (one["log"], one["size"], one["published"]) == ("pop/sin", 121, 121)
    assert "pop/sin: logs.example/example/pop/sin/2026-11, size 121" in _run(
        tmp_path, "log", "show"
    )
    (place.path / "log" / "state.json").write_bytes(b"nonsense")
    assert "fails its checksum" in _run(tmp_path, "log", "show")
    mark_closed(place.path / "log", "it was set back")
    assert "closed: it was set back; see 'selvedge log reshard'" in _run(tmp_path, "log", "show")


def test_a_shard_is_opened_anew_by_the_process_that_writes_it(tmp_path: Path) -> None:
    place = _home(tmp_path)
    assert not place.log.is_to_reshard
    _run(tmp_path, "log", "reshard", "pop/sin", "--yes")
    assert place.log.is_to_reshard
    assert place.log.reshard() == "2026-11.2"
    assert not place.log.is_to_reshard
    with pytest.raises(SelvedgeError, match="no log 'pop/fra'"):
        _run(tmp_path, "log", "reshard", "pop/fra", "--yes")


def test_a_held_tenants_receipts_stay_until_they_are_released(tmp_path: Path) -> None:
    place = _home(tmp_path)
    journal = place.log._journals[0]
    with pytest.raises(SelvedgeError, match="nothing of 'asean' is held"):
        _run(tmp_path, "log", "hold", "release", "asean", "--reason", "none")
    _run(tmp_path, "log", "hold", "add", "asean", "--reason", "case 7")
    listed = _run(tmp_path, "log", "hold", "list")
    assert "held asean" in listed
    assert re.search(r"  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC hold asean by ", listed)
    held = held_tenants(place.path)
    assert drop_shipped(journal, 9, {"asean"}, 0, 10**12, held=held) == []
    _run(tmp_path, "log", "hold", "release", "asean", "--reason", "it is over")
    held = held_tenants(place.path)
    assert drop_shipped(journal, 9, {"asean"}, 0, 10**12, held=held) == [1, 2]
    acts = [json.loads(line) for line in access_file(place.path).read_text("utf-8").splitlines()]
    assert [one["what"] for one in acts] == [
        "selvedge log hold: hold",
        "selvedge log hold: release",
    ]


def test_a_read_of_receipts_is_written_down_before_it_is_shown(tmp_path: Path) -> None:
    place = _home(tmp_path)
    _run(tmp_path, "receipts", "show", "rcpt_sin_1")
    _run(tmp_path, "receipts", "tail")
    lines = [json.loads(line) for line in access_file(place.path).read_text("utf-8").splitlines()]
    assert [(one["what"], one["of"]) for one in lines] == [
        ("selvedge receipts show", "rcpt_sin_1"),
        ("selvedge receipts tail", "the last 10"),
    ]
    access_file(place.path).unlink()
    access_file(place.path).mkdir()
    with pytest.raises(SelvedgeError, match="what is not written down is not read"):
        _run(tmp_path, "receipts", "show", "rcpt_sin_1")


def test_old_shards_are_dropped_when_nobody_is_held(tmp_path: Path) -> None:
    place = _home(tmp_path)
    for _ in range(2):
        place.now_us += 31 * DAY_US
        place.turn()
    _run(tmp_path, "log", "hold", "add", "asean", "--reason", "case 7")
    args = ("log", "drop", "pop/sin", "--before", "2026-12", "--force")
    with pytest.raises(SelvedgeError, match="asean is held"):
        _run(tmp_path, *args)
    _run(tmp_path, "log", "hold", "release", "asean", "--reason", "it is over")
    assert _run(tmp_path, *args) == "pop/sin: dropped 2026-11\n"
    assert sorted(one.name for one in (place.path / "log" / "public").iterdir()) == [
        "2026-12",
        "2027-01",
    ]
    with pytest.raises(SelvedgeError, match="name a log"):
        _run(tmp_path, "log", "drop", "pop/sin", "--before", "november")
    with pytest.raises(SelvedgeError, match="too young"):
        _run(tmp_path, "log", "drop", "pop/sin", "--before", "2031-12")


def test_partitions_without_holds_are_dropped_by_day(tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    import duckdb  # noqa: PLC0415

    for tenant, day in (("acme", "2026-01-01"), ("weft", "2026-01-02")):
        place = tmp_path / "partitions" / "zone=eea" / f"day={day}"
        place.mkdir(parents=True)
        duckdb.sql(f"SELECT '{tenant}' AS tenant").write_parquet(str(place / "part-1.parquet"))
    (tmp_path / "holds.jsonl").write_text(
        '{"act":"hold","tenant":"acme","at_us":1,"who":"a","reason":"r","v":1}\n', "utf-8"
    )
    assert drop_days(tmp_path, "2026-06-01") == ["2026-01-02"]
    (tmp_path / "holds.jsonl").unlink()
    assert drop_days(tmp_path, "2026-06-01") == ["2026-01-01"]


def test_a_damaged_journal_is_named_with_its_pop(tmp_path: Path) -> None:
    place = _home(tmp_path)
    (journal, *_) = sorted((place.path / "receipts").glob("*.log"))
    data = journal.read_bytes()
    journal.write_bytes(data.replace(b'"tenant":', b'"tenanT":'))
    with pytest.raises(StoreCorrupt, match=r"journals of PoP sin below .* fails its checksum"):
        list(rows_of_journals(place.path))
