"""The laws on fleets, zones, loads and failures that nobody thought of."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selvedge.fabric import (
    DataClass,
    Engine,
    Ingress,
    Key,
    PoP,
    Provider,
    Release,
    Served,
    Tenant,
    Wan,
    Zone,
)
from selvedge.sim import Flow, Outage, Scenario, Shares, WriteFault, example_release, simulate
from selvedge.sim.engines import SECOND_US, EngineModel
from selvedge.sim.fleet import MODEL

COUNTRIES = ("SG", "ID", "DE", "FR", "US", "BR")
INGRESSES: tuple[Ingress, ...] = ("in-zone", "transit-allowed")
HOUR_US = 3600 * SECOND_US
EXAMPLE = example_release()


def engine(number: int) -> Engine:
    url = "http://127.0.0.1:1"
    return Engine(f"e{number}", url, "openai", (Served(MODEL, "m"),), in_flight_max=2 + number)


@st.composite
def releases(draw: st.DrawFn) -> Release:
    pops = [
        PoP(
            id=f"p{number}",
            city="x",
            country=draw(st.sampled_from(COUNTRIES)),
            latitude=draw(st.integers(-90, 90)),
            longitude=draw(st.integers(-180, 180)),
            url="https://x",
            peer="x:1",
            public_key="A" * 43 + "=",
            engines=tuple(engine(one) for one in range(draw(st.integers(0, 2)))),
        )
        for number in range(draw(st.integers(1, 5)))
    ]
    zones, tenants, keys = [], [], []
    for number in range(draw(st.integers(1, 4))):
        countries = draw(st.sets(st.sampled_from(COUNTRIES)))
        ingress: Ingress = draw(st.sampled_from(INGRESSES))
        name = f"t{number}"
        zones.append(Zone(name, tuple(sorted(countries))))
        tenants.append(Tenant(name, (DataClass("default", name, ingress),)))
        keys.append(Key(name, name, "default", "0" * 64))
    fleet = (EXAMPLE.models, tuple(pops), tuple(zones), tuple(tenants), tuple(keys))
    wan = Wan(1.6, draw(st.integers(0, 50)))
    return Release("drawn", 1, 0, *fleet, wan=wan, providers=draw(providers()))


@st.composite
def providers(draw: st.DrawFn) -> tuple[Provider, ...]:
    return tuple(
        Provider(
            id=f"x{number}",
            country=draw(st.sampled_from(COUNTRIES)),
            engines=tuple(engine(one) for one in range(draw(st.integers(1, 2)))),
            rtt_ms=draw(st.none() | st.integers(0, 300)),
            handicap_ms=draw(st.sampled_from([0, 0, 2000])),
        )
        for number in range(draw(st.integers(0, 3)))
    )


@st.composite
def scenarios(draw: st.DrawFn, release: Release) -> Scenario:
    rough = Shares(0.8, 0.2, 0.2, 0.2, 0.05, 0.05, 0.05)
    flows = [
        Flow(pop.id, key.id, MODEL, draw(st.sampled_from([60.0, 600.0, 6000.0])), shares=rough)
        for pop in release.pops
        for key in release.keys
    ]
    engines = [(site.id, one.id) for site in release.sites for one in site.engines]
    outages = [
        Outage(*draw(st.sampled_from(engines)), from_us, from_us + draw(st.integers(1, HOUR_US)))
        for from_us in draw(st.lists(st.integers(0, HOUR_US), max_size=6 if engines else 0))
    ]
    kinds = st.sampled_from(["intend", "record", "attest"])
    fault = st.builds(
        WriteFault,
        st.sampled_from(release.pops).map(lambda pop: pop.id),
        kinds,
        st.integers(1, 30),
        st.booleans(),
    )
    slots = st.builds(EngineModel, slots=st.integers(1, 8), in_flight_max=st.integers(1, 12))
    return Scenario(
        flows=tuple(flows),
        requests_max=draw(st.integers(1, 120)),
        until_us=draw(st.none() | st.integers(0, HOUR_US)),
        engines={f"{pop}/{one}": draw(slots) for pop, one in engines},
        outages=tuple(outages),
        write_faults=tuple(draw(st.lists(fault, max_size=5))),
        jitter_us=draw(st.sampled_from([0, 20_000])),
    )


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.integers(0, 2**32))
def test_every_law_holds_on_any_fleet(data: st.DataObject, seed: int) -> None:
    release = data.draw(releases())
    scenario = data.draw(scenarios(release))
    report = simulate(release, scenario, seed)  # asserts conservation, receipts and zones
    figures = report.figures
    assert figures.arrived == figures.running + sum(figures.outcomes.values())
    assert figures.out_of_zone == 0
    assert scenario.until_us is not None or figures.running == 0
    assert bool(scenario.write_faults) or "unrecorded" not in figures.outcomes
    zones = {zone.id: zone.countries for zone in release.zones}
    for receipt in (one for receipts in report.receipts.values() for one in receipts):
        where = receipt.processed_in
        assert where is None or where in zones[receipt.zone]
        assert not receipt.ingress_pop.startswith("x"), "nothing enters at a provider"
        abroad = (receipt.served_pop or "").startswith("x")
        assert not abroad or receipt.attested is None, "its word is a third party's"
        assert len(receipt.attempts) <= len(receipt.planned)
        assert receipt.ended_us >= receipt.received_us
    assert simulate(release, scenario, seed).canonical() == report.canonical()
