"""Plain CSV and Parquet, mapping files, units, and bad input of every sort."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selvedge.plan.history import BadPlan, Flag, History
from selvedge.plan.ingest import FORMS, Ingestion
from tests.plan.ingesting import FLEET, START, Outcome, Quiet, ingest

HEADER = "pop,at_s,out_bytes,cpu_bp\n"


def rows(pop: str, values: list[object], first: int = 0, cpu: object = 5000) -> str:
    return "".join(
        f"{pop},{START + 300 * (first + k)},{value},{cpu}\n" for k, value in enumerate(values)
    )


def values(done: Outcome, pop: str = "fra") -> list[object]:
    return [row[1] for row in done.rows(pop, "out_bytes")]


def test_columns_of_a_history_need_no_mapping(tmp_path: Path) -> None:
    done = ingest(tmp_path, [HEADER + rows("fra", [1, 2, ""])], "csv")
    assert done.rows("fra", "out_bytes", "cpu_bp", "in_bytes", "flags") == [
        (0, 1, 5000, None, 0),
        (5, 2, 5000, None, 0),
        (10, None, 5000, None, 0),
    ]
    assert not done.findings


@pytest.mark.parametrize(
    ("unit", "wanted"),
    [
        ("Mbit/s", 3 * 10**6 // 8 * 300),
        ("MiB/s", 3 * 2**20 * 300),
        ("kB", 3000),
        ("KiB", 3072),
        ("bit", 0),
        ("GB", 3 * 10**9),
    ],
)
def test_units_are_what_they_say(tmp_path: Path, unit: str, wanted: int) -> None:
    mapping = f"""
time: {{column: t, format: epoch_ms}}
pop: {{column: p}}
columns: {{out_bytes: {{column: tx, unit: {unit}}}, gpu_bp: {{column: g, unit: share}}}}
"""
    text = f"t,p,tx,g\n{START}000,fra,3,0.25\n"
    done = ingest(tmp_path, [text], "csv", mapping)
    assert done.rows("fra", "out_bytes", "gpu_bp") == [(0, wanted, 2500)]


@pytest.mark.parametrize("unit", ["", "Mb", "MBps", "KB", "percent"])
def test_a_unit_that_is_missing_or_unclear_is_refused(tmp_path: Path, unit: str) -> None:
    mapping = f"columns: {{out_bytes: {{column: tx, unit: '{unit}'}}}}"
    with pytest.raises(BadPlan, match=r"one of byte|one of bit/s"):
        ingest(tmp_path, [""], "csv", mapping)


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ("columns: {bytes: {column: x, unit: byte}}", "is no measure"),
        ("colums: {}", "unknown field"),
        ("time: {zone: Mars}", "no IANA zone"),
        ("pop: {pattern: '('}", "no regular expression"),
        ("pop: {pattern: 'a'}", "has no group"),
        ("step_s: 0", "step_s 0"),
        ("a: [", "not YAML"),
        ("columns: {out_bytes: {column: x, unit: byte}}", "no time.column"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(tmp_path: Path, mapping: str, words: str) -> None:
    with pytest.raises(BadPlan, match=words):
        ingest(tmp_path, ["a,b\n1,2\n"], "csv", mapping)


LOCAL = """
time: {column: t, format: '%d.%m.%Y %H:%M', zone: Europe/Berlin, marks: end}
pop: {value: fra}
step_s: 900
delimiter: ';'
decimal: ','
columns: {out_bytes: {column: mb, unit: MB}, cpu_bp: {column: cpu, unit: percent}}
"""


def test_local_times_long_steps_and_commas(tmp_path: Path) -> None:
    text = "t;mb;cpu\n01.01.2026 01:15;0,9;12,5\n"
    done = ingest(tmp_path, [text], "csv", LOCAL)
    assert done.rows("fra", "out_bytes", "cpu_bp", "flags") == [
        (minute, 300_000, 1250, Flag.SPREAD) for minute in (0, 5, 10)
    ]


def test_the_hour_that_is_twice_is_told(tmp_path: Path) -> None:
    text = "t;mb;cpu\n25.10.2026 02:15;1;1\n25.10.2026 04:15;1;1\n"
    (found,) = ingest(tmp_path, [text], "csv", LOCAL).found("clock_shift")
    assert found.count == 1
    assert "export in UTC" in found.detail


def test_short_steps_are_added_up(tmp_path: Path) -> None:
    mapping = """
time: {column: t, format: epoch_s}
pop: {column: p}
series: i
step_s: 60
columns: {out_bytes: {column: b, unit: byte}, capacity_bps: {column: c, unit: Gbit/s}}
"""
    lines = [f"{START + 60 * k},fra,{i},10,1" for k in range(10) for i in "ab"]
    del lines[-1]
    done = ingest(tmp_path, ["t,p,i,b,c\n" + "\n".join(lines)], "csv", mapping)
    assert done.rows("fra", "out_bytes", "capacity_bps", "flags") == [
        (0, 100, 2 * 10**9, 0),
        (5, 90, 2 * 10**9, Flag.PARTIAL),
    ]


def test_counters_of_any_name(tmp_path: Path) -> None:
    mapping = """
kind: counter
width: 32
time: {column: t, format: epoch_s}
pop: {column: p}
uptime: {column: up, unit: s}
columns: {out_bytes: {column: kb, unit: KiB}}
"""
    text = "t,p,kb,up\n" + "".join(f"{START + 300 * k},fra,{k},{300 * k}\n" for k in range(3))
    assert values(ingest(tmp_path, [text], "csv", mapping)) == [1024, 1024]


def test_negative_and_not_a_number_are_left_out_and_located(tmp_path: Path) -> None:
    done = ingest(tmp_path, [HEADER + rows("fra", [1, -2, "NaN", 4])], "csv")
    assert values(done) == [1, None, None, 4]
    assert "line 3" in done.found("negative")[0].source
    assert "line 4" in done.found("unreadable")[0].source


def test_a_negative_counter_is_left_out(tmp_path: Path) -> None:
    text = "time,pop,ifHCOutOctets\n" + "".join(
        f"{START + 300 * k},fra,{value}\n" for k, value in enumerate([0, 10, -5, 30])
    )
    done = ingest(tmp_path, [text], "snmp")
    assert values(done) == [10, 10, 10]
    (found,) = done.found("negative")
    assert (found.pop, found.from_s) == ("fra", START + 600)
    assert "line 4" in found.source
    wide = text + f"{START + 1200},fra,{2**64 - 1}\n"
    (found,) = ingest(tmp_path, [wide], "snmp", data="wide").found("negative")
    assert "line 4" in found.source


def test_unknown_pops_are_kept_apart_until_the_fleet_has_them(tmp_path: Path) -> None:
    text = HEADER + rows("fra", [1]) + rows("xxx", [7, 8])
    done = ingest(tmp_path, [text], "csv")
    (found,) = done.found("unknown_pop")
    assert (found.pop, found.count) == ("xxx", 2)
    (path,) = (done.folder / "unknown").iterdir()
    assert pq.read_table(path)["out_bytes"].to_pylist() == [7.0, 8.0]
    fleet = "pop,country,timezone\nfra,DE,Europe/Berlin\nxxx,DE,Europe/Berlin\n"
    again = ingest(tmp_path, [tmp_path / "source0.txt"], "csv", fleet=fleet)
    assert values(again, "xxx") == [7, 8]
    assert not again.findings
    assert not list((done.folder / "unknown").iterdir())


def test_a_share_in_another_unit_is_told(tmp_path: Path) -> None:
    done = ingest(tmp_path, [HEADER + rows("fra", [1], cpu=70_000)], "csv")
    assert done.kinds == {"mixed_units"}


def test_two_sources_in_different_units_are_told(tmp_path: Path) -> None:
    texts = [HEADER + rows("fra", [800 * factor]) for factor in (1, 8)]
    done = ingest(tmp_path, texts, "csv")
    assert values(done) == [800]
    assert done.kinds == {"mixed_units"}


def test_a_header_in_mid_file_begins_another_table(tmp_path: Path) -> None:
    text = HEADER + rows("fra", [1, 2]) + HEADER + rows("fra", [3], 2)
    text += "cpu_bp,pop,out_bytes,at_s\n" + f"7,fra,4,{START + 900}\n"
    done = ingest(tmp_path, [text], "csv")
    assert done.rows("fra", "out_bytes", "cpu_bp")[2:] == [(10, 3, 5000), (15, 4, 7)]
    (found,) = done.found("unreadable")
    assert "another header" in found.detail
    assert "line 6" in found.source


def test_lines_that_do_not_fit_are_left_out_and_located(tmp_path: Path) -> None:
    text = HEADER + rows("fra", [1]) + "fra,7\nfra,x,1,1\n\n" + rows("fra", [2], 1) + "fra,17"
    done = ingest(tmp_path, [text], "csv")
    assert values(done) == [1, 2]
    found = [(one.count, one.source.split(", ")[1]) for one in done.found("unreadable")]
    assert found == [(2, "lines 3 to 4"), (1, "line 7")]


def test_marks_of_order_and_packing_do_not_matter(tmp_path: Path) -> None:
    text = (HEADER + rows("fra", [1, 2])).encode()
    plain, packed, small = (tmp_path / name for name in ("a.csv", "b.csv.gz", "c.csv.zst"))
    plain.write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))
    packed.write_bytes(gzip.compress(b"\xef\xbb\xbf" + text))
    small.write_bytes(pa.compress(text, "zstd", asbytes=True))
    found = [ingest(tmp_path, [p], "csv", data=p.stem).all_rows() for p in (plain, packed, small)]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 2


def test_a_packed_file_that_is_cut_off_gives_what_it_can(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    text = HEADER + rows("fra", [k * k * 7919 % 100_003 for k in range(40_000)])
    data = gzip.compress(text.encode())
    path.write_bytes(data[: len(data) // 2])
    done = ingest(tmp_path, [path], "csv")
    assert 1000 < len(values(done)) < 40_000
    assert "cut off" in done.found("unreadable")[0].detail


def test_empty_and_missing_files_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    good = tmp_path / "good.csv"
    good.write_text(HEADER + rows("fra", [1]))
    empty, headed = tmp_path / "empty.csv", tmp_path / "headed.csv"
    empty.write_text("")
    headed.write_text(HEADER)
    done = ingest(tmp_path, [tmp_path / "nowhere.csv", empty, headed, good], "csv")
    assert values(done) == [1]
    assert "nowhere.csv" in " ".join(done.account.refused)
    assert {Path(one.source).name for one in done.found("unreadable")} == {
        "empty.csv",
        "headed.csv",
    }


def test_a_column_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadPlan, match=r"line 1: column 'at_s' is missing; there are 'pop', 'x'"):
        ingest(tmp_path, ["pop,x\nfra,1\n"], "csv")


def parquet(path: Path, count: int = 600, **more: object) -> Path:
    table = pa.table(
        {
            "pop": ["fra"] * count,
            "at_s": [START + 300 * k for k in range(count)],
            "out_bytes": list(range(count)),
            **more,
        }
    )
    pq.write_table(table, path, row_group_size=200, compression="none")
    return path


def test_parquet(tmp_path: Path) -> None:
    done = ingest(tmp_path, [parquet(tmp_path / "a.parquet")], "parquet")
    assert values(done) == list(range(600))
    assert done.account.read[0].rows == 600


def test_parquet_with_moments_and_integers_of_another_unit(tmp_path: Path) -> None:
    times = pa.array([START * 10**6, (START + 300) * 10**6], pa.timestamp("us", "Asia/Tokyo"))
    path = parquet(tmp_path / "a.parquet", 2, when=times, kb=pa.array([1, 2], pa.int32()))
    mapping = """
time: {column: when}
pop: {column: pop}
columns: {out_bytes: {column: kb, unit: kB}}
"""
    assert values(ingest(tmp_path, [path], "parquet", mapping)) == [1000, 2000]


def test_a_truncated_parquet_file_is_told(tmp_path: Path) -> None:
    path, good = parquet(tmp_path / "a.parquet"), parquet(tmp_path / "b.parquet", 3)
    path.write_bytes(path.read_bytes()[:-100])
    done = ingest(tmp_path, [path, good], "parquet")
    assert values(done) == [0, 1, 2]
    assert done.found("unreadable")[0].source == path.as_posix()


def test_a_row_group_that_is_damaged_is_left_out(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet")
    column = pq.ParquetFile(path).metadata.row_group(1).column(2)
    data = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(bytes(data))
    done = ingest(tmp_path, [path], "parquet")
    assert values(done) == [*range(200), *range(400, 600)]
    (found,) = done.found("unreadable")
    assert found.source.endswith("row group 1")
    assert found.count == 200


def test_sources_of_one_pop_are_one_row(tmp_path: Path) -> None:
    load = "pop,at_s,cpu_bp\n" + "".join(f"fra,{START + 300 * k},{k}\n" for k in range(1, 4))
    texts = ["pop,at_s,out_bytes\n" + "".join(f"fra,{START + 300 * k},7\n" for k in range(3)), load]
    done = ingest(tmp_path, texts, "csv")
    assert done.rows("fra", "out_bytes", "cpu_bp") == [
        (0, 7, None),
        (5, 7, 1),
        (10, 7, 2),
        (15, None, 3),
    ]
    assert not done.findings


def test_counted_bytes_go_before_told_ones(tmp_path: Path) -> None:
    told = HEADER + rows("fra", [9, 9, 9, 9])
    counted = "time,pop,ifHCOutOctets\n" + "".join(f"{START + 300 * k},fra,{k}\n" for k in range(3))
    ingest(tmp_path, [told], "csv")
    done = ingest(tmp_path, [_kept(tmp_path, counted)], "snmp")
    assert done.rows("fra", "out_bytes", "cpu_bp") == [
        (0, 1, 5000),
        (5, 1, 5000),
        (10, 9, 5000),
        (15, 9, 5000),
    ]


def _kept(folder: Path, text: str) -> Path:
    path = folder / "other.csv"
    path.write_text(text)
    return path


def test_months_without_data_are_told(tmp_path: Path) -> None:
    text = HEADER + rows("fra", [1]) + rows("fra", [2], 59 * 288)
    (found,) = ingest(tmp_path, [text], "csv").found("empty_month")
    assert (found.from_s, found.until_s) == (START + 31 * 86400, START + 59 * 86400)


def test_memory_and_order_do_not_change_what_comes_out(tmp_path: Path) -> None:
    text = HEADER + "".join(
        f"{pop},{START + 300 * k},{k},{k}\n" for k in range(300) for pop in ("fra", "lon", "sin")
    )
    whole = ingest(tmp_path, [text], "csv")
    parts = ingest(tmp_path, [text], "csv", data="parts", run_rows=70)
    assert whole.all_rows() == parts.all_rows()
    assert len(whole.all_rows()) == 900
    assert not parts.findings


def test_a_history_of_others_is_left_alone(tmp_path: Path) -> None:
    done = ingest(tmp_path, [HEADER + rows("fra", [1])], "csv")
    path = History.open(done.folder).part_path("2026-01", "other")
    path.write_bytes(b"")
    with pytest.raises(BadPlan, match="not written by ingest"):
        ingest(tmp_path, [HEADER + rows("fra", [2])], "csv")


def test_progress_is_told_and_never_goes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress((HEADER + rows("fra", [1, 2])).encode()))
    (tmp_path / "fleet.csv").write_text(FLEET)
    watcher = Quiet()
    Ingestion(tmp_path / "data", tmp_path / "fleet.csv", FORMS["csv"], None, watcher).run([path])
    read = [done for name, done, _ in watcher.told if name == path.as_posix()]
    assert read == sorted(read)
    assert read[-1] == path.stat().st_size
    assert watcher.told[-1] == ("2026-01", 0, 1)


def test_intervals_beside_the_five_minutes_are_told(tmp_path: Path) -> None:
    text = HEADER + "".join(f"fra,{START + 300 * k + 75},400,1\n" for k in range(4))
    (found,) = ingest(tmp_path, [text], "csv").found("unaligned")
    assert (found.pop, found.count) == ("fra", 4)
    assert "25.0% of the bytes" in found.detail
    assert not ingest(tmp_path, [HEADER + rows("fra", [1, 2])], "csv", data="in").findings
