"""The example fleet in code, and a day's load for it: what tests and first looks run.

Three PoPs, two of them with an engine, and the rules that a first user would write. Any release
and any scenario take the same seat.
"""

from __future__ import annotations

import base64
from typing import Final

from selvedge.fabric import (
    DataClass,
    Engine,
    Key,
    Model,
    PoP,
    Release,
    Served,
    Tenant,
    Zone,
)
from selvedge.sim.engines import SECOND_US
from selvedge.sim.scenario import Outage, Scenario
from selvedge.sim.traffic import Flow

MODEL: Final = "smollm2-135m-instruct"
ENGINE: Final = "smol"
_OUTAGE_US: Final = 120 * SECOND_US
_EVERY_US: Final = 1800 * SECOND_US
_NO_HASH: Final = "0" * 64
_NO_KEY: Final = base64.b64encode(bytes(32)).decode()
_INGRESSES: Final = ("sin", "fra", "cgk")
_KEYS: Final = (
    ("asean", "asean", "default"),
    ("eea-transit", "eea", "transit"),
    ("eea-strict", "eea", "strict"),
    ("free", "free", "default"),
)


def example_release() -> Release:
    """Singapore and Frankfurt with an engine each, Jakarta without; four keys of three tenants."""
    engine = Engine(
        id=ENGINE,
        url="http://127.0.0.1:8080",
        profile="llama.cpp",
        serves=(Served(MODEL, MODEL),),
    )
    return Release(
        fleet="example",
        version=1,
        made_us=0,
        models=(Model(MODEL, "chat", f"sha256:{'5' * 64}", "Q4_1", 2048),),
        pops=(
            _pop("sin", "Singapore", "SG", (1.29, 103.85), (engine,)),
            _pop("fra", "Frankfurt", "DE", (50.11, 8.68), (engine,)),
            _pop("cgk", "Jakarta", "ID", (-6.13, 106.66), ()),
        ),
        zones=(
            Zone("asean", ("SG", "ID", "MY", "TH", "VN", "PH", "BN", "KH", "LA", "MM", "TL")),
            Zone("eea", ("DE", "FR", "NL", "IE", "NO")),
            Zone("anywhere", ("SG", "DE", "ID")),
        ),
        tenants=(
            Tenant("asean", (DataClass("default", "asean", "in-zone"),)),
            Tenant(
                "eea",
                (
                    DataClass("transit", "eea", "transit-allowed"),
                    DataClass("strict", "eea", "in-zone"),
                ),
            ),
            Tenant("free", (DataClass("default", "anywhere", "transit-allowed"),)),
        ),
        keys=tuple(Key(key, tenant, name, _NO_HASH) for key, tenant, name in _KEYS),
    )


def example_flows(per_hour: float = 120.0) -> tuple[Flow, ...]:
    """Every key at every PoP, at the same rate each."""
    return tuple(
        Flow(ingress, key, MODEL, per_hour) for ingress in _INGRESSES for key, _, _ in _KEYS
    )


def example_scenario(requests: int) -> Scenario:
    """Requests on the example fleet, with an engine down for two minutes of every half hour."""
    outages = (
        Outage(("sin", "fra")[number % 2], ENGINE, at_us, at_us + _OUTAGE_US)
        for number, at_us in enumerate(range(_EVERY_US, 24 * 2 * _EVERY_US, _EVERY_US))
    )
    return Scenario(flows=example_flows(), requests_max=requests, outages=tuple(outages))


def _pop(
    name: str, city: str, country: str, at: tuple[float, float], engines: tuple[Engine, ...]
) -> PoP:
    return PoP(
        id=name,
        city=city,
        country=country,
        latitude=at[0],
        longitude=at[1],
        url=f"https://{name}.example.net",
        peer=f"{name}.example.net:7443",
        public_key=_NO_KEY,
        entity=f"{city} Ltd",
        engines=engines,
    )
