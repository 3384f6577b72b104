"""What a simulation is given besides the release and the seed: load, engines, faults, limits.

All of it is data, so that a run can be told, kept and repeated. Times are microseconds UTC, counted
from ``start_us``, which is 0 where nothing depends on the date.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from selvedge.fabric import Engine
from selvedge.sim.batching import BatchingModel
from selvedge.sim.engines import EngineModel
from selvedge.sim.journal import WriteFault
from selvedge.sim.traffic import Arrival, Flow


class Outage(msgspec.Struct, frozen=True):
    """An engine is down: it refuses connections, and what it was answering breaks off."""

    pop: str
    engine: str
    from_us: int
    until_us: int

    def __post_init__(self) -> None:
        if not self.from_us < self.until_us:
            raise ValueError("an outage ends after it began")


class Scenario(msgspec.Struct, frozen=True):
    """One run. Flows give at most ``requests_max`` arrivals, scripted ones come besides.

    ``engines`` are keyed by `routing.place`; one that is absent has the release's prefill rate and
    capacity, and the measured defaults otherwise. Without ``until_us`` the run ends when the last
    request has.
    """

    flows: tuple[Flow, ...] = ()
    scripted: tuple[Arrival, ...] = ()
    requests_max: int = 1000
    start_us: int = 0
    until_us: int | None = None
    engines: Mapping[str, EngineModel | BatchingModel] = {}
    outages: tuple[Outage, ...] = ()
    write_faults: tuple[WriteFault, ...] = ()
    jitter_us: int = 0
    body_bytes_max: int = 1024 * 1024
    keeps: bool = True
    """Whether receipts are kept and hashed; without, requests are columns of numbers."""
    watches: str | None = None
    """Id of a receipt that is kept all the same."""
    sealed_every: int = 1
    """Of so many requests one has tickets and attestations as on a wire, MACs and all."""

    def model_of(self, place: str, engine: Engine) -> EngineModel | BatchingModel:
        """The numbers of one engine of the release."""
        return self.engines.get(place) or EngineModel(
            in_flight_max=engine.in_flight_max, prefill_tokens_per_s=engine.prefill_tokens_per_s
        )
