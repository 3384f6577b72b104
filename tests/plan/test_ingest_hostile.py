"""Exports as they come: nothing stops without a word, nothing is believed that cannot be."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selvedge.plan.history import BadPlan
from selvedge.plan.ingest.gunzip import Gunzip
from tests.plan.ingesting import START, Outcome, ingest

HEADER = "pop,at_s,out_bytes,cpu_bp\n"
POLLS = "time,pop,interface,ifHCOutOctets,ifHCInOctets,sysUpTime\n"
COMBINED = '203.0.113.9 - - [{}] "GET / HTTP/1.1" 200 1000 "-" "curl"\n'


def rows(count: int = 3, first: int = 0) -> str:
    return "".join(f"fra,{START + 300 * k},{1000 + k},3000\n" for k in range(first, first + count))


def polls(count: int = 4, first: int = 0, out: str = "{}") -> str:
    return "".join(
        f"{START + 300 * k},fra,eth0,{out.format(1000 * k)},{k},{100_000 + 30_000 * k}\n"
        for k in range(first, first + count)
    )


def given(tmp: Path, data: bytes, name: str = "a.csv") -> Path:
    path = tmp / name
    path.write_bytes(data)
    return path


def details(done: Outcome, kind: str = "unreadable") -> str:
    return " | ".join(f"{one.source} {one.detail}" for one in done.found(kind))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((HEADER + rows()).encode("utf-16"), "text in UTF-16; save it in UTF-8"),
        (b"PK\x03\x04" + b"\0" * 90, "a zip archive; unpack it"),
        (b"BZh91AY&SY", "packed by bzip2; unpack it"),
        (b"a.csv".ljust(257, b"\0") + b"ustar\x0000".ljust(255, b"\0"), "a tar archive; unpack it"),
        ((HEADER + rows()).replace("\n", "\r").encode(), "line 1: its lines end in CR alone"),
        (b'pop,at_s,"' + b"z" * 200_000 + b'"\n', "line 1: no header can be read"),
        ((HEADER + rows()).replace(",", ";").encode(), "give delimiter: ';' in a mapping file"),
        (f"pop,at_s,foo\nfra,{START},3\n".encode(), "no column says how much"),
    ],
)
def test_what_is_no_table_is_refused_with_the_remedy(
    tmp_path: Path, data: bytes, words: str
) -> None:
    with pytest.raises(BadPlan, match=r"a\.csv") as raised:
        ingest(tmp_path, [given(tmp_path, data)], "csv")
    assert words in str(raised.value)


def test_packed_files_are_known_by_their_bytes_and_not_by_their_names(tmp_path: Path) -> None:
    text = (HEADER + rows()).encode()
    packed = given(tmp_path, gzip.compress(text), "packed.csv")
    plain = given(tmp_path, (HEADER + rows(2, 3)).encode(), "plain.csv.gz")
    done = ingest(tmp_path, [packed, plain], "csv")
    assert [row[1] for row in done.rows("fra", "out_bytes")] == [1000, 1001, 1002, 1003, 1004]


def test_of_a_damaged_packed_file_nothing_is_taken(tmp_path: Path) -> None:
    text = (HEADER + rows(20_000)).encode()
    packed = bytearray(gzip.compress(text))
    packed[len(packed) // 2] ^= 0xFF
    with pytest.raises(BadPlan, match="damaged, and nothing says which"):
        ingest(tmp_path, [given(tmp_path, bytes(packed), "a.csv.gz")], "csv")
    assert not list((tmp_path / "data").rglob("*.parquet"))
    good = gzip.compress(text)
    wrong = good[:-8] + zlib.crc32(b"other").to_bytes(4, "little") + good[-4:]
    with pytest.raises(BadPlan, match="fetch it again"):
        ingest(tmp_path, [given(tmp_path, wrong, "b.csv.gz")], "csv")


@pytest.mark.parametrize("tail", [b"", b"\0" * 3000, gzip.compress(b"")])
def test_packed_files_in_parts_are_read_to_their_end(tmp_path: Path, tail: bytes) -> None:
    path = given(tmp_path, gzip.compress(b"one ") + gzip.compress(b"two" * 9999) + tail)
    with path.open("rb") as file:
        packed, found = Gunzip(file, "a"), b""
        while piece := packed.read(1000):
            found += piece
    assert found == b"one " + b"two" * 9999


def test_what_stands_behind_a_packed_file_is_told(tmp_path: Path) -> None:
    path = given(tmp_path, gzip.compress((HEADER + rows()).encode()) + b"rubbish", "a.gz")
    done = ingest(tmp_path, [path], "csv")
    assert len(done.rows("fra")) == 3
    assert "something else" in details(done)


def test_blank_lines_before_the_header_do_not_count(tmp_path: Path) -> None:
    done = ingest(tmp_path, ["\n \n" + HEADER + rows() + "fra,x,1,1\n"], "csv")
    assert len(done.rows("fra")) == 3
    assert "line 7" in details(done)
    polled = ingest(tmp_path, ["\n\n" + POLLS + polls()], "snmp", data="polled")
    assert len(polled.rows("fra")) == 3


def test_a_line_that_is_too_long_is_left_out_and_the_rest_is_read(tmp_path: Path) -> None:
    long = "x" * 9_500_000 + ",1,2,3\n"
    done = ingest(tmp_path, [HEADER + rows() + long + rows(2, 3)], "csv")
    assert len(done.rows("fra")) == 5
    assert "line 5" in details(done)
    text = flare() + flare(x="y" * 9_500_000) + flare()
    logs = ingest(tmp_path, [text], "cloudflare", data="logs")
    assert logs.rows("fra", "out_bytes") == [(0, 10)]
    assert "line 2" in details(logs)


def test_letters_of_another_encoding_stay_apart_and_are_told(tmp_path: Path) -> None:
    names = "".join(f"{START},{name},1,1\n" for name in ("K\xf6ln", "K\xe4ln"))
    path = given(tmp_path, ("at_s,pop,out_bytes,cpu_bp\n" + names).encode("latin-1"))
    fleet = "pop,country\nK\xf6ln,DE\nK\xe4ln,DE\n"
    done = ingest(tmp_path, [path], "csv", fleet=fleet)
    assert len(done.all_rows()) == 2
    assert "2 lines: not in UTF-8; read as Latin-1" in details(done)


def test_a_pop_may_be_called_na_and_must_be_called_something(tmp_path: Path) -> None:
    text = f"pop,at_s,out_bytes\nNA,{START},1\n,{START},2\nNA,{START + 300},-\n"
    done = ingest(tmp_path, [text], "csv", fleet="pop,country\nNA,NA\n")
    assert done.rows("NA", "out_bytes") == [(0, 1)]
    assert "line 3 1 row has no PoP" in details(done)


def test_counters_as_pandas_writes_them(tmp_path: Path) -> None:
    done = ingest(tmp_path, [POLLS + polls(out="{}.0")], "snmp")
    assert [row[1] for row in done.rows("fra", "out_bytes")] == [1000, 1000, 1000]
    assert not done.findings


def test_a_bad_cell_that_is_not_needed_costs_that_cell_alone(tmp_path: Path) -> None:
    text = POLLS + polls(2) + f"{START + 600},fra,eth0,2000,2,3 days\n" + polls(1, 3)
    done = ingest(tmp_path, [text], "snmp")
    assert [row[1] for row in done.rows("fra", "out_bytes")] == [1000, 1000, 1000]
    assert "line 4 1 line: column 'sysUpTime' has '3 days'" in details(done)
    worse = ingest(tmp_path, [HEADER + "fra,1,1e,1\n" + rows()], "csv", data="worse")
    assert "column 'out_bytes' has '1e', which is no number" in details(worse)


def test_what_a_line_lacks_is_named_with_column_and_limit(tmp_path: Path) -> None:
    many = "9" * 23
    done = ingest(tmp_path, [POLLS + polls(2) + f"{START + 600},fra,eth0,{many},2,1\n"], "snmp")
    assert f"column 'ifHCOutOctets' has '{many}'" in details(done)
    assert "0 to 18446744073709551615; left out" in details(done)


@pytest.mark.parametrize("at", [0, 86_400, 2**62, -(2**62), 2**63 - 1])
def test_moments_that_cannot_be_are_left_out_and_never_wrap(tmp_path: Path, at: int) -> None:
    path = tmp_path / "a.parquet"
    times = [START, at, START + 300]
    pq.write_table(pa.table({"pop": ["fra"] * 3, "at_s": times, "out_bytes": [1, 2, 3]}), path)
    done = ingest(tmp_path, [path], "parquet")
    assert done.rows("fra", "out_bytes") == [(0, 1), (5, 3)]
    assert "row group 0 1 row has no time between 2000 and 2106" in details(done)


def test_milliseconds_for_seconds_are_refused_or_told_with_the_remedy(tmp_path: Path) -> None:
    text = POLLS + polls().replace("1767", "1767000")
    with pytest.raises(BadPlan, match=r"line 2: 1767000\d* is no second before 2106; give time.f"):
        ingest(tmp_path, [text], "snmp")
    dump = 'node_network_transmit_bytes_total{device="eth0",pop="fra"} 5 %d\n'
    done = ingest(tmp_path, [dump % START], "prometheus", data="dump")
    assert "between 2000 and 2106" in details(done)
    assert "time.format" in done.account.useless[str(tmp_path / "source0.txt")]


@pytest.mark.parametrize("at", [1e300, -1e18, float("inf")])
def test_no_moment_of_prometheus_is_computed_with_that_is_none(tmp_path: Path, at: float) -> None:
    values = [[START, "1"], [1e999 if at == float("inf") else at, "3"], [START + 300, "6"]]
    metric = {"__name__": "ifHCOutOctets", "pop": "fra"}
    answer = {"data": {"resultType": "matrix", "result": [{"metric": metric, "values": values}]}}
    text = json.dumps(answer).replace("Infinity", "1e999")
    done = ingest(tmp_path, [text], "prometheus")
    assert done.found("unreadable")


def parquet(tmp: Path, **columns: Any) -> Path:
    path = tmp / "a.parquet"
    plain: dict[str, Any] = {"pop": ["fra"] * 2, "at_s": [START, START + 300], "out_bytes": [1, 2]}
    pq.write_table(pa.table(plain | columns), path)
    return path


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"pop": [["fra"]] * 2}, "'pop' is of type list<element: string>, not names"),
        ({"pop": [{"a": 1}] * 2}, "'pop' is of type struct<a: int64>, not names"),
        ({"pop": [b"fra", b"\xff"]}, "'pop' is of type binary, not names"),
        ({"at_s": [[1]] * 2}, "times are of type list<element: int64>"),
        ({"at_s": ["noon"] * 2}, "times are text, and not epoch_s"),
        ({"out_bytes": [True] * 2}, "'out_bytes' is of type bool, not numbers"),
    ],
)
def test_columns_of_the_wrong_type_are_named(
    tmp_path: Path, columns: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadPlan) as raised:
        ingest(tmp_path, [parquet(tmp_path, **columns)], "parquet")
    assert words in str(raised.value)


def test_columns_that_are_twice_or_not_there_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    twice = pa.table([["fra"], [START], [1], [2]], names=["pop", "at_s", "out_bytes", "out_bytes"])
    pq.write_table(twice, path)
    with pytest.raises(BadPlan, match="'out_bytes' is there twice"):
        ingest(tmp_path, [path], "parquet")
    pq.write_table(pa.table({}), path)
    with pytest.raises(BadPlan, match="is missing; there are none"):
        ingest(tmp_path, [path], "parquet")
    names = ["x_edge_location", "timestamp", "sc_bytes", "sc_bytes"]
    pq.write_table(pa.table([["FRA"], [START], [1], [2]], names=names), path)
    with pytest.raises(BadPlan, match="'sc_bytes' is there twice"):
        ingest(tmp_path, [path], "cloudfront")
    with pytest.raises(BadPlan, match="differ by case alone"):
        ingest(tmp_path, [POLLS.replace("ifHCIn", "ifhcout") + polls()], "snmp")


def test_times_of_text_in_parquet(tmp_path: Path) -> None:
    path = parquet(tmp_path, at_s=["2026-01-01T00:00:00Z", "2026-01-01T01:05:00+01:00"])
    words = "time: {column: at_s}\npop: {column: pop}\ncolumns: {out_bytes: {column: out_bytes, "
    done = ingest(tmp_path, [path], "parquet", words + "unit: byte}}")
    assert done.rows("fra", "out_bytes") == [(0, 1), (5, 2)]


def test_a_row_that_measures_nothing_is_no_sample(tmp_path: Path) -> None:
    done = ingest(tmp_path, [HEADER + rows(1) + f"fra,{START + 300},,\n" + rows(1, 2)], "csv")
    assert [row[0] for row in done.rows("fra")] == [0, 10]


def test_a_wrong_clock_is_not_told_month_by_month(tmp_path: Path) -> None:
    early = f"fra,{START - 10 * 365 * 86_400},1,1\n"
    done = ingest(tmp_path, [HEADER + early + rows()], "csv")
    (found,) = done.found("empty_month")
    assert (found.count, found.detail[-18:]) == (119, "2016-02 to 2025-12")


def test_a_file_of_which_nothing_could_be_kept_is_told_each_time(tmp_path: Path) -> None:
    good, bad = given(tmp_path, (HEADER + rows()).encode()), tmp_path / "b.csv"
    bad.write_text(HEADER + "fra,x,1,1\n")
    for _ in range(2):
        done = ingest(tmp_path, [good, bad], "csv")
        assert "line 2: 1 line: column 'at_s' has 'x'" in done.account.useless[str(bad)]
    assert any(line.startswith("Nothing kept of") for line in done.account.lines(tmp_path))


def test_old_devices_in_a_file_of_new_ones(tmp_path: Path) -> None:
    header = "time,pop,interface,ifHCOutOctets,ifOutOctets,ifSpeed\n"
    text = header + "".join(
        f"{START + 300 * k},fra,{line}\n"
        for k in range(6)
        for line in (
            f"new,{1000 * k if k != 3 else ''},{(7 * k) % 5},100000000",
            f"old,,{(2**32 - 300 + 100 * k) % 2**32},100000000",
        )
    )
    done = ingest(tmp_path, [text], "snmp")
    assert [row[1] for row in done.rows("fra", "out_bytes")] == [1100] * 5
    found = {(one.series, one.count) for one in done.found("wrap")}
    assert found == {("old", 6), ("old (32 bits)", 1)}


@pytest.mark.parametrize(
    "moment",
    ["05/Jan/2026:25:00:00 +0000", "05/Jan/2026:01:61:00 +0000", "05/Jan/2026:01:20:00 +9900"],
)
def test_a_time_that_no_clock_shows_is_none(tmp_path: Path, moment: str) -> None:
    text = COMBINED.format("05/Jan/2026:01:20:00 +0000") + COMBINED.format(moment)
    done = ingest(tmp_path, [text], "nginx", "pop: {value: fra}")
    assert [row[1] for row in done.rows("fra", "out_bytes")] == [1000]
    assert "line 2 its time is none" in details(done)


def flare(**more: object) -> str:
    plain = {"EdgeColoCode": "fra", "EdgeResponseBytes": 5, "EdgeStartTimestamp": START}
    return json.dumps(plain | more) + "\n"


@pytest.mark.parametrize("much", [2**53 + 1, 2**63, 2**70, "1e400", -(2**70)])
def test_no_line_has_more_bytes_than_can_be_counted(tmp_path: Path, much: object) -> None:
    done = ingest(tmp_path, [flare() + flare(EdgeResponseBytes=much)], "cloudflare")
    assert done.rows("fra", "out_bytes") == [(0, 5)]
    assert "line 2 out_bytes is no number of bytes below 2^53" in details(done)


def test_what_sampling_scales_beyond_the_limit_is_told(tmp_path: Path) -> None:
    text = flare() + flare(EdgeResponseBytes=2**50)
    done = ingest(tmp_path, [text], "cloudflare", "sampling: 100\n")
    assert done.rows("fra", "out_bytes") == [(0, 500)]
    assert "line 2" in details(done)


def test_objects_without_an_end_and_arrays_are_told(tmp_path: Path) -> None:
    done = ingest(tmp_path, [flare() + '{"x":' * 5000 + "1" + "}" * 5000 + "\n"], "cloudflare")
    assert done.rows("fra", "out_bytes") == [(0, 5)]
    assert "line 2" in details(done)
    with pytest.raises(BadPlan, match=r"one JSON array; an object a line is read.*jq -c"):
        ingest(tmp_path, ["[" + flare().strip() + "]"], "cloudflare", data="array")


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ("columns: {out_bytes: {column: EdgeResponseBytes, unit: bit/s}}", "cannot be in 'bit/s'"),
        ("time: {column: EdgeStartTimestamp, format: '%Y'}", "time.format and time.zone are for"),
        ("time: {column: EdgeStartTimestamp, zone: UTC}", "time.format and time.zone are for"),
    ],
)
def test_what_a_mapping_cannot_say_of_logs_is_refused(
    tmp_path: Path, mapping: str, words: str
) -> None:
    with pytest.raises(BadPlan, match=words):
        ingest(tmp_path, [flare()], "cloudflare", mapping)


def test_a_row_group_of_a_log_that_is_damaged_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    sizes = [k * 7919 % 100_003 for k in range(60_000)]
    names = {"x_edge_location": ["fra"] * 60_000, "timestamp": [START] * 60_000, "sc_bytes": sizes}
    pq.write_table(pa.table(names), path, row_group_size=20_000, compression="gzip")
    data = bytearray(path.read_bytes())
    group = pq.ParquetFile(path).metadata.row_group(1).column(2)
    for at in range(group.data_page_offset + 200, group.data_page_offset + 600):
        data[at] ^= 0xFF
    path.write_bytes(data)
    done = ingest(tmp_path, [path], "cloudfront")
    assert done.rows("fra", "out_bytes") == [(0, sum(sizes[:20_000] + sizes[40_000:]))]
    assert "row group 1 its rows cannot be read" in details(done)


def test_pages_with_a_wrong_checksum_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    count = 1000
    table = {"pop": ["fra"] * count, "at_s": [START + 300 * k for k in range(count)]}
    table["out_bytes"] = list(range(count))
    pq.write_table(
        pa.table(table), path, compression="none", use_dictionary=False, write_page_checksum=True
    )
    column = pq.ParquetFile(path).metadata.row_group(0).column(2)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + 4000] ^= 1
    path.write_bytes(data)
    assert "row group 0" in details(ingest(tmp_path, [path], "parquet"))


def test_flows_whose_end_cannot_be_are_told(tmp_path: Path) -> None:
    header = "exporterIPv4Address,octetDeltaCount,flowStartMilliseconds,flowEndMilliseconds\n"
    at = START * 1000
    ends = (at + 1000, at - 5, "", at + 40 * 86_400_000)
    text = header + "".join(f"fra,288,{at},{end}\n" for end in ends)
    done = ingest(tmp_path, [text], "ipfix")
    assert done.rows("fra", "out_bytes")[0] == (0, 288 * 3 + 1)
    places = [(one.count, one.source.split(", ")[1]) for one in done.found("clock_shift")]
    assert places == [(2, "lines 3 to 4"), (1, "line 5")]


TABLE = "time: {column: at_s, format: epoch_s}\npop: {column: pop%s}\n%scolumns: {%s}\n"
OUT = "out_bytes: {column: out_bytes, unit: byte}"


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        (TABLE % ("", "decimal: ','\n", OUT), "decimal ',' is neither . nor , or is the delim"),
        (TABLE % ("", "decimal: '5'\n", OUT), "decimal '5' is neither"),
        (TABLE % ("", 'delimiter: "\\n"\n', OUT), "delimiter '\\n' is none; give a tab"),
        (TABLE % ("", "series: port\n", OUT), "column 'port' is missing"),
        (TABLE % ("", "uptime: {column: up, unit: s}\nkind: counter\n", OUT), "'up' is missing"),
        (TABLE % ("", "", "cpu_idle_ms: {column: out_bytes, unit: s}"), "never of kind interval"),
        (TABLE % ("", "", "power_w: {column: out_bytes, unit: W}"), "it is of kind gauge: give"),
        (TABLE % ("", "kind: counter\n", "cpu_bp: {column: out_bytes, unit: bp}"), "of kind count"),
        (TABLE % ("", "kind: amount\n", "cpu_bp: {column: out_bytes, unit: bp}"), "of kind amount"),
    ],
)
def test_what_a_mapping_would_lose_without_a_word_is_refused(
    tmp_path: Path, mapping: str, words: str
) -> None:
    with pytest.raises(BadPlan) as raised:
        ingest(tmp_path, [HEADER + rows()], "csv", mapping)
    assert words in str(raised.value)


def test_a_port_that_a_mapping_names_must_be_there_among_polls(tmp_path: Path) -> None:
    with pytest.raises(BadPlan, match="column 'port' is missing"):
        ingest(tmp_path, [POLLS + polls()], "snmp", "series: port\n")


def test_a_pattern_whose_group_is_empty_leaves_the_name(tmp_path: Path) -> None:
    mapping = TABLE % (", pattern: '^(x)?'", "", OUT)
    for _ in range(2):
        done = ingest(tmp_path, [HEADER + rows()], "csv", mapping)
        assert len(done.rows("fra")) == 3


@pytest.mark.parametrize(
    ("fleet", "words"),
    [
        ("pop,country,country\nfra,DE,FR\n", "column 'country' is there twice"),
        ("pop,country,power_limit_kw\nfra,DE,inf\n", "line 2: power_limit_kw inf is no number"),
    ],
)
def test_a_fleet_file_that_says_two_things_is_refused(
    tmp_path: Path, fleet: str, words: str
) -> None:
    with pytest.raises(BadPlan) as raised:
        ingest(tmp_path, [HEADER + rows()], "csv", fleet=fleet)
    assert words in str(raised.value)
