"""The faults of a stored history: each is found where it is, and a natural life has none."""

from __future__ import annotations

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from selvedge.plan.history import MEANINGS, STEP_S, Finding, Flag, History, PopSite
from selvedge.plan.utilisation.quality import Quality, count_findings, find_faults
from tests.plan.quality_fleet import DAY, Fleet, at


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """Each kind once or more, every one in a PoP of its own, and what was put in."""
    fleet = Fleet(7, 24, at("2025-01-20"), at("2025-06-01"))
    truth = {}

    def put(kind, number, begin, end):
        name = fleet.names[number]
        truth[kind, name] = (at(begin), at(end))
        return name, fleet.span(begin, end)

    name, span = put("gap", 0, "2025-01-31T22:00", "2025-02-01T03:35")
    fleet.there[name][span] = False
    name, span = put("duplicate", 1, "2025-03-01T10:00", "2025-03-01T10:30")
    _again(fleet, name, span, 1.0)
    name, span = put("conflict", 2, "2025-03-02T10:00", "2025-03-02T12:30")
    _again(fleet, name, span, 0.5)
    name, span = put("over_capacity", 3, "2025-03-03T10:00", "2025-03-03T10:05")
    fleet.out[name][span] = 2.0**63
    name, span = put("mixed_units", 4, "2025-03-03T10:25", "2025-03-05T01:40")
    fleet.out[name][span] *= 8
    name, span = put("mixed_units", 5, "2025-03-03T10:25", "2025-03-25T01:40")
    fleet.out[name][span] /= 1024
    name, span = put("capacity_change", 6, "2025-04-03T10:25", "2025-04-03T10:30")
    fleet.capacity[name][span.start :] *= 2.5
    name, span = put("clock_shift", 7, "2025-02-10T12:00", "2025-03-20T12:00")
    _move(fleet, name, span, 5)
    name, span = put("clock_shift", 8, "2025-02-03T00:00", "2025-05-20T00:00")
    _move(fleet, name, span, -4)
    name, span = put("frozen", 9, "2025-04-03T11:10", "2025-04-03T15:00")
    fleet.out[name][span] = 123_456_789_012
    name, span = put("reset", 10, "2025-04-03T11:10", "2025-04-03T11:15")
    fleet.out[name][span] *= 0.02
    name, span = put("reset", 11, "2025-04-04T11:10", "2025-04-04T11:15")
    fleet.flags[name][span] = Flag.RESET | Flag.PARTIAL
    name, span = put("late", 12, "2025-04-03T23:30", "2025-04-04T01:10")
    fleet.flags[name][span] = Flag.LATE
    name, span = put("empty_month", 13, "2025-03-01", "2025-04-01")
    fleet.there[name][span] = False
    old, _ = put("renamed", 14, "2025-04-10T08:00", "2025-04-10T08:05")
    _rename(fleet, old, "2025-04-10T08:00")
    name, span = put("mixed_units", 15, "2025-04-03T10:25", "2025-04-05T10:25")
    fleet.capacity[name][span] /= 1000
    stranger, _ = put("unknown_pop", 16, "2025-01-20", "2025-06-01")
    history = fleet.write(tmp_path_factory.mktemp("faulty"))
    sites = [site for site in fleet.sites if site.pop != stranger]
    return history, sites, truth, find_faults(history, sites)


def _again(fleet, name, span, part):
    for place in range(span.start, span.stop):
        fleet.extra[name].append((int(fleet.at_s[place]), fleet.out[name][place] * part, 0))


def _move(fleet, name, span, hours):
    moved = slice(span.start - hours * 12, span.stop - hours * 12)
    fleet.out[name][span] = fleet.out[name][moved].copy()


def _rename(fleet, old, moment):
    new = PopSite(pop="new", country="SG", metro="metro014", timezone="Asia/Singapore")
    fleet.sites.append(new)
    fleet.add(new)
    fleet.out["new"] = fleet.out[old].copy()
    place = fleet.place(moment)
    fleet.there[old][place:] = False
    fleet.there["new"][:place] = False


def test_each_fault_is_found_where_it_is_and_nothing_else(faulty):
    *_, truth, quality = faulty
    found = {(one.kind, one.pop): one for one in quality.findings}
    assert found.keys() == truth.keys()
    assert len(quality.findings) == len(truth)
    for place, (from_s, until_s) in truth.items():
        slack = 2 * 3600 if place[0] == "clock_shift" else 0
        assert abs(found[place].from_s - from_s) <= slack, place
        assert abs(found[place].until_s - until_s) <= slack, place


def test_findings_say_how_many_samples_and_what_is_wrong(faulty):
    *_, quality = faulty
    of = {(one.kind, one.pop): one for one in quality.findings}
    assert of["gap", "pop000"].count == 67
    assert of["duplicate", "pop001"].count == 6
    assert of["conflict", "pop002"].count == 30
    assert of["frozen", "pop009"].count == 46
    assert of["late", "pop012"].count == 20
    assert of["empty_month", "pop013"].count == 31 * DAY
    assert "8 times" in of["mixed_units", "pop004"].detail
    assert "1/1,000 or 1,024 times" in of["mixed_units", "pop005"].detail
    assert of["mixed_units", "pop015"].series == "capacity_bps"
    assert "5 hours late" in of["clock_shift", "pop007"].detail
    assert "4 hours early" in of["clock_shift", "pop008"].detail
    assert of["renamed", "pop014"].series == "new"


def test_findings_are_in_one_order_and_counted_by_kind(faulty):
    history, sites, truth, quality = faulty
    assert find_faults(history, sites) == quality
    kinds = [count.kind for count in quality.counts]
    assert kinds == [kind for kind in MEANINGS if kind in {place[0] for place in truth}]
    by_kind = {count.kind: count for count in quality.counts}
    assert (by_kind["mixed_units"].pops, by_kind["mixed_units"].findings) == (3, 3)
    assert by_kind["reset"].count == 2
    assert quality.counts == count_findings(quality.findings)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_natural_life_has_no_fault(tmp_path, seed):
    fleet = Fleet(seed, 12, at("2025-02-01"), at("2025-07-01"))
    young = fleet.names[3]
    fleet.there[young][: fleet.place("2025-04-11T09:40")] = False
    assert find_faults(fleet.write(tmp_path), fleet.sites) == Quality(findings=(), counts=())


def test_what_ingest_found_is_part_of_it_and_not_said_twice(tmp_path):
    fleet = Fleet(1, 2, at("2025-02-01"), at("2025-02-20"))
    span = fleet.span("2025-02-03T10:00", "2025-02-03T10:10")
    fleet.flags[fleet.names[0]][span] = Flag.LATE
    history = fleet.write(tmp_path)
    begin = at("2025-02-03T10:00")
    seen = [
        Finding(kind="late", pop="pop000", from_s=begin, until_s=begin + 600, count=2, source="a"),
        Finding(kind="wrap", pop="pop001", series="eth0", from_s=begin, until_s=begin + STEP_S),
        Finding(kind="unreadable", source="b.csv, line 7"),
    ]
    history.write_findings("ingest", seen)
    found = find_faults(history, fleet.sites).findings
    assert sorted(found, key=repr) == sorted(seen, key=repr)


def test_a_truncated_part_is_named_and_the_rest_is_read(tmp_path):
    fleet = Fleet(1, 2, at("2025-02-01"), at("2025-03-20"))
    fleet.there["pop001"][fleet.span("2025-02-10", "2025-02-11")] = False
    history = fleet.write(tmp_path)
    whole = history.parts("2025-03")[0].read_bytes()
    history.part_path("2025-03", "b").write_bytes(whole[: len(whole) // 2])
    found = find_faults(history, fleet.sites).findings
    assert [one.kind for one in found] == ["unreadable", "gap"]
    assert found[0].source == "samples/month=2025-03/b.parquet"


def test_a_damaged_row_group_is_named_and_the_others_are_read(tmp_path):
    fleet = Fleet(1, 4, at("2025-02-01"), at("2025-03-01"))
    fleet.there["pop003"][fleet.span("2025-02-10", "2025-02-11")] = False
    history = fleet.write(tmp_path)
    path = history.parts("2025-02")[0]
    table = pq.read_table(path)
    pq.write_table(table, path, row_group_size=28 * DAY, compression="zstd")
    column = pq.read_metadata(path).row_group(1).column(2)
    data = bytearray(path.read_bytes())
    begin = column.dictionary_page_offset or column.data_page_offset
    data[begin : begin + column.total_compressed_size] = b"\x07" * column.total_compressed_size
    path.write_bytes(data)
    found = find_faults(history, fleet.sites).findings
    assert [(one.kind, one.pop) for one in found] == [("unreadable", ""), ("gap", "pop003")]
    assert found[0].source.endswith("a.parquet, row group 1")


def test_a_part_without_a_column_is_named(tmp_path):
    fleet = Fleet(1, 1, at("2025-02-01"), at("2025-02-10"))
    history = fleet.write(tmp_path)
    path = history.parts("2025-02")[0]
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["capacity_bps"]), history.part_path("2025-02", "b"))
    found = find_faults(history, fleet.sites).findings
    assert [one.detail for one in found] == ["no column capacity_bps; left out"]


def test_a_month_without_any_part_is_one_finding(tmp_path):
    fleet = Fleet(1, 3, at("2025-02-01"), at("2025-05-01"))
    history = fleet.write(tmp_path)
    for path in history.parts("2025-03"):
        path.unlink()
    found = find_faults(history, fleet.sites).findings
    assert [(one.kind, one.pop, one.from_s) for one in found] == [
        ("empty_month", "", at("2025-03-01"))
    ]


def test_rows_of_no_pop_and_of_other_months_are_named(tmp_path):
    fleet = Fleet(1, 2, at("2025-02-01"), at("2025-03-20"))
    history = fleet.write(tmp_path)
    manifest = history.read_manifest()
    history.write_manifest(msgspec.structs.replace(manifest, pops=manifest.pops[:1]))
    stray = pq.read_table(history.parts("2025-02")[0]).slice(0, 5)
    pq.write_table(stray, history.part_path("2025-03", "b"))
    found = find_faults(history, fleet.sites).findings
    assert [(one.kind, one.pop) for one in found] == [
        ("unreadable", ""),
        ("unknown_pop", "number 1"),
        ("unknown_pop", "number 1"),
    ]
    assert "5 rows of other months" in found[0].detail


def test_a_history_without_a_part_has_no_fault(tmp_path):
    assert find_faults(History.create(tmp_path), []).findings == ()


def test_equal_samples_that_were_spread_or_of_a_full_link_are_not_frozen(tmp_path):
    fleet = Fleet(1, 2, at("2025-02-01"), at("2025-02-20"))
    span = fleet.span("2025-02-03T10:00", "2025-02-03T16:00")
    fleet.out["pop000"][span] = 1_234_567
    fleet.flags["pop000"][span] = Flag.SPREAD
    full = fleet.capacity["pop001"] * STEP_S / 8
    fleet.out["pop001"] = full * 0.3 + fleet.out["pop001"] * 0.5
    fleet.out["pop001"][span] = np.floor(full[span] * 0.99)
    assert find_faults(fleet.write(tmp_path), fleet.sites).findings == ()


def test_progress_is_told(tmp_path):
    fleet = Fleet(1, 1, at("2025-02-01"), at("2025-03-10"))
    steps = []
    find_faults(fleet.write(tmp_path), fleet.sites, lambda done, of: steps.append((done, of)))
    assert steps == [(1, 3), (2, 3), (3, 3)]
