"""Observed demand: requests per second in the busy hour, by ingress and zone.

The busy hour is the time-consistent one (as ITU-T E.500 measures traffic): the hour of the day
whose mean over the days of the window is greatest. Hours are those of UTC's clock. Each ingress has
its own, so the sum over ingresses is more than the fleet has at once: `at_fleet_hour` is that.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from math import fsum
from typing import Final, Literal, NamedTuple

import msgspec

from selvedge.fabric import SelvedgeError
from selvedge.ledger import (
    DEMAND_KINDS,
    NO_ZONE,
    OTHERS,
    DemandPlace,
    DemandTally,
    HourWindow,
    join_tallies,
)
from selvedge.plan.demand_window import FoundWindow, counted, hour_in_words, named

BusyHour = Literal["ingress", "fleet"]
FEW: Final = 30
"""Requests of a busy hour over all days, below which which hour it is is largely chance."""
_CERTAIN: Final = 10
"""A silence in which so many requests were to be expected is none of chance: e**-10."""
_HOUR_S: Final = 3600
_DAY: Final = 24
_ALL: Final = DemandPlace("", NO_ZONE, "", False)


class DemandRow(msgspec.Struct, frozen=True):
    """A row of the demand file, and what it rests on."""

    ingress: str
    zone: str
    requests_per_s: float
    busy_hour_utc: int
    """0 to 23: the hour of the day that begins then."""
    requests: int
    """In that hour, over all days."""


class DemandZone(msgspec.Struct, frozen=True):
    """Demand of a zone at all ingresses; ``classes`` are its names in receipts."""

    zone: str
    classes: tuple[str, ...]
    requests_per_s: float


class DemandIngress(msgspec.Struct, frozen=True):
    """Demand of an ingress: in its own busy hour, in the fleet's, and on the mean of all hours."""

    ingress: str
    busy_hour_utc: int
    days: int
    """How often that hour was seen whole."""
    requests: int
    """Of the whole window."""
    requests_per_s: float
    requests_per_s_at_fleet_hour: float
    requests_per_s_mean: float
    first: str
    last: str
    """Hours of its first and last receipt in the window, of any kind and tenant."""


class DemandOfKind(msgspec.Struct, frozen=True):
    """How many requests of a kind the window has, and whether they are demand."""

    kind: str
    what: str
    is_demand: bool
    requests: int


class ObservedDemand(msgspec.Struct, frozen=True):
    """The answer: rows for a demand file, and what they were made of."""

    since: str
    until: str
    days: float
    busy_hour: BusyHour
    fleet_busy_hour_utc: int
    requests: int
    """Of the window that are demand."""
    requests_per_s: float
    """Of the rows."""
    requests_per_s_at_own_hours: float
    requests_per_s_at_fleet_hour: float
    requests_per_s_mean: float
    prompt_tokens_mean: float | None
    output_tokens_mean: float | None
    """Of requests that were answered whole."""
    rows: tuple[DemandRow, ...]
    """The most first."""
    zones: tuple[DemandZone, ...]
    ingresses: tuple[DemandIngress, ...]
    kinds: tuple[DemandOfKind, ...]
    notes: tuple[str, ...]


class Counting(NamedTuple):
    """Which hour, and what counts beside what does in any case."""

    busy_hour: BusyHour = "ingress"
    with_cached: bool = False
    with_batch: bool = False

    def counts(self, kind: str) -> bool:
        """Whether requests of this kind are demand."""
        more = {"cached": self.with_cached, "batch": self.with_batch}
        return kind != OTHERS and more.get(kind, DEMAND_KINDS[kind].counts)


class _Hourly:
    """Requests by ingress and zone, by hour of the day."""

    def __init__(self, window: HourWindow, tallies: Mapping[DemandPlace, DemandTally]) -> None:
        self.times = [window.times(hour) for hour in range(24)]
        self.of: dict[str, dict[str, DemandTally]] = {}
        for place, tally in tallies.items():
            zones = self.of.setdefault(place.pop, {})
            known = zones.get(place.zone)
            zones[place.zone] = tally if known is None else known.plus(tally)
        self.pops = {pop: _sums(zones.values()) for pop, zones in self.of.items()}
        self.fleet = self._busiest([sum(hours) for hours in zip(*self.pops.values(), strict=True)])

    def _busiest(self, hours: list[int]) -> int:
        """The first of the busiest hours among those that were seen."""
        return max(range(24), key=lambda hour: (self.rate(hours[hour], hour), -hour))

    def rate(self, requests: int, hour: int) -> float:
        """Requests per second in this hour of the day, on the mean of the days; 0: never seen."""
        times = self.times[hour]
        return requests / times / _HOUR_S if times else 0.0

    def busy(self, pop: str, which: BusyHour) -> int:
        """The busy hour of an ingress."""
        return self.fleet if which == "fleet" else self._busiest(self.pops[pop])

    def total(self, which: BusyHour) -> float:
        """Requests per second of all ingresses, each in its busy hour."""
        found = ((pop, self.busy(pop, which)) for pop in self.pops)
        return fsum(self.rate(self.pops[pop][hour], hour) for pop, hour in found)


def _sums(tallies: Iterable[DemandTally]) -> list[int]:
    return [sum(hours) for hours in zip(*(one.hours for one in tallies), strict=True)]


def zone_classes(tallies: Mapping[DemandPlace, DemandTally]) -> frozenset[str]:
    """Zone classes of all receipts of the window."""
    return frozenset(place.zone for place in tallies)


def demand_classes(
    tallies: Mapping[DemandPlace, DemandTally], counting: Counting
) -> dict[str, int]:
    """Zone classes with demand, as receipts call them: requests of each."""
    found: Counter[str] = Counter()
    for place, tally in tallies.items():
        if counting.counts(place.kind) and place.zone != NO_ZONE:
            found[place.zone] += tally.requests
    return dict(found)


def make_demand(
    found: FoundWindow,
    tallies: Mapping[DemandPlace, DemandTally],
    zones: Mapping[str, str],
    counting: Counting,
) -> ObservedDemand:
    """Rates by ingress and zone. ``zones``: what each zone class is called in a demand file.

    Raises `SelvedgeError` where nothing in the window is demand.
    """
    window, kinds = found.window, tuple(_kinds(tallies, counting))
    of_demand = {one: tally for one, tally in tallies.items() if counting.counts(one.kind)}
    placed = join_tallies(
        {one._replace(zone=zones[one.zone]): tally}
        for one, tally in of_demand.items()
        if one.zone != NO_ZONE
    )
    if not placed:
        raise SelvedgeError(_nothing(window, kinds))
    hourly = _Hourly(window, placed)
    rows = tuple(_rows(hourly, counting.busy_hour))
    seen = _presence(tallies)
    every = join_tallies({_ALL: one} for one in placed.values())[_ALL]
    return ObservedDemand(
        since=hour_in_words(window.begin),
        until=hour_in_words(window.end),
        days=window.days,
        busy_hour=counting.busy_hour,
        fleet_busy_hour_utc=hourly.fleet,
        requests=every.requests,
        requests_per_s=hourly.total(counting.busy_hour),
        requests_per_s_at_own_hours=hourly.total("ingress"),
        requests_per_s_at_fleet_hour=hourly.total("fleet"),
        requests_per_s_mean=every.requests / (window.end - window.begin) / _HOUR_S,
        prompt_tokens_mean=_per(every.prompt_tokens, every.completed),
        output_tokens_mean=_per(every.output_tokens, every.completed),
        rows=rows,
        zones=tuple(_zones(rows, zones)),
        ingresses=tuple(_ingresses(hourly, seen, window)),
        kinds=kinds,
        notes=(*found.notes, *_notes(hourly, of_demand, counting), *_late(seen, window)),
    )


def _per(tokens: int, completed: int) -> float | None:
    return tokens / completed if completed else None


def _nothing(window: HourWindow, kinds: Collection[DemandOfKind]) -> str:
    told = ", ".join(f"{one.kind} {one.requests:,}" for one in kinds)
    words = f"nothing between {hour_in_words(window.begin)} and {hour_in_words(window.end)} is"
    words += f" demand of a zone ({told or 'no receipt of those asked for'})"
    seen = {one.kind: f"--with-{one.kind}" for one in kinds if one.kind in ("cached", "batch")}
    more = "".join(f", or count it by {option}" for option in seen.values())
    if any(one.is_demand for one in kinds):
        more += "; what was refused before a zone was known is of none"
    return f"{words}; look at --tenant, --model, --since and --until{more}"


def _kinds(
    tallies: Mapping[DemandPlace, DemandTally], counting: Counting
) -> Iterator[DemandOfKind]:
    found: Counter[str] = Counter()
    for place, tally in tallies.items():
        found[place.kind] += tally.requests
    for kind in DEMAND_KINDS.values():
        if found[kind.name]:
            is_demand = counting.counts(kind.name)
            yield DemandOfKind(kind.name, kind.what, is_demand, found[kind.name])


def _rows(hourly: _Hourly, which: BusyHour) -> list[DemandRow]:
    found = []
    for pop, zones in hourly.of.items():
        hour = hourly.busy(pop, which)
        for zone, tally in zones.items():
            if requests := tally.hours[hour]:
                rate = hourly.rate(requests, hour)
                found.append(DemandRow(pop, zone, rate, hour, requests))
    return sorted(found, key=lambda row: (-row.requests_per_s, row.ingress, row.zone))


def _zones(rows: Iterable[DemandRow], classes: Mapping[str, str]) -> Iterator[DemandZone]:
    rates: dict[str, list[float]] = {}
    for row in rows:
        rates.setdefault(row.zone, []).append(row.requests_per_s)
    sums = {zone: fsum(parts) for zone, parts in rates.items()}
    for zone, rate in sorted(sums.items(), key=lambda one: (-one[1], one[0])):
        names = tuple(sorted(name for name, word in classes.items() if word == zone))
        yield DemandZone(zone, names, rate)


def _presence(tallies: Mapping[DemandPlace, DemandTally]) -> dict[str, DemandTally]:
    """What is known of each ingress, of whoever it was."""
    every = join_tallies({_ALL._replace(pop=one.pop): tally} for one, tally in tallies.items())
    return {one.pop: tally for one, tally in every.items()}


def _ingresses(
    hourly: _Hourly, seen: Mapping[str, DemandTally], window: HourWindow
) -> Iterator[DemandIngress]:
    for pop, hours in sorted(hourly.pops.items()):
        hour = hourly.busy(pop, "ingress")
        yield DemandIngress(
            ingress=pop,
            busy_hour_utc=hour,
            days=hourly.times[hour],
            requests=sum(hours),
            requests_per_s=hourly.rate(hours[hour], hour),
            requests_per_s_at_fleet_hour=hourly.rate(hours[hourly.fleet], hourly.fleet),
            requests_per_s_mean=sum(hours) / (window.end - window.begin) / _HOUR_S,
            first=hour_in_words(seen[pop].first),
            last=hour_in_words(seen[pop].last),
        )


def _notes(
    hourly: _Hourly, of_demand: Mapping[DemandPlace, DemandTally], counting: Counting
) -> Iterator[str]:
    nowhere = sum(tally.requests for one, tally in of_demand.items() if one.zone == NO_ZONE)
    if nowhere:
        yield (
            f"{counted(nowhere, 'request')} of no zone left out: refused before a rule was found,"
            " and demand otherwise"
        )
    narrow = sum(tally.requests for one, tally in of_demand.items() if one.is_narrowed)
    if narrow:
        yield (
            f"{counted(narrow, 'request')} of classes with a policy, or of keys for some zones:"
            " less than their zone is open to them, and the rows say the whole of it; see"
            " `selvedge policy explain`, and --zone"
        )
    busy = {pop: hourly.busy(pop, "ingress") for pop in hourly.pops}
    few = [pop for pop, hour in busy.items() if hourly.pops[pop][hour] < FEW]
    if few and counting.busy_hour == "ingress":
        rate = sum(hourly.rate(hourly.pops[pop][busy[pop]], busy[pop]) for pop in few)
        share = rate / hourly.total("ingress")
        yield (
            f"{share:.1%} of the total is of {counted(len(few), 'ingress')} with fewer than {FEW}"
            " requests in the busy hour: the greatest of 24 small numbers is too great on the"
            " mean; take more days, or --busy-hour fleet"
        )


def _late(seen: Mapping[str, DemandTally], window: HourWindow) -> Iterator[str]:
    """Ingresses whose receipts cover a part of the window, as chance does not make it."""
    found = []
    for pop, tally in sorted(seen.items()):
        per_hour = tally.requests / (tally.last - tally.first + 1)
        for quiet, words in (
            (tally.first - window.begin, f"{pop} begins {hour_in_words(tally.first)}"),
            (window.end - 1 - tally.last, f"{pop} ends {hour_in_words(tally.last + 1)}"),
        ):
            if quiet >= _DAY and quiet * per_hour > _CERTAIN:
                found.append(words)
    if found:
        yield (
            f"receipts of some ingresses are of a part of the window alone, and their rates too"
            f" small for it: {named(found)}; narrow it by --since and --until"
        )


def demand_csv(demand: ObservedDemand) -> str:
    """The file that ``selvedge plan retrofit --demand`` reads."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("ingress", "zone", "requests_per_s"))
    for row in sorted(demand.rows, key=lambda row: (row.ingress, row.zone)):
        table.writerow((row.ingress, row.zone, repr(row.requests_per_s)))
    return text.getvalue()
