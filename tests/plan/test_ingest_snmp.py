"""Interface counters: what is counted between polls, and every way in which they go wrong."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from selvedge.plan.history import BadPlan, Flag
from tests.plan.ingesting import START, ingest

HEADER = "time,pop,interface,ifHCOutOctets,ifHCInOctets,ifHighSpeed,sysUpTime"
UP = 1_000_000


def line(minute: float, out: int, **more: object) -> str:
    at = START + round(minute * 60)
    given = {"pop": "fra", "interface": "eth0", "into": out // 10, "speed": 10_000}
    given |= {"up": UP + round(minute * 6000)} | more
    words = [at, given["pop"], given["interface"], out, given["into"], given["speed"], given["up"]]
    return ",".join(str(word) for word in words)


def polls(lines: Iterable[str], header: str = HEADER) -> str:
    return "\n".join([header, *lines]) + "\n"


def steady(count: int, by: int = 1000, first: int = 0, **more: object) -> list[str]:
    return [line(5 * k, first + by * k, **more) for k in range(count)]


def test_differences_are_what_was_sent(tmp_path: Path) -> None:
    done = ingest(tmp_path, [polls(steady(4))], "snmp")
    wanted = [(0, 1000, 100), (5, 1000, 100), (10, 1000, 100)]
    assert done.rows("fra", "out_bytes", "in_bytes") == wanted
    assert done.rows("fra", "capacity_bps", "flags")[0] == (0, 10_000_000_000, 0)
    assert not done.findings
    assert done.account.samples == 3
    assert [one.rows for one in done.account.read] == [4]


def test_interfaces_of_a_pop_are_added_up(tmp_path: Path) -> None:
    lines = steady(4) + steady(4, by=500, interface="eth1")
    done = ingest(tmp_path, [polls(lines)], "snmp")
    assert done.rows("fra", "out_bytes", "capacity_bps")[0] == (0, 1500, 20_000_000_000)
    assert not done.findings


def test_an_interface_that_is_silent_makes_the_sum_partial(tmp_path: Path) -> None:
    other = steady(40, by=500, interface="eth1")
    del other[10:30]
    done = ingest(tmp_path, [polls(steady(40) + other)], "snmp")
    rows = {minute: (out, flags) for minute, out, flags in done.rows("fra", "out_bytes", "flags")}
    assert rows[0] == (1500, 0)
    assert rows[60] == (1000, Flag.PARTIAL)
    assert rows[180] == (1500, 0)
    (gap,) = done.found("gap")
    assert (gap.pop, gap.series, gap.count) == ("fra", "eth1", 20)
    assert (gap.from_s, gap.until_s) == (START + 45 * 60, START + 150 * 60)
    assert "line 52" in gap.source


@pytest.mark.parametrize("bits", [32, 64])
def test_a_wrap_is_corrected(tmp_path: Path, bits: int) -> None:
    top = 1 << bits
    values = [(top - 2500 + 1000 * k) % top for k in range(6)]
    lines = [line(5 * k, value, into=5 * k) for k, value in enumerate(values)]
    header = HEADER if bits == 64 else HEADER.replace("HC", "").replace("ifHigh", "if")
    if bits == 32:
        lines = [one.replace(",10000,", ",10000000,") for one in lines]
    done = ingest(tmp_path, [polls(lines, header)], "snmp")
    assert [row[1:] for row in done.rows("fra", "out_bytes", "flags")] == [(1000, 0)] * 5
    (wrap,) = done.found("wrap")
    assert (wrap.from_s, wrap.until_s, wrap.series) == (START + 600, START + 901, "eth0")
    assert "line 5" in wrap.source


def test_a_restart_is_a_reset_and_a_lower_bound(tmp_path: Path) -> None:
    lines = [*steady(3, first=1 << 30), line(15, 400, up=12_000), line(20, 1400, up=42_000)]
    done = ingest(tmp_path, [polls(lines)], "snmp")
    rows = done.rows("fra", "out_bytes", "flags")
    assert rows[2] == (10, 400, Flag.RESET | Flag.PARTIAL)
    assert rows[3] == (15, 1000, 0)
    assert [(one.count, one.series) for one in done.found("reset")] == [(1, "eth0")]


def test_a_restart_is_seen_where_the_counter_is_higher_already(tmp_path: Path) -> None:
    lines = [*steady(3, by=10), line(15, 5000, up=6_000)]
    done = ingest(tmp_path, [polls(lines)], "snmp")
    assert done.rows("fra", "out_bytes")[2] == (10, 5000)
    assert done.kinds == {"reset"}


def test_uptime_that_wraps_is_no_restart(tmp_path: Path) -> None:
    top = 1 << 32
    lines = [line(5 * k, 1000 * k, up=(top - 50_000 + 30_000 * k) % top) for k in range(5)]
    done = ingest(tmp_path, [polls(lines)], "snmp")
    assert [row[1:] for row in done.rows("fra", "out_bytes", "flags")] == [(1000, 0)] * 4
    assert not done.findings


def test_without_uptime_a_fall_that_no_wrap_explains_is_a_reset(tmp_path: Path) -> None:
    header = "time,pop,interface,ifOutOctets,ifSpeed"
    values = [2_000_000_000, 2_001_000_000, 2_002_000_000, 500_000, 1_500_000]
    lines = [f"{START + 300 * k},fra,eth0,{value},1000000000" for k, value in enumerate(values)]
    done = ingest(tmp_path, [polls(lines, header)], "snmp")
    assert [row[1] for row in done.rows("fra", "out_bytes")] == [10**6, 10**6, 500_000, 10**6]
    assert "reset" in done.kinds


def test_a_narrow_counter_on_a_fast_interface_is_a_lower_bound(tmp_path: Path) -> None:
    header = "time,pop,interface,ifOutOctets,ifSpeed"
    lines = [f"{START + 300 * k},fra,eth0,{10**6 * k},1000000000" for k in range(4)]
    done = ingest(tmp_path, [polls(lines, header)], "snmp")
    assert {row[2] for row in done.rows("fra", "out_bytes", "flags")} == {Flag.PARTIAL}
    assert "ifHCOutOctets" in done.found("wrap")[0].detail


def test_ifspeed_at_its_end_says_nothing(tmp_path: Path) -> None:
    header = "time,pop,interface,ifHCOutOctets,ifSpeed"
    lines = [f"{START + 300 * k},fra,eth0,{10**6 * k},4294967295" for k in range(4)]
    done = ingest(tmp_path, [polls(lines, header)], "snmp")
    assert done.rows("fra", "capacity_bps")[0] == (0, None)
    assert "ifHighSpeed" in done.found("unreadable")[0].detail


def test_polls_beside_the_boundary_are_shared_out_by_time(tmp_path: Path) -> None:
    lines = [line(5 * k + 0.2, 30_000 * k) for k in range(4)]
    done = ingest(tmp_path, [polls(lines)], "snmp")
    rows = done.rows("fra", "out_bytes", "flags")
    assert rows == [(0, 28_800, 0), (5, 30_000, 0), (10, 30_000, 0)]


def test_polls_out_of_step_are_shared_out_too_and_not_flagged(tmp_path: Path) -> None:
    lines = [line(5 * k + 2, 30_000 * k) for k in range(4)]
    done = ingest(tmp_path, [polls(lines)], "snmp")
    rows = done.rows("fra", "out_bytes", "flags")
    assert rows == [(0, 18_000, Flag.PARTIAL), (5, 30_000, 0), (10, 30_000, 0)]


def test_how_much_is_placed_by_time_alone_is_told_for_each_pop(tmp_path: Path) -> None:
    beside = [line(5 * k + 1, 600 * k) for k in range(13)]
    within = [line(5 * k, 600 * k).replace(",fra,", ",lon,") for k in range(13)]
    done = ingest(tmp_path, [polls([*beside, *within])], "snmp")
    (found,) = done.found("unaligned")
    assert (found.pop, found.count, found.from_s - START, found.until_s - START) == (
        "fra", 12, 60, 61 * 60,
    )  # fmt: skip
    assert found.detail == (
        "12 of 12 readings lie across an edge of five minutes; "
        "20.0% of the bytes are placed by time alone"
    )


def test_one_reading_over_several_intervals_is_spread(tmp_path: Path) -> None:
    lines = steady(13)
    del lines[4:6]
    done = ingest(tmp_path, [polls(lines)], "snmp")
    rows = done.rows("fra", "out_bytes", "flags")
    assert rows[3:6] == [(15, 1000, 8), (20, 1000, 8), (25, 1000, 8)]
    assert rows[6] == (30, 1000, 0)
    assert [(one.count, one.from_s) for one in done.found("gap")] == [(2, START + 900)]


def test_polls_more_than_an_hour_apart_fill_nothing(tmp_path: Path) -> None:
    lines = steady(60)
    del lines[10:30]
    done = ingest(tmp_path, [polls(lines)], "snmp")
    minutes = [row[0] for row in done.rows("fra")]
    assert minutes == [*range(0, 45, 5), *range(150, 295, 5)]
    assert "too long" in done.found("gap")[0].detail


def test_the_same_poll_twice_counts_once(tmp_path: Path) -> None:
    lines = steady(5)
    done = ingest(tmp_path, [polls([*lines[:3], lines[2], *lines[3:]])], "snmp")
    assert [row[1] for row in done.rows("fra", "out_bytes")] == [1000] * 4
    (twice,) = done.found("duplicate")
    assert (twice.count, twice.from_s) == (1, START + 600)
    assert "line 5" in twice.source


def test_two_polls_that_differ_are_a_conflict(tmp_path: Path) -> None:
    lines = steady(5)
    done = ingest(tmp_path, [polls([*lines[:3], line(10, 2007), *lines[3:]])], "snmp")
    assert [row[1] for row in done.rows("fra", "out_bytes")] == [1000] * 4
    assert done.kinds == {"conflict"}


def test_a_late_poll_is_put_where_it_belongs(tmp_path: Path) -> None:
    lines = steady(8)
    late = lines.pop(3)
    done = ingest(tmp_path, [polls([*lines[:5], late, *lines[5:]])], "snmp")
    rows = done.rows("fra", "out_bytes", "flags")
    assert [row[1] for row in rows] == [1000] * 7
    assert [row[0] for row in rows if row[2] == Flag.LATE] == [10]
    (found,) = done.found("late")
    assert (found.count, found.from_s) == (1, START + 900)
    assert "line 7" in found.source


def test_a_poll_that_comes_again_later_is_a_duplicate_and_not_late(tmp_path: Path) -> None:
    lines = steady(8)
    done = ingest(tmp_path, [polls([*lines[:5], lines[3], *lines[5:]])], "snmp")
    assert done.kinds == {"duplicate"}
    assert not any(row[1] for row in done.rows("fra", "flags"))


def test_a_late_poll_is_late_across_runs_too(tmp_path: Path) -> None:
    lines = steady(8)
    late = lines.pop(1)
    whole = ingest(tmp_path, [polls([*lines, late])], "snmp")
    parts = ingest(tmp_path, [polls([*lines, late])], "snmp", data="parts", run_rows=1)
    assert [row[1] for row in parts.rows("fra", "out_bytes")] == [1000] * 7
    assert whole.all_rows() == parts.all_rows()
    assert parts.kinds == {"late"}


def test_a_file_that_runs_backwards_is_not_late(tmp_path: Path) -> None:
    done = ingest(tmp_path, [polls(reversed(steady(8)))], "snmp")
    assert [row[1:] for row in done.rows("fra", "out_bytes", "flags")] == [(1000, 0)] * 7
    assert not done.findings


def test_a_clock_that_went_back_is_told_and_its_hour_left_out(tmp_path: Path) -> None:
    lines = [line(5 * k, 1000 * k) for k in range(24)]
    lines += [line(5 * (k - 12) + 1, 1000 * k, up=UP + 30_000 * k) for k in range(24, 48)]
    done = ingest(tmp_path, [polls(lines)], "snmp")
    found = done.found("clock_shift")
    assert [one.count for one in found if "went back" in one.detail] == [11]
    assert "reset" not in done.kinds
    sent = {row[1] for row in done.rows("fra", "out_bytes")}
    assert min(sent) >= 790
    assert max(sent) <= 1000


def test_uptime_tells_a_clock_that_went_back_where_the_counter_wraps(tmp_path: Path) -> None:
    header = HEADER.replace("HC", "").replace("ifHigh", "if")
    values = [1_500_000_000 * k % (1 << 32) for k in range(48)]
    lines = [line(5 * k, value, into=k, speed=10**8) for k, value in enumerate(values[:24])]
    for k, value in enumerate(values[24:], 24):
        lines.append(line(5 * (k - 12) + 1, value, into=k, speed=10**8, up=UP + 30_000 * k))
    done = ingest(tmp_path, [polls(lines, header)], "snmp")
    assert done.kinds == {"wrap", "clock_shift", "unaligned"}  # the set clock is a minute off
    sent = [row[1] for row in done.rows("fra", "out_bytes")]
    assert max(sent) <= 1_500_000_000


def test_a_clock_set_forward_is_seen_against_the_uptime(tmp_path: Path) -> None:
    lines = steady(5) + [line(5 * k + 60, 1000 * k, up=UP + 30_000 * k) for k in range(5, 9)]
    done = ingest(tmp_path, [polls(lines)], "snmp")
    assert [one.from_s for one in done.found("clock_shift")] == [START + 20 * 60]
    assert done.kinds == {"clock_shift"}
    rows = {row[0]: row[1:] for row in done.rows("fra", "out_bytes", "flags")}
    assert rows[80] == (1000, Flag.PARTIAL)
    assert rows[85] == (1000, 0)
    assert not any(15 < minute < 80 for minute in rows)


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_renamed_interface_is_one(tmp_path: Path, goes_on: bool) -> None:
    first = 24_000 if goes_on else 7
    new = [line(5 * k, first + 1000 * (k - 24), interface="xe-0/0/0") for k in range(24, 48)]
    other = steady(48, interface="eth9", by=10)
    done = ingest(tmp_path, [polls([*steady(24), *new, *other])], "snmp")
    (found,) = done.found("renamed")
    assert (found.pop, found.series) == ("fra", "eth0 -> xe-0/0/0")
    rows = {row[0]: row[1:] for row in done.rows("fra", "out_bytes", "flags")}
    assert rows[115] == ((1010, 0) if goes_on else (10, Flag.PARTIAL))
    assert rows[125] == (1010, 0)


def test_capacity_is_judged_sample_by_sample(tmp_path: Path) -> None:
    lines = steady(4) + [line(5 * k, 1000 * k, speed=40_000) for k in range(4, 8)]
    done = ingest(tmp_path, [polls(lines)], "snmp")
    capacity = [row[1] // 10**9 for row in done.rows("fra", "capacity_bps")]
    assert capacity == [10, 10, 10, 10, 40, 40, 40]
    (found,) = done.found("capacity_change")
    assert (found.series, found.from_s) == ("eth0", START + 1200)


def test_more_than_an_interface_can_carry_is_told_and_kept(tmp_path: Path) -> None:
    lines = [*steady(4), line(20, 10**15), line(25, 10**15 + 1000)]
    done = ingest(tmp_path, [polls(lines)], "snmp")
    assert done.rows("fra", "out_bytes")[3] == (15, 10**15 - 3000)
    assert "over_capacity" in done.kinds


def test_what_is_counted_across_the_end_of_a_month_or_a_file_is_there(tmp_path: Path) -> None:
    end = 31 * 288  # five minutes of January
    lines = [line(5 * k, 1000 * k) for k in range(end - 3, end + 4)]
    done = ingest(tmp_path, [polls(lines[:4]), polls(lines[4:])], "snmp")
    assert [row[1] for row in done.rows("fra", "out_bytes")] == [1000] * 6
    assert done.account.months == ["2026-01", "2026-02"]
    assert not done.findings


def test_times_without_a_zone_are_refused_with_the_remedy(tmp_path: Path) -> None:
    text = polls(["2026-01-01 00:00:00,fra,eth0,1,1,1000,1"])
    with pytest.raises(BadPlan, match=r"line 2.*no ISO 8601 time with a zone.*time.zone"):
        ingest(tmp_path, [text], "snmp")


def test_times_of_iso_8601(tmp_path: Path) -> None:
    words = ["2026-01-01T00:00:00Z", "2026-01-01T01:05:00+01:00", "2026-01-01T00:10:00Z"]
    text = polls(f"{word},fra,eth0,{1000 * k},1,1000,{30_000 * k}" for k, word in enumerate(words))
    assert ingest(tmp_path, [text], "snmp").rows("fra", "out_bytes") == [(0, 1000), (5, 1000)]


def test_devices_are_named_by_a_mapping(tmp_path: Path) -> None:
    text = polls(line(5 * k, 1000 * k, pop=f"r{k % 2}-fra.example") for k in range(2))
    text += "\n".join(line(5 * k, 1000 * k, pop="core7") for k in range(3)) + "\n"
    mapping = "pop: {pattern: '-([a-z]{3})\\.', names: {core7: lon}}"
    done = ingest(tmp_path, [text], "snmp", mapping)
    assert done.rows("lon", "out_bytes") == [(0, 1000), (5, 1000)]
    assert done.rows("fra", "out_bytes") == [(0, 1000)]
    assert not done.found("unknown_pop")


def test_a_header_that_is_no_export_of_counters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadPlan, match="no column with octets"):
        ingest(tmp_path, ["time,pop,interface\n1,fra,eth0\n"], "snmp")
