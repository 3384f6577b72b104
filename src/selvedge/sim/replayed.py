"""A trace as traffic: each of its requests enters where its tenant's people are, at its own time.

``load`` plays it quicker or slower. The place of entry is drawn, seeded; with one PoP there is no
choice. A trace whose times go back is refused with its row.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from random import Random

from selvedge.fabric import Ask, BadScenario, Route
from selvedge.sim.engines import SECOND_US
from selvedge.sim.pool import Timed
from selvedge.sim.sessions import BYTES_PER_TOKEN
from selvedge.sim.traffic import Arrival
from selvedge.sim.world import World, start_us_of, zone_countries


def replayed(world: World, trace: Sequence[Timed], seed: int) -> Iterator[Arrival]:
    """The requests of a trace as arrivals. Raises `BadScenario` where it is not in order."""
    description = world.description
    key, tenant = next(iter(description.tenants.items()))
    zone = set(zone_countries(description, tenant.zone, world.places))
    homes = [place for place in world.places if place.site.country in zone]
    cumulative = list(accumulate(place.traffic for place in homes))
    rng = Random(f"{seed}/entry")
    start_us, last_us = start_us_of(description), 0
    for number, one in enumerate(trace, 1):
        if one.at_us < last_us:
            words = f"is earlier than row {number - 1}; sort the trace by its times"
            raise BadScenario(f"trace, row {number}", words)
        last_us = one.at_us
        where = bisect_left(cumulative, rng.random() * cumulative[-1])
        work = one.work
        yield Arrival(
            at_us=start_us + round(one.at_us / description.traffic.load),
            ingress=homes[min(where, len(homes) - 1)].id,
            key=key,
            body=b"",
            work=work,
            ask=Ask(
                route=Route.CHAT,
                model=description.hardware.model,
                stream=True,
                prompt_bytes=work.prompt_tokens * BYTES_PER_TOKEN,
                block_tokens=work.block_tokens,
                prefix=work.prefix,
            ),
            deadline_after_us=int(description.traffic.deadline_s * SECOND_US),
        )
