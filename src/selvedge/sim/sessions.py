"""Conversations as traffic: tenants with shared system prompts, turns that grow, bursts.

Each tenant's load lies over cities as its people do, and over the day as the API clients of a
public trace do at local time. Time is cut into slices; in each, every cell (a tenant in a region)
draws how busy it is and how many conversations begin. Later turns come after the answer would have
been read, whether or not it came: arrivals are the same for every policy. Lazy, and seeded per
slice. It refuses to know how a request ends.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from math import exp, log
from random import Random
from typing import Final

from selvedge.fabric import Ask, BadScenario, Route
from selvedge.fabric.value import Value
from selvedge.sim.chance import exponential
from selvedge.sim.description import Prompts, TenantPart
from selvedge.sim.engines import SECOND_US, Work
from selvedge.sim.traffic import Arrival
from selvedge.sim.world import Place, World, start_us_of, zone_countries

BLOCK_TOKENS: Final = 512
BYTES_PER_TOKEN: Final = 4
BLOCKS_MAX: Final = 64
TURNS_MAX: Final = 40
READ_US_PER_TOKEN: Final = 30_000
"""A reader waits for so long per token of an answer before typing the next message."""
_SHARED: Final = 1 << 60
_NAMES: Final = (1 << 60) - 1
_STRIDE: Final = 0x9E3779B97F4A7C5
"""Odd, so that no two blocks get one name; and far, so that names do not crowd in tables."""


class Client(Value, frozen=True):
    """A row of the client table: its share of requests, and its rate by hour over its mean."""

    share: float
    hours: tuple[float, ...]

    def at(self, hour: float) -> float:
        """The rate at a local time, straight between full hours."""
        low = int(hour)
        part = hour - low
        return self.hours[low % 24] * (1 - part) + self.hours[(low + 1) % 24] * part


def read_clients(text: str) -> list[Client]:
    """The client table."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    rows = [[int(field) for field in line.split(",")] for line in lines[1:]]
    return [Client(row[1] / 1e4, tuple(value / 100 for value in row[3:])) for row in rows]


class Cell:
    """A tenant in a region: who asks, how often conversations begin, and in which cities."""

    __slots__ = ("cumulative", "ingresses", "key", "per_s", "prompts", "systems", "tenant")

    def __init__(
        self, tenant: int, key: str, prompts: Prompts, weights: Mapping[str, float]
    ) -> None:
        self.tenant = tenant
        self.key = key
        self.prompts = prompts
        self.ingresses = list(weights)
        self.cumulative = list(accumulate(weights.values()))
        self.per_s = 0.0
        self.systems: dict[int, list[int]] = {}
        """Names of the blocks of system prompts, by the first."""


class Sessions:
    """All arrivals of a scenario, in order of time."""

    def __init__(self, world: World, clients: Sequence[Client], seed: int) -> None:
        self._traffic = world.description.traffic
        self._model = world.description.hardware.model
        self._deadline_us = int(world.description.traffic.deadline_s * SECOND_US)
        self._start_us = start_us_of(world.description)
        self._seed = seed
        self._cells = _cells(world, clients)
        self._sessions = 0
        self._waiting: list[tuple[int, int, _Session]] = []

    @property
    def start_us(self) -> int:
        """The moment of the first slice."""
        return self._start_us

    def arrivals(self) -> Iterator[Arrival]:
        """Without end: whoever takes them stops."""
        slice_us = int(self._traffic.burst_s * SECOND_US)
        number = 0
        while True:
            since_us = self.start_us + number * slice_us
            for session in self._beginning(number, since_us, slice_us):
                heapq.heappush(self._waiting, (session.next_us, session.number, session))
            yield from self._until(since_us + slice_us)
            number += 1

    def _until(self, until_us: int) -> Iterator[Arrival]:
        waiting = self._waiting
        while waiting and waiting[0][0] < until_us:
            at_us, number, session = waiting[0]
            yield session.turn(at_us, self._model, self._deadline_us)
            if session.turns_left:
                heapq.heapreplace(waiting, (session.next_us, number, session))
            else:
                heapq.heappop(waiting)

    def _beginning(self, number: int, since_us: int, slice_us: int) -> Iterator[_Session]:
        """Conversations that begin in a slice."""
        rng = Random(f"{self._seed}/{number}")
        cv = self._traffic.burst_cv
        for cell in self._cells:
            busy = rng.gammavariate(1 / cv**2, cv**2) if cv else 1.0
            mean = cell.per_s * slice_us / SECOND_US
            if self._traffic.constant:
                yield from self._evenly(cell, rng, since_us, slice_us)
                continue
            for _ in range(poisson(rng, mean * busy)):
                yield self._session(cell, rng, since_us + int(rng.random() * slice_us))

    def _evenly(self, cell: Cell, rng: Random, since_us: int, slice_us: int) -> Iterator[_Session]:
        gap_us = max(1, round(SECOND_US / cell.per_s))
        first = -(-(since_us - self.start_us) // gap_us)
        last = -(-(since_us + slice_us - self.start_us) // gap_us)
        for number in range(first, last):
            yield self._session(cell, rng, self.start_us + number * gap_us)

    def _session(self, cell: Cell, rng: Random, at_us: int) -> _Session:
        self._sessions += 1
        where = bisect_left(cell.cumulative, rng.random() * cell.cumulative[-1])
        ingress = cell.ingresses[min(where, len(cell.ingresses) - 1)]
        return _Session(self._sessions, cell, ingress, Random(rng.getrandbits(64)), at_us)


class _Session:
    """One conversation: what has been said so far, and when the next message comes."""

    __slots__ = (
        "_cell",
        "_context",
        "_ingress",
        "_names",
        "_next_name",
        "_rng",
        "next_us",
        "number",
        "turns_left",
    )

    def __init__(self, number: int, cell: Cell, ingress: str, rng: Random, at_us: int) -> None:
        prompts = cell.prompts
        self.number = number
        self.next_us = at_us
        self._cell = cell
        self._ingress = ingress
        self._rng = rng
        which = zipf(rng, prompts.system_prompts, prompts.zipf)
        system = _SHARED | cell.tenant << 40 | which << 16
        shared = prompts.system_tokens // BLOCK_TOKENS
        known = cell.systems.get(system)
        if known is None:
            # The same objects for all who share it: they are looked up without comparing numbers.
            known = cell.systems[system] = list(range(system, system + shared))
        self._names = list(known)
        self._next_name = (number << 8 | shared) * _STRIDE & _NAMES
        self._context = prompts.system_tokens
        self.turns_left = min(TURNS_MAX, geometric(rng, prompts.turns))

    def turn(self, at_us: int, model: str, deadline_us: int) -> Arrival:
        """The next message."""
        prompts, rng = self._cell.prompts, self._rng
        self._context += 1 + int(exponential(rng, 1 / prompts.turn_tokens))
        tokens = self._context
        output = 1 + int(exponential(rng, 1 / prompts.output_tokens))
        output = min(output, prompts.output_tokens_max)
        prefix = self._prefix(min(tokens // BLOCK_TOKENS, BLOCKS_MAX))
        self._context += output
        self.turns_left -= 1
        pause_us = int(exponential(rng, 1.0) * prompts.think_s * SECOND_US)
        self.next_us = at_us + output * READ_US_PER_TOKEN + pause_us
        ask = Ask(
            route=Route.CHAT,
            model=model,
            stream=True,
            prompt_bytes=tokens * BYTES_PER_TOKEN,
            session=str(self.number),
            block_tokens=BLOCK_TOKENS,
            prefix=prefix,
        )
        return Arrival(
            at_us=at_us,
            ingress=self._ingress,
            key=self._cell.key,
            body=b"",
            work=Work(tokens, output, prefix, BLOCK_TOKENS),
            ask=ask,
            deadline_after_us=deadline_us,
        )

    def _prefix(self, blocks: int) -> tuple[int, ...]:
        """Names of the leading blocks; a conversation only grows."""
        names = self._names
        while len(names) < blocks:
            names.append(self._next_name)
            self._next_name = (self._next_name + _STRIDE) & _NAMES
        return tuple(names[:blocks])


def _cells(world: World, clients: Sequence[Client]) -> list[Cell]:
    """One per tenant and region with people in it; rates add up to what the traffic says."""
    description = world.description
    cells: list[Cell] = []
    by_tenant: list[float] = []
    for number, (name, tenant) in enumerate(description.tenants.items()):
        weights = _weights(world, name, tenant, clients)
        found = [
            Cell(number, name, tenant.prompts, by_city) for by_city in weights.values() if by_city
        ]
        whole = sum(cell.cumulative[-1] for cell in found)
        if not whole:
            raise BadScenario(f"tenants.{name}", "has no people: no city of the fleet is its")
        for cell in found:
            cell.per_s = tenant.share * cell.cumulative[-1] / whole / tenant.prompts.turns
        by_tenant.append(tenant.share)
        cells += found
    rate = description.traffic.knee_requests_per_s * description.traffic.load
    for cell in cells:
        cell.per_s *= rate / sum(by_tenant)
    return cells


def _weights(
    world: World, name: str, tenant: TenantPart, clients: Sequence[Client]
) -> dict[str, dict[str, float]]:
    """By region and city, the tenant's traffic at the scenario's hour."""
    chosen = []
    for row in tenant.clients:
        if not 0 <= row < len(clients):
            words = f"{row} is no row of the client table; it has 0 to {len(clients) - 1}"
            raise BadScenario(f"tenants.{name}.clients", words)
        chosen.append(clients[row])
    zone = set(zone_countries(world.description, tenant.zone, world.places))
    found: dict[str, dict[str, float]] = {}
    for place in world.places:
        if tenant.users_in == "everywhere" or place.site.country in zone:
            weight = place.traffic * _curve(chosen, place, world.description.traffic.utc_hour)
            if weight > 0:
                found.setdefault(place.site.region, {})[place.id] = weight
    return found


def _curve(clients: Sequence[Client], place: Place, utc_hour: float) -> float:
    if not clients:
        return 1.0
    hour = (utc_hour + place.site.utc_minutes / 60) % 24
    whole = sum(client.share for client in clients)
    return sum(client.share * client.at(hour) for client in clients) / whole


def geometric(rng: Random, mean: float) -> int:
    """At least 1, with this mean."""
    if mean <= 1:
        return 1
    return 1 + int(log(1 - rng.random()) / log(1 - 1 / mean))


def poisson(rng: Random, mean: float) -> int:
    """By products of uniform numbers (Knuth), in steps so that nothing underflows."""
    count = 0
    while mean > 0:
        step = min(mean, 500.0)
        mean -= step
        limit, product = exp(-step), rng.random()
        while product > limit:
            count += 1
            product *= rng.random()
    return count


def zipf(rng: Random, count: int, exponent: float) -> int:
    """A rank from 0, by inverting the integral of the density: near enough, and quick."""
    if exponent == 0:
        return int(rng.random() * count)
    drawn = rng.random()
    if exponent == 1:
        return min(count - 1, int((count + 1) ** drawn) - 1)
    power = 1 - exponent
    return min(count - 1, int((1 + drawn * ((count + 1) ** power - 1)) ** (1 / power)) - 1)
