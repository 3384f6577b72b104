"""Collector and shipper die at every step: nothing is lost, nothing counts twice."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from selvedge.fabric import StoreFailed
from tests.support.disks import Died, Disk
from tests.support.shipping import Collector, MemoryJournal, Sender

ZONES = ("asean", "eea")
TENANTS = (("asean", "asean"), ("eea", "eea"), ("both", "asean"), ("both", "eea"), ("both", ""))


class World:
    """Two PoPs, one with two workers; a collector a zone; a network that loses and repeats."""

    def __init__(self, seed: int, *, power: bool, loses: float = 0.1) -> None:
        self.rng = Random(seed)
        self.loses = loses
        self.written: dict[str, Counter[bytes]] = {zone: Counter() for zone in (*ZONES, "")}
        journals = [MemoryJournal("sin", 0), MemoryJournal("sin", 1), MemoryJournal("fra", 0)]
        self.senders = [Sender(one, ZONES, self.rng) for one in journals]
        disks = {zone: Disk(Random(f"{seed}/{zone}"), power=power) for zone in ZONES}
        self.collectors = {zone: Collector(zone, disk) for zone, disk in disks.items()}

    @property
    def deaths(self) -> int:
        ends = [*self.collectors.values(), *self.senders]
        return sum(one.deaths for one in ends)

    @property
    def operations(self) -> int:
        return sum(one.disk.operations for one in self.collectors.values())

    def step(self) -> None:
        rng = self.rng
        sender = rng.choice(self.senders)
        for _ in range(rng.randrange(4)):
            tenant, zone = rng.choice(TENANTS)
            self.written[zone][sender.journal.write(tenant, zone)] += 1
        if rng.random() < 0.1:
            sender.journal.roll()
        collector = self.collectors[rng.choice(ZONES)]
        sender.send(collector, self.loses)
        if rng.random() < 0.2:
            self.partition(collector)

    def partition(self, collector: Collector) -> None:
        try:
            collector.partition()
        except Died:
            collector.died()
            collector.restart()
        assert max(collector.held().values(), default=1) == 1

    def settle(self) -> None:
        """No more deaths, no more losses: everything comes to where it belongs."""
        for zone, collector in self.collectors.items():
            collector.disk.dies_at = 0
            for sender in self.senders:
                while sender.send(collector):
                    pass
            self.partition(collector)
            assert collector.held() == self.written[zone]
            assert collector.log.known.gaps() == {}
            assert collector.conflicts == []
            again = Collector(zone, collector.disk)
            assert again.log.known.header(9) == collector.log.known.header(9)


@pytest.mark.parametrize("power", [False, True])
def test_a_thousand_deaths_lose_nothing_and_count_nothing_twice(power: bool) -> None:
    deaths = seed = 0
    while deaths < 1_000:
        world = World(seed, power=power)
        for _ in range(150):
            for collector in world.collectors.values():
                if not collector.disk.dies_at and world.rng.random() < 0.3:
                    disk = collector.disk
                    disk.dies_at = disk.operations + world.rng.randint(1, 4)
            if world.rng.random() < 0.1:
                world.rng.choice(world.senders).die()
            world.step()
        world.settle()
        deaths += world.deaths
        seed += 1


@pytest.mark.parametrize("power", [False, True])
def test_a_death_at_every_operation_is_survived(power: bool) -> None:
    def play(zone: str, dies_at: int) -> int:
        world = World(77, power=power, loses=0.0)
        disk = world.collectors[zone].disk
        disk.dies_at = dies_at
        for _ in range(60):
            world.step()
        world.settle()
        return disk.operations

    for zone in ZONES:
        for dies_at in range(2, play(zone, 0) + 1):
            play(zone, dies_at)


def test_a_full_disk_loses_nothing() -> None:
    world = World(5, power=False, loses=0.0)
    collector = world.collectors["asean"]
    for number in range(300):
        if number % 7 == 0:
            collector.disk.fails[collector.disk.operations + 1] = "No space left on device"
        try:
            world.step()
        except StoreFailed:
            for sender in world.senders:
                sender.shippers["asean"].unsure()
            if collector.log.broken:
                collector.restart()
    collector.disk.fails.clear()
    world.settle()
