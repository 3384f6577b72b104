"""Logs as vendors write them: a few lines of each, by hand, and what comes of them."""

from __future__ import annotations

import gzip
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selvedge.plan.history import BadPlan, Finding, Flag, History
from selvedge.plan.ingest import FORMS, Batch, Ingestion, Kind, Mapping, SourceFile, read_mapping
from selvedge.plan.ingest.logs import LOG_FORMS
from selvedge.plan.ingest.mapping import Measured, PopColumn, TimeColumn
from tests.plan.ingesting import ingest

AT = 1_767_576_000  # 2026-01-05T01:20:00Z


def amounts(folder, form, text, mapping=None, name="some.log"):
    """What a form reads: {(pop, seconds after AT): (out, in)}, and its findings."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    found: dict[tuple[str, int], list[int]] = {}
    findings = []
    for one in FORMS[form].read(SourceFile(path, name, mapping)):
        if isinstance(one, Finding):
            findings.append(one)
            continue
        assert isinstance(one, Batch)
        assert one.kind is Kind.AMOUNT
        for row in one.rows.to_pylist():
            place = found.setdefault((row["pop"], row["at_ms"] // 1000 - AT), [0, 0])
            place[0] += row.get("out_bytes") or 0
            place[1] += row.get("in_bytes") or 0
    return {place: tuple(pair) for place, pair in found.items()}, findings


W3C = """#Version: 1.0
#Fields: date time x-edge-location sc-bytes c-ip cs-method cs-uri-stem sc-status cs-bytes
2026-01-05	01:20:00	FRA56-C1	1045	192.0.2.10	GET	/view/my/file.html	200	23
2026-01-05	01:24:59	FRA56-C1	1000	192.0.2.10	GET	/view/my/file.html	200	20
2026-01-05	01:25:00	FRA56-C1	7	192.0.2.10	GET	/x	200	1
2026-01-05	01:25:30	IAD89-C1	500	192.0.2.12	GET	/y	304	9
"""
W3C_AMOUNTS = {
    ("FRA56-C1", 0): (2045, 43),
    ("FRA56-C1", 300): (7, 1),
    ("IAD89-C1", 300): (500, 9),
}


def test_cloudfront_w3c(tmp_path):
    assert amounts(tmp_path, "cloudfront", W3C) == (W3C_AMOUNTS, [])
    packed = gzip.compress(W3C.encode())
    assert amounts(tmp_path, "cloudfront", packed, name="a.gz") == (W3C_AMOUNTS, [])


def test_cloudfront_names_bad_lines_and_reads_the_others(tmp_path):
    lines = W3C.splitlines(keepends=True)
    bad = ["2026-01-05\t01:20:00\tcut off\n", "\n", "2026-01-05\t01:20:61\tFRA\t1\ti\tG\t/\t2\t1\n"]
    bad += ["2026-01-05\t01:20:01\tFRA56-C1\t-5\ti\tG\t/\t2\t1\n"]
    bad += ["2026-01-05\t01:20:01\tFRA56-C1\t5x\ti\tG\t/\t2\t1\n"]
    text = "".join([*lines[:4], *bad, *lines[4:]])
    found, findings = amounts(tmp_path, "cloudfront", text)
    assert found == W3C_AMOUNTS
    assert [(one.kind, one.source, one.count) for one in findings] == [
        ("unreadable", "some.log, line 5", 1),
        ("unreadable", "some.log, line 7", 1),
        ("unreadable", "some.log, line 9", 1),
        ("negative", "some.log, line 8", 1),
    ]


def test_cloudfront_logs_put_together_may_change_their_fields(tmp_path):
    other = "#Fields: time date sc-bytes x-edge-location\n01:26:00\t2026-01-05\t3\tFRA56-C1\n"
    found, findings = amounts(tmp_path, "cloudfront", W3C + "#Version: 1.0\n" + other)
    assert found == W3C_AMOUNTS | {("FRA56-C1", 300): (10, 1)}
    assert findings == []


def test_cloudfront_json_and_parquet(tmp_path):
    rows = [
        {"date": "2026-01-05", "time": "01:21:00", "x-edge-location": "FRA56-C1", "sc-bytes": "12"},
        {"date": "2026-01-05", "time": "01:22:00", "x-edge-location": "FRA56-C1", "sc-bytes": "-"},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    assert amounts(tmp_path, "cloudfront", text) == ({("FRA56-C1", 0): (12, 0)}, [])
    times = [f"{AT * 1000 + 5}", f"{AT * 1000 + 300_000}", None]
    table = pa.table(
        {
            "timestamp_ms": times,
            "x_edge_location": ["FRA56-C1", "FRA56-C1", "FRA56-C1"],
            "sc_bytes": ["12", "13", "14"],
            "cs_bytes": ["1", "2", "3"],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    found, findings = amounts(tmp_path, "cloudfront", data, name="a.parquet")
    assert found == {("FRA56-C1", 0): (12, 1), ("FRA56-C1", 300): (13, 2)}
    assert [one.source for one in findings] == ["a.parquet, row 3 of row group 0"]


@pytest.mark.parametrize(
    "moment",
    [
        '"2026-01-05T01:20:07Z"',
        '"2026-01-05T01:20:07.123456789Z"',
        '"2026-01-05T02:20:07+01:00"',
        f"{AT + 7}",
        f"{AT + 7}.25",
        f"{AT + 7}123",
        f"{AT + 7}123456789",
        f'"{AT + 7}123456789"',
    ],
)
def test_cloudflare_in_all_forms_of_time(tmp_path, moment):
    line = (
        '{"ClientIP":"192.0.2.1","ClientRequestBytes":11,"EdgeColoCode":"FRA",'
        f'"EdgeResponseBytes":1500,"EdgeStartTimestamp":{moment},"RayID":"3a"}}\n'
    )
    found, findings = amounts(tmp_path, "cloudflare", line * 2)
    assert (found, findings) == ({("FRA", 0): (3000, 22)}, [])


def test_cloudflare_names_lines_that_are_no_objects_or_lack_a_field(tmp_path):
    good = {"EdgeColoCode": "FRA", "EdgeResponseBytes": 5, "EdgeStartTimestamp": AT}
    lines = [json.dumps(good), '{"EdgeColoCode":"FRA","EdgeRes', "", json.dumps(good)]
    lines += [json.dumps(good | {"EdgeStartTimestamp": 0}), json.dumps(good | {"EdgeColoCode": ""})]
    lines += [json.dumps(good | {"EdgeResponseBytes": -1}), json.dumps(good)]
    found, findings = amounts(tmp_path, "cloudflare", "\n".join(lines))
    assert found == {("FRA", 0): (15, 0)}
    assert [(one.kind, one.source, one.count) for one in findings] == [
        ("unreadable", "some.log, line 2", 1),
        ("unreadable", "some.log, line 6", 1),
        ("unreadable", "some.log, line 5", 1),
        ("negative", "some.log, line 7", 1),
    ]
    assert "which PoP" in findings[1].detail
    assert "2000 to 2099" in findings[2].detail


def test_a_log_of_one_request_in_many_is_scaled_up_and_flagged(tmp_path):
    line = json.dumps({"EdgeColoCode": "FRA", "EdgeResponseBytes": 5, "EdgeStartTimestamp": AT})
    path = tmp_path / "some.log"
    path.write_text(line + "\n")
    (batch,) = FORMS["cloudflare"].read(SourceFile(path, "some.log", Mapping(sampling=100)))
    assert isinstance(batch, Batch)
    assert batch.rows["out_bytes"].to_pylist() == [500]
    assert batch.rows["flags"].to_pylist() == [Flag.SAMPLED]


def test_many_bad_lines_are_counted_but_not_told_one_by_one(tmp_path):
    good = json.dumps({"EdgeColoCode": "FRA", "EdgeResponseBytes": 5, "EdgeStartTimestamp": AT})
    found, findings = amounts(tmp_path, "cloudflare", f"{good}\nbad\n" * 100)
    assert found == {("FRA", 0): (500, 0)}
    assert sum(one.count for one in findings) == 100
    assert len(findings) == 21
    assert findings[-1].source == "some.log, lines 42 to 200"


AKAMAI_JSON = (
    '{{"version":"1","cp":"123456","reqId":"1239f220","reqTimeSec":"{at}","bytes":"4995",'
    '"cliIP":"128.147.28.68","statusCode":"206","edgeIP":"23.50.51.173","totalBytes":"5005"}}\n'
)


def test_akamai_json_and_structured(tmp_path):
    text = AKAMAI_JSON.format(at=f"{AT + 1}.340") + AKAMAI_JSON.format(at=AT + 301)
    address = "23.50.51.173"
    expected = {(address, 0): (5005, 0), (address, 300): (5005, 0)}
    assert amounts(tmp_path, "akamai", text) == (expected, [])
    mapping = Mapping(fields=["1000", "1100", "1005", "1008", "edgeIP"])
    lines = f"123456 {AT + 1}.340 4995 206 {address}\n123456 {AT + 301} - 304 {address}\n"
    expected = {(address, 0): (4995, 0), (address, 300): (0, 0)}
    assert amounts(tmp_path, "akamai", lines, mapping) == (expected, [])
    tabbed = lines.replace(" ", "\t")
    assert amounts(tmp_path, "akamai", tabbed, mapping) == (expected, [])


def test_akamai_by_cp_code(tmp_path):
    mapping = Mapping(pop=PopColumn(column="cp"))
    text = AKAMAI_JSON.format(at=AT)
    assert amounts(tmp_path, "akamai", text, mapping) == ({("123456", 0): (5005, 0)}, [])


def test_akamai_structured_without_fields_says_what_to_give(tmp_path):
    with pytest.raises(BadPlan, match=r"fields: \[1000, 1100"):
        amounts(tmp_path, "akamai", f"123 {AT} 1\n")


def test_fastly_by_declared_fields(tmp_path):
    mapping = Mapping(
        pop=PopColumn(column="dc"),
        time=TimeColumn(column="begin"),
        columns={"out_bytes": Measured(column="kb", unit="KiB")},
    )
    line = {"service_id": "x", "dc": "FRA", "begin": "2026-01-05T01:20:07GMT", "kb": 2}
    found = amounts(tmp_path, "fastly", json.dumps(line) + "\n", mapping)
    assert found == ({("FRA", 0): (2048, 0)}, [])


def test_fastly_says_which_fields_are_missing(tmp_path):
    with pytest.raises(BadPlan, match=r"no field says the PoP .* There are time_start, bytes\."):
        amounts(tmp_path, "fastly", '{"time_start": 1, "bytes": 2}\n')
    mapping = Mapping(pop=PopColumn(column="dc"))
    with pytest.raises(BadPlan, match="field 'dc' of the mapping file is not there"):
        amounts(tmp_path, "fastly", '{"time_start": 1, "bytes": 2}\n', mapping)


COMBINED = """203.0.113.9 - - [05/Jan/2026:01:20:07 +0000] "GET /a HTTP/1.1" 200 1234 "-" "curl/8"
203.0.113.9 - bob [05/Jan/2026:02:24:59 +0100] "GET /\\"q\\" HTTP/1.1" 304 - "-" "a \\"b\\""
2001:db8::1 - - [05/Jan/2026:01:25:00 +0000] "GET /b HTTP/2.0" 200 66 "-" "curl/8"
"""


def test_nginx_and_varnish_combined(tmp_path):
    mapping = Mapping(pop=PopColumn(value="fra1"))
    expected = {("fra1", 0): (1234, 0), ("fra1", 300): (66, 0)}
    assert amounts(tmp_path, "nginx", COMBINED, mapping) == (expected, [])
    assert amounts(tmp_path, "varnish", COMBINED, mapping) == (expected, [])
    found, findings = amounts(tmp_path, "nginx", COMBINED + "\x16\x03\x01 400 0\n", mapping)
    assert found == expected
    assert [one.source for one in findings] == ["some.log, line 4"]


def test_combined_takes_the_pop_from_the_files_name_or_the_host_before(tmp_path):
    mapping = Mapping(pop=PopColumn(column="file", pattern=r"(fra\d)"))
    found, _ = amounts(tmp_path, "nginx", COMBINED, mapping, name="fra1-access.log")
    assert {pop for pop, _ in found} == {"fra1-access.log"}
    text = "".join(f"sin2.example {line}\n" for line in COMBINED.splitlines())
    found, _ = amounts(tmp_path, "nginx", text, Mapping(pop=PopColumn(column="vhost")))
    assert found == {("sin2.example", 0): (1234, 0), ("sin2.example", 300): (66, 0)}


def test_combined_without_a_pop_or_of_another_form_is_refused(tmp_path):
    with pytest.raises(BadPlan, match=r"does not say which PoP it is of; give pop\.value"):
        amounts(tmp_path, "nginx", COMBINED)
    with pytest.raises(BadPlan, match="no line is of a combined log"):
        amounts(tmp_path, "nginx", "hello\n", Mapping(pop=PopColumn(value="fra1")))


def test_nginx_json(tmp_path):
    lines = [
        {"hostname": "fra1", "msec": f"{AT + 7}.250", "bytes_sent": "100", "request_length": "9"},
        {"hostname": "fra1", "msec": f"{AT + 8}.250", "bytes_sent": "50", "request_length": "9"},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    assert amounts(tmp_path, "nginx", text) == ({("fra1", 0): (150, 18)}, [])


FLOWS = """exporter,octetDeltaCount,flowStartMilliseconds,flowEndMilliseconds,flowDirection
10.0.0.1,1000,{at}000,{at}000,1
10.0.0.1,300,{at}000,{end}000,0
10.0.0.2,10,{at}000,{at}001,7
"""


def test_ipfix_csv_shares_flows_out_by_time_and_direction(tmp_path):
    text = FLOWS.format(at=AT + 150, end=AT + 750)
    found, findings = amounts(tmp_path, "ipfix", text)
    assert found == {
        ("10.0.0.1", 0): (1000, 75),
        ("10.0.0.1", 300): (0, 150),
        ("10.0.0.1", 600): (0, 75),
    }
    assert [one.source for one in findings] == ["some.log, line 4"]


@pytest.mark.parametrize(
    ("fields", "scale"),
    [
        ({"samplingInterval": 100}, 100),
        ({"samplingPacketInterval": 1, "samplingPacketSpace": 99}, 100),
        ({"samplingProbability": 0.01}, 100),
        ({"samplingSize": 2, "samplingPopulation": 128}, 64),
        ({}, 1),
    ],
)
def test_ipfix_json_is_scaled_up_where_sampled(tmp_path, fields, scale):
    flow = {
        "iana:exporterIPv4Address": "10.0.0.1",
        "iana:octetDeltaCount": 7,
        "iana:flowStartMilliseconds": "2026-01-05T01:20:00.100Z",
        "iana:flowEndMilliseconds": "2026-01-05T01:20:01.900Z",
    } | {f"iana:{name}": value for name, value in fields.items()}
    path = tmp_path / "flows.json"
    path.write_text(json.dumps(flow) + "\n")
    (batch,) = FORMS["ipfix"].read(SourceFile(path, "flows.json"))
    assert isinstance(batch, Batch)
    assert batch.rows["out_bytes"].to_pylist() == [7 * scale]
    flags = batch.rows["flags"].to_pylist() if "flags" in batch.rows.column_names else [0]
    assert flags == [Flag.SAMPLED if scale > 1 else 0]


def test_ipfix_sampling_may_be_declared(tmp_path):
    text = FLOWS.format(at=AT, end=AT + 1)
    found, _ = amounts(tmp_path, "ipfix", text, Mapping(sampling=1000))
    assert found == {("10.0.0.1", 0): (1_000_000, 300_000)}


def test_not_a_byte_of_a_flow_is_lost(tmp_path):
    head = "exporterIPv4Address,octetDeltaCount,flowStartSeconds,flowEndSeconds\n"
    flows = [(7 + 13 * at, AT + 31 * at, AT + 31 * at + 97 * (at % 40)) for at in range(500)]
    text = head + "".join(f"10.0.0.1,{size},{at},{end}\n" for size, at, end in flows)
    found, _ = amounts(tmp_path, "ipfix", text)
    assert sum(out for out, _ in found.values()) == sum(size for size, *_ in flows)


def test_a_file_that_breaks_off_gives_what_came_before(tmp_path):
    line = '{"EdgeColoCode":"FRA","EdgeResponseBytes":5,"EdgeStartTimestamp":%d}\n'
    text = "".join(line % (AT + at) for at in range(20_000)).encode()
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(text)[:-2000])
    reading = FORMS["cloudflare"].read(SourceFile(path, "cut.gz"))
    first = next(reading)
    assert isinstance(first, Batch)
    assert sum(first.rows["out_bytes"].to_pylist()) > 50_000
    with pytest.raises(EOFError):
        next(reading)


def test_late_lines_of_another_file_are_added_to_their_moment(tmp_path):
    fleet = tmp_path / "fleet.csv"
    fleet.write_text("pop,country,timezone\nfra1,DE,Europe/Berlin\niad1,US,America/New_York\n")
    (tmp_path / "one.log").write_text(W3C)
    late = "#Fields: date time x-edge-location sc-bytes\n2026-01-05\t01:21:00\tFRA50-P2\t5\n"
    (tmp_path / "two.log").write_text(late)
    pops = PopColumn(pattern=r"^([A-Z]{3})", names={"FRA": "fra1", "IAD": "iad1"})
    folder = tmp_path / "data"
    run = Ingestion(folder, fleet, FORMS["cloudfront"], Mapping(pop=pops), _Nobody())
    run.run([tmp_path / "one.log", tmp_path / "two.log"])
    history = History.open(folder)
    assert history.read_manifest().pops == ("fra1", "iad1")
    rows = pq.read_table(history.parts("2026-01")[0]).to_pylist()
    found = {(row["pop"], row["at_s"] - AT): (row["out_bytes"], row["in_bytes"]) for row in rows}
    assert found == {(0, 0): (2050, 43), (0, 300): (7, 1), (1, 300): (500, 9)}


class _Nobody:
    """Watches, and says nothing."""

    def reading(self, name, done, total):
        pass

    def merging(self, month, done, total):
        pass


@pytest.mark.parametrize("form", ["cloudfront", "cloudflare", "akamai", "nginx", "ipfix"])
def test_an_empty_file_and_one_of_another_form_are_refused(tmp_path, form):
    with pytest.raises(BadPlan):
        amounts(tmp_path, form, "")
    with pytest.raises(BadPlan):
        amounts(tmp_path, form, "what is\nthis\n")


DOCS = Path(__file__).parent.parent.parent / "docs" / "plan-ingest-logs.md"
EXAMPLES = re.findall(
    r"^## [^`\n]*`(\w+)`.*?^```log\n(.*?)^```.*?^```yaml\n(.*?)^```.*?^```result\n(.*?)^```",
    DOCS.read_text(),
    re.MULTILINE | re.DOTALL,
)


def test_every_form_has_its_example():
    assert {form for form, *_ in EXAMPLES} == {form.name for form in LOG_FORMS} - {"varnish"}


@pytest.mark.parametrize("example", EXAMPLES, ids=[form for form, *_ in EXAMPLES])
def test_examples_of_the_docs_give_what_they_say(tmp_path, example):
    form, log, yaml, result = example
    (tmp_path / "some.log").write_text(log)
    (tmp_path / "map.yaml").write_text(yaml)
    (tmp_path / "fleet.csv").write_text(
        "pop,country,timezone\nfra1,DE,Europe/Berlin\niad1,US,America/New_York\n"
    )
    mapping = read_mapping(tmp_path / "map.yaml")
    run = Ingestion(tmp_path / "data", tmp_path / "fleet.csv", FORMS[form], mapping, _Nobody())
    run.run([tmp_path / "some.log"])
    history = History.open(tmp_path / "data")
    names = history.read_manifest().pops
    said = []
    for row in pq.read_table(history.parts("2026-01")[0]).to_pylist():
        moment = datetime.fromtimestamp(row["at_s"], UTC).strftime("%Y-%m-%dT%H:%MZ")
        out, back = row["out_bytes"] or 0, row["in_bytes"] or 0
        said.append(f"{names[row['pop']]} {moment} out {out} in {back}")
    assert said == result.splitlines()
    assert history.read_findings() == []


def test_akamai_by_the_networks_of_its_edges(tmp_path):
    lines = [f"1767576001.340 {ip} {size}" for ip, size in (("23.50.51.7", 1), ("23.50.99.1", 20))]
    lines += ["1767576001.340 2a02:26f0::17 300", "1767576001.340 - 4000"]
    names = "{23.50.0.0/16: lon, 23.50.51.0/24: fra, '2a02:26f0::/32': sin, 'a/b': fra}"
    mapping = f"fields: [1100, 1066, 1005]\npop: {{names: {names}}}\n"
    done = ingest(tmp_path, ["\n".join(lines)], "akamai", mapping)
    found = [done.rows(pop, "out_bytes")[0][1] for pop in ("fra", "lon", "sin")]
    assert found == [1, 20, 300]
    with pytest.raises(BadPlan, match=r"pop\.names: .*host bits set; write it as 192\.0\.2\.0/24"):
        ingest(tmp_path, ["\n".join(lines)], "akamai", "pop: {names: {23.50.51.7/24: fra}}")
    with pytest.raises(BadPlan, match=r"log edgeIP \(1066\) and give its networks"):
        ingest(tmp_path, ['{"reqTimeSec":"1767576001","bytes":"1"}'], "akamai", data="none")
