"""The window, the busy hour and zones in words: figures that can be worked out by hand."""

from __future__ import annotations

import csv
import io
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.fabric import COUNTRIES, GROUPS, SelvedgeError, Zone
from selvedge.ledger import HOUR_US, DemandAsked, DemandPlace, DemandTally, Hours, HourWindow
from selvedge.plan import (
    Counting,
    FoundWindow,
    ObservedDemand,
    demand_classes,
    demand_csv,
    find_window,
    is_spelled_out,
    make_demand,
    map_zones,
    read_zones,
    zone_in_words,
)
from selvedge.plan.history import PopSite
from selvedge.plan.placement import zone_flags
from tests.support.fleets import make_release
from tests.support.observed import BEGIN_HOUR, BEGIN_US

ASKED = DemandAsked(BEGIN_US + 60 * 24 * HOUR_US)
DAY = 24


def seen_at(hours: dict[int, int], future: int = 0) -> Hours:
    """Receipts by hour after the beginning."""
    found = Counter({BEGIN_HOUR + hour: count for hour, count in hours.items()})
    return Hours(found, Counter({"sin": future} if future else {}))


def moment(hour: float) -> int:
    return BEGIN_US + round(hour * HOUR_US)


def window_of(hours: Hours, asked: DemandAsked = ASKED) -> tuple[int, int]:
    found = find_window(hours, asked).window
    return found.begin - BEGIN_HOUR, found.end - BEGIN_HOUR


def test_open_ends_lose_the_hours_that_were_seen_in_part() -> None:
    assert window_of(seen_at({3: 5, 4: 1, 80: 9})) == (4, 80)
    assert window_of(seen_at({3: 5, 80: 9}), ASKED._replace(since_us=moment(0))) == (0, 80)
    assert window_of(seen_at({3: 5, 80: 9}), ASKED._replace(since_us=moment(-0.5))) == (0, 80)
    assert window_of(seen_at({3: 5, 80: 9}), ASKED._replace(until_us=moment(99.9))) == (4, 99)


def test_a_window_has_no_hours_yet_to_come() -> None:
    asked = ASKED._replace(now_us=moment(99.5), until_us=moment(10_000))
    found = find_window(seen_at({3: 5, 80: 9}), asked)
    assert found.window.end - BEGIN_HOUR == 99
    assert any("yet to come: the window ends with 2026-11-05T03:00Z" in one for one in found.notes)


def test_a_clock_a_little_ahead_does_not_end_the_hour_that_runs() -> None:
    asked = ASKED._replace(now_us=moment(80.97))
    assert window_of(seen_at({3: 5, 50: 1, 81: 1}), asked) == (4, 80)
    found = find_window(seen_at({3: 5, 50: 1, 81: 1}), asked._replace(until_us=moment(10_000)))
    assert "week of silence" not in " ".join(found.notes)


def test_a_week_of_silence_divides_receipts() -> None:
    month = dict.fromkeys(range(20 * DAY), 10)
    odd = {-BEGIN_HOUR: 1, 40 * DAY: 2}
    found = find_window(seen_at(month | odd), ASKED)
    assert window_of(seen_at(month | odd)) == (1, 20 * DAY - 1)
    assert any(one.startswith("1 receipt before a week of silence") for one in found.notes)
    assert any(one.startswith("2 receipts after a week of silence") for one in found.notes)
    long = ASKED._replace(since_us=-(10**15), until_us=moment(50 * DAY))
    assert window_of(seen_at(month | odd), long) == (1, 20 * DAY - 1)
    notes = " ".join(find_window(seen_at(month | odd), long).notes)
    assert "--since is more than a week before" in notes
    assert "--until is more than a week after" in notes


@pytest.mark.parametrize(
    ("hours", "asked", "words"),
    [
        ({}, ASKED, "there is no receipt; ask something first"),
        ({}, ASKED._replace(since_us=moment(0)), "no receipt since 2026-11-01T00:00Z"),
        ({3: 1}, ASKED, "all are from 2026-11-01T03:00Z to 2026-11-01T04:00Z"),
        ({3: 9, 400: 8}, ASKED, "most are from 2026-11-01T03:00Z to 2026-11-01T04:00Z"),
        ({3: 9, 4: 9}, ASKED, "all are from 2026-11-01T03:00Z to 2026-11-01T05:00Z"),
        (
            {3: 9},
            ASKED._replace(since_us=moment(3.1), until_us=moment(3.9)),
            "no whole hour of UTC lies between --since and --until",
        ),
        ({}, ASKED._replace(since_us=moment(100 * DAY)), "or it is yet to come"),
    ],
)
def test_what_is_no_window(hours: dict[int, int], asked: DemandAsked, words: str) -> None:
    with pytest.raises(SelvedgeError, match=words):
        find_window(seen_at(hours), asked)


def test_clocks_that_are_ahead_are_named() -> None:
    with pytest.raises(SelvedgeError, match="3 of a time yet to come, of PoP sin: set the clocks"):
        find_window(seen_at({}, 3), ASKED)
    notes = find_window(seen_at({1: 5, 50: 5, 99: 5}, 3), ASKED).notes
    assert any(one.startswith("3 receipts of a time yet to come") for one in notes)


def test_a_window_of_fewer_than_seven_days_is_said() -> None:
    def told(days: int) -> str:
        hours = dict.fromkeys(range(days * DAY), 1)
        asked = ASKED._replace(since_us=moment(0), until_us=moment(days * DAY))
        return " ".join(find_window(seen_at(hours), asked).notes)

    assert "the window has 6.0 days" in told(6)
    assert told(7) == ""
    notes = find_window(seen_at({3: 1, 4: 1, 5: 1, 8: 1}), ASKED).notes
    assert "only 4 hours of the day were seen, the busy one of these" in notes


def test_silence_is_said() -> None:
    hours = {hour: 1 for hour in range(10 * DAY) if hour // DAY not in (3, 4)}
    asked = ASKED._replace(since_us=moment(-2 * DAY), until_us=moment(13 * DAY))
    notes = " ".join(find_window(seen_at(hours), asked).notes)
    assert "the first 2.0 of 15.0 days have no receipt" in notes
    assert "the last 3.0 of 15.0 days have no receipt" in notes
    assert "2 days between the first and the last without a receipt" in notes


# Rates.


def tally(counts: dict[int, int], first: int = 0, last: int = 10 * DAY - 1) -> DemandTally:
    """Requests by UTC hour of the day."""
    hours = tuple(counts.get(hour, 0) for hour in range(24))
    return DemandTally(hours, BEGIN_HOUR + first, BEGIN_HOUR + last, 2, 20, 6)


def place(
    pop: str, zone: str = "asean", kind: str = "answered", narrow: bool = False
) -> DemandPlace:
    return DemandPlace(pop, zone, kind, narrow)


TEN_DAYS = FoundWindow(HourWindow(BEGIN_HOUR, BEGIN_HOUR + 10 * DAY), ())
ZONES = {"asean": "ASEAN", "eea": "EEA", "europe": "EEA"}


def demand_of(
    tallies: dict[DemandPlace, DemandTally],
    counting: Counting = Counting(),  # noqa: B008  # frozen
    found: FoundWindow = TEN_DAYS,
) -> ObservedDemand:
    return make_demand(found, tallies, ZONES, counting)


TWO_SITES = {
    place("sin"): tally({2: 3_600, 14: 1_800}),
    place("sin", "eea"): tally({2: 360, 14: 360}),
    place("fra", "eea"): tally({2: 1_800, 14: 3_600}),
    place("fra", "europe", "no_room"): tally({14: 720}),
    place("fra", "eea", "cached"): tally({2: 72_000}),
    place("fra", "eea", "batch"): tally({3: 36_000}),
    place("fra", "eea", "limited"): tally({3: 36_000}),
    place("fra", "eea", "others"): tally({3: 36_000}),
}


def test_each_ingress_has_its_own_busy_hour() -> None:
    told = demand_of(TWO_SITES)
    rows = [(row.ingress, row.zone, row.busy_hour_utc, row.requests) for row in told.rows]
    assert rows == [("fra", "EEA", 14, 4_320), ("sin", "ASEAN", 2, 3_600), ("sin", "EEA", 2, 360)]
    assert [row.requests_per_s for row in told.rows] == pytest.approx([0.12, 0.1, 0.01])
    assert told.requests_per_s == told.requests_per_s_at_own_hours == pytest.approx(0.23)
    assert told.fleet_busy_hour_utc == 14
    assert told.requests_per_s_at_fleet_hour == pytest.approx(0.18)
    assert told.requests == 12_240
    assert told.requests_per_s_mean == pytest.approx(12_240 / 864_000)
    assert (told.prompt_tokens_mean, told.output_tokens_mean) == (10, 3)
    assert [(one.zone, one.classes) for one in told.zones] == [
        ("EEA", ("eea", "europe")),
        ("ASEAN", ("asean",)),
    ]
    kinds = {one.kind: (one.is_demand, one.requests) for one in told.kinds}
    assert kinds["no_room"] == (True, 720)
    assert kinds["cached"] == (False, 72_000)
    assert "others" not in kinds


def test_the_hour_of_the_fleet() -> None:
    told = demand_of(TWO_SITES, Counting("fleet"))
    assert {row.busy_hour_utc for row in told.rows} == {14}
    assert told.requests_per_s == told.requests_per_s_at_fleet_hour == pytest.approx(0.18)
    assert told.requests_per_s_at_own_hours == pytest.approx(0.23)


def test_what_counts_besides() -> None:
    cached = demand_of(TWO_SITES, Counting(with_cached=True))
    assert (cached.rows[0].busy_hour_utc, cached.rows[0].requests) == (2, 73_800)
    batch = demand_of(TWO_SITES, Counting(with_batch=True))
    assert (batch.rows[0].busy_hour_utc, batch.rows[0].requests) == (3, 36_000)


def test_part_days_at_both_ends_do_not_bias_the_mean() -> None:
    """Ten an hour, from noon to noon: of ten and a half days some hours were seen ten times, some
    eleven, and an hour that was never seen is no busy hour."""
    hours = [one % 24 for one in range(BEGIN_HOUR + 12, BEGIN_HOUR + 12 + 252)]
    counts = Counter(hours)
    assert set(counts.values()) == {10, 11}
    tallies = {place("sin"): tally({hour: 10 * count for hour, count in counts.items()})}
    window = HourWindow(BEGIN_HOUR + 12, BEGIN_HOUR + 12 + 252)
    told = demand_of(tallies, found=FoundWindow(window, ()))
    assert told.requests_per_s == pytest.approx(10 / 3600)
    short = HourWindow(BEGIN_HOUR + 12, BEGIN_HOUR + 14)
    told = demand_of({place("sin"): tally({13: 36})}, found=FoundWindow(short, ()))
    assert (told.rows[0].busy_hour_utc, told.requests_per_s) == (13, pytest.approx(0.01))


@given(st.integers(0, 2**32), st.sampled_from(["ingress", "fleet"]))
@settings(deadline=None, max_examples=40)
def test_laws_of_the_busy_hour(seed: int, which: str) -> None:
    rng = Random(seed)
    tallies = {
        place(pop, zone): tally({hour: rng.randint(0, 50) for hour in range(24)})
        for pop in ("a", "b", "c")
        for zone in ("asean", "eea")
    }
    told = demand_of(tallies, Counting(which))  # type: ignore[arg-type]
    own, fleet = told.requests_per_s_at_own_hours, told.requests_per_s_at_fleet_hour
    assert own + 1e-12 >= fleet >= told.requests_per_s_mean - 1e-12
    assert sum(one.requests_per_s for one in told.zones) == pytest.approx(told.requests_per_s)
    written = csv.DictReader(io.StringIO(demand_csv(told)))
    assert sum(float(row["requests_per_s"]) for row in written) == pytest.approx(
        own if which == "ingress" else fleet
    )


def test_what_is_said_of_the_rows() -> None:
    tallies = {
        place("sin"): tally({1: 5_000}),
        place("few"): tally({1: 3}),
        place("late"): tally({1: 500}, first=5 * DAY),
        place("early", "eea", narrow=True): tally({1: 500}, last=5 * DAY),
        place("rare"): tally({1: 2}, first=5 * DAY),
        place("sin", "", "failed"): tally({1: 7}),
    }
    notes = " ".join(demand_of(tallies).notes)
    assert "7 requests of no zone left out" in notes
    assert "500 requests of classes with a policy" in notes
    assert "2 ingresses with fewer than 30 requests" in notes
    assert "early ends 2026-11-06T01:00Z, late begins 2026-11-06T00:00Z;" in notes
    assert "of 2 ingresses" not in " ".join(demand_of(tallies, Counting("fleet")).notes)


def test_nothing_that_counts() -> None:
    with pytest.raises(SelvedgeError, match=r"is demand of a zone \(limited 36,000\); look at"):
        demand_of({place("fra", "eea", "limited"): tally({3: 36_000})})
    with pytest.raises(SelvedgeError, match=r"--until, or count it by --with-cached$"):
        demand_of({place("fra", "eea", "cached"): tally({3: 36})})
    with pytest.raises(SelvedgeError, match=r"before a zone was known is of none$"):
        demand_of({place("fra", "", "no_room"): tally({3: 36})})
    with pytest.raises(SelvedgeError, match="no receipt of those asked for"):
        demand_of({place("fra", "eea", "others"): tally({3: 36_000})})


# Zones.


@pytest.mark.parametrize(
    ("countries", "words"),
    [
        (COUNTRIES, "world"),
        (GROUPS["EEA"], "EEA"),
        (GROUPS["EEA"] | {"CH"}, "EEA+EFTA"),
        (GROUPS["EEA"] | {"GB"}, "EEA+GB"),
        (GROUPS["EU"] - {"DE"}, "+".join(sorted(GROUPS["EU"] - {"DE"}))),
        ({"DE", "AT"}, "AT+DE"),
        (GROUPS["ASEAN"] | {"JP", "AU"}, "ASEAN+AU+JP"),
    ],
)
def test_countries_in_the_words_of_a_demand_file(countries: frozenset[str], words: str) -> None:
    assert zone_in_words(countries) == words
    sites = [PopSite(pop=code, country=code) for code in sorted(COUNTRIES)]
    inside = {one.pop for one, flag in zip(sites, zone_flags(words, sites), strict=True) if flag}
    assert inside == set(countries)
    assert is_spelled_out(words)


def test_zones_of_a_release_and_of_options() -> None:
    release = make_release()
    asked = {"eea": 3, "world": 2}
    assert map_zones(asked, {}, release) == {"eea": "EEA", "world": "world"}
    assert map_zones(asked, {"eea": "eea"}, release) == {"eea": "eea", "world": "world"}
    assert map_zones({"old": 1}, {"old": "DE+AT"}, None) == {"old": "DE+AT"}
    assert map_zones(asked, {"asean": "SG"}, release) == map_zones(asked, {}, release)
    for zones, options, held, words in (
        ({"old": 7}, {}, release, "zone 'old' of 7 requests cannot be mapped: the release has no"),
        ({"old": 1}, {}, None, "zone 'old' of 1 request cannot be mapped: there is no release"),
        ({"empty": 1}, {}, make_release(zones=(*release.zones, Zone("empty", ()))), "no country"),
        (asked, {"eaa": "EEA"}, release, "--zone eaa: no receipt .* did you mean 'eea'"),
    ):
        with pytest.raises(SelvedgeError, match=words):
            map_zones(zones, options, held)


@pytest.mark.parametrize("given", ["eea", "=EEA", "eea=", "eea=EEE+DE", "eea=DE+"])
def test_options_that_are_no_zone(given: str) -> None:
    with pytest.raises(SelvedgeError, match="--zone"):
        read_zones([given])


def test_a_zone_is_said_once() -> None:
    assert read_zones(["a=EEA", "b = DE+AT"]) == {"a": "EEA", "b": "DE+AT"}
    with pytest.raises(SelvedgeError, match="twice"):
        read_zones(["a=EEA", "a=DE"])


def test_classes_with_demand() -> None:
    found = demand_classes(TWO_SITES, Counting())
    assert found == {"asean": 5_400, "eea": 6_120, "europe": 720}
